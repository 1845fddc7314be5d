/** What a person sees of a real build: alive lines on a terminal, plain lines in a log, nothing of either in the other. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busyboxDefinition } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';
import { succeed } from '../support/tsbuild.ts';

const ESCAPE = '\x1b';
const MAIN = join(import.meta.dirname, '../../bin/tsbuild.js');

interface Chunk {
  readonly timeMs: number;
  readonly text: string;
}

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'script'))('progress of a real build', () => {
  let directory: string;
  const at = (...parts: string[]) => join(directory, ...parts);
  const env = (store: string) => ({
    PATH: process.env.PATH,
    TSBUILD_HOME: at(store),
    HOME: at('home'),
    TERM: 'xterm',
  });

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-progress-'));
    // A silent part, a part that prints, and enough bytes for a layer that takes a moment to compress.
    writeFileSync(
      at('image.ts'),
      busyboxDefinition(
        `runCommands('for i in 1 2 3; do echo "line $i"; sleep 0.3; done', 'sleep 1.8')
        .runCommands('dd if=/dev/urandom of=/noise bs=1048576 count=48 2>/dev/null')`,
      ),
    );
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  /** The command in a pseudo-terminal of 100 columns, by script(1) of util-linux. */
  function onTerminal(
    store: string,
    flags: string,
    settings: NodeJS.ProcessEnv = {},
  ): Promise<{ status: number | null; chunks: Chunk[] }> {
    const command = `stty cols 100 rows 24; exec '${process.execPath}' '${MAIN}' build '${at('image.ts')}' ${flags}`;
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      cwd: directory,
      env: { ...env(store), ...settings },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const chunks: Chunk[] = [];
    const start = performance.now();
    child.stdout.on('data', (data: Buffer) =>
      chunks.push({ timeMs: performance.now() - start, text: data.toString('utf8') }),
    );
    return new Promise((resolve) => child.once('close', (status) => resolve({ status, chunks })));
  }

  test('on a terminal the lines are alive, also while a step is silent', async () => {
    const { status, chunks } = await onTerminal('tty', `-o type=oci,dest=${at('tty.tar')}`);
    const text = chunks.map((chunk) => chunk.text).join('');
    expect(status, text).toBe(0);
    // Redrawn in place, without a pause from the first line to the last.
    expect(text).toContain(`${ESCAPE}[`);
    const times = chunks.map((chunk) => chunk.timeMs);
    const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    expect(Math.max(...gaps)).toBeLessThan(1500);
    expect(chunks.length).toBeGreaterThan(8);
    for (const part of ['line 1', 'line 3', 'runCommands']) {
      expect(text).toContain(part);
    }
    // Bytes of what is compressed and written.
    expect(text).toMatch(/\d+(\.\d+)? ?MB/);
    // The terminal is left as it was: the cursor is shown again after it was hidden.
    const hidden = text.lastIndexOf(`${ESCAPE}[?25l`);
    expect(hidden < 0 || text.lastIndexOf(`${ESCAPE}[?25h`) > hidden).toBe(true);
    expect(text.trimEnd()).toMatch(/sha256:[a-f0-9]{64}$/);
  });

  test('a cached build on a terminal ends with the digest', async () => {
    const { status, chunks } = await onTerminal('tty', '');
    const text = chunks.map((chunk) => chunk.text).join('');
    expect(status).toBe(0);
    expect(text).toMatch(/cached/i);
    expect(text.trimEnd()).toMatch(/sha256:[a-f0-9]{64}$/);
  });

  test.each([
    ['NO_COLOR', { NO_COLOR: '1' }, new RegExp(`${ESCAPE}\\[[0-9;]*[1-9][0-9;]*m`)],
    ['TERM=dumb', { TERM: 'dumb' }, new RegExp(ESCAPE)],
  ])('%s is obeyed', async (_name, settings, never) => {
    const { chunks } = await onTerminal('tty', '', settings);
    expect(chunks.map((chunk) => chunk.text).join('')).not.toMatch(never);
  });

  test('piped, it is plain lines on standard error, with bytes, and the digest alone on standard output', async () => {
    const { stdout, stderr } = await succeed(
      ['build', at('image.ts'), '-o', `type=oci,dest=${at('plain.tar')}`],
      { cwd: directory, env: { TSBUILD_HOME: at('plain'), HOME: at('home'), TERM: 'xterm' } },
    );
    expect(stdout).toMatch(/^sha256:[a-f0-9]{64}\n$/);
    expect(stderr).not.toContain(ESCAPE);
    expect(stderr).not.toContain('\r');
    expect(stderr).toMatch(/^#\d+ \d+\.\d+ line 1$/m);
    expect(stderr).toMatch(/^#\d+ DONE \d+\.\d+s$/m);
    for (const work of ['compress', 'write']) {
      expect(stderr).toMatch(
        new RegExp(`^#\\d+ ${work} .* [0-9.]+MB in [0-9.]+s( at [0-9.]+[MG]B/s)?$`, 'm'),
      );
    }
  });

  test('json is one event on each line', async () => {
    const { stderr } = await succeed(['build', at('image.ts'), '--progress=json'], {
      cwd: directory,
      env: { TSBUILD_HOME: at('json'), HOME: at('home') },
    });
    const events = stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { readonly kind: string; readonly text?: string });
    expect(events.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(['plan', 'vertex-started', 'vertex-finished', 'built']),
    );
    expect(events.flatMap(({ kind, text }) => (kind === 'log' ? [text] : []))).toEqual([
      'line 1',
      'line 2',
      'line 3',
    ]);
  });
});
