/**
 * Disk usage and garbage collection. What an image that stays needs, and what a living engine may be using, is never
 * removed. Of the rest the least recently used goes first.
 */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { IndexedImage } from '../content/image-records.ts';
import { native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { MAX_DOCUMENT_BYTES } from '../oci/json-document.ts';
import { parseManifest } from '../oci/manifest.ts';
import type { LayerId } from '../solver/op.ts';
import type { EngineParts } from './parts.ts';
import { gitDir, gitLockPath, type Store } from './store.ts';

/** `archives` are packages that bases were assembled from, `git` is what was fetched from repositories. */
export type UsageKind =
  | 'images'
  | 'layers'
  | 'blobs'
  | 'archives'
  | 'git'
  | 'cache-mounts'
  | 'volumes'
  | 'logs';

export interface UsageLine {
  readonly kind: UsageKind;
  readonly count: number;
  readonly sizeBytes: number;
  /** What `prune` without options would free. */
  readonly reclaimableBytes: number;
}

export interface PruneOptions {
  /** Also images with names, and cache mounts. @defaultValue false */
  readonly all?: boolean;
  /** Only what was not used for so long, in milliseconds. @defaultValue 0 */
  readonly olderThanMs?: number;
  /** Stop removing when the store is no larger than this. @defaultValue 0 */
  readonly keepBytes?: number;
  /** Only these kinds. @defaultValue all of them */
  readonly kinds?: readonly string[];
  /** Remove nothing, say what would be. */
  readonly dryRun?: boolean;
}

export interface RemovedItem {
  readonly kind: UsageKind;
  readonly id: string;
  readonly sizeBytes: number;
}

export interface PruneResult {
  readonly freedBytes: number;
  readonly removed: readonly RemovedItem[];
}

/** Sizes on disk by name. */
type Sizes = ReadonlyMap<string, number>;

interface Inventory {
  readonly layers: Sizes;
  readonly blobs: Sizes;
  readonly archives: Sizes;
  /** When each was fetched or last read, as far as the file system says. */
  readonly archivesUsedMs: ReadonlyMap<string, number>;
  readonly repositories: Sizes;
  readonly repositoriesUsedMs: ReadonlyMap<string, number>;
  readonly mounts: Sizes;
  /** When a step last used each. */
  readonly mountsUsedMs: ReadonlyMap<string, number>;
  readonly volumes: Sizes;
  readonly logs: Sizes;
  /** Manifest digest → config digest, of images and of bases that were looked up. */
  readonly documents: ReadonlyMap<Digest, Digest>;
}

export async function usage(parts: EngineParts, signal: AbortSignal): Promise<readonly UsageLine[]> {
  const { images } = parts.store;
  const inventory = await takeInventory(parts, signal);
  const removable = parts.store.meta.transaction(() => new Collection(parts.store, inventory, {}).collect());
  const line = (kind: UsageKind, sizes: Sizes): UsageLine => ({
    kind,
    count: sizes.size,
    sizeBytes: sum(sizes.values()),
    reclaimableBytes: sum(removable.filter((item) => item.kind === kind).map((item) => item.sizeBytes)),
  });
  return [
    line('images', new Map([...images.list(), ...images.listIndexes()].map(({ id }) => [id, 0]))),
    line('layers', inventory.layers),
    line('blobs', inventory.blobs),
    line('archives', inventory.archives),
    line('git', inventory.repositories),
    line('cache-mounts', inventory.mounts),
    // Only whoever made one deletes it.
    line('volumes', inventory.volumes),
    line('logs', inventory.logs),
  ];
}

export async function prune(
  parts: EngineParts,
  options: PruneOptions,
  signal: AbortSignal,
): Promise<PruneResult> {
  const { store } = parts;
  const inventory = await takeInventory(parts, signal);
  const removed = store.collect(() => {
    const collection = new Collection(store, inventory, options);
    const items = collection.collect();
    if (options.dryRun !== true) {
      // Records go in the transaction in which living engines were looked at, so that nobody begins to use what goes.
      collection.forget();
    }
    return items;
  });
  if (options.dryRun !== true) {
    await removeFiles(parts, removed, signal);
  }
  return { freedBytes: sum(removed.map((item) => item.sizeBytes)), removed };
}

async function removeFiles(
  { store, worker }: EngineParts,
  removed: readonly RemovedItem[],
  signal: AbortSignal,
): Promise<void> {
  const idsOf = (kind: UsageKind) => removed.filter((item) => item.kind === kind).map((item) => item.id);
  const layers = idsOf('layers') as LayerId[];
  const mounts = idsOf('cache-mounts');
  if (layers.length > 0 || mounts.length > 0) {
    // Files of subordinate ids can only be removed from within the namespace.
    const started = await worker();
    await started.call('removeLayers', { layers }, { signal });
    await started.call('removeMounts', { ids: mounts }, { signal });
  }
  for (const digest of idsOf('blobs')) {
    await store.blobs.delete(digest as Digest);
  }
  for (const name of idsOf('archives')) {
    await rm(join(archivesDir(store), name), { force: true });
  }
  for (const name of idsOf('git')) {
    // An engine that began meanwhile may be at work in it.
    const lock = native().tryLock(gitLockPath(store.dir, name), false);
    if (lock !== undefined) {
      await rm(join(gitDir(store.dir), name), { recursive: true, force: true });
      lock.release();
    }
  }
  for (const name of idsOf('logs')) {
    await rm(join(store.dir, 'logs', name), { force: true });
  }
}

async function takeInventory({ store, worker }: EngineParts, signal: AbortSignal): Promise<Inventory> {
  const { layers, mounts, volumes } = await (await worker()).call('usage', {}, { signal });
  const blobs = new Map<string, number>();
  for await (const { digest, size } of store.blobs.list()) {
    blobs.set(digest, size);
  }
  const archives = await filesIn(archivesDir(store));
  const repositories = await repositoriesIn(gitDir(store.dir), signal);
  return {
    layers: new Map(Object.entries(layers)),
    mounts: new Map(
      mounts
        .toSorted((left, right) => left.usedMs - right.usedMs)
        .map(({ id, sizeBytes }) => [id, sizeBytes]),
    ),
    mountsUsedMs: new Map(mounts.map(({ id, usedMs }) => [id, usedMs])),
    volumes: new Map(Object.entries(volumes)),
    blobs,
    archives: archives.sizes,
    archivesUsedMs: archives.usedMs,
    repositories: repositories.sizes,
    repositoriesUsedMs: repositories.usedMs,
    logs: (await filesIn(join(store.dir, 'logs'))).sizes,
    documents: await documentsOf(store, blobs),
  };
}

async function documentsOf({ images, blobs }: Store, present: Sizes): Promise<ReadonlyMap<Digest, Digest>> {
  const documents = new Map<Digest, Digest>();
  for (const { manifestDigest, configDigest } of images.list()) {
    documents.set(manifestDigest, configDigest);
  }
  for (const { manifestDigest, configDigest } of images.listIndexes().flatMap((index) => index.images)) {
    documents.set(manifestDigest, configDigest);
  }
  for (const digest of images.resolved()) {
    if (present.has(digest)) {
      documents.set(digest, parseManifest(await blobs.read(digest, MAX_DOCUMENT_BYTES)).config.digest);
    }
  }
  return documents;
}

interface Found {
  readonly sizes: Sizes;
  readonly usedMs: ReadonlyMap<string, number>;
}

/** Each use of a repository sets the time of its directory. */
async function repositoriesIn(directory: string, signal: AbortSignal): Promise<Found> {
  const sizes = new Map<string, number>();
  const usedMs = new Map<string, number>();
  for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => [])) {
    if (entry.isDirectory()) {
      const path = join(directory, entry.name);
      const entries = await callNative(signal, `cannot list '${path}'`, (cancel) =>
        native().scanTree(path, cancel),
      );
      sizes.set(entry.name, sum(entries.map(({ sizeBytes }) => sizeBytes)));
      usedMs.set(entry.name, (await stat(path)).mtimeMs);
    }
  }
  return { sizes, usedMs };
}

