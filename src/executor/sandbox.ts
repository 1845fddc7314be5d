/**
 * A sandbox runs one program on a prepared root. Which program makes the namespaces and mounts differs; pid 1 inside is always our
 * launcher's `step` form (native/crates/launcher), which becomes the user, starts the program, passes output on and reports how
 * it ended (`step-process.ts`). When pid 1 ends, the kernel kills what is left: afterwards nothing of the step is alive. (Without a pid
 * namespace, in `chroot.ts`, the launcher does what pid 1 and the kernel do.)
 */
import type { Ulimit } from '../graph/action.ts';
import type { OwnDevices } from './own-devices.ts';
import type { ProgramInput } from './program-input.ts';
import type { StepSeccomp } from './seccomp.ts';

export interface SandboxMount {
  /** A `device` is a bind through which the device can be opened. */
  readonly kind: 'bind' | 'tmpfs' | 'device';
  /** On the host; of binds and devices. */
  readonly source?: string;
  /** In the image, without links. */
  readonly target: string;
  readonly readOnly: boolean;
  readonly sizeBytes?: number;
}

/** What a sandbox has around it and does not make itself. See `step-place.ts`. */
export interface SandboxPlace {
  /** On the host: starts the program that makes the sandbox where it is to be. */
  readonly launcher: string;
  /** What that is told (`enter.rs`). May be nothing. */
  readonly entry: readonly string[];
  /** What is `/sys` in the network that it is put into. */
  readonly sys: string;
  /** Control group that the sandbox shows as all that there is. Absent: nothing of it is shown. */
  readonly cgroupView?: string;
  /** What is to be done when there is a pid 1 of the sandbox, before that starts the step. Absent: nothing. */
  readonly begin?: (pid: number) => Promise<void>;
}

/** `private`: the step's own, which leads where the machine's does, and not to the machine. `none`: a loopback interface alone. */
export type NetworkMode = 'host' | 'none' | 'private';

export interface SandboxSpec {
  readonly root: string;
  readonly argv: readonly string[];
  /** All of it; nothing of ours leaks in. Values of secrets are bytes. */
  readonly env: readonly (readonly [name: string, value: string | Buffer])[];
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups; undefined where the namespace denies setting them. */
  readonly groups: readonly number[] | undefined;
  readonly place: SandboxPlace;
  /**
   * In a namespace of one id: `uid` and `gid` are 0, and others are recorded by whoever holds the other end of `socket`, or
   * only pretended. In one of many, devices alone are recorded.
   */
  readonly owners?:
    | { readonly kind: 'recorded' | 'devices'; readonly socket: number }
    | { readonly kind: 'pretended' };
  /** Not even root has any: it stands for a user that has none. @defaultValue false */
  readonly withoutCapabilities?: boolean;
  /** All capabilities of the namespace, nothing masked, the host's devices. @defaultValue false */
  readonly insecure?: boolean;
  /** @defaultValue every system call; and so for `insecure` ones, whatever is said here */
  readonly seccomp?: StepSeccomp;
  readonly hostname: string;
  /** Of `/dev/shm`. @defaultValue a part of `/dev`, as large as that */
  readonly shmSizeBytes?: number;
  readonly ulimits?: readonly Ulimit[];
  /** In order, after those that every sandbox has. */
  readonly mounts: readonly SandboxMount[];
  readonly timeoutMs?: number;
  /** @defaultValue its standard input is closed */
  readonly input?: ProgramInput;
  readonly signal: AbortSignal;
  readonly onOutput: (stream: 'stdout' | 'stderr', chunk: Buffer) => void;
  /** Resolves when there is room for more output; the step waits meanwhile. */
  readonly pressure?: () => Promise<void> | undefined;
}

export type Outcome =
  /** `reachedPids`: a process could not be started, for there were as many as the limit allows. */
  | { readonly reason: 'exit'; readonly exitCode: number; readonly reachedPids?: boolean }
  | { readonly reason: 'signal'; readonly signal: string }
  | { readonly reason: 'timeout' }
  /** Ended, or some of it, for it used more memory than its limit. */
  | { readonly reason: 'memory' }
  | {
      readonly reason: 'not-started';
      /** `limit`: `detail` is the name of the resource limit. */
      readonly stage: 'exec' | 'cwd' | 'user' | 'limit' | 'terminal' | 'start';
      readonly errno: string;
      readonly detail?: string;
    };

/** One way to make namespaces and mounts. */
export interface Sandbox {
  readonly kind: SandboxKind;
  /** Set-user-ID programs have their effect in it, so that the launcher can install no filter. */
  readonly newPrivileges: boolean;
  /** Tasks of the program itself and of pid 1, which live in the step's control group. */
  readonly ownTasks: number;
  /**
   * Runs the program to its end. The whole process tree is gone when this resolves or throws.
   *
   * @throws `signal.reason` when aborted; {HostError} `E_SANDBOX_MISSING` when the sandbox itself cannot be made.
   */
  run(spec: SandboxSpec): Promise<Outcome>;
}

export type SandboxKind = 'bubblewrap' | 'runc' | 'crun' | 'chroot';

export interface SandboxOptions {
  /** Where the launcher lies inside the sandbox. */
  readonly launcher: string;
  /** Instead of the host's nodes. @defaultValue the host's: nobody in the sandbox can change them */
  readonly devices?: OwnDevices;
}

/** Of a sandbox, unless it is told another. */
export const HOSTNAME = 'build';
