import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  type CacheMountRequest,
  CacheMounts,
  type HeldCacheMount,
} from '../../../src/volume/cache-mounts.ts';

const own = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

let store: string;
let mounts: CacheMounts;
beforeEach(() => {
  store = mkdtempSync(join(tmpdir(), 'tsbuild-mounts-'));
  mkdirSync(join(store, 'mounts'));
  mounts = new CacheMounts(store);
});
afterEach(() => rmSync(store, { recursive: true, force: true }));

function acquire(
  id: string,
  sharing: CacheMountRequest['sharing'],
  {
    from = mounts,
    signal = new AbortController().signal,
    ...more
  }: Partial<CacheMountRequest> & {
    from?: CacheMounts;
    signal?: AbortSignal;
  } = {},
): Promise<HeldCacheMount> {
  return from.acquire({ id, sharing, ...own, ...more }, signal);
}

/** Whether it still waits when everything that can happen without a release has happened. */
async function waits(held: Promise<unknown>): Promise<boolean> {
  const pause = new Promise((resolve) => setTimeout(resolve, 100));
  return (await Promise.race([held.then(() => 'held'), pause.then(() => 'waits')])) === 'waits';
}

test('what is put in one is there the next time, for another process object too', async () => {
  const first = await acquire('pip', 'shared');
  writeFileSync(join(first.dir, 'wheel'), 'x');
  first.release();
  const second = await acquire('pip', 'locked', { from: new CacheMounts(store) });
  expect(second.dir).toBe(first.dir);
  expect(readFileSync(join(second.dir, 'wheel'), 'utf8')).toBe('x');
  second.release();
});

test('shared ones are held together, and a locked one waits for all of them', async () => {
  const [one, two] = [await acquire('a', 'shared'), await acquire('a', 'shared')];
  expect(two.dir).toBe(one.dir);
  const locked = acquire('a', 'locked');
  one.release();
  expect(await waits(locked)).toBe(true);
  two.release();
  expect((await locked).dir).toBe(one.dir);
  (await locked).release();
});

test('a locked one is held alone, and others do not matter', async () => {
  const locked = await acquire('a', 'locked');
  const other = await acquire('b', 'locked');
  const shared = acquire('a', 'shared');
  const again = acquire('a', 'locked', { from: new CacheMounts(store) });
  expect(await waits(Promise.race([shared, again]))).toBe(true);
  other.release();
  locked.release();
  for (const held of [shared, again]) {
    void held.then(({ release }) => release());
  }
  expect((await shared).dir).toBe((await again).dir);
});

test('waiting ends when it is aborted, and leaves the lock to others', async () => {
  const locked = await acquire('a', 'locked');
  const controller = new AbortController();
  const waiting = acquire('a', 'locked', { signal: controller.signal });
  expect(await waits(waiting.catch(() => 'ended'))).toBe(true);
  const reason = new Error('stop');
  controller.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  await expect(acquire('a', 'shared', { signal: controller.signal })).rejects.toBe(reason);
  locked.release();
  (await acquire('a', 'locked')).release();
});

test('private ones are a directory each, taken up again when they are free', async () => {
  const held = [await acquire('a', 'private'), await acquire('a', 'private'), await acquire('a', 'private')];
  const dirs = held.map(({ dir }) => dir);
  expect(new Set(dirs).size).toBe(3);
  held[1]?.release();
  const next = await acquire('a', 'private');
  expect(next.dir).toBe(dirs[1]);
  for (const one of [held[0], held[2], next]) {
    one?.release();
  }
  expect((await acquire('a', 'private')).dir).toBe(dirs[0]);
});

test('a private one keeps away from what is shared', async () => {
  const shared = await acquire('a', 'shared');
  const alone = await acquire('a', 'private');
  expect(alone.dir).not.toBe(shared.dir);
  shared.release();
  alone.release();
});

