import { describe, expect, test } from 'vitest';
import { betweenEqualEnds, listingOf } from '../../../src/base/listing.ts';

const many = (count: number, changed: ReadonlyMap<number, string> = new Map()): [string, string][] =>
  Array.from({ length: count }, (_, index) => [
    `/dir/${String(index).padStart(5, '0')}`,
    changed.get(index) ?? `0644 ${index % 7}`,
  ]);

/** The same, from a comparison of all. */
function differing(before: readonly [string, string][], after: readonly [string, string][]) {
  const left = Object.fromEntries(before);
  const right = Object.fromEntries(after);
  return {
    gone: before.filter(([name, value]) => right[name] !== value),
    come: after.filter(([name, value]) => left[name] !== value),
  };
}

describe('two listings', () => {
  test.each([
    ['nothing', [], []],
    ['the same', many(3), many(3)],
    ['first', many(3), many(3, new Map([[0, 'x']]))],
    ['last', many(3), many(3, new Map([[2, 'x']]))],
    ['added', many(3), [...many(3), ['/z', '']]],
    ['removed', many(9), many(9).filter((_, index) => index !== 4)],
    ['all', many(9), many(4).map(([name]) => [`/other${name}`, 'x'])],
    ['one twice as long', [['/a', '0']], [['/a', '00']]],
    [
      'a name that ends like its neighbour',
      [
        ['/a', '1'],
        ['/ba', '1'],
      ],
      [['/ba', '1']],
    ],
    [
      'odd names',
      [
        ['/a\n\t"\\\u0001', '1'],
        ['/é\u{1f600}', '2'],
      ],
      [['/a\n\t"\\\u0001', '3']],
    ],
  ] as [string, [string, string][], [string, string][]][])('differ: %s', (_, before, after) => {
    const between = betweenEqualEnds(listingOf(before), listingOf(after));
    const { gone, come } = differing(before, after);
    expect(between.before).toMatchObject(Object.fromEntries(gone));
    expect(between.after).toMatchObject(Object.fromEntries(come));
    for (const [name, value] of Object.entries(between.before)) {
      expect(Object.fromEntries(before)[name]).toBe(value);
    }
  });

  test('that are long are only read where they differ', () => {
    const before = many(20_000);
    const after = many(
      20_000,
      new Map([
        [7_000, 'x'],
        [7_002, 'y'],
      ]),
    );
    const between = betweenEqualEnds(listingOf(before), listingOf(after));
    expect(Object.keys(between.after)).toEqual(['/dir/07000', '/dir/07001', '/dir/07002']);
    expect(between.before['/dir/07002']).toBe('0644 2');
  });

  test('that others wrote may hold anything', () => {
    const hostile = '\\\t"\nno tab\na\tb\tc\n__proto__\tx\n';
    expect(Object.entries(betweenEqualEnds(hostile, '').before)).toEqual([
      ['\\', '"'],
      ['no tab', ''],
      ['a', 'b'],
      ['__proto__', 'x'],
    ]);
  });

  test('that are empty on one side are all that the other has', () => {
    const values = Object.fromEntries(many(5));
    expect(betweenEqualEnds('', listingOf(many(5)))).toEqual({ before: {}, after: values });
    expect(betweenEqualEnds(listingOf(many(5)), '')).toEqual({ before: values, after: {} });
  });
});
