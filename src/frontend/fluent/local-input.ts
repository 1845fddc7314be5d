/** A declaration of files of the user's machine; nothing is read until somebody scans it. */
import { canonicalJson } from '../../base/canonical-json.ts';
import { sha256Hex } from '../../base/sha256.ts';
import type { Digest } from '../../oci/digest.ts';
import { filterIdentity, type InputFilter } from '../../patterns/ignore-spec.ts';

export interface LocalInput {
  /** What must be there. */
  readonly expects: 'file' | 'directory' | 'either';
  /** Absolute. */
  readonly hostPath: string;
  /** Path in the input of the file itself, if it is one. */
  readonly fileAt: string;
  /** Path in the input that the contents of the directory land in, if it is one. */
  readonly directoryAt: string;
  /** Of Python modules it is about paths relative to the module's own directory. */
  readonly filter: InputFilter;
  /** The definition hangs on what the file says: the scan reads it. @defaultValue false */
  readonly wantsText?: boolean;
  /** It need not be there; what follows from that is the definition's to say. @defaultValue false */
  readonly mayBeMissing?: boolean;
  /** Modules, packages and namespace packages by name, instead of what is at `hostPath`; `directoryAt` is their root. */
  readonly python?: PythonModules;
}

/** Named as in an import statement, found as Python would find them. */
export interface PythonModules {
  readonly modules: readonly string[];
  /** Absolute, in the order in which they are looked into. */
  readonly searchPaths: readonly string[];
}

/** A file as plans and keys see it. */
export interface InputEntry {
  /** Hex; of the empty text for a directory. */
  readonly sha256: string;
  /** 0o755 or 0o644. */
  readonly mode: number;
  readonly sizeBytes: number;
  /** Target of a link that is kept. */
  readonly link?: string;
}

/** What a scan found, as far as the frontend needs it. */
export interface ScannedFiles {
  /** `missing` only where the input may be. */
  readonly form: 'file' | 'directory' | 'missing';
  /** Sorted by path. A path that ends in `/` is an empty directory. */
  readonly entries: ReadonlyMap<string, InputEntry>;
  /** Of paths, modes, contents and links. */
  readonly contentDigest: Digest;
  readonly findings: InputFindings;
  /** Of a file whose text was wanted. Absent for one above {@link MAX_TEXT_BYTES}, which is something else than what it was taken for. */
  readonly text?: string;
}

export const MAX_TEXT_BYTES = 16 * 1024 * 1024;

/** What is worth a warning; paths relative to the directory that was scanned. */
export interface InputFindings {
  /** Links to directories outside, which were left out. */
  readonly linksOutside: readonly string[];
  /** `.git` and `node_modules` that nothing ignores. */
  readonly unfiltered: readonly string[];
  /** Ignore patterns that match nothing at the root, though they would further down. */
  readonly rootOnlyPatterns: readonly string[];
}

/** Implemented by `local/scan-input.ts`. */
export type ScanInput = (input: LocalInput) => Promise<ScannedFiles>;

/**
 * A name that equal declarations share and different ones do not; it tells inputs of several images of one build apart.
 */
export function inputName(input: LocalInput): string {
  const { filter, ...rest } = input;
  return `local-${sha256Hex(canonicalJson({ ...rest, filter: filterIdentity(filter) })).slice(0, 32)}`;
}
