/** A layer directory to a blob and back through the Node-API addon. Semantics are tested in `native/crates/layer/tests`. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type NativeAddon, native } from '../../src/native/addon.ts';
import { fromNative, isCancelled } from '../../src/native/error.ts';
import { rawTar } from '../support/raw-tar.ts';

let scratch: string;
let addon: NativeAddon;

beforeEach(() => {
  addon = native();
  scratch = mkdtempSync(join(tmpdir(), 'tsbuild-layer-'));
});

afterEach(() => {
  rmSync(scratch, { recursive: true, force: true });
});

function path(name: string): string {
  return join(scratch, name);
}

function directory(name: string): string {
  mkdirSync(path(name), { recursive: true });
  chmodSync(path(name), 0o755);
  return path(name);
}

function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function makeTree(root: string): void {
  mkdirSync(join(root, 'sub/deep'), { recursive: true });
  for (const size of [0, 1, 511, 512, 513, 1024 * 1024, 4 * 1024 * 1024 + 1]) {
    writeFileSync(join(root, `sub/${String(size).padStart(8, '0')}`), Buffer.alloc(size, `${size} bytes `));
  }
  linkSync(join(root, 'sub/00000513'), join(root, 'hard'));
  symlinkSync('../outside', join(root, 'link'));
  writeFileSync(Buffer.concat([Buffer.from(`${root}/raw`), Buffer.from([0xff, 0xfe])]), 'bytes');
  execFileSync('find', [root, '-exec', 'touch', '-h', '-d', '@1500000000', '{}', '+']);
}

const writing = { lowers: [], level: 3 } as const;
const unpacking = { compression: 'auto', overlayXattrs: 'user', devices: 'record' } as const;

describe.each([
  // Node's own zstd stops after the first frame.
  ['zstd', ['zstd', '-dcq']],
  ['gzip', ['gzip', '-dc']],
  ['none', ['cat']],
] as const)('%s', (compression, [program, ...options]) => {
  test('the same tree comes back, and other programs agree about the bytes', async () => {
    const [root, back] = [directory('root'), directory('back')];
    makeTree(root);
    const layer = await addon.writeLayer({ ...writing, root, output: path('blob'), compression });
    const blob = readFileSync(path('blob'));
    expect(layer).toMatchObject({ digest: sha256(blob), sizeBytes: blob.length, skippedSockets: 0 });
    const tar = execFileSync(program, options, { input: blob, maxBuffer: 1e8 });
    expect(layer).toMatchObject({ diffId: sha256(tar), uncompressedSizeBytes: tar.length });

    const unpacked = await addon.unpackLayer({
      ...unpacking,
      blob: path('blob'),
      root: back,
      expectedDigest: layer.digest,
      expectedDiffId: layer.diffId,
    });
    expect(unpacked).toEqual({
      digest: layer.digest,
      diffId: layer.diffId,
      uncompressedSizeBytes: layer.uncompressedSizeBytes,
      entryCount: layer.entryCount,
      implicitDirectories: [],
      recordedDevices: [],
    });
    expect(await addon.treeDigest(back)).toBe(await addon.treeDigest(root));
    const again = await addon.writeLayer({ ...writing, root: back, output: path('again'), compression });
    expect(again).toEqual(layer);
  });

  test('the bytes do not depend on the number of threads', async () => {
    const root = directory('root');
    makeTree(root);
    const layers = [];
    for (const threads of [1, 2, 4]) {
      layers.push(await addon.writeLayer({ ...writing, root, output: path('blob'), compression, threads }));
    }
    expect(layers[1]).toEqual(layers[0]);
    expect(layers[2]).toEqual(layers[0]);
  });
});

test.each([true, false])(
  'what the disk cannot have comes back from its record, with one id: %s',
  async (single) => {
    const root = directory('layer/fs');
    const owners = path('layer/owners');
    const archive = rawTar([
      { name: 'dev/', type: '5', mode: 0o755 },
      { name: 'dev/disk', type: '4', mode: 0o660, gid: 6, device: [8, 1] },
      { name: 'dev/null', type: '3', mode: 0o666, device: [1, 3] },
      { name: 'home/', type: '5', mode: 0o2750, uid: single ? 1000 : 0, gid: single ? 3_000_000 : 0 },
      { name: 'home/link', type: '2', mode: 0o777, link: 'x', uid: single ? 7 : 0 },
    ]);
    writeFileSync(path('blob'), archive);
    const { recordedDevices } = await addon.unpackLayer({
      ...unpacking,
      blob: path('blob'),
      root,
      owners: { file: owners, single },
    });
    expect(recordedDevices.map(String)).toEqual(['dev/disk', 'dev/null']);
    const write = async (more: { owners?: string }) =>
      (await addon.writeLayer({ ...writing, ...more, root, output: path('again'), compression: 'none' }))
        .diffId;
    const listing = (name: string) =>
      execFileSync('tar', ['--numeric-owner', '-tvf', path(name)], { encoding: 'utf8' });
    await write({ owners });
    expect(listing('again')).toBe(listing('blob'));
    expect(await write({})).not.toBe(await write({ owners }));
    writeFileSync(owners, readFileSync(owners).subarray(1));
    const damaged = await write({ owners }).catch((error: unknown) => fromNative(error, 'x'));
    expect(damaged).toMatchObject({ code: 'E_SNAPSHOT_DAMAGED' });
  },
);

test('GNU tar reads what we wrote, and we read what GNU tar wrote', async () => {
  const [root, theirs, ours] = [directory('root'), directory('theirs'), directory('ours')];
  makeTree(root);
  await addon.writeLayer({ ...writing, root, output: path('blob'), compression: 'gzip' });
  execFileSync('tar', ['-xzf', path('blob'), '-C', theirs], { stdio: 'pipe' });
  expect(await addon.treeDigest(theirs)).toBe(await addon.treeDigest(root));
  execFileSync('tar', ['-cf', path('gnu.tar'), '--format=gnu', '-C', root, '.']);
  await addon.unpackLayer({ ...unpacking, blob: path('gnu.tar'), root: ours });
  expect(await addon.treeDigest(ours)).toBe(await addon.treeDigest(root));
});

test('progress reaches the end', async () => {
  const root = directory('root');
  makeTree(root);
  const counts: number[] = [];
  const layer = await addon.writeLayer(
    { ...writing, root, output: path('blob'), compression: 'zstd' },
    undefined,
    (done) => counts.push(done),
  );
  await expect.poll(() => counts.at(-1)).toBe(layer.uncompressedSizeBytes);
  expect(counts).toEqual(counts.toSorted((left, right) => left - right));
});

test('a cancelled write and a cancelled unpack leave nothing', async () => {
  const [root, back] = [directory('root'), directory('back')];
  writeFileSync(join(root, 'big'), '');
  truncateSync(join(root, 'big'), 4e9);
  const cancel = new addon.CancelToken();
  const written = addon.writeLayer({ ...writing, root, output: path('blob'), compression: 'zstd' }, cancel);
  cancel.cancel();
  await expect(written).rejects.toSatisfy(isCancelled);
  expect(existsSync(path('blob'))).toBe(false);

  truncateSync(join(root, 'big'), 6e7);
  await addon.writeLayer({ ...writing, root, output: path('blob'), compression: 'zstd' });
  const second = new addon.CancelToken();
  second.cancel();
  const unpacked = addon.unpackLayer({ ...unpacking, blob: path('blob'), root: back }, second);
  await expect(unpacked).rejects.toSatisfy(isCancelled);
  expect(readdirSync(back)).toEqual([]);
});

test('errors have our classes, and nothing is left', async () => {
  const [root, back] = [directory('root'), directory('back')];
  writeFileSync(join(root, 'file'), 'content');
  await addon.writeLayer({ ...writing, root, output: path('blob'), compression: 'zstd' });
  const failing = async (promise: Promise<unknown>) =>
    promise.then(
      () => expect.unreachable('it should have failed'),
      (error) => fromNative(error, 'cannot do it'),
    );
  const wrong = `sha256:${'0'.repeat(64)}`;
  const mismatch = await failing(
    addon.unpackLayer({ ...unpacking, blob: path('blob'), root: back, expectedDigest: wrong }),
  );
  expect(mismatch).toMatchObject({
    code: 'E_DIGEST_MISMATCH',
    expected: wrong,
    actual: sha256(readFileSync(path('blob'))),
  });
  expect(
    await failing(addon.unpackLayer({ ...unpacking, blob: path('blob'), root: back, expectedDiffId: wrong })),
  ).toMatchObject({ code: 'E_DIGEST_MISMATCH' });
  writeFileSync(path('text'), 'not an archive at all '.repeat(100));
  expect(await failing(addon.unpackLayer({ ...unpacking, blob: path('text'), root: back }))).toMatchObject({
    code: 'E_BAD_ARCHIVE',
  });
  expect(await failing(addon.unpackLayer({ ...unpacking, blob: path('missing'), root: back }))).toMatchObject(
    { code: 'E_IO', errno: 'ENOENT' },
  );
  expect(readdirSync(back)).toEqual([]);
  writeFileSync(join(root, '.wh.real'), '');
  expect(
    await failing(addon.writeLayer({ ...writing, root, output: path('other'), compression: 'zstd' })),
  ).toMatchObject({ code: 'E_LAYER_UNREPRESENTABLE' });
  expect(existsSync(path('other'))).toBe(false);
});

describe('recompressLayer', () => {
  const programs = { zstd: ['zstd', '-dcq'], gzip: ['gzip', '-dc'], none: ['cat'] } as const;

  test.each([
    ['zstd', 'gzip'],
    ['gzip', 'zstd'],
    ['none', 'zstd'],
    ['zstd', 'none'],
  ] as const)('%s to %s keeps the tar, whatever the number of threads', async (from, to) => {
    const root = directory('root');
    makeTree(root);
    const written = await addon.writeLayer({ ...writing, root, compression: from, output: path('blob') });
    const digests = new Set<string>();
    for (const threads of [1, 2, 4]) {
      const again = await addon.recompressLayer({
        blob: path('blob'),
        expectedDiffId: written.diffId,
        output: path('again'),
        compression: to,
        level: 3,
        threads,
      });
      expect(again).toMatchObject({
        diffId: written.diffId,
        uncompressedSizeBytes: written.uncompressedSizeBytes,
        digest: sha256(readFileSync(path('again'))),
        sizeBytes: readFileSync(path('again')).length,
      });
      digests.add(again.digest);
    }
    expect(digests.size).toBe(1);
    const [program, ...options] = programs[to];
    const tar = execFileSync(program, [...options, path('again')], { maxBuffer: 1 << 28 });
    expect(sha256(tar)).toBe(written.diffId);
  });

  test('a blob of another tar is refused, and nothing stays', async () => {
    const root = directory('root');
    makeTree(root);
    await addon.writeLayer({ ...writing, root, compression: 'zstd', output: path('blob') });
    const attempt = addon.recompressLayer({
      blob: path('blob'),
      expectedDiffId: `sha256:${'0'.repeat(64)}`,
      output: path('again'),
      compression: 'gzip',
      level: 6,
    });
    const failure = await attempt.then(
      () => undefined,
      (error: unknown) => fromNative(error, 'cannot compress'),
    );
    expect(failure).toMatchObject({ code: 'E_DIGEST_MISMATCH' });
    expect(existsSync(path('again'))).toBe(false);
  });
});
