/** For hosts that refuse overlay mounts: the stack is copied (cloned where the filesystem can), and compared afterwards. */
import { lstatSync, mkdirSync, readdirSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import type { LayerId } from '../solver/op.ts';
import type { CommitResult, Mountpoint, Prepared, SnapshotDriver, View } from './driver.ts';
import { locate, makeInPlace } from './mountpoints.ts';
import { ownersBeside, pruneOwners, writeLayerOwners } from './owners.ts';
import type { SnapshotStore } from './snapshot-store.ts';

export class CopyDriver implements SnapshotDriver {
  readonly kind = 'copy';
  readonly #store: SnapshotStore;
  readonly #overlayXattrs: 'user' | 'trusted';

  constructor(store: SnapshotStore, overlayXattrs: 'user' | 'trusted') {
    this.#store = store;
    this.#overlayXattrs = overlayXattrs;
  }

  async prepare(layers: readonly LayerId[], signal: AbortSignal): Promise<Prepared> {
    const lowers = layers.map((layer) => this.#store.layerDir(layer)).reverse();
    const dir = this.#store.scratch('step');
    const root = join(dir, 'root');
    mkdirSync(root, { mode: 0o755 });
    mkdirSync(join(dir, 'layer/fs'), { recursive: true, mode: 0o755 });
    try {
      await flatten(lowers, root, signal);
    } catch (error) {
      await native().removeTree(dir);
      throw error;
    }
    return new PreparedCopy(this.#store, this.#overlayXattrs, lowers, dir);
  }

  async view(layers: readonly LayerId[], signal: AbortSignal): Promise<View> {
    const dir = this.#store.scratch('view');
    const root = join(dir, 'root');
    mkdirSync(root, { mode: 0o700 });
    const close = () => native().removeTree(dir);
    try {
      await flatten(layers.map((layer) => this.#store.layerDir(layer)).reverse(), root, signal);
    } catch (error) {
      await close();
      throw error;
    }
    return { root, owners: ownersBeside(root), close };
  }
}

async function flatten(lowers: readonly string[], target: string, signal: AbortSignal): Promise<void> {
  if (lowers.length === 0) {
    return;
  }
  await callNative(signal, `cannot copy the layers below '${target}'`, (cancel) =>
    native().flattenLayers({ lowers, target, owners: ownersBeside(target) }, cancel),
  );
}

class PreparedCopy implements Prepared {
  readonly #store: SnapshotStore;
  readonly #overlayXattrs: 'user' | 'trusted';
  readonly lowers: readonly string[];
  readonly owners: string;
  readonly upper: string;
  readonly #dir: string;
  readonly #root: string;
  readonly #start: Stats;
  #ended = false;

  constructor(
    store: SnapshotStore,
    overlayXattrs: 'user' | 'trusted',
    lowers: readonly string[],
    dir: string,
  ) {
    this.#store = store;
    this.#overlayXattrs = overlayXattrs;
    this.lowers = lowers;
    this.#dir = dir;
    this.#root = join(dir, 'root');
    this.owners = ownersBeside(this.#root);
    this.upper = this.#root;
    this.#start = lstatSync(this.#root);
  }

  root(): string {
    return this.#root;
  }

  changes(): string {
    return this.#root;
  }

  async withMountpoints<T>(
    mountpoints: readonly Mountpoint[],
    use: (root: string, targets: ReadonlyMap<string, string>) => Promise<T>,
  ): Promise<T> {
    const located = locate(this.#root, mountpoints);
    const takeAway = makeInPlace(
      this.#root,
      located.filter(({ resolved }) => resolved.stat === undefined),
    );
    try {
      const result = await use(
        this.#root,
        new Map(located.map(({ mountpoint, resolved }) => [mountpoint.path, resolved.path])),
      );
      await pruneOwners(this.#root, this.owners);
      return result;
    } finally {
      takeAway();
    }
  }

  async commit(layer: LayerId): Promise<CommitResult> {
    const upper = join(this.#dir, 'layer/fs');
    const end = lstatSync(this.#root);
    native().copyAttributes(this.#root, upper);
    const { mtimeNs } = lstatSync(this.#root, { bigint: true });
    await native().diffTree({
      lowers: this.lowers.length === 0 ? [this.#store.emptyDir] : this.lowers,
      changed: this.#root,
      owners: this.owners,
      upper,
      overlayXattrs: this.#overlayXattrs,
    });
    // What was put into it has changed its time.
    native().setMtime(upper, String(mtimeNs));
    const rootChanged = await writeLayerOwners({
      merged: this.owners,
      tree: upper,
      lowers: this.lowers,
      output: ownersBeside(upper),
    });
    const empty =
      readdirSync(upper).length === 0 &&
      !rootChanged &&
      end.mode === this.#start.mode &&
      end.uid === this.#start.uid &&
      end.gid === this.#start.gid;
    const existed = !this.#store.publish(join(this.#dir, 'layer'), layer);
    await this.discard();
    return { existed, empty };
  }

  async discard(): Promise<void> {
    if (!this.#ended) {
      this.#ended = true;
      await native().removeTree(this.#dir);
    }
  }
}
