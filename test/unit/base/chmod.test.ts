import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { octalMode, parseChmod } from '../../../src/base/chmod.ts';

describe('what is no mode', () => {
  test.each([
    '',
    '8',
    '10000',
    '0o755',
    'u',
    'u+q',
    'rwx',
    '+r,',
    ',+r',
    'u+r w',
    '755x',
    '-1',
    'u+r,,g+w',
    'z=r',
  ])("'%s'", (text) => {
    expect(parseChmod(text)).toBeUndefined();
  });
});

test('octal', () => {
  expect(parseChmod('4755')?.(0o644, false)).toBe(0o4755);
  expect(parseChmod('0')?.(0o644, true)).toBe(0);
  expect(parseChmod('07777')?.(0, false)).toBe(0o7777);
  expect([octalMode('0755'), octalMode('u+x'), octalMode('17777')]).toEqual([0o755, undefined, undefined]);
});

describe('the same as chmod(1)', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-chmod-'));
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const modes = [0, 0o644, 0o755, 0o600, 0o711, 0o4755, 0o2750, 0o1777, 0o070, 0o007];
  test.each([
    'u+rwX,g-w,o=',
    'a+X',
    '+X',
    '=rw,+X',
    'u=rwx,go=u-w',
    'go=u-w',
    'g=u',
    'o=g,u=o',
    'u+s',
    'g+s,o+t',
    'u-s',
    'a-x+r',
    'ug+rw-x',
    'u=',
    'go-rwx',
    '+t',
    '-t',
    '+x',
    'a=rX',
    '-X',
    'u+x,+X',
  ])('%s', (text) => {
    for (const isDirectory of [false, true]) {
      const path = join(dir, isDirectory ? 'directory' : 'file');
      if (isDirectory) {
        mkdirSync(path, { recursive: true });
      } else {
        writeFileSync(path, '');
      }
      for (const before of modes) {
        chmodSync(path, before);
        execFileSync('sh', ['-c', 'umask 0; chmod -- "$0" "$1"', text, path]);
        const real = statSync(path).mode & 0o7777;
        const ours = parseChmod(text)?.(before, isDirectory);
        // GNU keeps set-id bits of directories where they are not named, drops the sticky bit at every `=`, and reads `X`
        // after the clauses before it.
        const differs =
          (isDirectory && (before & 0o6000) !== 0) ||
          (text.includes('=') && (before & 0o1000) !== 0) ||
          ['u+x,+X', 'g+s,o+t', '=rw,+X'].includes(text);
        if (!differs) {
          expect([before.toString(8), isDirectory, ours?.toString(8)]).toEqual([
            before.toString(8),
            isDirectory,
            real.toString(8),
          ]);
        }
      }
    }
  });

  test('where chmods differ', () => {
    expect(parseChmod('u+x,+X')?.(0o644, false)).toBe(0o744);
    expect(parseChmod('g+s,o+t')?.(0o644, false)).toBe(0o2644);
    expect(parseChmod('u=rwx')?.(0o4755, true)).toBe(0o755);
  });
});
