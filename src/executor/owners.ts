/**
 * Owners that a program gives to its files. Where the worker has one id the kernel refuses them: a thread of the worker hears the
 * calls that would set them, writes them down beside the tree, and shows them to the program (native/crates/recorder). So it
 * can run as any user, too.
 */
import { native } from '../native/addon.ts';

/**
 * `real`: the disk has them. `devices`: the same, but nodes cannot be made, and are recorded. `recorded`: as above. `pretended`: nobody can listen, since something around the worker does;
 * changing an owner seems to succeed, and is forgotten.
 */
export type OwnerKeeping = 'real' | 'devices' | 'recorded' | 'pretended';

/** By trying. Without one of the better ways, `notes` gets the reason. */
export function chooseOwnerKeeping(
  idMode: 'root' | 'multi' | 'single',
  wanted: 'pretended' | undefined,
  notes: string[],
): OwnerKeeping {
  if (idMode === 'root') {
    return 'real';
  }
  const reason = wanted === 'pretended' ? 'so it was asked for' : native().probeRecorder();
  if (reason === null) {
    return idMode === 'single' ? 'recorded' : 'devices';
  }
  if (idMode === 'multi') {
    return 'real';
  }
  notes.push(`owners of files are not recorded: ${reason}`);
  return 'pretended';
}

/** Something mounted that seems to belong to another user. */
export interface MountedOwner {
  /** On the host. */
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
}

/** A tree that something is mounted from. */
export interface OwnedTree {
  readonly root: string;
  /** The file that says what its disk cannot. */
  readonly owners: string | undefined;
}

export interface RecordedRun {
  /** The merged tree. */
  readonly root: string;
  /** Where its changes are gathered; the root itself, if it is no stack. */
  readonly changes: string;
  /** What is recorded of it, before and after. */
  readonly owners: string;
  readonly mounted: readonly MountedOwner[];
  readonly trees: readonly OwnedTree[];
  /** Whom the program runs as; absent where its ids are real and only devices are recorded. */
  readonly user?: { readonly uid: number; readonly gid: number; readonly groups: readonly number[] };
}

/**
 * Calls `run` with a descriptor for the program's side, and writes down what the program did to owners.
 *
 * @throws What `run` throws; what the native helper cannot read or write.
 */
export async function recordOwners<T>(options: RecordedRun, run: (socket: number) => Promise<T>): Promise<T> {
  const recorder = new (native().Recorder)();
  const trees = options.trees.flatMap(({ root, owners }) => (owners === undefined ? [] : [{ root, owners }]));
  const recorded = recorder.record({ ...options, trees }).then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  let result: T;
  try {
    result = await run(recorder.fd);
  } finally {
    // Whoever never got the other end cannot close it.
    recorder.close();
    await recorded;
  }
  const failed = await recorded;
  if (failed !== undefined) {
    throw failed.error;
  }
  return result;
}
