/** Steps that are run again, and steps that run too long. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Engine, type EngineOptions } from '../../src/engine.ts';
import { Volume } from '../../src/frontend/fluent/volume.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { busyboxImage } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('steps', () => {
  let dir: string;
  let events: BuildEvent[];

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-attempts-'));
    events = [];
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const open = (options: EngineOptions = {}) =>
    Engine.open({
      storeDir: join(dir, 'store'),
      env: { PATH: process.env.PATH },
      hostCa: 'never',
      onEvent: (event) => events.push(event),
      ...options,
    });
  const retried = () =>
    events.flatMap((event) =>
      event.kind === 'warning' && event.code === 'W_STEP_RETRIED' ? [event.message] : [],
    );
  /** A volume outlives attempts, and so tells them apart. */
  const counting = (passesAt: number, retries?: number) =>
    busyboxImage().runCommands(
      `echo x >> /count/n; n=$(grep -c x /count/n); echo attempt $n; touch /of-$n; [ $n -ge ${passesAt} ]`,
      {
        volumes: { '/count': Volume.fromName('count', { createIfMissing: true }) },
        ...(retries === undefined ? {} : { retries }),
      },
    );

  test('one that failed begins anew, and nothing of the failed attempts is in its layer', async () => {
    await using engine = await open();
    const image = counting(3, 2);
    await engine.build([image]);
    expect(await engine.listFiles(image, '/')).toEqual(['/bin/sh', '/of-3']);
    expect(retried()).toEqual([
      expect.stringMatching(
        /^attempt 1 of 3 failed: the step ended with status 1; the next one is in \d+ ms$/,
      ),
      expect.stringMatching(/^attempt 2 of 3 failed: /),
    ]);
    const [log = ''] = readdirSync(join(dir, 'store/logs'))
      .map((name) => readFileSync(join(dir, 'store/logs', name), 'utf8'))
      .filter((text) => text.includes('attempt 3'));
    expect(log.match(/(attempt \d$|W_STEP_RETRIED)/gm)).toEqual([
      'attempt 1',
      'W_STEP_RETRIED',
      'attempt 2',
      'W_STEP_RETRIED',
      'attempt 3',
    ]);
  });

  test('the engine says how often, unless the call does', async () => {
    await using engine = await open({ stepRetries: 1 });
    await expect(engine.build([counting(9)])).rejects.toMatchObject({ code: 'E_BUILD_FAILED' });
    expect(retried()).toHaveLength(1);
    await expect(engine.build([counting(9, 0)])).rejects.toMatchObject({ code: 'E_BUILD_FAILED' });
    expect(retried()).toHaveLength(1);
  });

  test('what fails the same way every time is not tried again', async () => {
    await using engine = await open({ stepRetries: 3 });
    const absent = busyboxImage().runCommands('["/no/such/program"]');
    await expect(engine.build([absent])).rejects.toMatchObject({ code: 'E_STEP_NOT_STARTED' });
    expect(retried()).toEqual([]);
  });

  test('cancelling ends the wait for the next attempt', async () => {
    const controller = new AbortController();
    await using engine = await open({
      onEvent: (event) => {
        events.push(event);
        if (event.kind === 'warning') {
          controller.abort(new Error('enough'));
        }
      },
    });
    await expect(engine.build([counting(9, 50)], { signal: controller.signal })).rejects.toThrow('enough');
    expect(retried()).toHaveLength(1);
  });

  test.each([
    ['of the engine', { stepTimeoutMs: 400 }, {}],
    ['of the call, over that of the engine', { stepTimeoutMs: 60_000 }, { timeout: 0.4 }],
  ])(
    'the time limit %s ends whatever was started, and counts for each attempt',
    async (_, engineOptions, options) => {
      await using engine = await open({ ...engineOptions, stepRetries: 1 });
      const seconds = '98761';
      const image = busyboxImage().runCommands(
        `setsid sleep ${seconds} & (trap '' TERM; sleep ${seconds}) & sleep ${seconds}`,
        options,
      );
      await expect(engine.build([image])).rejects.toMatchObject({
        code: 'E_BUILD_TIMEOUT',
        message: expect.stringContaining('400 ms'),
      });
      expect(retried()).toHaveLength(1);
      const left = readdirSync('/proc').filter((pid) => {
        try {
          return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8') === `sleep\0${seconds}\0`;
        } catch {
          return false;
        }
      });
      expect(left).toEqual([]);
    },
  );
});
