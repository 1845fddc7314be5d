/** The root that actions of a step change, with what its disk cannot say. */
import type { RecordedOwners } from '../native/addon.ts';
import type { Prepared } from '../snapshot/driver.ts';
import type { WorkerContext } from './context.ts';

export interface ChangedTree {
  readonly root: string;
  /** As that of {@link Prepared}. */
  readonly upper?: string;
  readonly owners: RecordedOwners;
}

/** Mounted, and good until a program runs in it. */
export function changedTree(context: WorkerContext, prepared: Prepared): ChangedTree {
  return { root: prepared.root(), upper: prepared.upper, owners: recordedOwners(context, prepared.owners) };
}

/** With one id every owner is recorded, otherwise only devices that cannot be made. */
export function recordedOwners({ executor }: WorkerContext, file: string): RecordedOwners {
  return { file, single: executor.idMode === 'single' };
}
