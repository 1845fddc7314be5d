/**
 * Disk usage and garbage collection. Images with a name are kept unless `all`; what images, cache records and living engines
 * use is kept always. What goes first: cache records and their layers, the least recently used first; then blobs nobody needs.
 */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, isDigest } from '../oci/digest.ts';
import { MAX_DOCUMENT_BYTES } from '../oci/json-document.ts';
import { parseManifest } from '../oci/manifest.ts';
import type { LayerId } from '../solver/op.ts';
import type { EngineParts } from './parts.ts';

export type UsageKind = 'images' | 'layers' | 'blobs' | 'cache-mounts' | 'logs';

export interface UsageLine {
  readonly kind: UsageKind;
  readonly count: number;
  readonly sizeBytes: number;
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

export interface PruneResult {
  readonly freedBytes: number;
  readonly removed: readonly { readonly kind: UsageKind; readonly id: string; readonly sizeBytes: number }[];
}

interface Inventory {
  readonly layerSizes: Readonly<Record<string, number>>;
  readonly mountSizes: Readonly<Record<string, number>>;
  readonly blobSizes: ReadonlyMap<Digest, number>;
  readonly logSizes: ReadonlyMap<string, number>;
}

export async function usage(parts: EngineParts, signal: AbortSignal): Promise<readonly UsageLine[]> {
  const inventory = await takeInventory(parts, signal);
  const removable = await plan(parts, inventory, {});
  const reclaimable = (kind: UsageKind) =>
    removable.filter((item) => item.kind === kind).reduce((sum, item) => sum + item.sizeBytes, 0);
  const line = (kind: UsageKind, sizes: readonly number[]): UsageLine => ({
    kind,
    count: sizes.length,
    sizeBytes: sizes.reduce((sum, size) => sum + size, 0),
    reclaimableBytes: reclaimable(kind),
  });
  return [
    line(
      'images',
      parts.store.images.list().map(() => 0),
    ),
    line('layers', Object.values(inventory.layerSizes)),
    line('blobs', [...inventory.blobSizes.values()]),
    line('cache-mounts', Object.values(inventory.mountSizes)),
    line('logs', [...inventory.logSizes.values()]),
  ];
}

export async function prune(
  parts: EngineParts,
  options: PruneOptions,
  signal: AbortSignal,
): Promise<PruneResult> {
  const inventory = await takeInventory(parts, signal);
  const removed = await plan(parts, inventory, options, options.dryRun !== true);
  if (options.dryRun !== true) {
    const of = (kind: UsageKind) => removed.filter((item) => item.kind === kind).map((item) => item.id);
    const layers = of('layers') as LayerId[];
    const mounts = of('cache-mounts');
    if (layers.length > 0 || mounts.length > 0) {
      // Files of subordinate ids can only be removed from within the namespace.
      const worker = await parts.worker();
      await worker.call('removeLayers', { layers }, { signal });
      await worker.call('removeMounts', { ids: mounts }, { signal });
    }
    for (const digest of of('blobs')) {
      await parts.store.blobs.delete(digest as Digest);
    }
    for (const log of of('logs')) {
      await rm(join(parts.store.dir, 'logs', log), { force: true });
    }
  }
  return { freedBytes: removed.reduce((sum, item) => sum + item.sizeBytes, 0), removed };
}

async function takeInventory({ store, worker }: EngineParts, signal: AbortSignal): Promise<Inventory> {
  const { layers, mounts } = await (await worker()).call('usage', {}, { signal });
  const blobSizes = new Map<Digest, number>();
  for await (const { digest, size } of store.blobs.list()) {
    blobSizes.set(digest, size);
  }
  const logSizes = new Map<string, number>();
  const logDir = join(store.dir, 'logs');
  for (const name of await readdir(logDir)) {
    logSizes.set(name, (await stat(join(logDir, name))).size);
  }
  return { layerSizes: layers, mountSizes: mounts, blobSizes, logSizes };
}

/**
 * What is to go. With `commit`, the records go at once, in the same transaction in which living engines are looked at, so
 * that nobody can begin to use what is about to be removed; files follow.
 */
async function plan(
  { store }: EngineParts,
  inventory: Inventory,
  options: PruneOptions,
  commit = false,
): Promise<PruneResult['removed'][number][]> {
  const wanted = (kind: UsageKind) => options.kinds === undefined || options.kinds.includes(kind);
  const documents = new Map<Digest, Digest>();
  for (const { manifestDigest, configDigest } of store.images.list()) {
    documents.set(manifestDigest, configDigest);
  }
  for (const row of store.meta.db.prepare('SELECT manifest_digest FROM resolutions').all()) {
    const digest = String(row.manifest_digest);
    if (isDigest(digest) && inventory.blobSizes.has(digest)) {
      documents.set(digest, parseManifest(await store.blobs.read(digest, MAX_DOCUMENT_BYTES)).config.digest);
    }
  }
  return store.meta.transaction(() => {
    const { db } = store.meta;
    const before = Math.min(
      store.oldestOtherEngineMs(),
      options.olderThanMs === undefined ? Number.MAX_SAFE_INTEGER : store.meta.now() - options.olderThanMs,
    );
    const removed: PruneResult['removed'][number][] = [];
    const removedLayers = new Set<string>();
    let size = [
      ...Object.values(inventory.layerSizes),
      ...inventory.blobSizes.values(),
      ...Object.values(inventory.mountSizes),
    ].reduce((sum, each) => sum + each, 0);
    const keep = options.keepBytes ?? 0;
    const remove = (kind: UsageKind, id: string, sizeBytes: number) => {
      removed.push({ kind, id, sizeBytes });
      size -= sizeBytes;
    };

    const keptImages: { id: string; layers: string[] }[] = [];
    const goneImages = new Set<string>();
    for (const row of db
      .prepare(
        'SELECT id, layers, used_ms, EXISTS (SELECT 1 FROM names WHERE image = images.id) AS named FROM images',
      )
      .all()) {
      const id = String(row.id);
      if (
        wanted('images') &&
        (options.all === true || row.named === 0) &&
        Number(row.used_ms) < before &&
        size > keep
      ) {
        goneImages.add(id);
        remove('images', id, 0);
      } else {
        keptImages.push({ id, layers: JSON.parse(String(row.layers)) as string[] });
      }
    }

    const needed = new Set(keptImages.flatMap((image) => image.layers));
    if (wanted('layers')) {
      for (const row of db.prepare('SELECT id, used_ms FROM layers ORDER BY used_ms').all()) {
        const id = String(row.id);
        if (!needed.has(id) && Number(row.used_ms) < before && size > keep) {
          removedLayers.add(id);
          remove('layers', id, inventory.layerSizes[id] ?? 0);
        }
      }
      // Snapshots whose record was never written: the process was killed in between.
      for (const [id, sizeBytes] of Object.entries(inventory.layerSizes)) {
        if (
          db.prepare('SELECT 1 FROM layers WHERE id = ?').get(id) === undefined &&
          store.oldestOtherEngineMs() === Number.POSITIVE_INFINITY
        ) {
          remove('layers', id, sizeBytes);
        }
      }
    }
    if (wanted('blobs')) {
      const neededBlobs = new Set<string>();
      for (const [manifest, config] of documents) {
        const image = store.images.list().find((each) => each.manifestDigest === manifest);
        if (image === undefined || !goneImages.has(image.id)) {
          neededBlobs.add(manifest).add(config);
        }
      }
      for (const row of db.prepare('SELECT layer, digest FROM layer_blobs').all()) {
        if (!removedLayers.has(String(row.layer))) {
          neededBlobs.add(String(row.digest));
        }
      }
      for (const [digest, sizeBytes] of inventory.blobSizes) {
        if (
          !neededBlobs.has(digest) &&
          store.oldestOtherEngineMs() === Number.POSITIVE_INFINITY &&
          size > keep
        ) {
          remove('blobs', digest, sizeBytes);
        }
      }
    }
    if (wanted('cache-mounts') && options.all === true) {
      for (const [id, sizeBytes] of Object.entries(inventory.mountSizes)) {
        remove('cache-mounts', id, sizeBytes);
      }
    }
    if (wanted('logs')) {
      for (const [name, sizeBytes] of inventory.logSizes) {
        const result = name.replace(/\.log$/, '');
        if (
          removedLayers.has(result) ||
          db.prepare('SELECT 1 FROM layers WHERE id = ?').get(result) === undefined
        ) {
          remove('logs', name, sizeBytes);
        }
      }
    }

    if (commit) {
      for (const id of goneImages) {
        store.images.remove(id);
      }
      for (const id of removedLayers) {
        db.prepare('DELETE FROM layers WHERE id = ?').run(id);
      }
      for (const row of db.prepare('SELECT key, result FROM cache WHERE gone = 0').all()) {
        const result = JSON.parse(String(row.result)) as { layers?: string[] };
        if (result.layers?.some((layer) => removedLayers.has(layer))) {
          // The memory that it once was stays: an explanation can then say that the result is gone.
          db.prepare('UPDATE cache SET gone = 1 WHERE key = ?').run(String(row.key));
        }
      }
    }
    return removed;
  });
}
