import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CacheMounts } from '../../../src/volume/cache-mounts.ts';

/** Who runs the tests, because only root may give directories away. */
const own = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const { signal } = new AbortController();

let storeDir: string;
let one: CacheMounts;
/** Another process's view. */
let other: CacheMounts;
beforeEach(() => {
  storeDir = mkdtempSync(join(tmpdir(), 'tsbuild-mounts-'));
  mkdirSync(join(storeDir, 'mounts'));
  one = new CacheMounts(storeDir);
  other = new CacheMounts(storeDir);
});
afterEach(() => rmSync(storeDir, { recursive: true, force: true }));

const acquire = (
  mounts: CacheMounts,
  sharing: 'shared' | 'private' | 'locked',
  id = 'apt',
  until: AbortSignal = signal,
) => mounts.acquire({ id, sharing, ...own }, until);

/** Whether a promise is still pending after others had their turn. */
async function waits(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  promise.then(
    () => {
      settled = true;
    },
    () => {
      settled = true;
    },
  );
  // A lock that is free is taken without waiting; a few turns are enough to see it.
  for (let turn = 0; turn < 20; turn += 1) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  return !settled;
}

describe('cache mounts', () => {
  test('what is written stays, and the lock is not in it', async () => {
    const first = await acquire(one, 'shared');
    writeFileSync(join(first.dir, 'file'), 'kept');
    first.release();
    const second = await acquire(other, 'shared');
    expect(second.dir).toBe(first.dir);
    expect(readdirSync(second.dir)).toEqual(['file']);
    second.release();
  });

  test('shared ones are used together', async () => {
    const [a, b] = [await acquire(one, 'shared'), await acquire(other, 'shared')];
    expect(a.dir).toBe(b.dir);
    a.release();
    b.release();
  });

  test('a locked one waits for everybody else, and they for it', async () => {
    const shared = await acquire(one, 'shared');
    const locked = acquire(other, 'locked');
    expect(await waits(locked)).toBe(true);
    shared.release();
    const held = await locked;
    const next = acquire(one, 'locked');
    expect(await waits(next)).toBe(true);
    held.release();
    (await next).release();
  });

  test('private ones get directories of their own, and the same again', async () => {
    const a = await acquire(one, 'private');
    const b = await acquire(other, 'private');
    expect(b.dir).not.toBe(a.dir);
    writeFileSync(join(a.dir, 'file'), 'a');
    a.release();
    const again = await acquire(other, 'private');
    expect(again.dir).toBe(a.dir);
    again.release();
    b.release();
  });

  test('who waits can give up', async () => {
    const held = await acquire(one, 'locked');
    const controller = new AbortController();
    const waiting = acquire(other, 'locked', 'apt', controller.signal);
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    held.release();
    (await acquire(other, 'locked')).release();
  });

  test('any id is a name of its own below mounts/', async () => {
    const ids = [
      'a',
      'a/b',
      'a%2Fb',
      '..',
      '.',
      '../../escape',
      '',
      'ü',
      'x'.repeat(500),
      `${'x'.repeat(500)}y`,
    ];
    const dirs = new Set<string>();
    for (const id of ids) {
      const { dir, release } = await acquire(one, 'shared', id);
      expect(join(dir, '../..')).toBe(join(storeDir, 'mounts'));
      dirs.add(dir);
      release();
    }
    expect(dirs.size).toBe(ids.length);
    expect(Object.keys(await one.usage()).sort()).toEqual(ids.toSorted());
  });

  test('mode is what was asked for when it was made', async () => {
    const first = await one.acquire({ id: 'm', sharing: 'shared', mode: 0o1777, ...own }, signal);
    first.release();
    expect(statSync(first.dir).mode & 0o7777).toBe(0o1777);
    const second = await one.acquire({ id: 'm', sharing: 'shared', mode: 0o700, ...own }, signal);
    second.release();
    expect(statSync(first.dir).mode & 0o7777).toBe(0o1777);
  });

  test('only what nobody uses is removed, and can be used again', async () => {
    const busy = await acquire(one, 'shared', 'busy');
    const idle = await acquire(one, 'shared', 'idle');
    writeFileSync(join(idle.dir, 'file'), 'x'.repeat(1000));
    idle.release();
    expect((await other.usage()).idle).toBeGreaterThanOrEqual(1000);
    expect(await other.remove(['elsewhere'])).toBe(0);
    expect(await other.remove(undefined)).toBe(1);
    expect(existsSync(busy.dir)).toBe(true);
    expect(existsSync(idle.dir)).toBe(false);
    busy.release();
    const again = await acquire(one, 'shared', 'idle');
    expect(readdirSync(again.dir)).toEqual([]);
    again.release();
  });

  test('a private directory that is in use outlives the removal of its siblings', async () => {
    const a = await acquire(one, 'private');
    const b = await acquire(one, 'private');
    a.release();
    await other.remove(undefined);
    expect(existsSync(a.dir)).toBe(false);
    expect(existsSync(b.dir)).toBe(true);
    b.release();
  });
});
