import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { type ImageRecord, ImageRecords } from '../../../src/content/image-records.ts';
import { USED_PRECISION_MS } from '../../../src/content/used-rows.ts';
import { sha256Digest } from '../../../src/oci/digest.ts';
import { parsePlatform } from '../../../src/oci/platform.ts';
import type { LayerId } from '../../../src/solver/op.ts';
import { type TemporaryMeta, temporaryMeta } from '../../support/temporary-store.ts';

const digest = (digits: string) => sha256Digest(digits.padEnd(64, '0'));
const notFound = (message: RegExp) =>
  expect.objectContaining({ code: 'E_IMAGE_NOT_FOUND', message: expect.stringMatching(message) });

function image(id: string, manifest = 'aaaa1111', more: Partial<ImageRecord> = {}) {
  return {
    id,
    manifestDigest: digest(manifest),
    configDigest: digest('c'),
    platform: 'linux/amd64',
    layers: ['l1', 'l2'] as LayerId[],
    config: { ...parsePlatform('linux/amd64'), config: { Env: ['A=1'] } } as unknown as ImageRecord['config'],
    build: { layers: [{ id: 'l2', method: 'env', durationMs: 3 }] },
    ...more,
  };
}

let temporary: TemporaryMeta;
let records: ImageRecords;
beforeEach(() => {
  temporary = temporaryMeta();
  records = new ImageRecords(temporary.meta);
  onTestFinished(() => temporary[Symbol.dispose]());
});

const used = (id: string) =>
  Number(temporary.meta.db.prepare('SELECT used_ms FROM images WHERE id = ?').get(id)?.used_ms);

