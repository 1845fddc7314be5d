/** What one machine built, another does not build again: caches through registries, directories and images. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CACHE_CONFIG } from '../../src/cache/portable-cache.ts';
import { Engine, type EngineBuildOptions } from '../../src/engine.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import { parseIndex, parseManifest } from '../../src/oci/manifest.ts';
import { Secret } from '../../src/secret/secret.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { busyboxImage, busyboxPath } from '../support/busybox.ts';
import { startDockerRegistry } from '../support/docker-registry.ts';
import { TestRegistry } from '../support/registry.ts';
import { lacks } from '../support/requires.ts';

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'docker-registry'))('a cache from elsewhere', () => {
  let directory: string;
  const at = (...parts: string[]) => join(directory, ...parts);

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-cache-transfer-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  /** Builds on a machine of its own name and tells what happened. */
  async function build(machine: string, image: Image, options: EngineBuildOptions = {}) {
    const events: BuildEvent[] = [];
    await using engine = await Engine.open({
      storeDir: at(machine),
      env: { PATH: process.env.PATH, HOME: at('home') },
      onEvent: (event) => events.push(event),
    });
    const [built] = await engine.build([image], { definitions: [at(machine, 'image.ts')], ...options });
    const ran = new Set(events.flatMap((event) => (event.kind === 'vertex-started' ? [event.vertex] : [])))
      .size;
    const warnings = events.flatMap((event) => (event.kind === 'warning' ? [event.message] : []));
    return { digest: built?.digest, id: built?.id, ran, warnings, events };
  }

  const three = (last = 'three') =>
    busyboxImage()
      .runCommands('echo one > /one')
      .runCommands('echo two > /two')
      .runCommands(`cat /one /two > /all; echo ${last} >> /all`)
      .cmd(['/bin/sh', '-c', 'cat /all']);

  const output = async (machine: string, image: Image) => {
    await using engine = await Engine.open({
      storeDir: at(machine),
      env: { PATH: process.env.PATH, HOME: at('home') },
    });
    return (await engine.run(image, undefined, {})).stdout;
  };

  test('by a registry: no step runs, and the image is the same to the byte', async () => {
    await using registry = await startDockerRegistry();
    const ref = `${registry.host}/team/cache:main`;
    const first = await build('a', three(), { cacheTo: [{ type: 'registry', ref }] });
    expect(first.ran).toBeGreaterThan(3);
    const second = await build('b', three(), { cacheFrom: [{ type: 'registry', ref }] });
    expect(second).toMatchObject({ ran: 0, warnings: [], digest: first.digest, id: first.id });
    expect(blobsOf('b').length).toBeLessThan(blobsOf('a').length);
    expect(await output('b', three())).toBe('one\ntwo\nthree\n');
  });

  test('what is there is neither asked for twice nor sent again, and what is not needed is not fetched', async () => {
    await using registry = await TestRegistry.start();
    const ref = `${registry.host}/team/cache:main`;
    await build('a', three(), { cacheTo: [{ type: 'registry', ref, mode: 'max' }] });
    const pushed = registry.count('PUT', /uploads/);
    registry.requests.length = 0;
    // Nothing new on the same machine: the tag is looked at.
    await build('a', three(), { cacheTo: [{ type: 'registry', ref, mode: 'max' }] });
    expect(registry.requests.map(({ method, url }) => [method, url])).toEqual([
      ['GET', '/v2/'],
      ['HEAD', '/v2/team/cache/manifests/main'],
    ]);
    registry.requests.length = 0;
    // Elsewhere: manifest and config, no layer; and the export finds everything there.
    const second = await build('b', three(), {
      cacheFrom: [{ type: 'registry', ref }],
      cacheTo: [{ type: 'registry', ref, mode: 'max' }],
    });
    expect(second).toMatchObject({ ran: 0, warnings: [] });
    expect(registry.requests.map(({ method }) => method)).toEqual(['GET', 'HEAD', 'GET', 'GET', 'HEAD']);
    registry.requests.length = 0;
    // A new last step needs what it stands on, and its layer alone is sent.
    const changed = await build('c', three('four'), {
      cacheFrom: [{ type: 'registry', ref }],
      cacheTo: [{ type: 'registry', ref, mode: 'max' }],
    });
    expect(changed).toMatchObject({ ran: 1, warnings: [] });
    expect(registry.count('GET', /\/blobs\//)).toBe(pushed - 1);
    expect(registry.count('HEAD', /\/blobs\//)).toBe(2);
    expect(registry.count('PUT', /uploads/)).toBe(2);
    expect(await output('c', three('four'))).toBe('one\ntwo\nfour\n');
  });

  test('a cache in another repository is mounted there, not downloaded', async () => {
    await using registry = await TestRegistry.start();
    const [from, to] = [`${registry.host}/one/cache:1`, `${registry.host}/two/cache:1`];
    await build('a', three(), { cacheTo: [{ type: 'registry', ref: from }] });
    registry.requests.length = 0;
    const second = await build('b', three(), {
      cacheFrom: [{ type: 'registry', ref: from }],
      cacheTo: [{ type: 'registry', ref: to }],
      outputs: [{ type: 'registry', name: `${registry.host}/two/image:1` }],
    });
    expect(second).toMatchObject({ ran: 0, warnings: [] });
    expect(registry.count('POST', /mount=/)).toBeGreaterThan(0);
    // The config of the cache.
    expect(registry.count('GET', /\/blobs\//)).toBe(1);
    const third = await build('c', three(), { cacheFrom: [{ type: 'registry', ref: to }] });
    expect(third).toMatchObject({ ran: 0, digest: second.digest });
  });

  test('what a registry does not have is fetched while it is pushed, however many at once', async () => {
    await using one = await TestRegistry.start();
    await using other = await TestRegistry.start();
    const many = Array.from({ length: 8 }).reduce<Image>(
      (image, _, index) => image.runCommands(`echo ${index} > /file-${index}`),
      busyboxImage(),
    );
    const ref = `${one.host}/cache:1`;
    await build('a', many, { cacheTo: [{ type: 'registry', ref }] });
    await build('b', many, {
      cacheFrom: [{ type: 'registry', ref }],
      cacheTo: [{ type: 'registry', ref: `${other.host}/cache:1` }],
    });
    const third = await build('c', many, { cacheFrom: [{ type: 'registry', ref: `${other.host}/cache:1` }] });
    expect(third).toMatchObject({ ran: 0, warnings: [] });
  });

  test('in a directory: blobs are shared with it, and what did not change is left alone', async () => {
    const dest = at('cache');
    await build('a', three(), { cacheTo: [{ type: 'local', dest }] });
    const state = () =>
      readdirSync(dest, { recursive: true, encoding: 'utf8' })
        .toSorted()
        .map((name) => [name, statSync(join(dest, name)).ino, statSync(join(dest, name)).mtimeMs]);
    const before = state();
    const [entry] = parseIndex(readFileSync(join(dest, 'index.json'))).manifests;
    const blob = (digest = '') => join(dest, 'blobs/sha256', digest.slice('sha256:'.length));
    const manifest = parseManifest(readFileSync(blob(entry?.digest)));
    expect(manifest.config.mediaType).toBe(CACHE_CONFIG);
    await build('a', three(), { cacheTo: [{ type: 'local', dest }] });
    expect(state()).toEqual(before);
    const second = await build('b', three(), {
      cacheFrom: [{ type: 'local', src: dest }],
      cacheTo: [{ type: 'local', dest }],
    });
    expect(second).toMatchObject({ ran: 0, warnings: [] });
    expect(state()).toEqual(before);
    expect(await output('b', three())).toBe('one\ntwo\nthree\n');
    // Other tags beside it.
    await build('a', three('four'), { cacheTo: [{ type: 'local', dest, tag: 'next' }] });
    const next = await build('c', three('four'), { cacheFrom: [{ type: 'local', src: dest, tag: 'next' }] });
    expect(next).toMatchObject({ ran: 0, warnings: [] });
    const old = await build('d', three('four'), {
      cacheFrom: [{ type: 'local', src: dest, ...(entry === undefined ? {} : { digest: entry.digest }) }],
    });
    expect(old).toMatchObject({ ran: 1, warnings: [] });
  });

  test('in the image: the image brings the layers', async () => {
    await using registry = await startDockerRegistry();
    const name = `${registry.host}/team/app:1`;
    const first = await build('a', three(), {
      tags: [name],
      outputs: [{ type: 'registry' }],
      cacheTo: [{ type: 'inline' }],
    });
    const second = await build('b', three(), {
      cacheFrom: [{ type: 'registry', ref: name }],
      cacheTo: [{ type: 'inline' }],
    });
    expect(second).toMatchObject({ ran: 0, warnings: [], digest: first.digest });
    const changed = await build('c', three('four'), { cacheFrom: [{ type: 'registry', ref: name }] });
    expect(changed).toMatchObject({ ran: 1, warnings: [] });
    expect(await output('c', three('four'))).toBe('one\ntwo\nfour\n');
    // An image without records.
    await build('a', three('plain'), { tags: [`${registry.host}/plain:1`], outputs: [{ type: 'registry' }] });
    const plain = await build('d', three(), {
      cacheFrom: [{ type: 'registry', ref: `${registry.host}/plain:1` }],
    });
    expect(plain.warnings).toEqual([expect.stringContaining('carries no cache')]);
  });

  test('forced results serve like others', async () => {
    const dest = at('cache');
    await build('a', three(), { forceBuild: true, cacheTo: [{ type: 'local', dest }] });
    await build('a', three(), { cacheTo: [{ type: 'local', dest }] });
    const second = await build('b', three(), { cacheFrom: [{ type: 'local', src: dest }] });
    expect(second).toMatchObject({ ran: 0, warnings: [] });
  });

  test('a step that changed says what changed since the other machine', async () => {
    const dest = at('cache');
    await build('a', three(), { cacheTo: [{ type: 'local', dest }] });
    const second = await build('b', three('four'), { cacheFrom: [{ type: 'local', src: dest }] });
    const miss = second.events.flatMap((event) =>
      event.kind === 'vertex-finished' && event.miss !== undefined ? [event.miss] : [],
    );
    expect(miss).toEqual([
      {
        reason: 'changed',
        differences: [expect.objectContaining({ after: expect.stringContaining('four') })],
      },
    ]);
    expect(texts(dest)).not.toContain(at('a'));
    // Of local files too.
    const input = at('input');
    const withFile = (text: string) => {
      writeFileSync(input, text);
      return three().addLocalFile(input, '/input', { copy: true });
    };
    await build('a', withFile('old'), { cacheTo: [{ type: 'local', dest }] });
    const third = await build('c', withFile('new'), { cacheFrom: [{ type: 'local', src: dest }] });
    expect(JSON.stringify(third.events)).toContain('"field":"files /input"');
  });

  test('a layer that is gone when a step needs it: the step that made it runs, the others do not', async () => {
    const dest = at('cache');
    await build('a', three(), { cacheTo: [{ type: 'local', dest }] });
    rmSync(layerPath(dest, 2));
    const second = await build('b', three('four'), { cacheFrom: [{ type: 'local', src: dest }] });
    expect(second.warnings).toEqual([expect.stringMatching(/can no longer be fetched.*runs again/)]);
    // The second step, and the third, which is new.
    expect(second.ran).toBe(2);
    expect(await output('b', three('four'))).toBe('one\ntwo\nfour\n');
  });

  test('a layer that is gone when an output needs it', async () => {
    await using registry = await TestRegistry.start();
    const ref = `${registry.host}/cache:1`;
    await build('a', three(), { cacheTo: [{ type: 'registry', ref }] });
    const lost = registry.repository('cache');
    for (const { digest } of layersIn(registry)) {
      lost.blobs.delete(digest);
      registry.blobs.delete(digest);
    }
    const second = await build('b', three(), {
      cacheFrom: [{ type: 'registry', ref }],
      cacheTo: [{ type: 'registry', ref: `${registry.host}/next:1` }],
      outputs: [{ type: 'oci', dest: at('out.tar') }],
    });
    expect(second.warnings.length).toBeGreaterThan(0);
    expect(existsSync(at('out.tar'))).toBe(true);
    expect(await output('b', three())).toBe('one\ntwo\nthree\n');
    const third = await build('c', three(), {
      cacheFrom: [{ type: 'registry', ref: `${registry.host}/next:1` }],
    });
    expect(third).toMatchObject({ ran: 0, warnings: [], digest: second.digest });
  });

  test('a layer whose bytes are others is not used', async () => {
    const dest = at('cache');
    await build('a', three(), { cacheTo: [{ type: 'local', dest }] });
    const path = layerPath(dest, 0);
    const bytes = readFileSync(path);
    rmSync(path);
    writeFileSync(path, bytes.fill(7, 100, 200));
    const second = await build('b', three('four'), { cacheFrom: [{ type: 'local', src: dest }] });
    expect(second.warnings).toEqual([expect.stringContaining('can no longer be fetched')]);
    expect(await output('b', three('four'))).toBe('one\ntwo\nfour\n');
  });

  test('a cache that cannot be read is a warning; nothing of a malformed one is taken', async () => {
    await using registry = await TestRegistry.start();
    const dest = at('cache');
    await build('a', three(), { cacheTo: [{ type: 'local', dest }] });
    const [entry] = parseIndex(readFileSync(join(dest, 'index.json'))).manifests;
    const read = (digest = '') => readFileSync(join(dest, 'blobs/sha256', digest.slice('sha256:'.length)));
    const manifest = parseManifest(read(entry?.digest));
    const config = JSON.parse(read(manifest.config.digest).toString()) as { records: object[] };
    const spoilt = Buffer.from(JSON.stringify({ ...config, records: [...config.records, { inputs: 1 }] }));
    for (const { digest } of manifest.layers) {
      registry.addBlob('spoilt', read(digest));
    }
    const { digest, size } = registry.addBlob('spoilt', spoilt);
    registry.addManifest(
      'spoilt',
      'latest',
      Buffer.from(JSON.stringify({ ...manifest, config: { ...manifest.config, digest, size } })),
      manifest.mediaType,
    );
    const second = await build('b', three(), {
      cacheFrom: [
        { type: 'registry', ref: `${registry.host}/nobody/knows:1` },
        { type: 'registry', ref: '127.0.0.1:9/refuses:1' },
        { type: 'local', src: at('nowhere') },
        { type: 'local', src: dest, tag: 'other' },
        { type: 'registry', ref: `${registry.host}/spoilt` },
      ],
    });
    expect(second.ran).toBeGreaterThan(3);
    expect(second.warnings).toEqual([
      expect.stringContaining('nobody/knows'),
      expect.stringContaining('127.0.0.1:9'),
      expect.stringContaining('nowhere'),
      expect.stringContaining('has no image other'),
      expect.stringContaining('malformed cache: records['),
    ]);
  });

  test('a cache that cannot be written fails the build, unless its errors are to be ignored', async () => {
    const target = { type: 'registry', ref: '127.0.0.1:9/refuses:1' } as const;
    await expect(build('a', three(), { cacheTo: [target] })).rejects.toMatchObject({ code: 'E_NETWORK' });
    const second = await build('a', three(), { cacheTo: [{ ...target, ignoreError: true }] });
    expect(second.warnings).toEqual([expect.stringContaining('cannot write the cache')]);
  });

  test('records that are here stay', async () => {
    const dest = at('cache');
    await build('a', three(), { cacheTo: [{ type: 'local', dest }] });
    const own = await build('b', three());
    const again = await build('b', three(), { cacheFrom: [{ type: 'local', src: dest }] });
    expect(again).toMatchObject({ ran: 0, digest: own.digest });
    rmSync(dest, { recursive: true });
    expect(await output('b', three())).toBe('one\ntwo\nthree\n');
  });

  test('a Dockerfile of two stages', async () => {
    await using registry = await TestRegistry.start();
    const context = at('context');
    mkdirSync(context);
    copyFileSync(busyboxPath(), join(context, 'sh'));
    writeFileSync(join(context, 'source'), 'source');
    const dockerfile = (last: string) => {
      const lines = [
        'FROM scratch AS shell',
        'COPY sh /bin/sh',
        'ENV PATH=/bin',
        'FROM shell AS make',
        'RUN echo tools > /tools',
        'COPY source /source',
        'RUN cat /tools /source > /made',
        'FROM shell',
        'COPY --link --from=make /made /made',
        `RUN echo ${last} > /last`,
        'CMD ["/bin/sh", "-c", "cat /made /last"]',
      ];
      writeFileSync(join(context, 'Dockerfile'), lines.join('\n'));
      return Image.fromDockerfile(join(context, 'Dockerfile'), { contextDir: context });
    };
    const refOf = (mode: 'min' | 'max') =>
      ({ type: 'registry', ref: `${registry.host}/${mode}:1`, mode }) as const;
    const first = await build('a', dockerfile('one'), {
      cacheTo: [refOf('min'), refOf('max'), { type: 'inline' }],
    });
    expect(first.ran).toBeGreaterThan(6);
    for (const mode of ['min', 'max'] as const) {
      const cacheFrom = [refOf(mode)];
      const second = await build(`full-${mode}`, dockerfile('one'), {
        cacheFrom,
        cacheTo: [{ type: 'inline' }],
      });
      expect(second).toMatchObject({ ran: 0, warnings: [], digest: first.digest });
      registry.requests.length = 0;
      const changed = await build(`changed-${mode}`, dockerfile('two'), { cacheFrom });
      expect(changed).toMatchObject({ ran: 1, warnings: [] });
      // The shell and what was copied, and the cache's config; nothing of the stage.
      expect(registry.count('GET', /\/blobs\//)).toBe(3);
      expect(await output(`changed-${mode}`, dockerfile('two'))).toBe('tools\nsourcetwo\n');
    }
    // The stage's own steps are known with max alone.
    writeFileSync(join(context, 'source'), 'changed');
    const known = await build('b', dockerfile('one'), { cacheFrom: [refOf('max')] });
    const unknown = await build('c', dockerfile('one'), { cacheFrom: [refOf('min')] });
    expect(unknown.ran).toBe(known.ran + 1);
    expect(await output('b', dockerfile('one'))).toBe('tools\nchangedone\n');
  });

  test('the value of a secret is in no cache', async () => {
    await using registry = await TestRegistry.start();
    const value = 'correct-horse-battery-9f31';
    const image = busyboxImage().runCommands('echo "$TOKEN" | wc -c > /length; echo "$TOKEN"', {
      secrets: [Secret.fromDict({ TOKEN: value })],
    });
    await build('a', image, {
      cacheTo: [
        {
          type: 'local',
          dest: at('cache'),
          mode: 'max',
          compression: 'uncompressed',
          forceCompression: true,
        },
        { type: 'registry', ref: `${registry.host}/cache:1`, mode: 'max' },
        { type: 'inline' },
      ],
      tags: [`${registry.host}/image:1`],
      outputs: [{ type: 'registry' }],
    });
    const all = [
      texts(at('cache')),
      ...[...registry.blobs.values()].map((bytes) => bytes.toString('latin1')),
      ...[...registry.repositories.values()].flatMap(({ manifests }) =>
        [...manifests.values()].map(({ bytes }) => bytes.toString('latin1')),
      ),
    ].join('\n');
    expect(all).toContain('TOKEN');
    for (const form of [value, Buffer.from(value).toString('base64'), Buffer.from(value).toString('hex')]) {
      expect(all).not.toContain(form);
    }
    const second = await build('b', image, { cacheFrom: [{ type: 'local', src: at('cache') }] });
    expect(second).toMatchObject({ ran: 0, warnings: [] });
  });

  const blobsOf = (machine: string) => readdirSync(at(machine, 'blobs/sha256'));
});

/** All files below a directory, one after the other. */
function texts(directory: string): string {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
    .join('\n');
}

/** The path of a layer of a cache; 0 is the lowest. */
function layerPath(layout: string, index: number): string {
  const [entry] = parseIndex(readFileSync(join(layout, 'index.json'))).manifests;
  const path = (digest = '') => join(layout, 'blobs/sha256', digest.slice('sha256:'.length));
  const { layers } = parseManifest(readFileSync(path(entry?.digest)));
  return path(layers[index]?.digest);
}

function layersIn(registry: TestRegistry): readonly { readonly digest: string }[] {
  return [...registry.repository('cache').manifests.values()].flatMap(
    ({ bytes }) => parseManifest(bytes).layers,
  );
}
