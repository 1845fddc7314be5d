/** The differences that conformance cases name and the table of them in the documentation agree. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const CASES = join(ROOT, 'test/conformance/cases');

test('every difference that a case names has a row, and every row a case', () => {
  const cases = readdirSync(CASES).map(
    (name) =>
      JSON.parse(readFileSync(join(CASES, name, 'case.json'), 'utf8')) as {
        readonly decisions?: readonly { readonly id: string; readonly builder: string }[];
      },
  );
  const named = cases.flatMap(({ decisions = [] }) =>
    decisions.filter(({ builder }) => builder === 'tsbuild').map(({ id }) => id),
  );
  const page = readFileSync(join(ROOT, 'docs/reference/dockerfile.md'), 'utf8');
  const [, table = ''] = page.split('### Seen by the conformance cases');
  const rows = (table.split('\n### ')[0] ?? '').matchAll(/^\| `([a-z-]+)` \|/gm);
  expect([...rows].map(([, id]) => id)).toEqual([...new Set(named)].sort());
});