async function filesIn(directory: string): Promise<Found> {
  const sizes = new Map<string, number>();
  const usedMs = new Map<string, number>();
  for (const name of await readdir(directory).catch(() => [])) {
    const { size, atimeMs, mtimeMs } = await stat(join(directory, name));
    sizes.set(name, size);
    usedMs.set(name, Math.max(atimeMs, mtimeMs));
  }
  return { sizes, usedMs };
}

export function archivesDir({ dir }: Pick<Store, 'dir'>): string {
  return join(dir, 'archives', 'debian');
}

/** Decides what goes, within one transaction. */
class Collection {
  readonly #store: Store;
  readonly #inventory: Inventory;
  readonly #options: PruneOptions;
  readonly #removed: RemovedItem[] = [];
  readonly #images = new Set<string>();
  readonly #indexes = new Set<string>();
  /** Digest of an index → the manifests that it lists. */
  readonly #listed: ReadonlyMap<string, readonly IndexedImage[]>;
  readonly #layers = new Set<string>();
  /** Nobody else is there: files without a record belong to nobody. */
  readonly #alone: boolean;
  /** Only what was last used before. */
  readonly #before: number;
  /** The same, for what living engines do not hold by having looked it up. */
  readonly #asked: number;
  #size: number;

  constructor(store: Store, inventory: Inventory, options: PruneOptions) {
    this.#store = store;
    this.#inventory = inventory;
    this.#options = options;
    this.#listed = new Map(store.images.listIndexes().map(({ id, images }) => [id, images]));
    const oldestOther = store.oldestOtherEngineMs();
    this.#alone = oldestOther === Number.POSITIVE_INFINITY;
    this.#asked =
      options.olderThanMs === undefined ? Number.MAX_SAFE_INTEGER : store.meta.now() - options.olderThanMs;
    this.#before = Math.min(oldestOther, this.#asked);
    const { layers, blobs, archives, repositories, mounts } = inventory;
    this.#size = sum([layers, blobs, archives, repositories, mounts].flatMap((sizes) => [...sizes.values()]));
  }

