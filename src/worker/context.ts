import type { Executor } from '../executor/run-program.ts';
import type { NativeLock } from '../native/addon.ts';
import type { SnapshotDriver } from '../snapshot/driver.ts';
import type { SnapshotStore } from '../snapshot/snapshot-store.ts';
import type { WorkerEvent } from './protocol.ts';
import type { Session } from './session.ts';

/** What the worker has once it has said hello. */
export interface WorkerContext {
  readonly snapshots: SnapshotStore;
  /** That the store is of this process's user ids; lost with the reference, so somebody must have it. */
  readonly claim: NativeLock;
  readonly driver: SnapshotDriver;
  readonly executor: Executor;
  /** Name space of overlay attributes. */
  readonly overlayXattrs: 'user' | 'trusted';
  /** Warnings that are given once. */
  readonly said: Set<string>;
}

/** What one request has. */
export interface RequestContext {
  readonly signal: AbortSignal;
  readonly emit: (event: WorkerEvent) => void;
  readonly session: Session;
  /** Resolves when what was emitted has gone out; undefined when there is room. */
  readonly pressure: () => Promise<void> | undefined;
}
