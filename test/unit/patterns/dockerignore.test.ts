import { describe, expect, test } from 'vitest';
import { DefinitionError } from '../../../src/errors.ts';
import { dockerignoreMatcher } from '../../../src/patterns/dockerignore.ts';

const matches = (patterns: string | string[], path: string) =>
  dockerignoreMatcher([patterns].flat()).matches(path);

describe('one pattern', () => {
  test.each([
    ['*.txt', 'a.txt', true],
    ['*.txt', 'sub/a.txt', false],
    ['**/*.txt', 'a.txt', true],
    ['**/*.txt', 'sub/deep/a.txt', true],
    ['**/x', 'x', true],
    ['**/x', 'a/x', true],
    ['**/x', 'ax', false],
    ['**/x', 'x/below', true],
    ['dir/**', 'dir', false],
    ['dir/**', 'dir/a/b', true],
    ['dir', 'dir/a/b', true],
    ['/dir/', 'dir/a', true],
    ['./a//b/../c', 'a/c', true],
    ['a/**/b', 'a/b', true],
    ['a/**/b', 'a/x/y/b', true],
    ['a/**/b', 'a/xb', false],
    ['a**/*.txt', 'a/x/y/f.txt', true],
    ['**', 'anything/at/all', true],
    ['**/**', 'anything/at/all', true],
    // Plain text after a leading `**` is compared as a suffix.
    ['**file', 'afile', true],
    ['**file', 'dir/file', true],
    // With a wildcard in it, whole components count again.
    ['**file*', 'dir/file.txt', true],
    ['**file*', 'dir/afile.txt', false],
    ['a?c', 'abc', true],
    ['a?c', 'a/c', false],
    ['a?b', 'a☺b', true],
    ['a[b-d]e', 'ace', true],
    ['a[b-d]e', 'aae', false],
    ['a[^b-d]e', 'aze', true],
    ['[\\-x]', '-', true],
    ['[\\]a]', ']', true],
    ['a[*]b', 'a*b', true],
    ['a[*]b', 'axb', false],
    ['a\\*b', 'a*b', true],
    ['a\\*b', 'axb', false],
    ['abc.def', 'abcZdef', false],
    ['a.|)$(}+{bc', 'a.|)$(}+{bc', true],
    ['.*', '.foo', true],
    ['.*', 'foo', false],
    ['  spaced  ', 'spaced', true],
    ['*', '.', false],
    ['.', 'a', false],
    ['/', 'a', false],
    ['a', 'b/../a', true],
  ])('%j on %j: %j', (pattern, path, expected) => {
    expect(matches(pattern, path)).toBe(expected);
  });
});

describe('several patterns', () => {
  test.each([
    [['docs', '!docs/README.md'], 'docs/README.md', false],
    [['docs', '! docs/README.md'], 'docs/README.md', false],
    [['docs', '!docs/README.md'], 'docs/other.md', true],
    [['!a.go', '*.go'], 'a.go', true],
    [['*.go', '!a.go'], 'a.go', false],
    [['**', '!util/docker/web'], 'util/docker/web/foo', false],
    [['**', '!util/docker/web', 'util/docker/web/foo'], 'util/docker/web/foo', true],
    [['!only'], 'only', false],
    [['!only'], 'other', false],
    [[], 'a', false],
    [['', '  '], 'a', false],
  ])('%j on %j: %j', (patterns, path, expected) => {
    expect(matches(patterns, path)).toBe(expected);
  });

  test('pruning is possible unless something is included again', () => {
    expect(dockerignoreMatcher(['a', 'b/**']).prunes).toBe(true);
    expect(dockerignoreMatcher(['a', '!a/b']).prunes).toBe(false);
  });
});

test.each(['!', ' ! ', '[', 'a[', '[]a]', '[-]', '[x-]', '[a-b-c]', '[^', '[b-a]', 'a\\', '[a\\'])(
  '%j is refused',
  (pattern) => {
    expect(() => dockerignoreMatcher([pattern])).toThrow(DefinitionError);
    expect(() => dockerignoreMatcher([pattern])).toThrow(expect.objectContaining({ code: 'E_BAD_PATTERN' }));
  },
);
