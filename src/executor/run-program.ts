/**
 * One program on one prepared root: user, environment, mounts, sandbox, outcome. What a build step's exec and a
 * container's run have in common.
 */
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { releaseAll } from '../base/release-all.ts';
import { DefinitionError, HostError } from '../errors.ts';
import type { ResourceLimits, ToolSupport, Ulimit } from '../graph/action.ts';
import { native } from '../native/addon.ts';
import type { SshAgentSocket } from '../secret/ssh-agents.ts';
import type { Mountpoint, Prepared } from '../snapshot/driver.ts';
import { resolveInTree } from '../snapshot/resolve.ts';
import { type CacheMountRequest, CacheMounts } from '../volume/cache-mounts.ts';
import { mountSubPath } from '../volume/mounted-volume.ts';
import type { NamedVolumes, VolumeUse } from '../volume/named-volumes.ts';
import type { CgroupPlace } from './cgroup-place.ts';
import type { Sandboxes } from './choose-sandbox.ts';
import type { DeviceEdits } from './device-edits.ts';
import type { DeviceSources } from './find-devices.ts';
import { LENT_DIR, type Lent, NETWORK_FILES } from './lent.ts';
import { type MountedOwner, type OwnedTree, type OwnerKeeping, recordOwners } from './owners.ts';
import { layDesk, type ProgramDesk, readReport } from './program-desk.ts';
import type { ProgramInput } from './program-input.ts';
import {
  HOSTNAME,
  type NetworkMode,
  type Outcome,
  type SandboxKind,
  type SandboxMount,
  type SandboxSpec,
} from './sandbox.ts';
import type { StepSeccomp } from './seccomp.ts';
import { type Staged, stageMount } from './shared-mounts.ts';
import { forwardAgent } from './ssh-forward.ts';
import { deviceMounts, stageDevices } from './stage-devices.ts';
import { makePlace, type StepPlace } from './step-place.ts';
import { lookupUser } from './user.ts';

export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** A mount with its source found. */
export type ProgramMount =
  | {
      readonly kind: 'cache';
      readonly request: CacheMountRequest;
      readonly target: string;
      readonly readOnly?: boolean;
    }
  | {
      readonly kind: 'volume';
      readonly use: VolumeUse;
      readonly target: string;
      readonly readOnly: boolean;
      /** Made if it is missing, unless `readOnly`. */
      readonly subPath?: string;
    }
  | { readonly kind: 'tmpfs'; readonly target: string; readonly sizeBytes?: number }
  | {
      readonly kind: 'bind';
      readonly source: string;
      readonly sourceKind: 'directory' | 'file';
      readonly target: string;
      readonly readOnly: boolean;
      /** The source is this step's alone, and goes with it: mountpoints may be made in it. */
      readonly own: boolean;
      /** What the source is in. */
      readonly tree?: OwnedTree;
    }
  /** In the worker's memory; only this program sees it. */
  | (FileAttributes & { readonly kind: 'file'; readonly data: Uint8Array; readonly target: string })
  | (FileAttributes & { readonly kind: 'ssh'; readonly agent: SshAgentSocket; readonly target: string });

export interface FileAttributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface ProgramSpec {
  readonly argv: readonly string[];
  /** The image's and the step's; later wins. Values of secrets are bytes. */
  readonly env: readonly (readonly [string, string | Buffer])[];
  /** In the environment too, but yielding to the step's own and in no key. */
  readonly lentEnv: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly user: string;
  readonly network: NetworkMode;
  /** Those that can be kept here. @defaultValue none */
  readonly limits?: ResourceLimits;
  /** Where they are kept. */
  readonly cgroups?: CgroupPlace;
  /** @defaultValue false */
  readonly insecure?: boolean;
  /** @defaultValue {@link HOSTNAME} */
  readonly hostname?: string;
  readonly extraHosts?: readonly (readonly [name: string, address: string])[];
  readonly shmSizeBytes?: number;
  readonly ulimits?: readonly Ulimit[];
  readonly devices?: DeviceEdits;
  readonly lend: readonly ToolSupport[];
  /** False lends no variables at all: the program sees `env`, PATH and HOME. @defaultValue true */
  readonly lendHost?: boolean;
  readonly mounts: readonly ProgramMount[];
  /** For a program that calls a function of the user's. */
  readonly desk?: ProgramDesk;
  readonly timeoutMs?: number;
  /** @defaultValue its standard input is closed */
  readonly input?: ProgramInput;
  readonly signal: AbortSignal;
  readonly onOutput: (stream: 'stdout' | 'stderr', chunk: Buffer) => void;
  readonly pressure?: () => Promise<void> | undefined;
  /** Told before it starts; `why` when it is not the one that most programs have. */
  readonly onSandbox?: (kind: SandboxKind, why: string | undefined) => void;
}

