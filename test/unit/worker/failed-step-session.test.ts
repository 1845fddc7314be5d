import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { shellCommand } from '../../../src/worker/failed-step-session.ts';

test.each([
  [['/bin/sh', '-c', 'make  -j4 | tee "log"'], 'make  -j4 | tee "log"'],
  [['bash', '-ec', 'set; x'], 'set; x'],
  [['printf', '%s', "it's", '', '$HOME'], `printf %s 'it'\\''s' '' '$HOME'`],
])('%j is a command for a shell', (argv, command) => {
  expect(shellCommand(argv)).toBe(command);
});

test('a shell makes the same words of it', () => {
  const words = ['a b', "it's", '$HOME', '', '*', '\n', '-n', 'ü'];
  const command = shellCommand(['printf', '%s\\0', ...words]);
  expect(execFileSync('sh', ['-c', command], { encoding: 'utf8' }).split('\0').slice(0, -1)).toEqual(words);
});
