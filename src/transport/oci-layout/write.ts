/** Images into an OCI image layout: a directory, or a tar of one. Source: OCI image-spec v1.1, `image-layout.md`. */
import { randomBytes } from 'node:crypto';
import { constants, createReadStream, createWriteStream } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import tar from 'tar-stream';
import { delay } from '../../base/abort.ts';
import { canonicalJson } from '../../base/canonical-json.ts';
import { HostError, UsageError } from '../../errors.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { encodedPart } from '../../oci/digest.ts';
import { MAX_DOCUMENT_BYTES } from '../../oci/json-document.ts';
import { parseIndex } from '../../oci/manifest.ts';
import { OCI_INDEX } from '../../oci/media-type.ts';
import type { Platform } from '../../oci/platform.ts';
import { REF_NAME } from './read.ts';

/** An image whose blobs are files, in the blob store usually. */
export interface ExportImage {
  readonly manifestDescriptor: Descriptor;
  readonly manifestBytes: Buffer;
  readonly configDescriptor: Descriptor;
  readonly configBytes: Buffer;
  readonly layers: readonly Descriptor[];
  readonly platform?: Platform | undefined;
  /** The file that holds a layer. Asked only for what the destination lacks. */
  path(descriptor: Descriptor): string | Promise<string>;
}

/** Images for several platforms and the index that lists them. */
export interface ExportIndex {
  readonly indexDescriptor: Descriptor;
  readonly indexBytes: Buffer;
  readonly images: readonly ExportImage[];
}

export interface ExportOptions {
  /** What the image is called in the layout. Several names give several entries. */
  readonly tags?: readonly string[];
  /** Of its entry in the layout's index. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after each blob, with all bytes so far. */
  readonly onProgress?: (event: { readonly doneBytes: number; readonly totalBytes: number }) => void;
}

export const OCI_LAYOUT_FILE = '{"imageLayoutVersion":"1.0.0"}';
/** A lock of `index.json` that is older was left by a process that died: an update takes milliseconds. */
const STALE_LOCK_MS = 10_000;

interface ExportBlob {
  readonly descriptor: Descriptor;
  /** Gives the path of its file; or the bytes of a document. */
  readonly content: (() => string | Promise<string>) | Buffer;
}

/** Each once: layers, which may be large, before the documents that need them. */
function blobsOf(exported: ExportImage | ExportIndex): readonly ExportBlob[] {
  const images = 'images' in exported ? exported.images : [exported];
  const blobs = new Map<string, ExportBlob>();
  const add = (descriptor: Descriptor, content: ExportBlob['content']) =>
    blobs.set(descriptor.digest, { descriptor, content });
  for (const image of images) {
    for (const layer of image.layers) {
      add(layer, () => image.path(layer));
    }
  }
  for (const image of images) {
    add(image.configDescriptor, image.configBytes);
    add(image.manifestDescriptor, image.manifestBytes);
  }
  if ('images' in exported) {
    add(exported.indexDescriptor, exported.indexBytes);
  }
  return [...blobs.values()];
}

/**
 * Adds an image, or an index with its images, to a layout directory, which is made when missing. Blobs that are there stay; others are cloned, linked
 * or copied. `index.json` is replaced at once and keeps other tags.
 *
 * @throws {UsageError} `E_OUTPUT_EXISTS` when the path is something other than a layout or an empty directory
 */
export async function writeOciLayout(
  path: string,
  image: ExportImage | ExportIndex,
  options: ExportOptions = {},
): Promise<void> {
  await prepareDirectory(path);
  const blobs = blobsOf(image);
  const progress = counter(blobs, options);
  for (const { descriptor, content } of blobs) {
    options.signal?.throwIfAborted();
    const target = join(path, 'blobs', 'sha256', encodedPart(descriptor.digest));
    if (Buffer.isBuffer(content)) {
      await replaceFile(target, content);
      continue;
    }
    if ((await fs.stat(target).catch(() => undefined))?.size !== descriptor.size) {
      await placeBlob(await content(), target);
    }
    progress(descriptor.size);
  }
  await replaceFile(join(path, 'oci-layout'), Buffer.from(OCI_LAYOUT_FILE));
  await updateIndex(path, image, options);
}

