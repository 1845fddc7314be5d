/**
 * One directory per user, shared by all engines of that user. What is in it is described in docs/reference/store.md.
 *
 * Every engine is registered with the time of its start and a lock file that it holds. Look-ups mark what they find as
 * used, so whoever collects garbage can leave alone what was used since the oldest living engine began.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { AttemptRecords } from '../content/attempt-records.ts';
import { BlobStore } from '../content/blob-store.ts';
import { ImageRecords } from '../content/image-records.ts';
import { LayerRecords } from '../content/layer-records.ts';
import { MetaDb } from '../content/meta-db.ts';
import { PublishedNames } from '../content/published-names.ts';
import { SourceRecords } from '../content/source-records.ts';
import { SqliteStatCache } from '../content/stat-cache.ts';
import { HostError, InternalError } from '../errors.ts';
import { type NativeLock, native } from '../native/addon.ts';
import { EPHEMERAL_PREFIX, WORK_PREFIX } from '../snapshot/snapshot-store.ts';

export class Store {
  readonly dir: string;
  readonly meta: MetaDb;
  readonly blobs: BlobStore;
  readonly layers: LayerRecords;
  readonly images: ImageRecords;
  readonly published: PublishedNames;
  readonly attempts: AttemptRecords;
  readonly stats: SqliteStatCache;
  readonly sources: SourceRecords;
  readonly #engineId: string;
  readonly #lock: NativeLock;

  private constructor(dir: string, meta: MetaDb, engineId: string, lock: NativeLock) {
    this.dir = dir;
    this.meta = meta;
    this.blobs = new BlobStore(dir);
    this.layers = new LayerRecords(meta);
    this.images = new ImageRecords(meta);
    this.published = new PublishedNames(meta);
    this.attempts = new AttemptRecords(meta);
    this.stats = new SqliteStatCache(meta);
    this.sources = new SourceRecords(meta);
    this.#engineId = engineId;
    this.#lock = lock;
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
      for (const part of ['tmp', 'locks', 'logs']) {
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
    const engineId = randomUUID();
    const lock = native().tryLock(engineLockPath(dir, engineId), false);
    if (lock === undefined) {
      throw new InternalError('a fresh lock file is held by somebody else');
    }
    meta.db.prepare('INSERT INTO engines VALUES (?, ?)').run(engineId, now());
    return new Store(dir, meta, engineId, lock);
  }

  /**
   * The time at which the oldest other engine that lives began; infinity when there is none. Records of dead ones are removed.
   * Call it within the transaction that removes what was last used before.
   */
  oldestOtherEngineMs(): number {
    this.#forgetDeadEngines();
    const row = this.meta.db
      .prepare('SELECT min(started_ms) AS oldest FROM engines WHERE id <> ?')
      .get(this.#engineId);
    return row?.oldest === null || row === undefined ? Number.POSITIVE_INFINITY : Number(row.oldest);
  }

  #forgetDeadEngines(): string[] {
    const dead: string[] = [];
    for (const row of this.meta.db.prepare('SELECT id FROM engines WHERE id <> ?').all(this.#engineId)) {
      const id = String(row.id);
      const path = engineLockPath(this.dir, id);
      const free = native().tryLock(path, false);
      if (free !== undefined) {
        this.meta.db.prepare('DELETE FROM engines WHERE id = ?').run(id);
        rmSync(path, { force: true });
        free.release();
        dead.push(id);
      }
    }
    return dead;
  }

  /**
   * Removes what engines that are gone left in `tmp/`.
   *
   * @returns Whether something is left that only a worker can remove.
   */
  async sweep(): Promise<boolean> {
    const dead = this.meta.transaction(() => this.#forgetDeadEngines());
    const tmp = join(this.dir, 'tmp');
    for (const id of dead) {
      await rm(join(tmp, `engine-${id}`), { recursive: true, force: true });
    }
    if (dead.length > 0) {
      await this.blobs.sweep();
    }
    // A worker may be killed without its engine. Those that live have locked theirs before it was there.
    return (await readdir(tmp)).some(
      (name) =>
        [WORK_PREFIX, EPHEMERAL_PREFIX].some((prefix) => name.startsWith(prefix)) &&
        !name.endsWith('.lock') &&
        isFree(join(tmp, `${name}.lock`)),
    );
  }

  /** A directory below `tmp/` for unfinished things of this engine, not made yet. */
  scratchDir(name: string): string {
    return join(this.dir, 'tmp', `engine-${this.#engineId}`, name);
  }

  /** The path of a file in a directory for unfinished things, which is made. */
  scratchFile(name: string): string {
    const directory = this.scratchDir('');
    mkdirSync(directory, { recursive: true });
    return join(directory, name);
  }

  close(): void {
    rmSync(join(this.dir, 'tmp', `engine-${this.#engineId}`), { recursive: true, force: true });
    this.meta.db.prepare('DELETE FROM engines WHERE id = ?').run(this.#engineId);
    rmSync(engineLockPath(this.dir, this.#engineId), { force: true });
    this.#lock.release();
    this.meta.close();
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

function engineLockPath(dir: string, engineId: string): string {
  return join(dir, 'locks', `engine-${engineId}`);
}
