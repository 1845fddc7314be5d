/**
 * The worker: root in its namespaces, started by the launcher, told what to do over its standard input. It ends when that ends.
 */
import { InternalError } from '../errors.ts';
import { fromNative } from '../native/error.ts';
import { assembleDebian } from './assemble-debian.ts';
import { exportMount, importMount, listMounts, removeMounts } from './cache-mount.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import { encodeFrame, FrameReader } from './framing.ts';
import { closeStore, sayHello } from './hello.ts';
import { exists, exportTree, listFiles, readFile, removeLayers, usage } from './inspect.ts';
import { compress, treeDigest, unpack } from './layer-blobs.ts';
import type { FromWorker, ToWorker, WorkerEvent, WorkerMethods } from './protocol.ts';
import { readsDigest } from './reads-digest.ts';
import { recompress } from './recompress.ts';
import { runContainer } from './run-container.ts';
import { Session } from './session.ts';
import { runInKept, runStep } from './step.ts';
import { deleteVolume, getVolume, listVolume, putVolume, removeFromVolume } from './volume.ts';
import { cancelledWire, toWire } from './wire-error.ts';

/** More than this on its way out, and steps are made to wait. */
const MAX_UNSENT_BYTES = 1024 * 1024;

type Params<M extends keyof WorkerMethods> = WorkerMethods[M]['params'];
type Handlers = {
  readonly [M in Exclude<keyof WorkerMethods, 'hello'>]: (
    context: WorkerContext,
    params: Params<M>,
    request: RequestContext,
  ) => Promise<WorkerMethods[M]['result']>;
};

const HANDLERS: Handlers = {
  step: runStep,
  unpack,
  compress,
  recompress,
  assembleDebian,
  treeDigest,
  readsDigest,
  run: runContainer,
  runInKept,
  readFile,
  exists,
  listFiles,
  exportTree,
  removeLayers,
  sweep: async ({ snapshots }) => ({ swept: await snapshots.sweep() }),
  usage: (context, _params, request) => usage(context, request),
  listMounts,
  removeMounts,
  exportMount,
  importMount,
  listVolume,
  putVolume,
  getVolume,
  removeFromVolume,
  deleteVolume,
};

const running = new Map<number, { readonly controller: AbortController; readonly session: Session }>();
let context: WorkerContext | undefined;
let room: Promise<void> | undefined;

let unsent: Buffer[] = [];
let unsentBytes = 0;

/** Events wait for what else happens at the same time, or for an answer: each write wakes the front, which then takes our processor. */
function send(message: FromWorker): void {
  const frame = encodeFrame(message);
  unsent.push(frame);
  unsentBytes += frame.length;
  if (message.kind !== 'event') {
    flush();
  } else if (unsent.length === 1) {
    setImmediate(flush);
  }
}

function flush(): void {
  const [first, ...more] = unsent;
  if (first !== undefined) {
    process.stdout.write(more.length === 0 ? first : Buffer.concat([first, ...more]));
  }
  unsent = [];
  unsentBytes = 0;
}

/** Node buffers without bound what we write; a step's output must not. */
function pressure(): Promise<void> | undefined {
  if (process.stdout.writableLength + unsentBytes < MAX_UNSENT_BYTES) {
    return undefined;
  }
  room ??= new Promise<void>((resolve) => {
    process.stdout.once('drain', () => {
      room = undefined;
      resolve();
    });
  });
  return room;
}

async function answer(message: Extract<ToWorker, { kind: 'request' }>): Promise<void> {
  const { id, method, params } = message;
  const controller = new AbortController();
  const emit = (event: WorkerEvent) => send({ kind: 'event', id, event });
  const session = new Session(emit);
  running.set(id, { controller, session });
  const { signal } = controller;
  try {
    const value = await dispatch(method, params, {
      signal,
      emit,
      session,
      pressure,
    });
    send({ kind: 'result', id, value });
  } catch (error) {
    const cancelled = signal.aborted && error === signal.reason;
    send({
      kind: 'error',
      id,
      error: cancelled ? cancelledWire() : toWire(fromNative(error, `worker: ${method}`)),
    });
  } finally {
    running.delete(id);
  }
}

async function dispatch(
  method: keyof WorkerMethods,
  params: unknown,
  request: RequestContext,
): Promise<unknown> {
  if (method === 'hello') {
    const hello = await sayHello(params as Params<'hello'>, process.env);
    context = hello.context;
    return hello.result;
  }
  const handler = HANDLERS[method] as Handlers[keyof Handlers] | undefined;
  if (handler === undefined || context === undefined) {
    throw new InternalError(handler === undefined ? `no such method: ${method}` : 'hello comes first');
  }
  return handler(context, params as never, request);
}

async function end(): Promise<void> {
  for (const { controller } of running.values()) {
    controller.abort();
  }
  // What was running cleans up after itself; its answers go nowhere.
  while (running.size > 0) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  if (context !== undefined) {
    await closeStore(context.snapshots);
  }
  process.exit(0);
}

const reader = new FrameReader();
process.stdin.on('data', (chunk: Buffer) => {
  for (const message of reader.push(chunk) as ToWorker[]) {
    switch (message.kind) {
      case 'request':
        void answer(message);
        break;
      case 'cancel':
        running.get(message.id)?.controller.abort();
        break;
      case 'session':
        running.get(message.id)?.session.take(message.message);
        break;
    }
  }
});
process.stdin.on('end', () => void end());
// The front is gone; so are we, in a moment.
process.stdout.on('error', () => {});
