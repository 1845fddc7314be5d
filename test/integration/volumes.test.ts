/** Volumes in real builds and containers: what is written stays, and is in no layer. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Engine, type EngineOptions } from '../../src/engine.ts';
import { Volume } from '../../src/frontend/fluent/volume.ts';
import { busyboxImage } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';

const code = (expected: string) => expect.objectContaining({ code: expected });
/** A loaded machine takes its time. */
const PATIENT = { timeout: 60_000 };
const appears = (path: string) => expect.poll(() => existsSync(path), PATIENT).toBe(true);
const volume = (name: string) => Volume.fromName(name, { createIfMissing: true });

describe.skipIf(lacks('bwrap', 'busybox', 'root')).each(['overlay', 'copy'] as const)(
  'with %s',
  (snapshotter) => {
    let dir: string;
    beforeEach(() => {
      dir = mkdtempSync(join(tmpdir(), 'tsbuild-volumes-'));
    });
    afterEach(() => rmSync(dir, { recursive: true, force: true }));
    const open = (more: EngineOptions = {}) =>
      Engine.open({
        storeDir: join(dir, 'store'),
        env: { PATH: process.env.PATH, HOME: dir },
        snapshotter,
        ...more,
      });
    const place = (name: string, environment = 'main') => join(dir, 'store/volumes', environment, name);

    test('data is in the volume and not in the layer, and the next build sees it (C109) (C153)', async () => {
      await using engine = await open();
      const volumes = { '/root/.cache/huggingface': volume('hf-cache') };
      const first = busyboxImage().runCommands(
        'echo data > /root/.cache/huggingface/model; echo in > /layer',
        {
          volumes,
        },
      );
      await engine.build([first]);
      expect(readFileSync(join(place('hf-cache'), 'model'), 'utf8')).toBe('data\n');
      // Neither the file nor the directory that it was mounted on, nor those above it.
      expect((await engine.listFiles(first, '/')).filter((path) => !path.startsWith('/bin'))).toEqual([
        '/layer',
      ]);
      expect(await engine.exists(first, '/root')).toBe(false);
      const second = busyboxImage().runCommands('cat /root/.cache/huggingface/model > /copy', { volumes });
      await engine.build([second]);
      expect((await engine.readFile(second, '/copy')).toString()).toBe('data\n');
    });

    test('what was written before a step failed stays', async () => {
      await using engine = await open();
      const failing = busyboxImage().runCommands('echo half > /v/half; exit 3', {
        volumes: { '/v': volume('v') },
      });
      await expect(engine.build([failing])).rejects.toThrow(code('E_BUILD_FAILED'));
      expect(readFileSync(join(place('v'), 'half'), 'utf8')).toBe('half\n');
    });

    test('a directory of the image hides behind the volume and stays as it was', async () => {
      await using engine = await open();
      const image = busyboxImage()
        .runCommands('mkdir /data && echo image > /data/file')
        .runCommands('ls /data > /seen; echo volume > /data/other', { volumes: { '/data': volume('v') } });
      await engine.build([image]);
      expect((await engine.readFile(image, '/seen')).toString()).toBe('');
      expect(await engine.listFiles(image, '/data')).toEqual(['/data/file']);
      expect(readdirSync(place('v'))).toEqual(['other']);
    });

    test('containers mount them too, and read-only means it', async () => {
      await using engine = await open();
      const image = busyboxImage();
      const sh = (script: string, volumes: Record<string, Volume>) =>
        engine.run(image, ['/bin/sh', '-c', script], { volumes });
      expect((await sh('echo one > /v/a/b', { '/v/a': volume('v') })).exitCode).toBe(0);
      const read = volume('v').withMountOptions({ readOnly: true });
      expect(await sh('cat /v/b; echo two > /v/b', { '/v': read })).toMatchObject({
        exitCode: 1,
        stdout: 'one\n',
      });
      expect(readFileSync(join(place('v'), 'b'), 'utf8')).toBe('one\n');
      const missing = Volume.fromName('missing');
      await expect(sh('true', { '/v': missing })).rejects.toThrow(code('E_VOLUME_NOT_FOUND'));
      expect(() => statSync(place('missing'))).toThrow();
      await expect(sh('true', { '/v': Volume.fromName('v'), '/w': volume('v') })).rejects.toThrow(
        code('E_VOLUME_DUPLICATE'),
      );
    });

    test('a volume that is not there and is not to be made (C120)', async () => {
      await using engine = await open();
      const image = busyboxImage().runCommands('true', { volumes: { '/v': Volume.fromName('absent') } });
      await expect(engine.build([image])).rejects.toThrow(code('E_VOLUME_NOT_FOUND'));
      await engine.volumes.create('absent');
      await engine.build([image]);
    });

    test('a part of a volume is made when it is missing; links in it lead nowhere else', async () => {
      await using engine = await open();
      const part = (subPath: string) => ({ '/v': volume('v').withMountOptions({ subPath }) });
      const run = (script: string, volumes: Record<string, Volume>) =>
        engine.run(busyboxImage(), ['/bin/sh', '-c', script], { volumes });
      await run('echo x > /v/file', part('a/b'));
      expect(readFileSync(join(place('v'), 'a/b/file'), 'utf8')).toBe('x\n');
      symlinkSync('/etc', join(place('v'), 'escape'));
      symlinkSync('a/b', join(place('v'), 'link'));
      expect((await run('ls /v', part('link'))).stdout).toBe('file\n');
      // Resolved within the volume, `/etc` is a directory of its own there.
      await run('echo x > /v/new', part('escape')).catch(() => undefined);
      expect(() => statSync('/etc/new')).toThrow();
      await expect(run('true', part('a/b/file'))).rejects.toThrow(code('E_FILE_NOT_FOUND'));
      const readOnly = { '/v': volume('v').withMountOptions({ subPath: 'none', readOnly: true }) };
      await expect(run('true', readOnly)).rejects.toThrow(code('E_FILE_NOT_FOUND'));
    });

    test('one volume within another', async () => {
      await using engine = await open();
      const image = busyboxImage().runCommands('echo 1 > /v/one; echo 2 > /v/w/two', {
        volumes: { '/v': volume('outer'), '/v/w': volume('inner') },
      });
      await engine.build([image]);
      expect(readdirSync(place('outer')).sort()).toEqual(['one', 'w']);
      expect(readdirSync(place('inner'))).toEqual(['two']);
    });

    test('two steps that run at the same time share one', async () => {
      await using engine = await open({ jobs: 2 });
      const volumes = { '/v': volume('v') };
      // Each waits for what the other writes.
      const wait = (own: string, other: string) =>
        `touch /v/${own}; for i in $(seq 100); do [ -e /v/${other} ] && exit 0; sleep 0.1; done; exit 9`;
      await engine.build([
        busyboxImage().runCommands(wait('a', 'b'), { volumes }),
        busyboxImage().runCommands(wait('b', 'a'), { volumes }),
      ]);
    });

    test('a cached step looks for no volume', async () => {
      await using engine = await open();
      const image = () => busyboxImage().runCommands('true', { volumes: { '/v': Volume.fromName('v') } });
      await engine.volumes.create('v');
      await engine.build([image()]);
      await engine.volumes.delete('v');
      const [built] = await engine.build([image()]);
      expect(built?.layers.at(-1)?.cached).toBe(true);
    });

    test('in use it cannot be deleted', async () => {
      await using engine = await open();
      const running = engine.run(
        busyboxImage(),
        ['/bin/sh', '-c', 'touch /v/up; until [ -e /v/end ]; do sleep 0.1; done'],
        { volumes: { '/v': volume('v') } },
      );
      await appears(join(place('v'), 'up'));
      await expect(engine.volumes.delete('v')).rejects.toThrow(code('E_VOLUME_IN_USE'));
      writeFileSync(join(place('v'), 'end'), '');
      expect((await running).exitCode).toBe(0);
      await engine.volumes.delete('v');
      expect(readdirSync(join(place('v'), '..'))).toEqual([]);
    });

    test('cancelling a step that uses one lets go of it', async () => {
      await using engine = await open();
      const stop = new AbortController();
      const volumes = { '/v': volume('v').withMountOptions({ subPath: 'sub' }) };
      const building = engine.build([busyboxImage().runCommands('touch /v/up; sleep 60', { volumes })], {
        signal: stop.signal,
      });
      await appears(join(place('v'), 'sub/up'));
      stop.abort(new Error('enough'));
      await expect(building).rejects.toThrow('enough');
      await engine.volumes.delete('v');
    });

    test('one without a name lasts as long as its engine, and can be let go before', async () => {
      const scratch = Volume.ephemeral();
      const listeners = process.listenerCount('exit');
      let path: string;
      {
        await using engine = await open();
        path = engine.volumes.pathOf(scratch);
        const [other] = [Volume.ephemeral()];
        await engine.run(busyboxImage(), ['/bin/sh', '-c', 'echo kept > /v/file'], {
          volumes: { '/v': scratch },
        });
        expect(readFileSync(join(path, 'file'), 'utf8')).toBe('kept\n');
        expect(await engine.volumes.list()).toEqual([]);
        await engine.volumes.put(other as Volume, join(path, 'file'), '/x');
        await engine.volumes.discard(other as Volume);
        expect(() => statSync(engine.volumes.pathOf(other as Volume))).toThrow();
      }
      expect(() => statSync(path)).toThrow();
      expect(readdirSync(join(dir, 'store/tmp'))).toEqual([]);
      // A program that opens an engine for every build does not collect them.
      expect(process.listenerCount('exit')).toBe(listeners);
    });

    test('files are put in, listed, taken out and removed', async () => {
      await using engine = await open();
      const { volumes } = engine;
      const v = volume('v');
      mkdirSync(join(dir, 'tree/deep'), { recursive: true });
      writeFileSync(join(dir, 'tree/one'), 'one');
      writeFileSync(join(dir, 'tree/deep/two'), 'two', { mode: 0o755 });
      symlinkSync('/etc/passwd', join(dir, 'tree/link'));
      await volumes.put(v, join(dir, 'tree'), '/t');
      await volumes.put(v, join(dir, 'tree/one'), '/a/one');
      expect(await volumes.listFiles(v, '/')).toEqual([
        '/a/',
        '/a/one',
        '/t/',
        '/t/deep/',
        '/t/deep/two',
        '/t/link',
        '/t/one',
      ]);
      const part = v.withMountOptions({ subPath: 't', readOnly: true });
      expect(await volumes.listFiles(part, '/deep')).toEqual(['/deep/two']);
      await volumes.get(v, '/t', join(dir, 'out/again'));
      expect(readFileSync(join(dir, 'out/again/deep/two'), 'utf8')).toBe('two');
      expect(statSync(join(dir, 'out/again/deep/two')).mode & 0o777).toBe(0o755);
      await volumes.get(part, '/one', join(dir, 'out/one'));
      expect(readFileSync(join(dir, 'out/one'), 'utf8')).toBe('one');
      // A link in a volume leads nowhere outside of it.
      await expect(volumes.get(v, '/t/link', join(dir, 'out/passwd'))).rejects.toThrow(
        code('E_FILE_NOT_FOUND'),
      );
      await expect(volumes.get(v, '/t', join(dir, 'out/one'))).rejects.toThrow(code('E_OUTPUT_EXISTS'));
      await expect(volumes.put(part, join(dir, 'tree/one'), '/x')).rejects.toThrow(
        code('E_VOLUME_READ_ONLY'),
      );
      await expect(volumes.put(v, join(dir, 'none'), '/x')).rejects.toThrow(code('E_LOCAL_FILE_MISSING'));
      await volumes.remove(v, '/t/deep');
      expect(await volumes.listFiles(v, '/t')).toEqual(['/t/link', '/t/one']);
      await expect(volumes.remove(v, '/t/deep')).rejects.toThrow(code('E_FILE_NOT_FOUND'));
      symlinkSync(dir, join(place('v'), 'out'));
      await volumes.put(v, join(dir, 'tree/one'), '/out/planted').catch(() => undefined);
      expect(() => statSync(join(dir, 'planted'))).toThrow();
    });

    test('what is taken out lies in its destination and has no rights of the user', async () => {
      await using engine = await open();
      const { volumes } = engine;
      const v = volume('v');
      await volumes.create('v');
      const tree = join(place('v'), 't');
      mkdirSync(join(tree, 'sub'), { recursive: true });
      writeFileSync(join(tree, 'program'), 'x');
      chmodSync(join(tree, 'program'), 0o6755);
      chmodSync(join(tree, 'sub'), 0o2750);
      symlinkSync('..', join(tree, 'way-out'));
      const out = join(dir, 'taken/out');
      await volumes.get(v, '/t', out);
      await volumes.get(v, '/t/program', join(dir, 'taken/program'));
      const modes = ['out/program', 'out/sub', 'program'].map(
        (path) => statSync(join(dir, 'taken', path)).mode & 0o7777,
      );
      expect(modes).toEqual([0o755, 0o750, 0o755]);
      // Whoever writes to the volume makes a directory of the link, and the user takes it out again.
      rmSync(join(tree, 'way-out'));
      mkdirSync(join(tree, 'way-out'));
      writeFileSync(join(tree, 'way-out/planted'), '');
      await volumes.get(v, '/t', out).catch(() => undefined);
      expect(readdirSync(join(dir, 'taken')).sort()).toEqual(['out', 'program']);
    });

    test('they are counted and never pruned; names are kept apart by environment', async () => {
      await using engine = await open();
      const { volumes } = engine;
      await volumes.create('v');
      await volumes.create('v', { environment: 'other' });
      await expect(volumes.create('v')).rejects.toThrow(code('E_VOLUME_EXISTS'));
      await volumes.create('v', { allowExisting: true });
      writeFileSync(join(place('v'), 'file'), '12345');
      expect((await engine.usage()).find(({ kind }) => kind === 'volumes')).toEqual({
        kind: 'volumes',
        count: 2,
        sizeBytes: 5,
        reclaimableBytes: 0,
      });
      await engine.prune({ all: true });
      expect(readFileSync(join(place('v'), 'file'), 'utf8')).toBe('12345');
      await volumes.delete('v', { environment: 'other' });
      await expect(volumes.delete('v', { environment: 'other' })).rejects.toThrow(code('E_OBJECT_NOT_FOUND'));
      await volumes.delete('v', { environment: 'other', allowMissing: true });
      await new Promise((resolve) => setTimeout(resolve, 20));
      await volumes.create('w');
      expect((await volumes.list()).map(({ name }) => name)).toEqual(['w', 'v']);
      const [newest] = await volumes.list({ maxObjects: 1 });
      expect(
        (await volumes.list({ createdBefore: newest?.createdAt as Date })).map(({ name }) => name),
      ).toEqual(['v']);
      expect(statSync(join(dir, 'store/volumes')).mode & 0o777).toBe(0o700);
      await using elsewhere = await open({
        env: { PATH: process.env.PATH, HOME: dir, TSBUILD_ENVIRONMENT: 'other' },
      });
      expect(await elsewhere.volumes.list()).toEqual([]);
      expect(elsewhere.volumes.pathOf(Volume.fromName('x'))).toBe(place('x', 'other'));
    });
  },
);

