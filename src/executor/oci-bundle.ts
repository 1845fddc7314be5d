/**
 * What an OCI runtime is told of a sandbox (runtime-spec 1.0.2, `config.json`): the same mounts in the same order as bubblewrap's, with the
 * same limits. What runtimes do in ways of their own is done before they start: `/dev` and every tmpfs are mounted here and bound there.
 */
import { chmodSync, existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { native } from '../native/addon.ts';
import { DEFAULT_CAPABILITIES, heldCapabilities } from './capabilities.ts';
import type { OwnDevices } from './own-devices.ts';
import type { SandboxMount, SandboxSpec } from './sandbox.ts';
import { NVIDIA_PARAMS } from './stage-devices.ts';
import { COVERED, hostDevices, maskedPaths, readOnlyPaths } from './system-paths.ts';

export interface BundleOptions {
  readonly kind: 'runc' | 'crun';
  /** Inside the sandbox. */
  readonly launcher: string;
  /** Instead of the host's nodes. @defaultValue the host's */
  readonly devices?: OwnDevices;
  /** Set-user-ID programs and file capabilities have their effect. */
  readonly newPrivileges: boolean;
  /** The same on the host. */
  readonly hostLauncher: string;
  /** The worker is the host's root, in no user namespace. */
  readonly privileged: boolean;
}

export interface Bundle {
  readonly directory: string;
  readonly pidFile: string;
  readonly logFile: string;
  /** Unmounts what was made; removes nothing. */
  release(): void;
}

interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

const NODES = ['null', 'zero', 'full', 'random', 'urandom', 'tty'];
const LINKS: readonly (readonly [name: string, target: string])[] = [
  ['fd', '/proc/self/fd'],
  ['stdin', '/proc/self/fd/0'],
  ['stdout', '/proc/self/fd/1'],
  ['stderr', '/proc/self/fd/2'],
  ['core', '/proc/kcore'],
  ['ptmx', 'pts/ptmx'],
];
const CONFINED = ['nosuid', 'nodev'] as const;

type Flag = 'nosuid' | 'nodev' | 'ro';
type Bind = ReturnType<typeof binder>;

/** Makes the bundle in an empty directory, which is the caller's to remove after {@link Bundle.release}. */
export function makeBundle(directory: string, spec: SandboxSpec, options: BundleOptions): Bundle {
  const mounted: string[] = [];
  const release = () => {
    for (const path of mounted.splice(0).reverse()) {
      native().unmount(path, true);
    }
  };
  const tmpfs = (name: string, mode: number, sizeBytes?: number): string => {
    const path = join(directory, name);
    mkdirSync(path);
    native().mountTmpfs(path, mode, sizeBytes);
    mounted.push(path);
    return path;
  };
  const bundle = {
    directory,
    pidFile: join(directory, 'pid'),
    logFile: join(directory, 'log'),
    release,
  };
  try {
    const bind = binder(options);
    const mounts = [
      ...deviceMounts(spec, bind, options, tmpfs),
      ...sysMounts(spec, bind, options),
      ...spec.mounts
        // runc mounts on no file of `/proc` but a few that it knows. This one is a precaution: nodes that a step makes do not open.
        .filter(({ target }) => options.kind !== 'runc' || target !== NVIDIA_PARAMS)
        .map((mount, index) =>
          mountOf(mount, bind, options, () => tmpfs(`tmpfs-${index}`, 0o1777, mount.sizeBytes)),
        ),
    ];
    writeFileSync(join(directory, 'config.json'), JSON.stringify(configOf(spec, options, mounts)));
    return bundle;
  } catch (error) {
    release();
    throw error;
  }
}

/** Made by ourselves, since runtimes add nodes of their own to a `/dev` that they mount, and as the host's root leave it open for more. */
function deviceMounts(
  spec: SandboxSpec,
  bind: Bind,
  { devices }: BundleOptions,
  tmpfs: (name: string, mode: number, sizeBytes?: number) => string,
): OciMount[] {
  const dev = tmpfs('dev', 0o755);
  const nodes = NODES.filter((name) => existsSync(`/dev/${name}`));
  for (const name of nodes) {
    writeFileSync(join(dev, name), '');
  }
  for (const [name, target] of LINKS) {
    symlinkSync(target, join(dev, name));
  }
  mkdirSync(join(dev, 'pts'));
  mkdirSync(join(dev, 'shm'));
  chmodSync(join(dev, 'shm'), 0o1777);
  const device = (path: string) => bind(path, path, ['nosuid']);
  return [
    bind(dev, '/dev', CONFINED),
    ...nodes
      .map((name) => `/dev/${name}`)
      .map((path) => bind(devices?.pathOf(path) ?? path, path, ['nosuid'])),
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      // Without a group: that of terminals is mapped in few namespaces.
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'],
    },
    ...(spec.shmSizeBytes === undefined
      ? []
      : [bind(tmpfs('shm', 0o1777, spec.shmSizeBytes), '/dev/shm', CONFINED)]),
    ...(spec.insecure === true ? hostDevices().map(device) : []),
  ];
}

