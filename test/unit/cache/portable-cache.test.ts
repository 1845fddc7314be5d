import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalJson } from '../../../src/base/canonical-json.ts';
import { sha256Hex } from '../../../src/base/sha256.ts';
import {
  encodeCache,
  encodeInline,
  keyOf,
  type PortableCache,
  parseCache,
  parseInline,
  portableResultId,
} from '../../../src/cache/portable-cache.ts';
import { sha256Digest } from '../../../src/oci/digest.ts';
import { cacheKey, resultIdOf } from '../../../src/solver/cache-key.ts';

const hex = (text: string) => sha256Hex(text);
const CACHE: PortableCache = {
  diffIds: [sha256Digest(hex('one')), sha256Digest(hex('two'))],
  layers: [{ blob: 0, content: hex('content') }, { blob: 1, parent: 0 }, { blob: 1 }],
  records: [
    { fieldsDigest: hex('scratch'), inputs: [], result: { kind: 'rootfs' }, durationMs: 0 },
    {
      fieldsDigest: hex('files'),
      inputs: [],
      result: { kind: 'files', contentDigest: sha256Digest(hex('f')) },
      durationMs: 1.5,
      site: '@#1 copy source-local',
      fields: [{ name: 'files', value: { '/a': '0644 x', __proto: null } }],
    },
    {
      fieldsDigest: hex('step'),
      inputs: [hex('in'), hex('other')],
      result: { kind: 'rootfs', top: 1 },
      durationMs: 20,
      site: '@#2 run build',
      fields: [],
    },
  ],
  images: [{ id: `im-${'a'.repeat(22)}`, created: '2026-11-25T12:00:00Z' }],
};
const encoded = () => JSON.parse(encodeCache(CACHE).toString()) as Record<string, unknown>;
const parse = (document: unknown, blobs = 2) => parseCache(Buffer.from(JSON.stringify(document)), blobs);

describe('the document', () => {
  test('is read as it was written, and written as it was read', () => {
    const bytes = encodeCache(CACHE);
    const parsed = parseCache(bytes, 2);
    expect(parsed).toEqual(CACHE);
    expect(encodeCache(parsed).equals(bytes)).toBe(true);
  });

  test('inline leaves out what only explanations need, and takes the diffIds of the image', () => {
    const member = encodeInline(CACHE);
    expect(canonicalJson(member)).not.toContain('site');
    const { records, ...rest } = parseInline(member, CACHE.diffIds);
    expect(rest).toEqual({ diffIds: CACHE.diffIds, layers: CACHE.layers, images: CACHE.images });
    expect(records.map(keyOf)).toEqual(CACHE.records.map(keyOf));
  });

  test('a key follows from what it covers', () => {
    const [, , record] = CACHE.records;
    const key = cacheKey(hex('step'), [hex('in'), hex('other')]);
    expect(record && keyOf(record)).toBe(key);
    expect(record && portableResultId(record)).toBe(resultIdOf(key));
    expect(encodeCache(CACHE).toString()).not.toContain(key);
  });

  test('fields that are large are left out, with the site that only serves them', () => {
    const long = (characters: number) => [{ name: 'files', value: 'x'.repeat(characters) }];
    const [record] = CACHE.records.slice(2);
    const cacheOf = (sizes: readonly number[]): PortableCache => ({
      ...CACHE,
      records: sizes.map((size, index) => ({
        ...(record as PortableCache['records'][0]),
        inputs: [hex(String(index))],
        fields: long(size),
      })),
    });
    const kept = (sizes: readonly number[]) =>
      parseCache(encodeCache(cacheOf(sizes)), 2).records.map(
        ({ fields, site }) => fields !== undefined && site !== undefined,
      );
    expect(kept([10, 70_000, 10])).toEqual([true, false, true]);
    const many = kept(Array.from({ length: 200 }, () => 60_000));
    expect(many.filter(Boolean).length).toBeGreaterThan(100);
    expect(many.at(-1)).toBe(false);
  });

  test('what a newer version adds is passed over', () => {
    expect(parse({ ...encoded(), more: { of: 'it' } })).toEqual(CACHE);
  });
});

