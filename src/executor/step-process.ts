/**
 * Our side of `step.rs`: what it is told, how its output is taken, how it is ended, and what it says of the end. The same for every
 * program that makes the sandbox around it.
 */
import type { Readable, Writable } from 'node:stream';
import { DefinitionError, type HostError, InternalError } from '../errors.ts';
import { feedProgram, inputSettings } from './program-input.ts';
import type { Outcome, SandboxSpec } from './sandbox.ts';
import { type ProgramEnd, type ProgramStream, type StartedProgram, startProgram } from './started-program.ts';

/** The program that makes the sandbox and starts `LAUNCHER step` in it, with descriptors 3 and 4 as they are. */
export interface SandboxProgram {
  readonly argv: readonly [program: string, ...args: string[]];
  /** What is to be done for it before it starts, as `enter.rs` is told. @defaultValue nothing */
  readonly entry?: readonly string[];
  /** What pid 1 covers in `/proc`, with a capability that it is given for that. @defaultValue nothing */
  readonly covers?: { readonly hidden: readonly string[]; readonly readOnly: readonly string[] };
  /** The program was given the seccomp profile itself, and installs it. @defaultValue false: the launcher does */
  readonly filters?: boolean;
  /** Pid 1 of the sandbox, from what the program wrote to {@link INFO_FD} or elsewhere. Undefined as long as it has not said. */
  childPid(info: string): number | undefined;
  /** It was killed: ends what it had started, if that goes on without it. */
  abandon?(): void;
  /** What pid 1 is ended with. @defaultValue SIGKILL */
  readonly endSignal?: 'SIGTERM';
  /** It could not be started. */
  missing(cause: Error): HostError;
  /** It ended without a word of the step's end. */
  failed(complaint: string): HostError;
}

const STATUS_FD = 3;
const SPEC_FD = 4;
/** Where the program says what it has started. */
export const INFO_FD = 5;
/** It says it as soon as it has a child; one that does not never gets that far. */
const CHILD_PID_TIMEOUT_MS = 2_000;
/** Between looks at where a program says it that does not use our descriptor. */
const CHILD_PID_INTERVAL_MS = 10;
/** What the program itself may say before it gives up. */
const MAX_COMPLAINT_BYTES = 4096;
/** Of what is a line or two; whoever holds the other end must not fill our memory. */
const MAX_STATUS_BYTES = 64 * 1024;
/** Of `enter.rs`: it could not start the program. */
const ENTRY_NOT_STARTED = 127;

/**
 * Runs the step to its end. The whole process tree is gone when this resolves or throws.
 *
 * @throws `signal.reason` when aborted; what `program` makes of its failures.
 */
