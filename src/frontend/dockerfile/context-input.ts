/** A declaration of files of a local build context that one instruction uses; nothing is read until somebody scans it. */
import { posix } from 'node:path';
import { canonicalJson, type Json } from '../../base/canonical-json.ts';
import { sha256Hex } from '../../base/sha256.ts';
import type { CopySelection } from '../../graph/action.ts';
import { filterIdentity, type InputFilter } from '../../patterns/ignore-spec.ts';
import type { DockerfileText } from './definition-place.ts';
import type { Location } from './instruction.ts';

export interface ContextInput {
  readonly kind: 'context';
  /** `context`, or the name that the user gave to a named one. For messages. */
  readonly name: string;
  /** Absolute. */
  readonly directory: string;
  readonly ignore: ContextIgnore | undefined;
  /** Instead of the directory: what the context is put together from, later ones over earlier ones. */
  readonly parts?: readonly ContextPart[];
  /** Single files, by their path in the context: beside everything else and over it. No ignore pattern is about them. */
  readonly files?: Readonly<Record<string, string>>;
  /** What is used of it; only that is hashed, and only that is in the key. */
  readonly selections: readonly ContextSelection[];
  /** Where the user asked for it, for errors. Not part of the name. */
  readonly place?: { readonly text: DockerfileText; readonly location: Location };
}

/** What is left out: the text of an ignore file, or a filter that the definition gave. */
export type ContextIgnore =
  | {
      /** As messages show it. */
      readonly name: string;
      readonly text: string;
    }
  | { readonly name: string; readonly filter: InputFilter };

/** A file or the contents of a directory at a path of a context. */
export interface ContextPart {
  readonly kind: 'file' | 'directory';
  /** Absolute. */
  readonly hostPath: string;
  /** Absolute path in the context. */
  readonly at: string;
  /** Of a directory; by paths relative to it. */
  readonly filter: InputFilter;
  /** Whether what is in directories of the directory counts. */
  readonly recursive: boolean;
}

export interface ContextSelection {
  readonly source: string;
  /** Absent: `source` is one path that must exist, as a bind mount's. */
  readonly select?: CopySelection;
}

/** Whether all that is used are files that were given by themselves: then nobody need look at the rest of the context. */
export function usesOnlyGivenFiles({ files, selections }: ContextInput): boolean {
  return (
    files !== undefined &&
    selections.every(
      ({ source }) => !/[*?[\\]/.test(source) && Object.hasOwn(files, posix.resolve('/', source)),
    )
  );
}

/** A name that equal declarations share and different ones do not. */
export function contextInputName(input: ContextInput): string {
  const { kind, selections } = input;
  const described = canonicalJson({
    kind,
    ...contextIdentity(input),
    selections: selections.map(({ source, select }) => ({
      source,
      select: select === undefined ? null : { ...select },
    })),
  });
  return `context-${sha256Hex(described).slice(0, 32)}`;
}

/** Of the context whatever is used of it: many declarations share one scan. */
export function contextIdentity({
  name,
  directory,
  ignore,
  parts,
  files,
}: Omit<ContextInput, 'kind' | 'selections'>): { readonly [field: string]: Json } {
  return {
    name,
    directory,
    ignore:
      ignore === undefined
        ? null
        : 'text' in ignore
          ? { ...ignore }
          : { name: ignore.name, filter: filterIdentity(ignore.filter) },
    ...(parts === undefined
      ? {}
      : { parts: parts.map(({ filter, ...part }) => ({ ...part, filter: filterIdentity(filter) })) }),
    ...(files === undefined ? {} : { files }),
  };
}
