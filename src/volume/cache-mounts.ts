/**
 * Cache mounts: `mounts/NAME/data`, with the lock beside the data and not in it, where a step's `rm -rf` would take it.
 */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { native } from '../native/addon.ts';
import { lockFile } from '../native/call-native.ts';

export interface CacheMountRequest {
  readonly id: string;
  readonly sharing: 'shared' | 'private' | 'locked';
  /** Of the directory when it is made. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

export interface HeldCacheMount {
  readonly dir: string;
  release(): void;
}

const MAX_NAME_LENGTH = 120;
const OPEN_MODE = 0o755;

export class CacheMounts {
  readonly #dir: string;
  /** Made or seen by this process; nobody removes these directories, only what is in them. */
  readonly #known = new Set<string>();

  constructor(storeDir: string) {
    this.#dir = join(storeDir, 'mounts');
  }

  /** Waits while somebody else holds a `locked` one, or, for a `locked` one, while anybody uses it. */
  async acquire(request: CacheMountRequest, signal: AbortSignal): Promise<HeldCacheMount> {
    const base = join(this.#dir, nameOf(request.id));
    if (!this.#known.has(base)) {
      mkdirSync(base, { recursive: true, mode: 0o700 });
      writeFileSync(join(base, 'id'), request.id);
      this.#known.add(base);
    }
    if (request.sharing === 'private') {
      return this.#acquirePrivate(base, request);
    }
    const lock = await lockFile(join(base, 'lock'), request.sharing === 'shared', signal);
    return { dir: makeData(join(base, 'data'), request), release: () => lock.release() };
  }

  /** Bytes on disk by id. */
  async usage(): Promise<Record<string, number>> {
    const sizes: Record<string, number> = {};
    for (const [id, dir] of this.#all()) {
      const entries = await native().scanTree(dir);
      sizes[id] = entries.reduce((sum, entry) => sum + (entry.kind === 'file' ? entry.sizeBytes : 0), 0);
    }
    return sizes;
  }

  /** Removes those that nobody uses. */
  async remove(ids: readonly string[] | undefined): Promise<number> {
    let removed = 0;
    for (const [id, dir] of this.#all()) {
      if (ids !== undefined && !ids.includes(id)) {
        continue;
      }
      const lock = native().tryLock(join(dir, 'lock'), false);
      if (lock === undefined) {
        continue;
      }
      try {
        for (const name of readdirSync(dir).filter((name) => name.startsWith('data'))) {
          const held = native().tryLock(join(dir, name.replace('data', 'lock')), false) ?? undefined;
          if (name !== 'data' && held === undefined) {
            continue;
          }
          const away = join(dir, `gone-${name}`);
          await native().removeTree(away);
          renameSync(join(dir, name), away);
          await native().removeTree(away);
          held?.release();
        }
        removed += 1;
      } finally {
        lock.release();
      }
    }
    return removed;
  }

  #acquirePrivate(base: string, request: CacheMountRequest): HeldCacheMount {
    for (let number = 0; ; number += 1) {
      const suffix = number === 0 ? '' : `-${number}`;
      const lock = native().tryLock(join(base, `lock${suffix}`), false);
      if (lock !== undefined) {
        return { dir: makeData(join(base, `data${suffix}`), request), release: () => lock.release() };
      }
    }
  }

  #all(): [id: string, dir: string][] {
    return readdirSync(this.#dir).flatMap((name) => {
      const dir = join(this.#dir, name);
      try {
        return [[readFileSync(join(dir, 'id'), 'utf8'), dir] as [string, string]];
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

function makeData(dir: string, { mode, uid, gid }: CacheMountRequest): string {
  if (mkdirSync(dir, { recursive: true }) !== undefined) {
    chownSync(dir, uid ?? 0, gid ?? 0);
    chmodSync(dir, mode ?? OPEN_MODE);
  }
  return dir;
}
