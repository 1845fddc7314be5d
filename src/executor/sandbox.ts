/**
 * Runs one program on a prepared root in a bubblewrap sandbox.
 *
 * bubblewrap makes the namespaces and mounts; pid 1 inside is our launcher's `step` form (native/crates/launcher), which
 * becomes the user, starts the program, passes output on and reports how it ended. When pid 1 ends, the kernel kills what
 * is left, before bubblewrap itself ends: afterwards nothing of the step is alive.
 */
import { spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { DefinitionError, HostError, InternalError } from '../errors.ts';

export interface SandboxMount {
  readonly kind: 'bind' | 'tmpfs';
  /** On the host; of binds. */
  readonly source?: string;
  /** In the image, without links. */
  readonly target: string;
  readonly readOnly: boolean;
  readonly sizeBytes?: number;
}

export interface SandboxSpec {
  readonly root: string;
  readonly argv: readonly string[];
  /** All of it; nothing of ours leaks in. */
  readonly env: readonly (readonly [name: string, value: string])[];
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups; undefined where the namespace denies setting them. */
  readonly groups: readonly number[] | undefined;
  readonly network: 'host' | 'none';
  /** In order, after those that every sandbox has. */
  readonly mounts: readonly SandboxMount[];
  readonly timeoutMs?: number;
  readonly stdin?: Uint8Array;
  readonly signal: AbortSignal;
  readonly onOutput: (stream: 'stdout' | 'stderr', chunk: Buffer) => void;
  /** Resolves when there is room for more output; the step waits meanwhile. */
  readonly pressure?: () => Promise<void> | undefined;
}

export type Outcome =
  | { readonly reason: 'exit'; readonly exitCode: number }
  | { readonly reason: 'signal'; readonly signal: string }
  | { readonly reason: 'timeout' }
  | {
      readonly reason: 'not-started';
      readonly stage: 'exec' | 'cwd' | 'user' | 'start';
      readonly errno: string;
      readonly detail?: string;
    };

export interface SandboxOptions {
  /** Where the launcher lies inside the sandbox. */
  readonly launcher: string;
  /** Without one the step sees the worker's processes, and a fresh /proc is not to be had. */
  readonly pidNamespace: boolean;
}

/** Docker's default set. Those of a user namespace are the same: they are worth nothing outside of it. */
const CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
];
/** As runc masks them. Those that bubblewrap makes read-only by itself (irq, bus, sysrq-trigger) are not repeated. */
const MASKED = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];
/**
 * bubblewrap means to do it for `/proc/sys` too, but asks access(2) whether the directory can be written, and it cannot;
 * the files in it can, by the host's root without any capability: `kernel.core_pattern` is a program that the host runs.
 */
const READ_ONLY = ['/proc/fs', '/proc/sys'];
export const HOSTNAME = 'build';
const STATUS_FD = 3;
const SPEC_FD = 4;
const INFO_FD = 5;
/** What bubblewrap itself may say before it gives up. */
const MAX_COMPLAINT_BYTES = 4096;
/** Of what is a line or two; whoever holds the other end must not fill our memory. */
const MAX_STATUS_BYTES = 64 * 1024;

let masks: readonly string[] | undefined;

/** What a kernel has differs; asked once. */
function maskArguments(): readonly string[] {
  masks ??= [
    ...MASKED.filter((path) => existsSync(path)).flatMap((path) =>
      statSync(path).isDirectory()
        ? ['--tmpfs', path, '--remount-ro', path]
        : ['--ro-bind', '/dev/null', path],
    ),
    ...READ_ONLY.filter((path) => existsSync(path)).flatMap((path) => ['--ro-bind', path, path]),
  ];
  return masks;
}

export function bubblewrapArguments(spec: SandboxSpec, options: SandboxOptions): string[] {
  const words = ['--bind', spec.root, '/'];
  if (options.pidNamespace) {
    words.push('--unshare-pid', '--as-pid-1', '--proc', '/proc');
  } else {
    words.push('--ro-bind', '/proc', '/proc');
  }
  words.push('--dev', '/dev', '--ro-bind', '/sys', '/sys', ...maskArguments());
  for (const mount of spec.mounts) {
    if (mount.kind === 'tmpfs') {
      words.push('--perms', '1777');
      if (mount.sizeBytes !== undefined) {
        words.push('--size', String(mount.sizeBytes));
      }
      words.push('--tmpfs', mount.target);
    } else {
      words.push(mount.readOnly ? '--ro-bind' : '--bind', mount.source ?? '', mount.target);
    }
  }
  words.push('--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try', '--hostname', HOSTNAME);
  if (spec.network === 'none') {
    words.push('--unshare-net');
  }
  words.push('--die-with-parent', '--new-session', '--cap-drop', 'ALL');
  for (const capability of CAPABILITIES) {
    words.push('--cap-add', capability);
  }
  words.push('--json-status-fd', String(INFO_FD), '--', options.launcher, 'step');
  return words;
}

/** What the launcher reads from its descriptor: see `step.rs`. */
function encodeSpec(spec: SandboxSpec): Buffer {
  const fields = [
    String(spec.uid),
    String(spec.gid),
    spec.groups === undefined ? 'keep' : spec.groups.join(','),
    spec.cwd,
    '022',
    String(spec.argv.length),
    ...spec.argv,
    ...spec.env.map(([name, value]) => `${name}=${value}`),
  ];
  // It would end a string early, and what follows would be taken for the next: an argument for a variable.
  if (fields.some((field) => field.includes('\0'))) {
    throw new DefinitionError(
      'an argument, a variable or the working directory of a step holds a NUL character',
      {
        code: 'E_ARG_TYPE',
      },
    );
  }
  return Buffer.from(`${fields.join('\0')}\0`, 'utf8');
}