export interface Executor {
  readonly lent: Lent;
  readonly caches: CacheMounts;
  readonly volumes: NamedVolumes;
  readonly memoryDir: string;
  readonly idMode: 'root' | 'multi' | 'single';
  readonly ownerKeeping: OwnerKeeping;
  /** Where devices are looked for. */
  readonly deviceSources: DeviceSources;
  /** Absent: the kernel has no filters, or the user wants none. */
  readonly seccomp?: StepSeccomp;
  readonly sandboxes: Sandboxes;
  /** The native helper, on the host. */
  readonly launcherPath: string;
}

const ALWAYS_MOUNTED: readonly Mountpoint[] = [
  { path: '/proc', kind: 'directory' },
  { path: '/dev', kind: 'directory' },
  { path: '/sys', kind: 'directory' },
  { path: LENT_DIR, kind: 'directory' },
];

let count = 0;

/**
 * @throws {HostError} `E_SUBUID_MISSING`; {DefinitionError} `E_MOUNT_TARGET`; and what {@link Sandbox.run} throws.
 */
export async function runProgram(
  executor: Executor,
  prepared: Prepared,
  spec: ProgramSpec,
): Promise<Outcome> {
  count += 1;
  const stepDir = join(executor.memoryDir, `program-${count}`);
  const held: (() => void | Promise<void>)[] = [];
  try {
    mkdirSync(stepDir, { mode: 0o700 });
    const devices = spec.devices === undefined ? [] : placesOf(spec.devices);
    const mountpoints: Mountpoint[] = [
      ...ALWAYS_MOUNTED,
      ...NETWORK_FILES.map((path) => ({ path, kind: 'file' as const })),
      ...topmost([...spec.mounts.map(mountpointOf), ...devices]),
    ];
    return await prepared.withMountpoints(mountpoints, (root, targets) =>
      runMounted(executor, spec, { prepared, root, targets, stepDir, held }),
    );
  } finally {
    // What could not be released may still be mounted in the directory, and is not ours to remove.
    await releaseAll(held);
    native().removeSmallTree(stepDir);
  }
}

interface Mounted {
  readonly prepared: Prepared;
  readonly root: string;
  readonly targets: ReadonlyMap<string, string>;
  readonly stepDir: string;
  /** Called by the caller, in reverse order. */
  readonly held: (() => void | Promise<void>)[];
}