describe('a hostile document is refused whole', () => {
  const record = (change: object) => ({
    ...encoded(),
    records: [
      { fieldsDigest: hex('r'), inputs: [], result: { kind: 'rootfs', top: 0 }, durationMs: 1, ...change },
    ],
  });
  const layers = (...list: unknown[]) => ({ ...encoded(), records: [], layers: list });
  let deep: unknown = 0;
  for (let depth = 0; depth < 200; depth += 1) {
    deep = [deep];
  }
  const chain = Array.from({ length: 2000 }, (_, index) =>
    index === 0 ? { blob: 0 } : { blob: 0, parent: index - 1 },
  );
  test.each<[string, unknown]>([
    ['another version', { ...encoded(), version: 2 }],
    ['no version', { ...encoded(), version: undefined }],
    ['more diffIds than blobs', { ...encoded(), diffIds: [...CACHE.diffIds, CACHE.diffIds[0]] }],
    ['a diffId that is none', { ...encoded(), diffIds: ['sha256:x', 'sha256:y'] }],
    ['layers that are no list', { ...encoded(), layers: {} }],
    ['a blob that is not there', layers({ blob: 2 })],
    ['a negative blob', layers({ blob: -1 })],
    ['half a blob', layers({ blob: 0.5 })],
    ['a layer on itself', layers({ blob: 0, parent: 0 })],
    ['a layer on a later one', layers({ blob: 0, parent: 1 }, { blob: 1 })],
    ['a tower of layers', layers(...chain)],
    ['a content that is none', layers({ blob: 0, content: '../../etc' })],
    ['a layer that is null', layers(null)],
    ['a result on no layer', record({ result: { kind: 'rootfs', top: 9 } })],
    ['a result of another kind', record({ result: { kind: 'device' } })],
    ['files without a digest', record({ result: { kind: 'files' } })],
    ['files named by a path', record({ result: { kind: 'files', contentDigest: '/etc/passwd' } })],
    ['fields that are no digest', record({ fieldsDigest: 'x' })],
    ['an input that is no id', record({ inputs: ['../x'] })],
    ['inputs that are no list', record({ inputs: 'abc' })],
    ['a negative duration', record({ durationMs: -1 })],
    ['an endless site', record({ fields: [], site: 'x'.repeat(5000) })],
    ['fields of the wrong shape', record({ fields: [['name']] })],
    ['fields too deep', record({ fields: [['name', deep]] })],
    ['a record twice', { ...encoded(), records: [encoded().records, encoded().records].flat() }],
    ['an image with a strange id', { ...encoded(), images: [{ id: 'x', created: '2026-11-25T12:00:00Z' }] }],
    ['a time that is none', { ...encoded(), images: [{ id: `im-${'a'.repeat(22)}`, created: 'today' }] }],
  ])('%s', (_what, document) => {
    expect(() => parse(document)).toThrow(expect.objectContaining({ name: 'IntegrityError' }));
  });

  test('results that expand beyond measure', () => {
    const tall = chain.slice(0, 1000);
    const records = Array.from({ length: 3000 }, (_, index) => ({
      fieldsDigest: hex('r'),
      inputs: [hex(String(index))],
      result: { kind: 'rootfs', top: 999 },
      durationMs: 1,
    }));
    expect(() => parse({ ...encoded(), layers: tall, records })).toThrow('layers');
  });

  test('whatever is done to it, it parses or is an IntegrityError', () => {
    const paths = ['version', 'layers', 'records', 'images', 'diffIds'];
    fc.assert(
      fc.property(fc.constantFrom(...paths), fc.jsonValue(), (path, value) => {
        try {
          parse({ ...encoded(), [path]: value });
        } catch (error) {
          expect(error).toMatchObject({ name: 'IntegrityError' });
        }
      }),
    );
    expect(() => parseInline('text', [])).toThrow(expect.objectContaining({ code: 'E_BAD_CACHE' }));
    expect(() => parseCache(Buffer.from([0xff]), 0)).toThrow(
      expect.objectContaining({ name: 'IntegrityError' }),
    );
  });
});