/** Whether a layout directory has the image under the tag, with all of its blobs, of which only the sizes are looked at. */
export async function layoutHolds(
  path: string,
  image: Omit<ExportImage, 'path' | 'configBytes' | 'manifestBytes'>,
  tag: string,
): Promise<boolean> {
  try {
    const index = parseIndex(await fs.readFile(join(path, 'index.json')));
    const named = index.manifests.filter((entry) => entry.annotations?.[REF_NAME] === tag);
    if (named.length !== 1 || named[0]?.digest !== image.manifestDescriptor.digest) {
      return false;
    }
    const sizes = await Promise.all(
      [image.manifestDescriptor, image.configDescriptor, ...image.layers].map(
        async ({ digest, size }) =>
          (await fs.stat(join(path, 'blobs', 'sha256', encodedPart(digest)))).size === size,
      ),
    );
    return !sizes.includes(false);
  } catch {
    // Whatever is in the way shows when it is written.
    return false;
  }
}

/** Writes a tar of a layout with this one image or index. The same one gives the same bytes. */
export async function writeOciArchive(
  path: string,
  image: ExportImage | ExportIndex,
  options: ExportOptions = {},
): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await streamOciArchive(createWriteStream(temporary, { flags: 'wx' }), image, options);
    await fs.rename(temporary, path);
  } finally {
    await fs.rm(temporary, { force: true });
  }
}

/** The same into a stream, which is ended. */
export async function streamOciArchive(
  output: Writable,
  image: ExportImage | ExportIndex,
  options: ExportOptions = {},
): Promise<void> {
  const index = canonicalJson({
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    manifests: entriesFor(image, options),
  });
  await streamTar(
    output,
    image,
    [
      ['oci-layout', Buffer.from(OCI_LAYOUT_FILE)],
      ['index.json', Buffer.from(index)],
    ],
    options,
  );
}

/** A tar of `files` and then all blobs in the order of their digests, each once. */
export async function streamTar(
  output: Writable,
  image: ExportImage | ExportIndex,
  files: readonly (readonly [name: string, bytes: Buffer])[],
  options: ExportOptions,
): Promise<void> {
  const blobs = blobsOf(image);
  const progress = counter(blobs, options);
  const pack = tar.pack();
  const fill = async () => {
    for (const [name, bytes] of files) {
      pack.entry(fileHeader(name, bytes.byteLength), bytes);
    }
    pack.entry({ name: 'blobs/', type: 'directory', mode: 0o755, mtime: new Date(0) });
    pack.entry({ name: 'blobs/sha256/', type: 'directory', mode: 0o755, mtime: new Date(0) });
    const inOrder = [...blobs].sort((a, b) => (a.descriptor.digest < b.descriptor.digest ? -1 : 1));
    for (const { descriptor, content } of inOrder) {
      const { digest, size } = descriptor;
      options.signal?.throwIfAborted();
      const header = fileHeader(`blobs/sha256/${digest.slice('sha256:'.length)}`, size);
      if (Buffer.isBuffer(content)) {
        pack.entry(header, content);
      } else {
        const file = await content();
        await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), pack.entry(header));
        progress(size);
      }
    }
    pack.finalize();
  };
  const filled = fill().catch((error: Error) => {
    pack.destroy(error);
    throw error;
  });
  await Promise.all([
    pipeline(pack, output, options.signal === undefined ? {} : { signal: options.signal }),
    filled,
  ]);
}

function fileHeader(name: string, size: number) {
  return { name, size, mode: 0o644, mtime: new Date(0), type: 'file' as const };
}

function entriesFor(
  image: ExportImage | ExportIndex,
  { tags = [], annotations }: ExportOptions,
): readonly Descriptor[] {
  const described =
    'images' in image
      ? image.indexDescriptor
      : {
          ...image.manifestDescriptor,
          ...(image.platform === undefined ? {} : { platform: image.platform }),
        };
  const entry = annotations === undefined ? described : { ...described, annotations };
  return tags.length === 0
    ? [entry]
    : tags.map((tag) => ({ ...entry, annotations: { ...annotations, [REF_NAME]: tag } }));
}

