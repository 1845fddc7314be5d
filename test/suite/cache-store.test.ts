/** What the solver relies on, of any cache store. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SqliteCache } from '../../src/cache/sqlite-cache.ts';
import { LayerRecords } from '../../src/content/layer-records.ts';
import { MetaDb } from '../../src/content/meta-db.ts';
import type { CacheRecord, CacheStore, LayerId, Result } from '../../src/solver/op.ts';
import { Clock } from '../support/clock.ts';
import { MemoryCache } from '../support/memory-cache.ts';

const signal = new AbortController().signal;
const rootfs = (...layers: string[]): Result => ({ kind: 'rootfs', layers: layers as LayerId[] });
const key = (text: string) => text.repeat(64).slice(0, 64);

function record(name: string, more: Partial<CacheRecord> = {}): CacheRecord {
  return {
    key: key(name),
    resultId: `result-${name}`,
    result: rootfs('base', `layer-${name}`),
    fieldsDigest: `fields-${name}`,
    fields: [{ name: 'exec 1', value: { argv: ['true'], env: [], n: 1, none: null } }],
    inputs: ['below'],
    site: `site-${name}`,
    durationMs: 12.5,
    ...more,
  };
}

interface Subject {
  /** Two of them are two processes on the same store. */
  readonly stores: readonly [CacheStore, CacheStore];
  /** Makes layers known to the store. */
  addLayers(...ids: string[]): void;
  /** As prune does: layers of the record's result go, the memory of it stays. */
  forget(record: CacheRecord): void;
  /** Layers whose content was looked at. */
  readonly looked: string[];
  close(): void;
}

/** `layer-…` has a content of its own; `same-…` layers are equal. */
const contentOf = (layer: string) => (layer.startsWith('same-') ? 'same' : layer);

function memory(): Subject {
  const looked: string[] = [];
  const store = new MemoryCache({
    contentOf: (layer) => {
      looked.push(layer);
      return contentOf(layer);
    },
  });
  return {
    stores: [store, store],
    addLayers: () => undefined,
    forget: (gone) => store.forget(gone.key),
    looked,
    close: () => undefined,
  };
}

