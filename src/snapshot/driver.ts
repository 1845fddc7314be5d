/**
 * A stack of layers made into a root filesystem that can be changed, and what changed made into a layer.
 *
 * Layers are directories in overlayfs form, named topmost last (bottom first) throughout.
 */
import type { LayerId } from '../solver/op.ts';

/** A place that a step's sandbox mounts something on. */
export interface Mountpoint {
  /** Absolute, in the image. */
  readonly path: string;
  readonly kind: 'directory' | 'file';
}

export interface CommitResult {
  /** Somebody else had committed this layer before; ours was thrown away. */
  readonly existed: boolean;
  /** Nothing was changed. */
  readonly empty: boolean;
}

export interface Prepared {
  /**
   * The merged root, mounted and writable. Absent mountpoints are not in it. Ask anew after {@link withMountpoints}.
   */
  root(): string;
  /**
   * The file that says what the disk cannot of the merged root: owners where there is one id, and devices (`owners.ts`).
   * Whatever changes the root keeps it right; {@link commit} takes from it what is the layer's.
   */
  readonly owners: string;
  /** Where the changes are gathered while the root is mounted: to look at, not to touch. */
  readonly upper: string;
  /** The layers below as directories, topmost first. */
  readonly lowers: readonly string[];
  /**
   * The changes themselves, unmounted. Where the stack below is empty they are all of the tree, and writing much into them
   * is faster than through a mount.
   */
  changes(): string;
  /**
   * Calls `use` with a root in which every mountpoint exists, and with where each of them really is: links of the image
   * are resolved inside the root. What had to be made for that is in no layer, and changes no directory's times.
   *
   * @throws {StepError} never; {DefinitionError} `E_MOUNT_TARGET` when something else is in a mountpoint's place.
   */
  withMountpoints<T>(
    mountpoints: readonly Mountpoint[],
    use: (root: string, targets: ReadonlyMap<string, string>) => Promise<T>,
  ): Promise<T>;
  /** What changed becomes the layer, atomically. Nothing may use the root any more. */
  commit(layer: LayerId): Promise<CommitResult>;
  /** Forgets everything; fine after a commit, and twice. */
  discard(): Promise<void>;
}

/** A stack to read. */
export interface View {
  readonly root: string;
  /** The file that says what the disk cannot of the root, if there is anything. */
  readonly owners: string;
  close(): Promise<void>;
}

export interface SnapshotDriver {
  readonly kind: 'overlay' | 'copy';
  prepare(layers: readonly LayerId[], signal: AbortSignal): Promise<Prepared>;
  view(layers: readonly LayerId[], signal: AbortSignal): Promise<View>;
}
