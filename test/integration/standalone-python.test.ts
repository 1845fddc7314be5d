/** A Python that is added to a base: fetched, checked, unpacked, run. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import { StepError } from '../../src/errors.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import {
  STANDALONE_RELEASES,
  type StandaloneRelease,
} from '../../src/frontend/fluent/standalone-python-releases.ts';
import { hostPlatform } from '../../src/oci/platform.ts';
import { busyboxPath } from '../support/busybox.ts';
import { TestRegistry } from '../support/registry.ts';
import { lacks } from '../support/requires.ts';
import { glibcImage, hostPython, pythonArchive, releaseOf } from '../support/standalone-python.ts';
import { serveFile, startWebServer, type WebServer } from '../support/web-server.ts';

const ARCH = hostPlatform().architecture === 'arm64' ? 'aarch64' : 'x86_64';

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'python3'))('an added Python', () => {
  const published = { ...STANDALONE_RELEASES };
  const table = STANDALONE_RELEASES as Record<string, StandaloneRelease>;
  const archives = new Map<string, Buffer>();
  let dir: string;
  let registry: TestRegistry;
  let server: WebServer;
  const base = () => `${registry.host}/base:1`;

  /** Archives that this machine can make, under the names and with the digests of a release. */
  function publish(series: string, release: string, flavour: StandaloneRelease['flavour']): string {
    const version = `${series.replace('t', '')}.9`;
    const archive = pythonArchive({ flavour, mark: series });
    table[series] = releaseOf(archive, release, version, flavour);
    const path = `/${release}/cpython-${version}+${release}-${ARCH}-unknown-linux-gnu-${flavour}`;
    archives.set(path, archive);
    return path;
  }

  let plain: string;
  let free: string;

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-standalone-'));
    registry = await TestRegistry.start();
    plain = publish('3.12', '20240107', 'install_only.tar.gz');
    free = publish('3.14t', '20251209', 'freethreaded+pgo+lto-full.tar.zst');
    for (const [path, archive] of archives) {
      mkdirSync(join(dir, 'mirror', path, '..'), { recursive: true });
      writeFileSync(join(dir, 'mirror', path), archive);
    }
    await using engine = await open({ store: 'bases' });
    await engine.push(glibcImage(), base(), {});
    const musl = Image.fromScratch()
      .addLocalFile(busyboxPath(), '/bin/sh', { copy: true })
      .addLocalFile(busyboxPath(), `/lib/ld-musl-${ARCH}.so.1`, { copy: true });
    await engine.push(musl, `${registry.host}/musl:1`, {});
  }, 120_000);
  afterAll(async () => {
    Object.assign(STANDALONE_RELEASES, published);
    await registry?.close();
    rmSync(dir, { recursive: true, force: true });
  });
  beforeEach(async () => {
    server = await startWebServer();
    server.handle((request, response) => {
      const archive = archives.get(decodeURIComponent((request.url ?? '').replace('/mirror', '')));
      if (archive === undefined) {
        response.writeHead(404).end();
      } else {
        serveFile(request, response, { body: archive });
      }
    });
  });
  afterEach(async () => {
    await server[Symbol.asyncDispose]();
    rmSync(join(dir, 'store'), { recursive: true, force: true });
  });

  const open = ({ store = 'store', mirror = '', offline = false } = {}) =>
    Engine.open({
      storeDir: join(dir, store),
      offline,
      env: {
        PATH: process.env.PATH,
        HOME: dir,
        TSBUILD_PYTHON_STANDALONE_MIRROR: mirror === '' ? `${server?.origin}/mirror/` : mirror,
      },
    });
  const blobs = () => readdirSync(join(dir, 'store/blobs/sha256'));
  const digestOf = (series: string) => table[series]?.sha256.amd64 ?? '';
  const unfinished = () => readdirSync(join(dir, 'store/tmp')).filter((name) => name.startsWith('blob-new.'));
  const failure = (work: Promise<unknown>) =>
    work.then(
      () => undefined,
      (error: unknown) => error,
    );

  test('runs, is cached, and is fetched once', async () => {
    const image = Image.fromRegistry(base(), { addPython: '3.12' });
    await using engine = await open();
    const show = 'import flavour, json, sys; print(json.dumps([flavour.NAME, sys.prefix]))';
    for (const program of ['python', 'python3']) {
      const { stdout, stderr } = await engine.run(image, [program, '-c', show]);
      expect([stdout, stderr]).toEqual(['["3.12", "/usr/local"]\n', '']);
    }
    expect(server.requests.map(({ url }) => url)).toEqual([`/mirror${plain.replace('+', '%2B')}`]);
    const [built] = await engine.build([image]);
    expect(built?.layers).toHaveLength(1);
    expect(built?.layers[0]?.cached).toBe(true);
    expect(built?.config.config?.Env).toContain(
      'TERMINFO_DIRS=/etc/terminfo:/lib/terminfo:/usr/share/terminfo:/usr/lib/terminfo',
    );
    // Built again, the archive is in the store.
    await engine.build([image], { forceBuild: true });
    expect(server.requests).toHaveLength(1);
    expect(blobs()).toContain(digestOf('3.12'));
  });

  test('files belong to root and keep modes and times', async () => {
    const image = Image.fromRegistry(base(), { addPython: '3.12' });
    await using engine = await open({ mirror: join(dir, 'mirror') });
    const file = `/usr/local/lib/python${hostPython().series}/os.py`;
    const { stdout } = await engine.run(image, ['stat', '-c', '%u:%g %a %Y', file]);
    expect(stdout).toBe(`0:0 644 ${Date.parse('2023-08-26T00:00:00Z') / 1000}\n`);
    expect(server.requests).toEqual([]);
  });

  test('of a full archive, what is installed is taken, and nothing that it was built from', async () => {
    const image = Image.fromRegistry(base(), { addPython: '3.14t' });
    await using engine = await open();
    const { stdout } = await engine.run(image, ['python3', '-c', 'import flavour; print(flavour.NAME)']);
    expect(stdout).toBe('3.14t\n');
    expect(await engine.listFiles(image, '/usr/local')).not.toContain('/usr/local/build/');
    expect((await engine.listFiles(image, '/')).filter((path) => path.includes('main.o'))).toEqual([]);
    expect(server.requests.map(({ url }) => url)).toEqual([`/mirror${free.replaceAll('+', '%2B')}`]);
    // The release has its own `bin/python`; ours of this machine has not.
    expect(await engine.exists(image, '/usr/local/bin/python')).toBe(false);
  });

  test('above a Dockerfile it is a layer of its own', async () => {
    const text = `FROM ${base()}\nRUN echo one > /one\nENV A=1\n`;
    const image = Image.fromDockerfile({ text }, { addPython: '3.12' }).runCommands(
      'python -c "import flavour" && cat /one',
    );
    await using engine = await open();
    const [built] = await engine.build([image]);
    expect(built?.layers.map(({ method }) => method)).toEqual([
      'fromDockerfile',
      'fromDockerfile',
      'runCommands',
    ]);
    expect(built?.config.config?.Env).toContain('A=1');
    expect(built?.config.history?.map((entry) => entry.created_by).join('\n')).toContain(
      'COPY /python/. /usr/local',
    );
  });

  test('Ubuntu, from a mirror of its registry (C6)', async () => {
    for (const kind of ['manifests', 'blobs', 'tags'] as const) {
      const from = registry.repository('base');
      const to = registry.repository('library/ubuntu');
      if (kind === 'blobs') {
        for (const blob of from.blobs) {
          to.blobs.add(blob);
        }
      } else {
        for (const [key, value] of from[kind]) {
          (to[kind] as Map<string, unknown>).set(kind === 'tags' ? '24.04' : key, value);
        }
      }
    }
    await using engine = await Engine.open({
      storeDir: join(dir, 'store'),
      env: {
        PATH: process.env.PATH,
        HOME: dir,
        TSBUILD_PYTHON_VERSION: '3.12',
        TSBUILD_PYTHON_STANDALONE_MIRROR: join(dir, 'mirror'),
        TSBUILD_REGISTRY_MIRRORS: `docker.io=${registry.origin}`,
      },
    });
    const { stdout } = await engine.run(Image.ubuntu(), [
      'python',
      '-c',
      'import flavour; print(flavour.NAME)',
    ]);
    expect(stdout).toBe('3.12\n');
  });

  test('instructions that set the base up see it; all are one layer of the plan (C15)', async () => {
    const image = Image.fromRegistry(base(), {
      addPython: '3.12',
      setupDockerfileCommands: [
        'RUN python -c "import flavour; print(flavour.NAME)" > /made',
        'ENV SET=up',
        'ENTRYPOINT ["cat"]',
      ],
    }).cmd(['/made']);
    await using engine = await open();
    const [built] = await engine.build([image]);
    expect(built?.layers.map(({ method }) => method)).toEqual(['fromRegistry', 'cmd']);
    expect(built?.config.config).toMatchObject({ Entrypoint: ['cat'], Cmd: ['/made'] });
    expect(built?.config.config?.Env).toContain('SET=up');
    expect((await engine.run(image, undefined)).stdout).toBe('3.12\n');
    const [again] = await engine.build([image]);
    expect(again?.layers.every(({ cached }) => cached)).toBe(true);
    expect(again?.id).toBe(built?.id);
    const other = Image.fromRegistry(base(), {
      addPython: '3.12',
      setupDockerfileCommands: ['RUN echo other > /made'],
    });
    expect((await engine.run(other, ['cat', '/made'])).stdout).toBe('other\n');
  });

  test('an archive that was swapped is refused, and nothing of it stays', async () => {
    const image = Image.fromRegistry(base(), { addPython: '3.12' });
    const swapped = archives.get(free) as Buffer;
    server.handle((request, response) => serveFile(request, response, { body: swapped }));
    {
      await using engine = await open();
      expect(await failure(engine.build([image]))).toMatchObject({
        code: 'E_DIGEST_MISMATCH',
        expected: `sha256:${digestOf('3.12')}`,
        actual: `sha256:${digestOf('3.14t')}`,
        hint: expect.stringContaining('than was published'),
      });
    }
    mkdirSync(join(dir, 'bad', plain, '..'), { recursive: true });
    writeFileSync(join(dir, 'bad', plain), swapped);
    {
      await using engine = await open({ mirror: join(dir, 'bad') });
      expect(await failure(engine.build([image]))).toMatchObject({ code: 'E_DIGEST_MISMATCH' });
    }
    expect(blobs().filter((name) => name === digestOf('3.12') || name === digestOf('3.14t'))).toEqual([]);
    expect(unfinished()).toEqual([]);
    // What is right is taken from the next mirror.
    await using engine = await open({ mirror: join(dir, 'mirror') });
    await engine.build([image]);
  });

  test('an archive that was cut is refused; a connection that breaks is tried again', async () => {
    const image = Image.fromRegistry(base(), { addPython: '3.12' });
    const archive = archives.get(plain) as Buffer;
    const cut = archive.subarray(0, archive.length / 2);
    server.handle((_request, response) => response.writeHead(200).end(cut));
    mkdirSync(join(dir, 'cut', plain, '..'), { recursive: true });
    writeFileSync(join(dir, 'cut', plain), cut);
    for (const mirror of ['', join(dir, 'cut')]) {
      await using engine = await open({ mirror });
      expect(await failure(engine.build([image]))).toMatchObject({ code: 'E_DIGEST_MISMATCH' });
    }
    expect(unfinished()).toEqual([]);
    let tries = 0;
    server.handle((request, response) => {
      tries += 1;
      if (tries === 1) {
        response.writeHead(200, { 'content-length': archive.length });
        response.write(cut, () => response.destroy());
      } else {
        serveFile(request, response, { body: archive });
      }
    });
    await using engine = await open();
    await engine.build([image]);
    expect(tries).toBe(2);
  });

  test('a mirror that does not have it says so', async () => {
    const image = Image.fromRegistry(base(), { addPython: '3.12' });
    server.handle((_request, response) => response.writeHead(404).end());
    {
      await using engine = await open();
      expect(await failure(engine.build([image]))).toMatchObject({
        code: 'E_FETCH',
        status: 404,
        hint: expect.stringContaining('TSBUILD_PYTHON_STANDALONE_MIRROR'),
      });
    }
    await using engine = await open({ mirror: join(dir, 'nowhere') });
    expect(await failure(engine.build([image]))).toMatchObject({
      code: 'E_IO',
      path: join(dir, 'nowhere', plain),
    });
  });

  test('cancelling ends the transfer and leaves nothing', async () => {
    const image = Image.fromRegistry(base(), { addPython: '3.12' });
    const archive = archives.get(plain) as Buffer;
    const abort = new AbortController();
    const reason = new Error('enough');
    const closed = new Promise<void>((resolve) => {
      server.handle((request, response) => {
        request.socket.once('close', () => resolve());
        response.writeHead(200, { 'content-length': archive.length });
        response.write(archive.subarray(0, 100_000), () => abort.abort(reason));
      });
    });
    await using engine = await open();
    await expect(engine.build([image], { signal: abort.signal })).rejects.toBe(reason);
    await closed;
    expect(blobs()).not.toContain(digestOf('3.12'));
    expect(unfinished()).toEqual([]);
    server.handle((request, response) => serveFile(request, response, { body: archive }));
    await engine.build([image]);
  });

  test('offline, it comes from the store or a directory', async () => {
    const image = Image.fromRegistry(base(), { addPython: '3.12' });
    {
      await using engine = await open();
      await engine.build([Image.fromRegistry(base())]);
    }
    {
      await using engine = await open({ offline: true });
      expect(await failure(engine.build([image]))).toMatchObject({
        code: 'E_OFFLINE',
        hint: expect.stringContaining('TSBUILD_PYTHON_STANDALONE_MIRROR'),
      });
    }
    expect(server.requests).toEqual([]);
    {
      await using engine = await open({ offline: true, mirror: `file://${join(dir, 'mirror')}` });
      await engine.build([image]);
    }
    await using engine = await open({ offline: true });
    const other = Image.fromDockerfile({ text: `FROM ${base()}\nRUN echo > /x` }, { addPython: '3.12' });
    await engine.build([other]);
    expect(server.requests).toEqual([]);
  });

  test('a base with musl is refused before anything is copied', async () => {
    const image = Image.fromRegistry(`${registry.host}/musl:1`, { addPython: '3.12' });
    await using engine = await open();
    const error = await failure(engine.build([image]));
    expect(error).toBeInstanceOf(StepError);
    expect(error).toMatchObject({ code: 'E_MUSL_PYTHON', layer: 0, hint: expect.stringContaining('glibc') });
    expect((error as StepError).imageId).toMatch(/^im-/);
  });
});
