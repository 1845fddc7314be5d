import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlobStore } from '../../../src/content/blob-store.ts';
import { BlobWriter } from '../../../src/content/blob-writer.ts';
import { describe as descriptorOf } from '../../../src/image/manifest.ts';
import { native } from '../../../src/native/addon.ts';

const CONTENT = Buffer.alloc(100_000, 'content');
const expected = descriptorOf(CONTENT, 'x');

let directory: string;
let store: BlobStore;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tsbuild-blobs-'));
  store = new BlobStore(directory);
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe('BlobStore', () => {
  it('keeps what it is given, and is an OCI layout', async () => {
    expect(await store.has(expected.digest)).toBe(false);
    expect(await store.put(CONTENT)).toEqual({ digest: expected.digest, size: CONTENT.length });
    expect((await store.read(expected.digest, 1e6)).equals(CONTENT)).toBe(true);
    expect((await readdir(directory)).sort()).toEqual(['blobs', 'index.json', 'oci-layout', 'tmp']);
    expect(await readdir(join(directory, 'tmp'))).toEqual([]);
    expect(await collect(store.list())).toEqual([{ digest: expected.digest, size: CONTENT.length }]);
    await store.delete(expected.digest);
    await expect(store.read(expected.digest, 1e6)).rejects.toMatchObject({ code: 'E_IO', errno: 'ENOENT' });
  });

  it('names a damaged blob', async () => {
    await store.put(CONTENT);
    await writeFile(store.path(expected.digest), 'damaged');
    await expect(store.verify(expected.digest)).rejects.toMatchObject({ code: 'E_BLOB_DAMAGED' });
    await expect(store.read(expected.digest, 1e6)).rejects.toMatchObject({
      code: 'E_BLOB_DAMAGED',
      expected: expected.digest,
    });
    await expect(store.read(expected.digest, 3)).rejects.toMatchObject({ code: 'E_SIZE_MISMATCH' });
  });

  it('refuses bytes that are not what was expected, and leaves nothing', async () => {
    const writer = await store.openWrite({ expected });
    await writer.write(Buffer.alloc(CONTENT.length, 'other'));
    await expect(writer.commit()).rejects.toMatchObject({ code: 'E_DIGEST_MISMATCH' });
    await writer.restart();
    await expect(writer.commit()).rejects.toMatchObject({ code: 'E_SIZE_MISMATCH' });
    await expect(writer.write(Buffer.alloc(CONTENT.length + 1))).rejects.toMatchObject({
      code: 'E_SIZE_MISMATCH',
    });
    await writer.abort();
    expect(await readdir(join(directory, 'tmp'))).toEqual([]);
    expect(await store.has(expected.digest)).toBe(false);
  });

  it('gives a partial file to one writer only', async () => {
    const first = await store.openWrite({ expected });
    await first.write(CONTENT.subarray(0, 40_000));
    await first.abort({ keep: true });
    const [a, b] = await Promise.all([store.openWrite({ expected }), store.openWrite({ expected })]);
    expect([a.offset, b.offset].sort((x, y) => x - y)).toEqual([0, 40_000]);
    for (const writer of [a, b]) {
      await writer.write(CONTENT.subarray(writer.offset));
      await writer.commit();
    }
    await store.verify(expected.digest);
  });

  it('goes on with what a killed process left, and sweeps the rest', async () => {
    const mebibyte = 1024 * 1024;
    const large = Buffer.alloc(3 * mebibyte, 'content');
    const wanted = descriptorOf(large, 'x');
    const script = `
      import { BlobStore } from ${JSON.stringify(new URL('../../../src/content/blob-store.ts', import.meta.url).pathname)};
      const store = new BlobStore(${JSON.stringify(directory)});
      const writer = await store.openWrite({ expected: ${JSON.stringify(wanted)} });
      await writer.write(Buffer.alloc(${2.5 * mebibyte}, 'content'));
      await (await store.openWrite()).write(Buffer.from('nameless'));
      process.kill(process.pid, 'SIGKILL');`;
    expect(spawnSync(process.execPath, ['--input-type=module', '-e', script]).signal).toBe('SIGKILL');
    expect(await readdir(join(directory, 'tmp'))).toHaveLength(2);
    await store.sweep();
    expect(await readdir(join(directory, 'tmp'))).toHaveLength(1);
    const writer = await store.openWrite({ expected: wanted });
    // All but what was gathered, and perhaps what was just being written.
    expect(writer.offset).toBeGreaterThanOrEqual(mebibyte);
    await writer.write(large.subarray(writer.offset));
    await writer.commit();
    await store.verify(wanted.digest);
  });

  it('tells a failed write by what follows, and keeps nothing of it', async () => {
    await store.prepare();
    const large = Buffer.alloc(4 * 1024 * 1024, 'content');
    const path = join(directory, 'tmp/full');
    const writer = new BlobWriter({
      file: new (native().HashedFile)('/dev/full', false),
      path,
      partial: `${path}.partial`,
      offset: 0,
      expected: descriptorOf(large, 'x'),
      target: (digest) => store.path(digest),
    });
    await expect(writer.write(large).then(() => writer.commit())).rejects.toMatchObject({
      code: 'E_DISK_FULL',
    });
    await writer.abort({ keep: true });
    expect(await readdir(join(directory, 'tmp'))).toEqual([]);
  });

  it('takes over a file that was hashed elsewhere', async () => {
    const path = join(directory, 'layer');
    await writeFile(path, CONTENT);
    await store.ingestFile(path, expected.digest);
    await store.verify(expected.digest);
  });
});

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) {
    items.push(item);
  }
  return items;
}