test.skipIf(lacks('root'))('the class works on the store of the process', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'tsbuild-volumes-'));
  const { TSBUILD_HOME: before } = process.env;
  process.env.TSBUILD_HOME = join(dir, 'store');
  try {
    const tsbuild = await import('../../src/index.ts');
    const v = tsbuild.Volume.fromName('v');
    // Known before there is anything.
    expect(v.path).toBe(join(dir, 'store/volumes/main/v'));
    await expect(v.list()).rejects.toThrow(code('E_VOLUME_NOT_FOUND'));
    await tsbuild.Volume.objects.create('v');
    writeFileSync(join(dir, 'file'), 'text');
    await v.put(join(dir, 'file'));
    await v.put(join(dir, 'file'), 'deep/');
    expect(await v.list()).toEqual(['/deep/', '/deep/file', '/file']);
    await v.get('deep/file', join(dir, 'got'));
    expect(readFileSync(join(dir, 'got'), 'utf8')).toBe('text');
    await v.remove('/deep');
    await expect(v.remove('/')).rejects.toThrow(code('E_VOLUME_PATH'));
    await expect(v.get('../x', join(dir, 'got'))).rejects.toThrow(code('E_VOLUME_PATH'));
    await expect(v.list('/', { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
    const scratch = tsbuild.Volume.ephemeral();
    await scratch.put(join(dir, 'file'), '/file');
    expect(readFileSync(join(scratch.path, 'file'), 'utf8')).toBe('text');
    await scratch.close();
    expect(() => statSync(scratch.path)).toThrow();
    expect(await tsbuild.Volume.objects.list()).toEqual([{ name: 'v', createdAt: expect.any(Date) }]);
    await expect(tsbuild.Volume.objects.list({ maxObjects: -1 })).rejects.toThrow(code('E_ARG_TYPE'));
    await expect(tsbuild.Volume.objects.create('..')).rejects.toThrow(code('E_NAME'));
    await tsbuild.Volume.objects.delete('v');
  } finally {
    process.emit('beforeExit', 0);
    if (before === undefined) {
      delete process.env.TSBUILD_HOME;
    } else {
      process.env.TSBUILD_HOME = before;
    }
    await expect.poll(() => readdirSync(join(dir, 'store/tmp')), PATIENT).toEqual([]);
    rmSync(dir, { recursive: true, force: true });
  }
});
