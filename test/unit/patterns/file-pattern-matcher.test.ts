import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { readPatternFile } from '../../../src/local/pattern-file.ts';
import { FilePatternMatcher, providePatternFileReader } from '../../../src/patterns/file-pattern-matcher.ts';
import { temporaryTree } from '../../support/temporary-tree.ts';

test('negate() inverts the whole predicate (C100)', () => {
  const matcher = new FilePatternMatcher('**/*.py').negate();
  expect(matcher.matches('a/b.py')).toBe(false);
  expect(matcher.matches('a/b.txt')).toBe(true);
  expect(matcher.negate().matches('a/b.py')).toBe(true);
  expect(FilePatternMatcher.NON_PYTHON_FILES.matches('x.txt')).toBe(true);
  expect(FilePatternMatcher.NON_PYTHON_FILES.matches('x.py')).toBe(false);
});

test('an empty matcher and one of exceptions only match nothing; the negated empty one everything', () => {
  expect(FilePatternMatcher.NOTHING.matches('a')).toBe(false);
  expect(FilePatternMatcher.NOTHING.negate().matches('a')).toBe(true);
  expect(new FilePatternMatcher('!a').matches('a')).toBe(false);
  expect(new FilePatternMatcher('!a').matches('b')).toBe(false);
});

test('pruning is impossible when something below may be answered otherwise', () => {
  expect(new FilePatternMatcher('a').canPruneDirectories()).toBe(true);
  expect(new FilePatternMatcher('a', '!a/b').canPruneDirectories()).toBe(false);
  expect(new FilePatternMatcher('a').negate().canPruneDirectories()).toBe(false);
  expect(FilePatternMatcher.gitignore('a', '!a/b').canPruneDirectories()).toBe(true);
});

test('a file is read at the first use; comments and a byte order mark do not count', async () => {
  providePatternFileReader(readPatternFile);
  await using tree = await temporaryTree({ ignore: '\uFEFF# first\r\n*.log\r\n!keep.log\n' });
  const missing = FilePatternMatcher.fromFile(join(tree.path, 'none'));
  expect(() => missing.matches('a')).toThrow(expect.objectContaining({ code: 'E_LOCAL_FILE_MISSING' }));
  const matcher = FilePatternMatcher.fromFile(join(tree.path, 'ignore'));
  expect(['a.log', 'keep.log', '# first'].map((path) => matcher.matches(path))).toEqual([true, false, false]);
});

test('the path of a file is that of the time of the call, and is checked then', async () => {
  providePatternFileReader(readPatternFile);
  await using tree = await temporaryTree({ ignore: '*.log\n' });
  const before = process.cwd();
  process.chdir(tree.path);
  const matcher = FilePatternMatcher.fromFile('ignore');
  process.chdir(before);
  expect(matcher.matches('a.log')).toBe(true);
  // Alike in a recipe, which is the same on every machine, but another file.
  const other = FilePatternMatcher.fromFile('ignore');
  expect(other.describe()).toEqual(matcher.describe());
  expect(other.identity()).not.toEqual(matcher.identity());
  const url = FilePatternMatcher.fromFile(pathToFileURL(join(tree.path, 'ignore')), { syntax: 'gitignore' });
  expect(url.matches('below/a.log')).toBe(true);
  for (const [args, code] of [
    [[1], 'E_ARG_TYPE'],
    [['x', { syntax: 'hgignore' }], 'E_ARG_TYPE'],
    [['x', { ignoreSyntax: 'gitignore' }], 'E_UNKNOWN_OPTION'],
  ] as const) {
    expect(() => FilePatternMatcher.fromFile(...(args as [never]))).toThrow(
      expect.objectContaining({ code }),
    );
  }
});

test('patterns must be strings', () => {
  expect(() => new FilePatternMatcher(3 as never)).toThrow(
    expect.objectContaining({ code: 'E_NOT_STRINGS' }),
  );
});