describe('ImageRecords', () => {
  it('keeps images whole', () => {
    const put = image('im-0000000000000000000001');
    records.put(put);
    expect(records.get(put.id)).toEqual({ ...put, createdMs: expect.any(Number) });
    expect(records.get('im-other')).toBeUndefined();
  });

  it('putting an image again keeps its names and the time that it was made', () => {
    const put = image('im-0000000000000000000001');
    records.put(put);
    records.setName('app:1', put.id);
    const { createdMs } = records.find('app:1');
    temporary.clock.advance(1000);
    records.put({ ...put, platform: 'linux/arm64', build: { layers: [] } });
    expect(records.find('app:1')).toEqual({
      ...put,
      platform: 'linux/arm64',
      build: { layers: [] },
      createdMs,
    });
  });

  describe('find', () => {
    const a = image('im-abcdefAAAAAAAAAAAAAAAA', 'aaaa1111');
    const b = image('im-abcdefBBBBBBBBBBBBBBBB', 'aaaa1122');
    const pulled = image(digest('bbbb22223333'), 'bbbb22223333');
    beforeEach(() => {
      for (const each of [a, b, pulled]) {
        records.put(each);
      }
      records.setName('app:latest', a.id);
    });

    it.each([
      ['a name', 'app:latest', a.id],
      ['an id', b.id, b.id],
      ['the beginning of an id', 'im-abcdefB', b.id],
      ['a manifest digest', digest('aaaa1122'), b.id],
      ['the beginning of a digest', 'sha256:aaaa1111', a.id],
      ['the beginning of its digits', 'bbbb22', pulled.id],
      ['all its digits', digest('aaaa1111').slice(7), a.id],
    ])('by %s', (_, text, expected) => {
      expect(records.find(text).id).toBe(expected);
    });

    it.each([
      ['the beginning of two ids', 'im-abcdef', /more than one/],
      ['the beginning of two digests', 'aaaa11', /more than one/],
      ['too short a beginning', 'im-ab', /no image/],
      ['too few digits', 'bbbb2', /no image/],
      ['nothing', '', /no image/],
      ['an unknown name', 'app:other', /no image/],
      ['a pattern of SQL', 'im-abcdefB%', /no image/],
      ['one with a wildcard', 'im-abcdef_BBB', /no image/],
      ['digits of the wrong case', 'BBBB2222', /no image/],
    ])('not by %s', (_, text, message) => {
      expect(() => records.find(text)).toThrow(notFound(message));
    });

    it('a name goes before an id that begins so', () => {
      records.setName('im-abcdefB', a.id);
      expect(records.find('im-abcdefB').id).toBe(a.id);
    });

    it('of two recipes with one manifest, the newer by its whole digest, neither by a part', () => {
      records.put(image('im-zzzzzzzzzzzzzzzzzzzzzz', 'aaaa1111'));
      expect(records.find(digest('aaaa1111')).id).toBe('im-zzzzzzzzzzzzzzzzzzzzzz');
      expect(() => records.find('sha256:aaaa1111')).toThrow(notFound(/more than one/));
    });

    it('marks what it finds as used, and only that', () => {
      const others = [used(b.id), used(pulled.id)];
      for (const text of ['app:latest', a.id, 'im-abcdefA', digest('aaaa1111')]) {
        const before = used(a.id);
        temporary.clock.advance(USED_PRECISION_MS);
        records.find(text);
        expect(used(a.id)).toBeGreaterThanOrEqual(before + USED_PRECISION_MS);
      }
      expect([used(b.id), used(pulled.id)]).toEqual(others);
    });
  });

  it('lists the newest first, with their names, and marks none as used', () => {
    records.put(image('one'));
    records.put(image('two'));
    records.setName('b', 'one');
    records.setName('a', 'one');
    const before = [used('one'), used('two')];
    expect(records.list().map(({ id, names }) => [id, names])).toEqual([
      ['two', []],
      ['one', ['a', 'b']],
    ]);
    expect([used('one'), used('two')]).toEqual(before);
  });

  it('moves and removes names', () => {
    records.put(image('one'));
    records.put(image('two'));
    records.setName('app', 'one');
    records.setName('app', 'two');
    expect(records.find('app').id).toBe('two');
    expect(records.hasName('app')).toBe(true);
    expect(records.removeName('app')).toBe(true);
    expect(records.removeName('app')).toBe(false);
    expect(records.hasName('app')).toBe(false);
    expect(records.get('two')?.id).toBe('two');
  });

  it('a name is of an image that exists, and goes with it', () => {
    expect(() => records.setName('app', 'none')).toThrow(/FOREIGN KEY/);
    records.put(image('one'));
    records.setName('app', 'one');
    records.remove('one');
    expect(records.hasName('app')).toBe(false);
    expect(records.get('one')).toBeUndefined();
  });

  it('remembers what a tag pointed to, for each platform', () => {
    records.putResolution('r.example/a:1', 'linux/amd64', digest('1'));
    records.putResolution('r.example/a:1', 'linux/arm64', digest('2'));
    records.putResolution('r.example/a:1', 'linux/amd64', digest('3'));
    records.putResolution('r.example/b:1', 'linux/amd64', digest('3'));
    expect(records.resolution('r.example/a:1', 'linux/amd64')).toBe(digest('3'));
    expect(records.resolution('r.example/a:1', 'linux/arm64')).toBe(digest('2'));
    expect(records.resolution('r.example/a:2', 'linux/amd64')).toBeUndefined();
    expect(records.resolved().toSorted()).toEqual([digest('2'), digest('3')]);
  });

  describe('an index', () => {
    const images = ['linux/amd64', 'linux/arm64'].map((platform, index) =>
      image(`im-000000000000000000000${index}`, `dddd${index}`, { platform }),
    );
    const id = digest('eeee');
    beforeEach(() => {
      for (const each of images) {
        records.put(each);
      }
      records.putIndex({ id, mediaType: 'index', sizeBytes: 7, images });
    });

    it('is found by name, digest and the beginning of it, and lists its images in order', () => {
      records.setName('app:1', id);
      const found = {
        id,
        mediaType: 'index',
        sizeBytes: 7,
        images: images.map(({ id: image, manifestDigest, configDigest }) => ({
          id: image,
          manifestDigest,
          configDigest,
        })),
        createdMs: expect.any(Number),
      };
      for (const text of ['app:1', id, 'sha256:eeee', 'eeee0000']) {
        expect(records.find(text)).toEqual(found);
      }
      expect(records.listIndexes()).toEqual([{ ...found, names: ['app:1'] }]);
      expect(records.list().every(({ names }) => names.length === 0)).toBe(true);
    });

    it('keeps the manifests that it has when an image gets another', () => {
      records.put({ ...(images[0] as (typeof images)[0]), manifestDigest: digest('ffff') });
      expect(records.getIndex(id)?.images[0]?.manifestDigest).toBe(digest('dddd0'));
    });

    it('a name moves between images and indexes', () => {
      records.setName('app:1', images[0]?.id ?? '');
      records.setName('app:1', id);
      expect(records.find('app:1').id).toBe(id);
      records.setName('app:1', images[1]?.id ?? '');
      expect(records.find('app:1').id).toBe(images[1]?.id);
      expect(records.listIndexes()[0]?.names).toEqual([]);
    });

    it('holds its images, and takes along those that nothing else needs', () => {
      expect(() => records.remove(images[0]?.id ?? '')).toThrow(/FOREIGN KEY/);
      expect(records.indexesOf(images[0]?.id ?? '')).toEqual([id]);
      records.setName('mine:1', images[0]?.id ?? '');
      records.setName('app:1', id);
      expect(records.removeIndex(id)).toEqual([images[1]?.id]);
      expect(records.list().map(({ id: left }) => left)).toEqual([images[0]?.id]);
      expect(records.hasName('app:1')).toBe(false);
    });
  });
});
