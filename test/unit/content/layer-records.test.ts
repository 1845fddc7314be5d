import { describe, expect, it } from 'vitest';
import { LayerRecords } from '../../../src/content/layer-records.ts';
import { USED_PRECISION_MS } from '../../../src/content/used-rows.ts';
import { sha256Digest } from '../../../src/oci/digest.ts';
import { OCI_LAYER_ZSTD } from '../../../src/oci/media-type.ts';
import type { LayerId } from '../../../src/solver/op.ts';
import { temporaryMeta } from '../../support/temporary-store.ts';

const id = (text: string) => text as LayerId;
const digest = (digit: string) => sha256Digest(digit.repeat(64));
const blob = (form: string, digit: string) => ({
  form,
  mediaType: OCI_LAYER_ZSTD,
  digest: digest(digit),
  sizeBytes: 5_000_000_000,
  diffId: digest('f'),
});

describe('LayerRecords', () => {
  it('keeps layers with what is below them', () => {
    using temporary = temporaryMeta();
    const records = new LayerRecords(temporary.meta);
    expect(records.get(id('a'))).toBeUndefined();
    records.put(id('a'), [], false);
    records.put(id('b'), [id('a')], true);
    expect(records.get(id('a'))).toEqual({
      id: 'a',
      hasSnapshot: false,
      parents: [],
      contentDigest: undefined,
    });
    expect(records.get(id('b'))).toEqual({
      id: 'b',
      hasSnapshot: true,
      parents: ['a'],
      contentDigest: undefined,
    });
  });

  it('a snapshot is not forgotten by recording the image again, but when it is removed', () => {
    using temporary = temporaryMeta();
    const records = new LayerRecords(temporary.meta);
    records.put(id('a'), [], true);
    records.setContentDigest(id('a'), 'c');
    records.put(id('a'), [], false);
    expect(records.get(id('a'))).toMatchObject({ hasSnapshot: true, contentDigest: 'c' });
    records.forgetSnapshot(id('a'));
    expect(records.get(id('a'))).toMatchObject({ hasSnapshot: false });
    records.put(id('a'), [], true);
    expect(records.get(id('a'))).toMatchObject({ hasSnapshot: true });
  });

  it('marks what is looked up or put as used now, and nothing else', () => {
    using temporary = temporaryMeta();
    const records = new LayerRecords(temporary.meta);
    const used = (layer: string) =>
      Number(temporary.meta.db.prepare('SELECT used_ms FROM layers WHERE id = ?').get(layer)?.used_ms);
    records.put(id('a'), [], false);
    records.put(id('b'), [], false);
    const [before, other] = [used('a'), used('b')];
    temporary.clock.advance(1000);
    records.get(id('a'));
    // Not to the millisecond: that would be a write in every build.
    expect(used('a')).toBe(before);
    temporary.clock.advance(USED_PRECISION_MS);
    records.get(id('a'));
    expect(used('a')).toBeGreaterThanOrEqual(before + USED_PRECISION_MS);
    expect(used('b')).toBe(other);
    records.put(id('b'), [], false);
    expect(used('b')).toBeGreaterThanOrEqual(other + 1000);
    const row = temporary.meta.db.prepare('SELECT created_ms FROM layers WHERE id = ?').get('b');
    expect(row?.created_ms).toBe(other);
  });

  it('keeps one blob of each form', () => {
    using temporary = temporaryMeta();
    const records = new LayerRecords(temporary.meta);
    records.put(id('a'), [], true);
    records.putBlob(id('a'), blob('zstd:3', '1'));
    records.putBlob(id('a'), blob('gzip:6', '2'));
    records.putBlob(id('a'), blob('zstd:3', '3'));
    expect(records.blobs(id('a'))).toEqual([blob('gzip:6', '2'), blob('zstd:3', '3')]);
    records.dropBlob(id('a'), 'gzip:6');
    expect(records.blobs(id('a')).map(({ form }) => form)).toEqual(['zstd:3']);
    expect(records.blobs(id('b'))).toEqual([]);
  });

  it('a blob belongs to a layer, and goes with it', () => {
    using temporary = temporaryMeta();
    const records = new LayerRecords(temporary.meta);
    expect(() => records.putBlob(id('a'), blob('zstd:3', '1'))).toThrow(/FOREIGN KEY/);
    records.put(id('a'), [], true);
    records.putBlob(id('a'), blob('zstd:3', '1'));
    temporary.meta.db.exec('DELETE FROM layers');
    expect(records.blobs(id('a'))).toEqual([]);
  });

  it('refuses a digest in the database that is none', () => {
    using temporary = temporaryMeta();
    const records = new LayerRecords(temporary.meta);
    records.put(id('a'), [], true);
    records.putBlob(id('a'), blob('zstd:3', '1'));
    temporary.meta.db.exec("UPDATE layer_blobs SET digest = 'sha256:../../etc/passwd'");
    expect(() => records.blobs(id('a'))).toThrow(expect.objectContaining({ code: 'E_BAD_MANIFEST' }));
  });

  it('a promise fills gaps and changes nothing that is known', () => {
    using temporary = temporaryMeta();
    const records = new LayerRecords(temporary.meta);
    records.putPromised(id('a'), [], blob('source', '1'), 'r.example/a', 'content');
    records.putPromised(id('a'), [id('x')], blob('source', '2'), 'oci-layout:/cache', 'other');
    expect(records.get(id('a'))).toEqual({
      id: 'a',
      hasSnapshot: false,
      parents: [],
      contentDigest: 'content',
    });
    expect(records.blobs(id('a'))).toEqual([blob('source', '1')]);
    expect([records.sources(digest('1')), records.sources(digest('2'))]).toEqual([
      ['r.example/a'],
      ['oci-layout:/cache'],
    ]);
  });

  it('a broken promise goes with the layers that are nothing else', () => {
    using temporary = temporaryMeta();
    const records = new LayerRecords(temporary.meta);
    records.putPromised(id('a'), [], blob('source', '1'), 'r.example/a', undefined);
    records.putPromised(id('b'), [], blob('source', '1'), 'r.example/a', undefined);
    records.putPromised(id('c'), [], blob('source', '2'), 'r.example/a', undefined);
    records.put(id('b'), [], true);
    records.forgetPromised(digest('1'));
    expect(['a', 'b', 'c'].map((name) => records.get(id(name)) !== undefined)).toEqual([false, true, true]);
    expect(records.blobs(id('a'))).toEqual([]);
  });

  it('remembers every repository of a blob once', () => {
    using temporary = temporaryMeta();
    const records = new LayerRecords(temporary.meta);
    for (const repository of ['r.example/a', 'r.example/b', 'r.example/a']) {
      records.addSource(digest('1'), repository);
    }
    expect(records.sources(digest('1')).toSorted()).toEqual(['r.example/a', 'r.example/b']);
    expect(records.sources(digest('2'))).toEqual([]);
  });
});
