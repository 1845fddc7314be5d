/** The worker's first request: the store is opened, its id map checked, the snapshot driver chosen by trying. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Isolation } from '../base/isolation.ts';
import { HostError, InternalError } from '../errors.ts';
import { complaintOfBubblewrap, hasSystemCallFilter } from '../executor/bubblewrap.ts';
import { Sandboxes } from '../executor/choose-sandbox.ts';
import { Lent } from '../executor/lent.ts';
import { OwnDevices } from '../executor/own-devices.ts';
import { chooseOwnerKeeping } from '../executor/owners.ts';
import { defaultSeccomp, type StepSeccomp, seccompOf } from '../executor/seccomp.ts';
import { readSeccompProfile } from '../executor/seccomp-file.ts';
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
import { claimStore, overlayXattrsOf, ownIdMap } from './store-ids.ts';

export async function sayHello(
  params: HelloParams,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<{ context: WorkerContext; result: HelloResult }> {
  if (params.protocol !== PROTOCOL_VERSION) {
    throw new InternalError(`the front speaks protocol ${params.protocol}, the worker ${PROTOCOL_VERSION}`);
  }
  const mode = (environment.TSBUILD_LAUNCHER_MODE ?? 'root') as HelloResult['idMode'];
  const notes = JSON.parse(environment.TSBUILD_LAUNCHER_NOTES ?? '[]') as string[];
  const map = ownIdMap();
  const overlayXattrs = overlayXattrsOf(map);
  // A container around us may have a user namespace of its own, in which its root is ours.
  const idMode = mode === 'root' && overlayXattrs === 'user' ? 'multi' : mode;
  const pidNamespace = environment.TSBUILD_LAUNCHER_PID_NAMESPACE !== '0';
  // Docker's filter lets whoever may mount make all namespaces, and forbids what sandboxes do in them. Tried while the store is opened.
  const complaint =
    pidNamespace && params.isolation === 'auto' && hasSystemCallFilter()
      ? complaintOfBubblewrap()
      : Promise.resolve(undefined);
  const snapshots = SnapshotStore.open(params.storeDir);
  try {
    await snapshots.sweep();
    // Until this process ends.
    const claim = await claimStore(snapshots, map);
    const memoryDir = join(snapshots.workDir, 'memory');
    mkdirSync(memoryDir);
    native().mountTmpfs(memoryDir, 0o700);
    const driver = await chooseDriver(params.snapshotter, snapshots, overlayXattrs, notes);
    const ownerKeeping = chooseOwnerKeeping(idMode, params.ownerKeeping, notes);
    const lent = new Lent({
      memoryDir,
      launcherPath: environment.TSBUILD_STEP_LAUNCHER ?? '',
      hostTrust: params.hostTrust,
      withoutOtherUsers: ownerKeeping === 'pretended',
    });
    const seccomp = seccompFor(params.seccomp, notes);
    const isolation = chooseIsolation(mode, pidNamespace, await complaint, notes);
    // In a user namespace the host's nodes belong to nobody.
    const devices = overlayXattrs === 'user' ? undefined : ownDevices(memoryDir, notes);
    const context: WorkerContext = {
      snapshots,
      claim,
      driver,
      overlayXattrs,
      said: new Set(),
      executor: {
        lent,
        caches: new CacheMounts(params.storeDir),
        volumes: new NamedVolumes(params.storeDir),
        memoryDir,
        idMode,
        deviceSources: { cdiDirs: params.cdiDirs, driverRoot: params.driverRoot },
        ...(seccomp === undefined ? {} : { seccomp }),
        ownerKeeping,
        launcherPath: environment.TSBUILD_STEP_LAUNCHER ?? '',
        sandboxes: new Sandboxes({
          wanted: params.sandbox,
          launcher: lent.launcher,
          hostLauncher: environment.TSBUILD_STEP_LAUNCHER ?? '',
          lentLauncher: lent.launcherOutside,
          memoryDir,
          // Who is the only user has nobody to become.
          newPrivileges: idMode !== 'single',
          // In no user namespace: the two go together.
          privileged: overlayXattrs === 'trusted',
          pidNamespace: isolation !== 'chroot',
          ...(devices === undefined ? {} : { devices }),
        }),
      },
    };
    const result: HelloResult = {
      protocol: PROTOCOL_VERSION,
      pid: process.pid,
      isolation,
      idMode,
      snapshotter: driver.kind,
      notes,
    };
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

function ownDevices(memoryDir: string, notes: string[]): OwnDevices | undefined {
  try {
    return new OwnDevices(memoryDir);
  } catch (error) {
    notes.push(`steps can change the modes of this machine's device nodes: ${(error as Error).message}`);
    return undefined;
  }
}

/** @throws {UsageError} `E_SECCOMP_PROFILE`; {HostError} `E_SECCOMP` */
function seccompFor(choice: HelloParams['seccomp'], notes: string[]): StepSeccomp | undefined {
  if (choice.kind === 'unconfined') {
    return undefined;
  }
  const available = native().confinement().seccomp;
  if (choice.kind === 'file') {
    if (!available) {
      throw new HostError(`the kernel has no seccomp filters, and '${choice.path}' is to be one`, {
        code: 'E_SECCOMP',
        hint: 'without --seccomp steps run without a filter here',
      });
    }
    return seccompOf(readSeccompProfile(choice.text, choice.path));
  }
  if (!available) {
    notes.push('steps run without a seccomp profile: the kernel has no filters');
    return undefined;
  }
  return defaultSeccomp();
}

const ISOLATIONS = { root: 'privileged', multi: 'subordinate-ids', single: 'single-id' } as const;

function chooseIsolation(
  mode: HelloResult['idMode'],
  pidNamespace: boolean,
  complaint: string | undefined,
  notes: string[],
): Isolation {
  if (!pidNamespace) {
    return 'chroot';
  }
  if (complaint !== undefined) {
    notes.push(`bubblewrap does not work here: ${complaint}`);
    return 'chroot';
  }
  return ISOLATIONS[mode];
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