async function runMounted(
  executor: Executor,
  spec: ProgramSpec,
  { prepared, root, targets, stepDir, held }: Mounted,
): Promise<Outcome> {
  const user = lookupUser(root, spec.user);
  const { ownerKeeping } = executor;
  if (ownerKeeping === 'pretended' && (user.uid !== 0 || user.gid !== 0)) {
    throw new HostError(
      `a step runs as user '${spec.user}' (${user.uid}:${user.gid}), and only one user id is available`,
      { code: 'E_SUBUID_MISSING', hint: subuidHint() },
    );
  }
  const env = new Map<string, string | Buffer>(spec.env);
  const { hostname = HOSTNAME, extraHosts = [] } = spec;
  const lent = executor.lent.toStep({
    ...spec,
    hostname,
    extraHosts,
    stepDir,
    env,
    uid: user.uid,
    gid: user.gid,
  });
  const lentVariables = [
    ['PATH', DEFAULT_PATH],
    ['HOME', user.home],
    ...(spec.lendHost === false ? [] : lent.env),
    ...Object.entries(spec.lentEnv),
  ];
  for (const [name = '', value = ''] of lentVariables) {
    // Ours includes an existing APT_CONFIG.
    if (!env.has(name) || name === 'APT_CONFIG') {
      env.set(name, value);
    }
  }
  const devices =
    spec.devices === undefined
      ? undefined
      : stageDevices(spec.devices, {
          dir: join(lent.dir, 'devices'),
          target: `${LENT_DIR}/devices`,
          root,
          env,
        });
  for (const [name, value] of devices?.env ?? []) {
    env.set(name, value);
  }
  const covers = (path: string) =>
    spec.mounts.some(({ target }) => isBelow(path, pathOf(target)) || path === pathOf(target));
  // WORKDIR makes what is missing; that is part of the layer. Within a mount it would be made below that, unseen.
  if (!covers(pathOf(spec.cwd))) {
    native().mkdirInRoot(root, spec.cwd, 0o755, 0, 0);
  }

  const all: ProgramMount[] = [
    ...lent.caches.map(({ request, target }) => ({ kind: 'cache' as const, request, target })),
    ...spec.mounts,
  ];
  const cacheDirs = await acquireCaches(executor.caches, all, held, spec.signal);
  const reportPath = join(stepDir, 'report');
  const placed: Placed[] = [
    {
      kind: 'bind',
      source: lent.dir,
      target: LENT_DIR,
      readOnly: true,
      targetKind: 'directory',
      fixed: true,
    },
    // Who mounts something on /etc has seen to its files.
    ...lent.files
      .filter(({ target }) => !covers(target))
      .map(({ source, target }) => ({
        kind: 'bind' as const,
        source,
        target,
        readOnly: false,
        targetKind: 'file' as const,
        fixed: true,
      })),
    ...(devices?.mounts ?? []).map((mount) => ({ ...mount, fixed: true })),
    ...(spec.desk === undefined ? [] : layDesk(spec.desk, lent.dir, reportPath)).map((mount) => ({
      ...mount,
      fixed: true,
    })),
  ];
  for (const [index, mount] of all.entries()) {
    const fixed = index < lent.caches.length;
    const path = join(stepDir, `mount-${index}`);
    const found = await place(executor, mount, cacheDirs, path, held, spec.signal);
    placed.push({ ...found, fixed });
  }
  const groups = [...new Set([...user.groups, ...(spec.devices?.gids ?? [])])];
  let places = 0;
  const freshPath = () => {
    places += 1;
    return join(stepDir, `within-${places}`);
  };
  const { sandbox, why } = executor.sandboxes.choose({
    root,
    uid: user.uid,
    user: spec.user,
    insecure: spec.insecure === true,
  });
  spec.onSandbox?.(sandbox.kind, why);
  const stepPlace = makePlace({
    network: spec.network,
    limits: spec.limits ?? {},
    cgroups: spec.cgroups,
    dir: stepDir,
    launcher: executor.launcherPath,
    ownTasks: sandbox.ownTasks,
    loopbackPorts: executor.lent.loopbackPorts,
    signal: spec.signal,
  });
  held.push(() => stepPlace.close());
  const common = {
    ...spec,
    ...(executor.seccomp === undefined ? {} : { seccomp: executor.seccomp }),
    root,
    place: stepPlace,
    env: [...env],
    hostname,
    mounts: inOrder(placed, targets, (mount) => stageMount(mount, freshPath, held)),
  };
  const run = (more: Pick<SandboxSpec, 'uid' | 'gid' | 'groups'> & Partial<SandboxSpec>) =>
    withLimits(sandbox.run({ ...common, ...more }), stepPlace);
  const asRoot = { uid: 0, gid: 0, groups: undefined };
  let outcome: Outcome;
  // Listening needs a filter, which set-user-ID programs must not have.
  switch (ownerKeeping === 'devices' && sandbox.newPrivileges ? 'real' : ownerKeeping) {
    case 'real':
      outcome = await run({ uid: user.uid, gid: user.gid, groups });
      break;
    case 'devices': {
      const { owners, upper: changes } = prepared;
      outcome = await recordOwners({ root, changes, owners, mounted: [], trees: [] }, (socket) =>
        run({ uid: user.uid, gid: user.gid, groups, owners: { kind: 'devices', socket } }),
      );
      break;
    }
    case 'pretended':
      outcome = await run({ ...asRoot, owners: { kind: 'pretended' } });
      break;
    case 'recorded': {
      const { owners, upper: changes } = prepared;
      const mounted = placed.flatMap(({ source: path = '', seemsToBelongTo }) =>
        seemsToBelongTo === undefined ? [] : [{ path, ...seemsToBelongTo }],
      );
      const { uid, gid } = user;
      const trees = spec.mounts.flatMap((mount) =>
        mount.kind === 'bind' && mount.tree !== undefined ? [mount.tree] : [],
      );
      const recorded = { root, changes, owners, mounted, trees, user: { uid, gid, groups } };
      outcome = await recordOwners(recorded, (socket) =>
        run({ ...asRoot, owners: { kind: 'recorded', socket }, withoutCapabilities: uid !== 0 }),
      );
    }
  }
  spec.desk?.onReport(readReport(reportPath));
  return outcome;
}

