import { describe, expect, test } from 'vitest';
import { decidingPattern, ignoringPattern, parseIgnoreFile } from '../../../src/patterns/ignore-file.ts';

const file = (text: string) => parseIgnoreFile(text, '.dockerignore');
/** `LINE TEXT` of what hides the path. */
const hider = (text: string, path: string) => {
  const pattern = decidingPattern(file(text).matcher, path);
  return pattern === undefined ? undefined : `${pattern.line} ${pattern.text}`;
};

describe('lines', () => {
  test.each([
    ['*.md', 'a.md', '1 *.md'],
    ['# comment\n\n*.md\n', 'a.md', '3 *.md'],
    // A comment begins in the first column.
    [' #x', '#x', '1 #x'],
    ['#x', '#x', undefined],
    ['\\#x', '#x', '1 \\#x'],
    ['\uFEFF# comment\na', 'a', '2 a'],
    ['\uFEFFa', 'a', '1 a'],
    // Not at the beginning it is a character of a name.
    ['b\n\uFEFF# no comment', 'a', undefined],
    ['a\r\nb\r\n', 'b', '2 b'],
    ['a  \t', 'a', '1 a'],
    ['  a', 'a', '1 a'],
    ['/a', 'a', '1 /a'],
    ['./a', 'a', '1 ./a'],
    ['a/', 'a', '1 a/'],
    ['a/', 'a/b', '1 a/'],
    ['a//b', 'a/b', '1 a//b'],
    ['x/../a', 'a', '1 x/../a'],
    ['/../a', 'a', '1 /../a'],
    ['../a', 'a', undefined],
    ['a b', 'a b', '1 a b'],
    ['.', 'a', undefined],
    ['/', 'a', undefined],
    ['', 'a', undefined],
    ['*', 'a/b', '1 *'],
    ['*/b', 'a/b', '1 */b'],
    ['*/b', 'b', undefined],
    ['**/b', 'b', '1 **/b'],
    ['a/**', 'a', undefined],
    ['a/**', 'a/b', '1 a/**'],
    ['a?', 'ab', '1 a?'],
    ['*\n!a', 'a', undefined],
    ['*\n! a', 'a', undefined],
    ['*\n!/a', 'a', undefined],
    ['!a\na', 'a', '2 a'],
    ['a\n!a/b\na/b/c', 'a/b', undefined],
    ['a\n!a/b\na/b/c', 'a/b/c', '3 a/b/c'],
    ['a\n!a/b', 'a/x', '1 a'],
    // A directory that was not hidden is not brought back, and so neither is what is in it.
    ['**/*.tmp\n!n/', 'n/b.tmp', '1 **/*.tmp'],
    ['n\n**/*.tmp\n!n/', 'n/b.tmp', undefined],
    ['*\n!n', 'n/b', undefined],
    ['**/*.tmp\n!n/*', 'n/b.tmp', undefined],
  ])('%j on %j: %j', (text, path, expected) => {
    expect(hider(text, path)).toBe(expected);
  });

  test.each([
    ['a\n!', 2],
    ['! ', 1],
    ['# c\n\n[', 3],
    ['a\\', 1],
    ['[z-a]', 1],
  ])('%j is refused with its line', (text, line) => {
    expect(() => file(text)).toThrow(
      expect.objectContaining({
        code: 'E_BAD_PATTERN',
        message: expect.stringContaining(`.dockerignore:${line}: `),
      }),
    );
  });
});

describe('the check', () => {
  test.each([
    ['*.md', 'README.md', '1 *.md'],
    ['*.md', './README.md', '1 *.md'],
    ['*.md', '/README.md', '1 *.md'],
    ['docs', 'docs/a/b', '1 docs'],
    ['docs', 'doc', undefined],
    // What precedes a `!` may be taken back by it.
    ['*.md\n!README.md', 'a.md', undefined],
    // The top is hidden only by what hides everything.
    ['.', '.', undefined],
    ['a', '.', undefined],
    ['a\n*', '.', '2 *'],
    ['**', '/', '1 **'],
    ['**/*', './', '1 **/*'],
    ['*.md', '*.md', '1 *.md'],
  ])('%j hides %j: %j', (text, source, expected) => {
    const pattern = ignoringPattern(file(text), source);
    expect(pattern && `${pattern.line} ${pattern.text}`).toBe(expected);
  });
});
