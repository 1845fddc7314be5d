/**
 * A store belongs to one mapping of user ids: its files keep the ids of the one that they were written under. A map that
 * only adds ids is fine. Then what was recorded for want of ids becomes real (docs/reference/store.md, "Owners"), which
 * nobody who has fewer ids may see half done.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HostError } from '../errors.ts';
import { type NativeLock, native } from '../native/addon.ts';
import { randomName } from '../native/random-name.ts';
import type { SnapshotStore } from '../snapshot/snapshot-store.ts';

/** inside, outside, count */
type IdRange = readonly [number, number, number];

export interface IdMap {
  readonly version: 1;
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
}

interface StoredMap extends IdMap {
  /** The map has grown, and layers written before may still have records of what can be real now. */
  readonly settling?: true;
}

const ALL_IDS = 0xffffffff;

export function ownIdMap(): IdMap {
  const read = (path: string): IdRange[] =>
    readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/).map(Number) as [number, number, number]);
  return { version: 1, uids: read('/proc/self/uid_map'), gids: read('/proc/self/gid_map') };
}

/** Name space of overlay attributes: `trusted.` is for whoever is root outside of namespaces. */
export function overlayXattrsOf(map: IdMap): 'user' | 'trusted' {
  return isMapped(map) ? 'user' : 'trusted';
}

/** Whether the ids are not the host's. */
function isMapped(map: IdMap): boolean {
  return !(map.uids.length === 1 && map.uids[0]?.[2] === ALL_IDS);
}

/**
 * Makes the store fit for this process, and keeps it so until the lock is released.
 *
 * @throws {HostError} `E_STORE_MAP`
 */
export async function claimStore(snapshots: SnapshotStore, map: IdMap): Promise<NativeLock> {
  const { storeDir } = snapshots;
  const path = join(storeDir, 'idmap.json');
  mkdirSync(join(storeDir, 'locks'), { recursive: true, mode: 0o700 });
  const lockPath = join(storeDir, 'locks', 'ids');
  // Who settles has it alone; it is waited for.
  const take = async () => native().tryLock(lockPath, true) ?? (await native().lock(lockPath, true));
  let held = await take();
  try {
    const stored = readMap(path);
    if (stored === undefined) {
      writeMap(path, map);
    } else if (!isSame(stored, map)) {
      checkExtends(storeDir, path, map, stored);
      held.release();
      const alone = native().tryLock(lockPath, false);
      if (alone !== undefined) {
        try {
          await settle(snapshots, path, map);
        } finally {
          alone.release();
        }
      }
      held = await take();
      if (!isSame(readMap(path), map)) {
        throw new HostError(
          `the store '${storeDir}' is to be opened with more user ids, and is in use with those that it had`,
          { code: 'E_STORE_MAP', path, hint: 'wait until the other builds on it have ended' },
        );
      }
    }
    return held;
  } catch (error) {
    held.release();
    throw error;
  }
}

/** Killed in between, it is begun anew by the next one, and nobody with fewer ids comes in meanwhile. */
async function settle(snapshots: SnapshotStore, path: string, map: IdMap): Promise<void> {
  writeMap(path, { ...map, settling: true });
  for (const layer of snapshots.layers()) {
    const owners = snapshots.ownersFile(layer);
    if (existsSync(owners)) {
      await native().settleOwners(snapshots.layerDir(layer), owners, overlayXattrsOf(map));
    }
    // Written in a namespace, where the marks of root's mounts could not be set.
    if (!isMapped(map)) {
      await native().markOpaqueFor(snapshots.layerDir(layer), 'trusted');
    }
  }
  writeMap(path, map);
}

function readMap(path: string): StoredMap | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as StoredMap;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return undefined;
    }
    throw new HostError(`cannot read '${path}': ${(error as Error).message}`, {
      code: 'E_STORE_MAP',
      path,
      cause: error,
      hint: 'use another store with TSBUILD_HOME',
    });
  }
}

function writeMap(path: string, map: StoredMap): void {
  // Not by the number of the process: workers have namespaces of their own, in which all have the same.
  const fresh = `${path}.${randomName()}.tmp`;
  writeFileSync(fresh, `${JSON.stringify(map)}\n`, { mode: 0o644 });
  renameSync(fresh, path);
}

/** Not of one that is being settled. */
function isSame(stored: StoredMap | undefined, map: IdMap): boolean {
  return JSON.stringify(stored) === JSON.stringify(map);
}

function checkExtends(storeDir: string, path: string, map: IdMap, stored: IdMap): void {
  if (extendsRanges(map.uids, stored.uids) && extendsRanges(map.gids, stored.gids)) {
    return;
  }
  const show = (ranges: readonly IdRange[]) => ranges.map((range) => range.join(':')).join(' ');
  throw new HostError(
    `the store '${storeDir}' was written with user ids '${show(stored.uids)}', this process has '${show(map.uids)}'`,
    {
      code: 'E_STORE_MAP',
      path,
      hint: 'use a store of its own for each user and set-up: set TSBUILD_HOME; or restore the former subordinate ids or isolation, with which `tsbuild clean --all` empties it',
    },
  );
}

function extendsRanges(now: readonly IdRange[], before: readonly IdRange[]): boolean {
  return before.every((old) =>
    now.some(
      ([inside, outside, count]) =>
        old[0] >= inside && old[0] - inside === old[1] - outside && old[0] + old[2] <= inside + count,
    ),
  );
}
