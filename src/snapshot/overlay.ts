/** Stacks layers with the kernel's overlayfs: the upper directory is the diff. */
import { lstatSync, mkdirSync, readdirSync, type Stats, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DefinitionError, HostError } from '../errors.ts';
import { native } from '../native/addon.ts';
import { fromNative } from '../native/error.ts';
import type { LayerId } from '../solver/op.ts';
import type { CommitResult, Mountpoint, Prepared, SnapshotDriver, View } from './driver.ts';
import { type Located, locate, makeInPlace, makeSkeleton } from './mountpoints.ts';
import { mergeOwners, ownersBeside, pruneOwners, writeLayerOwners } from './owners.ts';
import type { SnapshotStore } from './snapshot-store.ts';

export class OverlayDriver implements SnapshotDriver {
  readonly kind = 'overlay';
  readonly #store: SnapshotStore;
  readonly #userXattr: boolean;

  constructor(store: SnapshotStore, userXattr: boolean) {
    this.#store = store;
    this.#userXattr = userXattr;
  }

  async prepare(layers: readonly LayerId[]): Promise<Prepared> {
    const lowers = layers.map((layer) => this.#store.layerDir(layer)).reverse();
    const prepared = new PreparedOverlay(this.#store, this.#userXattr, lowers);
    try {
      await prepared.mergeOwners();
    } catch (error) {
      await prepared.discard();
      throw error;
    }
    return prepared;
  }

  async view(layers: readonly LayerId[]): Promise<View> {
    const lowers = layers.map((layer) => this.#store.layerDir(layer)).reverse();
    const dir = this.#store.scratch('view');
    const root = join(dir, 'root');
    const owners = ownersBeside(root);
    mkdirSync(root, { mode: 0o700 });
    // Without an upper the kernel wants two, and there is nothing to stack in none.
    if (lowers.length === 0) {
      return { root, owners, close: () => native().removeTree(dir) };
    }
    try {
      await mergeOwners(lowers, owners);
      mountOverlay({ lowers: [...lowers, this.#store.emptyDir], target: root, userXattr: this.#userXattr });
    } catch (error) {
      await native().removeTree(dir);
      throw error;
    }
    return {
      root,
      owners,
      close: async () => {
        native().unmount(root, true);
        await native().removeTree(dir);
      },
    };
  }

  /**
   * Tries what counts with a real mount: that it mounts, that a directory that was removed and made again hides what was below.
   * Without `userxattr` support the latter goes wrong quietly.
   *
   * @throws {HostError} `E_OVERLAY_DENIED`
   */
  async probe(): Promise<void> {
    const dir = this.#store.scratch('probe');
    const [lower, upper, work, root] = ['lower', 'upper', 'work', 'root'].map((name) => join(dir, name)) as [
      string,
      string,
      string,
      string,
    ];
    for (const path of [join(lower, 'a'), upper, work, root]) {
      mkdirSync(path, { recursive: true });
    }
    writeFileSync(join(lower, 'a/old'), 'old');
    try {
      mountOverlay({
        lowers: [lower],
        upper,
        work,
        target: root,
        userXattr: this.#userXattr,
        volatile: true,
      });
      await native().removeTree(join(root, 'a'));
      mkdirSync(join(root, 'a'));
      if (readdirSync(join(root, 'a')).length > 0) {
        throw new HostError('overlay directories cannot be made opaque on this filesystem', {
          code: 'E_OVERLAY_DENIED',
          path: this.#store.storeDir,
        });
      }
    } finally {
      native().unmount(root, true);
      await native().removeTree(dir);
    }
  }
}

class PreparedOverlay implements Prepared {
  readonly #store: SnapshotStore;
  readonly #userXattr: boolean;
  readonly lowers: readonly string[];
  readonly owners: string;
  readonly #dir: string;
  readonly #root: string;
  readonly upper: string;
  readonly #start: Stats;
  #hasOwnersBelow = false;
  #mounts = 0;
  #mounted: 'no' | 'plain' | 'skeleton' = 'no';
  #mountedLowers: readonly string[] = [];
  #ended = false;

  constructor(store: SnapshotStore, userXattr: boolean, lowers: readonly string[]) {
    this.#store = store;
    this.#userXattr = userXattr;
    this.lowers = lowers.length === 0 ? [store.emptyDir] : lowers;
    this.#dir = store.scratch('step');
    this.#root = join(this.#dir, 'root');
    this.owners = ownersBeside(this.#root);
    this.upper = join(this.#dir, 'layer', 'fs');
    mkdirSync(this.#root);
    mkdirSync(join(this.#dir, 'layer'));
    mkdirSync(this.upper, { mode: 0o755 });
    if (lowers[0] !== undefined) {
      native().copyAttributes(lowers[0], this.upper);
    }
    this.#start = lstatSync(this.upper);
  }

  async mergeOwners(): Promise<void> {
    this.#hasOwnersBelow = await mergeOwners(this.lowers, this.owners);
  }

  root(): string {
    if (this.#mounted !== 'plain') {
      this.#unmount();
      this.#mount(this.lowers);
      this.#mounted = 'plain';
    }
    return this.#root;
  }

  changes(): string {
    this.#unmount();
    return this.upper;
  }

  async withMountpoints<T>(
    mountpoints: readonly Mountpoint[],
    use: (root: string, targets: ReadonlyMap<string, string>) => Promise<T>,
  ): Promise<T> {
    this.#unmount();
    this.#mount([...this.lowers, this.#store.skeleton(mountpoints)]);
    this.#mounted = 'skeleton';
    const located = locate(this.#root, mountpoints);
    const targets = new Map(located.map(({ mountpoint, resolved }) => [mountpoint.path, resolved.path]));
    const missing = located.filter(({ resolved }) => resolved.stat === undefined);
    // Seldom: links of the image, whiteouts and opaque directories lead elsewhere than where the skeleton is.
    const takeAway = missing.length === 0 ? undefined : this.#mountAbove(missing);
    try {
      const result = await use(this.#root, targets);
      await pruneOwners(this.#root, this.owners);
      return result;
    } finally {
      takeAway?.();
    }
  }

  /** The same as a layer between the image and the changes, its directories made to look like the image's. */
  #mountAbove(missing: readonly Located[]): (() => void) | undefined {
    const skeleton = join(this.#dir, `skeleton-${this.#mounts}`);
    mkdirSync(skeleton);
    makeSkeleton(this.#root, missing, skeleton);
    const lowers = this.#mountedLowers;
    this.#unmount();
    this.#mount([skeleton, ...lowers]);
    this.#mounted = 'skeleton';
    // What this very step has removed before hides even that.
    const hidden = missing.filter(
      ({ resolved }) => lstatSync(join(this.#root, resolved.path), { throwIfNoEntry: false }) === undefined,
    );
    return hidden.length === 0 ? undefined : makeInPlace(this.#root, hidden);
  }

  async commit(layer: LayerId): Promise<CommitResult> {
    this.#unmount();
    const end = lstatSync(this.upper);
    const rootChanged = await writeLayerOwners({
      merged: this.owners,
      tree: this.upper,
      // Looked at once; layers do not change.
      lowers: this.#hasOwnersBelow ? this.lowers : [],
      output: ownersBeside(this.upper),
    });
    const empty =
      readdirSync(this.upper).length === 0 &&
      !rootChanged &&
      end.mode === this.#start.mode &&
      end.uid === this.#start.uid &&
      end.gid === this.#start.gid;
    const existed = !this.#store.publish(join(this.#dir, 'layer'), layer);
    if (existed) {
      await this.discard();
    } else {
      this.#ended = true;
      this.#store.removeLater(this.#dir);
    }
    return { existed, empty };
  }

  async discard(): Promise<void> {
    if (this.#ended) {
      return;
    }
    this.#ended = true;
    if (this.#mounted !== 'no') {
      native().unmount(this.#root, true);
      this.#mounted = 'no';
    }
    await native().removeTree(this.#dir);
  }

  #mount(lowers: readonly string[]): void {
    // Each mount has a work directory of its own: a volatile one refuses to be used twice.
    const work = join(this.#dir, `work-${this.#mounts}`);
    this.#mounts += 1;
    mkdirSync(work);
    this.#mountedLowers = lowers;
    mountOverlay({
      lowers,
      upper: this.upper,
      work,
      target: this.#root,
      userXattr: this.#userXattr,
      volatile: true,
    });
  }

  #unmount(): void {
    if (this.#mounted !== 'no') {
      native().unmount(this.#root, false);
      this.#mounted = 'no';
    }
  }
}

function mountOverlay(mount: Parameters<ReturnType<typeof native>['mountOverlay']>[0]): void {
  try {
    native().mountOverlay(mount);
  } catch (cause) {
    const error = fromNative(cause, 'cannot stack the layers');
    if (error instanceof DefinitionError) {
      throw error;
    }
    throw new HostError(error.message, {
      code: 'E_OVERLAY_DENIED',
      errno: error instanceof HostError ? error.errno : undefined,
      cause,
      hint: 'unprivileged overlay needs Linux 5.11 or later and a filesystem with user attributes; set TSBUILD_SNAPSHOT=copy to do without it',
    });
  }
}
