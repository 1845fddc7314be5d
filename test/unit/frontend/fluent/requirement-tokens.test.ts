import { describe, expect, test } from 'vitest';
import {
  byCodePoint,
  classifyRequirements,
  isPinned,
  nestedRequirementLines,
} from '../../../../src/frontend/fluent/requirement-tokens.ts';

test('requirements are sorted, options keep their order and values', () => {
  const tokens = ['b', '-r', 'z.txt', 'A', '--no-deps', 'a', '-C', 'x', '--index-url=https://i', '-cfile'];
  expect(classifyRequirements('m', tokens)).toEqual({
    requirements: ['A', 'a', 'b'],
    inlineOptions: ['-r', 'z.txt', '--no-deps', '-C', 'x', '--index-url=https://i', '-cfile'],
  });
});

test('the value of an option may look like an option', () => {
  expect(classifyRequirements('m', ['--global-option', '--x', 'a']).inlineOptions).toEqual([
    '--global-option',
    '--x',
  ]);
});

test('the order is by code point, not by UTF-16 unit', () => {
  expect(['😀', '\uff5e', 'a', 'ab', ''].sort(byCodePoint)).toEqual(['', 'a', 'ab', '\uff5e', '😀']);
});

test.each([
  ['torch==2.1.0', true],
  ['torch===2.1.0', true],
  ['a[b]==1', true],
  ['a @ https://x/a.whl', true],
  ['git+https://x/y', true],
  ['./local', true],
  ['a.whl', true],
  ['torch', false],
  ['torch>=2', false],
  ['torch~=2.0', false],
  ['torch!=2.0', false],
  ['torch<=2', false],
])('%j is pinned: %j', (requirement, expected) => {
  expect(isPinned(requirement)).toBe(expected);
});

describe('lines of a requirements file that name local files', () => {
  test.each([
    '-r other.txt',
    '-rother.txt',
    '--requirement=other.txt',
    '--constraint other.txt',
    '-c c.txt',
    '-e .',
    '-e ./x',
    '--editable ../x',
    '-e file:///x',
    './pkg',
    '../pkg',
    '/abs/pkg',
    '.',
    '~/pkg',
    'dist/a.whl',
    'a.tar.gz',
    'name @ file:///x',
    'name @ ./x',
    'file:///x/a.whl',
    '  -r other.txt  # why',
    '-r \\\n other.txt',
    '\uFEFF-r other.txt',
  ])('%j', (text) => {
    expect(nestedRequirementLines(`ok\n${text}\n`)).toHaveLength(1);
  });

  test.each([
    '# -r other.txt',
    'a==1 # ./x',
    'a @ https://x/a.whl',
    'https://x/a.whl',
    'git+https://x/y',
    'git+ssh://git@x/y',
    '-e git+https://x/y#egg=y',
    '-r https://x/r.txt',
    '--index-url https://x',
    '-i https://x/simple/',
    '--find-links ./wheels-in-the-image',
    'a[b]>=1; python_version < "3.12"',
    '',
  ])('not %j', (text) => {
    expect(nestedRequirementLines(`${text}\r\nok`)).toEqual([]);
  });

  test('a long line costs little', () => {
    expect(nestedRequirementLines(`${' '.repeat(200_000)}x${'#'.repeat(200_000)}`)).toHaveLength(0);
  });
});
