/** Layouts and archives that we write are read by ourselves, by skopeo and by umoci. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlobStore } from '../../src/content/blob-store.ts';
import { validate } from '../../src/image/validate.ts';
import { parsePlatform } from '../../src/oci/platform.ts';
import { writeDockerArchive } from '../../src/transport/docker-archive/write.ts';
import { importOciArchive, importOciLayout } from '../../src/transport/oci-layout/read.ts';
import { type ExportImage, writeOciArchive, writeOciLayout } from '../../src/transport/oci-layout/write.ts';
import { type MadeImage, makeImage, makeLayer } from '../support/random-image.ts';

const run = promisify(execFile);
const platform = parsePlatform('linux/amd64');

describe('layouts and archives', () => {
  let directory: string;
  let store: BlobStore;
  let image: MadeImage;
  let exported: ExportImage;

  async function toExport(made: MadeImage): Promise<ExportImage> {
    for (const bytes of made.blobs.values()) {
      await store.put(bytes);
    }
    return {
      manifestDescriptor: made.manifestDescriptor,
      manifestBytes: made.manifestBytes,
      configDescriptor: made.configDescriptor,
      configBytes: made.configBytes,
      layers: made.layers,
      platform,
      path: ({ digest }) => store.path(digest),
    };
  }

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tsbuild-layout-'));
    store = new BlobStore(join(directory, 'store'));
    image = await makeImage([await makeLayer({ 'a.txt': 'first' }), await makeLayer({ 'b.txt': 'second' })]);
    exported = await toExport(image);
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  it('refuses a gzip archive that expands without end', async () => {
    const bomb = join(directory, 'bomb.tar.gz');
    // Zeros are a tar of nothing; 200 MB of them are 200 KB.
    await writeFile(bomb, gzipSync(Buffer.alloc(200_000_000)));
    await expect(importOciArchive(bomb, { platform }, store)).rejects.toMatchObject({
      code: 'E_ARCHIVE_LIMIT',
    });
  });

  it('adds images to a layout and keeps other tags', async () => {
    const layout = join(directory, 'layout');
    await writeOciLayout(layout, exported, { tags: ['v1', 'latest'] });
    const second = await makeImage([await makeLayer({ 'c.txt': 'third' })]);
    await writeOciLayout(layout, await toExport(second), { tags: ['latest'] });

    const other = new BlobStore(join(directory, 'other'));
    const v1 = await importOciLayout(layout, { tag: 'v1', platform }, other);
    expect(v1.manifestDescriptor.digest).toBe(image.manifestDescriptor.digest);
    const latest = await importOciLayout(layout, { tag: 'latest', platform }, other);
    expect(latest.manifestDescriptor.digest).toBe(second.manifestDescriptor.digest);
    await validate({ descriptor: v1.manifestDescriptor }, other);
    await expect(importOciLayout(layout, { tag: 'v9', platform }, other)).rejects.toMatchObject({
      code: 'E_IMAGE_NOT_FOUND',
    });
    await run('umoci', ['unpack', '--rootless', '--image', `${layout}:v1`, join(directory, 'bundle')]);
    expect(await readFile(join(directory, 'bundle/rootfs/b.txt'), 'utf8')).toBe('second');
  });

  it('loses no tag when several write at once', async () => {
    const layout = join(directory, 'layout');
    const tags = ['a', 'b', 'c', 'd', 'e'];
    await Promise.all(tags.map((tag) => writeOciLayout(layout, exported, { tags: [tag] })));
    const { manifests } = JSON.parse(await readFile(join(layout, 'index.json'), 'utf8'));
    const names = manifests.map(
      (entry: { annotations: Record<string, string> }) =>
        entry.annotations['org.opencontainers.image.ref.name'],
    );
    expect(names.sort()).toEqual(tags);
  });

  it('refuses a directory that holds something else', async () => {
    await expect(writeOciLayout(directory, exported)).rejects.toMatchObject({ code: 'E_OUTPUT_EXISTS' });
  });

  it('writes the same archive twice, which skopeo and we read', async () => {
    const [one, two] = [join(directory, 'one.tar'), join(directory, 'two.tar')];
    await writeOciArchive(one, exported, { tags: ['v1'] });
    await writeOciArchive(two, exported, { tags: ['v1'] });
    expect((await readFile(one)).equals(await readFile(two))).toBe(true);
    const other = new BlobStore(join(directory, 'other'));
    const read = await importOciArchive(one, { tag: 'v1', platform }, other);
    expect(read.manifestDescriptor.digest).toBe(image.manifestDescriptor.digest);
    await validate({ descriptor: read.manifestDescriptor }, other);
    await run('skopeo', ['copy', `oci-archive:${one}:v1`, `oci:${join(directory, 'copied')}:v1`]);
  });

  it('refuses a layout whose blob was changed', async () => {
    const layout = join(directory, 'layout');
    await writeOciLayout(layout, exported, { tags: ['v1'] });
    const layer = image.layers[0];
    const path = join(layout, 'blobs/sha256', layer?.digest.slice(7) ?? '');
    await rm(path);
    await writeFile(path, Buffer.alloc(layer?.size ?? 0, 'x'));
    const other = new BlobStore(join(directory, 'other'));
    await expect(importOciLayout(layout, { tag: 'v1', platform }, other)).rejects.toMatchObject({
      code: 'E_DIGEST_MISMATCH',
    });
  });

  it.each([
    ['missing', undefined, 'E_LOCAL_FILE_MISSING'],
    ['a FIFO', 'mkfifo', 'E_BAD_ARCHIVE'],
    ['an endless device', 'ln -s /dev/zero', 'E_BAD_ARCHIVE'],
    ['a directory', 'mkdir', 'E_BAD_ARCHIVE'],
  ])('refuses a layout whose index or blob is %s', async (_what, command, code) => {
    const layout = join(directory, 'layout');
    await writeOciLayout(layout, exported, { tags: ['v1'] });
    for (const name of [`blobs/sha256/${image.layers[1]?.digest.slice(7)}`, 'index.json']) {
      const path = join(layout, name);
      await rm(path);
      if (command !== undefined) {
        const [program = '', ...words] = command.split(' ');
        await run(program, [...words, path]);
      }
      const other = new BlobStore(join(directory, 'other'));
      await expect(importOciLayout(layout, { tag: 'v1', platform }, other)).rejects.toMatchObject({ code });
    }
  });

  it('refuses an archive that is damaged or cut', async () => {
    const archive = join(directory, 'one.tar');
    await writeOciArchive(archive, exported, { tags: ['v1'] });
    const bytes = await readFile(archive);
    const layerBytes = await readFile(await exported.path(image.layers[0] ?? image.configDescriptor));
    const at = bytes.indexOf(layerBytes);
    const damaged = Buffer.from(bytes);
    damaged.writeUInt8(damaged.readUInt8(at + 20) ^ 1, at + 20);
    await writeFile(archive, damaged);
    const other = new BlobStore(join(directory, 'other'));
    await expect(importOciArchive(archive, { tag: 'v1', platform }, other)).rejects.toMatchObject({
      code: 'E_DIGEST_MISMATCH',
    });
    await writeFile(archive, bytes.subarray(0, at + 30));
    await expect(importOciArchive(archive, { tag: 'v1', platform }, other)).rejects.toMatchObject({
      exitStatus: 5,
    });
  });

  it('writes Docker archives that both kinds of loaders read', async () => {
    const archive = join(directory, 'docker.tar');
    await writeDockerArchive(archive, exported, { tags: ['app:1.0', 'registry.example/team/app:1.0'] });
    const { stdout } = await run('skopeo', [
      'inspect',
      `docker-archive:${archive}:docker.io/library/app:1.0`,
    ]);
    expect(JSON.parse(stdout).Layers).toHaveLength(2);
    await run('skopeo', ['copy', `oci-archive:${archive}`, `oci:${join(directory, 'copied')}:v1`]).catch(
      () => {
        // Two names in one index: skopeo wants one of them named.
        return run('skopeo', ['copy', `oci-archive:${archive}:1.0`, `oci:${join(directory, 'copied')}:v1`]);
      },
    );
    const zstd = await makeImage([await makeLayer({ z: 'z' }, 'zstd')]);
    await expect(writeDockerArchive(archive, await toExport(zstd))).rejects.toMatchObject({
      code: 'E_USAGE',
    });
  });
});