function sqlite(): Subject {
  const directory = mkdtempSync(join(tmpdir(), 'tsbuild-cache-'));
  const clock = new Clock();
  const looked: string[] = [];
  const open = () => {
    const meta = MetaDb.open(directory, clock.now);
    const layers = new LayerRecords(meta);
    const layerDigest = async (layer: LayerId) => {
      looked.push(layer);
      return contentOf(layer);
    };
    return { meta, layers, cache: new SqliteCache({ meta, layers, storeDir: directory, layerDigest }) };
  };
  const [a, b] = [open(), open()];
  return {
    stores: [a.cache, b.cache],
    addLayers: (...ids) => {
      for (const id of ids) {
        a.layers.put(id as LayerId, [], true);
      }
    },
    forget: (gone) => {
      const layers = gone.result.kind === 'rootfs' ? gone.result.layers : [];
      a.meta.transaction(() => {
        a.meta.db.prepare('DELETE FROM layers WHERE id = ?').run(layers.at(-1) ?? '');
        a.meta.db.prepare('UPDATE cache SET gone = 1 WHERE key = ?').run(gone.key);
      });
    },
    looked,
    close: () => {
      a.meta.close();
      b.meta.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function cacheStoreSuite(name: string, make: () => Subject): void {
  describe(`cache store: ${name}`, () => {
    let subject: Subject;
    let store: CacheStore;
    let other: CacheStore;
    beforeEach(() => {
      subject = make();
      [store, other] = subject.stores;
      subject.addLayers('base', 'layer-a', 'layer-b', 'layer-c', 'same-1', 'same-2');
    });
    afterEach(() => subject.close());

    test('gives back what was put, to every process, and not the object itself', () => {
      const put = record('a');
      store.put(put);
      expect(other.lookup(put.key)).toEqual(put);
      expect(other.lookup(put.key)).not.toBe(put);
      expect(other.lookup(key('b'))).toBeUndefined();
      expect(other.everHad(put.key)).toBe(true);
      expect(other.everHad(key('b'))).toBe(false);
    });

    test('a record without a site, and one of files', () => {
      const { site: _, ...nowhere } = record('a', { result: { kind: 'files', contentDigest: 'c1' } });
      store.put(nowhere);
      expect(store.lookup(nowhere.key)).toEqual(nowhere);
      expect(store.lookup(nowhere.key)).not.toHaveProperty('site');
      expect(store.resultById('result-a')).toEqual({ kind: 'files', contentDigest: 'c1' });
    });

    test('putting a key again replaces its record', () => {
      store.put(record('a'));
      store.put(record('a', { resultId: 'forced', result: rootfs('base', 'layer-b'), durationMs: 1 }));
      expect(store.lookup(key('a'))).toMatchObject({ resultId: 'forced', durationMs: 1 });
      expect(store.lookupByFields('fields-a')).toHaveLength(1);
      expect(store.resultById('result-a')).toBeUndefined();
    });

    test('records of the same fields, newest first, at most a few', () => {
      const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q'];
      for (const each of names) {
        store.put(record(each, { fieldsDigest: 'same', result: rootfs('base') }));
      }
      const found = other.lookupByFields('same').map((each) => each.resultId);
      expect(found.slice(0, 3)).toEqual(['result-q', 'result-p', 'result-o']);
      expect(found.length).toBeLessThan(names.length);
      expect(other.lookupByFields('none')).toEqual([]);
    });

    test('the newest record of a step', () => {
      store.put(record('b', { site: 'here' }));
      store.put(record('a', { site: 'here' }));
      expect(store.lastAtSite('here')?.resultId).toBe('result-a');
      store.put(record('b', { site: 'here' }));
      expect(store.lastAtSite('here')?.resultId).toBe('result-b');
      expect(store.lastAtSite('there')).toBeUndefined();
    });

    test('a result that was removed is not found, and remembered', () => {
      const gone = record('a', { site: 'here' });
      store.put(gone);
      subject.forget(gone);
      expect(other.lookup(gone.key)).toBeUndefined();
      expect(other.lookupByFields(gone.fieldsDigest)).toEqual([]);
      expect(other.resultById(gone.resultId)).toBeUndefined();
      expect(other.everHad(gone.key)).toBe(true);
      expect(other.lastAtSite('here')).toEqual(gone);
      subject.addLayers('layer-a');
      store.put(gone);
      expect(other.lookup(gone.key)).toEqual(gone);
    });

    test('content is compared layer by layer, and what both share is not looked at', async () => {
      expect(await store.sameContent(rootfs('base', 'same-1'), rootfs('base', 'same-2'), signal)).toBe(true);
      expect(subject.looked).not.toContain('base');
      expect(await store.sameContent(rootfs('base', 'same-1'), rootfs('base', 'layer-a'), signal)).toBe(
        false,
      );
      expect(await store.sameContent(rootfs('base'), rootfs('base', 'same-1'), signal)).toBe(false);
      expect(await store.sameContent(rootfs('same-1', 'base'), rootfs('base', 'same-1'), signal)).toBe(false);
    });

    test('files are the same when their digest is', async () => {
      const files = (contentDigest: string): Result => ({ kind: 'files', contentDigest });
      expect(await store.sameContent(files('x'), files('x'), signal)).toBe(true);
      expect(await store.sameContent(files('x'), files('y'), signal)).toBe(false);
      expect(await store.sameContent(files('same-1'), rootfs('same-1'), signal)).toBe(false);
    });

    test('one holds the lock of a key, the other waits', async () => {
      const order: string[] = [];
      const first = await store.lock(key('a'), signal);
      const second = other.lock(key('a'), signal).then((lock) => {
        order.push('second');
        return lock;
      });
      // Another key's lock is had in the meantime.
      (await other.lock(key('b'), signal)).release();
      order.push('first released');
      first.release();
      (await second).release();
      expect(order).toEqual(['first released', 'second']);
      (await store.lock(key('a'), signal)).release();
    });

    test('whoever is cancelled stops waiting, with the reason, and holds nothing', async () => {
      const first = await store.lock(key('a'), signal);
      const controller = new AbortController();
      const waiting = other.lock(key('a'), controller.signal);
      const reason = new Error('enough');
      controller.abort(reason);
      await expect(waiting).rejects.toBe(reason);
      await expect(other.lock(key('c'), controller.signal)).rejects.toBe(reason);
      first.release();
      (await store.lock(key('a'), signal)).release();
      (await store.lock(key('c'), signal)).release();
    });
  });
}

cacheStoreSuite('SqliteCache', sqlite);
cacheStoreSuite('MemoryCache', memory);

describe('SqliteCache', () => {
  test('a result is gone as soon as one of its layers is', () => {
    const subject = sqlite();
    try {
      subject.addLayers('base');
      subject.stores[0].put(record('a'));
      expect(subject.stores[0].lookup(key('a'))).toBeUndefined();
      expect(subject.stores[0].resultById('result-a')).toBeUndefined();
      expect(subject.stores[0].lookupByFields('fields-a')).toEqual([]);
      subject.addLayers('layer-a');
      expect(subject.stores[0].lookup(key('a'))?.resultId).toBe('result-a');
    } finally {
      subject.close();
    }
  });

  test("a layer's content is looked at once", async () => {
    const subject = sqlite();
    try {
      subject.addLayers('same-1', 'same-2');
      for (const store of subject.stores) {
        expect(await store.sameContent(rootfs('same-1'), rootfs('same-2'), signal)).toBe(true);
      }
      expect(subject.looked).toEqual(['same-1', 'same-2']);
    } finally {
      subject.close();
    }
  });
});
