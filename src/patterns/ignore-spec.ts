/** What methods accept as `ignore` and `condition`, made into one kind of filter. */
import type { Json } from '../base/canonical-json.ts';
import { DefinitionError } from '../errors.ts';
import { FilePatternMatcher, type IgnoreSyntax } from './file-pattern-matcher.ts';

export interface IgnoreEntry {
  readonly size: number;
  readonly isFile: boolean;
}

/** `true` excludes the file. Predicates see files only. */
export type IgnorePredicate = (relativePath: string, entry: IgnoreEntry) => boolean;
export type IgnoreSpec = readonly string[] | FilePatternMatcher | IgnorePredicate;

export type InputFilter =
  | { readonly kind: 'none' }
  | { readonly kind: 'patterns'; readonly matcher: FilePatternMatcher }
  | { readonly kind: 'predicate'; readonly ignores: IgnorePredicate };

/** @throws {DefinitionError} `E_ARG_TYPE` */
export function inputFilter(method: string, ignore: unknown, syntax: IgnoreSyntax): InputFilter {
  if (ignore === undefined) {
    return { kind: 'none' };
  }
  if (ignore instanceof FilePatternMatcher) {
    return { kind: 'patterns', matcher: ignore };
  }
  if (typeof ignore === 'function') {
    return { kind: 'predicate', ignores: ignore as IgnorePredicate };
  }
  if (Array.isArray(ignore) && ignore.every((each) => typeof each === 'string')) {
    const matcher =
      syntax === 'gitignore' ? FilePatternMatcher.gitignore(ignore) : new FilePatternMatcher(ignore);
    return { kind: 'patterns', matcher };
  }
  throw new DefinitionError(
    `${method}(): 'ignore' must be an array of patterns, a FilePatternMatcher or a function`,
    { code: 'E_ARG_TYPE' },
  );
}

/** @throws {DefinitionError} `E_ARG_TYPE` */
export function ignoreSyntax(method: string, value: unknown, otherwise: IgnoreSyntax): IgnoreSyntax {
  if (value === undefined || value === 'dockerignore' || value === 'gitignore') {
    return value ?? otherwise;
  }
  throw new DefinitionError(`${method}(): 'ignoreSyntax' is 'dockerignore' or 'gitignore'`, {
    code: 'E_ARG_TYPE',
  });
}

export function describeFilter(filter: InputFilter): Json {
  switch (filter.kind) {
    case 'none':
      return null;
    case 'patterns':
      return filter.matcher.describe();
    case 'predicate':
      return 'function';
  }
}
