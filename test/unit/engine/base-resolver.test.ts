import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveBaseImage } from '../../../src/engine/base-resolver.ts';
import { Registries } from '../../../src/engine/registries.ts';
import { parsePlatform } from '../../../src/oci/platform.ts';
import { type MadeImage, makeImage, makeLayer } from '../../support/random-image.ts';
import { TestRegistry } from '../../support/registry.ts';
import { type TemporaryStore, temporaryStore } from '../../support/temporary-store.ts';

const AMD64 = parsePlatform('linux/amd64');
const signal = new AbortController().signal;

let registry: TestRegistry;
let temporary: TemporaryStore;
const open: Registries[] = [];

beforeEach(async () => {
  registry = await TestRegistry.start();
  temporary = temporaryStore();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.close()));
  temporary[Symbol.dispose]();
  await registry[Symbol.asyncDispose]();
});

function registries(offline = false): Registries {
  const made = new Registries({
    secretSources: { environment: {}, stored: async () => ({}), dotenv: async () => undefined },
    mirrors: [],
    offline,
    environment: { HOME: temporary.store.dir },
    onWarning: () => undefined,
  });
  open.push(made);
  return made;
}

function resolve(reference: string, again = false, from = registries()) {
  const { blobs, images } = temporary.store;
  return resolveBaseImage({ blobs, images, registries: from }, `${registry.host}/${reference}`, AMD64, {
    again,
    signal,
  });
}

async function publish(tag: string, content: string): Promise<MadeImage> {
  const image = await makeImage([await makeLayer({ content })]);
  for (const bytes of image.blobs.values()) {
    registry.addBlob('base', bytes);
  }
  registry.addManifest('base', tag, image.manifestBytes, image.manifestDescriptor.mediaType);
  return image;
}

describe('resolveBaseImage', () => {
  it('asks a registry once, and remembers across restarts; layers are not fetched', async () => {
    const image = await publish('1', 'one');
    const first = await resolve('base:1');
    expect(first.manifestDigest).toBe(image.manifestDescriptor.digest);
    expect(first.config.config?.Env).toEqual(['PATH=/bin']);
    for (const { digest } of image.layers) {
      expect(await temporary.store.blobs.has(digest)).toBe(false);
    }
    registry.requests.length = 0;
    expect(await resolve('base:1')).toEqual(first);
    expect(registry.requests).toEqual([]);
  });

  it('a tag that moved: the store keeps what it was, until it is asked for again', async () => {
    const old = await publish('1', 'one');
    await resolve('base:1');
    const moved = await publish('1', 'two');
    expect((await resolve('base:1')).manifestDigest).toBe(old.manifestDescriptor.digest);
    expect((await resolve('base:1', true)).manifestDigest).toBe(moved.manifestDescriptor.digest);
    expect((await resolve('base:1')).manifestDigest).toBe(moved.manifestDescriptor.digest);
  });

  it('what is named by digest is never asked for again', async () => {
    const { digest } = (await publish('1', 'one')).manifestDescriptor;
    await resolve(`base@${digest}`);
    registry.requests.length = 0;
    expect((await resolve(`base@${digest}`, true)).manifestDigest).toBe(digest);
    expect(registry.requests).toEqual([]);
  });

  it('asks again when a document is no longer in the store', async () => {
    const image = await publish('1', 'one');
    await resolve('base:1');
    for (const { digest } of [image.manifestDescriptor, image.configDescriptor]) {
      await temporary.store.blobs.delete(digest);
      registry.requests.length = 0;
      expect((await resolve('base:1')).manifestDigest).toBe(image.manifestDescriptor.digest);
      expect(registry.requests.length).toBeGreaterThan(0);
      expect(await temporary.store.blobs.has(digest)).toBe(true);
    }
  });

  it('offline: what is known is there, what is not is refused without a request', async () => {
    const image = await publish('1', 'one');
    await publish('2', 'two');
    await resolve('base:1');
    registry.requests.length = 0;
    const offline = registries(true);
    expect((await resolve('base:1', false, offline)).manifestDigest).toBe(image.manifestDescriptor.digest);
    await expect(resolve('base:2', false, offline)).rejects.toMatchObject({ code: 'E_OFFLINE' });
    await expect(resolve('base:1', true, offline)).rejects.toMatchObject({ code: 'E_OFFLINE' });
    expect(registry.requests).toEqual([]);
  });

  it('a failure is not remembered', async () => {
    await expect(resolve('base:1')).rejects.toMatchObject({ code: 'E_REGISTRY_NOT_FOUND' });
    const image = await publish('1', 'one');
    expect((await resolve('base:1')).manifestDigest).toBe(image.manifestDescriptor.digest);
  });
});
