import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { sha256Hex } from '../../../src/base/sha256.ts';
import { BlobStore } from '../../../src/content/blob-store.ts';
import { type LayerBlob, LayerRecords } from '../../../src/content/layer-records.ts';
import { RemoteError } from '../../../src/errors.ts';
import { type BlobWish, type FetchContext, LayerStore } from '../../../src/layer/layer-store.ts';
import type { Descriptor } from '../../../src/oci/descriptor.ts';
import { sha256Digest } from '../../../src/oci/digest.ts';
import { OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD } from '../../../src/oci/media-type.ts';
import type { LayerId } from '../../../src/solver/op.ts';
import type { Worker, WorkerMethods } from '../../../src/worker/protocol.ts';
import { temporaryMeta } from '../../support/temporary-store.ts';

type Method = 'unpack' | 'compress' | 'recompress';
interface Call {
  readonly method: Method;
  readonly params: WorkerMethods[Method]['params'];
  readonly signal: AbortSignal;
}

const forever = new AbortController().signal;
const context = { signal: forever, emit: () => undefined };
const digestOf = (text: string) => sha256Digest(sha256Hex(text));
const diffIds = ['one', 'two', 'three'].map((name) => digestOf(`tar ${name}`));
const zstd: BlobWish = { compression: 'zstd', level: 3, keepSource: false };

function descriptor(name: string, mediaType: string): Descriptor {
  return { mediaType, digest: digestOf(`blob ${name}`), size: `blob ${name}`.length };
}

