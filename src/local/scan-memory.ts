/**
 * Remembers what a scan of a context found, under one digest of what the walk saw: when a walk sees the same again, nothing of
 * it need be listed, matched, looked up or hashed. The digest is described in docs/reference/store.md.
 */
import { canonicalJson } from '../base/canonical-json.ts';
import { sha256Hex } from '../base/sha256.ts';
import type { ContextSelection } from '../frontend/dockerfile/context-input.ts';
import type { CancelToken, FileFacts, ListingRow, NativeAddon } from '../native/addon.ts';
import { isCancelled } from '../native/error.ts';
import type { Digest } from '../oci/digest.ts';
import { isRacy } from './stat-cache.ts';

/** Raise it when an ignore file or a selection means something else than before. */
const SCAN_VERSION = 1;

export interface RememberedSelection {
  readonly contentDigest: Digest;
  readonly leftOut: readonly string[];
}

export interface ScanRecord {
  readonly fingerprint: string;
  /** Paths that the ignore file hides, with all that is below them. */
  readonly skip: readonly string[];
  readonly rootOnlyPatterns: readonly string[];
  readonly selections: Readonly<Record<string, RememberedSelection>>;
}

/** Quick and synchronous. Losing records costs time. */
export interface ScanStore {
  get(context: string): ScanRecord | undefined;
  put(context: string, record: ScanRecord): void;
}

/** A directory as a walk listed it; its path is `/`-rooted. Null: this process may not look into it. */
export interface Listed {
  readonly path: string;
  readonly rows: readonly ListingRow[] | null;
}

/** One walk, from which a record is made. */
export interface Walked {
  /** The clock before the walk. */
  readonly startedNs: bigint;
  /** In the order in which they were listed. */
  readonly listed: readonly Listed[];
  /** Whether the ignore file leaves the path in. */
  readonly isKept: (path: string) => boolean;
  readonly rootOnlyPatterns: readonly string[];
}

export class ScanMemory {
  readonly #store: ScanStore;
  readonly #context: string;
  /** As the walk at the start found it to be true. */
  #record: ScanRecord | undefined;
  /** The next walk is the same for every selection. */
  #fingerprints = new WeakMap<Walked, Pick<ScanRecord, 'fingerprint' | 'skip'> | undefined>();

  private constructor(store: ScanStore, context: string, record: ScanRecord | undefined) {
    this.#store = store;
    this.#context = context;
    this.#record = record;
  }

  /**
   * Walks the directory if something is known of it.
   *
   * @param root - Links followed.
   * @param ignoreText - Of the ignore file.
   * @throws what native code throws when it is cancelled
   */
  static async of(
    store: ScanStore,
    root: string,
    ignoreText: string | undefined,
    native: Pick<NativeAddon, 'fingerprintTree'>,
    cancel: CancelToken,
  ): Promise<ScanMemory> {
    const context = contextKey(root, ignoreText);
    const record = store.get(context);
    const isTrue =
      record !== undefined && record.fingerprint === (await fingerprintOf(root, record.skip, native, cancel));
    return new ScanMemory(store, context, isTrue ? record : undefined);
  }

  /** Whether something is known of the directory, true or not. */
  static knows(store: ScanStore, root: string, ignoreText: string | undefined): boolean {
    return store.get(contextKey(root, ignoreText)) !== undefined;
  }

  /** Whether anything may be recalled. */
  get isKnown(): boolean {
    return this.#record !== undefined;
  }

  recall(
    selections: readonly ContextSelection[],
  ): (RememberedSelection & Pick<ScanRecord, 'rootOnlyPatterns'>) | undefined {
    const record = this.#record;
    const found = record?.selections[nameOf(selections)];
    return record === undefined || found === undefined
      ? undefined
      : { ...found, rootOnlyPatterns: record.rootOnlyPatterns };
  }

