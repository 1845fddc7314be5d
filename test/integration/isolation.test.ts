/** How an isolation is asked for, and what is said of it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Engine, type EngineOptions } from '../../src/engine.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { busyboxImage } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';

describe.skipIf(lacks('root', 'bwrap', 'busybox'))('isolation', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-isolation-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  /** What an engine that builds twice says of its isolation. */
  async function saidBy(options: EngineOptions): Promise<readonly object[]> {
    const events: BuildEvent[] = [];
    await using engine = await Engine.open({
      storeDir: join(dir, 'store'),
      hostCa: 'never',
      env: { PATH: process.env.PATH, HOME: dir },
      onEvent: (event) => events.push(event),
      ...options,
    });
    await engine.build([busyboxImage().runCommands('echo one > /one')]);
    await engine.build([busyboxImage().runCommands('echo two > /two')]);
    return events.filter(
      (event) =>
        event.kind === 'isolation' || (event.kind === 'warning' && event.code.startsWith('W_ISOLATION')),
    );
  }

  test('is the best that works, and its limits are said once', async () => {
    expect(await saidBy({})).toEqual([
      expect.objectContaining({
        kind: 'isolation',
        isolation: 'privileged',
        message: expect.stringContaining('root'),
      }),
    ]);
  });

  test('a weak one is a warning, whoever asks for it', async () => {
    const weak = expect.objectContaining({
      code: 'W_ISOLATION_CHROOT',
      message: expect.stringContaining('weak'),
    });
    expect(await saidBy({ isolation: 'chroot' })).toEqual([weak]);
    // Nobody's ids differ: the store can be used on, without bubblewrap too.
    const env = { PATH: '/nowhere', HOME: dir, TSBUILD_ISOLATION: 'chroot' };
    expect(await saidBy({ env })).toEqual([]);
    expect(await saidBy({ env, storeDir: join(dir, 'other') })).toEqual([weak]);
  });

  test('root may have a user namespace, with its own ids or one', async () => {
    expect(await saidBy({ isolation: 'subordinate-ids' })).toEqual([
      expect.objectContaining({ kind: 'isolation', isolation: 'subordinate-ids' }),
    ]);
    expect(await saidBy({ isolation: 'single-id', storeDir: join(dir, 'other') })).toEqual([
      expect.objectContaining({ code: 'W_ISOLATION_SINGLE_ID' }),
    ]);
  });

  test("a step that asks for all privileges is refused where they would be more than the step's", async () => {
    await using engine = await Engine.open({ storeDir: join(dir, 'store'), isolation: 'chroot' });
    const image = busyboxImage().dockerfileCommands('RUN --security=insecure id');
    await expect(engine.build([image])).rejects.toMatchObject({
      code: expect.stringMatching(/E_ISOLATION|E_ENTITLEMENT/),
    });
  });

  test('one that there is not is refused before anything is done', async () => {
    const env = { HOME: dir, TSBUILD_ISOLATION: 'jail' };
    await expect(Engine.open({ storeDir: join(dir, 'store'), env })).rejects.toMatchObject({
      code: 'E_USAGE',
      message: expect.stringContaining('subordinate-ids'),
    });
  });
});