/** An image of three layers that only a registry has, and a worker that writes down what it is asked. */
function harness() {
  const temporary = temporaryMeta();
  const directory = mkdtempSync(join(tmpdir(), 'tsbuild-layers-'));
  onTestFinished(() => {
    temporary[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  });
  mkdirSync(join(directory, 'tmp'));
  const records = new LayerRecords(temporary.meta);
  const blobs = new BlobStore(directory);
  const calls: Call[] = [];
  const fetches: { readonly digest: string; readonly sources: readonly string[] }[] = [];
  const self = {
    records,
    blobs,
    calls,
    fetches,
    /** What happens within a call of the worker, before it answers. */
    during: async (_call: Call): Promise<void> => undefined,
    /** The same for a download. */
    fetching: async (_name: string, _onFile: FetchContext['onFile']): Promise<void> => undefined,
  };
  const worker = {
    async call(method: Method, params: Call['params'], { signal }: { signal: AbortSignal }) {
      const call = { method, params, signal };
      calls.push(call);
      await self.during(call);
      signal.throwIfAborted();
      if (!('output' in params)) {
        return { existed: false, uncompressedSizeBytes: 1 };
      }
      const text = `${method} ${JSON.stringify({ ...params, output: '', blobPath: '' })}`;
      writeFileSync(params.output, text);
      return {
        digest: digestOf(text),
        sizeBytes: text.length,
        diffId: 'diffId' in params ? params.diffId : digestOf(`tar of ${text}`),
        uncompressedSizeBytes: 1,
      };
    },
  } as unknown as Worker;
  const layers = [
    descriptor('one', OCI_LAYER_GZIP),
    descriptor('two', OCI_LAYER_ZSTD),
    descriptor('three', OCI_LAYER),
  ];
  const names = new Map(['one', 'two', 'three'].map((name) => [String(digestOf(`blob ${name}`)), name]));
  const store = new LayerStore({
    scratchFile: (name) => join(directory, 'tmp', name),
    records,
    blobs,
    worker: async () => worker,
    fetcher: {
      fetch: async ({ digest }, sources, { onFile }) => {
        const name = names.get(digest) ?? '';
        fetches.push({ digest: name, sources });
        await self.fetching(name, onFile);
        await blobs.put(Buffer.from(`blob ${name}`));
      },
    },
  });
  const stack = store.recordImage(layers, diffIds, 'r.example/app');
  return Object.assign(self, { store, stack });
}

const unpacked = (calls: readonly Call[]) =>
  calls.map(({ params }) => ('blobPath' in params && 'layer' in params ? params.layer : ''));

describe('recordImage', () => {
  it('names a layer by what is below it, and knows it again', () => {
    const self = harness();
    const one = descriptor('one', OCI_LAYER_GZIP);
    const two = descriptor('two', OCI_LAYER_ZSTD);
    const [d1, d2] = diffIds as [(typeof diffIds)[0], (typeof diffIds)[0]];
    expect(self.store.recordImage([one, two], [d1, d2], undefined)).toEqual(self.stack.slice(0, 2));
    expect(self.store.recordImage([two], [d2], undefined)).not.toEqual([self.stack[1]]);
    // Its compression does not matter.
    expect(self.store.recordImage([descriptor('other', OCI_LAYER)], [d1], undefined)).toEqual([
      self.stack[0],
    ]);
    expect(self.records.get(self.stack[2] as LayerId)).toMatchObject({
      hasSnapshot: false,
      parents: self.stack.slice(0, 2),
    });
    expect(self.fetches).toEqual([]);
  });
});

describe('ensureSnapshots', () => {
  it('asks the worker from the bottom up, also when downloads end the other way round', async () => {
    const self = harness();
    const ends = new Map(['one', 'two', 'three'].map((name) => [name, Promise.withResolvers<void>()]));
    self.fetching = async (name) => await ends.get(name)?.promise;
    const done = self.store.ensureSnapshots(self.stack, context);
    await expect.poll(() => self.fetches.length, { interval: 1 }).toBe(3);
    for (const name of ['three', 'two']) {
      ends.get(name)?.resolve();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(self.calls).toEqual([]);
    ends.get('one')?.resolve();
    await done;
    expect(unpacked(self.calls)).toEqual(self.stack);
    expect(self.calls.map(({ params }) => 'parents' in params && params.parents)).toEqual([
      [],
      self.stack.slice(0, 1),
      self.stack.slice(0, 2),
    ]);
    expect(self.calls[1]?.params).toMatchObject({
      mediaType: OCI_LAYER_ZSTD,
      digest: digestOf('blob two'),
      diffId: diffIds[1],
      blobPath: self.blobs.path(digestOf('blob two')),
    });
    expect(self.fetches[0]).toEqual({ digest: 'one', sources: ['r.example/app'] });
    expect(self.stack.map((id) => self.records.get(id)?.hasSnapshot)).toEqual([true, true, true]);
  });

  it('unpacks what is being downloaded, and believes neither before both are done', async () => {
    const self = harness();
    const [one] = self.stack as [LayerId];
    const end = Promise.withResolvers<void>();
    self.fetching = async (_, onFile) => {
      onFile?.('/store/tmp/blob-one');
      await end.promise;
    };
    const done = self.store.ensureSnapshots([one], context);
    await expect.poll(() => self.calls.length, { interval: 1 }).toBe(1);
    expect(self.calls[0]?.params).toMatchObject({
      arriving: { path: '/store/tmp/blob-one', sizeBytes: 'blob one'.length },
    });
    let ended = false;
    done.then(() => {
      ended = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(ended).toBe(false);
    end.resolve();
    await done;
    expect(self.calls).toHaveLength(1);
    expect(self.records.get(one)?.hasSnapshot).toBe(true);
  });

  it('unpacks again, with those above, when a download begins anew', async () => {
    const self = harness();
    const [one, two] = self.stack as [LayerId, LayerId];
    const twoEnded = Promise.withResolvers<void>();
    self.fetching = async (name, onFile) => {
      onFile?.(`/store/tmp/blob-${name}`);
      if (name === 'one') {
        await expect.poll(() => self.calls.length, { interval: 1 }).toBe(2);
        onFile?.(undefined);
        await twoEnded.promise;
      }
    };
    self.during = async ({ params }) => {
      if ('arriving' in params && params.arriving !== undefined) {
        // The one above finds the one below missing.
        await expect.poll(() => self.calls.length, { interval: 1 }).toBe(2);
        if (params.layer === two) {
          twoEnded.resolve();
          throw new Error('missing');
        }
        // It is cancelled.
        await expect.poll(() => self.calls[0]?.signal.aborted, { interval: 1 }).toBe(true);
      }
    };
    await self.store.ensureSnapshots([one, two], context);
    expect(unpacked(self.calls)).toEqual([one, two, one, two]);
    expect(self.calls.slice(2).every(({ params }) => !('arriving' in params))).toBe(true);
    expect([one, two].map((id) => self.records.get(id)?.hasSnapshot)).toEqual([true, true]);
  });

  it('a download that breaks ends what unpacks it, and is what is told', async () => {
    const self = harness();
    const broken = new Error('broken');
    self.fetching = async (_, onFile) => {
      onFile?.('/store/tmp/blob-one');
      await expect.poll(() => self.calls.length, { interval: 1 }).toBe(1);
      throw broken;
    };
    self.during = async () => {
      await expect.poll(() => self.calls[0]?.signal.aborted, { interval: 1 }).toBe(true);
    };
    await expect(self.store.ensureSnapshots(self.stack.slice(0, 1), context)).rejects.toBe(broken);
    expect(self.calls).toHaveLength(1);
    expect(self.records.get(self.stack[0] as LayerId)?.hasSnapshot).toBe(false);
  });

  it('mends a layer by what it was made on', async () => {
    const self = harness();
    const [one, two] = self.stack as [LayerId, LayerId];
    await self.store.ensureSnapshots([two, one], context);
    expect(self.calls.map(({ params }) => 'parents' in params && params.parents)).toEqual([[one], []]);
  });

  it('does nothing for what is there, and downloads no blob that is there', async () => {
    const self = harness();
    self.records.put(self.stack[0] as LayerId, [], true);
    await self.blobs.put(Buffer.from('blob two'));
    await self.store.ensureSnapshots(self.stack, context);
    expect(unpacked(self.calls)).toEqual(self.stack.slice(1));
    expect(self.fetches.map(({ digest }) => digest)).toEqual(['three']);
    await self.store.ensureSnapshots(self.stack, context);
    expect(self.calls).toHaveLength(2);
  });

  it('unpacks once what two want at once', async () => {
    const self = harness();
    const end = Promise.withResolvers<void>();
    self.during = () => end.promise;
    for (const name of ['one', 'two', 'three']) {
      await self.blobs.put(Buffer.from(`blob ${name}`));
    }
    const both = [
      self.store.ensureSnapshots(self.stack, context),
      self.store.ensureSnapshots(self.stack, context),
    ];
    await expect.poll(() => self.calls.length, { interval: 1 }).toBe(3);
    end.resolve();
    await Promise.all(both);
    expect(unpacked(self.calls)).toEqual(self.stack);
  });

  it('a failed download in the middle: what is below is kept, what is above is not asked for', async () => {
    const self = harness();
    const failure = new Error('no such blob');
    self.fetching = async (name) => {
      if (name === 'two') {
        throw failure;
      }
    };
    await expect(self.store.ensureSnapshots(self.stack, context)).rejects.toBe(failure);
    expect(unpacked(self.calls)).toEqual(self.stack.slice(0, 1));
    expect(self.stack.map((id) => self.records.get(id)?.hasSnapshot)).toEqual([true, false, false]);
    self.fetching = async () => undefined;
    await self.store.ensureSnapshots(self.stack, context);
    expect(unpacked(self.calls)).toEqual(self.stack);
  });

  it('a layer that cannot be unpacked fails the call after the others have ended', async () => {
    const self = harness();
    const failure = new Error('bad archive');
    const third = Promise.withResolvers<void>();
    self.during = async ({ params }) => {
      if ('layer' in params && params.layer === self.stack[1]) {
        throw failure;
      }
      if ('layer' in params && params.layer === self.stack[2]) {
        await third.promise;
      }
    };
    let ended = false;
    const done = self.store.ensureSnapshots(self.stack, context).finally(() => {
      ended = true;
    });
    const outcome = expect(done).rejects.toBe(failure);
    await expect.poll(() => self.calls.length, { interval: 1 }).toBe(3);
    await new Promise((resolve) => setImmediate(resolve));
    expect(ended).toBe(false);
    third.resolve();
    await outcome;
    expect(self.records.get(self.stack[1] as LayerId)?.hasSnapshot).toBe(false);
  });

  it('whoever joined one that was cancelled starts again', async () => {
    const self = harness();
    const controller = new AbortController();
    const stack = self.stack.slice(0, 1);
    self.during = ({ signal }) =>
      signal === controller.signal
        ? new Promise((_, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason));
          })
        : Promise.resolve();
    const first = self.store.ensureSnapshots(stack, { ...context, signal: controller.signal });
    const outcome = expect(first).rejects.toThrow('enough');
    await expect.poll(() => self.calls.length, { interval: 1 }).toBe(1);
    const second = self.store.ensureSnapshots(stack, context);
    // The blob is there by now: the second only waits for the worker.
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(self.calls).toHaveLength(1);
    controller.abort(new Error('enough'));
    await outcome;
    await second;
    expect(unpacked(self.calls)).toEqual([...stack, ...stack]);
    expect(self.records.get(stack[0] as LayerId)?.hasSnapshot).toBe(true);
  });
});

describe('ensureBlobs', () => {
  it('keeps what came with a base, whatever its compression', async () => {
    const self = harness();
    const blobs = await self.store.ensureBlobs(self.stack, { ...zstd, keepSource: true }, context);
    expect(blobs.map(({ form, mediaType, digest }) => [form, mediaType, digest])).toEqual([
      ['source', OCI_LAYER_GZIP, digestOf('blob one')],
      ['source', OCI_LAYER_ZSTD, digestOf('blob two')],
      ['source', OCI_LAYER, digestOf('blob three')],
    ]);
    expect(self.calls).toEqual([]);
    expect(self.fetches).toHaveLength(3);
  });

  it.each([
    ['zstd', ['zstd:3', 'source', 'zstd:3'], OCI_LAYER_ZSTD],
    ['gzip', ['source', 'gzip:3', 'gzip:3'], OCI_LAYER_GZIP],
    ['none', ['none:0', 'none:0', 'source'], OCI_LAYER],
  ] as const)('writes a base with another compression as %s', async (compression, forms, mediaType) => {
    const self = harness();
    const blobs = await self.store.ensureBlobs(self.stack, { ...zstd, compression }, context);
    expect(blobs.map(({ form }) => form)).toEqual(forms);
    expect(blobs.map((blob) => blob.mediaType)).toEqual([mediaType, mediaType, mediaType]);
    expect(blobs.map(({ diffId }) => diffId)).toEqual(diffIds);
    expect(self.calls.map(({ method }) => method)).toEqual(['recompress', 'recompress']);
    for (const { digest, sizeBytes } of blobs) {
      expect(await self.blobs.stat(digest)).toEqual({ size: sizeBytes });
    }
    // Once: the second time they are known.
    expect(await self.store.ensureBlobs(self.stack, { ...zstd, compression }, context)).toEqual(blobs);
    expect(self.store.knownBlobs(self.stack, { ...zstd, compression })).toEqual(blobs);
    expect(self.calls).toHaveLength(2);
  });

  it('never clamps the times of a base, and always those of our own', async () => {
    const self = harness();
    const own = 'own' as LayerId;
    self.records.put(own, self.stack, true);
    const clamped = { ...zstd, clampMtimeSeconds: 1_700_000_000 };
    const blobs = await self.store.ensureBlobs([...self.stack, own], clamped, context);
    expect(blobs.map(({ form }) => form)).toEqual(['zstd:3', 'source', 'zstd:3', 'zstd:3@1700000000']);
    const compress = self.calls.find(({ method }) => method === 'compress');
    expect(compress?.params).toMatchObject({
      layer: own,
      parents: self.stack,
      clampMtimeSeconds: 1_700_000_000,
    });
    const [plain] = (await self.store.ensureBlobs([own], zstd, context)) as [(typeof blobs)[0]];
    expect(plain.form).toBe('zstd:3');
    expect(plain.digest).not.toBe(blobs[3]?.digest);
  });

  it('writes a layer by what it was made on, wherever it lies', async () => {
    const self = harness();
    const linked = 'linked' as LayerId;
    self.records.put(linked, [], true);
    const above = async (stack: readonly LayerId[]) =>
      (await self.store.ensureBlobs([...stack, linked], zstd, context)).at(-1);
    const first = await above(self.stack);
    expect(await above([])).toEqual(first);
    const compressed = self.calls.filter(({ method }) => method === 'compress');
    expect(compressed.map(({ params }) => params)).toEqual([expect.objectContaining({ parents: [] })]);
  });

  it('compresses once what two want at once, and again in another form', async () => {
    const self = harness();
    const own = 'own' as LayerId;
    self.records.put(own, [], true);
    const end = Promise.withResolvers<void>();
    self.during = () => end.promise;
    const all = [
      self.store.ensureBlobs([own], zstd, context),
      self.store.ensureBlobs([own], zstd, context),
      self.store.ensureBlobs([own], { ...zstd, level: 19 }, context),
    ];
    await expect.poll(() => self.calls.length, { interval: 1 }).toBe(2);
    end.resolve();
    const [[a], [b], [c]] = (await Promise.all(all)) as [[unknown], [unknown], [{ form: string }]];
    expect(a).toEqual(b);
    expect(c.form).toBe('zstd:19');
    expect(self.calls).toHaveLength(2);
  });

  it('names the blob that the same step made before', async () => {
    const self = harness();
    const [before, after] = ['before', 'after'] as [LayerId, LayerId];
    self.records.put(before, [], true);
    self.records.put(after, [], true);
    const [blob] = await self.store.ensureBlobs([before], zstd, context);
    self.store.succeeds(after, before);
    await self.store.ensureBlobs([after], zstd, context);
    await self.store.ensureBlobs([after], { ...zstd, level: 4 }, context);
    const previous = self.calls.map(({ params }) => 'previous' in params && params.previous);
    const path = self.blobs.path(blob?.digest ?? digestOf('none'));
    expect(previous).toEqual([false, { blob: path }, false]);
    // With what is known of its frames.
    self.records.putBlob(before, { ...(blob as LayerBlob), notes: 'AAAA' });
    expect(self.store.blobParams(after, zstd).previous).toEqual({ blob: path, notes: 'AAAA' });
  });

  it('unpacks a layer of which there is only a blob before it makes one of another form', async () => {
    const self = harness();
    const own = 'own' as LayerId;
    self.records.put(own, [], false);
    const output = self.store.blobParams(own, zstd).output;
    writeFileSync(output, 'blob');
    await self.store.adopt(own, zstd, output, {
      digest: digestOf('blob'),
      diffId: digestOf('tar'),
      sizeBytes: 4,
      uncompressedSizeBytes: 4,
      annotations: {},
    });
    await self.store.ensureBlobs([own], zstd, context);
    expect(self.calls).toEqual([]);
    await self.store.ensureBlobs([own], { ...zstd, level: 4 }, context);
    expect(self.calls.map(({ method }) => method)).toEqual(['unpack', 'compress']);
  });

  it('keeps where the table of contents of a blob is, and unpacks no blob with files of its own', async () => {
    const self = harness();
    const own = 'own' as LayerId;
    self.records.put(own, [], false);
    const estargz = { ...zstd, compression: 'estargz', level: 6 } as const;
    const output = self.store.blobParams(own, estargz).output;
    writeFileSync(output, 'blob');
    const annotations = { 'containerd.io/snapshot/stargz/toc.digest': digestOf('table') };
    await self.store.adopt(own, estargz, output, {
      digest: digestOf('blob'),
      diffId: digestOf('tar'),
      sizeBytes: 4,
      uncompressedSizeBytes: 4,
      annotations,
    });
    expect((await self.store.ensureBlobs([own], estargz, context))[0]).toMatchObject({ annotations });
    await expect(self.store.ensureSnapshots([own], context)).rejects.toMatchObject({ code: 'E_BLOB_GONE' });
    const described = {
      ...descriptor('one', OCI_LAYER_GZIP),
      annotations: { ...annotations, other: 'not ours' },
    };
    const [base] = self.store.recordImage([described], diffIds.slice(0, 1), undefined);
    expect(self.records.blobs(base as LayerId)[0]?.annotations).toEqual(annotations);
  });

  it('forgets a layer of which nothing is left', async () => {
    const self = harness();
    const own = 'own' as LayerId;
    self.records.put(own, [], false);
    await expect(self.store.ensureBlobs([own], zstd, context)).rejects.toMatchObject({ code: 'E_BLOB_GONE' });
    expect(self.records.get(own)).toBeUndefined();
  });

  it('makes a blob again that was removed from the store', async () => {
    const self = harness();
    const own = 'own' as LayerId;
    self.records.put(own, [], true);
    const digest = (await self.store.ensureBlobs([own], zstd, context))[0]?.digest ?? digestOf('none');
    expect(await self.blobs.has(digest)).toBe(true);
    await self.blobs.delete(digest);
    await self.store.ensureBlobs([own], zstd, context);
    expect(self.calls.map(({ method }) => method)).toEqual(['compress', 'compress']);
    expect(await self.blobs.has(digest)).toBe(true);
  });

  it('knows no blob that was never made, and one of another form instead of one', () => {
    const self = harness();
    self.records.put('own' as LayerId, [], true);
    expect(self.store.knownBlobs(['own' as LayerId], zstd)).toEqual([undefined]);
    const known = self.store.knownBlobs(self.stack, zstd);
    expect(known.map((blob) => blob?.mediaType)).toEqual([OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_LAYER]);
  });
});

describe('describeBlobs', () => {
  it('fetches nothing that somebody is known to have, and makes what nobody has', async () => {
    const self = harness();
    const own = 'own' as LayerId;
    self.records.put(own, self.stack, true);
    const wish = { ...zstd, keepSource: true };
    const described = await self.store.describeBlobs([...self.stack, own], wish, context);
    expect(self.fetches).toEqual([]);
    expect(self.calls.map(({ method }) => method)).toEqual(['compress']);
    expect(described.slice(0, 3).map(({ digest }) => digest)).toEqual(
      ['one', 'two', 'three'].map((name) => digestOf(`blob ${name}`)),
    );
    expect(await self.blobs.has(described[3]?.digest ?? digestOf(''))).toBe(true);
  });
});

describe('a blob that is gone', () => {
  const gone = (code: 'E_REGISTRY_NOT_FOUND' | 'E_NETWORK') => new RemoteError('not there', { code });

  it('is forgotten with the layers that are nothing else, so that nobody is promised it again', async () => {
    const self = harness();
    const [one, two, three] = self.stack as [LayerId, LayerId, LayerId];
    self.records.put(three, [one, two], true);
    self.fetching = async (name) => {
      if (name === 'two') {
        throw gone('E_REGISTRY_NOT_FOUND');
      }
    };
    await expect(self.store.ensureSnapshots(self.stack, context)).rejects.toMatchObject({
      code: 'E_BLOB_GONE',
      cause: { code: 'E_REGISTRY_NOT_FOUND' },
    });
    expect(self.records.get(two)).toBeUndefined();
    expect([self.records.get(one)?.id, self.records.get(three)?.id]).toEqual([one, three]);
    await expect(self.store.ensureSnapshots(self.stack, context)).rejects.toMatchObject({
      code: 'E_BLOB_GONE',
    });
  });

  it('is not gone because the network is', async () => {
    const self = harness();
    self.fetching = async () => {
      throw gone('E_NETWORK');
    };
    await expect(self.store.ensureSnapshots(self.stack, context)).rejects.toMatchObject({
      code: 'E_NETWORK',
    });
    expect(self.stack.every((layer) => self.records.get(layer) !== undefined)).toBe(true);
  });
});
