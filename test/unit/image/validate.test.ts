import { Readable } from 'node:stream';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../../src/base/canonical-json.ts';
import { completeHistory } from '../../../src/image/history.ts';
import { buildManifest, describe as descriptorOf } from '../../../src/image/manifest.ts';
import { validate } from '../../../src/image/validate.ts';
import { splitZstdFrames } from '../../../src/image/zstd-frames.ts';
import { DOCKER_LAYER_GZIP, OCI_LAYER_GZIP, OCI_LAYER_ZSTD } from '../../../src/oci/media-type.ts';
import { makeImage, makeLayer } from '../../support/random-image.ts';

type Made = Awaited<ReturnType<typeof makeImage>>;

function reader(image: Made, replaced: ReadonlyMap<string, Buffer> = new Map()) {
  const get = (digest: string) =>
    replaced.get(digest) ??
    (digest === image.manifestDescriptor.digest ? image.manifestBytes : image.blobs.get(digest)) ??
    Buffer.alloc(0);
  return {
    read: async (digest: string) => get(digest),
    openRead: async (digest: string) => Readable.from([get(digest)]),
  };
}

describe('validate', () => {
  it('takes images in every compression, zstd with many frames too', async () => {
    for (const compression of ['none', 'gzip', 'zstd'] as const) {
      const image = await makeImage([await makeLayer({ 'd/': '', 'd/a': 'a', 'd/.wh.b': '' }, compression)]);
      expect(await validate({ descriptor: image.manifestDescriptor }, reader(image))).toEqual({
        images: 1,
        layers: 1,
        entries: 3,
      });
    }
    const layer = await makeLayer({ a: Buffer.alloc(5000, 'a') }, 'zstd');
    const plain = zstdDecompressSync(layer.bytes);
    const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    const bytes = Buffer.concat([
      zstdCompressSync(plain.subarray(0, 3000)),
      skippable,
      zstdCompressSync(plain.subarray(3000)),
    ]);
    const image = await makeImage([{ ...layer, bytes, descriptor: descriptorOf(bytes, OCI_LAYER_ZSTD) }]);
    expect((await validate({ descriptor: image.manifestDescriptor }, reader(image))).entries).toBe(1);
  });

  it.each([
    [
      'a wrong diffId',
      'E_DIGEST_MISMATCH',
      async () => ({ ...(await makeLayer({ a: 'a' })), diffId: (await makeLayer({ b: 'b' })).diffId }),
    ],
    ['a name that leaves the root', 'E_BAD_ARCHIVE', () => makeLayer({ '../a': 'a' })],
    ['a whiteout with content', 'E_BAD_ARCHIVE', () => makeLayer({ '.wh.a': 'x' })],
    ['a name both there and removed', 'E_BAD_ARCHIVE', () => makeLayer({ '.wh.a': '', a: 'x' })],
    [
      'the wrong compression',
      'E_BAD_ARCHIVE',
      async () => {
        const layer = await makeLayer({ a: 'a' }, 'zstd');
        return { ...layer, descriptor: { ...layer.descriptor, mediaType: OCI_LAYER_GZIP } };
      },
    ],
  ])('finds %s', async (_name, code, make) => {
    const image = await makeImage([await make()]);
    await expect(validate({ descriptor: image.manifestDescriptor }, reader(image))).rejects.toMatchObject({
      code,
    });
  });

  it('finds a blob that is cut', async () => {
    const layer = await makeLayer({ a: 'a' }, 'none');
    const image = await makeImage([layer]);
    const cut = new Map([[layer.descriptor.digest as string, layer.bytes.subarray(0, 1024)]]);
    await expect(
      validate({ descriptor: image.manifestDescriptor }, reader(image, cut)),
    ).rejects.toMatchObject({ exitStatus: 5 });
  });
});

describe('buildManifest', () => {
  it('turns Docker layer types into OCI, and escapes no HTML', async () => {
    const layer = await makeLayer({ a: 'a' });
    const parts = {
      layers: [{ ...layer, descriptor: { ...layer.descriptor, mediaType: DOCKER_LAYER_GZIP } }],
      config: { Cmd: ['<&>'] },
      platform: { os: 'linux', architecture: 'arm64', variant: 'v8' },
    };
    const built = buildManifest(parts);
    expect(built.layers[0]?.mediaType).toBe(OCI_LAYER_GZIP);
    expect(built.configBytes.toString()).toContain('"<&>"');
    expect(buildManifest(parts).manifestDescriptor).toEqual(built.manifestDescriptor);
    expect(JSON.parse(built.configBytes.toString())).not.toHaveProperty('created');
  });

  it('completes history', () => {
    expect(completeHistory([{ created_by: 'x' }], 3)).toHaveLength(3);
    expect(
      completeHistory([{ empty_layer: true }, { created_by: 'a' }, { created_by: 'b' }], 1).filter(
        (entry) => !entry.empty_layer,
      ),
    ).toEqual([{ created_by: 'b' }]);
  });
});

describe('canonicalJson', () => {
  it('says the same as JSON, in one order', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = canonicalJson(value);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(canonicalJson(JSON.parse(text))).toBe(text);
      }),
    );
  });
});

describe('splitZstdFrames', () => {
  it('gives back all bytes, however they are cut', async () => {
    const frames = Buffer.concat([
      zstdCompressSync(Buffer.from('a'.repeat(1000))),
      zstdCompressSync(Buffer.from('b')),
    ]);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: frames.length }), async (size) => {
        const chunks = Array.from({ length: Math.ceil(frames.length / size) }, (_, i) =>
          frames.subarray(i * size, (i + 1) * size),
        );
        const out = await collect(splitZstdFrames(Readable.from(chunks)));
        expect(Buffer.concat(out).equals(frames)).toBe(true);
      }),
    );
    await expect(collect(splitZstdFrames(Readable.from([frames.subarray(0, 20)])))).rejects.toMatchObject({
      code: 'E_BAD_ARCHIVE',
    });
  });
});

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) {
    items.push(item);
  }
  return items;
}
