/**
 * The feature table of the Image API: what users of the Python API know, how it is said here, and what shows that it works.
 * Tests say which rows they prove with tags at the end of their titles, such as `(C52)`; several are `(C52, C53)`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseSync, Visitor } from 'rolldown/utils';

const ROOT = join(import.meta.dirname, '../..');

export interface FeatureRow {
  readonly number: number;
  readonly feature: string;
  readonly api: string;
  /** What is observed; `P:` in a plan, `B:` in a real build, `R:` in a container. */
  readonly check: string;
}

export const FEATURE_ROWS: readonly FeatureRow[] = JSON.parse(
  readFileSync(join(ROOT, 'docs/reference/image-api-features.json'), 'utf8'),
);

/** Rows that no test proves, with the reason. */
export const UNPROVEN: ReadonlyMap<number, string> = new Map();

/** Row number to the test files whose titles name it, paths in the repository. */
export function featureTests(): ReadonlyMap<number, readonly string[]> {
  const found = new Map<number, Set<string>>();
  const files = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' });
  for (const name of files.filter((each) => each.endsWith('.test.ts')).sort()) {
    for (const row of rowsOf(name, readFileSync(join(ROOT, 'test', name), 'utf8'))) {
      found.set(row, (found.get(row) ?? new Set()).add(`test/${name}`));
    }
  }
  return new Map([...found].map(([row, paths]) => [row, [...paths]]));
}

const TAG = /\(C\d+(?:, C\d+)*\)/g;

/** Rows in the titles of tests that run: comments do not count, nor what is skipped or left for later. */
export function rowsOf(name: string, source: string): readonly number[] {
  if (source.search(TAG) < 0) {
    return [];
  }
  const rows: number[] = [];
  const take = ({ start, end }: { readonly start: number; readonly end: number }) => {
    for (const [tag] of source.slice(start, end).matchAll(TAG)) {
      rows.push(...[...tag.matchAll(/\d+/g)].map(Number));
    }
  };
  new Visitor({
    CallExpression({ callee, arguments: [title] }) {
      const text = source.slice(callee.start, callee.end);
      if (!/^(test|it|describe)\b/.test(text) || /^\w+[^(]*\.(skip|todo|fails)\b/.test(text)) {
        return;
      }
      if (title?.type === 'Literal' || title?.type === 'TemplateLiteral') {
        take(title);
      }
      // Titles in a table are cells of it: `test.each([['a title (C1)', …]])('%s', …)`.
      if (
        callee.type === 'CallExpression' &&
        /\.(each|for)$/.test(source.slice(callee.start, callee.callee.end))
      ) {
        callee.arguments.forEach(take);
      }
    },
  }).visit(parseSync(name, source).program);
  return rows;
}