  collect(): readonly RemovedItem[] {
    const layersInUse = this.#collectImages();
    this.#collectLayers(layersInUse);
    this.#collectBlobs();
    if (this.#alone) {
      const { archives, archivesUsedMs, repositories, repositoriesUsedMs } = this.#inventory;
      const unusedIn = (usedMs: ReadonlyMap<string, number>) => (name: string) =>
        (usedMs.get(name) ?? 0) < this.#before;
      this.#collectFiles('archives', archives, unusedIn(archivesUsedMs));
      this.#collectFiles('git', repositories, unusedIn(repositoriesUsedMs));
    }
    if (this.#options.all === true) {
      const { mounts, mountsUsedMs } = this.#inventory;
      // Those in use are kept by their locks; a living engine that is not using one does not need it.
      this.#collectFiles('cache-mounts', mounts, (id) => (mountsUsedMs.get(id) ?? 0) < this.#asked);
    }
    this.#collectFiles('logs', this.#inventory.logs, (name) => {
      const result = name.replace(/\.log$/, '');
      return this.#layers.has(result) || (this.#alone && !this.#isKnown(result));
    });
    return this.#removed;
  }

  /** Removes the records of what {@link collect} chose. */
  forget(): void {
    const { db } = this.#store.meta;
    for (const id of this.#indexes) {
      db.prepare('DELETE FROM indexes WHERE id = ?').run(id);
    }
    for (const id of this.#images) {
      this.#store.images.remove(id);
    }
    for (const id of this.#layers) {
      db.prepare('DELETE FROM layers WHERE id = ?').run(id);
    }
    for (const row of db.prepare('SELECT key, result FROM cache WHERE gone = 0').all()) {
      const { layers } = JSON.parse(String(row.result)) as { layers?: string[] };
      if (layers?.some((layer) => this.#layers.has(layer))) {
        // The memory that it once was stays: an explanation can then say that the result is gone.
        db.prepare('UPDATE cache SET gone = 1 WHERE key = ?').run(String(row.key));
      }
    }
    if (this.#alone) {
      const removed = new Set(this.#removed.flatMap(({ kind, id }) => (kind === 'logs' ? [id] : [])));
      const { logs } = this.#inventory;
      this.#store.attempts.forget((result) => logs.has(`${result}.log`) && !removed.has(`${result}.log`));
    }
  }

  /** @returns Images that an index needs which stays. */
  #collectIndexes(): ReadonlySet<string> {
    const rows = this.#store.meta.db
      .prepare(
        `SELECT id, used_ms, EXISTS (SELECT 1 FROM names WHERE image_index = indexes.id
           UNION ALL SELECT 1 FROM published WHERE image_index = indexes.id) AS named
         FROM indexes ORDER BY used_ms`,
      )
      .all();
    const needed = new Set<string>();
    for (const row of rows) {
      const id = String(row.id);
      const optional = this.#options.all === true || row.named === 0;
      if (optional && Number(row.used_ms) < this.#before && this.#remove('images', id, 0)) {
        this.#indexes.add(id);
      } else {
        for (const image of this.#listed.get(id) ?? []) {
          needed.add(image.id);
        }
      }
    }
    return needed;
  }

  /** @returns Layers of the images that stay. */
  #collectImages(): ReadonlySet<string> {
    const listed = this.#collectIndexes();
    const rows = this.#store.meta.db
      .prepare(
        `SELECT id, layers, used_ms, EXISTS (SELECT 1 FROM names WHERE image = images.id
           UNION ALL SELECT 1 FROM published WHERE image = images.id) AS named
         FROM images ORDER BY used_ms`,
      )
      .all();
    const inUse = new Set<string>();
    for (const row of rows) {
      const id = String(row.id);
      const optional = !listed.has(id) && (this.#options.all === true || row.named === 0);
      if (optional && Number(row.used_ms) < this.#before && this.#remove('images', id, 0)) {
        this.#images.add(id);
      } else {
        for (const layer of JSON.parse(String(row.layers)) as string[]) {
          inUse.add(layer);
        }
      }
    }
    return inUse;
  }

  #collectLayers(inUse: ReadonlySet<string>): void {
    const { layers } = this.#inventory;
    for (const row of this.#store.meta.db.prepare('SELECT id, used_ms FROM layers ORDER BY used_ms').all()) {
      const id = String(row.id);
      const free = !inUse.has(id) && Number(row.used_ms) < this.#before;
      if (free && this.#remove('layers', id, layers.get(id) ?? 0)) {
        this.#layers.add(id);
      }
    }
    if (this.#alone) {
      // Snapshots whose record was never written: their process was killed in between.
      this.#collectFiles('layers', layers, (id) => !this.#layers.has(id) && !this.#isKnown(id));
    }
  }

  #collectBlobs(): void {
    const needed = new Set<string>();
    const images = this.#store.images.list();
    // Different recipes may give one manifest: it goes with the last of their images.
    const staying = new Set(
      images.flatMap(({ id, manifestDigest }) => (this.#images.has(id) ? [] : [manifestDigest])),
    );
    const removedOf = images.map(({ manifestDigest }) => manifestDigest);
    for (const [index, listed] of this.#listed) {
      if (!this.#indexes.has(index)) {
        needed.add(index);
      }
      for (const { manifestDigest } of listed) {
        if (this.#indexes.has(index)) {
          removedOf.push(manifestDigest);
        } else {
          staying.add(manifestDigest);
        }
      }
    }
    const gone = new Set(removedOf.filter((digest) => !staying.has(digest)));
    for (const [manifest, config] of this.#inventory.documents) {
      if (!gone.has(manifest)) {
        needed.add(manifest).add(config);
      }
    }
    for (const row of this.#store.meta.db.prepare('SELECT layer, digest FROM layer_blobs').all()) {
      if (!this.#layers.has(String(row.layer))) {
        needed.add(String(row.digest));
      }
    }
    for (const digest of this.#store.sources.httpFilesUsedSince(this.#before)) {
      needed.add(digest);
    }
    if (this.#alone) {
      this.#collectFiles('blobs', this.#inventory.blobs, (digest) => isDigest(digest) && !needed.has(digest));
    }
  }

  #collectFiles(kind: UsageKind, sizes: Sizes, isFree: (name: string) => boolean): void {
    for (const [name, sizeBytes] of sizes) {
      if (isFree(name)) {
        this.#remove(kind, name, sizeBytes);
      }
    }
  }

  #remove(kind: UsageKind, id: string, sizeBytes: number): boolean {
    const { kinds, keepBytes = 0 } = this.#options;
    if ((kinds !== undefined && !kinds.includes(kind)) || (keepBytes > 0 && this.#size <= keepBytes)) {
      return false;
    }
    this.#removed.push({ kind, id, sizeBytes });
    this.#size -= sizeBytes;
    return true;
  }

  #isKnown(layer: string): boolean {
    return this.#store.meta.db.prepare('SELECT 1 FROM layers WHERE id = ?').get(layer) !== undefined;
  }
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) {
    total += value;
  }
  return total;
}
