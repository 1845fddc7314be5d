/** The worker's first request: the store is opened, its id map checked, the snapshot driver chosen by trying. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HostError, InternalError } from '../errors.ts';
import { Bubblewrap } from '../executor/bubblewrap.ts';
import { Lent } from '../executor/lent.ts';
import { native } from '../native/addon.ts';
import { fromNative } from '../native/error.ts';
import { CopyDriver } from '../snapshot/copy.ts';
import type { SnapshotDriver } from '../snapshot/driver.ts';
import { OverlayDriver } from '../snapshot/overlay.ts';
import { SnapshotStore } from '../snapshot/snapshot-store.ts';
import { CacheMounts } from '../volume/cache-mounts.ts';
import { NamedVolumes } from '../volume/named-volumes.ts';
import type { WorkerContext } from './context.ts';
import { type HelloParams, type HelloResult, PROTOCOL_VERSION } from './protocol.ts';

/** inside, outside, count */
type IdRange = readonly [number, number, number];

interface IdMap {
  readonly version: 1;
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
}

const ALL_IDS = 0xffffffff;

export async function sayHello(
  params: HelloParams,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<{ context: WorkerContext; result: HelloResult }> {
  if (params.protocol !== PROTOCOL_VERSION) {
    throw new InternalError(`the front speaks protocol ${params.protocol}, the worker ${PROTOCOL_VERSION}`);
  }
  const idMode = (environment.TSBUILD_LAUNCHER_MODE ?? 'root') as HelloResult['idMode'];
  const notes = JSON.parse(environment.TSBUILD_LAUNCHER_NOTES ?? '[]') as string[];
  const map = ownIdMap();
  const userNamespace = !(map.uids.length === 1 && map.uids[0]?.[2] === ALL_IDS);
  const overlayXattrs = userNamespace ? 'user' : 'trusted';
  const snapshots = SnapshotStore.open(params.storeDir);
  try {
    checkIdMap(params.storeDir, map);
    await snapshots.sweep();
    const memoryDir = join(snapshots.workDir, 'memory');
    mkdirSync(memoryDir);
    native().mountTmpfs(memoryDir, 0o700);
    const driver = await chooseDriver(params.snapshotter, snapshots, overlayXattrs, notes);
    const lent = new Lent({
      memoryDir,
      launcherPath: environment.TSBUILD_STEP_LAUNCHER ?? '',
      hostTrust: params.hostTrust,
      singleId: idMode === 'single',
    });
    const context: WorkerContext = {
      snapshots,
      driver,
      overlayXattrs,
      executor: {
        lent,
        caches: new CacheMounts(params.storeDir),
        volumes: new NamedVolumes(params.storeDir),
        memoryDir,
        idMode,
        deviceSources: { cdiDirs: params.cdiDirs, driverRoot: params.driverRoot },
        sandbox: new Bubblewrap({
          launcher: lent.launcher,
          pidNamespace: environment.TSBUILD_LAUNCHER_PID_NAMESPACE !== '0',
        }),
      },
    };
    const result = { protocol: PROTOCOL_VERSION, pid: process.pid, idMode, snapshotter: driver.kind, notes };
    return { context, result };
  } catch (error) {
    await closeStore(snapshots);
    throw fromNative(error, `cannot open the store '${params.storeDir}'`);
  }
}

export async function closeStore(snapshots: SnapshotStore): Promise<void> {
  native().unmount(join(snapshots.workDir, 'memory'), true);
  await snapshots.close();
}

async function chooseDriver(
  wanted: HelloParams['snapshotter'],
  snapshots: SnapshotStore,
  overlayXattrs: 'user' | 'trusted',
  notes: string[],
): Promise<SnapshotDriver> {
  if (wanted !== 'copy') {
    const overlay = new OverlayDriver(snapshots, overlayXattrs === 'user');
    try {
      await overlay.probe();
      return overlay;
    } catch (error) {
      if (wanted === 'overlay') {
        throw error;
      }
      notes.push(`layers are copied: ${(error as Error).message}`);
    }
  }
  return new CopyDriver(snapshots, overlayXattrs);
}

function ownIdMap(): IdMap {
  const read = (path: string): IdRange[] =>
    readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/).map(Number) as [number, number, number]);
  return { version: 1, uids: read('/proc/self/uid_map'), gids: read('/proc/self/gid_map') };
}

/**
 * Files keep the ids of the map that they were written under. A map that only adds ids to the store's is fine: so a store of
 * one id goes on when subordinate ids are set up.
 */
function checkIdMap(storeDir: string, map: IdMap): void {
  const path = join(storeDir, 'idmap.json');
  let stored: IdMap | undefined;
  try {
    stored = JSON.parse(readFileSync(path, 'utf8')) as IdMap;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      throw new HostError(`cannot read '${path}': ${(error as Error).message}`, {
        code: 'E_STORE_MAP',
        path,
        cause: error,
        hint: 'use another store with TSBUILD_HOME',
      });
    }
  }
  if (stored !== undefined && JSON.stringify(stored) === JSON.stringify(map)) {
    return;
  }
  if (
    stored !== undefined &&
    !(extendsRanges(map.uids, stored.uids) && extendsRanges(map.gids, stored.gids))
  ) {
    const show = (ranges: readonly IdRange[]) => ranges.map((range) => range.join(':')).join(' ');
    throw new HostError(
      `the store '${storeDir}' was written with user ids '${show(stored.uids)}', this process has '${show(map.uids)}'`,
      {
        code: 'E_STORE_MAP',
        path,
        hint: 'use a store of its own for each user and set-up: set TSBUILD_HOME, or restore the former subordinate ids',
      },
    );
  }
  const fresh = `${path}.${process.pid}.tmp`;
  writeFileSync(fresh, `${JSON.stringify(map)}\n`, { mode: 0o644 });
  renameSync(fresh, path);
}

function extendsRanges(now: readonly IdRange[], before: readonly IdRange[]): boolean {
  return before.every((old) =>
    now.some(
      ([inside, outside, count]) =>
        old[0] >= inside && old[0] - inside === old[1] - outside && old[0] + old[2] <= inside + count,
    ),
  );
}
