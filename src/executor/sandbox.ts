/**
 * Runs one program on a prepared root in a bubblewrap sandbox.
 *
 * bubblewrap makes the namespaces and mounts; pid 1 inside is our launcher's `step` form (native/crates/launcher), which
 * becomes the user, starts the program, passes output on and reports how it ended. When pid 1 ends, the kernel kills what
 * is left, before bubblewrap itself ends: afterwards nothing of the step is alive.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { DefinitionError, HostError, InternalError } from '../errors.ts';
import type { Ulimit } from '../graph/action.ts';

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
  readonly network: 'host' | 'none';
  /** All capabilities of the namespace, nothing masked, the host's devices. @defaultValue false */
  readonly insecure?: boolean;
  readonly hostname: string;
  /** Of `/dev/shm`. @defaultValue a part of `/dev`, as large as that */
  readonly shmSizeBytes?: number;
  readonly ulimits?: readonly Ulimit[];
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
      /** `limit`: `detail` is the name of the resource limit. */
      readonly stage: 'exec' | 'cwd' | 'user' | 'limit' | 'start';
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
/** What bubblewrap makes read-only in a fresh /proc where it could be written. */
const COVERED = ['/proc/sys', '/proc/sysrq-trigger', '/proc/irq', '/proc/bus'];
/** In the sandbox's own /dev; the host's would lead to its terminals and its shared memory. */
const OWN_DEVICES = [
  'console',
  'core',
  'fd',
  'full',
  'mqueue',
  'null',
  'ptmx',
  'pts',
  'random',
  'shm',
  'stderr',
  'stdin',
  'stdout',
  'tty',
  'urandom',
  'zero',
];
/** Of a sandbox, unless it is told another. */
export const HOSTNAME = 'build';
/** bubblewrap says it as soon as it has a child; one that does not never gets that far. */
const CHILD_PID_TIMEOUT_MS = 2_000;
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

/**
 * The devices of the host one by one, not its directory: what is mounted below `/dev` must not leave a mountpoint on the host.
 * Nodes that the user may not open are of no use and no harm.
 */
function hostDevices(): string[] {
  return readdirSync('/dev', { withFileTypes: true })
    .filter(
      (entry) =>
        !OWN_DEVICES.includes(entry.name) &&
        (entry.isCharacterDevice() || entry.isBlockDevice() || entry.isDirectory()),
    )
    .flatMap(({ name }) => ['--dev-bind-try', `/dev/${name}`, `/dev/${name}`]);
}

function systemArguments(spec: SandboxSpec, { pidNamespace }: SandboxOptions): string[] {
  const insecure = spec.insecure === true;
  const bind = insecure ? '--bind' : '--ro-bind';
  const words = pidNamespace ? ['--unshare-pid', '--as-pid-1', '--proc', '/proc'] : [bind, '/proc', '/proc'];
  if (insecure && pidNamespace) {
    words.push(...COVERED.flatMap((path) => ['--bind-try', path, path]));
  }
  words.push('--dev', '/dev');
  if (spec.shmSizeBytes === undefined) {
    // As bubblewrap makes it, only root may write there.
    words.push('--chmod', '1777', '/dev/shm');
  } else {
    words.push('--perms', '1777', '--size', String(spec.shmSizeBytes), '--tmpfs', '/dev/shm');
  }
  words.push(bind, '/sys', '/sys', ...(insecure ? hostDevices() : maskArguments()));
  return words;
}

function mountArguments(mount: SandboxMount): string[] {
  switch (mount.kind) {
    case 'tmpfs': {
      const size = mount.sizeBytes === undefined ? [] : ['--size', String(mount.sizeBytes)];
      return ['--perms', '1777', ...size, '--tmpfs', mount.target];
    }
    case 'bind':
      return [mount.readOnly ? '--ro-bind' : '--bind', mount.source ?? '', mount.target];
    case 'device':
      return ['--dev-bind', mount.source ?? '', mount.target];
  }
}

export function bubblewrapArguments(spec: SandboxSpec, options: SandboxOptions): string[] {
  const words = ['--bind', spec.root, '/', ...systemArguments(spec, options)];
  words.push(...spec.mounts.flatMap(mountArguments));
  words.push('--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try', '--hostname', spec.hostname);
  if (spec.network === 'none') {
    words.push('--unshare-net');
  }
  words.push('--die-with-parent', '--new-session');
  // Told nothing about them, it leaves root all that it has.
  if (spec.insecure !== true) {
    words.push('--cap-drop', 'ALL', ...CAPABILITIES.flatMap((capability) => ['--cap-add', capability]));
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
    spec.insecure === true ? 'all' : '',
    spec.cwd,
    '022',
    (spec.ulimits ?? []).map(({ name, soft, hard }) => `${name}=${soft}:${hard}`).join(','),
    String(spec.argv.length),
    ...spec.argv,
  ];
  const variables = spec.env.map(([name, value]) =>
    Buffer.concat([
      Buffer.from(`${name}=`, 'utf8'),
      typeof value === 'string' ? Buffer.from(value, 'utf8') : value,
    ]),
  );
  const strings = [...fields.map((field) => Buffer.from(field, 'utf8')), ...variables];
  // It would end a string early, and what follows would be taken for the next: an argument for a variable.
  if (strings.some((string) => string.includes(0))) {
    throw new DefinitionError(
      'an argument, a variable or the working directory of a step holds a NUL character',
      {
        code: 'E_ARG_TYPE',
      },
    );
  }
  return Buffer.concat(strings.flatMap((string) => [string, Buffer.of(0)]));
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
  let patience: NodeJS.Timeout | undefined;
  // Pid 1 of the sandbox, so that bubblewrap lives to see all of them gone. Without it bubblewrap would leave a child
  // behind that has not yet asked to die with its parent: it is waited for until bubblewrap has said which one that is.
  const end = () => {
    const pid = Number(/"child-pid":\s*(\d+)/.exec(info.text())?.[1] ?? Number.NaN);
    if (Number.isInteger(pid) && pid > 1) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has just ended.
        child.kill('SIGKILL');
      }
    } else {
      patience ??= setTimeout(() => child.kill('SIGKILL'), CHILD_PID_TIMEOUT_MS);
    }
  };
  const stop = (why: 'timeout' | 'cancelled') => {
    stopped ??= why;
    end();
  };
  (pipes[INFO_FD] as Readable).on('data', () => {
    if (stopped !== undefined) {
      end();
    }
  });
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
    clearTimeout(patience);
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
    failed?: 'exec' | 'cwd' | 'user' | 'limit' | 'start';
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
