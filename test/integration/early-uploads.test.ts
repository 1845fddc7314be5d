/** Layers that are sent to a registry while they are written. */
import { randomBytes } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { sha256Hex } from '../../src/base/sha256.ts';
import { EarlyUploads } from '../../src/engine/early-uploads.ts';
import { Registries } from '../../src/engine/registries.ts';
import { sha256Digest } from '../../src/oci/digest.ts';
import { parseReference } from '../../src/oci/reference.ts';
import type { CompressResult } from '../../src/worker/protocol.ts';
import { startDockerRegistry } from '../support/docker-registry.ts';
import { skopeoCopy, skopeoInspect, umociUnpack } from '../support/other-tools.ts';
import { type Serve, TestRegistry } from '../support/registry.ts';
import { lacks } from '../support/requires.ts';
import { temporaryTree } from '../support/temporary-tree.ts';
import { succeed } from '../support/tsbuild.ts';

/** Much longer in the making than it takes to notice. */
const BIG_BYTES = 64 << 20;

/** A context of which the first file changes. */
async function surroundings() {
  const tree = await temporaryTree({});
  const context = join(tree.path, 'context');
  mkdirSync(join(context, 'files'), { recursive: true });
  writeFileSync(join(context, 'Dockerfile'), 'FROM scratch\nCOPY files /srv\n');
  writeFileSync(join(context, 'files/big'), randomBytes(BIG_BYTES));
  writeFileSync(join(context, 'files/a-small'), 'one');
  return {
    path: tree.path,
    change: () => appendFileSync(join(context, 'files/a-small'), ', changed'),
    async push(reference: string, compression = 'zstd') {
      const args = ['build', context, '-o', `type=registry,name=${reference},compression=${compression}`];
      const env = { TSBUILD_HOME: join(tree.path, 'store'), HOME: tree.path };
      return (await succeed(args, { cwd: tree.path, env })).stdout.trim();
    },
    [Symbol.asyncDispose]: () => tree[Symbol.asyncDispose](),
  };
}

const bytesOfBlobs = (registry: TestRegistry) =>
  registry.requests
    .filter(({ url }) => url.includes('/blobs/'))
    .reduce((sum, { bodyBytes }) => sum + bodyBytes, 0);

