import { existsSync, mkdirSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { SqliteCache } from '../../../src/cache/sqlite-cache.ts';
import { USED_PRECISION_MS } from '../../../src/content/used-rows.ts';
import type { EngineParts } from '../../../src/engine/parts.ts';
import { archivesDir, type PruneOptions, prune, usage } from '../../../src/engine/prune.ts';
import { gitDir, gitLockPath } from '../../../src/engine/store.ts';
import { native } from '../../../src/native/addon.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import { parsePlatform } from '../../../src/oci/platform.ts';
import type { LayerId } from '../../../src/solver/op.ts';
import type { Worker, WorkerMethods } from '../../../src/worker/protocol.ts';
import { type TemporaryStore, temporaryStore } from '../../support/temporary-store.ts';

const signal = new AbortController().signal;
const KIB = 1024;

let temporary: TemporaryStore;
/** Snapshots and cache mounts on disk, by name. */
let snapshots: Record<string, number>;
let mounts: Record<string, { readonly sizeBytes: number; readonly usedMs?: number }>;
let parts: EngineParts;

beforeEach(() => {
  temporary = temporaryStore();
  onTestFinished(() => temporary[Symbol.dispose]());
  snapshots = {};
  mounts = {};
  const worker = {
    async call(method: keyof WorkerMethods, params: { layers?: string[]; ids?: string[] }) {
      if (method === 'usage') {
        const facts = { copies: 1, usedMs: 0, inUse: false };
        return {
          layers: { ...snapshots },
          volumes: {},
          mounts: Object.entries(mounts).map(([id, { sizeBytes, usedMs = 0 }]) => ({
            ...facts,
            id,
            sizeBytes,
            usedMs,
          })),
        };
      }
      for (const id of params.layers ?? []) {
        delete snapshots[id];
      }
      for (const id of params.ids ?? []) {
        delete mounts[id];
      }
      return { removed: 0 };
    },
  } as unknown as Worker;
  parts = { store: temporary.store, worker: async () => worker } as unknown as EngineParts;
});

/** A layer of one KiB with a blob. */
async function layer(id: string): Promise<Digest> {
  const { layers, blobs } = temporary.store;
  layers.put(id as LayerId, [], true);
  snapshots[id] = KIB;
  const { digest, size } = await blobs.put(Buffer.alloc(KIB, id));
  layers.putBlob(id as LayerId, {
    form: 'zstd:3',
    mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd',
    digest,
    sizeBytes: size,
    diffId: digest,
  });
  writeFileSync(join(temporary.store.dir, 'logs', `${id}.log`), 'log');
  return digest;
}

/** An image on layers; its documents are in the store. */
async function image(id: string, layers: readonly string[], name?: string, document = id) {
  const { blobs, images } = temporary.store;
  const manifest = await blobs.put(Buffer.from(`manifest ${document}`));
  const config = await blobs.put(Buffer.from(`config ${document}`));
  images.put({
    id,
    manifestDigest: manifest.digest,
    configDigest: config.digest,
    platform: 'linux/amd64',
    layers: layers as LayerId[],
    config: parsePlatform('linux/amd64') as never,
    build: { layers: [] },
  });
  if (name !== undefined) {
    images.setName(name, id);
  }
  return { manifest: manifest.digest, config: config.digest };
}

const run = (options: PruneOptions = {}) => prune(parts, options, signal);
const ids = (removed: Awaited<ReturnType<typeof prune>>['removed'], kind: string) =>
  removed.filter((item) => item.kind === kind).map((item) => item.id);
const imageIds = () => temporary.store.images.list().map(({ id }) => id);
const hasLog = (id: string) => existsSync(join(temporary.store.dir, 'logs', `${id}.log`));

describe('prune', () => {
  it('keeps what a named image needs, and removes the rest with all that belongs to it', async () => {
    const { blobs } = temporary.store;
    const [base, app, loose] = [await layer('base'), await layer('app'), await layer('loose')];
    const kept = await image('im-kept', ['base', 'app'], 'app:1');
    const gone = await image('im-gone', ['base', 'loose']);
    const orphan = (await blobs.put(Buffer.from('nobody needs it'))).digest;
    const { removed, freedBytes } = await run();
    expect(ids(removed, 'images')).toEqual(['im-gone']);
    expect(ids(removed, 'layers')).toEqual(['loose']);
    expect(new Set(ids(removed, 'blobs'))).toEqual(new Set([loose, gone.manifest, gone.config, orphan]));
    expect(ids(removed, 'logs')).toEqual(['loose.log']);
    expect(freedBytes).toBe(removed.reduce((sum, item) => sum + item.sizeBytes, 0));
    expect(imageIds()).toEqual(['im-kept']);
    expect(Object.keys(snapshots)).toEqual(['base', 'app']);
    for (const digest of [base, app, kept.manifest, kept.config]) {
      expect(await blobs.has(digest)).toBe(true);
    }
    for (const digest of [loose, gone.manifest, gone.config, orphan]) {
      expect(await blobs.has(digest)).toBe(false);
    }
    expect(['base', 'app', 'loose'].map(hasLog)).toEqual([true, true, false]);
    // A second time there is nothing to do.
    expect(await run()).toEqual({ freedBytes: 0, removed: [] });
  });

  it('of two images with one manifest, the one that stays keeps its documents', async () => {
    await layer('base');
    const documents = await image('im-kept', ['base'], 'app:1', 'same');
    await image('im-gone', ['base'], undefined, 'same');
    expect(ids((await run()).removed, 'images')).toEqual(['im-gone']);
    expect(await temporary.store.blobs.has(documents.manifest)).toBe(true);
    expect(await temporary.store.blobs.has(documents.config)).toBe(true);
  });

  it('with --all and an age leaves cache mounts that were used since', async () => {
    mounts.old = { sizeBytes: 1, usedMs: temporary.store.meta.now() - 10_000 };
    mounts.fresh = { sizeBytes: 1, usedMs: temporary.store.meta.now() - 1000 };
    const { removed } = await prune(parts, { all: true, olderThanMs: 5000 }, signal);
    expect(ids(removed, 'cache-mounts')).toEqual(['old']);
    expect(Object.keys(mounts)).toEqual(['fresh']);
  });

  it('with --all takes named images and cache mounts too', async () => {
    await layer('base');
    await image('im-named', ['base'], 'app:1');
    mounts.pip = { sizeBytes: 5 };
    expect((await run()).removed).toEqual([]);
    const { removed } = await run({ all: true });
    expect(ids(removed, 'images')).toEqual(['im-named']);
    expect(ids(removed, 'layers')).toEqual(['base']);
    expect(ids(removed, 'cache-mounts')).toEqual(['pip']);
    expect([snapshots, mounts]).toEqual([{}, {}]);
    expect(temporary.store.images.hasName('app:1')).toBe(false);
  });

  it('a dry run says the same and removes nothing', async () => {
    const loose = await layer('loose');
    await image('im-gone', ['loose']);
    const would = await run({ dryRun: true });
    expect(ids(would.removed, 'layers')).toEqual(['loose']);
    expect(imageIds()).toEqual(['im-gone']);
    expect(snapshots).toEqual({ loose: KIB });
    expect(hasLog('loose')).toBe(true);
    expect(await temporary.store.blobs.has(loose)).toBe(true);
    expect(await run()).toEqual(would);
  });

  it('marks results of the cache as gone, and forgets none', async () => {
    await layer('kept');
    await layer('loose');
    await image('im-kept', ['kept'], 'app:1');
    const cache = new SqliteCache({
      meta: temporary.store.meta,
      layers: temporary.store.layers,
      storeDir: temporary.store.dir,
      layerDigest: async (id) => id,
      readsDigest: async () => undefined,
    });
    for (const id of ['kept', 'loose']) {
      cache.put({
        key: id,
        resultId: id,
        result: { kind: 'rootfs', layers: [id as LayerId] },
        fieldsDigest: id,
        fields: [],
        inputs: [],
        durationMs: 1,
      });
    }
    await run();
    expect(cache.lookup('kept')?.resultId).toBe('kept');
    expect(cache.lookup('loose')).toBeUndefined();
    expect(cache.everHad('loose')).toBe(true);
  });

  it('with keepBytes removes the least recently used until the rest is small enough', async () => {
    for (const id of ['a', 'b', 'c']) {
      await layer(id);
      temporary.clock.advance(10);
    }
    temporary.clock.advance(USED_PRECISION_MS);
    // Used again: now it is the newest.
    temporary.store.layers.get('a' as LayerId);
    const { removed } = await run({ keepBytes: 4 * KIB, kinds: ['layers'] });
    expect(ids(removed, 'layers')).toEqual(['b', 'c']);
    expect((await run({ keepBytes: 4 * KIB, kinds: ['layers'] })).removed).toEqual([]);
  });

  it('with keepBytes of a store that is small enough removes nothing', async () => {
    await layer('a');
    await image('im-loose', ['a']);
    expect((await run({ keepBytes: 1e9 })).removed).toEqual([]);
  });

  it('with olderThanMs leaves what was used since', async () => {
    await layer('old');
    await image('im-old', ['old']);
    temporary.clock.advance(10_000);
    await layer('young');
    await image('im-young', ['young']);
    const { removed } = await run({ olderThanMs: 5000 });
    expect(ids(removed, 'images')).toEqual(['im-old']);
    expect(ids(removed, 'layers')).toEqual(['old']);
    expect(imageIds()).toEqual(['im-young']);
  });

  it('with olderThanMs leaves packages that were fetched since', async () => {
    const archives = archivesDir(temporary.store);
    mkdirSync(archives, { recursive: true });
    temporary.clock.advance(1e9);
    const nowS = temporary.clock.now() / 1000;
    for (const [name, ageS] of [
      ['old.deb', 10_000],
      ['young.deb', 10],
    ] as const) {
      writeFileSync(join(archives, name), 'deb');
      utimesSync(join(archives, name), nowS - ageS, nowS - ageS);
    }
    expect(ids((await run({ olderThanMs: 100_000 })).removed, 'archives')).toEqual(['old.deb']);
    expect(statSync(join(archives, 'young.deb')).size).toBe(3);
    expect(ids((await run()).removed, 'archives')).toEqual(['young.deb']);
  });

  it('removes only the kinds that were asked for', async () => {
    await layer('loose');
    await image('im-gone', []);
    const orphan = (await temporary.store.blobs.put(Buffer.from('orphan'))).digest;
    expect((await run({ kinds: ['blobs'] })).removed).toEqual([{ kind: 'blobs', id: orphan, sizeBytes: 6 }]);
    expect(imageIds()).toEqual(['im-gone']);
    expect(snapshots).toEqual({ loose: KIB });
  });

  it('removes bodies of web files that were not asked for so long, when it is alone', async () => {
    const { blobs, sources } = temporary.store;
    const fetch = async (url: string) => {
      const { digest } = await blobs.put(Buffer.from(url));
      sources.putHttpFile(url, { digest, mtimeSeconds: 0 });
      return digest;
    };
    const [old, again] = [await fetch('https://h/old'), await fetch('https://h/again')];
    temporary.clock.advance(USED_PRECISION_MS);
    sources.httpFile('https://h/again');
    expect(ids((await run({ olderThanMs: 500 })).removed, 'blobs')).toEqual([old]);
    expect(ids((await run()).removed, 'blobs')).toEqual([again]);
    // What it was is still known.
    expect(sources.httpFile('https://h/old')?.digest).toBe(old);
  });

  it('removes repositories that were not used for so long, when it is alone and nobody is in them', async () => {
    const directory = gitDir(temporary.store.dir);
    const nowS = temporary.store.meta.now() / 1000;
    for (const [name, ageS] of [
      ['old', 200],
      ['young', 1],
    ] as const) {
      mkdirSync(join(directory, name, 'objects'), { recursive: true });
      writeFileSync(join(directory, name, 'objects/pack'), 'pack!');
      utimesSync(join(directory, name), nowS - ageS, nowS - ageS);
    }
    writeFileSync(join(directory, 'known_hosts'), 'h');
    expect((await usage(parts, signal)).find(({ kind }) => kind === 'git')).toMatchObject({ count: 2 });
    const { removed } = await run({ olderThanMs: 100_000 });
    expect(ids(removed, 'git')).toEqual(['old']);
    expect(removed[0]?.sizeBytes).toBeGreaterThanOrEqual('pack!'.length);
    const other = temporary.openOther();
    expect(ids((await run()).removed, 'git')).toEqual([]);
    other[Symbol.dispose]();
    const held = native().tryLock(gitLockPath(temporary.store.dir, 'young'), false);
    await run();
    expect(existsSync(join(directory, 'young'))).toBe(true);
    held?.release();
    await run();
    expect(readdirSync(directory)).toEqual(['known_hosts']);
  });

  it('removes snapshots that no record names, when it is alone', async () => {
    snapshots.half = 7;
    const other = temporary.openOther();
    expect((await run()).removed).toEqual([]);
    other[Symbol.dispose]();
    expect((await run()).removed).toEqual([{ kind: 'layers', id: 'half', sizeBytes: 7 }]);
  });
});

describe('prune beside another engine that lives', () => {
  it('leaves what was used since that began, and every blob', async () => {
    await layer('before');
    await layer('again');
    await image('im-before', ['before']);
    // What was used shortly before may be in use although it was not marked.
    temporary.clock.advance(USED_PRECISION_MS);
    const other = temporary.openOther();
    temporary.clock.advance(1000);
    other.layers.get('again' as LayerId);
    await layer('after');
    await image('im-after', ['after']);
    const writing = (await temporary.store.blobs.put(Buffer.from('its record comes later'))).digest;
    const { removed } = await run();
    expect(ids(removed, 'images')).toEqual(['im-before']);
    expect(ids(removed, 'layers')).toEqual(['before']);
    expect(ids(removed, 'blobs')).toEqual([]);
    expect(Object.keys(snapshots).toSorted()).toEqual(['after', 'again']);
    expect(await temporary.store.blobs.has(writing)).toBe(true);
    other[Symbol.dispose]();
    const alone = await run();
    expect(ids(alone.removed, 'layers').toSorted()).toEqual(['after', 'again']);
    expect(await temporary.store.blobs.has(writing)).toBe(false);
  });
});

describe('usage', () => {
  it('counts each kind, and what prune would free', async () => {
    await layer('kept');
    await layer('loose');
    await image('im-kept', ['kept'], 'app:1');
    await image('im-gone', ['loose']);
    mounts.pip = { sizeBytes: 5 };
    const lines = new Map((await usage(parts, signal)).map((line) => [line.kind, line]));
    expect(lines.get('images')).toEqual({ kind: 'images', count: 2, sizeBytes: 0, reclaimableBytes: 0 });
    expect(lines.get('layers')).toEqual({
      kind: 'layers',
      count: 2,
      sizeBytes: 2 * KIB,
      reclaimableBytes: KIB,
    });
    const documents = 'manifest im-gone'.length + 'config im-gone'.length;
    expect(lines.get('blobs')).toMatchObject({ count: 6, reclaimableBytes: KIB + documents });
    expect(lines.get('cache-mounts')).toMatchObject({ count: 1, sizeBytes: 5, reclaimableBytes: 0 });
    expect(lines.get('logs')).toMatchObject({ count: 2, sizeBytes: 6, reclaimableBytes: 3 });
    expect(imageIds()).toHaveLength(2);
  });
});

describe('published images and attempts', () => {
  it('keeps what has a published name, and forgets attempts without logs', async () => {
    const { store } = temporary;
    await layer('kept');
    await layer('gone');
    for (const id of ['kept', 'gone']) {
      store.images.put({
        id: `im-${id}`,
        manifestDigest: `sha256:${'a'.repeat(64)}` as Digest,
        configDigest: `sha256:${'b'.repeat(64)}` as Digest,
        platform: 'linux/amd64',
        layers: [id as LayerId],
        config: { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [] } },
        build: { layers: [] },
      });
      store.attempts.put(`im-${id}`, {
        layers: [{ id: `im-${id}`, method: 'runCommands', results: [id] }],
        failed: false,
      });
      writeFileSync(join(store.dir, 'logs', `${id}.log`), '1 stdout x\n');
    }
    store.attempts.put('im-failed', {
      layers: [{ id: 'im-failed', method: 'runCommands', results: ['failed'] }],
      failed: true,
    });
    writeFileSync(join(store.dir, 'logs/failed.log'), '1 stdout x\n');
    store.published.put({ namespace: 'main', name: 'web', tag: 'v1' }, 'im-kept');
    await prune(parts, { dryRun: true }, signal);
    expect(store.attempts.find('im-failed')?.failed).toBe(true);
    await prune(parts, {}, signal);
    expect(store.images.peek('im-kept')).toBeDefined();
    expect(store.images.peek('im-gone')).toBeUndefined();
    expect(readdirSync(join(store.dir, 'logs'))).toEqual(['kept.log']);
    expect([store.attempts.find('im-kept')?.layers.length, store.attempts.find('im-gone')]).toEqual([
      1,
      undefined,
    ]);
    expect(store.attempts.find('im-failed')).toBeUndefined();
    // With `all` names do not keep anything, and go with what they stand for.
    await prune(parts, { all: true }, signal);
    expect(store.images.peek('im-kept')).toBeUndefined();
    expect(store.published.list()).toEqual([]);
    expect(store.published.history({ namespace: 'main', name: 'web', tag: 'v1' })).toMatchObject([
      { id: 'im-kept' },
    ]);
  });
});
