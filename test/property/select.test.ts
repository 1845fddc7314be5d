import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { native } from '../../src/native/addon.ts';
import { selectSources } from '../../src/patterns/select.ts';
import { MapTree, type TreeEntry } from '../../src/patterns/source-tree.ts';
import { diskTree } from '../support/disk-tree.ts';

const scratch = mkdtempSync(join(tmpdir(), 'tsbuild-select-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const name = fc.constantFrom('a', 'b', 'c', 'ab');
const inTree = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join('/'));
const target = fc
  .tuple(
    fc.constantFrom('', '/', '../', '../../../'),
    fc.array(fc.constantFrom('a', 'b', 'c', '.', '..'), { minLength: 1, maxLength: 3 }),
  )
  .map(([start, names]) => start + names.join('/'));
const leaves = fc.uniqueArray(
  fc.tuple(
    inTree,
    fc.oneof(
      fc.constant('file'),
      fc.constant('directory'),
      target.map((link) => `-> ${link}`),
    ),
  ),
  { minLength: 1, maxLength: 10, selector: ([path]) => path },
);
const source = fc
  .tuple(
    fc.constantFrom('', '/', '../'),
    fc.array(fc.constantFrom('a', 'b', 'c', '*', '?', '**', '[ab]', '..', '.'), {
      minLength: 1,
      maxLength: 4,
    }),
  )
  .map(([start, parts]) => start + parts.join('/'));

/** Leaves below other leaves are dropped: each path is one thing. */
async function make(wanted: readonly (readonly [string, string])[], root: string) {
  const made = wanted.filter(
    ([path]) => !wanted.some(([other, what]) => what !== 'directory' && path.startsWith(`${other}/`)),
  );
  for (const [path, what] of made) {
    const full = join(root, path);
    await mkdir(dirname(full), { recursive: true });
    if (what === 'directory') {
      await mkdir(full, { recursive: true });
    } else if (what === 'file') {
      await writeFile(full, path);
    } else {
      await symlink(what.slice(3), full);
    }
  }
  return new MapTree<TreeEntry>(
    made.map(([path, what]) => [
      `/${path}`,
      what.startsWith('-> ')
        ? { kind: 'symlink', link: what.slice(3) }
        : { kind: what as 'file' | 'directory' },
    ]),
    { kind: 'directory' },
  );
}

let runs = 0;
const newRoot = async () => {
  runs += 1;
  const root = join(scratch, String(runs));
  await mkdir(root);
  return root;
};

test('a list of files and the directory itself answer alike', async () => {
  const kinds: Record<string, number> = {};
  await fc.assert(
    fc.asyncProperty(
      leaves,
      fc.array(source, { minLength: 1, maxLength: 6 }),
      fc.boolean(),
      fc.constantFrom([], ['a'], ['**/b', '!a']),
      async (wanted, sources, parents, exclude) => {
        const root = await newRoot();
        const map = await make(wanted, root);
        for (const each of sources) {
          const options = { wildcards: true, parents, exclude };
          const ofMap = await selectSources(map, each, options);
          expect(ofMap).toEqual(await selectSources(diskTree(root), each, options));
          kinds[ofMap.kind] = (kinds[ofMap.kind] ?? 0) + 1;
        }
      },
    ),
    { numRuns: 250 },
  );
  expect(kinds).toEqual({
    selected: expect.any(Number),
    missing: expect.any(Number),
    loop: expect.any(Number),
  });
});

test('one path is where the kernel finds it below the root', async () => {
  let found = 0;
  let followed = 0;
  await fc.assert(
    fc.asyncProperty(leaves, fc.array(inTree, { minLength: 1, maxLength: 6 }), async (wanted, paths) => {
      const root = await newRoot();
      const map = await make(wanted, root);
      for (const path of paths) {
        const selected = await selectSources(map, path, { wildcards: false, parents: false, exclude: [] });
        let expected: string | undefined;
        try {
          expected = native().statInRoot(root, path)?.path.toString();
        } catch {
          // Links in a circle.
        }
        const at = selected.kind === 'selected' ? selected.matches[0]?.at : undefined;
        expect(at).toBe(expected === undefined ? undefined : `/${expected.replace(/^\//, '')}`);
        found += at === undefined ? 0 : 1;
        followed += selected.kind === 'selected' && selected.links.length > 0 ? 1 : 0;
      }
    }),
    { numRuns: 250 },
  );
  expect(found).toBeGreaterThan(50);
  expect(followed).toBeGreaterThan(10);
});
