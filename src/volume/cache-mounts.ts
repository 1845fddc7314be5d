/**
 * Cache mounts: `mounts/NAME/data`, with the lock beside the data and not in it, where a step's `rm -rf` would take it.
 *
 * Mode and owner of a new directory belong to its identity, as in BuildKit: who asks for another owner gets another directory.
 * `private` users that come at the same time get `data-1`, `data-2`, … with `lock-1`, `lock-2`, …
 */
import { createHash, randomUUID } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../errors.ts';
import { type NativeLock, native } from '../native/addon.ts';
import { lockFile } from '../native/call-native.ts';

export interface CacheMountRequest {
  readonly id: string;
  readonly sharing: 'shared' | 'private' | 'locked';
  /** Of the directory when it is made. @defaultValue 0755 */
  readonly mode?: number;
  /** @defaultValue 0 */
  readonly uid?: number;
  /** @defaultValue 0 */
  readonly gid?: number;
  /** Puts into an empty directory what the cache begins with, and makes the directory itself look so. */
  readonly fill?: (directory: string) => Promise<void>;
}

export interface HeldCacheMount {
  readonly dir: string;
  release(): void;
}

/** What is stored under one id, all its directories together. */
export interface CacheMountFacts {
  readonly id: string;
  readonly sizeBytes: number;
  /** Directories: one, and more where steps wanted one for themselves or with another owner. */
  readonly copies: number;
  /** When a step last began or ended with it, in milliseconds since the epoch. */
  readonly usedMs: number;
  readonly inUse: boolean;
}

/**
 * What to do with directories that a step is using: leave them, take them away from whoever comes next, or do nothing at all
 * and say so.
 */
export type WhenInUse = 'keep' | 'detach' | 'refuse';

const MAX_NAME_LENGTH = 120;
const OPEN_MODE = 0o755;

export class CacheMounts {
  readonly #dir: string;
  /** Made or seen by this process; nobody removes these directories, only what is in them. */
  readonly #known = new Set<string>();
  /** Of locks that this process holds: who waits for one of their holders to let go. */
  readonly #held = new Map<string, { holders: number; readonly waiting: Set<() => void> }>();

  constructor(storeDir: string) {
    this.#dir = join(storeDir, 'mounts');
  }

