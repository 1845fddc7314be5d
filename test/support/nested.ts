/**
 * A container around a program, made by runc as Docker and others would make it: this machine's own files, read-only, with a
 * profile of system calls, capabilities and masked paths. Nothing of it is left when the program has ended.
 */
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Surroundings {
  /**
   * `podman`: that of containers-common. `docker`: the same, with what Docker's refuses without CAP_SYS_ADMIN. `old-kernel`:
   * none, but calls that came with Linux 5.12 are unknown. @defaultValue none
   */
  readonly seccomp?: 'docker' | 'podman' | 'old-kernel';
  /** As `systempaths=unconfined`. @defaultValue false: parts of /proc are masked */
  readonly unmasked?: boolean;
  /** Besides those that Docker gives. */
  readonly capabilities?: readonly string[];
  readonly noNewPrivileges?: boolean;
  /** @defaultValue false: none */
  readonly hostNetwork?: boolean;
  /** As `hostUsers: false`: 0 and what follows are these ids of the machine. */
  readonly firstId?: number;
  /** @defaultValue root */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** Writable in the container. */
  readonly writable: string;
  /** An overlay in the container, as Docker's root is one; made from directories below {@link writable}. */
  readonly overlay?: string;
  readonly env: Readonly<Record<string, string>>;
}

interface ProfileRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly args?: readonly unknown[] | null;
  readonly errnoRet?: number;
  readonly includes?: { readonly caps?: readonly string[]; readonly arches?: readonly string[] };
  readonly excludes?: { readonly caps?: readonly string[]; readonly arches?: readonly string[] };
}

export const PROFILE = '/usr/share/containers/seccomp.json';
const DOCKER_CAPABILITIES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'MKNOD',
  'NET_RAW',
  'SETGID',
  'SETUID',
  'SETFCAP',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'SYS_CHROOT',
  'KILL',
  'AUDIT_WRITE',
].map((name) => `CAP_${name}`);
/** Docker's profile allows these with CAP_SYS_ADMIN alone. `clone3` is unknown without, so that `clone` is tried, whose flags show. */
const DOCKER_ADMIN_ONLY = [
  'fsconfig',
  'fsmount',
  'fsopen',
  'fspick',
  'mount',
  'mount_setattr',
  'move_mount',
  'open_tree',
  'setns',
  'umount',
  'umount2',
  'unshare',
];
const CLONE_NAMESPACES = 0x7e020000;
const EPERM = 1;
const ENOSYS = 38;

export interface Nested {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `argv` in the container to its end. */
export async function runNested(argv: readonly string[], surroundings: Surroundings): Promise<Nested> {
  const bundle = mkdtempSync(join(tmpdir(), 'tsbuild-nested-'));
  try {
    // Root of a user namespace is somebody else.
    chmodSync(bundle, 0o755);
    mkdirSync(join(bundle, 'rootfs'));
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(runtimeConfig(argv, surroundings)));
    const name = bundle.replace(/.*\//, '');
    // In a mount namespace of its own: the root is not seen outside, and is gone when the container is.
    const script = 'mount --bind / "$1/rootfs" && exec runc --root "$1/state" run --bundle "$1" "$2"';
    const child = spawn('unshare', ['--mount', 'sh', '-c', script, 'sh', bundle, name], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [stdout, stderr] = ['', ''].map((text) => ({ text }));
    for (const [stream, kept] of [
      [child.stdout, stdout],
      [child.stderr, stderr],
    ] as const) {
      stream.on('data', (chunk: Buffer) => {
        (kept as { text: string }).text += chunk.toString('utf8');
      });
    }
    const status = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    return { status, stdout: stdout?.text ?? '', stderr: stderr?.text ?? '' };
  } finally {
    rmSync(bundle, { recursive: true, force: true });
  }
}

function runtimeConfig(argv: readonly string[], surroundings: Surroundings): object {
  const {
    user = { uid: 0, gid: 0 },
    firstId,
    writable,
    overlay,
    env,
    unmasked,
    noNewPrivileges = false,
  } = surroundings;
  const bounding = [...DOCKER_CAPABILITIES, ...(surroundings.capabilities ?? [])];
  const held = user.uid === 0 ? bounding : [];
  const seccomp = profileOf(surroundings.seccomp, bounding);
  return {
    ociVersion: '1.0.2',
    process: {
      user,
      args: argv,
      env: Object.entries(env).map((entry) => entry.join('=')),
      cwd: writable,
      capabilities: { bounding, effective: held, permitted: held, inheritable: [], ambient: [] },
      noNewPrivileges,
    },
    root: { path: 'rootfs', readonly: true },
    hostname: 'nested',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
      },
      {
        destination: '/dev/shm',
        type: 'tmpfs',
        source: 'shm',
        options: ['nosuid', 'noexec', 'nodev', 'mode=1777'],
      },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      { destination: writable, type: 'bind', source: writable, options: ['rbind', 'rw'] },
      ...(overlay === undefined ? [] : [overlayMount(writable, overlay)]),
    ],
    linux: {
      namespaces: [
        ...['pid', 'ipc', 'uts', 'mount', ...(surroundings.hostNetwork === true ? [] : ['network'])],
        ...(firstId === undefined ? [] : ['user']),
      ].map((type) => ({ type })),
      ...(firstId === undefined
        ? {}
        : {
            uidMappings: [{ containerID: 0, hostID: firstId, size: 65_536 }],
            gidMappings: [{ containerID: 0, hostID: firstId, size: 65_536 }],
          }),
      ...(unmasked === true
        ? {}
        : {
            maskedPaths: ['acpi', 'kcore', 'keys', 'timer_list', 'scsi'].map((path) => `/proc/${path}`),
            readonlyPaths: ['bus', 'fs', 'irq', 'sys', 'sysrq-trigger'].map((path) => `/proc/${path}`),
          }),
      ...(seccomp === undefined ? {} : { seccomp }),
    },
  };
}

