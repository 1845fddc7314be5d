import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { absoluteLocalPath } from '../../../src/base/local-path.ts';

const read = (path: unknown) => absoluteLocalPath('method', 'path', path);

afterEach(() => vi.unstubAllEnvs());

test('the home directory, the working directory, URLs', () => {
  vi.stubEnv('HOME', '/home/me');
  expect(read('~')).toBe('/home/me');
  expect(read('~/x/../y')).toBe('/home/me/y');
  expect(read('~other')).toBe(join(process.cwd(), '~other'));
  expect(read('a/./b')).toBe(join(process.cwd(), 'a/b'));
  expect(read('/a//b/')).toBe('/a/b');
  expect(read(new URL('file:///a%20b'))).toBe('/a b');
});

test('what is no path is refused', () => {
  vi.stubEnv('HOME', undefined);
  for (const path of [
    '',
    'a\0b',
    '~/x',
    3,
    null,
    undefined,
    new URL('https://x/y'),
    new URL('file://host/y'),
  ]) {
    expect(() => read(path)).toThrow(expect.objectContaining({ code: 'E_ARG_TYPE' }));
  }
});
