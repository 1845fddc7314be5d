import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sha256Hex } from '../../../src/base/sha256.ts';
import { BlobStore } from '../../../src/content/blob-store.ts';
import { LayerRecords } from '../../../src/content/layer-records.ts';
import { MetaDb } from '../../../src/content/meta-db.ts';
import { type BlobWish, LayerStore } from '../../../src/layer/layer-store.ts';
import type { Descriptor } from '../../../src/oci/descriptor.ts';
import { sha256Digest } from '../../../src/oci/digest.ts';
import { OCI_LAYER_GZIP, OCI_LAYER_ZSTD } from '../../../src/oci/media-type.ts';
import type { LayerId } from '../../../src/solver/op.ts';
import type { CompressParams, RecompressParams, UnpackParams, Worker } from '../../../src/worker/protocol.ts';

const ZSTD: BlobWish = { compression: 'zstd', level: 3, keepSource: true };
const context = { signal: new AbortController().signal, emit: () => undefined };
const digestOf = (text: string) => sha256Digest(sha256Hex(text));
const gate = () => Promise.withResolvers<void>();

let dir: string;
let meta: MetaDb;
let records: LayerRecords;
let blobs: BlobStore;
let store: LayerStore;
/** What the worker and the network were asked for, in order. */
let asked: string[];
/** What a request waits for before it is answered, by its text in `asked`. */
let waitFor: Map<string, () => Promise<void>>;
let fetchedFrom: (readonly string[])[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tsbuild-layers-'));
  meta = MetaDb.open(dir, () => 1);
  records = new LayerRecords(meta);
  blobs = new BlobStore(dir);
  asked = [];
  fetchedFrom = [];
  waitFor = new Map();
  const ask = async (text: string) => {
    asked.push(text);
    await waitFor.get(text)?.();
  };
  const write = async ({ output, compression, level }: CompressParams | RecompressParams, text: string) => {
    const bytes = `${text} as ${compression} ${level}`;
    await writeFile(output, bytes);
    const digest = digestOf(bytes);
    return { digest, sizeBytes: bytes.length, diffId: digestOf(text), uncompressedSizeBytes: 1 };
  };
  const worker = {
    call: async (method: string, params: unknown) => {
      if (method === 'unpack') {
        await ask(`unpack ${nameOf((params as UnpackParams).layer)}`);
        return { existed: false, uncompressedSizeBytes: 1 };
      }
      if (method === 'compress') {
        const wish = params as CompressParams;
        await ask(`compress ${wish.layer} ${wish.compression} ${wish.clampMtimeSeconds ?? 'unclamped'}`);
        return await write(wish, wish.layer);
      }
      const wish = params as RecompressParams;
      await ask(`${method} ${wish.compression}`);
      return await write(wish, wish.diffId);
    },
  } as unknown as Worker;
  store = new LayerStore({
    scratchFile: (name) => join(dir, name),
    records,
    blobs,
    worker: async () => worker,
    fetcher: {
      fetch: async ({ digest }, sources) => {
        const text = CONTENTS.find((content) => digestOf(content) === digest) ?? '';
        fetchedFrom.push(sources);
        await ask(`fetch ${text}`);
        await blobs.put(Buffer.from(text));
      },
    },
  });
});
afterEach(() => {
  meta.close();
  rmSync(dir, { recursive: true, force: true });
});

const CONTENTS = ['a', 'b', 'c'];
let ids: readonly LayerId[] = [];
const nameOf = (id: LayerId) => CONTENTS[ids.indexOf(id)] ?? id;
const descriptors: readonly Descriptor[] = CONTENTS.map((text) => ({
  mediaType: OCI_LAYER_GZIP,
  digest: digestOf(text),
  size: text.length,
}));
const diffIds = CONTENTS.map((text) => digestOf(`diff of ${text}`));

function recordBase(): readonly LayerId[] {
  ids = store.recordImage(descriptors, diffIds, 'registry.test/base');
  return ids;
}

describe('recordImage', () => {
  test('names layers by all that is below them, and fetches nothing', () => {
    const base = recordBase();
    expect(store.recordImage(descriptors.slice(0, 2), diffIds.slice(0, 2), undefined)).toEqual(
      base.slice(0, 2),
    );
    expect(store.recordImage(descriptors.slice(1), diffIds.slice(1), undefined)).not.toContain(base[1]);
    expect(records.get(base[2] as LayerId)).toMatchObject({ hasSnapshot: false, parents: base.slice(0, 2) });
    expect(records.sources(digestOf('a'))).toEqual(['registry.test/base']);
    expect(asked).toEqual([]);
  });

  test('the same tar in another compression is the same layer', () => {
    const base = recordBase();
    const zstd = descriptors.map((one) => ({ ...one, mediaType: OCI_LAYER_ZSTD, digest: digestOf('z') }));
    expect(store.recordImage(zstd, diffIds, undefined)).toEqual(base);
  });

  test('a layer without a diffId is our bug', () => {
    expect(() => store.recordImage(descriptors, diffIds.slice(1), undefined)).toThrow(
      expect.objectContaining({ code: 'E_INTERNAL' }),
    );
  });
});