/** The kernel ends a program that uses too much memory, the sandbox around it too, and tells neither why. */
async function withLimits(ended: Promise<Outcome>, place: StepPlace): Promise<Outcome> {
  let outcome: Outcome;
  try {
    outcome = await ended;
  } catch (error) {
    if (error instanceof HostError && place.reached() === 'memory') {
      return { reason: 'memory' };
    }
    throw error;
  }
  if (outcome.reason === 'signal' || (outcome.reason === 'exit' && outcome.exitCode !== 0)) {
    const reached = place.reached();
    if (reached === 'memory') {
      return { reason: 'memory' };
    }
    if (reached === 'pids' && outcome.reason === 'exit') {
      return { ...outcome, reachedPids: true };
    }
  }
  return outcome;
}

/** In one order for everybody, so that two steps never wait for each other. */
async function acquireCaches(
  caches: CacheMounts,
  mounts: readonly ProgramMount[],
  held: (() => void)[],
  signal: AbortSignal,
): Promise<ReadonlyMap<ProgramMount, string>> {
  const dirs = new Map<ProgramMount, string>();
  const known = new Map<string, string>();
  const wanted = mounts
    .flatMap((mount) =>
      mount.kind === 'cache' ? [{ mount, identity: CacheMounts.identity(mount.request) }] : [],
    )
    .toSorted((left, right) => (left.identity < right.identity ? -1 : 1));
  for (const { mount, identity } of wanted) {
    let dir = known.get(identity);
    if (dir === undefined) {
      const cache = await caches.acquire(mount.request, signal);
      held.push(() => cache.release());
      dir = cache.dir;
      known.set(identity, dir);
    }
    dirs.set(mount, dir);
  }
  return dirs;
}

function mountpointOf(mount: ProgramMount): Mountpoint {
  const isFile =
    mount.kind === 'file' || mount.kind === 'ssh' || (mount.kind === 'bind' && mount.sourceKind === 'file');
  return { path: pathOf(mount.target), kind: isFile ? 'file' : 'directory' };
}

function placesOf(edits: DeviceEdits): Mountpoint[] {
  return deviceMounts(edits).map(({ target, targetKind }) => ({ path: target, kind: targetKind }));
}

/** A mount for the sandbox, its target as it was asked for. */
interface Placed extends SandboxMount {
  readonly targetKind: 'directory' | 'file';
  /** Ours, not the step's. */
  readonly fixed?: boolean;
  /** Mountpoints may be made in its source. */
  readonly extensible?: boolean;
  /** Other programs may be changing what is in it. */
  readonly shared?: boolean;
  /** Where that is recorded. */
  readonly seemsToBelongTo?: Omit<MountedOwner, 'path'>;
}

