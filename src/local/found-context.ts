/** A context as a scan found it: what there is, and what those of its files hold that somebody chose. */
import type { NativeAddon } from '../native/addon.ts';
import type { Digest } from '../oci/digest.ts';
import type { IgnoreFile } from '../patterns/ignore-file.ts';
import type { Everything, SourceTree } from '../patterns/source-tree.ts';
import type { InputFile } from '../worker/protocol.ts';
import type { ContextEntry } from './context-tree.ts';
import type { HashTools } from './hash-files.ts';
import type { ScanStore, Walked } from './scan-memory.ts';

export interface ContextTools extends HashTools {
  readonly native: Pick<NativeAddon, 'scanDirectories' | 'walkTree' | 'hashFiles' | 'CancelToken'>;
  /** Of what earlier scans found. @defaultValue none */
  readonly scans?: ScanStore;
  /** Called when a directory is not as it was seen the last time: most likely there is work to do. @defaultValue nothing is */
  readonly onChanged?: () => void;
  readonly signal?: AbortSignal;
}

export interface FoundContext {
  /** The directory, links followed. */
  readonly root: string;
  readonly ignore: IgnoreFile | undefined;
  readonly tree: SourceTree<ContextEntry>;
  /** Directories that this process may not look into. */
  readonly denied: ReadonlySet<string>;
  hostPath(path: string): string;
  /** @throws {NotText} */
  filesOf(chosen: Chosen, tools: ContextTools): Promise<ContextFiles>;
}

export interface Chosen {
  /** By path; none is the top. */
  readonly entries: ReadonlyMap<string, ContextEntry>;
  /** Where everything was chosen. */
  readonly below: readonly Everything[];
}

/** What was chosen of a context. Lists are made when somebody asks. */
export interface ContextFiles {
  /** Of paths, kinds, modes, link targets and contents. */
  readonly contentDigest: Digest;
  /** Pipes and devices; they are not carried. */
  readonly leftOut: readonly string[];
  /** Ignore patterns that match nothing at the top of the context, though they would further down. */
  readonly rootOnlyPatterns: readonly string[];
  /** For the worker: paths as in the context. Directories and the links that lead to something are among them. Sorted. */
  readonly files: readonly InputFile[];
  /** What the key sees, by path: `0644 sha256hex`, `-> target`; of a directory, whose path ends in `/`, the mode. */
  readonly summary: Readonly<Record<string, string>>;
  /** The same, as `base/listing.ts` has it. */
  readonly listing: string;
  /** The host's paths of files both of whose times are later. Nanoseconds since the epoch. */
  later(ns: bigint): readonly string[];
  /** Writes all that is known of the context into a new file, of which the worker selects by the same rules. Absent: the worker gets the list. */
  readonly saveIndex?: (path: string) => Promise<void>;
  /** Absent where it must not be remembered. */
  readonly walked?: Walked;
}

/** A name, or the target of a link, that is not UTF-8. Plans and messages to the worker are JSON: it would silently become another. */
export class NotText extends Error {
  /** Bytes that are not UTF-8 as `base/path-bytes.ts` has them. Well-formed: then it is the target. */
  readonly path: string;

  constructor(path: string) {
    super(path);
    this.path = path;
  }
}
