/** What is remembered of a scan is what a scan without memory finds, whatever happened in between. */
import { chmod, link, mkdir, rename, rm, symlink, unlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ContextSelection } from '../../src/frontend/dockerfile/context-input.ts';
import type { ContextTools } from '../../src/local/found-context.ts';
import { ScannedContext } from '../../src/local/scan-context.ts';
import type { ScanStore } from '../../src/local/scan-memory.ts';
import { native } from '../../src/native/addon.ts';
import { MemoryScanStore } from '../support/memory-scan-store.ts';
import { MemoryStatCache } from '../support/plain-scan.ts';
import { temporaryTree } from '../support/temporary-tree.ts';

const RUNS = 60;
/** More than a tick of the kernel's clock for files. */
const TICK_MS = 12;
const HOUR_NS = 3_600_000_000_000n;
const realClock = () => BigInt(Date.now()) * 1_000_000n;
/** All times are settled. */
const later = () => realClock() + HOUR_NS;

const SELECTIONS: readonly ContextSelection[][] = [
  [{ source: '/', select: { wildcards: true, parents: false, exclude: [] } }],
  [{ source: '/d', select: { wildcards: true, parents: false, exclude: ['**/b'] } }],
  [{ source: '/a*', select: { wildcards: true, parents: true, exclude: [] } }],
];
const IGNORES = [undefined, 'e\n', '**/b\n!d/b\n', 'd/*\n!d/e/a\n'];

interface Setting {
  readonly now: () => bigint;
  readonly statCache?: MemoryStatCache;
  readonly scans?: ScanStore;
}

/** What a build would see of each selection, and how many lists were made: of directories, and indexes. */
async function look(directory: string, ignore: string | undefined, setting: Setting) {
  const real = native();
  let listed = 0;
  const tools: ContextTools = {
    statCache: new MemoryStatCache(),
    ...setting,
    native: {
      CancelToken: real.CancelToken,
      walkTree: async (...asked) => {
        const walk = await real.walkTree(...asked);
        const { fingerprint, names, newestNs } = walk;
        return {
          fingerprint,
          names,
          newestNs,
          index: (...more) => {
            listed += 1;
            return walk.index(...more);
          },
        };
      },
      hashFiles: real.hashFiles,
      scanDirectories: (root, directories, cancel) => {
        listed += directories.length;
        return real.scanDirectories(root, directories, cancel);
      },
    },
  };
  const input = {
    name: 'context',
    directory,
    ignore: ignore === undefined ? undefined : { name: '.dockerignore', text: ignore },
  };
  const context = await ScannedContext.scan(input, tools);
  const found: unknown[] = [];
  for (const selection of SELECTIONS) {
    try {
      const { contentDigest, leftOut, rootOnlyPatterns } = await context.content(selection, tools);
      found.push({ contentDigest, leftOut, rootOnlyPatterns });
    } catch (error) {
      found.push((error as { code?: unknown }).code);
    }
  }
  return { found, listed };
}

const name = fc.constantFrom('a', 'b', 'd', 'd/a', 'd/b', 'd/e', 'd/e/a', 'e', 'e/b', 'l');
const change = fc.oneof(
  fc.record({
    kind: fc.constant('write' as const),
    path: name,
    text: fc.constantFrom('one', 'two', 'longer'),
  }),
  fc.record({ kind: fc.constantFrom('touch' as const, 'back' as const), path: name }),
  fc.record({ kind: fc.constant('chmod' as const), path: name, mode: fc.constantFrom(0o600, 0o755) }),
  fc.record({ kind: fc.constantFrom('rename' as const, 'swap' as const), path: name, to: name }),
  fc.record({ kind: fc.constantFrom('remove' as const, 'mkdir' as const), path: name }),
  fc.record({ kind: fc.constantFrom('link' as const, 'symlink' as const), path: name, to: name }),
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

async function make(root: string, done: Change): Promise<void> {
  const path = join(root, done.path);
  switch (done.kind) {
    case 'write':
      await mkdir(dirname(path), { recursive: true });
      return await writeFile(path, done.text);
    case 'touch':
      return await utimes(path, 1e9, 1e9);
    case 'back':
      // Other content of the same size under the times that it had.
      await writeFile(path, 'eno');
      return await utimes(path, 1e9, 1e9);
    case 'chmod':
      return await chmod(path, done.mode);
    case 'rename':
      return await rename(path, join(root, done.to));
    case 'swap':
      await writeFile(`${path}.new`, 'owt');
      return await rename(`${path}.new`, join(root, done.to));
    case 'remove':
      return await rm(path, { recursive: true });
    case 'mkdir':
      return void (await mkdir(path, { recursive: true }));
    case 'link':
      return await link(path, join(root, done.to));
    case 'symlink':
      await unlink(path).catch(() => undefined);
      return await symlink(done.to, path);
  }
}

const START = { a: 'one', 'd/a': 'two', 'd/b': 'one', 'd/e/a': 'one', 'e/b': 'x', l: { link: 'd/a' } };

describe('a scan with memory finds what one without it does', () => {
  it.each([
    ['after changes that come a tick later', later, TICK_MS],
    ['after changes in the same tick, since young files are not remembered', realClock, 0],
  ])('%s', async (_name, now, pauseMs) => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...IGNORES),
        fc.array(fc.array(change, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 2 }),
        async (ignore, rounds) => {
          await using tree = await temporaryTree(START);
          using scans = new MemoryScanStore();
          const setting = { now, scans, statCache: new MemoryStatCache() };
          expect((await look(tree.path, ignore, setting)).found).toEqual(
            (await look(tree.path, ignore, { now })).found,
          );
          for (const changes of rounds) {
            await sleep(pauseMs);
            for (const each of changes) {
              await make(tree.path, each).catch(() => undefined);
            }
            const plain = await look(tree.path, ignore, { now });
            expect((await look(tree.path, ignore, setting)).found).toEqual(plain.found);
            expect((await look(tree.path, ignore, setting)).found).toEqual(plain.found);
          }
        },
      ),
      { numRuns: RUNS },
    );
  });

  it('without a list of anything when nothing changed, even in what the ignore file hides', async () => {
    for (const ignore of IGNORES) {
      await using tree = await temporaryTree({ ...START, 'd/c': 'three' });
      using scans = new MemoryScanStore();
      const setting = { now: later, scans };
      const first = await look(tree.path, ignore, setting);
      expect(first.listed).toBeGreaterThan(0);
      expect(await look(tree.path, ignore, setting)).toEqual({ found: first.found, listed: 0 });
      if (ignore === 'e\n') {
        await writeFile(join(tree.path, 'e/new'), 'nobody asks');
        expect((await look(tree.path, ignore, setting)).listed).toBe(0);
      }
      await writeFile(join(tree.path, 'd/e/a'), 'changed');
      expect((await look(tree.path, ignore, setting)).listed).toBeGreaterThan(0);
      expect((await look(tree.path, ignore, setting)).listed).toBe(0);
    }
  });
});