async function place(
  executor: Executor,
  mount: ProgramMount,
  cacheDirs: ReadonlyMap<ProgramMount, string>,
  path: string,
  held: (() => void | Promise<void>)[],
  signal: AbortSignal,
): Promise<Placed> {
  const { path: target, kind: targetKind } = mountpointOf(mount);
  switch (mount.kind) {
    case 'cache':
      return {
        kind: 'bind',
        source: cacheDirs.get(mount) ?? '',
        target,
        readOnly: mount.readOnly === true,
        targetKind,
        extensible: true,
        shared: true,
        ...recordedOwner(executor, mount.request),
      };
    case 'volume':
      return await placeVolume(executor, mount, path, held, signal);
    case 'tmpfs':
      return {
        kind: 'tmpfs',
        target,
        readOnly: false,
        targetKind,
        ...(mount.sizeBytes === undefined ? {} : { sizeBytes: mount.sizeBytes }),
      };
    case 'bind':
      return {
        kind: 'bind',
        source: mount.source,
        target,
        readOnly: mount.readOnly,
        targetKind,
        extensible: mount.own,
      };
    case 'file': {
      const { uid, gid } = ownerOnDisk(executor, mount, target);
      writeFileSync(path, mount.data, { mode: 0o600, flag: 'wx' });
      chownSync(path, uid, gid);
      chmodSync(path, mount.mode);
      const owner = recordedOwner(executor, mount);
      return { kind: 'bind', source: path, target, readOnly: true, targetKind, ...owner };
    }
    case 'ssh': {
      const owner = ownerOnDisk(executor, mount, target);
      mkdirSync(path, { mode: 0o700 });
      const socket = await forwardAgent(path, mount.agent, { ...mount, ...owner });
      held.push(() => socket.close());
      const recorded = recordedOwner(executor, mount);
      return { kind: 'bind', source: socket.path, target, readOnly: true, targetKind, ...recorded };
    }
  }
}

/** Others may be writing to it at the same time. */
async function placeVolume(
  { volumes }: Executor,
  mount: Extract<ProgramMount, { kind: 'volume' }>,
  path: string,
  held: (() => void | Promise<void>)[],
  signal: AbortSignal,
): Promise<Placed> {
  const { path: target, kind: targetKind } = mountpointOf(mount);
  const { use, readOnly, subPath } = mount;
  const volume = await volumes.hold(use, signal);
  held.push(() => volume.release());
  let source = volume.dir;
  if (subPath !== undefined) {
    const mounted = mountSubPath(volume.dir, subPath, !readOnly, path);
    held.push(() => mounted.release());
    source = mounted.source;
  }
  return { kind: 'bind', source, target, readOnly, targetKind, extensible: !readOnly, shared: true };
}

type Owner = Pick<FileAttributes, 'uid' | 'gid'>;

function ownerOnDisk({ ownerKeeping }: Executor, { uid, gid }: Owner, target: string): Owner {
  if (ownerKeeping === 'pretended' && (uid !== 0 || gid !== 0)) {
    throw new HostError(`'${target}' is to belong to ${uid}:${gid}, and only one user id is available`, {
      code: 'E_SUBUID_MISSING',
      hint: subuidHint(),
    });
  }
  return ownerKeeping === 'real' || ownerKeeping === 'devices' ? { uid, gid } : { uid: 0, gid: 0 };
}

function recordedOwner(
  { ownerKeeping }: Executor,
  { uid = 0, gid = 0 }: Partial<Owner>,
): Pick<Placed, 'seemsToBelongTo'> {
  const isRecorded = ownerKeeping === 'recorded' && (uid !== 0 || gid !== 0);
  return isRecorded ? { seemsToBelongTo: { uid, gid } } : {};
}

/** Not the step's to hide: what makes the sandbox, and what is lent. */
const RESERVED = ['/proc', LENT_DIR];

function isReserved(target: string): boolean {
  return target === '/' || RESERVED.some((path) => target === path || isBelow(target, path));
}

/** Mountpoints that must be in the image: not those within another mount, nor those in the sandbox's own `/dev`. */
function topmost(places: readonly Mountpoint[]): Mountpoint[] {
  const paths = places.map(({ path }) => path);
  return places.filter(({ path }) => !isInOwn(path) && !paths.some((other) => isBelow(path, other)));
}

function isInOwn(path: string): boolean {
  return isBelow(path, '/dev') || isBelow(path, '/proc') || isBelow(path, LENT_DIR);
}

/**
 * Parents before what is mounted in them, otherwise as they were asked for. What is mounted within another mount needs a
 * mountpoint in that.
 *
 * @throws {DefinitionError} `E_MOUNT_TARGET`
 */
