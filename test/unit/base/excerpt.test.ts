import { describe, expect, test } from 'vitest';
import { showLines } from '../../../src/base/excerpt.ts';

const lines = Array.from({ length: 12 }, (_, index) => `line ${index + 1}`);

describe('an excerpt', () => {
  test('has a line before and one after', () => {
    expect(showLines(lines, { startLine: 2, endLine: 2 }, 3)).toBe(
      ['  1 | line 1', '> 2 | line 2', '    |   ^', '  3 | line 3'].join('\n'),
    );
  });

  test('aligns its numbers', () => {
    expect(showLines(lines, { startLine: 10, endLine: 10 })).toBe(
      ['   9 | line 9', '> 10 | line 10', '  11 | line 11'].join('\n'),
    );
  });

  test('marks all lines of an instruction, up to a few', () => {
    const shown = showLines(lines, { startLine: 1, endLine: 12 }).split('\n');
    expect(shown).toHaveLength(7);
    expect(shown.every((line) => line.startsWith('>'))).toBe(true);
  });

  test('ends at the first and the last line', () => {
    expect(showLines(['a'], { startLine: 1, endLine: 1 }, 1)).toBe('> 1 | a\n    | ^');
  });

  test('hides credentials of URLs and leaves everything else where it is', () => {
    const line = 'ADD https://me:pa%20ss@h.example/x?a=b ssh://git@h.example/y /z';
    expect(showLines([line], { startLine: 1, endLine: 1 })).toBe(
      `> 1 | ${line.replace('me:pa%20ss', '**********')}`,
    );
  });

  test('shows tabs as wide as it prints them', () => {
    expect(showLines(['\tab'], { startLine: 1, endLine: 1 }, 3)).toBe('> 1 |   ab\n    |    ^');
  });

  test('shows no character that moves what stands before it', () => {
    expect(showLines(['a\rb\x1b[2Jc'], { startLine: 1, endLine: 1 }, 3)).toBe(
      '> 1 | a\ufffdb\ufffd[2Jc\n    |   ^',
    );
  });

  test('moves to the place in a long line', () => {
    const [line = '', caret = ''] = showLines(
      [`${'a'.repeat(500)}X${'b'.repeat(500)}`],
      { startLine: 1, endLine: 1 },
      501,
    ).split('\n');
    expect(line.length).toBeLessThan(140);
    expect(line[caret.indexOf('^')]).toBe('X');
  });
});