describe('what is remembered', () => {
  const whole = SELECTIONS[0] ?? [];
  const tools = (scans: ScanStore): ContextTools => ({
    statCache: new MemoryStatCache(),
    now: later,
    scans,
    native: native(),
  });
  const scan = (directory: string, scans: ScanStore) =>
    ScannedContext.scan({ name: 'context', directory, ignore: undefined }, tools(scans));

  it('gives the list as well, as long as it is still that content', async () => {
    await using tree = await temporaryTree(START);
    using scans = new MemoryScanStore();
    await (await scan(tree.path, scans)).content(whole, tools(scans));
    const again = await (await scan(tree.path, scans)).content(whole, tools(scans));
    expect(again.isRemembered).toBe(true);
    const { files, contentDigest } = await again.list();
    expect(files.map(({ path }) => path)).toContain('/d/e/a');
    expect(contentDigest).toBe(again.contentDigest);
    const late = await (await scan(tree.path, scans)).content(whole, tools(scans));
    await writeFile(join(tree.path, 'd/e/a'), 'changed');
    // Whoever reads the file finds that it is not what the list expects.
    expect(await late.list()).toMatchObject({ contentDigest, files });
    await rm(scans.directory, { recursive: true });
    const lost = await (await scan(tree.path, scans)).content(whole, tools(scans));
    expect(lost.isRemembered).toBe(false);
  });

  it('is of another directory or ignore file no matter', async () => {
    await using tree = await temporaryTree(START);
    await using other = await temporaryTree(START);
    using scans = new MemoryScanStore();
    await look(tree.path, undefined, { now: later, scans });
    expect((await look(other.path, undefined, { now: later, scans })).listed).toBeGreaterThan(0);
    expect((await look(tree.path, 'a\n', { now: later, scans })).listed).toBeGreaterThan(0);
  });

  it('is nothing of files that could be written again under the same times', async () => {
    await using tree = await temporaryTree(START);
    using scans = new MemoryScanStore();
    const remembered = () =>
      [...scans.rows.values()].map((row) => Object.keys(JSON.parse(row).selections).length);
    await look(tree.path, undefined, { now: realClock, scans });
    expect(remembered()).toEqual([0]);
    // One that is young is enough, if it is not hidden.
    const old = () => later() + HOUR_NS;
    await utimes(join(tree.path, 'e/b'), Number(old() / 1_000_000_000n), Number(old() / 1_000_000_000n));
    await look(tree.path, undefined, { now: later, scans });
    expect(remembered()).toEqual([0]);
    await look(tree.path, 'e\n', { now: later, scans });
    expect(remembered()).toEqual([0, SELECTIONS.length]);
  });

  it('says of young files, too, that they are not what they were', async () => {
    await using tree = await temporaryTree(START);
    using scans = new MemoryScanStore();
    let changes = 0;
    const look = async () => {
      const young = { ...tools(scans), now: realClock, onChanged: () => (changes += 1) };
      const context = { name: 'context', directory: tree.path, ignore: undefined };
      await (await ScannedContext.scan(context, young)).content(whole, young);
      return changes;
    };
    expect(await look()).toBe(0);
    expect(await look()).toBe(0);
    await writeFile(join(tree.path, 'd/e/a'), 'changed');
    expect(await look()).toBe(1);
    expect(await look()).toBe(1);
  });

  it('is not what an ignore file was asked about names that are no text', async () => {
    await using tree = await temporaryTree(START);
    await writeFile(Buffer.concat([Buffer.from(`${tree.path}/d/`), Buffer.from([0xff])]), '');
    using scans = new MemoryScanStore();
    await look(tree.path, 'e\n', { now: later, scans });
    expect(scans.rows.size).toBe(0);
    const { found } = await look(tree.path, undefined, { now: later });
    expect(found).toContain('E_LAYER_UNREPRESENTABLE');
    expect((await look(tree.path, undefined, { now: later, scans })).found).toEqual(found);
    expect((await look(tree.path, undefined, { now: later, scans })).found).toEqual(found);
  });
});