function inOrder(
  mounts: readonly Placed[],
  targets: ReadonlyMap<string, string>,
  stage: (mount: Placed) => Staged,
): SandboxMount[] {
  const sorted = mounts.toSorted((left, right) => depthOf(left.target) - depthOf(right.target));
  const real = new Map<Placed, string>();
  /** Of mounts that others may be changing and of those in them: where they are mounted already. */
  const staged = new Map<Placed, Staged>();
  const done = new Set<Placed>();
  for (const [index, mount] of sorted.entries()) {
    const { target, fixed } = mount;
    // Also where links of the image lead.
    if (fixed !== true && (isReserved(target) || isReserved(targets.get(target) ?? target))) {
      throw blocked(target, 'that is a place of the sandbox itself');
    }
    const parent = sorted.slice(0, index).findLast((other) => isBelow(target, other.target));
    if (parent === undefined) {
      real.set(mount, targets.get(target) ?? target);
    } else {
      const within = target.slice(parent.target === '/' ? 0 : parent.target.length);
      makeWithin(parent, within, mount);
      real.set(mount, `${real.get(parent)}${within}`);
      if (parent.shared === true && !staged.has(parent)) {
        staged.set(parent, stage(parent));
      }
      const above = staged.get(parent);
      if (above !== undefined) {
        staged.set(mount, above.mount(mount, within));
        done.add(mount);
      }
    }
  }
  return sorted
    .filter((mount) => !done.has(mount))
    .map((mount) => {
      const own = staged.get(mount);
      return {
        ...mount,
        target: real.get(mount) ?? mount.target,
        // It is read-only where it has to be, and what is mounted in it may not be.
        ...(own === undefined ? {} : { source: own.source, readOnly: false }),
      };
    });
}

/** Made by us and not by the sandbox, which would follow a link that a step or a stranger left there: out of the sandbox. */
function makeWithin(parent: Placed, within: string, { target, targetKind }: Placed): void {
  if (parent.targetKind === 'file') {
    throw blocked(target, `'${parent.target}' is a file`);
  }
  if (parent.kind === 'tmpfs' || parent.source === undefined) {
    return;
  }
  const { path, stat, existing } = resolveInTree(parent.source, within);
  if (path !== within) {
    throw blocked(target, `a link is in the way in what is mounted on '${parent.target}'`);
  }
  if (stat !== undefined) {
    if (stat.isDirectory() !== (targetKind === 'directory')) {
      throw blocked(target, `a ${targetKind} is needed, '${parent.target}' has something else there`);
    }
    return;
  }
  if (parent.extensible !== true) {
    throw blocked(target, `what is mounted on '${parent.target}' does not have it`);
  }
  const above = within
    .split('/')
    .slice(0, existing + 1)
    .join('/');
  if (existing > 0 && resolveInTree(parent.source, above).stat?.isDirectory() !== true) {
    throw blocked(target, `'${parent.target}${above}' is not a directory`);
  }
  if (parent.shared === true) {
    // Made when it is mounted, where nothing can come between.
  } else if (targetKind === 'directory') {
    native().mkdirInRoot(parent.source, within, 0o755, 0, 0);
  } else {
    native().mkdirInRoot(parent.source, posix.dirname(within), 0o755, 0, 0);
    writeFileSync(join(parent.source, within), '', { mode: 0o644, flag: 'wx' });
  }
}

function blocked(target: string, why: string): DefinitionError {
  return new DefinitionError(`cannot mount on '${target}': ${why}`, { code: 'E_MOUNT_TARGET' });
}

/** Absolute, without a slash at its end. */
function pathOf(target: string): string {
  const path = posix.normalize(`/${target}`);
  return path === '/' ? path : path.replace(/\/$/, '');
}

function isBelow(path: string, directory: string): boolean {
  return path !== directory && path.startsWith(directory === '/' ? '/' : `${directory}/`);
}

function depthOf(path: string): number {
  return path.split('/').length;
}

/** The one command that gives a user subordinate ids. */
export function subuidHint(): string {
  const user = process.env.USER ?? process.env.LOGNAME ?? '$USER';
  return `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${user}`;
}