function overlayMount(writable: string, target: string): object {
  const dirs = ['lower', 'upper', 'work'].map((part) => join(writable, `overlay-${part}`));
  for (const dir of [...dirs, target]) {
    mkdirSync(dir, { recursive: true, mode: 0o777 });
  }
  const [lower, upper, work] = dirs;
  return {
    destination: target,
    type: 'overlay',
    source: 'overlay',
    options: [`lowerdir=${lower}`, `upperdir=${upper}`, `workdir=${work}`],
  };
}

function profileOf(kind: Surroundings['seccomp'], capabilities: readonly string[]): object | undefined {
  const rule = (names: readonly string[], action: string, more: object = {}) => ({ names, action, ...more });
  const refuse = (names: readonly string[], errnoRet: number) => rule(names, 'SCMP_ACT_ERRNO', { errnoRet });
  const architectures = ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_AARCH64'];
  switch (kind) {
    case undefined:
      return undefined;
    case 'old-kernel':
      return {
        defaultAction: 'SCMP_ACT_ALLOW',
        architectures,
        syscalls: [refuse(['mount_setattr'], ENOSYS)],
      };
    case 'podman':
    case 'docker': {
      const { defaultAction, syscalls } = JSON.parse(readFileSync(PROFILE, 'utf8')) as {
        readonly defaultAction: string;
        readonly syscalls: readonly ProfileRule[];
      };
      const isAdmin = capabilities.includes('CAP_SYS_ADMIN');
      const taken = [
        ...(kind === 'docker' && !isAdmin ? [...DOCKER_ADMIN_ONLY, 'clone', 'clone3'] : []),
        ...(kind === 'docker' ? ['pivot_root'] : []),
      ];
      const arch = process.arch === 'arm64' ? 'arm64' : 'amd64';
      const kept = syscalls
        .filter(({ includes, excludes }) => {
          const wants = includes?.caps?.every((name) => capabilities.includes(name)) ?? true;
          const forbids = excludes?.caps?.some((name) => capabilities.includes(name)) ?? false;
          return wants && !forbids && (includes?.arches?.includes(arch) ?? true);
        })
        .map(({ names, action, args, errnoRet }) =>
          rule(
            names.filter((name) => !taken.includes(name)),
            action,
            { ...(args == null ? {} : { args }), ...(errnoRet === undefined ? {} : { errnoRet }) },
          ),
        )
        .filter(({ names }) => names.length > 0);
      const masked = { index: 0, value: CLONE_NAMESPACES, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' };
      return {
        defaultAction,
        defaultErrnoRet: ENOSYS,
        architectures,
        syscalls: [
          ...kept,
          ...(taken.includes('clone')
            ? [
                rule(['clone'], 'SCMP_ACT_ALLOW', { args: [masked] }),
                refuse(['clone3'], ENOSYS),
                refuse(DOCKER_ADMIN_ONLY, EPERM),
              ]
            : []),
          ...(kind === 'docker' ? [refuse(['pivot_root'], EPERM)] : []),
        ],
      };
    }
  }
}