  /** Waits while somebody else holds a `locked` one, or, for a `locked` one, while anybody uses it. */
  async acquire(request: CacheMountRequest, signal: AbortSignal): Promise<HeldCacheMount> {
    const base = this.#base(request);
    const { lock, suffix } =
      request.sharing === 'private'
        ? lockFree(base)
        : {
            lock: await this.#lock(join(base, 'lock'), request.sharing === 'shared', signal),
            suffix: '',
          };
    try {
      const dir = makeData(join(base, `data${suffix}`), request);
      if (request.fill !== undefined) {
        await seed(base, suffix, dir, request.fill, signal);
      }
      touch(base);
      return {
        dir,
        release: () => {
          touch(base);
          lock.release();
        },
      };
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** Which directory a request is for: the same text, the same directory. */
  static identity(request: Pick<CacheMountRequest, 'id' | 'mode' | 'uid' | 'gid'>): string {
    return `${nameOf(request.id)}${variantOf(request)}`;
  }

  /** What is there, by id; sorted by id. */
  async list(): Promise<readonly CacheMountFacts[]> {
    const byId = new Map<string, CacheMountFacts>();
    for (const { id, base, suffixes } of this.#all()) {
      if (suffixes.length === 0) {
        continue;
      }
      const before = byId.get(id);
      let sizeBytes = before?.sizeBytes ?? 0;
      let inUse = before?.inUse ?? false;
      for (const suffix of suffixes) {
        const entries = await native().scanTree(join(base, `data${suffix}`));
        sizeBytes += entries.reduce((sum, entry) => sum + (entry.kind === 'file' ? entry.sizeBytes : 0), 0);
        const lock = native().tryLock(join(base, `lock${suffix}`), false);
        inUse ||= lock === undefined;
        lock?.release();
      }
      byId.set(id, {
        id,
        sizeBytes,
        copies: (before?.copies ?? 0) + suffixes.length,
        usedMs: Math.max(before?.usedMs ?? 0, usedMs(base)),
        inUse,
      });
    }
    return [...byId.values()].sort((left, right) => (left.id < right.id ? -1 : 1));
  }

  /**
   * Removes the directories of these ids, or all.
   *
   * @returns How many ids have none left of those that had one.
   * @throws {UsageError} with `refuse`: `E_CACHE_MOUNT_NOT_FOUND`, `E_CACHE_MOUNT_IN_USE`.
   */
  async remove(ids: readonly string[] | undefined, whenInUse: WhenInUse = 'keep'): Promise<number> {
    const chosen = this.#all().filter(({ id }) => ids === undefined || ids.includes(id));
    const locks = new Map<string, NativeLock>();
    const lockPath = (base: string, suffix: string) => join(base, `lock${suffix}`);
    try {
      for (const { base, suffixes } of chosen) {
        for (const suffix of suffixes) {
          const path = lockPath(base, suffix);
          const lock = native().tryLock(path, false);
          if (lock !== undefined) {
            locks.set(path, lock);
          }
        }
      }
      if (whenInUse === 'refuse') {
        for (const id of ids ?? []) {
          const own = chosen.filter((each) => each.id === id && each.suffixes.length > 0);
          if (own.length === 0) {
            throw notFound(id);
          }
          if (own.some(({ base, suffixes }) => suffixes.some((each) => !locks.has(lockPath(base, each))))) {
            throw inUse(id);
          }
        }
      }
      const removed = new Set<string>();
      const kept = new Set<string>();
      for (const { id, base, suffixes } of chosen) {
        for (const suffix of suffixes) {
          const held = locks.has(lockPath(base, suffix));
          if (held || whenInUse === 'detach') {
            renameSync(join(base, `data${suffix}`), join(base, `gone-data${suffix}.${randomUUID()}`));
            removed.add(id);
          } else {
            kept.add(id);
          }
          if (held) {
            await removeGone(base, suffix);
          }
        }
      }
      return [...removed].filter((id) => !kept.has(id)).length;
    } finally {
      for (const lock of locks.values()) {
        lock.release();
      }
    }
  }

  /**
   * The directory of an id that was used last, which nobody else has until it is released.
   *
   * @throws {UsageError} `E_CACHE_MOUNT_NOT_FOUND`, `E_CACHE_MOUNT_IN_USE`
   */
  hold(id: string): HeldCacheMount {
    const found = this.#latest(id);
    if (found === undefined) {
      throw notFound(id);
    }
    const { base, suffix } = found;
    const lock = native().tryLock(join(base, `lock${suffix}`), false);
    if (lock === undefined) {
      throw inUse(id);
    }
    return { dir: join(base, `data${suffix}`), release: () => lock.release() };
  }

  /**
   * Makes a directory anew: `fill` is given an empty one, which takes the place of the one that was used last, or is the first
   * of its id. When `fill` fails nothing has changed.
   *
   * @throws {UsageError} `E_CACHE_MOUNT_IN_USE`
   */
  async replace(id: string, fill: (directory: string) => Promise<void>): Promise<void> {
    const { base, suffix } = this.#latest(id) ?? { base: this.#base({ id }), suffix: '' };
    const lock = native().tryLock(join(base, `lock${suffix}`), false);
    if (lock === undefined) {
      throw inUse(id);
    }
    const data = join(base, `data${suffix}`);
    const fresh = join(base, `fresh-${randomUUID()}`);
    try {
      makeData(fresh, {});
      await fill(fresh);
      // The directory itself belongs to whom it did, whatever fills it.
      chownSync(fresh, 0, 0);
      chmodSync(fresh, OPEN_MODE);
      if (existsSync(data)) {
        native().copyAttributes(data, fresh);
        renameSync(data, join(base, `gone-data${suffix}.${randomUUID()}`));
      }
      renameSync(fresh, data);
      touch(base);
      await removeGone(base, suffix);
    } finally {
      await native().removeTree(fresh);
      lock.release();
    }
  }

  /** Waits for other steps of this process without asking again and again, which other processes leave no choice but to. */
  async #lock(path: string, shared: boolean, signal: AbortSignal): Promise<NativeLock> {
    for (;;) {
      signal.throwIfAborted();
      const own = this.#held.get(path);
      const lock =
        native().tryLock(path, shared) ??
        (own === undefined ? await lockFile(path, shared, signal) : undefined);
      if (lock !== undefined) {
        return this.#holding(path, lock);
      }
      await released(own?.waiting ?? new Set(), signal);
    }
  }

  #holding(path: string, lock: NativeLock): NativeLock {
    const own = this.#held.get(path) ?? { holders: 0, waiting: new Set() };
    own.holders += 1;
    this.#held.set(path, own);
    return {
      release: () => {
        lock.release();
        own.holders -= 1;
        if (own.holders === 0) {
          this.#held.delete(path);
        }
        for (const wake of own.waiting) {
          wake();
        }
      },
    };
  }

  #base(request: Pick<CacheMountRequest, 'id' | 'mode' | 'uid' | 'gid'>): string {
    const base = join(this.#dir, CacheMounts.identity(request));
    if (!this.#known.has(base)) {
      mkdirSync(base, { recursive: true, mode: 0o700 });
      writeFileSync(join(base, 'id'), request.id);
      this.#known.add(base);
    }
    return base;
  }

