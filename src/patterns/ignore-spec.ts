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

/**
 * A function that says what is taken, instead of what is left out.
 *
 * @throws {DefinitionError} `E_IGNORE_AND_CONDITION`, `E_ARG_TYPE`
 */
export function conditionFilter(method: string, condition: unknown, ignore: unknown): InputFilter {
  if (ignore !== undefined) {
    throw new DefinitionError(`${method}(): give 'ignore' or 'condition', not both`, {
      code: 'E_IGNORE_AND_CONDITION',
    });
  }
  if (typeof condition !== 'function') {
    throw new DefinitionError(`${method}(): 'condition' must be a function`, { code: 'E_ARG_TYPE' });
  }
  const includes = condition as (path: string) => boolean;
  let ignores = negations.get(includes);
  if (ignores === undefined) {
    ignores = (path: string) => !includes(path);
    negations.set(includes, ignores);
  }
  return { kind: 'predicate', ignores };
}

/** One negation for one condition, so that equal calls declare equal inputs. */
const negations = new WeakMap<object, IgnorePredicate>();

/** @throws {DefinitionError} `E_ARG_TYPE` */
export function ignoreSyntax(method: string, value: unknown, otherwise: IgnoreSyntax): IgnoreSyntax {
  if (value === undefined || value === 'dockerignore' || value === 'gitignore') {
    return value ?? otherwise;
  }
  throw new DefinitionError(`${method}(): 'ignoreSyntax' is 'dockerignore' or 'gitignore'`, {
    code: 'E_ARG_TYPE',
  });
}

const predicateNumbers = new WeakMap<object, number>();
let predicates = 0;

/** Tells filters of one process apart. Two functions are equal only if they are the same one. */
export function filterIdentity(filter: InputFilter): Json {
  if (filter.kind === 'patterns') {
    return filter.matcher.identity();
  }
  if (filter.kind === 'none') {
    return null;
  }
  let number = predicateNumbers.get(filter.ignores);
  if (number === undefined) {
    predicates += 1;
    number = predicates;
    predicateNumbers.set(filter.ignores, number);
  }
  return number;
}

/** For the recipe hash. */
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
