/** What is built anew and what the cache learns of it (Image API, B1 and B3). */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import type { BuiltImage } from '../../src/frontend/fluent/built-image.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import type { BuildOptions } from '../../src/frontend/fluent/image-engine.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { busyboxImage, busyboxPath } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('what is built anew', () => {
  let dir: string;
  let events: BuildEvent[];

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-force-'));
    events = [];
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  /** One invocation in a process of its own, as far as the store can tell. */
  async function build(images: readonly Image[], env: NodeJS.ProcessEnv = {}, options: BuildOptions = {}) {
    events = [];
    await using engine = await Engine.open({
      storeDir: join(dir, 'store'),
      env: { PATH: process.env.PATH, HOME: dir, ...env },
      onEvent: (event) => events.push(event),
    });
    return await engine.build(images, options);
  }
  const one = async (image: Image, env: NodeJS.ProcessEnv = {}, options: BuildOptions = {}) =>
    (await build([image], env, options))[0] as BuiltImage;
  const steps = () => events.filter(({ kind }) => kind === 'vertex-started').length;
  const ids = (built: BuiltImage) => built.layers.map(({ id }) => id);
  const cached = (built: BuiltImage) => built.layers.map((layer) => layer.cached);
  /** Positions at which both have the same layer. */
  const same = (left: BuiltImage, right: BuiltImage) =>
    ids(left).flatMap((id, index) => (id === ids(right)[index] ? [index] : []));

  const FORCE = { TSBUILD_FORCE_BUILD: '1' };
  const IGNORE = { TSBUILD_IGNORE_CACHE: 'true' };
  /** Whatever it stands on, its files are never those of another run. */
  const random = (name: string) => `cat /proc/sys/kernel/random/uuid > /${name}`;
  const base = Image.fromScratch().addLocalFile(busyboxPath(), '/bin/sh', { copy: true });
  /** The base's two calls are layers 0 and 1. */
  const chain = (first = 'first', options = {}) =>
    base.runCommands(random(first)).runCommands(random('second'), options).runCommands(random('third'));

  test('a second build runs nothing (C121)', async () => {
    const before = await one(chain());
    expect(cached(before)).toEqual([false, false, false, false, false]);
    const after = await one(chain());
    expect([ids(after), steps()]).toEqual([ids(before), 0]);
    expect(cached(after)).toEqual([true, true, true, true, true]);
  });

  test('a changed call rebuilds itself and all later ones, nothing earlier (C122)', async () => {
    const four = (second: string) =>
      base
        .runCommands(random('one'))
        .runCommands(random(second))
        .runCommands(random('three'))
        .runCommands(random('four'));
    const before = await one(four('two'));
    const after = await one(four('other'));
    expect(same(before, after)).toEqual([0, 1, 2]);
    expect(cached(after)).toEqual([true, true, true, false, false, false]);
    expect(steps()).toBe(3);
    // And the other way round: what was there is there.
    expect([ids(await one(four('two'))), steps()]).toEqual([ids(before), 0]);
  });

  test('an edit of the file that is copied last rebuilds one layer (C123)', async () => {
    const file = join(dir, 'app.py');
    writeFileSync(file, 'one');
    const image = base.runCommands(random('deps')).copyLocalFile(file, '/app.py');
    const before = await one(image);
    writeFileSync(file, 'two');
    const after = await one(image);
    expect(same(before, after)).toEqual([0, 1, 2]);
    expect(cached(after)).toEqual([true, true, true, false]);
  });

  test('two images on one base share it (C124)', async () => {
    writeFileSync(join(dir, 'app.py'), 'app');
    const shared = base.runCommands(random('deps'));
    const below = await one(shared);
    const app = await one(shared.copyLocalDir(dir, '/app', { ignore: ['store'] }));
    expect(ids(app).slice(0, 3)).toEqual(ids(below));
    expect(cached(app)).toEqual([true, true, true, false]);
  });

  describe('forceBuild on a call', () => {
    test('gets it a new id on each build, what is before it keeps its own (C38) (C127)', async () => {
      const before = await one(chain());
      const forced = [
        await one(chain('first', { forceBuild: true })),
        await one(chain('first', { forceBuild: true })),
      ] as const;
      for (const built of forced) {
        expect(cached(built)).toEqual([true, true, true, false, false]);
        expect(same(before, built)).toEqual([0, 1, 2]);
      }
      expect(same(...forced)).toEqual([0, 1, 2]);
      expect(steps()).toBe(2);
    });

    test('replaces what the cache knows: later builds use it, and others rebuild what follows it (C127)', async () => {
      const other = base
        .runCommands(random('first'))
        .runCommands(random('second'))
        .runCommands(random('other'));
      await one(chain());
      const before = await one(other);
      const forced = await one(chain('first', { forceBuild: true }));
      expect([ids(await one(chain())), steps()]).toEqual([ids(forced), 0]);
      const after = await one(other);
      expect(same(before, after)).toEqual([0, 1, 2]);
      expect(after.layers[3]?.id).toBe(forced.layers[3]?.id);
      expect(cached(after)).toEqual([true, true, true, true, false]);
    });

    test('of the factory is the whole chain', async () => {
      const image = Image.fromScratch({ forceBuild: true })
        .addLocalFile(busyboxPath(), '/bin/sh', { copy: true })
        .runCommands('true');
      const before = await one(image);
      const after = await one(image);
      expect(same(before, after)).toEqual([]);
      expect(cached(after)).toEqual([false, false, false]);
    });

    test('on a call that only changes the configuration forces what follows (C128)', async () => {
      const image = base.runCommands('true').env({ A: '1' }, { forceBuild: true }).runCommands(random('x'));
      const before = await one(image);
      const after = await one(image);
      expect(cached(after).slice(0, 3)).toEqual([true, true, true]);
      expect(cached(after)[4]).toBe(false);
      expect(before.id).not.toBe(after.id);
    });

    test('forces a layer once, however many images of the invocation share it', async () => {
      const shared = base.runCommands(random('x'), { forceBuild: true });
      const [left, right] = (await build([
        shared.runCommands('echo l'),
        shared.runCommands('echo r'),
        shared,
      ])) as [BuiltImage, BuiltImage, BuiltImage];
      expect(left.layers[2]?.id).toBe(right.layers[2]?.id);
      // Two of the base, the shared one, one of each.
      expect(steps()).toBe(5 + 1);
    });

    test('that is left in the definition is warned about', async () => {
      await using engine = await Engine.open({ storeDir: join(dir, 'store'), env: { HOME: dir } });
      const { diagnostics } = await engine.plan(chain('first', { forceBuild: true }));
      expect(diagnostics).toMatchObject([{ code: 'W_FORCE_BUILD_LEFT', layer: 3 }]);
    });
  });

  test.each([
    ['the variable', FORCE, {}],
    ['the option', {}, { forceBuild: true }],
  ])('%s rebuilds every layer of every image and replaces what is known (C125)', async (_, env, options) => {
    const other = base.runCommands(random('first')).runCommands(random('other'));
    const [before, otherBefore] = (await build([chain(), other])) as [BuiltImage, BuiltImage];
    const forced = await one(chain(), env, options);
    expect(same(before, forced)).toEqual([]);
    expect(cached(forced)).toEqual([false, false, false, false, false]);
    expect([ids(await one(chain())), steps()]).toEqual([ids(forced), 0]);
    const otherAfter = await one(other);
    expect(otherAfter.id).not.toBe(otherBefore.id);
    expect(cached(otherAfter)).toEqual([true, true, true, false]);
  });

  test.each([
    ['the variable', IGNORE, {}],
    ['the option', {}, { ignoreCache: true }],
    ['both variables', { ...IGNORE, ...FORCE }, {}],
  ])(
    '%s: everything is rebuilt, and the next build gets what was there before (C126)',
    async (_, env, options) => {
      const before = await one(chain());
      const forcedCall = await one(chain('first', { forceBuild: true }), env, options);
      const ignoring = await one(chain(), env, options);
      for (const built of [forcedCall, ignoring]) {
        expect(same(before, built)).toEqual([]);
        expect(cached(built)).toEqual([false, false, false, false, false]);
      }
      expect([ids(await one(chain())), steps()]).toEqual([ids(before), 0]);
    },
  );

  test('where nothing was cached, an ignoring build leaves nothing', async () => {
    await one(chain(), IGNORE);
    const after = await one(chain());
    expect(cached(after)).toEqual([false, false, false, false, false]);
  });

  test.each([
    ['normal', {}],
    ['forced', FORCE],
  ])('a layer that failed writes nothing; those before it do (%s)', async (_, env) => {
    const before = await one(chain());
    const failing = (status: string) =>
      base.runCommands(random('first')).runCommands(`${random('bad')}; ${status}`);
    await expect(build([failing('exit 9')], env)).rejects.toMatchObject({ exitCode: 9 });
    const again = failing('exit 9');
    await expect(build([again], env)).rejects.toMatchObject({ exitCode: 9 });
    expect(steps()).toBeGreaterThan(0);
    const after = await one(chain());
    expect(same(before, after).includes(2)).toBe(env !== FORCE);
  });

  test('branches are built at once, what they share once (C151)', async () => {
    // Each waits until it sees the other; one after the other they would never end.
    const shared = busyboxImage().runCommands(random('shared'));
    const { createServer } = await import('node:net');
    const waiting: (() => void)[] = [];
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => undefined);
      waiting.push(() => socket.end('both\n'));
      if (waiting.length === 2) {
        for (const go of waiting) {
          go();
        }
      }
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const branch = (name: string) =>
      shared.runCommands(`echo ${name}; nc 127.0.0.1 ${port} < /dev/null`, { timeout: 60 });
    const [left, right] = (await build([branch('left'), branch('right')], {}, { concurrency: 2 })) as [
      BuiltImage,
      BuiltImage,
    ];
    server.close();
    expect(left.layers[3]?.id).toBe(right.layers[3]?.id);
    const said = events.flatMap((event) => (event.kind === 'log' ? [event.text] : []));
    expect(said.filter((text) => text === 'both')).toHaveLength(2);
    expect(steps()).toBe(2 + 1 + 2 + 1);
  });
});