/** A namespace of the user's cannot take back that a mount is read-only. */
function sysMounts(
  { insecure = false, place }: SandboxSpec,
  bind: Bind,
  { privileged }: BundleOptions,
): OciMount[] {
  const mount = bind(place.sys, '/sys', insecure ? CONFINED : [...CONFINED, 'ro']);
  return [
    insecure && privileged ? { ...mount, options: [...mount.options, 'rrw'] } : mount,
    ...(place.cgroupView === undefined
      ? []
      : [bind(place.cgroupView, '/sys/fs/cgroup', [...CONFINED, 'ro'])]),
  ];
}

function mountOf(
  { kind, source = '', target, readOnly }: SandboxMount,
  bind: Bind,
  { devices }: BundleOptions,
  makeTmpfs: () => string,
): OciMount {
  switch (kind) {
    case 'tmpfs':
      return bind(makeTmpfs(), target, CONFINED);
    case 'bind':
      return bind(source, target, readOnly ? [...CONFINED, 'ro'] : CONFINED);
    case 'device':
      return bind(devices?.pathOf(source) ?? source, target, ['nosuid']);
  }
}

/**
 * Flags of whole trees are only added to what a mount has. A plain remount would have to repeat those that are locked, which runc does not do,
 * and would leave what is mounted below as it was. crun 1.8 cannot add them to a file, and repeats locked ones by itself.
 */
function binder({ kind }: BundleOptions) {
  return (source: string, destination: string, flags: readonly Flag[]): OciMount => {
    const plain = kind === 'crun' && !statSync(source).isDirectory();
    const options = plain ? ['bind', ...flags] : ['rbind', ...flags.map((flag) => `r${flag}`)];
    return { destination, type: 'bind', source, options };
  };
}

function configOf(
  spec: SandboxSpec,
  { launcher, newPrivileges, privileged, hostLauncher }: BundleOptions,
  mounts: readonly OciMount[],
) {
  const insecure = spec.insecure === true;
  const held = heldCapabilities();
  const capabilities = insecure ? held : DEFAULT_CAPABILITIES.filter((name) => held.includes(name));
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      // The launcher becomes the step's user.
      user: { uid: 0, gid: 0 },
      args: [launcher, 'step'],
      env: [],
      cwd: '/',
      capabilities: { bounding: capabilities, permitted: capabilities, effective: capabilities },
      noNewPrivileges: !newPrivileges,
    },
    root: { path: spec.root, readonly: false },
    hostname: spec.hostname,
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'nodev', 'noexec'] },
      ...mounts,
    ],
    // Who is not the host's root can make no devices.
    hooks: privileged
      ? {
          createContainer: [
            { path: hostLauncher, args: ['tsbuild-launcher', 'close-devices', spec.root], env: [] },
          ],
        }
      : {},
    linux: {
      namespaces: [
        'mount',
        'pid',
        'ipc',
        'uts',
        ...(existsSync('/proc/self/ns/cgroup') ? ['cgroup'] : []),
      ].map((type) => ({ type })),
      maskedPaths: insecure ? [] : maskedPaths().map(({ path }) => path),
      // By the runtime: without new privileges the launcher could install none.
      ...(insecure || spec.seccomp === undefined ? {} : { seccomp: spec.seccomp.oci }),
      readonlyPaths: insecure ? [] : [...readOnlyPaths(), ...COVERED],
    },
  };
}
