/**
 * One directory per user, shared by all engines of that user. What is in it is described in docs/reference/store.md.
 *
 * Every engine holds a lock file whose name tells when it began. Look-ups mark what they find as used, so whoever collects
 * garbage can leave alone what was used since the oldest living engine began.
 */
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { AttemptRecords } from '../content/attempt-records.ts';
import { BlobStore } from '../content/blob-store.ts';
import { ImageRecords } from '../content/image-records.ts';
import { LayerRecords } from '../content/layer-records.ts';
import { MetaDb } from '../content/meta-db.ts';
import { PublishedNames } from '../content/published-names.ts';
import { ScanRecords } from '../content/scan-records.ts';
import { SourceRecords } from '../content/source-records.ts';
import { SqliteStatCache } from '../content/stat-cache.ts';
import { USED_PRECISION_MS } from '../content/used-rows.ts';
import { HostError } from '../errors.ts';
import { native } from '../native/addon.ts';
import { EPHEMERAL_PREFIX, WORK_PREFIX } from '../snapshot/snapshot-store.ts';
import { EngineLease } from './engine-leases.ts';

export class Store {
  readonly dir: string;
  readonly meta: MetaDb;
  readonly blobs: BlobStore;
  readonly layers: LayerRecords;
  readonly images: ImageRecords;
  readonly published: PublishedNames;
  readonly attempts: AttemptRecords;
  readonly stats: SqliteStatCache;
  readonly scans: ScanRecords;
  readonly sources: SourceRecords;
  readonly #lease: EngineLease;

  private constructor(dir: string, meta: MetaDb, lease: EngineLease) {
    this.dir = dir;
    this.meta = meta;
    this.blobs = new BlobStore(dir);
    this.layers = new LayerRecords(meta);
    this.images = new ImageRecords(meta);
    this.published = new PublishedNames(meta);
    this.attempts = new AttemptRecords(meta);
    this.stats = new SqliteStatCache(meta);
    this.scans = new ScanRecords(meta, join(dir, 'scans'), (name) => this.scratchFile(name));
    this.sources = new SourceRecords(meta);
    this.#lease = lease;
  }

  /**
   * Opens or makes the store.
   *
   * @param now - Milliseconds since the epoch.
   * @throws {HostError} `E_IO` when the directory cannot be made or written, `E_STORE_VERSION`.
   */
  static open(path: string, now: () => number): Store {
    // The worker and the sandbox have working directories of their own.
    const dir = resolve(path);
    try {
      makePath(dir);
      for (const part of ['tmp', 'locks', 'engines', 'logs']) {
        mkdirSync(join(dir, part), { recursive: true, mode: 0o700 });
      }
    } catch (cause) {
      throw new HostError(`cannot make the store '${dir}': ${(cause as Error).message}`, {
        code: 'E_IO',
        path: dir,
        cause,
        hint: 'set TSBUILD_HOME to a directory that you may write to',
      });
    }
    const meta = MetaDb.open(dir, now);
    try {
      return new Store(dir, meta, EngineLease.take(dir, now()));
    } catch (error) {
      meta.close();
      throw error;
    }
  }

  /**
   * Decides what to remove, all or nothing: nobody else writes meanwhile, and no engine begins. Look-ups of those that live are
   * held by {@link oldestOtherEngineMs}.
   */
  collect<T>(work: () => T): T {
    return this.#lease.whileNobodyBegins(() => this.meta.transaction(work));
  }

  /**
   * What was used at that time or later may be in use by another engine; infinity when there is none. Only within {@link collect}.
   */
  oldestOtherEngineMs(): number {
    const started = this.#lease.others(() => undefined).map(({ startedMs }) => startedMs);
    return Math.min(...started) - USED_PRECISION_MS;
  }

  /**
   * Removes what engines that are gone left in `tmp/`.
   *
   * @returns Whether something is left that only a worker can remove.
   */
  async sweep(): Promise<boolean> {
    const dead: string[] = [];
    this.#lease.others((id) => dead.push(id));
    const tmp = join(this.dir, 'tmp');
    for (const id of dead) {
      await rm(join(tmp, `engine-${id}`), { recursive: true, force: true });
    }
    if (dead.length > 0) {
      await this.blobs.sweep();
    }
    // A worker may be killed without its engine. Those that live have locked theirs before it was there.
    return readdirSync(tmp).some(
      (name) =>
        [WORK_PREFIX, EPHEMERAL_PREFIX].some((prefix) => name.startsWith(prefix)) &&
        !name.endsWith('.lock') &&
        isFree(join(tmp, `${name}.lock`)),
    );
  }

  /** A directory below `tmp/` for unfinished things of this engine, not made yet. */
  scratchDir(name: string): string {
    return join(this.dir, 'tmp', `engine-${this.#lease.id}`, name);
  }

  /** The path of a file in a directory for unfinished things, which is made. */
  scratchFile(name: string): string {
    const directory = this.scratchDir('');
    mkdirSync(directory, { recursive: true });
    return join(directory, name);
  }

  close(): void {
    rmSync(join(this.dir, 'tmp', `engine-${this.#lease.id}`), { recursive: true, force: true });
    this.#lease.release();
    this.meta.closeSoon();
  }
}

function isFree(lockPath: string): boolean {
  const lock = native().tryLock(lockPath, false);
  lock?.release();
  return lock !== undefined;
}

/** Where the bare repositories of a store are. */
export function gitDir(storeDir: string): string {
  return join(storeDir, 'git');
}

/** Held by whoever works in one of them. */
export function gitLockPath(storeDir: string, name: string): string {
  return join(storeDir, 'locks', `git-${name}`);
}

/**
 * Node's own `recursive` never ends where making a directory fails with ENOENT although its parent is there, as in `/proc`.
 */
function makePath(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') {
      return;
    }
    const parent = dirname(path);
    if (code !== 'ENOENT' || existsSync(parent)) {
      throw error;
    }
    makePath(parent);
    mkdirSync(path, { mode: 0o700 });
  }
}
