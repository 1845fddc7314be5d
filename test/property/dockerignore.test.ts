import fc from 'fast-check';
import { expect, test } from 'vitest';
import { dockerignoreMatcher } from '../../src/patterns/dockerignore.ts';

/** The way moby goes: each pattern a regular expression, each parent asked by itself. Slow, and short. */
function oracle(patterns: readonly string[], path: string): boolean {
  let matched = false;
  for (const written of patterns) {
    const includes = written.startsWith('!');
    const pattern = written
      .replace('!', '')
      .replace(/\/+/g, '/')
      .replace(/^\/|\/$/g, '');
    if (pattern === '' || includes !== matched) {
      continue;
    }
    const parts = path.split('/');
    if (parts.some((_, end) => matchesOne(pattern, parts.slice(0, end + 1).join('/')))) {
      matched = !includes;
    }
  }
  return matched;
}

function matchesOne(pattern: string, path: string): boolean {
  if (/^\*\*[^*?/]+$/.test(pattern)) {
    return path.endsWith(pattern.slice(2));
  }
  // The end first, then the longer of two tokens that begin alike.
  const source = pattern.replace(/\*\*$|\*\*\/?|\*|\?|\./g, (token, at: number) => {
    if (token === '**' && at + 2 === pattern.length) {
      return '.*';
    }
    return { '*': '[^/]*', '?': '[^/]', '.': '\\.' }[token] ?? '(.*/)?';
  });
  return new RegExp(`^${source}$`).test(path);
}

const part = fc.constantFrom('a', 'b', 'ab', '*', '**', '?', 'a*', '*b', 'a.b', '**/a');
const pattern = fc
  .tuple(
    fc.constantFrom('', '', '!'),
    fc.constantFrom('', '/'),
    fc.array(part, { minLength: 1, maxLength: 3 }),
  )
  .map(([not, root, parts]) => not + root + parts.join('/'));
const path = fc
  .array(fc.constantFrom('a', 'b', 'ab', 'a.b', 'axb', 'c'), { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join('/'));

test('patterns mean what the slow way says', () => {
  let matches = 0;
  fc.assert(
    fc.property(fc.array(pattern, { minLength: 1, maxLength: 4 }), path, (patterns, name) => {
      const expected = oracle(patterns, name);
      expect(dockerignoreMatcher(patterns).matches(name)).toBe(expected);
      matches += expected ? 1 : 0;
    }),
    { numRuns: 3000 },
  );
  expect(matches).toBeGreaterThan(300);
});