test('mode is that of the making, and the umask does not matter', async () => {
  const before = process.umask(0o077);
  try {
    const plain = await acquire('plain', 'shared');
    expect(statSync(plain.dir).mode & 0o7777).toBe(0o755);
    const special = await acquire('special', 'shared', { mode: 0o1777 });
    expect(statSync(special.dir).mode & 0o7777).toBe(0o1777);
    special.release();
    expect((await acquire('special', 'shared', { mode: 0o1777 })).dir).toBe(special.dir);
    const other = await acquire('special', 'shared', { mode: 0o700 });
    expect(other.dir).not.toBe(special.dir);
    expect(statSync(special.dir).mode & 0o7777).toBe(0o1777);
    expect(statSync(other.dir).mode & 0o7777).toBe(0o700);
    expect(statSync(dirname(plain.dir)).mode & 0o7777).toBe(0o700);
  } finally {
    process.umask(before);
  }
});

test.runIf(own.uid === 0)('the owner is the one that is asked for', async () => {
  const { dir } = await acquire('a', 'shared', { uid: 1234, gid: 5678 });
  expect(statSync(dir)).toMatchObject({ uid: 1234, gid: 5678 });
});

const LONG = 'long/'.repeat(100);
const IDS = [
  '',
  '.',
  '..',
  '../../escape',
  '/root/.cache',
  'a/b',
  'a%2Fb',
  'a b',
  '%2E',
  'nul\0byte',
  'grüße 😀',
  'half \ud800',
  'half \ud801',
  'half \ufffd',
  'lock',
  'data',
  'id',
  LONG,
  `${LONG}x`,
  'A',
  'a',
];

test('ids of any text have a directory each, in the place for them', async () => {
  const dirs = new Map<string, string>();
  for (const id of IDS) {
    const held = await acquire(id, 'locked');
    dirs.set(id, held.dir);
    writeFileSync(join(held.dir, 'f'), 'x');
    held.release();
  }
  // What the long one's directory is called is an id as well.
  const name = basename(dirname(dirs.get(LONG) ?? ''));
  for (const id of [name, name.slice(1)]) {
    dirs.set(id, (await acquire(id, 'shared')).dir);
  }
  expect(new Set(dirs.values()).size).toBe(IDS.length + 2);
  for (const dir of dirs.values()) {
    expect(dirname(dirname(dir))).toBe(join(store, 'mounts'));
    expect(statSync(dir).isDirectory()).toBe(true);
  }
  expect(readdirSync(store)).toEqual(['mounts']);
});

test('sizes are by id, in bytes', async () => {
  const ids = ['a/b', 'grüße 😀', ''];
  for (const [index, id] of ids.entries()) {
    const held = await acquire(id, 'shared');
    writeFileSync(join(held.dir, 'f'), 'x'.repeat(1000 * (index + 1)));
    held.release();
  }
  const sizes = new Map((await mounts.list()).map(({ id, sizeBytes }) => [id, sizeBytes]));
  expect([...sizes.keys()].sort()).toEqual([...ids].sort());
  for (const [index, id] of ids.entries()) {
    expect(sizes.get(id)).toBe(1000 * (index + 1));
  }
});

async function fill(id: string): Promise<string> {
  const held = await acquire(id, 'shared');
  writeFileSync(join(held.dir, 'f'), 'x');
  held.release();
  return held.dir;
}

test('remove takes those that are named, and leaves the others', async () => {
  const [a, b] = [await fill('a/b'), await fill('b')];
  expect(await mounts.remove(['a/b', 'unknown'])).toBe(1);
  expect([existsSync(a), existsSync(b)]).toEqual([false, true]);
  expect(await mounts.remove(undefined)).toBe(1);
  expect(existsSync(b)).toBe(false);
  expect(await mounts.remove([])).toBe(0);
});

test('remove leaves those in use', async () => {
  for (const sharing of ['shared', 'locked', 'private'] as const) {
    const held = await acquire(sharing, sharing);
    writeFileSync(join(held.dir, 'f'), 'x');
    expect(await new CacheMounts(store).remove([sharing])).toBe(0);
    expect(existsSync(join(held.dir, 'f'))).toBe(true);
    held.release();
    expect(await mounts.remove([sharing])).toBe(1);
    expect(existsSync(held.dir)).toBe(false);
  }
});

