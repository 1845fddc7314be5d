/** What we promise and what we wrote down agree: error codes, links, doc comments. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ERROR_CODES } from '../../src/error-codes.ts';
import { WARNING_CODES } from '../../src/warning-codes.ts';

const ROOT = join(import.meta.dirname, '../..');
const sources = new Map(
  readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => [name, readFileSync(join(ROOT, 'src', name), 'utf8')]),
);

describe('error codes', () => {
  /** Code without its comments, so that a code that is only promised in one does not count. */
  const code = [...sources]
    .filter(([name]) => name !== 'error-codes.ts')
    .map(([, text]) => text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, ''))
    .join('\n');
  const used = new Set([...code.matchAll(/'(E_[A-Z_]+)'/g)].map(([, name = '']) => name));

  test('every code in the table is thrown', () => {
    expect(Object.keys(ERROR_CODES).filter((name) => !used.has(name))).toEqual([]);
  });

  test('every code that is thrown or promised is in the table', () => {
    const promised = [...sources.values()].flatMap((text) =>
      [...text.matchAll(/@throws [^\n]*/g)].flatMap(([line]) => line.match(/\bE_[A-Z_]+\b/g) ?? []),
    );
    expect([...used, ...promised].filter((name) => !(name in ERROR_CODES))).toEqual([]);
  });

  test('every code is documented', () => {
    const document = readFileSync(join(ROOT, 'docs/reference/errors.md'), 'utf8');
    expect(Object.keys(ERROR_CODES).filter((name) => !document.includes(`\`${name}\``))).toEqual([]);
  });
});

describe('warning codes', () => {
  const used = new Set(
    [...sources]
      .filter(([name]) => name !== 'warning-codes.ts')
      .flatMap(([, text]) => [...text.matchAll(/['"`](W_[A-Z_]+)\b/g)].map(([, code = '']) => code)),
  );

  test('every code in the source is in the table', () => {
    expect([...used].filter((name) => !(name in WARNING_CODES))).toEqual([]);
  });

  test('every code in the table is in the source', () => {
    expect(Object.keys(WARNING_CODES).filter((name) => !used.has(name))).toEqual([]);
  });

  test('every code is documented', () => {
    const document = readFileSync(join(ROOT, 'docs/reference/warnings.md'), 'utf8');
    expect(Object.keys(WARNING_CODES).filter((name) => !document.includes(`\`${name}\``))).toEqual([]);
  });
});

describe('documents', () => {
  const documents = [
    'README.md',
    'CONTRIBUTING.md',
    ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' }).map((name) => `docs/${name}`),
  ].filter((name) => name.endsWith('.md'));

  test.each(documents)('links of %s lead somewhere', (name) => {
    const text = readFileSync(join(ROOT, name), 'utf8');
    const broken = [...text.matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target = '']) => target)
      .filter((target) => !/^[a-z]+:/.test(target))
      .filter((target) => {
        const [path = '', fragment] = target.split('#');
        const file = path === '' ? join(ROOT, name) : join(ROOT, dirname(name), path);
        return !existsSync(file) || (fragment !== undefined && !headings(file).has(fragment));
      });
    expect(broken).toEqual([]);
  });
});

test('every source file says what it is for, at its top or on its first export', () => {
  const silent = [...sources].flatMap(([name, text]) => {
    // A command's own `detail` is its description: help and reference are made from it.
    if (name.startsWith('cli/commands/')) {
      return [];
    }
    const before = text.slice(0, Math.max(0, text.search(/^export /m))).trimEnd();
    return text.startsWith('/**') || before.endsWith('*/') ? [] : [name];
  });
  expect(silent).toEqual([]);
});

/** Anchors of a Markdown file as code hosts make them. */
function headings(file: string): ReadonlySet<string> {
  return new Set(
    [...readFileSync(file, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .replace(/\s/g, '-'),
    ),
  );
}
