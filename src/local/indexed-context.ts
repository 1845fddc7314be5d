/** A context of which native code knows everything: nothing crosses but what an instruction names. */
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pathText } from '../base/path-bytes.ts';
import { sha256Hex } from '../base/sha256.ts';
import type { ContextInput } from '../frontend/dockerfile/context-input.ts';
import type { CancelToken, ListingRow, NativeTreeIndex, NativeWalk } from '../native/addon.ts';
import { choiceOf, pathList } from '../native/path-list.ts';
import { randomName } from '../native/random-name.ts';
import { sha256Digest } from '../oci/digest.ts';
import { type IgnoreFile, parseIgnoreFile } from '../patterns/ignore-file.ts';
import { IndexedTree } from '../patterns/indexed-tree.ts';
import { cancellable } from './cancellable.ts';
import { type ContextEntry, contextTop } from './context-tree.ts';
import {
  type Chosen,
  type ContextFiles,
  type ContextTools,
  type FoundContext,
  NotText,
} from './found-context.ts';
import type { NamesRecord, ScanMemory, Walked } from './scan-memory.ts';
import { isRacy, settledBefore } from './stat-cache.ts';

export class IndexedContext implements FoundContext {
  readonly #index: NativeTreeIndex;
  readonly #saved: SavedIndex;
  readonly #ignoreText: ContextInput['ignore'];
  readonly #walked: Walked;
  #isAsSeen = true;
  #hashing: Promise<unknown> = Promise.resolve();
  readonly root: string;
  readonly tree: IndexedTree<ContextEntry, ListingRow>;
  readonly denied: ReadonlySet<string>;
  readonly #rootOnlyPatterns: readonly string[];

  private constructor(
    index: NativeTreeIndex,
    saved: SavedIndex,
    ignore: ContextInput['ignore'],
    names: NamesRecord,
    walked: Walked,
  ) {
    this.#index = index;
    this.#saved = saved;
    this.#ignoreText = ignore;
    this.#walked = walked;
    this.root = saved.root;
    this.tree = new IndexedTree(index, contextTop, entryOf);
    this.denied = new Set(index.denied().map((path) => `/${pathText(path)}`));
    this.#rootOnlyPatterns = names.rootOnlyPatterns;
  }

  /** Of a walk that skipped what the names decided. */
  static async of(
    walk: NativeWalk,
    names: NamesRecord,
    memory: ScanMemory,
    ignore: ContextInput['ignore'],
  ): Promise<IndexedContext> {
    const { fingerprint, newestNs } = walk;
    const { skip, hidden, rootOnlyPatterns } = names;
    const isSettled = !isRacy({ mtimeNs: newestNs, ctimeNs: newestNs }, memory.startedNs);
    const walked = { fingerprint, names: walk.names, skip, hidden, rootOnlyPatterns, isSettled };
    const saved = new SavedIndex(memory);
    const index = await walk.index(pathList(hidden), await saved.known());
    return new IndexedContext(index, saved, ignore, names, walked);
  }

  get ignore(): IgnoreFile | undefined {
    const given = this.#ignoreText;
    return given !== undefined && 'text' in given ? parseIgnoreFile(given.text, given.name) : undefined;
  }

  hostPath(path: string): string {
    return path === '/' ? this.root : `${this.root}${path}`;
  }

  async filesOf({ entries, below }: Chosen, tools: ContextTools): Promise<ContextFiles> {
    const index = this.#index;
    const choice = choiceOf(
      entries.keys(),
      below.map(({ directory }) => directory),
    );
    await this.#hash(choice, tools);
    const { contentDigest, leftOut, notText } = index.summarize(choice);
    if (notText !== undefined) {
      throw new NotText(JSON.parse(notText));
    }
    return {
      contentDigest: sha256Digest(contentDigest),
      leftOut: JSON.parse(leftOut),
      rootOnlyPatterns: this.#rootOnlyPatterns,
      get files() {
        return JSON.parse(index.files(choice));
      },
      get summary() {
        return Object.fromEntries(JSON.parse(index.summary(choice)));
      },
      get listing() {
        return index.listing(choice);
      },
      later: (ns) => JSON.parse(index.later(choice, String(ns))),
      // What names its files is shorter than all that is known.
      ...(below.length === 0 ? {} : { saveIndex: (path) => index.save(path, false) }),
      ...(this.#isAsSeen ? { walked: this.#walked } : {}),
    };
  }

  /** One after the other: what two instructions share is hashed by the first. */
  async #hash(choice: Buffer, tools: ContextTools): Promise<void> {
    const before = this.#hashing.catch(() => undefined);
    const hashing = before.then(async () => {
      const settledNs = String(settledBefore(tools.now()));
      const doing = `cannot read the context '${this.root}'`;
      const { filesRead, isAsSeen } = await cancellable(tools, doing, (cancel: CancelToken) =>
        this.#index.hash(choice, settledNs, cancel),
      );
      this.#isAsSeen &&= isAsSeen;
      if (filesRead > 0) {
        await this.#saved.save(this.#index);
      }
    });
    this.#hashing = hashing;
    await hashing;
  }
}

function entryOf([, kind, mode, sizeBytes, dev, ino, mtimeNs, ctimeNs, link]: ListingRow): ContextEntry {
  const facts = { sizeBytes, dev, ino, mtimeNs, ctimeNs };
  return link === undefined ? { kind, mode, facts } : { kind, mode, facts, link };
}

/** A context that nobody built for so long is read again. */
const KEPT_MS = 30 * 24 * 3_600_000;
const NAME_DIGITS = 32;

/** What later builds take contents of unchanged files from: a file for each context, docs/reference/store.md. Losing one costs time. */
class SavedIndex {
  readonly root: string;
  readonly #directory: string;
  readonly #scratchFile: (name: string) => string;
  /** Contexts of one directory begin alike, whatever they ignore. */
  readonly #prefix: string;
  readonly #name: string;

  constructor({ root, key, store }: ScanMemory) {
    this.root = root;
    this.#directory = store.directory;
    this.#scratchFile = (name) => store.scratchFile(name);
    this.#prefix = `${sha256Hex(root).slice(0, NAME_DIGITS)}-`;
    this.#name = `${this.#prefix}${key.slice(0, NAME_DIGITS)}`;
  }

  /** Its own, or those of the same directory with other ignore files. */
  async known(): Promise<string[]> {
    const names = await readdir(this.#directory).catch((): string[] => []);
    const known = names.includes(this.#name)
      ? [this.#name]
      : names.filter((name) => name.startsWith(this.#prefix));
    return known.map((name) => join(this.#directory, name));
  }

  async save(index: NativeTreeIndex): Promise<void> {
    const path = join(this.#directory, this.#name);
    const fresh = this.#scratchFile(`${this.#name}-${randomName()}`);
    try {
      await mkdir(this.#directory, { recursive: true });
      await index.save(fresh, true);
      await rename(fresh, path);
      await this.#forget();
    } catch {
      // The next build reads the files again.
      await rm(fresh, { force: true }).catch(() => undefined);
    }
  }

  async #forget(): Promise<void> {
    for (const name of await readdir(this.#directory)) {
      const path = join(this.#directory, name);
      const { mtimeMs } = await stat(path);
      if (Date.now() - mtimeMs > KEPT_MS) {
        await rm(path, { force: true });
      }
    }
  }
}
