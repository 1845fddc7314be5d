import { HostError } from '../errors.ts';
import type { Executor } from '../executor/run-program.ts';
import { native } from '../native/addon.ts';
import { fromNative, isCancelled } from '../native/error.ts';
import type { SnapshotDriver } from '../snapshot/driver.ts';
import type { SnapshotStore } from '../snapshot/snapshot-store.ts';
import type { WorkerEvent } from './protocol.ts';

/** What the worker has once it has said hello. */
export interface WorkerContext {
  readonly snapshots: SnapshotStore;
  readonly driver: SnapshotDriver;
  readonly executor: Executor;
  /** Name space of overlay attributes. */
  readonly overlayXattrs: 'user' | 'trusted';
}

/** What one request has. */
export interface RequestContext {
  readonly signal: AbortSignal;
  readonly emit: (event: WorkerEvent) => void;
  /** Resolves when what was emitted has gone out; undefined when there is room. */
  readonly pressure: () => Promise<void> | undefined;
}

type CancelToken = InstanceType<ReturnType<typeof native>['CancelToken']>;

/** Calls the native helper under the request's signal; its errors become ours. */
export async function callNative<T>(
  signal: AbortSignal,
  doing: string,
  call: (cancel: CancelToken) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const cancel = new (native().CancelToken)();
  const onAbort = () => cancel.cancel();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await call(cancel);
  } catch (error) {
    if (isCancelled(error)) {
      throw signal.reason ?? new HostError(`${doing}: cancelled`, { code: 'E_IO' });
    }
    throw fromNative(error, doing);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