  /**
   * @param hashed - The files of the selection: as the walk saw them, and as they were when their content was read.
   */
  remember(
    selections: readonly ContextSelection[],
    found: RememberedSelection,
    walked: Walked,
    hashed: Iterable<readonly [seen: Facts, read: Facts]>,
  ): void {
    for (const [seen, read] of hashed) {
      if (!isSame(seen, read)) {
        return;
      }
    }
    if (!this.#fingerprints.has(walked)) {
      this.#fingerprints.set(walked, fingerprint(walked));
    }
    const known = this.#fingerprints.get(walked);
    if (known === undefined) {
      return;
    }
    const { rootOnlyPatterns } = walked;
    const others = this.#record?.fingerprint === known.fingerprint ? this.#record.selections : {};
    this.#record = { ...known, rootOnlyPatterns, selections: { ...others, [nameOf(selections)]: found } };
    this.#store.put(this.#context, this.#record);
  }
}

type Facts = Pick<FileFacts, 'dev' | 'ino' | 'sizeBytes' | 'mtimeNs' | 'ctimeNs'>;

function contextKey(root: string, ignoreText: string | undefined): string {
  return sha256Hex(canonicalJson({ v: SCAN_VERSION, root, ignore: ignoreText ?? null }));
}

function isSame(one: Facts, other: Facts): boolean {
  return (
    one.ctimeNs === other.ctimeNs &&
    one.mtimeNs === other.mtimeNs &&
    one.sizeBytes === other.sizeBytes &&
    one.ino === other.ino &&
    one.dev === other.dev
  );
}

function nameOf(selections: readonly ContextSelection[]): string {
  return sha256Hex(
    canonicalJson(
      selections.map(({ source, select }) => ({
        source,
        select: select === undefined ? null : { ...select },
      })),
    ),
  );
}

/** Undefined where something was in the way: then a scan says what. */
async function fingerprintOf(
  root: string,
  skip: readonly string[],
  native: Pick<NativeAddon, 'fingerprintTree'>,
  cancel: CancelToken,
): Promise<string | undefined> {
  try {
    return await native.fingerprintTree(root, skip.map((path) => `${path}\0`).join(''), cancel);
  } catch (error) {
    if (isCancelled(error)) {
      throw error;
    }
    return undefined;
  }
}

/** What `fingerprint.rs` says of the same tree; undefined when a file was too young to be told from its next content, or for bytes that are no text. */
function fingerprint({
  startedNs,
  listed,
  isKept,
}: Walked): Pick<ScanRecord, 'fingerprint' | 'skip'> | undefined {
  const walked = new Set(listed.map(({ path }) => path));
  const skip: string[] = [];
  const digests: string[] = [];
  for (const { path: directory, rows } of listed) {
    const prefix = directory === '/' ? '/' : `${directory}/`;
    const lines = [`${rows === null ? '!' : '>'}${directory.slice(1)}\0`];
    for (const [name, kind, mode, sizeBytes, dev, ino, mtimeNs, ctimeNs, link] of rows ?? []) {
      const path = prefix + name;
      if (!isKept(path) && !walked.has(path)) {
        skip.push(path.slice(1));
        lines.push(`skipped ${kind} ${name}\0`);
      } else if (kind === 'file') {
        if (isRacy({ dev, ino, sizeBytes, mtimeNs, ctimeNs }, startedNs)) {
          return undefined;
        }
        lines.push(`file ${mode} ${sizeBytes} ${dev} ${ino} ${mtimeNs} ${ctimeNs} ${name}\0`);
      } else if (kind === 'symlink') {
        lines.push(`symlink ${name}\0${link}\0`);
      } else {
        lines.push(`${kind} ${mode} ${name}\0`);
      }
    }
    const text = lines.join('');
    if (!text.isWellFormed()) {
      return undefined;
    }
    digests.push(sha256Hex(text));
  }
  return { fingerprint: sha256Hex(digests.sort().join('')), skip };
}