test('remove leaves the private directories that are in use', async () => {
  const [first, second, third] = [
    await acquire('a', 'private'),
    await acquire('a', 'private'),
    await acquire('a', 'private'),
  ];
  first.release();
  third.release();
  await mounts.remove(['a']);
  expect([first, second, third].map(({ dir }) => existsSync(dir))).toEqual([false, true, false]);
  second.release();
});

test('after a removal one is made anew, empty', async () => {
  const dir = await fill('a');
  await mounts.remove(undefined);
  const held = await acquire('a', 'locked');
  expect(held.dir).toBe(dir);
  expect(readdirSync(held.dir)).toEqual([]);
  held.release();
});

test('what a step leaves in one cannot keep it, nor lead a removal elsewhere', async () => {
  const outside = join(store, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'kept'), 'x');
  const held = await acquire('a', 'shared');
  symlinkSync(outside, join(held.dir, 'link'));
  mkdirSync(join(held.dir, 'locked/deep'), { recursive: true });
  writeFileSync(join(held.dir, 'locked/deep/f'), 'x');
  execFileSync('chmod', ['0', join(held.dir, 'locked')]);
  held.release();
  expect(await mounts.remove(['a'])).toBe(1);
  expect(existsSync(held.dir)).toBe(false);
  expect(readdirSync(outside)).toEqual(['kept']);
});

test('a removal that was cut short is finished by the next', async () => {
  const dir = await fill('a');
  const gone = join(dirname(dir), 'gone-data');
  mkdirSync(gone);
  writeFileSync(join(gone, 'old'), 'x');
  expect(await mounts.remove(['a'])).toBe(1);
  expect([existsSync(dir), existsSync(gone)]).toEqual([false, false]);
});

test('an empty one is filled once, and not again when it has something', async () => {
  let fills = 0;
  const filled = (from = mounts) =>
    acquire('a', 'shared', {
      from,
      fill: async (dir) => {
        fills += 1;
        // Whoever came meanwhile waits for the end of it.
        await new Promise((resolve) => setImmediate(resolve));
        writeFileSync(join(dir, 'seed'), 'x');
      },
    });
  const held = await Promise.all([filled(), filled(new CacheMounts(store)), filled()]);
  expect(fills).toBe(1);
  for (const one of held) {
    expect(readdirSync(one.dir)).toEqual(['seed']);
    one.release();
  }
  writeFileSync(join(held[0].dir, 'more'), 'x');
  rmSync(join(held[0].dir, 'seed'));
  expect(readdirSync((await filled()).dir)).toEqual(['more']);
  expect(fills).toBe(1);
});

test('a seed that was cut short is begun anew', async () => {
  const cut = new Error('cut');
  const failing = acquire('a', 'locked', {
    fill: async (dir) => {
      writeFileSync(join(dir, 'half'), 'x');
      throw cut;
    },
  });
  await expect(failing).rejects.toBe(cut);
  const held = await acquire('a', 'locked', {
    fill: async (dir) => {
      expect(readdirSync(dir)).toEqual([]);
      writeFileSync(join(dir, 'whole'), 'x');
    },
  });
  expect(readdirSync(held.dir)).toEqual(['whole']);
  held.release();
});

test('each of the private ones is filled', async () => {
  const fill = async (dir: string) => writeFileSync(join(dir, 'seed'), 'x');
  const [one, two] = [await acquire('a', 'private', { fill }), await acquire('a', 'private', { fill })];
  expect([readdirSync(one.dir), readdirSync(two.dir)]).toEqual([['seed'], ['seed']]);
});

