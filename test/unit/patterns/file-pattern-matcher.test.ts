import { join } from 'node:path';
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

test('patterns must be strings', () => {
  expect(() => new FilePatternMatcher(3 as never)).toThrow(
    expect.objectContaining({ code: 'E_NOT_STRINGS' }),
  );
});
