import fc from 'fast-check';
import { expect, test } from 'vitest';
import { dockerignoreMatcher } from '../../src/patterns/dockerignore.ts';
import { MapTree, type TreeEntry, walk, walkTop } from '../../src/patterns/source-tree.ts';

/**
 * What Docker's tools do on the way down, the plain way: regular expressions, every directory looked into, and a pattern that
 * was not asked about a directory does not hold below it.
 */
function oracle(patterns: readonly string[], paths: readonly string[]): string[] {
  const held = new Map<string, boolean[]>();
  const ignored = (path: string): boolean => {
    const parent = held.get(path.slice(0, Math.max(path.lastIndexOf('/'), 0)));
    let matched = false;
    held.set(
      path,
      patterns.map((written, index) => {
        const includes = written.startsWith('!');
        let match = parent?.[index] === true;
        if (!match && includes !== matched) {
          return false;
        }
        match ||= expression(written.replace('!', '').replace(/^\//, '')).test(path);
        matched = match ? !includes : matched;
        return match;
      }),
    );
    return matched;
  };
  const kept = new Set<string>();
  for (const path of [...paths].sort()) {
    if (!ignored(path)) {
      const names = path.split('/');
      for (const end of names.keys()) {
        kept.add(names.slice(0, end + 1).join('/'));
      }
    }
  }
  return [...kept].sort();
}

function expression(pattern: string): RegExp {
  const source = pattern.replace(/\./g, '\\.').replace(/\*\*\/?$|\*\*\/|\*|\?/g, (token) => {
    if (token === '**/') {
      return '(.*/)?';
    }
    return token.startsWith('**') ? '.*' : ({ '*': '[^/]*', '?': '[^/]' }[token] ?? '');
  });
  return new RegExp(`^${source}$`);
}

const pattern = fc
  .tuple(
    fc.constantFrom('', '', '!'),
    fc.constantFrom('', '/', '**/'),
    fc.array(fc.constantFrom('a', 'b', 'ab', '*', '?', 'a*', '*b', 'a.b'), { minLength: 1, maxLength: 3 }),
    fc.constantFrom('', '', '/**'),
  )
  .map(([not, root, parts, end]) => not + root + parts.join('/') + end);
const path = fc
  .array(fc.constantFrom('a', 'b', 'ab', 'a.b', 'axb', 'c'), { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join('/'));

test('a walk that looks only where it must finds what the plain way finds', async () => {
  let hidden = 0;
  let spared = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(pattern, { minLength: 1, maxLength: 5 }),
      fc.uniqueArray(path, { minLength: 1, maxLength: 12 }),
      async (patterns, files) => {
        const tree = new MapTree<TreeEntry>(
          files.map((file) => [
            `/${file}`,
            { kind: files.some((other) => other.startsWith(`${file}/`)) ? 'directory' : 'file' },
          ]),
          { kind: 'directory' },
        );
        const all = new Set(
          files.flatMap((file) => file.split('/').map((_, end, names) => names.slice(0, end + 1).join('/'))),
        );
        const expected = oracle(patterns, [...all]);
        const found: string[] = [];
        await walk(
          tree,
          walkTop<TreeEntry>('/', { kind: 'directory' }),
          { exclude: dockerignoreMatcher(patterns) },
          (each) => found.push(each.path),
        );
        // Directories come before what is in them, each once.
        for (const [index, each] of found.entries()) {
          const parent = each.slice(0, Math.max(each.lastIndexOf('/'), 0));
          expect(parent === '' || found.slice(0, index).includes(parent)).toBe(true);
        }
        expect(found.sort()).toEqual(expected);
        hidden += all.size - expected.length;
        spared += patterns.some((each) => each.startsWith('!')) ? expected.length : 0;
      },
    ),
    { numRuns: 2000 },
  );
  expect(hidden).toBeGreaterThan(1000);
  expect(spared).toBeGreaterThan(1000);
});
