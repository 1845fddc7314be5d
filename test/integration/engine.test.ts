/** Whole builds on real overlay, real bubblewrap; no network. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import { StepError } from '../../src/errors.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import { Secret } from '../../src/secret/secret.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { busyboxImage } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('engine', () => {
  let dir: string;
  let events: BuildEvent[];

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-engine-'));
    events = [];
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const open = (env: NodeJS.ProcessEnv = {}) =>
    Engine.open({
      storeDir: join(dir, 'store'),
      env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
      onEvent: (event) => events.push(event),
    });
  const outcomes = () =>
    events.flatMap((event) => (event.kind === 'vertex-finished' ? [event.outcome] : [])).sort();

  test('builds, runs, reads and caches', async () => {
    const image = busyboxImage()
      .runCommands('echo one > /one', 'cat /one')
      .workdir('/work')
      .runCommands('pwd > where')
      .cmd(['/bin/sh', '-c', 'cat /one /work/where']);
    {
      await using engine = await open();
      const [built] = await engine.build([image]);
      expect(built?.digest).toMatch(/^sha256:[a-f0-9]{64}$/);
      expect(built?.layers.map((layer) => layer.cached)).not.toContain(undefined);
      expect((await engine.run(image, undefined, {})).stdout).toBe('one\n/work\n');
      expect((await engine.readFile(image, '/one')).toString()).toBe('one\n');
      expect(await engine.exists(image, '/nothing')).toBe(false);
      expect(await engine.listFiles(image, '/work')).toContain('/work/where');
      const logged = events.flatMap((event) => (event.kind === 'log' ? [event.text] : []));
      expect(logged).toContain('one');
    }
    events = [];
    await using again = await open();
    const [rebuilt] = await again.build([image]);
    expect(new Set(outcomes())).toEqual(new Set(['cached']));
    expect(rebuilt?.layers.every((layer) => layer.cached)).toBe(true);
  });

  test("the builder version is the factory's, the engine's, or the environment's", async () => {
    const planned = async (image: Image, builderVersion?: '2025.06' | 'PREVIEW') => {
      await using engine = await Engine.open({
        storeDir: join(dir, 'store'),
        env: { TSBUILD_IMAGE_BUILDER_VERSION: '2025.06' },
        ...(builderVersion === undefined ? {} : { builderVersion }),
      });
      return (await engine.plan(image)).builderVersion;
    };
    expect(await planned(Image.fromScratch())).toBe('2025.06');
    expect(await planned(Image.fromScratch(), 'PREVIEW')).toBe('PREVIEW');
    expect(await planned(Image.fromScratch({ builderVersion: '2026.10' }), 'PREVIEW')).toBe('2026.10');
    await expect(planned(Image.fromScratch(), '2020' as never)).rejects.toThrow(
      /'2020' \(builderVersion of the engine\)/,
    );
  });

  test('a second build is byte for byte the same image, also in another store', async () => {
    const image = busyboxImage().runCommands(
      'mkdir -p /a/b && echo x > /a/b/c && ln /a/b/c /a/d && ln -s d /a/e',
    );
    const epoch = { SOURCE_DATE_EPOCH: '1700000000' };
    const digests: unknown[] = [];
    for (const store of ['one', 'two']) {
      await using engine = await Engine.open({
        storeDir: join(dir, store),
        env: { PATH: process.env.PATH, ...epoch },
      });
      const output = {
        type: 'oci',
        tar: false,
        dest: join(dir, `out-${store}`),
        rewriteTimestamp: true,
      } as const;
      await engine.build([image], { outputs: [output] });
      digests.push(
        JSON.parse(readFileSync(join(dir, `out-${store}`, 'index.json'), 'utf8')).manifests[0].digest,
      );
    }
    expect(digests[0]).toBe(digests[1]);
  });

  test('a failing step says how, leaves nothing, and is not cached', async () => {
    const image = busyboxImage().runCommands('echo before; echo sorry >&2; exit 7');
    await using engine = await open();
    const failure = await engine.build([image]).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(StepError);
    expect(failure).toMatchObject({ code: 'E_BUILD_FAILED', exitCode: 7, reason: 'exit' });
    expect((failure as StepError).logTail).toContain('sorry');
    await expect(engine.build([image])).rejects.toMatchObject({ exitCode: 7 });
  });

  test('signals, time limits and programs that do not exist are told apart', async () => {
    await using engine = await open();
    await expect(engine.build([busyboxImage().runCommands('kill -9 $$')])).rejects.toMatchObject({
      code: 'E_BUILD_SIGNAL',
      reason: 'signal',
    });
    await expect(
      engine.build([busyboxImage().runCommands('sleep 60', { timeout: 0.3 })]),
    ).rejects.toMatchObject({
      code: 'E_BUILD_TIMEOUT',
      reason: 'timeout',
    });
    await expect(engine.build([busyboxImage().runCommands('["/no/such/program"]')])).rejects.toMatchObject({
      code: 'E_STEP_NOT_STARTED',
      reason: 'not-started',
      hint: undefined,
    });
    await expect(engine.build([Image.fromScratch().runCommands('true')])).rejects.toMatchObject({
      code: 'E_STEP_NOT_STARTED',
      hint: expect.stringContaining('has no shell'),
    });
  });

  test('cancellation rethrows the reason and leaves the engine usable', async () => {
    await using engine = await open();
    const abort = new AbortController();
    const reason = new Error('enough');
    const building = engine.build([busyboxImage().runCommands('echo started; sleep 60')], {
      signal: abort.signal,
      logger: (event) => event.kind === 'log' && abort.abort(reason),
    });
    await expect(building).rejects.toBe(reason);
    await engine.build([busyboxImage().runCommands('echo fine')]);
  });

  test('local files are keyed by content: an edit runs what follows, a touch does not', async () => {
    const file = join(dir, 'input.txt');
    writeFileSync(file, 'one');
    const image = busyboxImage().copyLocalFile(file, '/input.txt').runCommands('cat /input.txt > /copy');
    await using engine = await open();
    await engine.build([image]);
    writeFileSync(file, 'one');
    events = [];
    await engine.build([image]);
    expect(new Set(outcomes())).toEqual(new Set(['cached']));
    writeFileSync(file, 'two');
    events = [];
    await engine.build([image]);
    expect((await engine.readFile(image, '/copy')).toString()).toBe('two');
    const miss = events.find((event) => event.kind === 'vertex-finished' && event.miss?.reason === 'changed');
    expect(miss).toBeDefined();
  });

  test('a step whose input came out equal is not run again', async () => {
    await using engine = await open();
    const tail = (image: Image) => image.runCommands('cat /made > /again');
    await engine.build([tail(busyboxImage().runCommands('echo same > /made'))]);
    events = [];
    await engine.build([tail(busyboxImage().runCommands('printf "same\\n" > /made'))]);
    expect(outcomes()).toContain('content');
    expect(outcomes().filter((outcome) => outcome === 'done')).toHaveLength(1);
  });

  test('a secret is seen by its step and by nothing else', async () => {
    const value = 'hunter2-very-secret';
    const image = busyboxImage().runCommands('echo "the token is $TOKEN"; [ -n "$TOKEN" ]', {
      secrets: [Secret.fromDict({ TOKEN: value })],
    });
    await using engine = await open();
    await engine.build([image]);
    const logged = events.flatMap((event) => (event.kind === 'log' ? [event.text] : []));
    expect(logged).toContain('the token is ***');
    expect(JSON.stringify(events)).not.toContain(value);
    const found = readdirSync(join(dir, 'store'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => readFileSync(path).includes(value));
    expect(found).toEqual([]);
  });

  test('independent branches share their base and run at the same time', async () => {
    const base = busyboxImage().runCommands('echo base > /base');
    await using engine = await open();
    await engine.build([base.runCommands('echo a > /a'), base.runCommands('echo b > /b')], {
      concurrency: 2,
    });
    const plans = events.filter((event) => event.kind === 'plan');
    expect(plans).toHaveLength(1);
    expect(outcomes().filter((outcome) => outcome === 'done')).toHaveLength(
      plans[0]?.kind === 'plan' ? plans[0].vertices.length : -1,
    );
  });

  test('pending files are in containers and in exports, in no layer of the image', async () => {
    const file = join(dir, 'late.txt');
    writeFileSync(file, 'first');
    const image = busyboxImage().addLocalFile(file, '/late.txt');
    await using engine = await open();
    const [built] = await engine.build([image]);
    expect((await engine.run(image, ['/bin/sh', '-c', 'cat /late.txt'], {})).stdout).toBe('first');
    writeFileSync(file, 'second');
    expect(
      (await engine.run(image, ['/bin/sh', '-c', 'cat /late.txt; echo no > /late.txt'], {})).stdout,
    ).toBe('second');
    expect(readFileSync(file, 'utf8')).toBe('second');
    expect(await engine.exists(image, '/late.txt')).toBe(false);
    await engine.exportTo(image, join(dir, 'out'), { format: 'oci-layout' });
    const exported = Image.fromOciLayout(join(dir, 'out'));
    expect((await engine.readFile(exported, '/late.txt')).toString()).toBe('second');
    const [imported] = await engine.build([exported]);
    expect(imported?.config.rootfs.diff_ids).toHaveLength((built?.config.rootfs.diff_ids.length ?? 0) + 1);
  });
});
