/** Client behaviours against a registry that misbehaves. Numbers are those of the registry document's list of cases. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { BlobStore } from '../../../../src/content/blob-store.ts';
import { buildIndex, describe as descriptorOf } from '../../../../src/image/manifest.ts';
import { isDigest } from '../../../../src/oci/digest.ts';
import { OCI_LAYER_GZIP } from '../../../../src/oci/media-type.ts';
import { parsePlatform } from '../../../../src/oci/platform.ts';
import { parseReference, type Reference } from '../../../../src/oci/reference.ts';
import { AuthFiles } from '../../../../src/transport/registry/auth-files.ts';
import { RegistryClient, type RegistryClientOptions } from '../../../../src/transport/registry/client.ts';
import { type Credentials, fixedCredentials } from '../../../../src/transport/registry/credentials.ts';
import type { PushImage } from '../../../../src/transport/registry/push.ts';
import { type MadeImage, makeImage, makeLayer } from '../../../support/random-image.ts';
import { fail, TestRegistry, type TestRegistryOptions } from '../../../support/registry.ts';

const AMD64 = parsePlatform('linux/amd64');
const USERS = { anna: 'se:cret' };
const ANNA: Credentials = { username: 'anna', password: 'se:cret' };
const LAYER = Buffer.from(Array.from({ length: 200_000 }, (_, index) => (index * 7919 + (index >> 8)) & 255));

let directory: string;
let store: BlobStore;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tsbuild-client-'));
  store = new BlobStore(join(directory, 'store'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function start(options: TestRegistryOptions = {}): Promise<TestRegistry> {
  const registry = await TestRegistry.start(options);
  onTestFinished(() => registry.close());
  return registry;
}

function connect(options: RegistryClientOptions = {}): RegistryClient {
  const client = new RegistryClient({ backoffBaseMs: 2, ...options });
  onTestFinished(() => client.close());
  return client;
}

function toPush(image: MadeImage): PushImage {
  return {
    manifestDescriptor: image.manifestDescriptor,
    manifestBytes: image.manifestBytes,
    blobs: [image.configDescriptor, ...image.layers],
    open: ({ digest }) => image.blobs.get(digest) ?? Buffer.alloc(0),
  };
}

async function seeded(
  registry: TestRegistry,
  repository = 'team/app',
  tag = 'v1',
): Promise<{ image: MadeImage; reference: Reference }> {
  const image = await makeImage([await makeLayer({ 'a.txt': `in ${repository}` })]);
  for (const bytes of image.blobs.values()) {
    registry.addBlob(repository, bytes);
  }
  registry.addManifest(repository, tag, image.manifestBytes, image.manifestDescriptor.mediaType);
  return { image, reference: parseReference(`${registry.host}/${repository}:${tag}`) };
}

function bigBlob(registry: TestRegistry, repository = 'team/app') {
  registry.addBlob(repository, LAYER);
  return {
    descriptor: descriptorOf(LAYER, OCI_LAYER_GZIP),
    reference: parseReference(`${registry.host}/${repository}:v1`),
  };
}

describe('logging in', () => {
  it('1, 7: asks for nothing where nothing is asked for, over plain http on this machine', async () => {
    const registry = await start();
    const { reference } = await seeded(registry);
    await connect({ credentials: fixedCredentials(registry.host, ANNA) }).resolve(reference, AMD64);
    expect(registry.count('GET', /token/)).toBe(0);
    expect(registry.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  it('2: sends Basic after a Basic challenge', async () => {
    const registry = await start({ auth: { kind: 'basic', users: USERS } });
    const { reference } = await seeded(registry);
    await connect({ credentials: fixedCredentials(registry.host, ANNA) }).resolve(reference, AMD64);
    expect(registry.requests.at(-1)?.headers.authorization).toMatch(/^Basic /);
  });

  it('3, 5: prefers Bearer among several challenges', async () => {
    const registry = await start({ auth: { kind: 'bearer', users: USERS } });
    const { reference } = await seeded(registry);
    registry.misbehave('GET', /^\/v2\/$/, (_request, response) => {
      response.setHeader('WWW-Authenticate', [
        'Negotiate abc==, basic Realm="a, b"',
        `BEARER realm="${registry.origin}/token", service="test"`,
      ]);
      fail(response, 401, 'UNAUTHORIZED', 'log in');
    });
    await connect().resolve(reference, AMD64);
    expect(registry.requests.at(-1)?.headers.authorization).toMatch(/^Bearer /);
  });

  it('4, 6: names the schemes that it cannot answer, and does not loop', async () => {
    const registry = await start();
    const { reference } = await seeded(registry);
    registry.misbehave(
      'GET',
      /^\/v2\/$/,
      (_request, response) => {
        response.setHeader('WWW-Authenticate', 'Negotiate, Bearer service="x"');
        fail(response, 401, 'UNAUTHORIZED', 'log in');
      },
      99,
    );
    await expect(connect().resolve(reference, AMD64)).rejects.toMatchObject({
      code: 'E_AUTH',
      message: expect.stringContaining('negotiate, Bearer without a realm'),
    });
    expect(registry.requests).toHaveLength(1);
  });

  it('9: gets a new token once in the middle of a push and sends the whole body again', async () => {
    const registry = await start({ auth: { kind: 'bearer', users: USERS } });
    const image = await makeImage([await makeLayer({ big: LAYER })]);
    let expired = false;
    registry.misbehave(
      'PUT',
      /blobs\/uploads/,
      async (_request, _response, serve) => {
        if (!expired) {
          expired = true;
          registry.expireTokens();
        }
        await serve();
      },
      99,
    );
    await connect({ credentials: fixedCredentials(registry.host, ANNA) }).push(
      toPush(image),
      parseReference(`${registry.host}/team/app:v1`),
    );
    expect(registry.repository('team/app').tags.get('v1')).toBe(image.manifestDescriptor.digest);
    expect(registry.count('GET', /^\/token/)).toBeLessThanOrEqual(3);
  });

  it('10: takes the scope of an insufficient_scope challenge', async () => {
    const registry = await start({ auth: { kind: 'bearer', users: USERS, anonymousPull: false } });
    const { reference } = await seeded(registry);
    registry.misbehave('GET', /manifests/, (_request, response) => {
      response.setHeader(
        'WWW-Authenticate',
        `Bearer realm="${registry.origin}/token",service="test",scope="repository:team/other:pull",error="insufficient_scope"`,
      );
      fail(response, 401, 'DENIED', 'more');
    });
    await connect({ credentials: fixedCredentials(registry.host, ANNA) }).resolve(reference, AMD64);
    const asked = new URL(
      registry.requests.filter(({ url }) => url.startsWith('/token')).at(-1)?.url ?? '',
      registry.origin,
    );
    expect(asked.searchParams.getAll('scope')).toEqual([
      'repository:team/other:pull',
      'repository:team/app:pull',
    ]);
  });

  it('11, 12: changes an identity token by POST, or by GET at old servers', async () => {
    for (const getOnly of [false, true]) {
      const registry = await start({
        auth: {
          kind: 'bearer',
          users: { '<token>': 'refresh-me' },
          identityTokens: ['refresh-me'],
          anonymousPull: false,
          oauthNames: true,
          getOnly,
        },
      });
      const { reference } = await seeded(registry);
      await connect({
        credentials: fixedCredentials(registry.host, { identityToken: 'refresh-me' }),
      }).resolve(reference, AMD64);
      expect(registry.count('POST', /^\/token/)).toBe(1);
      expect(registry.count('GET', /^\/token/)).toBe(getOnly ? 1 : 0);
    }
  });

  it('13: a wrong password is told as such, once, and never shown', async () => {
    const registry = await start({ auth: { kind: 'bearer', users: USERS } });
    const { reference } = await seeded(registry);
    const client = connect({
      credentials: fixedCredentials(registry.host, { username: 'anna', password: 'not-it' }),
    });
    const error = await client.resolve(reference, AMD64).catch((error: Error) => error);
    expect(error).toMatchObject({
      code: 'E_AUTH',
      message: expect.stringContaining('credentials are refused'),
    });
    expect(String(error)).not.toContain('not-it');
    expect(registry.count('GET', /^\/token/)).toBe(1);
  });

  it('16: refuses a token server that redirects to a metadata service', async () => {
    const registry = await start({ auth: { kind: 'bearer', users: USERS } });
    const { reference } = await seeded(registry);
    registry.misbehave(
      'GET',
      /^\/token/,
      (_request, response) => {
        response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data' }).end();
      },
      99,
    );
    await expect(connect().resolve(reference, AMD64)).rejects.toMatchObject({ code: 'E_REFUSED_URL' });
  });

  it('40: the credentials with the longest matching path win', async () => {
    const registry = await start({ auth: { kind: 'basic', users: { team: 'one', host: 'two' } } });
    const auth = (text: string) => ({ auth: Buffer.from(text).toString('base64') });
    await mkdir(join(directory, 'docker'));
    await writeFile(
      join(directory, 'docker/config.json'),
      JSON.stringify({
        auths: { [registry.host]: auth('host:two'), [`${registry.host}/team`]: auth('team:one\0') },
      }),
    );
    const environment = { DOCKER_CONFIG: join(directory, 'docker'), HOME: directory };
    const client = connect({ credentials: new AuthFiles({ environment }) });
    for (const [repository, user] of [
      ['team/x', 'team:one'],
      ['teamwork/x', 'host:two'],
    ] as const) {
      const { reference } = await seeded(registry, repository);
      await client.resolve(reference, AMD64);
      const sent = registry.requests.at(-1)?.headers.authorization?.slice('Basic '.length) ?? '';
      expect(Buffer.from(sent, 'base64').toString()).toBe(user);
    }
  });

  it('41, 42: helpers and files that fail are warnings, "not found" is silence', async () => {
    const bin = join(directory, 'bin');
    await mkdir(bin);
    const script = (name: string, text: string) =>
      writeFile(join(bin, `docker-credential-${name}`), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    await script('good', 'cat >/dev/null; echo \'{"Username":"<token>","Secret":"idtoken"}\'');
    await script('empty', 'echo "credentials not found in native keychain"; exit 1');
    await script('broken', 'echo "cannot talk to the keyring"; exit 2');
    const lookup = async (helper: string) => {
      const warnings: string[] = [];
      await mkdir(join(directory, helper), { recursive: true });
      await writeFile(join(directory, helper, 'config.json'), JSON.stringify({ credsStore: helper }));
      const environment = {
        DOCKER_CONFIG: join(directory, helper),
        HOME: directory,
        PATH: `${bin}:/usr/bin:/bin`,
      };
      const files = new AuthFiles({ environment, onWarning: (text) => warnings.push(text) });
      return { found: await files.lookup('registry.example', 'a/b'), warnings };
    };
    expect(await lookup('good')).toEqual({ found: { identityToken: 'idtoken' }, warnings: [] });
    expect(await lookup('empty')).toEqual({ found: undefined, warnings: [] });
    expect((await lookup('broken')).warnings).toEqual([expect.stringContaining('docker-credential-broken')]);
    expect((await lookup('missing')).warnings).toEqual([
      expect.stringContaining('docker-credential-missing'),
    ]);
    await mkdir(join(directory, 'odd/config.json'), { recursive: true });
    const warnings: string[] = [];
    await new AuthFiles({
      environment: { DOCKER_CONFIG: join(directory, 'odd'), HOME: directory },
      onWarning: (text) => warnings.push(text),
    }).lookup('a.example', 'b');
    expect(warnings).toEqual([expect.stringContaining('it is not a file')]);
  });
});

describe('pulling', () => {
  it('14, 46: sends no Authorization to where a blob is redirected, and no signed URL into an error', async () => {
    const storage = await start();
    const registry = await start({ auth: { kind: 'basic', users: USERS }, redirectBlobsTo: storage.origin });
    const { descriptor, reference } = bigBlob(registry);
    storage.addBlob('team/app', LAYER);
    const client = connect({ credentials: fixedCredentials(registry.host, ANNA) });
    await client.fetchBlob(reference, descriptor, store);
    expect(storage.requests).toHaveLength(1);
    expect(storage.requests[0]?.headers.authorization).toBeUndefined();
    expect(registry.requests.at(-1)?.headers.authorization).toMatch(/^Basic/);

    storage.misbehave(
      'GET',
      /blobs/,
      (_request, response) => fail(response, 403, 'DENIED', 'expired https://x.example/?sig=signed-secret'),
      99,
    );
    const error = await client
      .fetchBlob(reference, descriptor, new BlobStore(join(directory, 'two')))
      .catch((error: Error) => error);
    expect(error).toMatchObject({ code: 'E_AUTH', status: 403 });
    expect(JSON.stringify([String(error), error])).not.toContain('signed-secret');
  });

  it('15: asks a second host that challenges for an anonymous token only', async () => {
    const storage = await start({ auth: { kind: 'bearer', users: USERS } });
    const registry = await start({ auth: { kind: 'basic', users: USERS }, redirectBlobsTo: storage.origin });
    const { descriptor, reference } = bigBlob(registry);
    storage.addBlob('team/app', LAYER);
    await connect({ credentials: fixedCredentials(registry.host, ANNA) }).fetchBlob(
      reference,
      descriptor,
      store,
    );
    const sent = storage.requests.map(({ headers }) => headers.authorization ?? '');
    expect(sent.some((value) => value.startsWith('Basic'))).toBe(false);
    expect(sent.at(-1)).toMatch(/^Bearer /);
  });

  it('48: one transfer at a time still gets its tokens', async () => {
    const registry = await start({ auth: { kind: 'bearer', users: USERS } });
    const blobs = Array.from({ length: 6 }, (_, index) => Buffer.alloc(1000, String(index)));
    const descriptors = blobs.map((bytes) => {
      registry.addBlob('team/app', bytes);
      return descriptorOf(bytes, OCI_LAYER_GZIP);
    });
    await connect({ concurrency: 1 }).fetchBlobs(
      parseReference(`${registry.host}/team/app`),
      descriptors,
      store,
    );
    expect(registry.count('GET', /^\/token/)).toBe(1);
    expect(registry.count('GET', /blobs/)).toBe(6);
  });

  it('29: refuses a manifest of another digest than asked for', async () => {
    const registry = await start();
    const { image } = await seeded(registry);
    const wanted = descriptorOf(Buffer.from('other'), 'x').digest;
    registry
      .repository('team/app')
      .manifests.set(wanted, { bytes: image.manifestBytes, mediaType: image.manifestDescriptor.mediaType });
    await expect(
      connect().resolve(parseReference(`${registry.host}/team/app@${wanted}`), AMD64),
    ).rejects.toMatchObject({ code: 'E_DIGEST_MISMATCH' });
  });

  it('30: lists the platforms that there are', async () => {
    const registry = await start();
    const { image } = await seeded(registry);
    const { indexBytes, indexDescriptor } = buildIndex([
      { ...image.manifestDescriptor, platform: { os: 'linux', architecture: 's390x' } },
      { ...image.manifestDescriptor, platform: { os: 'unknown', architecture: 'unknown' } },
    ]);
    registry.addManifest('team/app', 'multi', indexBytes, indexDescriptor.mediaType);
    await expect(
      connect().resolve(parseReference(`${registry.host}/team/app:multi`), AMD64),
    ).rejects.toMatchObject({
      code: 'E_NO_PLATFORM',
      message: expect.stringMatching(/it has: linux\/s390x$/),
    });
  });

  it('31, 32: turns to GET when a HEAD says too little or is forbidden', async () => {
    const registry = await start();
    const { reference, image } = await seeded(registry);
    registry.misbehave('HEAD', /manifests/, (_request, response) => void response.writeHead(200).end());
    expect(await connect().resolveDigest(reference)).toBe(image.manifestDescriptor.digest);
    registry.misbehave('HEAD', /manifests/, (_request, response) => void response.writeHead(403).end());
    registry.misbehave('GET', /manifests/, (_request, response) =>
      fail(response, 403, 'DENIED', 'your plan does not include this'),
    );
    await expect(connect().resolveDigest(reference)).rejects.toMatchObject({
      code: 'E_AUTH',
      ociCodes: ['DENIED'],
      message: expect.stringContaining('your plan does not include this'),
    });
  });

  it('33: goes on at the byte where a body was cut', async () => {
    const registry = await start();
    const { descriptor, reference } = bigBlob(registry);
    registry.misbehave('GET', /blobs/, (_request, response) => {
      response.writeHead(200, { 'content-length': LAYER.length });
      response.write(LAYER.subarray(0, 70_000), () => response.destroy());
    });
    await connect().fetchBlob(reference, descriptor, store);
    await store.verify(descriptor.digest);
    // A reset may take the last bytes with it, so the exact number is the network's.
    const from = Number(/^bytes=(\d+)-$/.exec(registry.requests.at(-1)?.headers.range ?? '')?.[1]);
    expect(from).toBeGreaterThan(0);
    expect(from).toBeLessThanOrEqual(70_000);
  });

  it('34: throws away what a server without Range sends again', async () => {
    const registry = await start({ ignoreRange: true });
    const { descriptor, reference } = bigBlob(registry);
    const writer = await store.openWrite({ expected: descriptor });
    await writer.write(LAYER.subarray(0, 99_999));
    await writer.abort({ keep: true });
    await connect().fetchBlob(reference, descriptor, store);
    await store.verify(descriptor.digest);
  });

  it('35: refuses a wrong Content-Range', async () => {
    const registry = await start();
    const { descriptor, reference } = bigBlob(registry);
    const writer = await store.openWrite({ expected: descriptor });
    await writer.write(LAYER.subarray(0, 1000));
    await writer.abort({ keep: true });
    registry.misbehave(
      'GET',
      /blobs/,
      (_request, response) => {
        response
          .writeHead(206, { 'content-range': `bytes 0-${LAYER.length - 1}/${LAYER.length}` })
          .end(LAYER);
      },
      99,
    );
    await expect(connect().fetchBlob(reference, descriptor, store)).rejects.toMatchObject({
      code: 'E_REGISTRY',
      status: 206,
    });
    expect(await store.has(descriptor.digest)).toBe(false);
  });

  it('36: refuses a body that a proxy encoded', async () => {
    const registry = await start();
    const { descriptor, reference } = bigBlob(registry);
    registry.misbehave(
      'GET',
      /blobs/,
      (_request, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(LAYER),
    );
    await expect(connect().fetchBlob(reference, descriptor, store)).rejects.toMatchObject({
      code: 'E_REGISTRY',
      message: expect.stringContaining("'gzip'"),
    });
  });

  it('a damaged partial file costs a new download, not a wrong blob', async () => {
    const registry = await start();
    const { descriptor, reference } = bigBlob(registry);
    const writer = await store.openWrite({ expected: descriptor });
    await writer.write(Buffer.alloc(5000, 'wrong'));
    await writer.abort({ keep: true });
    await connect().fetchBlob(reference, descriptor, store);
    await store.verify(descriptor.digest);
  });

  it('37: waits as long as a 429 says, and gives up at some time', async () => {
    const registry = await start();
    const { reference } = await seeded(registry);
    const busy = (seconds: string) => (_request: unknown, response: Parameters<typeof fail>[0]) => {
      response.setHeader('Retry-After', seconds);
      fail(response, 429, 'TOOMANYREQUESTS', 'slow down');
    };
    registry.misbehave('GET', /manifests/, busy('1'));
    const began = performance.now();
    await connect().resolve(reference, AMD64);
    expect(performance.now() - began).toBeGreaterThan(990);
    registry.misbehave('GET', /manifests/, busy('0'), 99);
    await expect(connect({ attempts: 3 }).resolve(reference, AMD64)).rejects.toMatchObject({
      status: 429,
      attempts: 3,
      retryable: true,
    });
  });

  it('38, 39: tries mirrors in order and the registry last', async () => {
    const [down, mirror, digests, origin] = [await start(), await start(), await start(), await start()];
    const { image } = await seeded(mirror, 'cache/team/app');
    await seeded(digests, 'team/app');
    await seeded(origin, 'team/app');
    const downHost = down.host;
    await down.close();
    const mirrors = [
      { host: origin.host, url: `http://${downHost}` },
      { host: origin.host, url: digests.origin, pull: 'digest-only' as const },
      { host: origin.host, url: `${mirror.origin}/cache` },
    ];
    const found = await connect({ mirrors }).resolve(parseReference(`${origin.host}/team/app:v1`), AMD64, {
      store,
    });
    expect(found.manifestDescriptor.digest).toBe(image.manifestDescriptor.digest);
    expect(digests.count('GET', /manifests\/v1/) + digests.count('HEAD', /manifests\/v1/)).toBe(0);
    expect(mirror.requests.at(-1)?.url).toContain(`ns=${encodeURIComponent(origin.host)}`);
    expect(origin.requests).toHaveLength(0);
    expect(isDigest(found.manifestDescriptor.digest)).toBe(true);
  });

  it('45: shows a warning of the server once', async () => {
    const registry = await start();
    const { reference } = await seeded(registry);
    const warnings: string[] = [];
    registry.misbehave(
      'GET',
      /./,
      async (_request, response, serve) => {
        response.setHeader('Warning', '299 - "this registry closes soon"');
        await serve();
      },
      99,
    );
    await connect({ onWarning: (text) => warnings.push(text) }).resolve(reference, AMD64);
    expect(warnings).toEqual([expect.stringContaining('this registry closes soon')]);
  });

  it('47: a cancelled client returns at once and leaves no socket', async () => {
    for (const path of [/^\/v2\/$/, /^\/token/, /blobs/]) {
      const registry = await start({ auth: { kind: 'bearer', users: USERS } });
      const { descriptor, reference } = bigBlob(registry);
      const client = connect();
      const abort = new AbortController();
      const reached = new Promise<void>((resolve) => {
        registry.misbehave('GET', path, (_request, response) => {
          if (path.source === 'blobs') {
            response.writeHead(200, { 'content-length': LAYER.length });
            response.write(LAYER.subarray(0, 1000));
          }
          resolve();
        });
      });
      const fetched = client.fetchBlob(reference, descriptor, store, { signal: abort.signal });
      fetched.catch(() => {});
      await reached;
      const began = performance.now();
      abort.abort(new Error('enough'));
      await expect(fetched).rejects.toThrow('enough');
      expect(performance.now() - began).toBeLessThan(100);
      await client.close();
      await expect.poll(() => registry.openSockets).toBe(0);
    }
  });
});

describe('pushing', () => {
  it('18, 19: follows relative locations with their query, and sends nothing that is there', async () => {
    const registry = await start({ relativeLocations: true });
    const image = await makeImage([await makeLayer({ a: 'a' })]);
    const reference = parseReference(`${registry.host}/team/app:v1`);
    await connect().push(toPush(image), reference);
    const uploads = registry.count('POST', /uploads/);
    await connect().push(toPush(image), parseReference(`${registry.host}/team/app:v2`));
    expect(registry.count('POST', /uploads/)).toBe(uploads);
    expect(registry.repository('team/app').tags.get('v2')).toBe(image.manifestDescriptor.digest);
  });

  it('17: refuses an upload location at a metadata service', async () => {
    const registry = await start();
    const image = await makeImage([await makeLayer({ a: 'a' })]);
    registry.misbehave(
      'POST',
      /uploads/,
      (_request, response) => void response.writeHead(202, { location: 'http://169.254.169.254/up' }).end(),
      99,
    );
    await expect(
      connect().push(toPush(image), parseReference(`${registry.host}/team/app:v1`)),
    ).rejects.toMatchObject({ code: 'E_REFUSED_URL' });
  });

  it('believes what it is told is there, and looks after all when the registry knows better', async () => {
    const registry = await start();
    const image = await makeImage([await makeLayer({ 'a.txt': 'a' }), await makeLayer({ 'b.txt': 'b' })]);
    const [one, two] = image.layers;
    const reference = parseReference(`${registry.host}/team/app:v1`);
    registry.addBlob('team/app', image.blobs.get(one?.digest ?? '') ?? Buffer.alloc(0));
    const present = new Set(image.layers.map(({ digest }) => digest));
    await connect().push(toPush(image), reference, {
      present: new Set(one === undefined ? [] : [one.digest]),
    });
    expect(registry.count('HEAD', new RegExp(`blobs/${one?.digest}`))).toBe(0);
    expect(registry.repository('team/app').tags.has('v1')).toBe(true);
    // The second layer is not there, whatever we were told.
    const other = parseReference(`${registry.host}/team/other:v1`);
    registry.addBlob('team/other', image.blobs.get(one?.digest ?? '') ?? Buffer.alloc(0));
    await connect().push(toPush(image), other, { present });
    expect(registry.repository('team/other').blobs.has(two?.digest ?? '')).toBe(true);
    expect(registry.repository('team/other').tags.has('v1')).toBe(true);
  });

  it('prepares what the registry lacks, and nothing else', async () => {
    const registry = await start();
    const image = await makeImage([await makeLayer({ 'a.txt': 'a' }), await makeLayer({ 'b.txt': 'b' })]);
    const [one, two] = image.layers;
    registry.addBlob('team/app', image.blobs.get(one?.digest ?? '') ?? Buffer.alloc(0));
    const prepared: string[] = [];
    const client = connect({ concurrency: 1 });
    await client.push(
      {
        ...toPush(image),
        prepare: async ({ digest }) => {
          prepared.push(digest);
          // With the same client, of which one transfer is all.
          await client.fetchBlob(
            parseReference(`${registry.host}/team/app:v1`),
            one ?? image.configDescriptor,
            store,
          );
        },
      },
      parseReference(`${registry.host}/team/app:v1`),
    );
    expect(prepared.toSorted()).toEqual([image.configDescriptor.digest, two?.digest ?? ''].toSorted());
  });

  it('20, 23: mounts from the same registry only', async () => {
    const registry = await start();
    const { image } = await seeded(registry, 'base/image');
    await connect().push(toPush(image), parseReference(`${registry.host}/team/app:v1`), {
      mountFromReferences: [
        parseReference('other.example/base/other'),
        parseReference(`${registry.host}/base/image`),
      ],
    });
    expect(registry.count('PUT', /uploads/)).toBe(0);
    expect(registry.count('POST', /base%2Fother/)).toBe(0);
  });

  it('21: goes on in the session of a refused mount', async () => {
    const registry = await start({ refuseMounts: true });
    const { image } = await seeded(registry, 'base/image');
    await connect().push(toPush(image), parseReference(`${registry.host}/team/app:v1`), {
      mountFrom: ['base/image'],
    });
    expect(registry.count('POST', /uploads/)).toBe(2);
    expect(registry.openUploads).toBe(0);
  });

  it.each([401, 403, 405])('22: uploads plainly when a mount is answered with %i', async (status) => {
    const registry = await start();
    const { image } = await seeded(registry, 'base/image');
    registry.misbehave('POST', /mount=/, (_request, response) => fail(response, status, 'DENIED', 'no'), 99);
    await connect().push(toPush(image), parseReference(`${registry.host}/team/app:v1`), {
      mountFrom: ['base/image'],
    });
    expect(registry.repository('team/app').tags.get('v1')).toBe(image.manifestDescriptor.digest);
  });

  it('24: begins a new session with the whole body after a broken connection', async () => {
    const registry = await start();
    const image = await makeImage([await makeLayer({ big: LAYER })]);
    const seen: string[] = [];
    registry.misbehave('PUT', /uploads/, (request) => {
      seen.push(request.url?.split('?')[0] ?? '');
      request.once('data', () => request.socket.destroy());
    });
    await connect().push(toPush(image), parseReference(`${registry.host}/team/app:v1`));
    expect(registry.repository('team/app').tags.get('v1')).toBe(image.manifestDescriptor.digest);
    expect(registry.count('PUT', new RegExp(seen[0] ?? '^$'))).toBe(1);
    expect(registry.openUploads).toBe(0);
  });

  it('26, 27: pushes shared layers once, and the children of nested indexes first', async () => {
    const registry = await start();
    const shared = await makeLayer({ shared: 'layer' });
    const [one, two] = [await makeImage([shared]), await makeImage([shared, await makeLayer({ b: 'b' })])];
    const nest = (children: readonly PushImage[]): PushImage => {
      const { indexBytes, indexDescriptor } = buildIndex(children.map((child) => child.manifestDescriptor));
      return {
        manifestDescriptor: indexDescriptor,
        manifestBytes: indexBytes,
        blobs: [],
        open: () => Buffer.alloc(0),
        children,
      };
    };
    const top = nest([nest([nest([toPush(one), toPush(two)])]), toPush(one)]);
    await connect().push(top, parseReference(`${registry.host}/team/app:v1`));
    expect(registry.count('PUT', /uploads/)).toBe(4);
    expect(registry.repository('team/app').tags.get('v1')).toBe(top.manifestDescriptor.digest);
  });

  it('28: leaves out foreign layers unless asked', async () => {
    const registry = await start();
    const image = await makeImage([await makeLayer({ a: 'a' })]);
    const push = toPush(image);
    const foreign = {
      ...push,
      blobs: push.blobs.map((blob, index) =>
        index === 0
          ? blob
          : { ...blob, mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' },
      ),
    };
    await connect()
      .push(foreign, parseReference(`${registry.host}/team/app:v1`))
      .catch(() => {});
    expect(registry.count('PUT', /uploads/)).toBe(1);
    await connect().push(foreign, parseReference(`${registry.host}/team/app:v1`), { foreignLayers: true });
    expect(registry.count('PUT', /uploads/)).toBe(2);
  });
});
