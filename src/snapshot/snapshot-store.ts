/**
 * Where layers lie: `snapshots/ID/fs` with `owners` beside it, never changed after they were renamed into place, and the work directory under
 * `tmp/` where they are made. The work directory belongs to one process, which holds a lock file beside it; whoever
 * finds the lock free may sweep it.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HostError, InternalError } from '../errors.ts';
import { type NativeLock, native } from '../native/addon.ts';
import type { LayerId } from '../solver/op.ts';
import type { Mountpoint } from './driver.ts';
import { makeBottomSkeleton } from './mountpoints.ts';
import { ownersBeside } from './owners.ts';

const LAYER_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$/;
/** About ten inodes each. */
const RUBBISH_LIMIT = 256;
/** Of the work directories in `tmp/`. */
export const WORK_PREFIX = 'worker-';
/** Of directories in `tmp/` that hold volumes without a name, locked alike. */
export const EPHEMERAL_PREFIX = 'ephemeral-';

export class SnapshotStore {
  readonly storeDir: string;
  /** `tmp/worker-ID`: what a killed process leaves here is swept by the next. */
  readonly workDir: string;
  readonly #lock: NativeLock;
  readonly #skeletons = new Map<string, string>();
  readonly #rubbish: string[] = [];
  #count = 0;

  private constructor(storeDir: string, workDir: string, lock: NativeLock) {
    this.storeDir = storeDir;
    this.workDir = workDir;
    this.#lock = lock;
  }

  /** Makes the directories and a work directory of our own. */
  static open(storeDir: string): SnapshotStore {
    const tmp = join(storeDir, 'tmp');
    for (const part of ['tmp', 'snapshots', 'mounts', 'logs']) {
      mkdirSync(join(storeDir, part), { recursive: true, mode: 0o700 });
    }
    const workDir = join(tmp, `${WORK_PREFIX}${native().randomHex(16)}`);
    // The lock before the directory: a sweeper never sees one without the other.
    const lock = native().tryLock(`${workDir}.lock`, false);
    if (lock === undefined) {
      throw new InternalError('a fresh lock file is held by somebody else');
    }
    mkdirSync(join(workDir, 'empty'), { recursive: true, mode: 0o700 });
    return new SnapshotStore(storeDir, workDir, lock);
  }

  /** Removes the work directories of processes that are gone. */
  async sweep(): Promise<number> {
    const tmp = join(this.storeDir, 'tmp');
    const names = new Set(
      readdirSync(tmp)
        .filter((name) => [WORK_PREFIX, EPHEMERAL_PREFIX].some((prefix) => name.startsWith(prefix)))
        .map((name) => name.replace(/\.lock$/, '')),
    );
    let swept = 0;
    for (const name of names) {
      const path = join(tmp, name);
      if (path === this.workDir) {
        continue;
      }
      const lock = native().tryLock(`${path}.lock`, false);
      if (lock === undefined) {
        continue;
      }
      try {
        await native().removeTree(path);
        rmSync(`${path}.lock`, { force: true });
        swept += 1;
      } finally {
        lock.release();
      }
    }
    return swept;
  }

  /** The directory of a layer that must be there. */
  layerDir(layer: LayerId): string {
    const path = `${this.#pathOf(layer)}/fs`;
    if (!existsSync(path)) {
      throw new HostError(`layer '${layer}' is missing from the store`, {
        code: 'E_SNAPSHOT_MISSING',
        path,
        hint: 'something removed it while it was in use; build again',
      });
    }
    return path;
  }

  /** The file that records what the layer's files on disk cannot have; mostly there is none. */
  ownersFile(layer: LayerId): string {
    return ownersBeside(`${this.#pathOf(layer)}/fs`);
  }

  has(layer: LayerId): boolean {
    return existsSync(`${this.#pathOf(layer)}/fs`);
  }

  /** A fresh directory in the work directory. */
  scratch(label: string): string {
    this.#count += 1;
    const path = join(this.workDir, `${this.#count}-${label}`);
    mkdirSync(path, { mode: 0o700 });
    return path;
  }

  /** An empty directory that nobody writes to. */
  get emptyDir(): string {
    return join(this.workDir, 'empty');
  }

  /** A bottom layer with these mountpoints; the same ones share it. */
  skeleton(mountpoints: readonly Mountpoint[]): string {
    const key = JSON.stringify(mountpoints);
    const known = this.#skeletons.get(key);
    if (known !== undefined) {
      return known;
    }
    const dir = this.scratch('skeleton');
    makeBottomSkeleton(mountpoints, dir);
    this.#skeletons.set(key, dir);
    return dir;
  }

  /**
   * Removes a few small directories when there are many, or at the end. ext4 passes over inodes that were freed less than
   * five seconds ago, one by one: a step that cleans up at once makes the next ones' mounts ten times slower.
   */
  removeLater(dir: string): void {
    this.#rubbish.push(dir);
    if (this.#rubbish.length >= RUBBISH_LIMIT) {
      const dirs = this.#rubbish.splice(0);
      void Promise.all(dirs.map((path) => native().removeTree(path))).catch(() => {
        // Swept at the end, or by the next worker.
      });
    }
  }

  /** Moves `dir`, which holds `fs`, into place. False when the layer was there already; `dir` then stays. */
  publish(dir: string, layer: LayerId): boolean {
    try {
      renameSync(dir, this.#pathOf(layer));
      return true;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENOTEMPTY' || code === 'EEXIST') {
        return false;
      }
      throw error;
    }
  }

  /** Removes a layer; moved away first, so that it is there as a whole or not at all. */
  async remove(layer: LayerId): Promise<boolean> {
    const away = this.scratch('removed');
    try {
      renameSync(this.#pathOf(layer), join(away, 'layer'));
    } catch (error) {
      rmdirSync(away);
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
        return false;
      }
      throw error;
    }
    await native().removeTree(away);
    return true;
  }

  layers(): LayerId[] {
    return readdirSync(join(this.storeDir, 'snapshots')).filter((name) => LAYER_ID.test(name)) as LayerId[];
  }

  async close(): Promise<void> {
    await native().removeTree(this.workDir);
    rmSync(`${this.workDir}.lock`, { force: true });
    this.#lock.release();
  }

  #pathOf(layer: LayerId): string {
    if (!LAYER_ID.test(layer)) {
      throw new InternalError(`not a layer id: '${layer}'`);
    }
    // Not joined: it is asked for each layer below each step.
    return `${this.storeDir}/snapshots/${layer}`;
  }
}
