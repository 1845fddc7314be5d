/** The packed package inside of other programs: ES modules, CommonJS, worker threads, bundles; several engines at once. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build as esbuild } from 'esbuild';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busyboxPath } from '../support/busybox.ts';
import { installPacked } from '../support/packed-package.ts';
import { lacks } from '../support/requires.ts';

let project: string;
let installed: string;
let stores = 0;

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'tsbuild-embedding-'));
  installed = installPacked(project);
});
afterAll(() => rmSync(project, { recursive: true, force: true }));

function write(name: string, text: string): string {
  const path = join(project, name);
  writeFileSync(path, text);
  return path;
}

function newStore(): string {
  stores += 1;
  return join(project, `store-${stores}`);
}

function start(script: string, store: string, ...args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [script, busyboxPath(), ...args], {
    cwd: project,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, TSBUILD_HOME: store },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

function ended(child: ChildProcess): Promise<Ended> {
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  return new Promise((resolve) =>
    child.once('close', (status, signal) => resolve({ status, signal, stdout, stderr })),
  );
}

const run = (script: string, store = newStore(), ...args: readonly string[]): Promise<Ended> =>
  ended(start(script, store, ...args));

/** Waits until no process has `text` in its command line; the kernel ends them on its own. */
async function gone(text: string): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    const alive = readdirSync('/proc').filter((pid) => {
      try {
        return (
          /^\d+$/.test(pid) &&
          Number(pid) !== process.pid &&
          readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text)
        );
      } catch {
        return false;
      }
    });
    if (alive.length === 0) {
      return;
    }
    expect(attempt, `processes that survived: ${alive.join(', ')}`).toBeLessThan(200);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** What is left of engines that did not close. */
const engineLocks = (store: string) => readdirSync(join(store, 'engines'));

const IMPORT = "import { Engine, EventStream, Image, StepError } from 'tsbuild';\n";
const IMAGE = `const busybox = (shell) => Image.fromScratch().addLocalFile(shell, '/bin/sh', { copy: true }).env({ PATH: '/bin' });\n`;
/** Builds, runs, and prints one line. */
const MAIN = `async function main() {
  const engine = await Engine.open();
  const image = busybox(process.argv[2]).runCommands('echo built > /out');
  const [built] = await engine.build([image]);
  const { stdout } = await engine.run(built, ['/bin/sh', '-c', 'cat /out'], {});
  await engine.plan(image.runFunction(function analysed() { return process.pid; }));
  await engine.close();
  console.log(JSON.stringify({ digest: built.digest, stdout }));
}
`;
const SUCCESS = {
  status: 0,
  stderr: '',
  stdout: expect.stringMatching(/^\{"digest":"sha256:[0-9a-f]{64}","stdout":"built\\n"\}\n$/),
};

