import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { displayWidth, neutralise, truncate } from '../../../src/cli/terminal-text.ts';

describe('neutralise', () => {
  it.each([
    ['plain', 'plain'],
    ['\x1b[31mred\x1b[0m', 'red'],
    ['\x1b[2J\x1b[1;1Hcleared', 'cleared'],
    ['\x1b]0;title\x07text', 'text'],
    ['\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\', 'link'],
    ['\x1bP1$tx\x1b\\after', 'after'],
    ['\x1b]52;c;unfinished', ''],
    ['\x9b31mred', 'red'],
    ['\x1bcreset', 'reset'],
    ['10%\r20%\r30%', '30%'],
    ['10%\r20%\r', '20%'],
    ['bell\x07 null\x00 del\x7f', 'bell^G null^@ del^?'],
    ['a\tb', 'a       b'],
    ['\tb', '        b'],
    ['1234567\tb', '1234567 b'],
    ['evil\u202etxt', 'evil\ufffdtxt'],
    ['two\u2028lines', 'two\ufffdlines'],
    ['', ''],
  ])('makes %j harmless', (text, expected) => {
    expect(neutralise(text)).toBe(expected);
  });

  it('leaves nothing that a terminal acts on, whatever comes', () => {
    const nasty = fc.string({
      unit: fc.oneof(
        fc.constantFrom(
          '\x1b',
          '[',
          ']',
          'P',
          '\x07',
          '\x9b',
          '\x9d',
          '\x9c',
          '\\',
          ';',
          '3',
          'm',
          '\r',
          '\t',
        ),
        fc.string({ minLength: 1, maxLength: 1, unit: 'binary' }),
      ),
    });
    fc.assert(
      fc.property(nasty, (text) => {
        // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there.
        expect(neutralise(text)).not.toMatch(/[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/);
      }),
    );
  });
});

describe('width', () => {
  it('counts cells', () => {
    expect(displayWidth('abc')).toBe(3);
    expect(displayWidth('日本')).toBe(4);
    expect(displayWidth('e\u0301')).toBe(1);
    expect(displayWidth('🙂')).toBe(2);
  });

  it('cuts to cells and marks the cut', () => {
    expect(truncate('abcdef', 4)).toBe('abc…');
    expect(truncate('日本語', 4)).toBe('日…');
    expect(truncate('abc', 3)).toBe('abc');
    expect(truncate('abc', 0)).toBe('');
    expect(truncate('abc', 1)).toBe('…');
  });

  it('never exceeds the width', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.nat(30), (text, width) => {
        expect(displayWidth(truncate(neutralise(text), width))).toBeLessThanOrEqual(width);
      }),
    );
  });
});