describe.skipIf(lacks('bwrap'))('a layer that changed', () => {
  test('is sent while it is written, and only then', async () => {
    await using registry = await TestRegistry.start();
    await using self = await surroundings();
    await self.push(`${registry.host}/app:1`);
    // Nobody can tell that a first one is not there.
    expect(registry.count('PATCH', /uploads/)).toBe(0);
    registry.requests.length = 0;
    self.change();
    const digest = await self.push(`${registry.host}/app:1`);
    const chunks = registry.requests.filter(({ method }) => method === 'PATCH');
    expect(chunks).toHaveLength(1);
    expect(chunks[0]?.headers).not.toHaveProperty('content-length');
    expect(chunks[0]?.bodyBytes).toBeGreaterThan(BIG_BYTES);
    expect(bytesOfBlobs(registry)).toBeLessThan(BIG_BYTES * 1.1);
    expect(registry.openUploads).toBe(0);
    expect(registry.repository('app').tags.get('1')).toBe(digest);
  });

  test.each([
    ['the chunk', 'PATCH', undefined],
    ['its digest', 'PUT', '0'],
  ] as const)('is sent by the push if the registry refuses %s', async (_, method, length) => {
    await using registry = await TestRegistry.start();
    await using self = await surroundings();
    await self.push(`${registry.host}/app:1`);
    self.change();
    registry.requests.length = 0;
    let refused = 0;
    const refuse = (request: IncomingMessage, response: ServerResponse, serve: Serve) => {
      // The config is sent in one piece, as ever.
      if (request.headers['content-length'] !== length) {
        return serve();
      }
      refused += 1;
      request.resume().on('end', () => response.writeHead(400).end());
    };
    registry.misbehave(method, /\/blobs\/uploads\//, refuse, 4);
    const digest = await self.push(`${registry.host}/app:1`);
    expect(refused).toBe(1);
    expect(bytesOfBlobs(registry)).toBeGreaterThan(BIG_BYTES);
    expect(registry.openUploads).toBe(0);
    expect(registry.repository('app').tags.get('1')).toBe(digest);
  });

  test.skipIf(lacks('docker-registry', 'skopeo', 'umoci', 'root'))(
    'is whole in a real registry',
    async () => {
      await using registry = await startDockerRegistry();
      await using self = await surroundings();
      const reference = `${registry.host}/team/app:1`;
      await self.push(reference, 'gzip');
      self.change();
      const digest = await self.push(reference, 'gzip');
      expect(skopeoInspect(`docker://${reference}`).Digest).toBe(digest);
      skopeoCopy(`docker://${reference}`, `oci:${join(self.path, 'layout')}:it`);
      const tree = umociUnpack(join(self.path, 'layout'), 'it', join(self.path, 'bundle'));
      for (const name of ['big', 'a-small']) {
        const ours = readFileSync(join(self.path, 'context/files', name));
        expect(sha256Hex(readFileSync(join(tree, 'srv', name)))).toBe(sha256Hex(ours));
      }
    },
  );
});

describe('uploads that begin early', () => {
  /** A blob that is being written, and how that ends. */
  async function upload(registry: TestRegistry) {
    const tree = await temporaryTree({});
    const path = join(tree.path, 'growing');
    const whole = Promise.withResolvers<CompressResult>();
    const registries = new Registries({
      environment: { HOME: tree.path },
      mirrors: [],
      offline: false,
      secretSources: { environment: {}, stored: async () => ({}), dotenv: async () => undefined },
      onWarning: () => undefined,
    });
    const reference = parseReference(`${registry.host}/app:1`);
    const uploads = new EarlyUploads(registries, reference, new AbortController().signal);
    uploads.begin(path, whole.promise);
    const end = async () => {
      await uploads[Symbol.asyncDispose]();
      await registries.close();
      await tree[Symbol.asyncDispose]();
    };
    return { path, whole, uploads, end };
  }
  const begun = async (registry: TestRegistry, count = 1) => {
    while (registry.count('PATCH', /uploads/) < count) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const result = (bytes: Buffer) => ({ digest: sha256Digest(sha256Hex(bytes)) }) as unknown as CompressResult;

  test('hold all bytes, whenever they come', async () => {
    await using registry = await TestRegistry.start();
    const self = await upload(registry);
    const pieces = Array.from({ length: 5 }, () => randomBytes(700_000));
    for (const piece of pieces) {
      appendFileSync(self.path, piece);
      await new Promise((resolve) => setTimeout(resolve, 12));
    }
    const bytes = Buffer.concat(pieces);
    self.whole.resolve(result(bytes));
    await self.whole.promise;
    const { digest } = result(bytes);
    const place = await self.uploads.take(sha256Digest(sha256Hex(bytes)));
    expect(self.uploads.take(sha256Digest(sha256Hex(bytes)))).toBeUndefined();
    const answer = await fetch(`${place}&digest=${digest}`, { method: 'PUT' });
    expect(answer.status).toBe(201);
    await self.end();
    expect(registry.openUploads).toBe(0);
  });

  test.each(['fails', 'goes on', 'is whole'])(
    'are given up when the build ends while the writer %s',
    async (how) => {
      await using registry = await TestRegistry.start();
      const self = await upload(registry);
      const bytes = randomBytes(3 << 20);
      writeFileSync(self.path, bytes);
      await begun(registry);
      if (how === 'fails') {
        self.whole.reject(new Error('no space'));
        rmSync(self.path);
      } else if (how === 'is whole') {
        self.whole.resolve(result(bytes));
      }
      await self.end();
      expect(registry.openUploads).toBe(0);
      expect(registry.blobs.size).toBe(0);
    },
  );

  test('are four at a time', async () => {
    await using registry = await TestRegistry.start();
    const self = await upload(registry);
    const more = Array.from({ length: 5 }, (_, index) => `${self.path}-${index}`);
    for (const path of more) {
      self.uploads.begin(path, self.whole.promise);
    }
    for (const path of [self.path, ...more]) {
      writeFileSync(path, randomBytes(2 << 20));
    }
    await begun(registry, 4);
    self.whole.reject(new Error('cancelled'));
    await self.end();
    expect(registry.count('POST', /uploads/)).toBe(4);
    expect(registry.openUploads).toBe(0);
  });

  test('are none for what is small, or never written', async () => {
    await using registry = await TestRegistry.start();
    for (const bytes of [Buffer.alloc(1000), undefined]) {
      const self = await upload(registry);
      if (bytes === undefined) {
        self.whole.reject(new Error('cancelled'));
      } else {
        writeFileSync(self.path, bytes);
        self.whole.resolve(result(bytes));
      }
      await self.end();
    }
    expect(registry.requests).toEqual([]);
  });
});
