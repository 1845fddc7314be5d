/** The front's half: starts the worker through the launcher and talks to it. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Writable } from 'node:stream';
import type { IsolationChoice } from '../base/isolation.ts';
import { HostError, InternalError } from '../errors.ts';
import { CDI_DIRS } from '../executor/cdi.ts';
import { launcherPath } from '../native/launcher-path.ts';
import { packagePath, runsFromSources } from '../native/package-path.ts';
import { encodeFrame, FrameReader } from './framing.ts';
import {
  type FromWorker,
  type HelloParams,
  type HelloResult,
  type HostTrust,
  PROTOCOL_VERSION,
  type SeccompChoice,
  type ToWorker,
  type Worker,
  type WorkerEvent,
  type WorkerMethods,
} from './protocol.ts';
import { fromWire } from './wire-error.ts';

export interface WorkerOptions {
  readonly storeDir: string;
  /** @defaultValue `auto`: the best that works. */
  readonly isolation?: IsolationChoice;
  readonly snapshotter: HelloParams['snapshotter'];
  /** A function is asked while the worker's process starts. */
  readonly hostTrust: HostTrust | (() => HostTrust);
  /** @defaultValue auto */
  readonly sandbox?: HelloParams['sandbox'];
  /** @defaultValue recorded where that is possible, if there is one id only */
  readonly ownerKeeping?: HelloParams['ownerKeeping'];
  /** @defaultValue the two directories of the Container Device Interface */
  readonly cdiDirs?: readonly string[];
  /** @defaultValue `/` */
  readonly driverRoot?: string;
  /** @defaultValue tsbuild's own profile */
  readonly seccomp?: SeccompChoice;
  readonly signal: AbortSignal;
}

const MAX_STDERR_BYTES = 16 * 1024;
const CLOSE_TIMEOUT_MS = 10_000;
/** Of `tsbuild-launcher`: it could not make the namespaces. */
const LAUNCHER_FAILED = 125;
/** The worker's own heap grows with open requests, not with data; this keeps it small. */
const NODE_FLAGS = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=8'];

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly onEvent: ((event: WorkerEvent) => void) | undefined;
  readonly signal: AbortSignal;
  readonly onAbort: () => void;
}

/**
 * Starts a worker and says hello.
 *
 * @throws {HostError} `E_USERNS`, `E_ISOLATION`, `E_STORE_MAP`, `E_OVERLAY_DENIED`, `E_CA_BUNDLE`, `E_WORKER_START`, `E_NATIVE_MISSING`;
 * `signal.reason` when aborted. Nothing stays behind then.
 */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  options.signal.throwIfAborted();
  const launcher = launcherPath();
  const main = packagePath(runsFromSources() ? 'src/worker/main.ts' : 'bin/worker.cjs');
  const child = spawn(
    launcher,
    [
      '--isolation',
      options.isolation ?? 'auto',
      '--parent',
      String(process.pid),
      '--',
      process.execPath,
      ...NODE_FLAGS,
      main,
    ],
    {
      stdio: ['pipe', 'pipe', 'pipe'],
      // A session of its own: Ctrl-C on the terminal is for the front, which ends its builds in order.
      detached: true,
      env: {
        ...process.env,
        TSBUILD_STEP_LAUNCHER: launcher,
        NODE_OPTIONS: '',
        NODE_COMPILE_CACHE: undefined,
      },
    },
  );
  const connection = new Connection(child);
  try {
    const params: HelloParams = {
      protocol: PROTOCOL_VERSION,
      storeDir: options.storeDir,
      isolation: options.isolation ?? 'auto',
      snapshotter: options.snapshotter,
      hostTrust: typeof options.hostTrust === 'function' ? options.hostTrust() : options.hostTrust,
      sandbox: options.sandbox ?? 'auto',
      ...(options.ownerKeeping === undefined ? {} : { ownerKeeping: options.ownerKeeping }),
      cdiDirs: options.cdiDirs ?? CDI_DIRS,
      driverRoot: options.driverRoot ?? '/',
      seccomp: options.seccomp ?? { kind: 'default' },
    };
    const hello = await connection.call('hello', params, { signal: options.signal });
    return new WorkerHandle(connection, hello);
  } catch (error) {
    await connection.close();
    throw error;
  }
}

class WorkerHandle implements Worker {
  readonly hello: HelloResult;
  readonly #connection: Connection;

  constructor(connection: Connection, hello: HelloResult) {
    this.#connection = connection;
    this.hello = hello;
  }

  get isIdle(): boolean {
    return this.#connection.isIdle;
  }

  call: Worker['call'] = (method, params, options) => this.#connection.call(method, params, options);

  close(): Promise<void> {
    return this.#connection.close();
  }
}

