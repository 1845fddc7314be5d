/** What a build of which everything is known loads: each module is time that every start takes (ADR 12). */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busyboxDefinition } from '../../support/busybox.ts';
import { lacks } from '../../support/requires.ts';
import { checkout } from '../../support/tsbuild.ts';
import { Workbench } from '../../support/workbench.ts';

/** It is a dozen; some room for what a bundler finds to share. */
const MOST_FILES = 16;

/** Told to Node by `--import`. */
const HOOK = `
import { appendFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
registerHooks({
  load(url, context, next) {
    appendFileSync(process.env.LOADED, url + '\\n');
    return next(url, context);
  },
});
`;

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('starting', () => {
  let bench: Workbench;
  const root = pathToFileURL(checkout.directory).href;

  beforeAll(() => {
    bench = new Workbench();
    bench.write({ 'hook.mjs': HOOK, 'image.ts': busyboxDefinition("runCommands('echo hi > /hi')") });
  });
  afterAll(() => bench[Symbol.dispose]());

  /** Of the package: paths in it. */
  async function loaded(args: readonly string[]): Promise<string[]> {
    bench.write({ loaded: '' });
    const ran = await bench.run(args, {
      env: { LOADED: bench.at('loaded'), NODE_OPTIONS: `--import=${bench.at('hook.mjs')}` },
    });
    expect(ran.stderr).not.toContain('error');
    expect(ran.status).toBe(0);
    return ofPackage();
  }

  function ofPackage(): string[] {
    const urls = readFileSync(bench.at('loaded'), 'utf8').trim().split('\n');
    return urls.flatMap((url) => (url.startsWith(`${root}/`) ? [url.slice(root.length + 1)] : []));
  }

  test('a cached build loads a few files, and no dependency', async () => {
    await bench.build(['image.ts']);
    const files = await loaded(['build', 'image.ts', '--progress=quiet']);
    expect(files.filter((file) => file.startsWith('node_modules/'))).toEqual([]);
    expect(files.filter((file) => file.includes('/engine-')).length).toBeGreaterThan(0);
    expect(files.length).toBeLessThanOrEqual(MOST_FILES);
  });

  test('help and version load no engine', async () => {
    for (const args of [['--version'], ['build', '--help'], ['volume', 'get', '--help']]) {
      const files = await loaded(args);
      expect(files.filter((file) => /engine|node_modules/.test(file))).toEqual([]);
    }
  });

  test('the library has nothing of the command line', () => {
    bench.write({ loaded: '' });
    execFileSync(
      process.execPath,
      [
        '--import',
        bench.at('hook.mjs'),
        '--eval',
        `await import('${root}/dist/index.js')`,
        '--input-type=module',
      ],
      { env: { LOADED: bench.at('loaded') }, stdio: ['ignore', 'ignore', 'inherit'] },
    );
    const files = ofPackage();
    expect(files).toContain('dist/index.js');
    const text = files.map((file) => readFileSync(join(checkout.directory, file), 'utf8')).join('\n');
    expect(text).toContain('\n// src/engine.ts\n');
    expect(text.match(/^\/\/ src\/cli\/.*$/gm)).toBeNull();
  });
});
