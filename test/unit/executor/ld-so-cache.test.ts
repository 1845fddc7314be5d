import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { librariesInCache } from '../../../src/executor/ld-so-cache.ts';
import { temporaryTree } from '../../support/temporary-tree.ts';

/** What ldconfig itself reads in a cache that it wrote. */
async function caches(format: 'new' | 'compat') {
  await using tree = await temporaryTree({});
  const path = join(tree.path, 'cache');
  execFileSync('/sbin/ldconfig', ['-X', '-c', format, '-C', path]);
  const listed = execFileSync('/sbin/ldconfig', ['-p', '-C', path], { encoding: 'utf8' });
  return {
    cache: readFileSync(path),
    paths: [...listed.matchAll(/=> (\S+)$/gm)].map(([, library]) => library),
  };
}

test.each(['new', 'compat'] as const)('the format %s has what ldconfig lists', async (format) => {
  const { cache, paths } = await caches(format);
  expect(paths.length).toBeGreaterThan(3);
  expect(librariesInCache(cache)).toEqual(paths);
});

test('what is cut off or no cache at all is read as far as it goes', async () => {
  const { cache } = await caches('compat');
  const whole = librariesInCache(cache).length;
  for (let length = 0; length < cache.length; length += 97) {
    expect(librariesInCache(cache.subarray(0, length)).length).toBeLessThanOrEqual(whole);
  }
  const random = Buffer.from(cache);
  random.fill(0xff, 32, 400);
  librariesInCache(random);
  expect(librariesInCache(Buffer.from('ld.so-1.7.0'))).toEqual([]);
  expect(librariesInCache(Buffer.from('no cache'))).toEqual([]);
});
