import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { pathBytes, pathText } from '../../../src/base/path-bytes.ts';

describe('names as text', () => {
  test.each([
    ['plain', 'plain', true],
    ['é☺\u{1F600}', 'é☺\u{1F600}', true],
    [Buffer.from([0x61, 0xff, 0x62]), 'a\uDCFFb', false],
    // The beginning of a character that does not go on.
    [Buffer.from([0xe2, 0x82]), '\uDCE2\uDC82', false],
    // A surrogate in UTF-8's clothes is not UTF-8.
    [Buffer.from([0xed, 0xb3, 0xbf]), '\uDCED\uDCB3\uDCBF', false],
  ])('%j', (bytes, text, wellFormed) => {
    expect(pathText(Buffer.from(bytes))).toBe(text);
    expect(pathText(Buffer.from(bytes)).isWellFormed()).toBe(wellFormed);
  });

  test('nothing is lost', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
        expect(pathBytes(pathText(bytes))).toEqual(Buffer.from(bytes));
      }),
      { numRuns: 2000 },
    );
  });
});