class Connection {
  readonly #child: ChildProcess;
  readonly #stdin: Writable;
  readonly #pending = new Map<number, Pending>();
  readonly #reader = new FrameReader();
  readonly #ended: Promise<void>;
  #nextId = 1;
  #stderr = '';
  #helloed = false;
  #closing = false;
  #failure: Error | undefined;

  constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdin === null || child.stdout === null || child.stderr === null) {
      throw new InternalError('the worker was started without pipes');
    }
    this.#stdin = child.stdin;
    // Its end is told by 'close'.
    child.stdin.on('error', () => {});
    child.stdout.on('data', (chunk: Buffer) => this.#receive(chunk));
    child.stdout.on('error', () => {});
    child.stderr.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString('utf8')).slice(-MAX_STDERR_BYTES);
    });
    child.stderr.on('error', () => {});
    this.#ended = new Promise((resolve) => {
      child.once('error', (cause) => {
        this.#fail(
          new HostError(`cannot start the worker: ${cause.message}`, { code: 'E_WORKER_START', cause }),
        );
        resolve();
      });
      child.once('close', (status, signal) => {
        this.#fail(this.#endedError(status, signal));
        resolve();
      });
    });
    this.#hold();
  }

  get isIdle(): boolean {
    return this.#pending.size === 0;
  }

  call<M extends keyof WorkerMethods>(
    method: M,
    params: WorkerMethods[M]['params'],
    { signal, onEvent, onSession }: Parameters<Worker['call']>[2],
  ): Promise<WorkerMethods[M]['result']> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      const id = this.#nextId;
      this.#nextId += 1;
      const onAbort = () => this.#send({ kind: 'cancel', id });
      signal.addEventListener('abort', onAbort, { once: true });
      this.#pending.set(id, {
        resolve: resolve as (value: unknown) => void,
        reject,
        onEvent,
        signal,
        onAbort,
      });
      this.#hold();
      try {
        this.#send({ kind: 'request', id, method, params });
        onSession?.((message) => {
          if (this.#pending.has(id)) {
            this.#send({ kind: 'session', id, message });
          }
        });
      } catch (error) {
        this.#settle(id)?.reject(error);
      }
    });
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#child.ref();
    this.#stdin.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), CLOSE_TIMEOUT_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  #send(message: ToWorker): void {
    this.#stdin.write(encodeFrame(message));
  }

  #receive(chunk: Buffer): void {
    let messages: FromWorker[];
    try {
      messages = this.#reader.push(chunk) as FromWorker[];
    } catch (error) {
      this.#child.kill('SIGKILL');
      this.#fail(error as Error);
      return;
    }
    for (const message of messages) {
      if (message.kind === 'event') {
        this.#pending.get(message.id)?.onEvent?.(message.event);
        continue;
      }
      const pending = this.#settle(message.id);
      if (message.kind === 'result') {
        this.#helloed = true;
        pending?.resolve(message.value);
      } else if (message.error.code === 'CANCELLED') {
        pending?.reject(pending.signal.reason);
      } else {
        pending?.reject(fromWire(message.error));
      }
    }
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.signal.removeEventListener('abort', pending.onAbort);
    this.#hold();
    return pending;
  }

  /** An idle worker does not keep the front's process alive; one that works does. */
  #hold(): void {
    const busy = this.#pending.size > 0 || this.#closing;
    const handles = [this.#child, ...this.#child.stdio] as ({ ref?(): void; unref?(): void } | null)[];
    for (const handle of handles) {
      if (busy) {
        handle?.ref?.();
      } else {
        handle?.unref?.();
      }
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const id of [...this.#pending.keys()]) {
      this.#settle(id)?.reject(this.#failure);
    }
  }

  #endedError(status: number | null, signal: NodeJS.Signals | null): Error {
    const reported = status === LAUNCHER_FAILED ? launcherReport(this.#stderr) : undefined;
    if (reported !== undefined) {
      return reported;
    }
    if (this.#closing) {
      return new HostError('the worker was closed', { code: 'E_WORKER_DIED' });
    }
    const how = signal === null ? `status ${status}` : signal;
    const said = this.#stderr.trim();
    return new HostError(
      `the worker ${this.#helloed ? 'ended unexpectedly' : 'could not be started'} (${how})${said === '' ? '' : `: ${said.slice(-2000)}`}`,
      {
        code: this.#helloed ? 'E_WORKER_DIED' : 'E_WORKER_START',
        hint: status === 137 ? 'the machine may have run out of memory' : undefined,
      },
    );
  }
}

/** The launcher's one line of JSON. */
function launcherReport(stderr: string): HostError | undefined {
  const line = stderr
    .trim()
    .split('\n')
    .findLast((text) => text.startsWith('{"code":'));
  if (line === undefined) {
    return undefined;
  }
  const { code, message, hint, errno } = JSON.parse(line) as {
    code: 'E_USERNS' | 'E_ISOLATION';
    message: string;
    hint?: string;
    errno?: string;
  };
  return new HostError(message, { code, hint, errno });
}
