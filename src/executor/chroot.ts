/**
 * The sandbox for where nothing better can be had: the launcher's `chroot` form (native/crates/launcher) makes a mount namespace and
 * pivots into the root. The `/proc` around us is the step's, read-only; there is no pid namespace, so that not the kernel but the
 * launcher ends what a step leaves. Nothing else of the machine is needed.
 */
import { HostError } from '../errors.ts';
import { CAPABILITY_NUMBERS, DEFAULT_CAPABILITIES } from './capabilities.ts';
import { hidingWords, mountWords } from './mount-words.ts';
import type { OwnDevices } from './own-devices.ts';
import type { Outcome, Sandbox, SandboxSpec } from './sandbox.ts';
import { runStepProcess } from './step-process.ts';

export class Chroot implements Sandbox {
  readonly kind = 'chroot';
  readonly newPrivileges = false;
  readonly ownTasks = 1;
  readonly #launcher: string;
  readonly #devices: OwnDevices | undefined;

  /**
   * @param launcher - On the host; a copy that steps may see.
   * @param devices - Instead of the host's nodes.
   */
  constructor(launcher: string, devices: OwnDevices | undefined) {
    this.#launcher = launcher;
    this.#devices = devices;
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
      argv: [this.#launcher, 'chroot', ...chrootArguments(spec, this.#devices)],
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

function chrootArguments(spec: SandboxSpec, devices: OwnDevices | undefined): string[] {
  const numbers = DEFAULT_CAPABILITIES.map((name) => CAPABILITY_NUMBERS[name]);
  return [
    ...['--root', spec.root, '--host-name', spec.hostname, '--keep-capabilities', numbers.join(',')],
    ...['--ro-bind', '/proc', '/proc', ...hidingWords((path) => path.startsWith('/proc/'))],
    ...mountWords(spec, devices),
  ];
}
