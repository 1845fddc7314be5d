/** What a step says, and what it calls its files, is text: no terminal acts on it, wherever it is shown. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busyboxDefinition } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';
import { run, succeed } from '../support/tsbuild.ts';

/** Titles, the clipboard, a cleared screen, colours in one byte and in two, overprinting, writing turned round, separators, device strings. */
const EVIL = [
  '\\033]0;title\\007',
  '\\033]52;c;ZXZpbA==\\007',
  '\\033[2J\\033[1;1H\\n',
  '\\233[31m one byte\\n',
  '\\302\\233[31m two bytes\\n',
  'shown\\rover\\n',
  '\\342\\200\\256turned\\342\\201\\246\\n',
  '\\342\\200\\250separated\\n',
  '\\033Pq device\\033\\\\\\\\ \\b\\b\\n',
  '------\\nerror: believe me\\n(E_INTERNAL)\\n',
].join('');
const ACTED_ON =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for.
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('the output of a hostile step', () => {
  let dir: string;
  const setting = () => ({ cwd: dir, env: { TSBUILD_HOME: join(dir, 'store') } });

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-output-'));
    const says = (end: string) =>
      `runCommands(${JSON.stringify(`printf '${EVIL}'; printf '${EVIL}' >&2; ${end}`)})`;
    const files = `mkdir /v/d && touch "/v/$(printf 'a\\033]0;x\\007\\nb')"`;
    writeFileSync(join(dir, 'good.ts'), busyboxDefinition(says('true')));
    writeFileSync(join(dir, 'bad.ts'), busyboxDefinition(says('exit 3')));
    writeFileSync(join(dir, 'plain.ts'), busyboxDefinition("runCommands('true')"));
    await succeed(['volume', 'create', 'evil'], setting());
    await succeed(['run', '--volume', 'evil:/v', 'plain.ts', '--', '/bin/sh', '-c', files], setting());
    await succeed(['build', '-q', '-t', 'evil:1', 'good.ts'], setting());
  }, 60_000);
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  test.each([
    ['build', '--progress=plain', '--no-cache', 'good.ts'],
    ['build', '--progress=json', '--no-cache', 'good.ts'],
    ['image', 'logs', '--all', 'evil:1'],
    ['image', 'logs', '--all', '--json', 'evil:1'],
    ['image', 'inspect', 'evil:1'],
    ['plan', 'good.ts'],
    ['volume', 'ls', 'evil'],
  ])('%s %s is text', async (...args) => {
    const { stdout, stderr } = await succeed(args, setting());
    expect(`${stdout}${stderr}`).not.toMatch(ACTED_ON);
  });

  test('does not pass for what is said of it', async () => {
    const { status, stderr } = await run(['build', '--progress=plain', 'bad.ts'], setting());
    expect(status).toBe(1);
    expect(stderr).not.toMatch(ACTED_ON);
    expect(stderr).toContain('\n| error: believe me\n');
    expect(stderr).not.toMatch(/^(error: believe me|\(E_INTERNAL\))$/m);
  });
});
