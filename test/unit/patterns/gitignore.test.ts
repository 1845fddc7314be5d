import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { gitignoreMatcher } from '../../../src/patterns/gitignore.ts';
import { temporaryTree } from '../../support/temporary-tree.ts';

const matches = (patterns: string[], path: string, isDirectory = false) =>
  gitignoreMatcher(patterns).matches(path, isDirectory);

describe('row 96, 97: gitignore patterns', () => {
  test.each([
    [['*.pyc'], 'a/b.pyc', true],
    [['__pycache__'], 'a/__pycache__/x', true],
    [['.git', 'node_modules'], 'deep/node_modules/x/y', true],
    [['.git', 'node_modules'], '.gitignore', false],
    [['/a'], 'b/a', false],
    [['/a'], 'a', true],
    [['a/b'], 'x/a/b', false],
    [['build/'], 'build', false],
    [['build/'], 'build/x', true],
    [['foo/*'], 'foo/a/b', true],
    [['foo/*', '!foo/keep'], 'foo/keep', false],
    [['foo', '!foo/keep'], 'foo/keep', true],
    [['a/**/b'], 'a/b', true],
    [['a/**'], 'a', false],
    [['a/**'], 'a/x', true],
    [['**/x'], 'a/b/x', true],
    [['a**b'], 'axxb', true],
    [['a**b'], 'ax/xb', false],
    [['#comment', '\\#file'], '#file', true],
    [['\\!file'], '!file', true],
    [['name  '], 'name', true],
    [['name\\ '], 'name ', true],
    [['[!a]b'], 'ab', false],
    [['[!a]b'], 'cb', true],
    [['[[:digit:]]x'], '7x', true],
    [['a[]]b'], 'a]b', true],
    [['a?b'], 'a/b', false],
  ])('%j on %j: %j', (patterns, path, expected) => {
    expect(matches(patterns, path)).toBe(expected);
  });

  test('a directory alone matches what is for directories', () => {
    expect(matches(['build/'], 'build', true)).toBe(true);
  });
});

const hasGit = spawnSync('git', ['--version']).status === 0;

test.skipIf(!hasGit)('agrees with git itself', { timeout: 60_000 }, async () => {
  await using tree = await temporaryTree({});
  const git = (args: string[], input?: string) =>
    spawnSync('git', args, {
      cwd: tree.path,
      input,
      encoding: 'utf8',
      env: { ...process.env, HOME: tree.path },
    });
  git(['init', '-q']);
  const part = fc.constantFrom('a', 'b', 'ab', '*', '**', '?', 'a*', '*b', '[ab]', '[!a]', 'a?b', '\\*');
  const pattern = fc
    .tuple(
      fc.constantFrom('', '', '!'),
      fc.constantFrom('', '', '/'),
      fc.array(part, { minLength: 1, maxLength: 3 }),
      fc.constantFrom('', '', '/'),
    )
    .map(([not, anchor, parts, end]) => not + anchor + parts.join('/') + end);
  let agreed = 0;
  const path = fc.array(fc.constantFrom('a', 'b', 'ab', 'axb', '*', 'c'), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(pattern, { minLength: 1, maxLength: 4 }),
      fc.array(path, { minLength: 1, maxLength: 12 }),
      async (patterns, paths) => {
        await writeFile(join(tree.path, '.git/info/exclude'), `${patterns.join('\n')}\n`);
        const names = [...new Set(paths.map((parts) => parts.join('/')))];
        const result = git(['check-ignore', '--no-index', '-z', '--stdin'], names.join('\0'));
        const ignored = result.stdout.split('\0').filter((name) => name !== '');
        // Nothing exists there, so that git takes every path for a file.
        expect(names.filter((name) => matches(patterns, name)).sort()).toEqual(ignored.sort());
        agreed += ignored.length;
      },
    ),
    { numRuns: 150 },
  );
  // Otherwise git did not see our patterns.
  expect(agreed).toBeGreaterThan(100);
});