test('the list says what is there, how often, since when and whether it is in use', async () => {
  expect(await mounts.list()).toEqual([]);
  const begin = Date.now() - 2000;
  const held = [await acquire('b', 'private'), await acquire('b', 'private'), await acquire('a', 'shared')];
  writeFileSync(join(held[1]?.dir ?? '', 'f'), 'four');
  held[2]?.release();
  const facts = await mounts.list();
  expect(facts).toMatchObject([
    { id: 'a', sizeBytes: 0, copies: 1, inUse: false },
    { id: 'b', sizeBytes: 4, copies: 2, inUse: true },
  ]);
  expect(facts.every(({ usedMs }) => usedMs > begin)).toBe(true);
  held[0]?.release();
  held[1]?.release();
  expect((await mounts.list())[1]).toMatchObject({ inUse: false });
  await mounts.remove(['b']);
  expect((await mounts.list()).map(({ id }) => id)).toEqual(['a']);
});

test('with refuse nothing is removed when one is in use or is not there', async () => {
  const a = await fill('a');
  const held = await acquire('b', 'shared');
  await expect(mounts.remove(['a', 'b'], 'refuse')).rejects.toMatchObject({ code: 'E_CACHE_MOUNT_IN_USE' });
  await expect(mounts.remove(['a', 'c'], 'refuse')).rejects.toMatchObject({
    code: 'E_CACHE_MOUNT_NOT_FOUND',
  });
  expect(existsSync(a)).toBe(true);
  held.release();
  expect(await mounts.remove(['a', 'b'], 'refuse')).toBe(2);
  await expect(mounts.remove(['a'], 'refuse')).rejects.toMatchObject({ code: 'E_CACHE_MOUNT_NOT_FOUND' });
});

test('one that is in use can be taken away from those who come later, and goes with the next removal', async () => {
  const held = await acquire('a', 'shared');
  writeFileSync(join(held.dir, 'f'), 'x');
  expect(await mounts.remove(['a'], 'detach')).toBe(1);
  const next = await acquire('a', 'shared');
  expect(readdirSync(next.dir)).toEqual([]);
  const gone = () => readdirSync(dirname(next.dir)).filter((name) => name.startsWith('gone-'));
  expect(readFileSync(join(dirname(next.dir), gone()[0] ?? '', 'f'), 'utf8')).toBe('x');
  held.release();
  next.release();
  expect(await mounts.remove(['a'])).toBe(1);
  expect(gone()).toEqual([]);
});

test('held by id, it is the one that was used last, and nobody else has it', async () => {
  expect(() => mounts.hold('a')).toThrow(expect.objectContaining({ code: 'E_CACHE_MOUNT_NOT_FOUND' }));
  const plain = await acquire('a', 'shared');
  expect(() => mounts.hold('a')).toThrow(expect.objectContaining({ code: 'E_CACHE_MOUNT_IN_USE' }));
  plain.release();
  const other = await acquire('a', 'shared', { mode: 0o700 });
  other.release();
  const old = new Date(1000);
  utimesSync(join(dirname(plain.dir), 'id'), old, old);
  const held = mounts.hold('a');
  expect(held.dir).toBe(other.dir);
  await expect(mounts.replace('a', async () => undefined)).rejects.toMatchObject({
    code: 'E_CACHE_MOUNT_IN_USE',
  });
  held.release();
});

test('replaced, it has what it was filled with, and its own mode; a failure changes nothing', async () => {
  const before = await acquire('a', 'shared', { mode: 0o1777 });
  writeFileSync(join(before.dir, 'old'), 'x');
  before.release();
  const failure = new Error('no');
  const failing = mounts.replace('a', async (dir) => {
    writeFileSync(join(dir, 'half'), 'x');
    throw failure;
  });
  await expect(failing).rejects.toBe(failure);
  expect(readdirSync(before.dir)).toEqual(['old']);
  await mounts.replace('a', async (dir) => {
    chmodSync(dir, 0o700);
    writeFileSync(join(dir, 'new'), 'x');
  });
  expect(readdirSync(before.dir)).toEqual(['new']);
  expect(statSync(before.dir).mode & 0o7777).toBe(0o1777);
  expect(readdirSync(dirname(before.dir)).filter((name) => /^(fresh|gone)/.test(name))).toEqual([]);
});
