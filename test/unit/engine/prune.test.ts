import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SqliteCache } from '../../../src/cache/sqlite-cache.ts';
import type { EngineParts } from '../../../src/engine/parts.ts';
import { archivesDir, type PruneOptions, prune, usage } from '../../../src/engine/prune.ts';
import { Store } from '../../../src/engine/store.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import type { LayerId } from '../../../src/solver/op.ts';
import type { Worker } from '../../../src/worker/protocol.ts';

const { signal } = new AbortController();
let dir: string;
let nowMs: number;
let store: Store;
let cache: SqliteCache;
let parts: EngineParts;
/** What the worker finds on disk, by name. */
let snapshots: Record<string, number>;
let mounts: Record<string, number>;
let workerCalls: string[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tsbuild-prune-'));
  nowMs = 1000;
  snapshots = {};
  mounts = {};
  workerCalls = [];
  store = Store.open(dir, () => nowMs);
  cache = new SqliteCache({
    meta: store.meta,
    layers: store.layers,
    storeDir: dir,
    layerDigest: async () => '',
  });
  const worker = {
    call: async (method: string, params: { layers?: string[]; ids?: string[] }) => {
      if (method === 'usage') {
        return { layers: { ...snapshots }, mounts: { ...mounts } };
      }
      workerCalls.push(`${method} ${(params.layers ?? params.ids ?? []).join()}`);
      for (const name of params.layers ?? []) {
        delete snapshots[name];
      }
      for (const name of params.ids ?? []) {
        delete mounts[name];
      }
      return { removed: 1 };
    },
  } as unknown as Worker;
  parts = { store, worker: async () => worker } as EngineParts;
});
afterEach(() => {
  store.close();
  rmSync(dir, { recursive: true, force: true });
});

/** A step's layer of 100 bytes with its cache record and log, last used now. */
function addLayer(name: string, sizeBytes = 100): LayerId {
  const id = name as LayerId;
  store.layers.put(id, [], true);
  snapshots[name] = sizeBytes;
  cache.put({
    key: `key-${name}`,
    resultId: name,
    result: { kind: 'rootfs', layers: [id] },
    fieldsDigest: '',
    fields: [],
    inputs: [],
    durationMs: 1,
  });
  writeFileSync(join(dir, 'logs', `${name}.log`), 'said');
  return id;
}

/** Gives a layer a blob. */
async function addBlob(layer: LayerId): Promise<Digest> {
  const { digest, size } = await store.blobs.put(Buffer.from(`blob of ${layer}`));
  store.layers.putBlob(layer, { form: 'zstd:3', mediaType: 'm', digest, sizeBytes: size, diffId: digest });
  return digest;
}

async function addImage(id: string, layers: readonly LayerId[], name?: string): Promise<Digest[]> {
  const config = await store.blobs.put(Buffer.from(`config of ${id}`));
  const manifest = await store.blobs.put(Buffer.from(`manifest of ${id}`));
  store.images.put({
    id,
    manifestDigest: manifest.digest,
    configDigest: config.digest,
    platform: 'linux/amd64',
    layers,
    config: { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } },
    build: { layers: [] },
  });
  if (name !== undefined) {
    store.images.setName(name, id);
  }
  return [config.digest, manifest.digest];
}

async function removed(options: PruneOptions = {}): Promise<Record<string, string[]>> {
  const byKind: Record<string, string[]> = {};
  for (const { kind, id } of (await prune(parts, options, signal)).removed) {
    byKind[kind] = [...(byKind[kind] ?? []), id].sort();
  }
  return byKind;
}

const layerIds = () =>
  store.meta.db
    .prepare('SELECT id FROM layers ORDER BY id')
    .all()
    .map(({ id }) => id);

