/** The record classes share a database, and so their tests. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sha256Hex } from '../../../src/base/sha256.ts';
import { type ImageRecord, ImageRecords } from '../../../src/content/image-records.ts';
import { type LayerBlob, LayerRecords } from '../../../src/content/layer-records.ts';
import { MetaDb } from '../../../src/content/meta-db.ts';
import { SqliteStatCache } from '../../../src/content/stat-cache.ts';
import { sha256Digest } from '../../../src/oci/digest.ts';
import type { LayerId } from '../../../src/solver/op.ts';

let dir: string;
let meta: MetaDb;
let nowMs: number;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tsbuild-records-'));
  nowMs = 1000;
  meta = MetaDb.open(dir, () => nowMs);
});
afterEach(() => {
  meta.close();
  rmSync(dir, { recursive: true, force: true });
});

const digestOf = (text: string) => sha256Digest(sha256Hex(text));
const usedMs = (table: 'layers' | 'images', id: string) =>
  meta.db.prepare(`SELECT used_ms FROM ${table} WHERE id = ?`).get(id)?.used_ms;

describe('LayerRecords', () => {
  const [id, below] = ['layer' as LayerId, 'below' as LayerId];
  let layers: LayerRecords;
  beforeEach(() => {
    layers = new LayerRecords(meta);
  });

  test('a layer is what was put; a snapshot that is there stays there', () => {
    expect(layers.get(id)).toBeUndefined();
    layers.put(id, [below], false);
    expect(layers.get(id)).toEqual({ id, hasSnapshot: false, parents: [below], contentDigest: undefined });
    layers.put(id, [below], true);
    layers.put(id, [below], false);
    expect(layers.get(id)?.hasSnapshot).toBe(true);
    layers.forgetSnapshot(id);
    expect(layers.get(id)?.hasSnapshot).toBe(false);
    layers.setContentDigest(id, 'content');
    expect(layers.get(id)?.contentDigest).toBe('content');
  });

  test('looking one up marks it as used, so that it is not collected', () => {
    layers.put(id, [], true);
    nowMs = 2000;
    layers.blobs(id);
    expect(usedMs('layers', id)).toBe(1000);
    layers.get(id);
    expect(usedMs('layers', id)).toBe(2000);
  });

  test('has one blob for each form', () => {
    const blob = (form: string, text: string): LayerBlob => ({
      form,
      mediaType: 'application/x',
      digest: digestOf(text),
      sizeBytes: text.length,
      diffId: digestOf('diff'),
    });
    layers.put(id, [], true);
    layers.putBlob(id, blob('zstd:3', 'one'));
    layers.putBlob(id, blob('gzip:6', 'two'));
    layers.putBlob(id, blob('zstd:3', 'three'));
    expect(layers.blobs(id)).toEqual([blob('gzip:6', 'two'), blob('zstd:3', 'three')]);
    layers.dropBlob(id, 'gzip:6');
    expect(layers.blobs(id)).toEqual([blob('zstd:3', 'three')]);
    expect(layers.blobs(below)).toEqual([]);
  });

  test('remembers each place of a blob once', () => {
    layers.addSource(digestOf('a'), 'one.test/x');
    layers.addSource(digestOf('a'), 'two.test/x');
    layers.addSource(digestOf('a'), 'one.test/x');
    expect(layers.sources(digestOf('a'))).toEqual(['one.test/x', 'two.test/x']);
    expect(layers.sources(digestOf('b'))).toEqual([]);
  });
});

describe('ImageRecords', () => {
  let images: ImageRecords;
  beforeEach(() => {
    images = new ImageRecords(meta);
  });

  function put(id: string, manifest = id): Omit<ImageRecord, 'createdMs'> {
    const record: Omit<ImageRecord, 'createdMs'> = {
      id,
      manifestDigest: digestOf(manifest),
      configDigest: digestOf(`config of ${manifest}`),
      platform: 'linux/amd64',
      layers: ['a', 'b'] as LayerId[],
      config: { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } },
      build: { layers: [{ id: 'a', method: 'fromScratch', durationMs: 1.5 }] },
    };
    images.put(record);
    return record;
  }

  test('an image is what was put, and keeps the time of its first', () => {
    const record = put('im-1');
    expect(images.get('im-1')).toEqual({ ...record, createdMs: 1000 });
    nowMs = 2000;
    const changed = put('im-1', 'other manifest');
    expect(images.get('im-1')).toEqual({ ...changed, createdMs: 1000 });
    expect(usedMs('images', 'im-1')).toBe(2000);
    images.remove('im-1');
    expect(images.get('im-1')).toBeUndefined();
  });

  test('is found by name, id, manifest digest, and beginnings that only it has', () => {
    put('im-abcdef1');
    put('im-abcxyz2');
    images.setName('tool:1', 'im-abcdef1');
    const digest = digestOf('im-abcdef1');
    for (const text of ['tool:1', 'im-abcdef1', 'im-abcd', digest, digest.slice('sha256:'.length, 20)]) {
      expect(images.find(text).id).toBe('im-abcdef1');
    }
  });

  test.each([
    ['im-abc', 'stands for more than one'],
    ['im-a', 'no image'],
    ['im-%', 'no image'],
    ['______', 'no image'],
    ['tool:2', 'no image'],
    ['', 'no image'],
    [`sha256:${'0'.repeat(64)}`, 'no image'],
  ])("'%s' is refused: %s", (text, message) => {
    put('im-abcdef1');
    put('im-abcxyz2');
    expect(() => images.find(text)).toThrow(
      expect.objectContaining({ code: 'E_IMAGE_NOT_FOUND', message: expect.stringContaining(message) }),
    );
  });

  test('a name is of one image, and ends with it', () => {
    put('im-1');
    nowMs = 2000;
    put('im-2');
    images.setName('x:1', 'im-1');
    images.setName('x:2', 'im-1');
    images.setName('x:1', 'im-2');
    expect(images.list().map(({ id, names }) => [id, names])).toEqual([
      ['im-2', ['x:1']],
      ['im-1', ['x:2']],
    ]);
    expect(images.removeName('x:2')).toBe(true);
    expect(images.removeName('x:2')).toBe(false);
    images.remove('im-2');
    expect(images.hasName('x:1')).toBe(false);
    expect(() => images.setName('x:3', 'im-9')).toThrow();
  });

  test('what a tag was resolved to, by platform', () => {
    images.putResolution('a:1', 'linux/amd64', digestOf('x'));
    images.putResolution('a:1', 'linux/arm64', digestOf('y'));
    images.putResolution('a:1', 'linux/amd64', digestOf('z'));
    images.putResolution('b:1', 'linux/amd64', digestOf('z'));
    expect(images.resolution('a:1', 'linux/amd64')).toBe(digestOf('z'));
    expect(images.resolution('a:1', 'linux/arm64')).toBe(digestOf('y'));
    expect(images.resolution('a:2', 'linux/amd64')).toBeUndefined();
    expect(images.resolved().toSorted()).toEqual([digestOf('y'), digestOf('z')].toSorted());
  });
});

describe('SqliteStatCache', () => {
  const facts = {
    dev: '1',
    ino: '18446744073709551615',
    sizeBytes: 5,
    mtimeNs: '1700000000000000001',
    ctimeNs: '2',
  };

  test('knows a file by all of its facts', () => {
    const stats = new SqliteStatCache(meta);
    stats.store([{ facts, sha256: 'aa' }]);
    const others = [
      { ...facts, dev: '2' },
      { ...facts, ino: '18446744073709551614' },
      { ...facts, sizeBytes: 6 },
      { ...facts, mtimeNs: '1700000000000000002' },
      { ...facts, ctimeNs: '3' },
    ];
    expect(stats.lookup([facts, ...others])).toEqual(['aa', ...others.map(() => undefined)]);
    expect(stats.lookup([])).toEqual([]);
  });

  test('a file has one digest: that of its newest facts', () => {
    const stats = new SqliteStatCache(meta);
    stats.store([{ facts, sha256: 'aa' }]);
    stats.store([{ facts: { ...facts, ctimeNs: '3' }, sha256: 'bb' }]);
    stats.store([]);
    expect(stats.lookup([facts, { ...facts, ctimeNs: '3' }])).toEqual([undefined, 'bb']);
  });
});