test('the package is written for the oldest Node that it allows', () => {
  const { engines } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  const config = readFileSync(join(import.meta.dirname, '../../rolldown.config.js'), 'utf8');
  expect(engines.node).toBe(`>=${/target: 'node([\d.]+)'/.exec(config)?.[1]}`);
  const scripts = readdirSync(join(installed, 'dist'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.js'),
  );
  expect(scripts.length).toBeGreaterThan(10);
  // Of Node 24 on.
  const newer = /^\s*(?:for \()?(?:await )?using \w+ (?:=|of)/m;
  expect(scripts.filter((name) => newer.test(readFileSync(join(installed, 'dist', name), 'utf8')))).toEqual(
    [],
  );
});

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('a program', () => {
  test('imports it, and sees nothing of it that it did not ask for', async () => {
    const script = write(
      'quiet.mjs',
      `const state = () => JSON.stringify([
        process.eventNames().map((name) => [String(name), process.listenerCount(name)]).sort(),
        Object.getOwnPropertyNames(globalThis).sort(), process.exitCode, process.umask(), process.cwd(), process.title, process.env,
      ]);
      const before = state();
      const { Engine, Image } = await import('tsbuild');
      ${IMAGE}${MAIN}
      await main();
      if (state() !== before) {
        console.error(before, state());
      }`,
    );
    const store = newStore();
    // It also ends by itself: nothing holds the process.
    expect(await run(script, store)).toMatchObject(SUCCESS);
    expect(engineLocks(store)).toEqual([]);
  });

  test('requires it', async () => {
    const script = write(
      'require.cjs',
      `const { Engine, Image } = require('tsbuild');\n${IMAGE}${MAIN}
      import('tsbuild').then((module) => {
        if (module.Image !== Image) throw new Error('there are two of them');
        return main();
      });`,
    );
    expect(await run(script)).toMatchObject(SUCCESS);
  });

  test('uses images without an engine of its own', async () => {
    const script = write(
      'implicit.mjs',
      `${IMPORT}${IMAGE}const image = busybox(process.argv[2]).runCommands('echo built > /out');
      await image.build();
      console.log(String(await image.readFile('/out')).trim());`,
    );
    const store = newStore();
    expect(await run(script, store)).toMatchObject({ status: 0, stdout: 'built\n', stderr: '' });
    expect(engineLocks(store)).toEqual([]);
  });

  test('has several engines, on one store and on others', async () => {
    const script = write(
      'several.mjs',
      `${IMPORT}${IMAGE}
      const image = busybox(process.argv[2]).runCommands('sleep 0.2; cat /proc/sys/kernel/random/uuid > /out');
      const [same, other] = process.argv.slice(3);
      const engines = await Promise.all([same, same, other].map((storeDir) => Engine.open({ storeDir })));
      const built = await Promise.all(engines.map((engine) => engine.build([image])));
      const texts = await Promise.all(engines.map((engine) => engine.readFile(image, '/out').then(String)));
      await engines[0].close();
      await engines[0].close();
      const after = await engines[1].build([image.runCommands('echo still here')]);
      const closed = await engines[0].build([image]).catch((error) => error.code);
      await Promise.all(engines.map((engine) => engine.close()));
      console.log(JSON.stringify({ texts, cached: after[0].layers.map((layer) => layer.cached), closed }));`,
    );
    const { status, stdout, stderr } = await run(script, newStore(), newStore(), newStore());
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const { texts, cached, closed } = JSON.parse(stdout) as {
      readonly texts: readonly string[];
      readonly cached: readonly boolean[];
      readonly closed: string;
    };
    // What is random was made once in one store, and another time in the other.
    expect(texts[0]).toBe(texts[1]);
    expect(texts[0]).not.toBe(texts[2]);
    expect(cached.slice(0, -1)).not.toContain(false);
    expect(closed).toBe('E_USAGE');
  });

  test('reads events at its own speed, of the engine and of one build', async () => {
    const script = write(
      'events.mjs',
      `${IMPORT}${IMAGE}
      await using engine = await Engine.open();
      const all = engine.events();
      const read = (async () => { const kinds = new Set(); for await (const { kind } of all) kinds.add(kind); return kinds; })();
      const own = new EventStream({ limit: 50 });
      const noisy = busybox(process.argv[2]).runCommands('i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done');
      const quiet = busybox(process.argv[2]).runCommands('echo quiet');
      await Promise.all([engine.build([noisy], { logger: own.push }), engine.build([quiet])]);
      own.end();
      const events = await Array.fromAsync(own);
      await engine.close();
      const logs = events.filter(({ kind }) => kind === 'log').map(({ text }) => text);
      console.log(JSON.stringify({
        count: events.length, last: logs.at(-1), quiet: logs.includes('quiet'), dropped: events.some(({ code }) => code === 'W_EVENTS_DROPPED'),
        first: events.some(({ kind }) => kind === 'plan'), kinds: [...await read].sort(),
      }));`,
    );
    const { stdout, stderr } = await run(script);
    expect(stderr).toBe('');
    const { count, kinds, ...rest } = JSON.parse(stdout);
    expect(count).toBeLessThanOrEqual(51);
    expect(rest).toEqual({ last: 'line 2999', quiet: false, dropped: true, first: true });
    expect(kinds).toEqual(
      expect.arrayContaining(['built', 'log', 'plan', 'vertex-finished', 'vertex-started']),
    );
  });

  test('survives a listener of its own that throws', async () => {
    const script = write(
      'throws.mjs',
      `${IMPORT}${IMAGE}
      await using engine = await Engine.open();
      const image = busybox(process.argv[2]).runCommands('echo hello; sleep 1000');
      const logger = (event) => { if (event.kind === 'log') throw new RangeError('mine'); };
      const error = await engine.build([image], { logger }).catch((error) => error);
      const [built] = await engine.build([busybox(process.argv[2])]);
      console.log(error.message, built.digest.slice(0, 7));`,
    );
    expect(await run(script)).toMatchObject({ status: 0, stdout: 'mine sha256:\n', stderr: '' });
  });

  test('is ended by a signal as ever, and takes its steps along', async () => {
    const script = write(
      'signalled.mjs',
      `${IMPORT}${IMAGE}
      const engine = await Engine.open({ onEvent: ({ kind, text }) => kind === 'log' && console.log(text) });
      await engine.build([busybox(process.argv[2]).runCommands('echo up; sleep 987123')]);`,
    );
    const store = newStore();
    const child = start(script, store);
    const end = ended(child);
    child.stdout?.once('data', () => child.kill('SIGTERM'));
    expect(await end).toMatchObject({ status: null, signal: 'SIGTERM', stdout: 'up\n' });
    await gone('sleep 987123');
    await gone(store);
  });
});

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('a worker thread', () => {
  test('builds', async () => {
    write('in-thread.mjs', `${IMPORT}${IMAGE}${MAIN}await main();\n`);
    const script = write(
      'thread.mjs',
      `import { Worker } from 'node:worker_threads';
      const worker = new Worker(new URL('./in-thread.mjs', import.meta.url), { argv: process.argv.slice(2) });
      worker.on('error', (error) => { console.error(error); process.exitCode = 1; });`,
    );
    expect(await run(script)).toMatchObject(SUCCESS);
  });

  test('that is terminated leaves nothing behind, while its process goes on', async () => {
    write(
      'endless.mjs',
      `${IMPORT}${IMAGE}import { parentPort } from 'node:worker_threads';
      const engine = await Engine.open({ onEvent: ({ kind }) => kind === 'log' && parentPort.postMessage('up') });
      await engine.build([busybox(process.argv[2]).runCommands('echo up; echo half > /half; sleep 987456')]);`,
    );
    const script = write(
      'terminate.mjs',
      `${IMPORT}${IMAGE}import { Worker } from 'node:worker_threads';
      import { once } from 'node:events';
      import { setTimeout } from 'node:timers/promises';
      import { readdirSync, readFileSync } from 'node:fs';
      const worker = new Worker(new URL('./endless.mjs', import.meta.url), { argv: process.argv.slice(2) });
      await once(worker, 'message');
      await worker.terminate();
      const alive = () => readdirSync('/proc').filter((pid) => {
        try { return /^[0-9]+$/.test(pid) && Number(pid) !== process.pid && readFileSync('/proc/' + pid + '/cmdline', 'utf8').includes('sleep 987456') } catch { return false }
      });
      for (let tries = 0; alive().length > 0 && tries < 400; tries += 1) await setTimeout(25);
      const survivors = alive().length;
      const store = process.env.TSBUILD_HOME;
      const engine = await Engine.open();
      const [built] = await engine.build([busybox(process.argv[2]).runCommands('echo next')]);
      const engines = readdirSync(store + '/engines').length;
      await engine.close();
      console.log(JSON.stringify({
        survivors, engines, built: built.digest.startsWith('sha256:'), tmp: readdirSync(store + '/tmp'),
        mounted: readFileSync('/proc/self/mountinfo', 'utf8').includes(store),
      }));`,
    );
    const store = newStore();
    const { stdout, stderr, status } = await run(script, store);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({ survivors: 0, engines: 1, built: true, tmp: [], mounted: false });
    expect(status).toBe(0);
    await gone(store);
  });
});

const BUNDLERS = {
  'esbuild, ES module': async (entry: string, outdir: string) => {
    await esbuild({
      entryPoints: [entry],
      outdir,
      outExtension: { '.js': '.mjs' },
      bundle: true,
      platform: 'node',
      format: 'esm',
      splitting: true,
      logLevel: 'silent',
      // Of what tsbuild depends on, some is CommonJS and requires Node's modules.
      banner: {
        js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
      },
    });
    return 'entry.mjs';
  },
  'esbuild, CommonJS': async (entry: string, outdir: string) => {
    await esbuild({
      entryPoints: [entry],
      outdir,
      outExtension: { '.js': '.cjs' },
      bundle: true,
      platform: 'node',
      format: 'cjs',
      logLevel: 'silent',
    });
    return 'entry.cjs';
  },
  'rolldown, ES module': async (entry: string, outdir: string) => {
    await rolldownTo(entry, outdir, 'esm', 'mjs');
    return 'entry.mjs';
  },
  'rolldown, CommonJS': async (entry: string, outdir: string) => {
    await rolldownTo(entry, outdir, 'cjs', 'cjs');
    return 'entry.cjs';
  },
  'esbuild, external': async (entry: string, outdir: string) => {
    await esbuild({
      entryPoints: [entry],
      outdir,
      outExtension: { '.js': '.mjs' },
      bundle: true,
      platform: 'node',
      format: 'esm',
      external: ['tsbuild'],
      logLevel: 'silent',
    });
    return 'entry.mjs';
  },
} as const;

async function rolldownTo(
  entry: string,
  dir: string,
  format: 'esm' | 'cjs',
  extension: string,
): Promise<void> {
  await using bundle = await rolldown({ input: entry, platform: 'node', logLevel: 'silent' });
  await bundle.write({
    dir,
    format,
    entryFileNames: `[name].${extension}`,
    chunkFileNames: `[name]-[hash].${extension}`,
  });
}

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('a bundle', () => {
  let entry: string;
  beforeAll(() => {
    entry = write(
      'entry.mjs',
      `${IMPORT}${IMAGE}${MAIN}main().catch((error) => {
      console.error(error.code, error.message, error.hint);
      process.exitCode = 1;
    });\n`,
    );
  });

  test.each(Object.keys(BUNDLERS) as (keyof typeof BUNDLERS)[])('by %s builds', async (bundler) => {
    const directory = join(project, 'bundles', bundler.replaceAll(/\W+/g, '-'));
    const name = await BUNDLERS[bundler](entry, directory);
    expect(await run(join(directory, name))).toMatchObject(SUCCESS);
    if (bundler !== 'esbuild, external') {
      // Away from the package it says what it lacks.
      const away = mkdtempSync(join(tmpdir(), 'tsbuild-bundle-'));
      try {
        cpSync(directory, away, { recursive: true });
        const { status, stderr } = await run(join(away, name));
        expect(stderr).toMatch(/^E_NATIVE_MISSING '.*' is a bundle, and the installed package 'tsbuild'/);
        expect(stderr).toContain('install tsbuild in a node_modules beside or above the bundle');
        expect(status).toBe(1);
      } finally {
        rmSync(away, { recursive: true, force: true });
      }
    }
  });
});

describe('a package without its native helpers', () => {
  test.each([
    ['tsbuild.linux-x64.node', 'missing'],
    ['tsbuild-launcher.linux-x64', 'missing'],
  ])('%s says so', async (name, reason) => {
    const script = write(
      'lacking.mjs',
      `${IMPORT}${IMAGE}${MAIN}await main().catch((error) => console.log(error.code, error.message, error.hint));`,
    );
    const path = join(installed, 'native/dist', name.replace('x64', process.arch));
    expect(existsSync(path)).toBe(true);
    renameSync(path, `${path}.away`);
    try {
      const { stdout, stderr } = await run(script);
      expect(stderr).toBe('');
      expect(stdout).toContain(
        `E_NATIVE_MISSING the native helper '${path}' is ${reason} install tsbuild again`,
      );
    } finally {
      renameSync(`${path}.away`, path);
    }
  });

  test('or with one that cannot be loaded says why', async () => {
    const script = write(
      'lacking.mjs',
      `${IMPORT}await Engine.open().catch((error) => console.log(error.code, error.message));`,
    );
    const path = join(installed, `native/dist/tsbuild.linux-${process.arch}.node`);
    renameSync(path, `${path}.away`);
    writeFileSync(path, 'no library');
    try {
      const { stdout } = await run(script);
      expect(stdout).toMatch(
        /^E_NATIVE_MISSING cannot load the native helper '.*': .*(file too short|invalid ELF header)/,
      );
    } finally {
      renameSync(`${path}.away`, path);
    }
  });

  test('can be imported, to describe images', async () => {
    const script = write(
      'describe.mjs',
      `${IMPORT}console.log(Image.fromScratch().runCommands('x').recipeHash.length);`,
    );
    const directory = join(installed, 'native/dist');
    renameSync(directory, `${directory}.away`);
    mkdirSync(directory);
    try {
      expect(await run(script)).toMatchObject({ status: 0, stdout: '64\n', stderr: '' });
    } finally {
      rmSync(directory, { recursive: true });
      renameSync(`${directory}.away`, directory);
    }
  });
});
