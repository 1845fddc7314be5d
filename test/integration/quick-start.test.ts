/** What builds of directories remember of earlier ones, besides the store: code, and how the context was walked. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { lacks } from '../support/requires.ts';
import { run, succeed } from '../support/tsbuild.ts';

/** Scans of younger files are not remembered. */
const SETTLED_MS = 2100;

describe.skipIf(lacks('root', 'bwrap'))('a build of a directory', () => {
  let directory: string;
  let context: string;
  let memory: string;
  const options = () => ({
    env: { TSBUILD_HOME: join(directory, 'store'), XDG_CACHE_HOME: join(directory, 'cache') },
  });
  const build = async (path = context) => (await succeed(['build', path, '--quiet'], options())).stdout;

  beforeEach(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), 'tsbuild-quick-')));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    context = join(directory, 'context');
    memory = join(directory, 'cache/tsbuild/node');
    mkdirSync(join(context, 'tree/hidden'), { recursive: true });
    writeFileSync(join(context, 'Dockerfile'), 'FROM scratch\nCOPY tree /tree\n');
    writeFileSync(join(context, '.dockerignore'), 'tree/hidden\n');
    writeFileSync(join(context, 'tree/one'), 'one');
  });

  /** As the command writes it of a walk that takes long. */
  const rememberWalk = (root: string, skip: string, path = context) => {
    mkdirSync(memory, { recursive: true });
    writeFileSync(join(memory, 'walks.json'), JSON.stringify([{ context: path, root, skip }]));
  };

  test('remembers code when it succeeded, and mends what is damaged', async () => {
    const scripts = () => readdirSync(memory).filter((name) => /^[0-9a-f]{64}-v/.test(name));
    const failed = await run(['build', context, '--file', 'missing', '--quiet'], options());
    expect(failed.status).toBe(2);
    mkdirSync(memory, { recursive: true });
    expect(scripts()).toEqual([]);
    const digest = await build();
    const size = (name: string) => statSync(join(memory, name)).size;
    // That of the script that every build loads.
    const [script = ''] = scripts().sort((one, other) => size(other) - size(one));
    const whole = size(script);
    writeFileSync(join(memory, script), readFileSync(join(memory, script)).subarray(0, 1000));
    expect(await build()).toBe(digest);
    expect(size(script)).toBeGreaterThan(whole / 2);
    // Nothing unfinished is left; the worker has a script of its own.
    const finished = /^(worker-)?[0-9a-f]{64}-v[\d.]+-\w+$/;
    expect(readdirSync(memory).filter((name) => !finished.test(name))).toEqual([]);
  });

  test('sees what changed in a context whose walk begins before it is asked for', async () => {
    await sleep(SETTLED_MS);
    rememberWalk(context, 'tree/hidden\0');
    const digests = [await build(), await build()];
    writeFileSync(join(context, 'tree/hidden/file'), 'hidden');
    digests.push(await build());
    expect(new Set(digests).size).toBe(1);
    writeFileSync(join(context, 'tree/one'), 'two');
    const changed = await build();
    expect(digests).not.toContain(changed);
    await sleep(SETTLED_MS);
    expect([await build(), await build()]).toEqual([changed, changed]);
    writeFileSync(join(context, '.dockerignore'), '');
    expect([changed, ...digests]).not.toContain(await build());
  });

  test('is as good without that walk, and with a wrong one', async () => {
    await sleep(SETTLED_MS);
    const digest = await build();
    const link = join(directory, 'link');
    symlinkSync(context, link);
    const wrong = [
      () => rememberWalk(context, ''),
      () => rememberWalk(directory, 'tree/hidden\0'),
      () => rememberWalk('/nowhere', ''),
      () => rememberWalk(context, 'tree/hidden\0', link),
      () => writeFileSync(join(memory, 'walks.json'), 'no JSON'),
      () => rmSync(join(memory, 'walks.json')),
    ];
    for (const make of wrong) {
      make();
      expect(await build()).toBe(digest);
      expect(await build(link)).toBe(digest);
    }
  });
});