describe('ensureSnapshots', () => {
  test('the worker hears of lower layers first, whichever was fetched first', async () => {
    const base = recordBase();
    const slow = gate();
    waitFor.set('fetch a', () => slow.promise);
    const done = store.ensureSnapshots(base, context);
    await expect.poll(() => asked).toEqual(['fetch a', 'fetch b', 'fetch c']);
    slow.resolve();
    await done;
    expect(asked.slice(3)).toEqual(['unpack a', 'unpack b', 'unpack c']);
    expect(fetchedFrom[0]).toEqual(['registry.test/base']);
    expect(base.every((id) => records.get(id)?.hasSnapshot)).toBe(true);
  });

  test('an unpacking that takes long keeps no other from beginning', async () => {
    const base = recordBase();
    const slow = gate();
    waitFor.set('unpack a', () => slow.promise);
    const done = store.ensureSnapshots(base, context);
    await expect.poll(() => asked).toContain('unpack c');
    expect(records.get(base[0] as LayerId)?.hasSnapshot).toBe(false);
    slow.resolve();
    await done;
  });

  test('two that want it share the work, and a third finds it done', async () => {
    const base = recordBase();
    const slow = gate();
    waitFor.set('unpack a', () => slow.promise);
    const both = Promise.all([
      store.ensureSnapshots(base, context),
      store.ensureSnapshots(base.slice(0, 1), context),
    ]);
    await expect.poll(() => asked).toContain('unpack c');
    slow.resolve();
    await both;
    await store.ensureSnapshots(base, context);
    expect(asked.filter((text) => text.startsWith('unpack'))).toEqual(['unpack a', 'unpack b', 'unpack c']);
  });

  test('a failure is told when the others have ended, and can be mended', async () => {
    const base = recordBase();
    const slow = gate();
    const reason = new Error('cut');
    waitFor.set('unpack b', () => Promise.reject(reason));
    waitFor.set('unpack c', () => slow.promise);
    let told = false;
    const done = store.ensureSnapshots(base, context).finally(() => {
      told = true;
    });
    const outcome = expect(done).rejects.toBe(reason);
    await expect.poll(() => asked).toContain('unpack c');
    expect(told).toBe(false);
    slow.resolve();
    await outcome;
    expect(base.map((id) => records.get(id)?.hasSnapshot)).toEqual([true, false, true]);
    waitFor.clear();
    asked = [];
    await store.ensureSnapshots(base, context);
    expect(asked).toEqual(['unpack b']);
  });

  test('what cannot be fetched is not unpacked, nor what is above it', async () => {
    const base = recordBase();
    const reason = new Error('unreachable');
    waitFor.set('fetch b', () => Promise.reject(reason));
    await expect(store.ensureSnapshots(base, context)).rejects.toBe(reason);
    expect(asked.filter((text) => text.startsWith('unpack'))).toEqual(['unpack a']);
  });

  test('a layer with neither form is our bug', async () => {
    records.put('lost' as LayerId, [], false);
    await expect(store.ensureSnapshots(['lost' as LayerId], context)).rejects.toMatchObject({
      code: 'E_INTERNAL',
    });
  });
});

describe('ensureBlobs', () => {
  const step = ['step' as LayerId];
  beforeEach(() => records.put('step' as LayerId, [], true));

  test('a step’s layer is compressed once for each form, however many ask', async () => {
    const [first, second] = await Promise.all([
      store.ensureBlobs(step, ZSTD, context),
      store.ensureBlobs(step, ZSTD, context),
    ]);
    expect(first).toEqual(second);
    expect(first[0]).toMatchObject({ form: 'zstd:3', mediaType: OCI_LAYER_ZSTD, diffId: digestOf('step') });
    expect((await blobs.read(first[0]?.digest ?? digestOf(''), 1e6)).toString()).toBe('step as zstd 3');
    expect(store.knownBlobs(step, ZSTD)).toEqual(first);
    expect(store.knownBlobs(step, { ...ZSTD, compression: 'gzip' })).toEqual([undefined]);
    await store.ensureBlobs(step, { ...ZSTD, compression: 'gzip' }, context);
    expect(asked).toEqual(['compress step zstd unclamped', 'compress step gzip unclamped']);
  });

  test('clamped times are another form', async () => {
    const clamped = { ...ZSTD, clampMtimeSeconds: 7 };
    const [blob] = await store.ensureBlobs(step, clamped, context);
    expect(blob?.form).toBe('zstd:3@7');
    expect(store.knownBlobs(step, ZSTD)).toEqual([undefined]);
    expect(asked).toEqual(['compress step zstd 7']);
  });

  test('a blob that was deleted is made again', async () => {
    const [blob] = await store.ensureBlobs(step, ZSTD, context);
    await blobs.delete(blob?.digest ?? digestOf(''));
    await store.ensureBlobs(step, ZSTD, context);
    expect(asked).toHaveLength(2);
    expect(await blobs.has(blob?.digest ?? digestOf(''))).toBe(true);
  });

  test('what came with a base is shipped as it came', async () => {
    const base = recordBase();
    const got = await store.ensureBlobs(base, { ...ZSTD, clampMtimeSeconds: 7 }, context);
    expect(got.map(({ digest }) => digest)).toEqual(descriptors.map(({ digest }) => digest));
    expect(asked.toSorted()).toEqual(['fetch a', 'fetch b', 'fetch c']);
  });

  test('or, if it must be another compression, written anew with its tar and times as they are', async () => {
    const base = recordBase().slice(0, 1);
    const wish = { ...ZSTD, keepSource: false, clampMtimeSeconds: 7 };
    const [blob] = await store.ensureBlobs(base, wish, context);
    expect(blob).toMatchObject({ form: 'zstd:3', mediaType: OCI_LAYER_ZSTD });
    expect(asked).toEqual(['fetch a', 'recompress zstd']);
    expect(store.knownBlobs(base, wish)).toEqual([blob]);
    // The source has the wished compression already.
    expect(store.knownBlobs(base, { ...wish, compression: 'gzip' })[0]?.form).toBe('source');
  });
});