describe('prune', () => {
  test('keeps a named image with its layers, blobs and logs; the rest goes', async () => {
    const [kept, gone] = [addLayer('kept'), addLayer('gone')];
    const documents = [...(await addImage('im-kept', [kept], 'x:1')), await addBlob(kept)];
    const lost = [...(await addImage('im-gone', [gone])), await addBlob(gone)];
    nowMs = 2000;
    expect(await removed()).toEqual({
      images: ['im-gone'],
      layers: ['gone'],
      blobs: lost.toSorted(),
      logs: ['gone.log'],
    });
    expect(await Promise.all([...documents, ...lost].map((digest) => store.blobs.has(digest)))).toEqual([
      true,
      true,
      true,
      false,
      false,
      false,
    ]);
    expect(Object.keys(snapshots)).toEqual(['kept']);
    expect(layerIds()).toEqual(['kept']);
    expect(store.images.list().map(({ id }) => id)).toEqual(['im-kept']);
    expect(existsSync(join(dir, 'logs/kept.log'))).toBe(true);
    // The record is gone, and the memory of it stays.
    expect(cache.lookup('key-gone')).toBeUndefined();
    expect(cache.everHad('key-gone')).toBe(true);
    expect(cache.lookup('key-kept')).toBeDefined();
    expect(await removed()).toEqual({});
  });

  test('all takes named images and cache mounts too', async () => {
    await addImage('im-1', [addLayer('a')], 'x:1');
    mounts.apt = 50;
    nowMs = 2000;
    expect(Object.keys(await removed())).not.toContain('cache-mounts');
    expect(await removed({ all: true })).toMatchObject({
      images: ['im-1'],
      layers: ['a'],
      'cache-mounts': ['apt'],
    });
    expect(workerCalls.at(-1)).toBe('removeMounts apt');
    expect(store.images.hasName('x:1')).toBe(false);
  });

  test('a dry run says what would go, and nothing goes', async () => {
    addLayer('a');
    nowMs = 2000;
    const { freedBytes, removed: items } = await prune(parts, { dryRun: true }, signal);
    expect(items).toEqual([
      { kind: 'layers', id: 'a', sizeBytes: 100 },
      { kind: 'logs', id: 'a.log', sizeBytes: 4 },
    ]);
    expect(freedBytes).toBe(104);
    expect(workerCalls).toEqual([]);
    expect(layerIds()).toEqual(['a']);
    expect(cache.lookup('key-a')).toBeDefined();
  });

  test('keepBytes: the least recently used goes first, until the rest is small enough', async () => {
    for (const name of ['old', 'middle', 'new']) {
      addLayer(name);
      nowMs += 1000;
    }
    expect((await removed({ keepBytes: 250, kinds: ['layers'] })).layers).toEqual(['old']);
    expect((await removed({ keepBytes: 250, kinds: ['layers'] })).layers).toBeUndefined();
    store.layers.get('middle' as LayerId);
    expect((await removed({ keepBytes: 150, kinds: ['layers'] })).layers).toEqual(['new']);
  });

  test('olderThanMs: what was used since stays', async () => {
    addLayer('old');
    nowMs = 5000;
    addLayer('new');
    nowMs = 6000;
    expect((await removed({ olderThanMs: 3000 })).layers).toEqual(['old']);
  });

  test('only the wanted kinds', async () => {
    addLayer('a');
    mounts.apt = 1;
    nowMs = 2000;
    expect(await removed({ kinds: ['cache-mounts'], all: true })).toEqual({ 'cache-mounts': ['apt'] });
    expect(layerIds()).toEqual(['a']);
  });

  test('what a living engine may be using stays, until that is gone', async () => {
    const before = addLayer('before');
    const lost = await addBlob(before);
    nowMs = 2000;
    const other = Store.open(dir, () => nowMs);
    nowMs = 3000;
    addLayer('since');
    // Not recorded yet by the one who writes it.
    snapshots.unrecorded = 10;
    const { digest: unrecorded } = await store.blobs.put(Buffer.from('not recorded yet'));
    mkdirSync(archivesDir(store), { recursive: true });
    writeFileSync(join(archivesDir(store), 'package'), 'x');
    expect(await removed()).toEqual({ layers: ['before'], logs: ['before.log'] });
    expect(await store.blobs.has(lost)).toBe(true);
    other.close();
    expect(await removed()).toEqual({
      layers: ['since', 'unrecorded'],
      blobs: [lost, unrecorded].toSorted(),
      archives: ['package'],
      logs: ['since.log'],
    });
  });

  test('looking something up is using it', async () => {
    addLayer('a');
    nowMs = 2000;
    const other = Store.open(dir, () => nowMs);
    nowMs = 3000;
    other.layers.get('a' as LayerId);
    expect(await removed()).toEqual({});
    other.close();
  });

  test('usage adds up what there is and what would go', async () => {
    const kept = addLayer('kept', 70);
    addLayer('gone', 30);
    await addImage('im-1', [kept], 'x:1');
    mounts.apt = 5;
    nowMs = 2000;
    const lines = Object.fromEntries((await usage(parts, signal)).map(({ kind, ...line }) => [kind, line]));
    expect(lines.layers).toEqual({ count: 2, sizeBytes: 100, reclaimableBytes: 30 });
    expect(lines['cache-mounts']).toEqual({ count: 1, sizeBytes: 5, reclaimableBytes: 0 });
    expect(lines.images).toEqual({ count: 1, sizeBytes: 0, reclaimableBytes: 0 });
    expect(lines.logs).toEqual({ count: 2, sizeBytes: 8, reclaimableBytes: 4 });
    expect(lines.blobs).toMatchObject({ count: 2, reclaimableBytes: 0 });
  });
});
