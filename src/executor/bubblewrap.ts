/** The sandbox that bubblewrap makes. It can neither map ids nor mount overlays: the worker lives where that is done. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { HostError } from '../errors.ts';
import { DEFAULT_CAPABILITIES } from './capabilities.ts';
import { findProgram } from './find-program.ts';
import { BASIC_DEVICES } from './own-devices.ts';
import type { Outcome, Sandbox, SandboxMount, SandboxOptions, SandboxSpec } from './sandbox.ts';
import { INFO_FD, runStepProcess } from './step-process.ts';
import { COVERED, hostDevices, maskedPaths, readOnlyPaths } from './system-paths.ts';

const MAX_COMPLAINT_LENGTH = 300;

export class Bubblewrap implements Sandbox {
  readonly kind = 'bubblewrap';
  readonly newPrivileges = false;
  readonly ownTasks = 2;
  readonly #options: SandboxOptions;
  /** Looked for once, and not in every directory of PATH for each step. */
  #program: string | undefined;

  constructor(options: SandboxOptions) {
    this.#options = options;
  }

  async run(spec: SandboxSpec): Promise<Outcome> {
    this.#program ??= findProgram('bwrap');
    return await runStepProcess(spec, {
      argv: [this.#program ?? 'bwrap', ...bubblewrapArguments(spec, this.#options)],
      childPid: (info) => {
        const pid = /"child-pid":\s*(\d+)/.exec(info)?.[1];
        return pid === undefined ? undefined : Number(pid);
      },
      missing: (cause) =>
        new HostError(`cannot start bubblewrap: ${cause.message}`, {
          code: 'E_SANDBOX_MISSING',
          errno: (cause as NodeJS.ErrnoException).code,
          cause,
          hint: 'sudo apt-get install bubblewrap; without it, `--isolation chroot` isolates less',
        }),
      failed: (complaint) =>
        new HostError(`bubblewrap failed: ${complaint}`, {
          code: 'E_SANDBOX_MISSING',
          hint: '`tsbuild doctor` tries what the sandbox needs, and says how to mend it; `--isolation chroot` does without',
        }),
    });
  }
}

/** Of everything that steps need something. */
export const PROBE_ARGUMENTS: readonly string[] = [
  ...['--ro-bind', '/', '/', '--dev', '/dev', '--unshare-pid', '--proc', '/proc'],
  ...['--unshare-ipc', '--unshare-uts', '--hostname', 'build'],
];

/** Undefined: it makes sandboxes here, or is missing. */
export async function complaintOfBubblewrap(): Promise<string | undefined> {
  return await new Promise((resolve) => {
    execFile('bwrap', [...PROBE_ARGUMENTS, 'true'], { encoding: 'utf8' }, (error, _, stderr) => {
      // A number is how it ended, a text why it could not be started.
      const ran = error === null || typeof error.code !== 'string';
      resolve(error === null || !ran ? undefined : stderr.trim().slice(-MAX_COMPLAINT_LENGTH));
    });
  });
}

/** Of the container that we are in. */
export function hasSystemCallFilter(): boolean {
  return /^Seccomp:\s*2$/m.test(readFileSync('/proc/self/status', 'utf8'));
}

function bubblewrapArguments(spec: SandboxSpec, options: SandboxOptions): string[] {
  const words = ['--bind', spec.root, '/', ...systemArguments(spec, options)];
  words.push(...spec.mounts.flatMap((mount) => mountArguments(mount, options)));
  words.push('--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try', '--hostname', spec.hostname);
  words.push('--die-with-parent', '--new-session');
  // Told nothing about them, it leaves root all that it has.
  if (spec.insecure !== true) {
    words.push(
      '--cap-drop',
      'ALL',
      ...DEFAULT_CAPABILITIES.flatMap((capability) => ['--cap-add', capability]),
    );
  }
  words.push('--json-status-fd', String(INFO_FD), '--', options.launcher, 'step');
  return words;
}

function systemArguments(spec: SandboxSpec, { devices }: SandboxOptions): string[] {
  const insecure = spec.insecure === true;
  const bind = insecure ? '--bind' : '--ro-bind';
  const words = ['--unshare-pid', '--as-pid-1', '--proc', '/proc'];
  if (insecure) {
    words.push(...COVERED.flatMap((path) => ['--bind-try', path, path]));
  }
  words.push('--dev', '/dev');
  if (devices !== undefined) {
    const nodes = BASIC_DEVICES.map((name) => `/dev/${name}`);
    words.push(...nodes.flatMap((path) => ['--dev-bind', devices.pathOf(path), path]));
  }
  if (spec.shmSizeBytes === undefined) {
    // As bubblewrap makes it, only root may write there.
    words.push('--chmod', '1777', '/dev/shm');
  } else {
    words.push('--perms', '1777', '--size', String(spec.shmSizeBytes), '--tmpfs', '/dev/shm');
  }
  const { sys, cgroupView } = spec.place;
  words.push(
    bind,
    sys,
    '/sys',
    ...(cgroupView === undefined ? [] : ['--ro-bind', cgroupView, '/sys/fs/cgroup']),
  );
  words.push(...(insecure ? deviceArguments() : maskArguments()));
  return words;
}

function mountArguments(mount: SandboxMount, { devices }: SandboxOptions): string[] {
  switch (mount.kind) {
    case 'tmpfs': {
      const size = mount.sizeBytes === undefined ? [] : ['--size', String(mount.sizeBytes)];
      return ['--perms', '1777', ...size, '--tmpfs', mount.target];
    }
    case 'bind':
      return [mount.readOnly ? '--ro-bind' : '--bind', mount.source ?? '', mount.target];
    case 'device': {
      const source = mount.source ?? '';
      return ['--dev-bind', devices?.pathOf(source) ?? source, mount.target];
    }
  }
}

/** Those that bubblewrap makes read-only by itself (irq, bus, sysrq-trigger) are not repeated. */
function maskArguments(): string[] {
  return [
    ...maskedPaths().flatMap(({ path, kind }) =>
      kind === 'directory' ? ['--tmpfs', path, '--remount-ro', path] : ['--ro-bind', '/dev/null', path],
    ),
    ...readOnlyPaths().flatMap((path) => ['--ro-bind', path, path]),
  ];
}

function deviceArguments(): string[] {
  return hostDevices().flatMap((path) => ['--dev-bind-try', path, path]);
}
