/** What the client must do with any registry that follows the specification: the one of the tests, and a real one. */
import { execFile, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { BlobStore } from '../../src/content/blob-store.ts';
import { buildIndex } from '../../src/image/manifest.ts';
import { validate } from '../../src/image/validate.ts';
import { hostPlatform, parsePlatform } from '../../src/oci/platform.ts';
import { parseReference } from '../../src/oci/reference.ts';
import { RegistryClient } from '../../src/transport/registry/client.ts';
import type { TransferProgress } from '../../src/transport/registry/pull.ts';
import type { PushImage } from '../../src/transport/registry/push.ts';
import { hasDockerRegistry, startDockerRegistry } from '../support/docker-registry.ts';
import { type MadeImage, makeImage, makeLayer } from '../support/random-image.ts';
import { TestRegistry } from '../support/registry.ts';
import { startSlowProxy } from '../support/slow-proxy.ts';

const AMD64 = parsePlatform('linux/amd64');

interface Running extends AsyncDisposable {
  readonly host: string;
}

const implementations: readonly { name: string; available: boolean; start: () => Promise<Running> }[] = [
  { name: 'in-process registry', available: true, start: () => TestRegistry.start() },
  { name: 'docker-registry', available: hasDockerRegistry(), start: startDockerRegistry },
];

function toPush(image: MadeImage): PushImage {
  return {
    manifestDescriptor: image.manifestDescriptor,
    manifestBytes: image.manifestBytes,
    blobs: [image.configDescriptor, ...image.layers],
    open: ({ digest }) => image.blobs.get(digest) ?? Buffer.alloc(0),
  };
}

describe.each(implementations)('$name', ({ available, start }) => {
  let registry: Running;
  let client: RegistryClient;
  let directory: string;
  let store: BlobStore;

  beforeAll(async () => {
    if (available) {
      registry = await start();
    }
  });
  afterAll(() => registry?.[Symbol.asyncDispose]());
  beforeEach(async (context) => {
    context.skip(!available, 'docker-registry is not installed');
    directory = await mkdtemp(join(tmpdir(), 'tsbuild-suite-'));
    store = new BlobStore(join(directory, 'store'));
    client = new RegistryClient({ backoffBaseMs: 5 });
  });
  afterEach(async () => {
    await client?.close();
    if (directory) {
      await rm(directory, { recursive: true, force: true });
    }
  });

  it('gives back what it was given', async () => {
    const image = await makeImage([
      await makeLayer({ 'etc/': '', 'etc/passwd': 'root:x:0:0::/:/bin/sh\n' }, 'gzip'),
      await makeLayer({ 'big.bin': Buffer.alloc(3_000_000, 'abc') }, 'zstd'),
    ]);
    const reference = parseReference(`${registry.host}/team/app:v1`);
    const states = new Map<string, string[]>();
    const pushed = await client.push(toPush(image), reference, {
      onProgress: ({ digest, state }) => states.set(digest, [...(states.get(digest) ?? []), state]),
    });
    expect(pushed.digest).toBe(image.manifestDescriptor.digest);
    for (const descriptor of [image.configDescriptor, ...image.layers]) {
      expect(states.get(descriptor.digest)?.at(0)).toBe('waiting');
      expect(states.get(descriptor.digest)?.at(-1)).toBe('done');
    }

    const resolved = await client.resolve(reference, AMD64, { store });
    expect(resolved.manifestBytes.equals(image.manifestBytes)).toBe(true);
    expect(resolved.config.config?.Cmd).toEqual(['/bin/true']);
    await client.fetchBlobs(reference, resolved.manifest.layers, store);
    for (const { digest } of image.layers) {
      await store.verify(digest);
    }
    await validate({ descriptor: resolved.manifestDescriptor }, store);
    expect(await client.resolveDigest(reference)).toBe(image.manifestDescriptor.digest);
  });

  it('is sent nothing that it has', async () => {
    const shared = await makeLayer({ 'shared.txt': 'once' });
    const image = await makeImage([shared, await makeLayer({ a: 'a' })]);
    const reference = parseReference(`${registry.host}/team/again:v1`);
    await client.push(toPush(image), reference);
    const events: TransferProgress[] = [];
    const opened: string[] = [];
    const watched = (made: MadeImage): PushImage => ({
      ...toPush(made),
      open: ({ digest }) => {
        opened.push(digest);
        return made.blobs.get(digest) ?? Buffer.alloc(0);
      },
    });
    await client.push(watched(image), reference, { onProgress: (event) => events.push(event) });
    expect(opened).toEqual([]);
    expect(events.every(({ state }) => state === 'exists')).toBe(true);

    const other = await makeImage([shared, await makeLayer({ b: 'b' })]);
    await client.push(watched(other), parseReference(`${registry.host}/team/again:v2`));
    expect(opened).not.toContain(shared.descriptor.digest);
    expect(opened).toHaveLength(2);
  });

  it('mounts blobs of another repository', async () => {
    const base = await makeLayer({ 'base.txt': `base of ${directory}` });
    await client.push(toPush(await makeImage([base])), parseReference(`${registry.host}/mount/base:v1`));
    const image = await makeImage([base, await makeLayer({ top: 'top' })]);
    const states = new Map<string, string>();
    await client.push(toPush(image), parseReference(`${registry.host}/mount/app:v1`), {
      mountFromReferences: [
        parseReference(`${registry.host}/mount/base`),
        parseReference('elsewhere.example/mount/base'),
      ],
      onProgress: ({ digest, state }) => states.set(digest, state),
    });
    expect(states.get(base.descriptor.digest)).toBe('mounted');
    expect(states.get(image.configDescriptor.digest)).toBe('done');
  });

  it('takes an index and gives the wanted platform of it', async () => {
    const shared = await makeLayer({ noarch: 'same everywhere' });
    const amd = await makeImage([shared]);
    const arm = await makeImage([shared, await makeLayer({ arm: 'arm' })], parsePlatform('linux/arm64'));
    const { indexBytes, indexDescriptor } = buildIndex([
      { ...amd.manifestDescriptor, platform: AMD64 },
      { ...arm.manifestDescriptor, platform: parsePlatform('linux/arm64') },
    ]);
    const reference = parseReference(`${registry.host}/team/multi:v1`);
    await client.push(
      {
        manifestDescriptor: indexDescriptor,
        manifestBytes: indexBytes,
        blobs: [],
        open: () => Buffer.alloc(0),
        children: [toPush(amd), toPush(arm)],
      },
      reference,
    );
    const resolved = await client.resolve(reference, parsePlatform('linux/arm64/v8'));
    expect(resolved.manifestDescriptor.digest).toBe(arm.manifestDescriptor.digest);
    expect(resolved.indexDigest).toBe(indexDescriptor.digest);
    await expect(client.resolve(reference, parsePlatform('linux/riscv64'))).rejects.toMatchObject({
      code: 'E_NO_PLATFORM',
      message: expect.stringContaining('linux/amd64, linux/arm64'),
    });
  });

  it('goes on with a partial download', async () => {
    const layer = await makeLayer(
      { 'noise.bin': Buffer.from(Array.from({ length: 400_000 }, (_, i) => (i * 7919) & 255)) },
      'none',
    );
    const reference = parseReference(`${registry.host}/team/partial:v1`);
    await client.push(toPush(await makeImage([layer])), reference);
    const writer = await store.openWrite({ expected: layer.descriptor });
    await writer.write(layer.bytes.subarray(0, 123_456));
    await writer.abort({ keep: true });
    const events: TransferProgress[] = [];
    await client.fetchBlob(reference, layer.descriptor, store, { onProgress: (event) => events.push(event) });
    expect(events.find(({ state }) => state === 'transfer')?.doneBytes).toBe(123_456);
    await store.verify(layer.descriptor.digest);
  });

  it('is read over several connections where each of them is slow', async () => {
    const pieceBytes = 64 * 1024;
    const layer = await makeLayer({ 'noise.bin': randomBytes(2_000_000) }, 'none');
    const repository = 'team/slow';
    await client.push(toPush(await makeImage([layer])), parseReference(`${registry.host}/${repository}:v1`));
    await using proxy = await startSlowProxy(registry.host, { bytesPerSecond: 4e6, roundTripMs: 2 });
    const slow = new RegistryClient({
      backoffBaseMs: 5,
      // What another connection brings here depends on what else this machine does.
      ranges: { pieceBytes, leastGain: Number.NEGATIVE_INFINITY },
    });
    onTestFinished(() => slow.close());
    const done: number[] = [];
    await slow.fetchBlob(parseReference(`${proxy.host}/${repository}:v1`), layer.descriptor, store, {
      onProgress: ({ doneBytes }) => done.push(doneBytes),
    });
    await store.verify(layer.descriptor.digest);
    expect(done).toEqual(done.toSorted((a, b) => a - b));
    expect(proxy.mostAtOnce).toBeGreaterThan(2);
    const ranges = proxy.ranges
      .map((range) => range.split('-').map(Number) as [number, number])
      .toSorted(([a], [b]) => a - b);
    expect(ranges.length).toBeGreaterThan(15);
    for (const [index, [, last]] of ranges.entries()) {
      expect(last + 1).toBe(ranges[index + 1]?.[0] ?? layer.descriptor.size);
    }
  });

  it('says what it lacks', async () => {
    await expect(
      client.resolve(parseReference(`${registry.host}/team/none:v1`), hostPlatform()),
    ).rejects.toMatchObject({
      code: 'E_REGISTRY_NOT_FOUND',
      status: 404,
    });
  });

  it('has images that skopeo copies and umoci unpacks', async (context) => {
    context.skip(spawnSync('skopeo', ['--version']).status !== 0, 'skopeo is not installed');
    context.skip(spawnSync('umoci', ['--version']).status !== 0, 'umoci is not installed');
    const image = await makeImage([
      await makeLayer({ 'etc/': '', 'etc/hello': 'from the first layer' }, 'gzip'),
      await makeLayer({ 'etc/hello': 'from the second layer', 'etc/.wh.gone': '' }, 'gzip'),
    ]);
    await client.push(toPush(image), parseReference(`${registry.host}/team/tools:v1`));
    const layout = join(directory, 'layout');
    await run('skopeo', [
      'copy',
      '--src-tls-verify=false',
      `docker://${registry.host}/team/tools:v1`,
      `oci:${layout}:v1`,
    ]);
    await run('umoci', ['unpack', '--rootless', '--image', `${layout}:v1`, join(directory, 'bundle')]);
    expect(await readFile(join(directory, 'bundle/rootfs/etc/hello'), 'utf8')).toBe('from the second layer');
    const index = JSON.parse(await readFile(join(layout, 'index.json'), 'utf8'));
    expect(index.manifests[0].digest).toBe(image.manifestDescriptor.digest);
  });
});

/** Not `spawnSync`: the registry answers from this process. */
async function run(program: string, args: readonly string[]): Promise<void> {
  await promisify(execFile)(program, [...args], { timeout: 20_000 });
}