/**
 * Runs the program to its end. The whole process tree is gone when this resolves or throws.
 *
 * @throws `signal.reason` when aborted; {HostError} `E_SANDBOX_MISSING` when the sandbox itself cannot be made.
 */
export async function runInSandbox(spec: SandboxSpec, options: SandboxOptions): Promise<Outcome> {
  spec.signal.throwIfAborted();
  const encoded = encodeSpec(spec);
  const child = spawn('bwrap', bubblewrapArguments(spec, options), {
    cwd: '/',
    // Of the step's environment nothing may reach bubblewrap: LD_PRELOAD would take effect outside of the sandbox.
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin' },
    stdio: [spec.stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
  });
  // The types know of five at most.
  const pipes = child.stdio as readonly unknown[];
  const status = collect(pipes[STATUS_FD] as Readable);
  const info = collect(pipes[INFO_FD] as Readable);
  writeAll(pipes[SPEC_FD] as Writable, encoded);
  if (spec.stdin !== undefined) {
    writeAll(child.stdin as Writable, spec.stdin);
  }
  let complaint = '';
  for (const stream of ['stdout', 'stderr'] as const) {
    const source = child[stream] as Readable;
    source.on('data', (chunk: Buffer) => {
      if (stream === 'stderr' && complaint.length < MAX_COMPLAINT_BYTES) {
        complaint += chunk.toString('utf8').slice(0, MAX_COMPLAINT_BYTES);
      }
      spec.onOutput(stream, chunk);
      const room = spec.pressure?.();
      if (room !== undefined) {
        source.pause();
        room.then(() => source.resume());
      }
    });
    source.on('error', () => {});
  }

  let stopped: 'timeout' | 'cancelled' | undefined;
  const stop = (why: 'timeout' | 'cancelled') => {
    stopped ??= why;
    // Pid 1 of the sandbox, so that bubblewrap lives to see all of them gone; itself only if it is not that far.
    const pid = Number(/"child-pid":\s*(\d+)/.exec(info.text())?.[1] ?? Number.NaN);
    if (Number.isInteger(pid) && pid > 1) {
      try {
        process.kill(pid, 'SIGKILL');
        return;
      } catch {
        // It has just ended.
      }
    }
    child.kill('SIGKILL');
  };
  const onAbort = () => stop('cancelled');
  spec.signal.addEventListener('abort', onAbort, { once: true });
  const timer = spec.timeoutMs === undefined ? undefined : setTimeout(() => stop('timeout'), spec.timeoutMs);
  try {
    await new Promise<void>((resolve, reject) => {
      child.once('error', (cause) => {
        reject(
          new HostError(`cannot start bubblewrap: ${cause.message}`, {
            code: 'E_SANDBOX_MISSING',
            errno: (cause as NodeJS.ErrnoException).code,
            cause,
            hint: 'sudo apt-get install bubblewrap',
          }),
        );
      });
      // After the output has been read to its end.
      child.once('close', () => resolve());
    });
  } finally {
    clearTimeout(timer);
    spec.signal.removeEventListener('abort', onAbort);
  }
  if (stopped === 'cancelled') {
    throw spec.signal.reason;
  }
  const outcome = parseOutcome(status.text());
  if (outcome !== undefined) {
    return outcome;
  }
  if (stopped === 'timeout') {
    return { reason: 'timeout' };
  }
  throw new HostError(`bubblewrap failed: ${complaint.trim() || `status ${child.exitCode}`}`, {
    code: 'E_SANDBOX_MISSING',
    hint: '`tsbuild doctor` tries what the sandbox needs, and says how to mend it',
  });
}

function collect(stream: Readable): { text(): string } {
  let text = '';
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString('utf8', 0, MAX_STATUS_BYTES - text.length);
  });
  stream.on('error', () => {});
  return { text: () => text };
}

/** The reader may end before it has read everything; that is its outcome, not an error here. */
function writeAll(stream: Writable, bytes: Uint8Array): void {
  stream.on('error', () => {});
  stream.end(bytes);
}

function parseOutcome(text: string): Outcome | undefined {
  const line = text.split('\n')[0] ?? '';
  if (line === '') {
    return undefined;
  }
  let facts: {
    exit?: number;
    signal?: string;
    failed?: 'exec' | 'cwd' | 'user' | 'start';
    errno?: string;
    detail?: string;
  };
  try {
    facts = JSON.parse(line) as typeof facts;
  } catch (cause) {
    throw new InternalError(`the launcher reported '${line.slice(0, 200)}'`, { cause });
  }
  if (facts.exit !== undefined) {
    return { reason: 'exit', exitCode: facts.exit };
  }
  if (facts.signal !== undefined) {
    return { reason: 'signal', signal: facts.signal };
  }
  if (facts.failed === undefined) {
    throw new InternalError(`the launcher reported '${line}'`);
  }
  return {
    reason: 'not-started',
    stage: facts.failed,
    errno: facts.errno ?? 'EIO',
    ...(facts.detail === undefined ? {} : { detail: facts.detail }),
  };
}
