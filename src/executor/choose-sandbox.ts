/** Which sandbox a program runs in: bubblewrap, which works in more places and gives less, unless the program needs what that cannot give. */
import { HostError } from '../errors.ts';
import { resolveInTree } from '../snapshot/resolve.ts';
import { Bubblewrap } from './bubblewrap.ts';
import { Chroot } from './chroot.ts';
import { findProgram } from './find-program.ts';
import { OciRuntime, type OciRuntimeKind, type OciRuntimeOptions } from './oci-runtime.ts';
import { runtimeFailure } from './probe-runtime.ts';
import type { Sandbox, SandboxKind } from './sandbox.ts';

export interface SandboxNeeds {
  readonly root: string;
  readonly uid: number;
  readonly user: string;
  readonly insecure: boolean;
}

export interface ChosenSandbox {
  readonly sandbox: Sandbox;
  /** Why it is not bubblewrap. */
  readonly why?: string;
}

export type WantedSandbox = 'auto' | Exclude<SandboxKind, 'chroot'>;

export interface SandboxesOptions extends Omit<OciRuntimeOptions, 'kind' | 'program'> {
  readonly wanted: WantedSandbox;
  /** The launcher on the host, where steps may see it. */
  readonly lentLauncher: string;
  /** Without one programs could outlive their sandbox, and only the launcher's own sees to that. */
  readonly pidNamespace: boolean;
}

/** What makes a user root without being asked for the password of root; `su` is in nearly every image and asks. */
const ESCALATORS = [
  '/usr/bin/sudo',
  '/bin/sudo',
  '/usr/local/bin/sudo',
  '/usr/bin/doas',
  '/bin/doas',
  '/usr/local/bin/doas',
];
const SET_USER_ID = 0o4000;

export class Sandboxes {
  readonly #options: SandboxesOptions;
  readonly #made = new Map<SandboxKind, Sandbox | undefined>();
  readonly #works = new Map<OciRuntimeKind, boolean>();
  #bubblewrapIsThere: boolean | undefined;

  constructor(options: SandboxesOptions) {
    this.#options = options;
  }

  /** @throws {HostError} `E_SANDBOX_MISSING` when the one that was asked for is not installed or cannot be used here. */
  choose(needs: SandboxNeeds): ChosenSandbox {
    const { wanted, pidNamespace } = this.#options;
    if (!pidNamespace) {
      return { sandbox: this.#withoutPidNamespace(wanted) };
    }
    if (wanted === 'auto') {
      const why =
        this.#needsMore(needs) ?? (this.#hasBubblewrap() ? undefined : 'bubblewrap is not installed');
      const sandbox = why === undefined ? undefined : (this.#working('runc') ?? this.#working('crun'));
      return sandbox === undefined || why === undefined ? { sandbox: this.#bubblewrap() } : { sandbox, why };
    }
    if (wanted === 'bubblewrap') {
      return { sandbox: this.#bubblewrap() };
    }
    const sandbox = this.#get(wanted);
    if (sandbox === undefined) {
      throw new HostError(`${wanted} is not installed`, {
        code: 'E_SANDBOX_MISSING',
        hint: `sudo apt-get install ${wanted}`,
      });
    }
    return { sandbox, why: 'it was asked for' };
  }

  #withoutPidNamespace(wanted: WantedSandbox): Sandbox {
    if (wanted !== 'auto') {
      throw new HostError(`${wanted} needs a pid namespace, and the isolation 'chroot' has none`, {
        code: 'E_SANDBOX_MISSING',
        hint: 'start the container with --security-opt systempaths=unconfined, or leave out --sandbox',
      });
    }
    return this.#once(
      'chroot',
      () => new Chroot(this.#options.lentLauncher, this.#options.devices),
    ) as Sandbox;
  }

  #needsMore({ root, uid, user, insecure }: SandboxNeeds): string | undefined {
    if (insecure) {
      return 'the step is insecure';
    }
    if (uid === 0 || !this.#options.newPrivileges) {
      return undefined;
    }
    const escalator = ESCALATORS.find((path) => {
      const stat = resolveInTree(root, path).stat;
      return stat?.isFile() === true && (stat.mode & SET_USER_ID) !== 0;
    });
    return escalator === undefined ? undefined : `user '${user}' may become root by ${escalator}`;
  }

  #hasBubblewrap(): boolean {
    this.#bubblewrapIsThere ??= findProgram('bwrap') !== undefined;
    return this.#bubblewrapIsThere;
  }

  #bubblewrap(): Sandbox {
    return this.#once('bubblewrap', () => new Bubblewrap(this.#options)) as Sandbox;
  }

  #get(kind: OciRuntimeKind): Sandbox | undefined {
    return this.#once(kind, () => {
      const program = findProgram(kind);
      return program === undefined ? undefined : new OciRuntime({ ...this.#options, kind, program });
    });
  }

  /** Containers around us may not have what a runtime asks for. Tried when one is needed first, and without a word where it fails: nobody asked for it. */
  #working(kind: OciRuntimeKind): Sandbox | undefined {
    let works = this.#works.get(kind);
    if (works === undefined) {
      const program = findProgram(kind);
      const { hostLauncher } = this.#options;
      works = program !== undefined && runtimeFailure({ kind, program, hostLauncher }, []) === undefined;
      this.#works.set(kind, works);
    }
    return works ? this.#get(kind) : undefined;
  }

  #once(kind: SandboxKind, make: () => Sandbox | undefined): Sandbox | undefined {
    if (!this.#made.has(kind)) {
      this.#made.set(kind, make());
    }
    return this.#made.get(kind);
  }
}
