/** A declaration of files of a local build context that one instruction uses; nothing is read until somebody scans it. */
import { canonicalJson } from '../../base/canonical-json.ts';
import { sha256Hex } from '../../base/sha256.ts';
import type { CopySelection } from '../../graph/action.ts';
import type { DockerfileText } from './definition-place.ts';
import type { Location } from './instruction.ts';

export interface ContextInput {
  readonly kind: 'context';
  /** `context`, or the name that the user gave to a named one. For messages. */
  readonly name: string;
  /** Absolute. */
  readonly directory: string;
  readonly ignore: ContextIgnore | undefined;
  /** What is used of it; only that is hashed, and only that is in the key. */
  readonly selections: readonly ContextSelection[];
  /** Where the user asked for it, for errors. Not part of the name. */
  readonly place?: { readonly text: DockerfileText; readonly location: Location };
}

export interface ContextIgnore {
  /** As messages show it. */
  readonly name: string;
  readonly text: string;
}

export interface ContextSelection {
  readonly source: string;
  /** Absent: `source` is one path that must exist, as a bind mount's. */
  readonly select?: CopySelection;
}

/** A name that equal declarations share and different ones do not. */
export function contextInputName(input: ContextInput): string {
  const { kind, name, directory, ignore, selections } = input;
  const described = canonicalJson({
    kind,
    name,
    directory,
    ignore: ignore === undefined ? null : { ...ignore },
    selections: selections.map(({ source, select }) => ({
      source,
      select: select === undefined ? null : { ...select },
    })),
  });
  return `context-${sha256Hex(described).slice(0, 32)}`;
}