async function prepareDirectory(path: string): Promise<void> {
  let names: readonly string[];
  try {
    names = await fs.readdir(path);
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code;
    if (errno === 'ENOTDIR') {
      throw new UsageError(`cannot write an OCI layout to '${path}': it is a file`, {
        code: 'E_OUTPUT_EXISTS',
        cause,
      });
    }
    if (errno !== 'ENOENT') {
      throw cause;
    }
    names = [];
  }
  if (names.length > 0 && !names.includes('oci-layout')) {
    throw new UsageError(`cannot write an OCI layout to '${path}': the directory holds something else`, {
      code: 'E_OUTPUT_EXISTS',
    });
  }
  await fs.mkdir(join(path, 'blobs', 'sha256'), { recursive: true });
}

/** A clone costs nothing; a link costs nothing but is the store's own file; a copy always works. */
async function placeBlob(source: string, target: string): Promise<void> {
  const temporary = `${target}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    try {
      await fs.copyFile(source, temporary, constants.COPYFILE_FICLONE_FORCE);
    } catch {
      await fs.rm(temporary, { force: true });
      await fs.link(source, temporary).catch(() => fs.copyFile(source, temporary));
    }
    await fs.rename(temporary, target);
  } catch (cause) {
    const { code: errno, syscall } = cause as NodeJS.ErrnoException;
    throw new HostError(`cannot put a blob at '${target}': ${errno}`, {
      code: errno === 'ENOSPC' || errno === 'EDQUOT' ? 'E_DISK_FULL' : 'E_IO',
      errno,
      syscall,
      path: target,
      cause,
    });
  } finally {
    await fs.rm(temporary, { force: true });
  }
}

async function updateIndex(
  path: string,
  image: ExportImage | ExportIndex,
  options: ExportOptions,
): Promise<void> {
  const file = join(path, 'index.json');
  const release = await lockFile(`${file}.lock`, options.signal);
  try {
    const bytes = await fs.readFile(file).catch(() => undefined);
    const old = bytes === undefined || bytes.length > MAX_DOCUMENT_BYTES ? undefined : parseIndex(bytes);
    const added = entriesFor(image, options);
    const names = new Set(options.tags ?? []);
    const kept = (old?.manifests ?? []).filter((entry) => {
      const name = entry.annotations?.[REF_NAME];
      return name === undefined ? entry.digest !== added[0]?.digest : !names.has(name);
    });
    await replaceFile(
      file,
      Buffer.from(
        canonicalJson({
          schemaVersion: 2,
          mediaType: OCI_INDEX,
          manifests: [...kept, ...added],
          annotations: old?.annotations,
        }),
      ),
    );
  } finally {
    await release();
  }
}

async function lockFile(path: string, signal: AbortSignal | undefined): Promise<() => Promise<void>> {
  for (;;) {
    try {
      await (await fs.open(path, 'wx')).close();
      return () => fs.rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw error;
      }
      const held = await fs.stat(path).catch(() => undefined);
      if (held !== undefined && Date.now() - held.mtimeMs > STALE_LOCK_MS) {
        await fs.rm(path, { force: true });
      }
      await delay(10, signal);
    }
  }
}

async function replaceFile(path: string, bytes: Buffer): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await fs.writeFile(temporary, bytes, { flag: 'wx' });
    await fs.rename(temporary, path);
  } finally {
    await fs.rm(temporary, { force: true });
  }
}

function counter(blobs: readonly ExportBlob[], options: ExportOptions): (bytes: number) => void {
  const layers = blobs.filter(({ content }) => !Buffer.isBuffer(content));
  const totalBytes = layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  let doneBytes = 0;
  return (bytes) => {
    doneBytes += bytes;
    options.onProgress?.({ doneBytes, totalBytes });
  };
}
