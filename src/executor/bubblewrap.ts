/** The sandbox that bubblewrap makes. It can neither map ids nor mount overlays: the worker lives where that is done. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { HostError } from '../errors.ts';
import { DEFAULT_CAPABILITIES } from './capabilities.ts';
import { findProgram } from './find-program.ts';
import { mountWords } from './mount-words.ts';
import type { Outcome, Sandbox, SandboxMount, SandboxOptions, SandboxSpec } from './sandbox.ts';
import { INFO_FD, runStepProcess, type SandboxProgram } from './step-process.ts';
import { COVERED, maskedPaths, readOnlyPaths } from './system-paths.ts';

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
    const { launcher, devices } = this.#options;
    const mounts = spec.mounts.filter((mount) => !isInProc(mount));
    return await runStepProcess(spec, {
      entry: ['--root', spec.root, ...mountWords({ ...spec, mounts }, devices)],
      argv: [this.#program ?? 'bwrap', ...bubblewrapArguments(spec, launcher)],
      ...(spec.insecure === true ? {} : { covers: coveredInProc() }),
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
        new HostError(
          `${complaint.startsWith('bwrap') ? 'bubblewrap failed' : 'cannot make the sandbox'}: ${complaint}`,
          {
            code: 'E_SANDBOX_MISSING',
            hint: '`tsbuild doctor` tries what the sandbox needs, and says how to mend it; `--isolation chroot` does without',
          },
        ),
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

/**
 * bubblewrap reads the table of all mounts for each that it makes, so that the tree is made before it starts (`enter.rs`) and it binds that
 * once. With devices: those that are none of the step's the launcher has forbidden mount by mount. What it hides in `/proc`, which
 * bubblewrap makes, pid 1 does first of all (`step.rs`), and gives up the capability that it needs for it.
 */
function bubblewrapArguments(spec: SandboxSpec, launcher: string): string[] {
  const insecure = spec.insecure === true;
  const words = ['--dev-bind', spec.root, '/', '--unshare-pid', '--as-pid-1', '--proc', '/proc'];
  if (insecure) {
    words.push(...COVERED.flatMap((path) => ['--bind-try', path, path]));
  }
  words.push(
    ...spec.mounts
      .filter(isInProc)
      .flatMap(({ source = '', target, readOnly }) => [readOnly ? '--ro-bind' : '--bind', source, target]),
  );
  words.push('--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try', '--hostname', spec.hostname);
  words.push('--die-with-parent', '--new-session');
  // Told nothing about them, it leaves root all that it has.
  if (!insecure) {
    const capabilities = [...DEFAULT_CAPABILITIES, 'CAP_SYS_ADMIN'];
    words.push('--cap-drop', 'ALL', ...capabilities.flatMap((capability) => ['--cap-add', capability]));
  }
  words.push('--json-status-fd', String(INFO_FD), '--', launcher, 'step');
  return words;
}

/** What is mounted there before bubblewrap makes it would be below it, and its mountpoint in the step's layer. */
function isInProc({ target }: SandboxMount): boolean {
  return target.startsWith('/proc/');
}

function coveredInProc(): NonNullable<SandboxProgram['covers']> {
  const hidden = maskedPaths().flatMap(({ path }) => (path.startsWith('/proc/') ? [path] : []));
  return { hidden, readOnly: readOnlyPaths() };
}
