/**
 * The sandbox for where nothing better can be had: the launcher's `chroot` form (native/crates/launcher) makes a mount namespace and
 * pivots into the root. The `/proc` around us is the step's, read-only; there is no pid namespace, so that not the kernel but the
 * launcher ends what a step leaves. Nothing else of the machine is needed.
 */
import { HostError } from '../errors.ts';
import { CAPABILITY_NUMBERS, DEFAULT_CAPABILITIES } from './capabilities.ts';
import { BASIC_DEVICES, type OwnDevices } from './own-devices.ts';
import type { Outcome, Sandbox, SandboxMount, SandboxSpec } from './sandbox.ts';
import { runStepProcess } from './step-process.ts';
import { maskedPaths } from './system-paths.ts';

export class Chroot implements Sandbox {
  readonly kind = 'chroot';
  readonly newPrivileges = false;
  readonly ownTasks = 1;
  readonly #launcher: string;
  readonly #nodeOf: (path: string) => string;

  /**
   * @param launcher - On the host; a copy that steps may see.
   * @param devices - Instead of the host's nodes.
   */
  constructor(launcher: string, devices: OwnDevices | undefined) {
    this.#launcher = launcher;
    this.#nodeOf = (path) => devices?.pathOf(path) ?? path;
  }

  async run(spec: SandboxSpec): Promise<Outcome> {
    if (spec.insecure === true) {
      throw new HostError(
        "a step asks for all privileges, which the isolation 'chroot' cannot keep to the step",
        {
          code: 'E_ISOLATION',
          hint: '`tsbuild doctor` shows what a better isolation needs here',
        },
      );
    }
    const failed = (message: string, cause?: Error) =>
      new HostError(`cannot make the sandbox: ${message}`, {
        code: 'E_ISOLATION',
        errno: (cause as NodeJS.ErrnoException | undefined)?.code,
        cause,
        hint: '`tsbuild doctor` tries what the sandbox needs, and says how to mend it',
      });
    return await runStepProcess(spec, {
      argv: [this.#launcher, 'chroot', ...chrootArguments(spec, this.#nodeOf)],
      childPid: (info) => {
        const pid = /"child-pid":\s*(\d+)/.exec(info)?.[1];
        return pid === undefined ? undefined : Number(pid);
      },
      // Killed outright, it would leave what the step has started.
      endSignal: 'SIGTERM',
      missing: (cause) => failed(cause.message, cause),
      failed,
    });
  }
}

function chrootArguments(spec: SandboxSpec, nodeOf: (path: string) => string): string[] {
  const { cgroupView } = spec.place;
  const numbers = DEFAULT_CAPABILITIES.map((name) => CAPABILITY_NUMBERS[name]);
  return [
    ...['--root', spec.root, '--host-name', spec.hostname, '--keep-capabilities', numbers.join(',')],
    ...['--ro-bind', '/proc', '/proc'],
    ...deviceArguments(nodeOf, spec.shmSizeBytes),
    ...['--ro-bind', spec.place.sys, '/sys'],
    ...(cgroupView === undefined ? [] : ['--ro-bind', cgroupView, '/sys/fs/cgroup']),
    ...maskedPaths().flatMap(({ path, kind }) =>
      kind === 'directory' ? ['--read-only-tmpfs', path] : ['--ro-bind', '/dev/null', path],
    ),
    ...spec.mounts.flatMap((mount) => mountArguments(mount, nodeOf)),
  ];
}

/** Its own, like that of other sandboxes: the machine's would show its disks, and shared memory is for writing. */
function deviceArguments(nodeOf: (path: string) => string, shmSizeBytes = 0): string[] {
  return [
    ...['--tmpfs', '755', '0', '/dev'],
    ...BASIC_DEVICES.flatMap((name) => ['--device', nodeOf(`/dev/${name}`), `/dev/${name}`]),
    ...[
      ['/proc/self/fd', '/dev/fd'],
      ['/proc/self/fd/0', '/dev/stdin'],
      ['/proc/self/fd/1', '/dev/stdout'],
      ['/proc/self/fd/2', '/dev/stderr'],
      ['/proc/kcore', '/dev/core'],
      ['pts/ptmx', '/dev/ptmx'],
    ].flatMap((link) => ['--link', ...link]),
    ...['--terminals', '/dev/pts'],
    ...['--tmpfs', '1777', String(shmSizeBytes), '/dev/shm'],
  ];
}

function mountArguments(mount: SandboxMount, nodeOf: (path: string) => string): string[] {
  switch (mount.kind) {
    case 'tmpfs':
      return ['--tmpfs', '1777', String(mount.sizeBytes ?? 0), mount.target];
    case 'bind':
      return [mount.readOnly ? '--ro-bind' : '--bind', mount.source ?? '', mount.target];
    case 'device':
      return ['--device', nodeOf(mount.source ?? ''), mount.target];
  }
}