  #latest(id: string): { readonly base: string; readonly suffix: string } | undefined {
    const [latest] = this.#all()
      .filter((each) => each.id === id && each.suffixes.length > 0)
      .sort((left, right) => usedMs(right.base) - usedMs(left.base));
    return latest === undefined ? undefined : { base: latest.base, suffix: latest.suffixes[0] ?? '' };
  }

  #all(): { readonly id: string; readonly base: string; readonly suffixes: readonly string[] }[] {
    return readdirSync(this.#dir).flatMap((name) => {
      const base = join(this.#dir, name);
      try {
        const suffixes = readdirSync(base)
          .filter((each) => /^data(-\d+)?$/.test(each))
          .map((each) => each.slice('data'.length))
          .sort();
        return [{ id: readFileSync(join(base, 'id'), 'utf8'), base, suffixes }];
      } catch {
        return [];
      }
    });
  }
}

/** An id is any text; a file name is not. */
function nameOf(id: string): string {
  // Halves of surrogate pairs have no encoding.
  const name = id.isWellFormed() ? encodeURIComponent(id).replace(/^\./, '%2E') : '';
  return name.length > 0 && name.length <= MAX_NAME_LENGTH
    ? name
    : // No encoded id begins like this.
      `%sha256-${createHash('sha256').update(JSON.stringify(id)).digest('hex')}`;
}

/** No encoded id ends like this. */
function variantOf({
  mode = OPEN_MODE,
  uid = 0,
  gid = 0,
}: Pick<CacheMountRequest, 'mode' | 'uid' | 'gid'>): string {
  return mode === OPEN_MODE && uid === 0 && gid === 0 ? '' : `%m${mode.toString(8)}-${uid}-${gid}`;
}

function lockFree(base: string): { readonly lock: NativeLock; readonly suffix: string } {
  for (let number = 0; ; number += 1) {
    const suffix = number === 0 ? '' : `-${number}`;
    const lock = native().tryLock(join(base, `lock${suffix}`), false);
    if (lock !== undefined) {
      return { lock, suffix };
    }
  }
}

async function released(waiting: Set<() => void>, signal: AbortSignal): Promise<void> {
  let wake: () => void = () => undefined;
  try {
    await new Promise<void>((resolve) => {
      wake = resolve;
      waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  } finally {
    waiting.delete(wake);
    signal.removeEventListener('abort', wake);
  }
}

function makeData(dir: string, { mode, uid, gid }: Pick<CacheMountRequest, 'mode' | 'uid' | 'gid'>): string {
  if (mkdirSync(dir, { recursive: true }) !== undefined) {
    try {
      chownSync(dir, uid ?? 0, gid ?? 0);
    } catch (error) {
      // There is one id, and steps that belong to others only seem to.
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL') {
        throw error;
      }
    }
    chmodSync(dir, mode ?? OPEN_MODE);
  }
  return dir;
}

/**
 * Fills an empty directory once, whoever shares it. A marker beside it tells a seed that was cut short from a cache that is in
 * use; it is begun anew then.
 */
async function seed(
  base: string,
  suffix: string,
  dir: string,
  fill: (directory: string) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const marker = join(base, `seeding${suffix}`);
  const wanted = () => existsSync(marker) || readdirSync(dir).length === 0;
  if (!wanted()) {
    return;
  }
  const lock = await lockFile(join(base, `seed-lock${suffix}`), false, signal);
  try {
    if (!wanted()) {
      return;
    }
    writeFileSync(marker, '');
    for (const name of readdirSync(dir, { encoding: 'buffer' })) {
      await native().removeInRoot(dir, name.toString('utf8'));
    }
    await fill(dir);
    unlinkSync(marker);
  } finally {
    lock.release();
  }
}

/** Only for who holds the lock: whoever used what was detached is gone then. */
async function removeGone(base: string, suffix: string): Promise<void> {
  const name = `gone-data${suffix}`;
  for (const each of readdirSync(base)) {
    if (each === name || each.startsWith(`${name}.`)) {
      await native().removeTree(join(base, each));
    }
  }
}

function touch(base: string): void {
  const now = new Date();
  utimesSync(join(base, 'id'), now, now);
}

function usedMs(base: string): number {
  return statSync(join(base, 'id')).mtimeMs;
}

function notFound(id: string): UsageError {
  return new UsageError(`there is no cache mount '${id}'`, {
    code: 'E_CACHE_MOUNT_NOT_FOUND',
    hint: '`tsbuild cache-mount list` shows what there is',
  });
}

function inUse(id: string): UsageError {
  return new UsageError(`the cache mount '${id}' is in use`, {
    code: 'E_CACHE_MOUNT_IN_USE',
    hint: 'wait until the build that uses it has ended',
  });
}
