/** What the solver asks of the outside. Implemented in `ops/`, introduced by `engine.ts`. */
import type { Json } from '../base/canonical-json.ts';
import type { CopySelection } from '../graph/action.ts';
import type { Vertex } from '../graph/vertex.ts';
import type { Emit } from './event.ts';

/**
 * What a vertex results in: a stack of layers, bottom first. A layer is named by an id in the store; whether it is there
 * as a snapshot, as a blob or only in a registry is the store's business.
 *
 * Local sources give `files`: their content is named by a digest, and read from the user's disk when somebody copies it.
 */
export type Result =
  | { readonly kind: 'rootfs'; readonly layers: readonly LayerId[] }
  | { readonly kind: 'files'; readonly contentDigest: string };

declare const layerIdBrand: unique symbol;

/** Name of a layer in the store: safe as a file name, never reused for other content. */
export type LayerId = string & { readonly [layerIdBrand]: true };

/** One named part of a cache key. A list of files is one field, so that an explanation can name the file. */
export interface KeyField {
  readonly name: string;
  readonly value: Json;
  /** What is recorded instead of a value that is only a digest. Asked for when a step runs. */
  readonly explained?: () => Promise<Json>;
}

/** A path that a step reads, with all that is below it; or with `select` what that selects. */
export interface PathRead {
  readonly source: string;
  readonly select?: CopySelection;
}

export interface OpContext {
  readonly signal: AbortSignal;
  readonly emit: Emit;
  /** The id that the result gets: derived from the cache key, or fresh when forced. Unique and deterministic, so it names logs and layers. */
  readonly resultId: string;
  /** Whether it runs because that was asked for (`--no-cache`), not because no result was known. */
  readonly forced: boolean;
  /** What the same step of the same definition resulted in the last time: likely much the same. */
  readonly last?: Result;
}

/**
 * How one kind of vertex is done.
 *
 * `cacheKeyFields` names its fields one by one; it may read the user's files, but starts no process and uses no network.
 * The solver adds the version, the kind, the platform and the inputs' result ids.
 *
 * `execute` is called when no result is known. It is atomic: either the result is committed to the store, or nothing of it
 * stays. On cancellation it throws `signal.reason` after cleaning up. It must be safe for the same result id to be
 * executed by two processes at once: the lock per key makes that rare, not impossible. It throws `RemoteError` with
 * `E_BLOB_GONE` when a layer of an input cannot be had any more, after the cache store was made to forget it.
 */
export interface Op {
  readonly version: number;
  cacheKeyFields(vertex: Vertex, signal: AbortSignal): Promise<readonly KeyField[]> | readonly KeyField[];
  /** What a step reads of an input that is a root filesystem. Undefined: all of it. */
  reads?(vertex: Vertex, input: number): readonly PathRead[] | undefined;
  execute(vertex: Vertex, inputs: readonly Result[], context: OpContext): Promise<Result>;
}

/** A record of something that was done before. */
export interface CacheRecord {
  readonly key: string;
  readonly resultId: string;
  readonly result: Result;
  /** Digest of the fields alone, without inputs: what the look-up by content starts from. */
  readonly fieldsDigest: string;
  readonly fields: readonly KeyField[];
  /** Result ids of the inputs, in order. */
  readonly inputs: readonly string[];
  /** Which step of which definition made it, for explanations. */
  readonly site?: string;
  /** Wall time that the step took when it ran. */
  readonly durationMs: number;
}

/**
 * Where records are kept. Implemented in `cache/`. All calls are quick and synchronous but `sameContent` and `lock`.
 */
export interface CacheStore {
  /** Undefined too when the result's layers are no longer in the store. */
  lookup(key: string): CacheRecord | undefined;
  /** Records of the same fields on other inputs, newest first, at most a few. */
  lookupByFields(fieldsDigest: string): readonly CacheRecord[];
  /** The newest record that the same step left. */
  lastAtSite(site: string): CacheRecord | undefined;
  /** Whether a record of this key once existed; tells `gone` from `new`. */
  everHad(key: string): boolean;
  /** Atomic and durable enough: a lost record costs a rebuild, never a wrong result. Replaces the key's record. */
  put(record: CacheRecord): void;
  /** Whether all that a result is made of is still known to the store: there, or where it can be fetched from. */
  holds(result: Result): boolean;
  /** What a result id stands for, if that is still in the store. */
  resultById(resultId: string): Result | undefined;
  /**
   * Whether two results hold the same but for times. Layers that both share are not looked at.
   *
   * @param reads - Only these paths matter.
   */
  sameContent(a: Result, b: Result, signal: AbortSignal, reads?: readonly PathRead[]): Promise<boolean>;
  /** Held while the step runs, so that another process that wants it waits and reuses. */
  lock(key: string, signal: AbortSignal): Promise<CacheLock>;
}

export interface CacheLock {
  release(): void;
}
