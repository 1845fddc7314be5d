/** Images of the store by id and by name, and what their steps said. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Engine, type EngineOptions } from '../../src/engine.ts';
import type { StepError } from '../../src/errors.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import { provideDefaultEngine } from '../../src/frontend/fluent/image-engine.ts';
import type { BuildLogEntry } from '../../src/frontend/fluent/image-logs.ts';
import { Secret } from '../../src/secret/secret.ts';
import { busyboxImage } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';

const code = (expected: string) => expect.objectContaining({ code: expected });

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('images of the store', () => {
  let dir: string;
  const engines: Engine[] = [];

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-stored-'));
  });
  afterEach(async () => {
    for (const engine of engines.splice(0)) {
      await engine.close();
    }
    rmSync(dir, { recursive: true, force: true });
  });

  /** For what methods of images do, too. */
  async function open(env: NodeJS.ProcessEnv = {}, options: EngineOptions = {}): Promise<Engine> {
    const engine = await Engine.open({
      storeDir: join(dir, 'store'),
      env: { PATH: process.env.PATH, HOME: dir, ...env },
      ...options,
    });
    engines.push(engine);
    provideDefaultEngine(async () => engine);
    return engine;
  }

  async function closeAll(): Promise<void> {
    for (const engine of engines.splice(0)) {
      await engine.close();
    }
  }

  async function lines(entries: AsyncIterable<BuildLogEntry>): Promise<string[]> {
    const all: string[] = [];
    for await (const { layer, stream, message } of entries) {
      all.push(`${layer} ${stream} ${message}`);
    }
    return all;
  }

  const failureOf = (work: Promise<unknown>) =>
    work.then(
      () => {
        throw new Error('it should have failed');
      },
      (error: unknown) => error as StepError,
    );

  test('what was built is found by its id, stays what it is, and can be extended (C147)', async () => {
    await open();
    const image = busyboxImage().runCommands('echo one > /one').cmd(['/bin/sh', '-c', 'cat /one']);
    const built = await image.build();
    expect(built.id).toMatch(/^im-[0-9A-Za-z]{22}$/);
    expect(image.id).toBe(built.id);
    expect(built.config.config?.Cmd).toEqual(['/bin/sh', '-c', 'cat /one']);
    expect(built.layers.map(({ method }) => method)).toEqual([
      'fromScratch',
      'addLocalFile',
      'env',
      'runCommands',
      'cmd',
    ]);
    await closeAll();

    await open();
    const again = await Image.fromId(built.id).build();
    expect([again.id, again.digest, again.configDigest]).toEqual([
      built.id,
      built.digest,
      built.configDigest,
    ]);
    expect(again.config).toEqual(built.config);
    expect(again.layers).toMatchObject([{ id: built.id, method: 'fromId', cached: true }]);
    expect((await Image.fromId(built.id).run()).stdout).toBe('one\n');
    const extended = Image.fromId(built.id).runCommands('cat /one > /two');
    expect((await extended.run(['/bin/sh', '-c', 'cat /two'])).stdout).toBe('one\n');
    const more = await extended.build();
    expect(more.layers[0]?.id).toBe(built.id);
    expect(more.id).not.toBe(built.id);
    expect(more.config.rootfs.diff_ids.length).toBe(built.config.rootfs.diff_ids.length + 1);
    // The same in another process, and when everything is forced: the base is what it is.
    const forced = await extended.build({ forceBuild: true });
    expect(forced.layers.map(({ cached }) => cached)).toEqual([true, false]);
    expect([forced.layers[0]?.id, forced.id === more.id]).toEqual([built.id, false]);
  });

  test('equal recipes have equal ids on every machine (C147)', async () => {
    const image = busyboxImage().runCommands('echo $$ > /pid');
    const ids: (string | undefined)[] = [];
    for (const store of ['one', 'two']) {
      await open({}, { storeDir: join(dir, store) });
      ids.push((await image.build()).id);
      await closeAll();
    }
    expect(ids[0]).toBe(ids[1]);
  });

  test('ids and names of nothing, and platforms of something else', async () => {
    await open();
    const unknown = `im-${'0'.repeat(22)}`;
    await expect(Image.fromId(unknown).build()).rejects.toThrow(code('E_IMAGE_NOT_FOUND'));
    await expect(Image.fromId(unknown).publish('web')).rejects.toThrow(code('E_IMAGE_NOT_FOUND'));
    await expect(Image.fromName('web').build()).rejects.toThrow(code('E_IMAGE_NOT_FOUND'));
    await expect(Image.fromName('web').publish('other')).rejects.toThrow(code('E_IMAGE_NOT_FOUND'));
    await expect(Image.delete(unknown)).rejects.toThrow(code('E_IMAGE_NOT_FOUND'));
    await expect(busyboxImage().publish('web')).rejects.toThrow(code('E_NOT_BUILT'));
    const built = await Image.fromScratch({ platform: 'linux/arm64' }).build();
    expect((await Image.fromId(built.id).build()).id).toBe(built.id);
    const engine = engines[0] as Engine;
    await expect(
      engine.build([Image.fromId(built.id)], { platform: { os: 'linux', architecture: 'amd64' } }),
    ).rejects.toThrow(code('E_NO_PLATFORM'));
  });

  test('a published name leads to the image, moves, and remembers where it was (C148)', async () => {
    const engine = await open({ TSBUILD_ENVIRONMENT: 'test' });
    const first = await busyboxImage().env({ V: '1' }).build();
    const second = await busyboxImage().env({ V: '2' }).build();
    await first.publish('n:v1');
    await first.publish('n:v1');
    expect((await Image.fromName('n:v1').build()).id).toBe(first.id);
    expect((await Image.fromName('n:v1').run(['/bin/sh', '-c', 'echo $V'])).stdout).toBe('1\n');
    await second.publish('n:v1');
    await second.publish('n');
    expect((await Image.fromName('n:v1').build()).digest).toBe(second.digest);
    expect((await Image.fromName('test/n:v1').build()).id).toBe(second.id);
    await expect(Image.fromName('n:v1', { environment: 'main' }).build()).rejects.toThrow(
      code('E_IMAGE_NOT_FOUND'),
    );
    await first.publish('n:v1', { environment: 'main' });
    expect((await Image.fromName('main/n:v1').build()).id).toBe(first.id);
    expect(
      engine.publishedNames().map(({ namespace, name, tag, id }) => [`${namespace}/${name}:${tag}`, id]),
    ).toEqual([
      ['main/n:v1', first.id],
      ['test/n:latest', second.id],
      ['test/n:v1', second.id],
    ]);
    const history = engine.publishedHistory({ name: 'n', tag: 'v1' });
    expect(history.map(({ id }) => id)).toEqual([second.id, first.id]);

    // Nobody needs to publish what a name stands for anew, and a name is a base like any other.
    await Image.fromName('n:v1').publish('copy');
    const child = await Image.fromName('copy').env({ W: '1' }).build();
    expect(child.layers[0]?.id).toBe(second.id);
    await first.publish('copy');
    const other = await Image.fromName('copy').env({ W: '1' }).build();
    expect([other.layers[0]?.id, other.id === child.id]).toEqual([first.id, false]);
    // Commands know the names too.
    expect((await engine.run('n:v1', ['/bin/sh', '-c', 'echo $V'])).stdout).toBe('2\n');
    expect(engine.images().find(({ id }) => id === first.id)?.published).toEqual([
      'main/n:v1',
      'copy:latest',
    ]);
  });

  test('what is published stays; what is deleted is gone with its names, and nothing else is', async () => {
    const engine = await open();
    const base = busyboxImage().runCommands('echo base > /base');
    const parent = await base.build();
    const child = await base.runCommands('echo child > /child').build();
    await child.publish('kept');
    const { removed } = await engine.prune();
    expect(removed.map(({ id }) => id)).not.toContain(child.id);
    expect(removed.map(({ id }) => id)).toContain(parent.id);
    expect((await Image.fromName('kept').run(['/bin/sh', '-c', 'cat /base /child'])).stdout).toBe(
      'base\nchild\n',
    );

    const again = await base.build();
    await again.publish('base');
    await Image.delete(again.id);
    await expect(Image.fromId(again.id).build()).rejects.toThrow(code('E_IMAGE_NOT_FOUND'));
    await expect(Image.fromName('base').build()).rejects.toThrow(code('E_IMAGE_NOT_FOUND'));
    expect((await Image.fromName('kept').run(['/bin/sh', '-c', 'cat /base'])).stdout).toBe('base\n');
    expect((await base.build()).layers.map(({ cached }) => cached)).not.toContain(false);

    expect(await engine.removeImage('kept')).toEqual({ untagged: ['kept:latest'], deleted: child.id });
    expect(engine.publishedNames()).toEqual([]);
  });

  test('a name given with a tag does not take a published image away', async () => {
    const engine = await open();
    const [built] = await engine.build([busyboxImage()], { tags: ['web:1'] });
    await built?.publish('web:v1');
    expect(await engine.removeImage('web:1')).toEqual({ untagged: ['web:1'] });
    expect((await Image.fromName('web:v1').build()).id).toBe(built?.id);
  });

  describe('logs', () => {
    test('of the newest layers, of all, of the last lines; of layers that were reused too (C149)', async () => {
      await open();
      const image = busyboxImage()
        .runCommands('echo one; echo two >&2')
        .env({ A: '1' })
        .runCommands('echo three; printf "no end"');
      expect(image.id).toBeUndefined();
      await expect(lines(image.logs.fetch())).rejects.toThrow(code('E_NOT_BUILT'));
      await expect(image.logs.tail()).rejects.toThrow(code('E_NOT_BUILT'));
      const built = await image.build();
      const newest = ['5 stdout three', '5 stdout no end'];
      expect(await lines(built.logs.fetch())).toEqual(newest);
      expect(await lines(image.logs.fetch({ layers: 2 }))).toEqual(newest);
      const all = await lines(image.logs.fetch({ layers: null }));
      expect(all.toSorted()).toEqual(['3 stderr two', '3 stdout one', ...newest].toSorted());
      expect(await lines(image.logs.fetch({ layers: 3 }))).toEqual(all);
      expect((await image.logs.tail(2)).map(({ message }) => message)).toEqual(['three', 'no end']);
      const [first] = await image.logs.tail(1);
      expect(Math.abs(Date.now() - (first?.timestamp.getTime() ?? 0))).toBeLessThan(60_000);
      await closeAll();

      // Another process, a build of which everything is known, another chain on the same layers.
      const engine = await open();
      expect(await lines(Image.fromId(built.id).logs.fetch())).toEqual(newest);
      await image.build();
      expect(await lines(image.logs.fetch({ layers: null }))).toEqual(all);
      const more = Image.fromId(built.id).runCommands('echo four');
      await more.build();
      expect(await lines(more.logs.fetch({ layers: null }))).toEqual([...all, '6 stdout four']);
      await built.publish('logged');
      expect(await lines(Image.fromName('logged').logs.fetch())).toEqual(newest);
      expect(await lines(engine.logs('logged', { layers: 1 }))).toEqual(newest);
      expect((await lines(engine.logs(built.layers[3]?.id ?? '', { layers: 1 }))).toSorted()).toEqual([
        '3 stderr two',
        '3 stdout one',
      ]);
      for (const layers of [0, -1, 1.5, Number.NaN, '1' as unknown as number]) {
        expect(() => image.logs.fetch({ layers })).toThrow(code('E_LOGS_LAYERS'));
      }
      expect(() => image.logs.fetch({ layer: 1 } as object)).toThrow(code('E_UNKNOWN_OPTION'));
      await expect(image.logs.tail(0)).rejects.toThrow(code('E_ARG_TYPE'));
    });

    test('of a failed build, by the id of its error; a later success takes its place (C149) (C150)', async () => {
      const engine = await open();
      const flag = join(dir, 'flag');
      writeFileSync(flag, 'x');
      const image = busyboxImage()
        .runCommands('echo fine')
        .runCommands('echo trying; [ "$OK" ] || exit 7', {
          secrets: [Secret.fromEnv(['OK'], { optional: true })],
        })
        .runCommands('echo never > /never');
      const failure = await failureOf(image.build());
      await expect(image.publish('failed')).rejects.toThrow(code('E_NOT_BUILT'));
      expect(failure).toMatchObject({
        name: 'StepError',
        code: 'E_BUILD_FAILED',
        exitCode: 7,
        reason: 'exit',
        layer: 4,
        command: expect.stringContaining('echo trying'),
        imageId: expect.stringMatching(/^im-[0-9A-Za-z]{22}$/),
      });
      expect(failure.logTail).toBe('trying');
      const expected = ['4 stdout trying', expect.stringMatching(/^4 tsbuild E_BUILD_FAILED: .*status 7/)];
      expect(await lines(image.logs.fetch())).toEqual(expected);
      expect(await lines(image.logs.fetch({ layers: null }))).toEqual(['3 stdout fine', ...expected]);
      expect(await lines(engine.logs(failure.imageId ?? '', { layers: 1 }))).toEqual(expected);
      expect(await lines(Image.fromId(failure.imageId ?? '').logs.fetch())).toEqual(expected);
      expect(engine.images()).toEqual([]);
      await closeAll();

      await open({ OK: '1' });
      const built = await image.build();
      expect(await lines(built.logs.fetch({ layers: 2 }))).toEqual(['4 stdout trying']);
      expect(await lines(Image.fromId(failure.imageId ?? '').logs.fetch())).toEqual(['4 stdout trying']);
    });

    test('of several images the one whose step failed has the error, and layers after it never ran (C150)', async () => {
      await open();
      const good = busyboxImage().runCommands('echo good').runCommands('sleep 5');
      const bad = busyboxImage().env({ B: '1' }).runCommands('exit 3').runCommands('echo x > /x');
      const failure = await failureOf(Image.buildAll([good, bad]));
      expect(failure).toMatchObject({ exitCode: 3, layer: 4 });
      expect(failure.imageId).toBe(bad.layers[4]?.id);
      expect(await lines(bad.logs.fetch())).toEqual([expect.stringContaining('4 tsbuild E_BUILD_FAILED')]);
    });

    test('secrets are masked in them', async () => {
      await open();
      const image = busyboxImage().runCommands('echo "token $TOKEN"; exit 1', {
        secrets: [Secret.fromDict({ TOKEN: 'hunter22' })],
      });
      await failureOf(image.build());
      expect((await image.logs.tail())[0]?.message).toBe('token ***');
      for (const name of readdirSync(join(dir, 'store/logs'))) {
        expect(readFileSync(join(dir, 'store/logs', name), 'utf8')).not.toContain('hunter22');
      }
    });

    test('they go with what they belong to', async () => {
      const engine = await open();
      const image = busyboxImage().runCommands('echo logged');
      const built = await image.build();
      const failure = await failureOf(busyboxImage().runCommands('exit 1').build());
      await engine.prune();
      await expect(lines(Image.fromId(failure.imageId ?? '').logs.fetch())).rejects.toThrow(
        code('E_NOT_BUILT'),
      );
      await expect(lines(Image.fromId(built.id).logs.fetch())).rejects.toThrow(code('E_NOT_BUILT'));
      expect(readdirSync(join(dir, 'store/logs'))).toEqual([]);
    });
  });
});
