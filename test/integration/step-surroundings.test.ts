/** What steps and containers find in their environment, and what stays of it: nothing (Image API, A5.2 and B11). */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { busyboxImage } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';
import { startWebServer } from '../support/web-server.ts';

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('the environment of steps and containers', () => {
  let dir: string;
  let events: BuildEvent[];

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-env-'));
    events = [];
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const open = (env: NodeJS.ProcessEnv = {}) =>
    Engine.open({
      storeDir: join(dir, 'store'),
      env: { PATH: process.env.PATH, HOME: dir, ...env },
      onEvent: (event) => events.push(event),
    });
  /** Variables that a `env` said. */
  const variables = (lines: readonly string[]) =>
    Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
  const logged = () => variables(events.flatMap((event) => (event.kind === 'log' ? [event.text] : [])));
  const MIRRORS = {
    TSBUILD_PIP_INDEX_URL: 'https://mirror.invalid/pip',
    TSBUILD_NPM_REGISTRY: 'https://mirror.invalid/npm',
  };

  test('a step knows that it builds, and has caches and mirrors of package managers', async () => {
    await using engine = await open(MIRRORS);
    const image = busyboxImage().runCommands('env');
    const [built] = await engine.build([image]);
    expect(logged()).toMatchObject({
      TSBUILD_IS_CONTAINER: '1',
      TSBUILD_IS_BUILD: '1',
      PIP_DISABLE_PIP_VERSION_CHECK: '1',
      PIP_ROOT_USER_ACTION: 'ignore',
      PIP_CACHE_DIR: expect.stringMatching(/^\/run\/tsbuild\/cache\//),
      UV_LINK_MODE: 'copy',
      UV_CACHE_DIR: expect.stringMatching(/^\/run\/tsbuild\/cache\//),
      npm_config_cache: expect.stringMatching(/^\/run\/tsbuild\/cache\//),
      PIP_INDEX_URL: MIRRORS.TSBUILD_PIP_INDEX_URL,
      UV_DEFAULT_INDEX: MIRRORS.TSBUILD_PIP_INDEX_URL,
      npm_config_registry: MIRRORS.TSBUILD_NPM_REGISTRY,
      HOME: '/root',
    });
    // A step is shared by all images that begin like this one: it cannot know which of them it is for.
    expect(Object.keys(logged())).not.toContain('TSBUILD_IMAGE_ID');
    expect(Object.keys(logged())).not.toContain('TSBUILD_IMAGE_RECIPE');
    expect(built?.config.config).toEqual({ Env: ['PATH=/bin'] });
    expect(built?.config.history?.at(-1)).toMatchObject({ created_by: 'RUN env' });
    expect(await engine.exists(image, '/run/tsbuild')).toBe(false);
  });

  test('none of it is in a key', async () => {
    const image = busyboxImage().runCommands('env > /env');
    const ids: (string | undefined)[] = [];
    for (const env of [{}, MIRRORS, { https_proxy: 'http://proxy.invalid:1' }]) {
      await using engine = await open(env);
      ids.push((await engine.build([image]))[0]?.id);
    }
    expect(new Set(ids).size).toBe(1);
    expect(
      events.filter((event) => event.kind === 'vertex-finished' && event.outcome === 'done'),
    ).toHaveLength(4);
  });

  test("apt of a step is sent to the mirror for Debian's archive, and to nowhere else", async () => {
    await using server = await startWebServer();
    server.handle((request, response) => {
      const known = request.url === '/mirror/debian/dists/x?y=1';
      response
        .writeHead(known ? 200 : 404, { 'content-type': 'text/plain' })
        .end(known ? 'from the mirror' : '');
    });
    await using engine = await open({ TSBUILD_APT_MIRROR: `${server.origin}/mirror/debian/` });
    const proxy = 'export http_proxy=$(sed -n \'s/.*Proxy::deb.debian.org "\\(.*\\)";/\\1/p\' $APT_CONFIG);';
    const get = (url: string) => `wget -qO- ${url} 2>&1 || true`;
    const image = busyboxImage().runCommands(
      [
        proxy,
        get('"http://deb.debian.org/debian/dists/x?y=1"'),
        '; echo',
        `; ${get('http://deb.debian.org/debian/missing')}`,
        `; ${get(`${server.origin}/elsewhere`)}`,
      ].join(' '),
    );
    const [built] = await engine.build([image]);
    const said = events.flatMap((event) => (event.kind === 'log' ? [event.text] : []));
    expect(said).toEqual(['from the mirror', expect.stringContaining('404'), expect.stringContaining('403')]);
    expect(server.requests.map(({ url }) => url)).toEqual([
      '/mirror/debian/dists/x?y=1',
      '/mirror/debian/missing',
    ]);
    await using plain = await open();
    const [same] = await plain.build([image]);
    expect([same?.id, same?.layers.at(-1)?.cached]).toEqual([built?.id, true]);
  });

  test('what the image or the step says of a variable stands', async () => {
    await using engine = await open(MIRRORS);
    await engine.build([
      busyboxImage()
        .env({ PIP_INDEX_URL: 'mine' })
        .runCommands('env', { env: { UV_LINK_MODE: 'hardlink' } }),
    ]);
    expect(logged()).toMatchObject({ PIP_INDEX_URL: 'mine', UV_LINK_MODE: 'hardlink' });
  });

  test('a container knows which image it is of, and nothing of it is exported (C159)', async () => {
    await using engine = await open();
    const image = busyboxImage().cmd(['/bin/sh', '-c', 'env']);
    const [built] = await engine.build([image], { tags: ['web:1'] });
    for (const what of [image, 'web:1']) {
      const { stdout } = await engine.run(what, undefined);
      const seen = variables(String(stdout).trim().split('\n'));
      expect(seen).toMatchObject({
        TSBUILD_IS_CONTAINER: '1',
        TSBUILD_IMAGE_ID: built?.id,
        TSBUILD_IMAGE_RECIPE: image.recipeHash,
      });
      expect(Object.keys(seen)).not.toContain('TSBUILD_IS_BUILD');
    }
    const output = join(dir, 'layout');
    await engine.exportTo(image, output, { format: 'oci-layout', tag: 'v1' });
    const config = (await engine.build([Image.fromOciLayout(output)]))[0]?.config;
    expect(JSON.stringify(config)).not.toContain('TSBUILD_');
  });

  test('outputs carry pending files, which are no part of the id, and force nothing twice', async () => {
    await using engine = await open();
    writeFileSync(join(dir, 'late'), 'late');
    const image = busyboxImage()
      .runCommands('echo forced', { forceBuild: true })
      .addLocalFile(join(dir, 'late'), '/late');
    const dest = join(dir, 'layout');
    const [built] = await engine.build([image], { outputs: [{ type: 'oci', tar: false, dest }] });
    expect(events.filter((event) => event.kind === 'log' && event.text === 'forced')).toHaveLength(1);
    expect(image.id).toBe(built?.id);
    expect((await engine.readFile(Image.fromOciLayout(dest), '/late')).toString()).toBe('late');
    await engine.exportTo(image, join(dir, 'again'), { format: 'oci-layout' });
    expect(image.layers.map(({ method }) => method)).toEqual([
      'fromScratch',
      'addLocalFile',
      'env',
      'runCommands',
    ]);
  });
});
