import { describe, expect, test } from 'vitest';
import { goComponent, hasWildcard } from '../../../src/patterns/go-match.ts';

function matches(pattern: string, name: string): boolean {
  const component = goComponent(pattern);
  return component.kind === 'literal' ? component.name === name : component.matches(name);
}

describe('one component', () => {
  test.each([
    ['abc', 'abc', true],
    ['*', 'abc', true],
    ['*', '', true],
    ['*c', 'abc', true],
    ['a*', 'a', true],
    ['a*', 'abc', true],
    ['a**c', 'abc', true],
    ['a*b*c*d*e*', 'axbxcxdxe', true],
    ['a*b?c*x', 'abxbbxdbxebxczzx', true],
    ['a*b?c*x', 'abxbbxdbxebxczzy', false],
    ['ab[c]', 'abc', true],
    ['ab[b-d]', 'abc', true],
    ['ab[e-g]', 'abc', false],
    ['ab[^c]', 'abc', false],
    ['ab[^b-d]', 'abc', false],
    ['ab[^e-g]', 'abc', true],
    ['a\\*b', 'a*b', true],
    ['a\\*b', 'ab', false],
    ['a?b', 'a☺b', true],
    ['a[^a]b', 'a☺b', true],
    ['a???b', 'a☺b', false],
    ['[a-ζ]*', 'α', true],
    ['*[a-ζ]', 'A', false],
    ['[\\]a]', ']', true],
    ['[\\-]', '-', true],
    ['[x\\-]', 'x', true],
    ['[x\\-]', 'z', false],
    ['[\\-x]', '-', true],
    // A range whose ends are exchanged holds nothing, and is no error.
    ['[z-a]', 'm', false],
    ['[!a]', '!', true],
    ['[!a]', 'b', false],
    ['a.b', 'axb', false],
    ['.*', '.hidden', true],
    ['*', '.hidden', true],
    ['^a', '^a', true],
    ['a?b', 'a\u{1F600}b', true],
    // A byte that is not UTF-8 is one character.
    ['a?b', 'a\uDCFFb', true],
  ])('%j on %j: %j', (pattern, name, expected) => {
    expect(matches(pattern, name)).toBe(expected);
  });

  test.each(['[', '[a', '[]', '[]a]', '[-]', '[-x]', '[x-]', '[a-b-c]', '[^', '[^]', 'a\\', '[\\', 'a['])(
    '%j is an error',
    (pattern) => {
      expect(() => goComponent(pattern)).toThrow(expect.objectContaining({ code: 'E_BAD_PATTERN' }));
    },
  );

  test.each([
    ['a', false],
    ['a*', true],
    ['?', true],
    ['[', true],
    ['\\*', false],
    ['\\\\*', true],
    ['\\\n*', true],
    [']', false],
  ])('%j has a wildcard: %j', (text, expected) => {
    expect(hasWildcard(text)).toBe(expected);
  });
});
