/**
 * Remembers what a scan of a context found, under one digest of what the walk saw: when a walk sees the same again, nothing of
 * it need be listed, matched, looked up or hashed. The digest is described in docs/reference/store.md.
 */
import { canonicalJson } from '../base/canonical-json.ts';
import { sha256Hex } from '../base/sha256.ts';
import type { ContextSelection } from '../frontend/dockerfile/context-input.ts';
import type { CancelToken, ListingRow, NativeAddon, NativeWalk } from '../native/addon.ts';
import { isCancelled } from '../native/error.ts';
import { pathList } from '../native/path-list.ts';
import type { Digest } from '../oci/digest.ts';

/** Raise it when an ignore file or a selection means something else than before. */
const SCAN_VERSION = 2;

export interface RememberedSelection {
  readonly contentDigest: Digest;
  readonly leftOut: readonly string[];
}

/** What the names in a context decided. */
export interface NamesRecord {
  /** Paths that the ignore file hides, with all that is below them. */
  readonly skip: readonly string[];
  /** Directories that it hides although a walk looks into them. */
  readonly hidden: readonly string[];
  readonly rootOnlyPatterns: readonly string[];
}

export interface ScanRecord extends NamesRecord {
  readonly fingerprint: string;
  /** A digest of all names and kinds. */
  readonly names: string;
  readonly selections: Readonly<Record<string, RememberedSelection>>;
}

/** Quick and synchronous. Losing records costs time. */
export interface ScanStore {
  /** Where indexes of contexts are kept. It need not exist. */
  readonly directory: string;
  /** The path of a file for something unfinished, which is then renamed. */
  scratchFile(name: string): string;
  get(context: string): ScanRecord | undefined;
  put(context: string, record: ScanRecord): void;
}

/** A directory as a walk listed it; its path is `/`-rooted. Null: this process may not look into it. */
export interface Listed {
  readonly path: string;
  readonly rows: readonly ListingRow[] | null;
}

/** One walk that a record can be made from. */
export interface Walked extends NamesRecord {
  readonly fingerprint: string;
  readonly names: string;
  /** False where a file was too young to be told from its next content. */
  readonly isSettled: boolean;
}

export class ScanMemory {
  /** For files about the directory. */
  readonly root: string;
  readonly key: string;
  readonly store: ScanStore;
  /** The clock before the walk. */
  readonly startedNs: bigint;
  /** What was found earlier, true or not. */
  readonly earlier: ScanRecord | undefined;
  /** What a walk saw that skipped what that record skips. */
  readonly walk: NativeWalk | undefined;
  /** As the walk at the start found it to be true. */
  #record: ScanRecord | undefined;

  private constructor(
    { root, key, store, startedNs }: Pick<ScanMemory, 'root' | 'key' | 'store' | 'startedNs'>,
    earlier: ScanRecord | undefined,
    walk: NativeWalk | undefined,
  ) {
    this.root = root;
    this.key = key;
    this.store = store;
    this.startedNs = startedNs;
    this.earlier = earlier;
    this.walk = walk;
    this.#record = walk !== undefined && earlier?.fingerprint === walk.fingerprint ? earlier : undefined;
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
    { native, now }: { readonly native: Pick<NativeAddon, 'walkTree'>; readonly now: () => bigint },
    cancel: CancelToken,
  ): Promise<ScanMemory> {
    const key = contextKey(root, ignoreText);
    const earlier = store.get(key);
    const startedNs = now();
    const walk = earlier === undefined ? undefined : await walkOf(root, earlier.skip, native, cancel);
    return new ScanMemory({ root, key, store, startedNs }, earlier, walk);
  }

  /** Whether something is known of the directory, true or not. */
  static knows(store: ScanStore, root: string, ignoreText: string | undefined): boolean {
    return store.get(contextKey(root, ignoreText)) !== undefined;
  }

  /** Whether anything may be recalled. */
  get isKnown(): boolean {
    return this.#record !== undefined;
  }

  /** Whether it is not as it was seen the last time. */
  get isChanged(): boolean {
    return this.earlier !== undefined && this.#record === undefined;
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

  /** The content must have been as the walk saw it. Of one that was not settled, what is remembered is that it was seen. */
  remember(
    selections: readonly ContextSelection[],
    found: RememberedSelection,
    { fingerprint, names, skip, hidden, rootOnlyPatterns, isSettled }: Walked,
  ): void {
    const same = this.#record?.fingerprint === fingerprint ? this.#record : undefined;
    if (!isSettled && same !== undefined) {
      return;
    }
    this.#record = {
      fingerprint,
      names,
      skip,
      hidden,
      rootOnlyPatterns,
      selections: { ...same?.selections, ...(isSettled ? { [nameOf(selections)]: found } : {}) },
    };
    this.store.put(this.key, this.#record);
  }
}

function contextKey(root: string, ignoreText: string | undefined): string {
  return sha256Hex(canonicalJson({ v: SCAN_VERSION, root, ignore: ignoreText ?? null }));
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
async function walkOf(
  root: string,
  skip: readonly string[],
  native: Pick<NativeAddon, 'walkTree'>,
  cancel: CancelToken,
): Promise<NativeWalk | undefined> {
  try {
    return await native.walkTree(root, pathList(skip), cancel);
  } catch (error) {
    if (isCancelled(error)) {
      throw error;
    }
    return undefined;
  }
}

/**
 * What an ignore file decided of what was listed, and the fingerprint of a native walk that sees the same. Undefined for bytes that are no text.
 *
 * @param isKept - Whether the ignore file leaves a path in.
 */
export function decidedOf(
  listed: readonly Listed[],
  isKept: (path: string) => boolean,
): Pick<Walked, 'fingerprint' | 'skip' | 'hidden'> | undefined {
  const walked = new Set(listed.map(({ path }) => path));
  const skip: string[] = [];
  const hidden: string[] = [];
  const digests: string[] = [];
  for (const { path: directory, rows } of listed) {
    const prefix = directory === '/' ? '/' : `${directory}/`;
    const lines = [`${rows === null ? '!' : '>'}${directory.slice(1)}\0`];
    for (const [name, kind, mode, sizeBytes, dev, ino, mtimeNs, ctimeNs, link] of rows ?? []) {
      const path = prefix + name;
      if (!isKept(path)) {
        if (!walked.has(path)) {
          skip.push(path.slice(1));
          lines.push(`skipped ${kind} ${name}\0`);
          continue;
        }
        hidden.push(path.slice(1));
      }
      if (kind === 'file') {
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
  return { fingerprint: sha256Hex(digests.sort().join('')), skip, hidden };
}
