/** What every {@link CacheStore} must do, whatever keeps its records. */
import { expect, test } from 'vitest';
import type { CacheRecord, CacheStore, LayerId, Result } from '../../src/solver/op.ts';

export interface CacheStoreUnderTest {
  readonly store: CacheStore;
  /** Makes the store know a layer, and what is in it. */
  addLayer(id: string, content: string): void;
  /** As garbage collection does: the record's result goes, the memory of it stays. */
  forget(key: string): void;
  /** A layer is gone although records name it. */
  dropLayer(id: string): void;
}

export function cacheStoreSuite(make: () => CacheStoreUnderTest): void {
  const { signal } = new AbortController();
  const rootfs = (...layers: string[]): Result => ({ kind: 'rootfs', layers: layers as LayerId[] });
  const files = (contentDigest: string): Result => ({ kind: 'files', contentDigest });
  const key = (word: string) => Buffer.from(word.padEnd(32, '.')).toString('hex');

  const recordOf = (word: string, more: Partial<CacheRecord> = {}): CacheRecord => ({
    key: key(word),
    resultId: `result-${word}`,
    result: files(`content of ${word}`),
    fieldsDigest: `fields-${word}`,
    fields: [{ name: 'argv', value: ['sh', '-c', word] }],
    inputs: ['one', 'two'],
    site: `site-${word}`,
    durationMs: 12.5,
    ...more,
  });

  test('what was put is found by key, by result, by fields and by site', () => {
    const { store } = make();
    const record = recordOf('a');
    store.put(record);
    expect(store.lookup(record.key)).toEqual(record);
    expect(store.resultById('result-a')).toEqual(record.result);
    expect(store.lookupByFields('fields-a')).toEqual([record]);
    expect(store.lastAtSite('site-a')).toEqual(record);
    expect(store.everHad(record.key)).toBe(true);
  });

  test('what was not put is not found', () => {
    const { store } = make();
    store.put(recordOf('a'));
    expect(store.lookup(key('b'))).toBeUndefined();
    expect(store.resultById('result-b')).toBeUndefined();
    expect(store.lookupByFields('fields-b')).toEqual([]);
    expect(store.lastAtSite('site-b')).toBeUndefined();
    expect(store.everHad(key('b'))).toBe(false);
  });

  test('a key has one record: the last one that was put', () => {
    const { store } = make();
    store.put(recordOf('a'));
    const { site: _site, ...without } = recordOf('a', { result: files('other'), fieldsDigest: 'changed' });
    store.put(without);
    expect(store.lookup(key('a'))).toEqual(without);
    expect(store.lookup(key('a'))).not.toHaveProperty('site');
    expect(store.lookupByFields('fields-a')).toEqual([]);
    expect(store.lookupByFields('changed')).toHaveLength(1);
  });

  test('the newest comes first, by fields and at a site', () => {
    const { store } = make();
    for (const word of ['a', 'b', 'c']) {
      store.put(recordOf(word, { fieldsDigest: 'same', site: 'here' }));
    }
    expect(store.lookupByFields('same').map((record) => record.resultId)).toEqual([
      'result-c',
      'result-b',
      'result-a',
    ]);
    expect(store.lastAtSite('here')?.resultId).toBe('result-c');
  });

  test('what is kept does not change with the object that was given', () => {
    const { store, addLayer } = make();
    addLayer('l1', 'x');
    const layers = ['l1' as LayerId];
    store.put(recordOf('a', { result: { kind: 'rootfs', layers } }));
    layers.push('l2' as LayerId);
    expect(store.lookup(key('a'))?.result).toEqual(rootfs('l1'));
  });

  test('a forgotten result is not found, but was once there; put again it is found again', () => {
    const { store, forget } = make();
    store.put(recordOf('a'));
    forget(key('a'));
    expect(store.lookup(key('a'))).toBeUndefined();
    expect(store.lookupByFields('fields-a')).toEqual([]);
    expect(store.resultById('result-a')).toBeUndefined();
    expect(store.everHad(key('a'))).toBe(true);
    store.put(recordOf('a'));
    expect(store.lookup(key('a'))).toEqual(recordOf('a'));
  });

  test('results are the same when their content is', async () => {
    const { store, addLayer } = make();
    addLayer('l1', 'x');
    addLayer('l2', 'x');
    addLayer('l3', 'y');
    const same = (a: Result, b: Result) => store.sameContent(a, b, signal);
    expect(await same(rootfs('l1', 'l3'), rootfs('l2', 'l3'))).toBe(true);
    expect(await same(rootfs('l1', 'l3'), rootfs('l3', 'l1'))).toBe(false);
    expect(await same(rootfs('l1'), rootfs('l1', 'l3'))).toBe(false);
    expect(await same(rootfs(), rootfs())).toBe(true);
    expect(await same(files('a'), files('a'))).toBe(true);
    expect(await same(files('a'), files('b'))).toBe(false);
    expect(await same(files('x'), rootfs('l1'))).toBe(false);
  });

  test('who wants a lock that is held waits for it', async () => {
    const { store } = make();
    const first = await store.lock(key('a'), signal);
    const order: string[] = [];
    const second = store.lock(key('a'), signal).then((lock) => {
      order.push('second');
      return lock;
    });
    // Others need not wait.
    (await store.lock(key('z'), signal)).release();
    order.push('released');
    first.release();
    (await second).release();
    expect(order).toEqual(['released', 'second']);
    (await store.lock(key('a'), signal)).release();
  });

  test('who waits for a lock can give up, and leaves it to others', async () => {
    const { store } = make();
    const first = await store.lock(key('a'), signal);
    const impatient = new AbortController();
    const waiting = store.lock(key('a'), impatient.signal);
    const reason = new Error('enough');
    impatient.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(store.lock(key('b'), impatient.signal)).rejects.toBe(reason);
    first.release();
    (await store.lock(key('a'), signal)).release();
  });

  test('a result whose layers are gone is not found', () => {
    const { store, addLayer, dropLayer } = make();
    addLayer('l1', 'x');
    addLayer('l2', 'y');
    store.put(recordOf('a', { result: rootfs('l1', 'l2') }));
    expect(store.lookup(key('a'))?.result).toEqual(rootfs('l1', 'l2'));
    expect(store.holds(rootfs('l1', 'l2'))).toBe(true);
    dropLayer('l1');
    expect(store.holds(rootfs('l1', 'l2'))).toBe(false);
    expect([store.holds(rootfs('l2')), store.holds(rootfs()), store.holds(files('x'))]).toEqual([
      true,
      true,
      true,
    ]);
    expect(store.lookup(key('a'))).toBeUndefined();
    expect(store.lookupByFields('fields-a')).toEqual([]);
    expect(store.resultById('result-a')).toBeUndefined();
    expect(store.everHad(key('a'))).toBe(true);
  });
}
