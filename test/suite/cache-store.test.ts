import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SqliteCache } from '../../src/cache/sqlite-cache.ts';
import { LayerRecords } from '../../src/content/layer-records.ts';
import { MetaDb } from '../../src/content/meta-db.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { MemoryCache } from '../support/memory-cache.ts';
import { type CacheStoreUnderTest, cacheStoreSuite } from './cache-store-suite.ts';

describe('in memory', () => {
  cacheStoreSuite(() => {
    const contents = new Map<string, string>();
    const store = new MemoryCache({ contentOf: (layer) => contents.get(layer) ?? layer });
    return {
      store,
      addLayer: (id, content) => contents.set(id, content),
      forget: (key) => store.forget(key),
      dropLayer: (id) => store.dropLayer(id),
    };
  });
});

describe('in SQLite', () => {
  let storeDir: string;
  const opened: MetaDb[] = [];
  let asked: LayerId[];
  beforeEach(() => {
    storeDir = mkdtempSync(join(tmpdir(), 'tsbuild-cache-'));
    asked = [];
  });
  afterEach(() => {
    for (const meta of opened.splice(0)) {
      meta.close();
    }
    rmSync(storeDir, { recursive: true, force: true });
  });

  function open(): CacheStoreUnderTest & {
    readonly store: SqliteCache;
    promiseLayer(id: string): void;
  } {
    let clock = 1000;
    const meta = MetaDb.open(storeDir, () => ++clock);
    opened.push(meta);
    const layers = new LayerRecords(meta);
    const contents = new Map<string, string>();
    const store = new SqliteCache({
      meta,
      layers,
      storeDir,
      layerDigest: async (layer) => {
        asked.push(layer);
        return contents.get(layer) ?? layer;
      },
      readsDigest: async () => undefined,
    });
    return {
      store,
      addLayer: (id, content) => {
        contents.set(id, content);
        layers.put(id as LayerId, [], true);
      },
      forget: (key) => meta.db.prepare('UPDATE cache SET gone = 1 WHERE key = ?').run(key),
      promiseLayer: (id: string) => layers.put(id as LayerId, [], false),
      dropLayer: (id) => meta.db.prepare('DELETE FROM layers WHERE id = ?').run(id),
    };
  }

  cacheStoreSuite(open);

  test('another process finds what one has put, and shares its locks', async () => {
    const [one, other] = [open(), open()];
    const { signal } = new AbortController();
    const record = {
      key: 'f'.repeat(64),
      resultId: 'r',
      result: { kind: 'files', contentDigest: 'c' },
      fieldsDigest: 'd',
      fields: [],
      inputs: [],
      durationMs: 1,
    } as const;
    const held = await one.store.lock(record.key, signal);
    let has = false;
    const waiting = other.store.lock(record.key, signal).then((lock) => {
      has = true;
      return lock;
    });
    one.store.put(record);
    expect(other.store.lookup(record.key)).toEqual(record);
    expect(has).toBe(false);
    held.release();
    (await waiting).release();
  });

  test('records of others fill gaps, and come after ours', () => {
    const { store, addLayer, forget, dropLayer } = open();
    addLayer('ours', 'o');
    addLayer('gone', 'g');
    const record = (key: string, layer: string) => ({
      key: key.repeat(64),
      resultId: `${key} ${layer}`,
      result: { kind: 'rootfs' as const, layers: [layer as LayerId] },
      fieldsDigest: 'same',
      fields: [],
      inputs: [],
      site: 'here',
      durationMs: 1,
    });
    for (const each of [record('a', 'ours'), record('b', 'ours'), record('c', 'gone')]) {
      store.put(each);
    }
    forget('b'.repeat(64));
    dropLayer('gone');
    const theirs = ['a', 'b', 'c', 'd'].map((key) => record(key, 'theirs'));
    store.adopt(theirs, () => addLayer('theirs', 't'));
    expect(theirs.map(({ key }) => store.lookup(key)?.resultId)).toEqual([
      'a ours',
      'b theirs',
      'c theirs',
      'd theirs',
    ]);
    expect(store.lookupByFields('same')[0]?.resultId).toBe('a ours');
    expect(store.lastAtSite('here')?.resultId).toBe('a ours');
  });

  test('records of others come all or not at all', () => {
    const { store } = open();
    const key = 'e'.repeat(64);
    const record = { key, resultId: 'r', fieldsDigest: 'f', fields: [], inputs: [], durationMs: 1 };
    expect(() =>
      store.adopt([{ ...record, result: { kind: 'files', contentDigest: 'c' } }], () => {
        throw new Error('layers');
      }),
    ).toThrow('layers');
    expect(store.everHad(key)).toBe(false);
  });

  test('nothing is fetched to compare contents', async () => {
    const { store, addLayer, promiseLayer } = open();
    addLayer('here', 'x');
    promiseLayer('there');
    const { signal } = new AbortController();
    const [here, there] = ['here', 'there'].map((layer) => ({
      kind: 'rootfs' as const,
      layers: [layer as LayerId],
    }));
    expect(here !== undefined && there !== undefined && (await store.sameContent(there, here, signal))).toBe(
      false,
    );
    expect(asked).toEqual([]);
  });

  test('the worker is asked for a content once, and never for layers that both share', async () => {
    const { store, addLayer } = open();
    addLayer('shared', 's');
    addLayer('a', 'x');
    addLayer('b', 'x');
    const { signal } = new AbortController();
    const [left, right] = [
      { kind: 'rootfs', layers: ['shared', 'a'] as LayerId[] },
      { kind: 'rootfs', layers: ['shared', 'b'] as LayerId[] },
    ] as const;
    expect(await store.sameContent(left, right, signal)).toBe(true);
    expect(await store.sameContent(right, left, signal)).toBe(true);
    expect(asked).toEqual(['a', 'b']);
  });
});