export async function runStepProcess(spec: SandboxSpec, program: SandboxProgram): Promise<Outcome> {
  spec.signal.throwIfAborted();
  const encoded = encodeSpec(spec, program);
  const entry = [...spec.place.entry, ...(program.entry ?? [])];
  const enter = entry.length === 0 ? [] : [spec.place.launcher, 'enter', ...entry, '--'];
  // Of the step's environment nothing may reach the program: LD_PRELOAD would take effect outside of the sandbox.
  const environment = { PATH: process.env.PATH ?? '/usr/bin:/bin' };
  const streams: ProgramStream[] = [
    spec.input === undefined ? 'null' : 'write',
    'read',
    'read',
    'read',
    'write',
    'read-if-asked',
    // The number that `owners.rs` looks for it at.
    ...(spec.owners !== undefined && 'socket' in spec.owners ? [spec.owners.socket] : []),
  ];
  let child: StartedProgram;
  try {
    child = startProgram([...enter, ...program.argv], environment, streams);
  } catch (cause) {
    throw program.missing(cause as Error);
  }
  const status = collect(child.stream(STATUS_FD));
  if (spec.input !== undefined) {
    feedProgram(spec.input, child.stream(0));
  }
  const complaint = passOutputOn(child, spec);

  let stopped: 'timeout' | 'cancelled' | 'unready' | undefined;
  let patience: NodeJS.Timeout | undefined;
  let search: NodeJS.Timeout | undefined;
  let info: { text(): string } | undefined;
  // Few ask for it, and it comes in many pieces, each of which would wake us.
  const childPid = () => {
    if (info === undefined) {
      const stream = child.stream(INFO_FD);
      info = collect(stream);
      stream.on('data', () => {
        tryToBegin();
        if (stopped !== undefined) {
          end();
        }
      });
    }
    return program.childPid(info.text());
  };
  // Pid 1 of the sandbox, so that the program lives to see all of them gone. Without it bubblewrap would leave a child
  // behind that has not yet asked to die with its parent: it is waited for until the program has said which one that is.
  const end = () => {
    const pid = childPid();
    if (pid !== undefined && pid > 1) {
      clearInterval(search);
      try {
        process.kill(pid, program.endSignal ?? 'SIGKILL');
      } catch {
        // It has just ended.
        child.kill();
      }
    } else {
      search ??= setInterval(end, CHILD_PID_INTERVAL_MS);
      patience ??= setTimeout(() => child.kill(), CHILD_PID_TIMEOUT_MS);
    }
  };
  const stop = (why: 'timeout' | 'cancelled' | 'unready') => {
    stopped ??= why;
    end();
  };
  // Pid 1 starts nothing before it was told what.
  const { begin } = spec.place;
  let begun: Promise<void> | undefined;
  let unready: unknown;
  const tell = () => writeAll(child.stream(SPEC_FD), encoded);
  const tryToBegin = () => {
    const pid = stopped === undefined && begin !== undefined ? childPid() : undefined;
    if (begin !== undefined && pid !== undefined) {
      begun ??= begin(pid).then(tell, (error) => {
        unready = error;
        stop('unready');
      });
    }
  };
  if (begin === undefined) {
    tell();
  }
  // Not every program says it on our descriptor.
  const watch = begin === undefined ? undefined : setInterval(tryToBegin, CHILD_PID_INTERVAL_MS);
  tryToBegin();
  const onAbort = () => stop('cancelled');
  spec.signal.addEventListener('abort', onAbort, { once: true });
  const timer = spec.timeoutMs === undefined ? undefined : setTimeout(() => stop('timeout'), spec.timeoutMs);
  let ended: ProgramEnd;
  try {
    void child.ended.then(({ signal }) => signal !== undefined && program.abandon?.());
    // After the output has been read to its end.
    ended = await child.closed;
  } finally {
    spec.input?.bytes.destroy();
    clearTimeout(timer);
    clearTimeout(patience);
    clearInterval(search);
    clearInterval(watch);
    spec.signal.removeEventListener('abort', onAbort);
    // What it has made is the caller's to release.
    await begun;
  }
  if (stopped === 'cancelled') {
    throw spec.signal.reason;
  }
  if (stopped === 'unready') {
    throw unready;
  }
  const outcome = parseOutcome(status.text());
  if (outcome !== undefined) {
    return outcome;
  }
  if (stopped === 'timeout') {
    return { reason: 'timeout' };
  }
  const said = complaint.text().trim() || (ended.signal ?? `status ${ended.status}`);
  throw enter.length > 0 && ended.status === ENTRY_NOT_STARTED
    ? program.missing(Object.assign(new Error(said), { code: 'ENOENT' }))
    : program.failed(said);
}

/** The result is the beginning of what was written to standard error. */
function passOutputOn(child: StartedProgram, spec: SandboxSpec): { text(): string } {
  let complaint = '';
  for (const [number, stream] of [
    [1, 'stdout'],
    [2, 'stderr'],
  ] as const) {
    const source = child.stream(number);
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
  return { text: () => complaint };
}

/** How many descriptors after the standard ones the launcher must find where they are: two, and {@link INFO_FD} where another comes after it. */
export function stepDescriptors({ owners }: SandboxSpec): number {
  return owners !== undefined && 'socket' in owners ? 4 : 2;
}

/** What the launcher reads from its descriptor: see `step.rs`. */
function encodeSpec(spec: SandboxSpec, { filters = false, covers }: SandboxProgram): Buffer {
  const insecure = spec.insecure === true;
  const settings: Readonly<Record<string, string | undefined>> = {
    uid: String(spec.uid),
    gid: String(spec.gid),
    groups: spec.groups?.join(','),
    capabilities: insecure ? 'all' : spec.withoutCapabilities === true ? 'none' : undefined,
    owners: spec.owners?.kind,
    cwd: spec.cwd,
    umask: '022',
    ...inputSettings(spec.input),
    limits: spec.ulimits?.map(({ name, soft, hard }) => `${name}=${soft}:${hard}`).join(','),
    seccomp: insecure || filters ? undefined : spec.seccomp?.program.toString('hex'),
    scope: insecure ? undefined : 'own',
    hidden: covers?.hidden.join(','),
    'read-only': covers?.readOnly.join(','),
  };
  const fields = [
    ...Object.entries(settings).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`])),
    '',
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
    failed?: Extract<Outcome, { readonly reason: 'not-started' }>['stage'];
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
