/** Every feature of the Image API is proven by a test, and says by which. */
import { expect, test } from 'vitest';
import { FEATURE_ROWS, featureTests, rowsOf, UNPROVEN } from '../support/feature-rows.ts';

const tests = featureTests();
const rows = new Set(FEATURE_ROWS.map(({ number }) => number));

test('rows are numbered once, in order', () => {
  const numbers = FEATURE_ROWS.map(({ number }) => number);
  expect(numbers).toEqual([...new Set(numbers)].sort((one, other) => one - other));
  expect(numbers).toHaveLength(159);
});

test('every row has a test, or a reason why not', () => {
  expect([...rows].filter((row) => !tests.has(row) && !UNPROVEN.has(row))).toEqual([]);
});

test('a row that has a test is not listed as unproven', () => {
  expect([...UNPROVEN].filter(([row]) => tests.has(row) || !rows.has(row))).toEqual([]);
});

test('every tag of a test is a row', () => {
  expect([...tests].filter(([row]) => !rows.has(row))).toEqual([]);
});

/** Not in the call below: what is written there would count. */
const SOURCES: readonly [source: string, rows: readonly number[]][] = [
  ["test('a (C1)', f);", [1]],
  ["it.skipIf(lacks('x'))('a (C1, C22)', f);", [1, 22]],
  ["describe.each(['x'])('of %s (C3)', f);", [3]],
  ["test.each([['one (C4)', 1], ['two (C5)', 2]])('%s', f);", [4, 5]],
  ["test('a', { timeout: 1 }, () => { expect('x (C6)').toBe(1); }); // (C7)", []],
  ["test.skip('a (C8)', f); test.todo('b (C9)'); other('c (C10)', f);", []],
];

test.each(SOURCES)('tags are read from titles: %s', (source, expected) => {
  expect(rowsOf('x.test.ts', source)).toEqual(expected);
});
