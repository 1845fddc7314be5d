/** Images of an OCI image layout, a directory or a tar of one. Source: OCI image-spec v1.1, `image-layout.md`. */
import { constants, createReadStream } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import tar from 'tar-stream';
import type { BlobStore } from '../../content/blob-store.ts';
import { DefinitionError, IntegrityError, TsbuildError } from '../../errors.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { type Digest, isDigest } from '../../oci/digest.ts';
import { parseImageConfig } from '../../oci/image-config.ts';
import { MAX_DOCUMENT_BYTES } from '../../oci/json-document.ts';
import { type Index, parseIndex, parseManifestDocument } from '../../oci/manifest.ts';
import { isIndexType } from '../../oci/media-type.ts';
import { choosePlatform, isAttestation, type Platform } from '../../oci/platform.ts';
import type { ResolvedImage, ResolvedManifest } from '../registry/client.ts';

export interface LayoutSelector {
  /** `org.opencontainers.image.ref.name`. Without tag and digest the layout must hold one image. */
  readonly tag?: string | undefined;
  readonly digest?: Digest | undefined;
  readonly platform: Platform;
}

export interface LayoutOptions {
  readonly signal?: AbortSignal | undefined;
}

export type LayoutImage = Omit<ResolvedImage, 'reference'>;

export type LayoutManifest = Omit<ResolvedManifest, 'reference'>;

export const REF_NAME = 'org.opencontainers.image.ref.name';
const MAX_DEPTH = 4;
/** As for layers: small archives may hold many zeros, large ones may not. */
const RATIO_FREE_BYTES = 64 * 1024 * 1024;
const MAX_RATIO = 1000;
const CHUNK_BYTES = 1 << 20;

/**
 * Finds an image in a layout directory and brings it into the store, layers included; every digest is checked.
 *
 * @throws {DefinitionError} `E_IMAGE_NOT_FOUND`, `E_NO_PLATFORM`, `E_LOCAL_FILE_MISSING`
 * @throws {IntegrityError}
 */
export async function importOciLayout(
  path: string,
  selector: LayoutSelector,
  store: BlobStore,
  options: LayoutOptions = {},
): Promise<LayoutImage> {
  const found = await readLayoutManifest(path, selector, store, options);
  const image = { ...found, config: parseImageConfig(found.configBytes, found.manifest.config.mediaType) };
  for (const layer of image.manifest.layers) {
    await fetchLayoutBlob(path, layer, store, options);
  }
  return image;
}

/**
 * Finds a manifest in a layout directory, an image's or any other's, and brings it and its config into the store.
 *
 * @throws as {@link importOciLayout}
 */
export async function readLayoutManifest(
  path: string,
  selector: LayoutSelector,
  store: BlobStore,
  options: LayoutOptions = {},
): Promise<LayoutManifest> {
  const index = parseIndex(await readIndex(path));
  return await select(index, selector, path, store, (descriptor) =>
    fetchLayoutBlob(path, descriptor, store, options),
  );
}

/**
 * Brings a blob of a layout directory into the store, unless it is there.
 *
 * @throws {DefinitionError} `E_LOCAL_FILE_MISSING`
 * @throws {IntegrityError}
 */
export async function fetchLayoutBlob(
  path: string,
  descriptor: Descriptor,
  store: BlobStore,
  options: LayoutOptions = {},
): Promise<void> {
  options.signal?.throwIfAborted();
  if ((await store.stat(descriptor.digest))?.size === descriptor.size) {
    return;
  }
  const blob = join(path, 'blobs', 'sha256', descriptor.digest.slice('sha256:'.length));
  await using file = await openFile(blob);
  await copyInto(store, descriptor, chunksOf(file), options.signal);
}

/**
 * The same for a tar of a layout, which may be gzip-compressed. It is read once from front to back, and all of its
 * blobs come into the store.
 */
export async function importOciArchive(
  path: string,
  selector: LayoutSelector,
  store: BlobStore,
  options: LayoutOptions = {},
): Promise<LayoutImage> {
  let indexBytes: Buffer | undefined;
  const extract = tar.extract();
  const consume = async () => {
    for await (const entry of extract) {
      const name = entry.header.name.replace(/^(\.\/)+/, '');
      const digest = `sha256:${/^blobs\/sha256\/([a-f0-9]{64})$/.exec(name)?.[1] ?? ''}`;
      if (entry.header.type === 'file' && name === 'index.json') {
        indexBytes = await readSmall(entry as unknown as Readable, `${path}: index.json`);
      } else if (entry.header.type === 'file' && isDigest(digest)) {
        const blob = { digest, size: entry.header.size ?? 0 };
        if ((await store.stat(digest))?.size === blob.size) {
          entry.resume();
        } else {
          await copyInto(store, blob, entry as unknown as Readable, options.signal);
        }
      } else {
        entry.resume();
      }
    }
  };
  try {
    const source = createReadStream(path, { highWaterMark: 1 << 20 });
    const unpacked = (await isGzip(path))
      ? pipeline(source, createGunzip(), await bounded(path), extract, signalOf(options))
      : pipeline(source, extract, signalOf(options));
    await Promise.all([unpacked, consume()]);
  } catch (cause) {
    options.signal?.throwIfAborted();
    if (cause instanceof TsbuildError) {
      throw cause;
    }
    throw missingOr(
      cause,
      path,
      () =>
        new IntegrityError(`cannot read the archive '${path}': ${(cause as Error).message}`, {
          code: 'E_BAD_ARCHIVE',
          cause,
          source: path,
        }),
    );
  }
  if (indexBytes === undefined) {
    throw new IntegrityError(`'${path}' is not a tar of an OCI image layout: it has no index.json`, {
      code: 'E_BAD_ARCHIVE',
      source: path,
    });
  }
  const found = await select(parseIndex(indexBytes), selector, path, store, async (descriptor) => {
    if (!(await store.has(descriptor.digest))) {
      throw new IntegrityError(`the archive '${path}' lacks the blob ${descriptor.digest}`, {
        code: 'E_BAD_ARCHIVE',
        source: path,
      });
    }
  });
  const image = { ...found, config: parseImageConfig(found.configBytes, found.manifest.config.mediaType) };
  for (const layer of image.manifest.layers) {
    if ((await store.stat(layer.digest))?.size !== layer.size) {
      throw new IntegrityError(`the archive '${path}' lacks the layer ${layer.digest}`, {
        code: 'E_BAD_ARCHIVE',
        source: path,
      });
    }
  }
  return image;
}

/** Lets through what an honest archive of that size can hold. The blobs in it are compressed already. */
async function bounded(path: string): Promise<Transform> {
  const { size } = await fs.stat(path);
  const limit = Math.max(RATIO_FREE_BYTES, size * MAX_RATIO);
  let total = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      total += chunk.length;
      done(
        total > limit
          ? new IntegrityError(`the archive '${path}' of ${size} bytes expands to more than ${limit} bytes`, {
              code: 'E_ARCHIVE_LIMIT',
              source: path,
            })
          : null,
        chunk,
      );
    },
  });
}

/** From the layout's own index down to one image of the wanted platform. */
async function select(
  top: Index,
  { tag, digest, platform }: LayoutSelector,
  path: string,
  store: BlobStore,
  fetch: (descriptor: Descriptor) => Promise<void>,
): Promise<LayoutManifest> {
  const images = top.manifests.filter((entry) => !isAttestation(entry));
  const withName = (is: (name: string | undefined) => boolean) =>
    images.filter(
      (entry) =>
        (tag === undefined || is(entry.annotations?.[REF_NAME])) &&
        (digest === undefined || entry.digest === digest),
    );
  const exact = withName((name) => name === tag);
  // Some programs, tsbuild among them, write the whole reference where others write the tag alone.
  const matching = exact.length > 0 ? exact : withName((name) => name?.endsWith(`:${tag}`) === true);
  const names = images.map((entry) => entry.annotations?.[REF_NAME] ?? entry.digest);
  if (matching.length === 0) {
    throw new DefinitionError(
      `'${path}' has no image ${tag ?? digest ?? ''}; it has: ${names.slice(0, 20).join(', ') || 'none'}`,
      {
        code: 'E_IMAGE_NOT_FOUND',
      },
    );
  }
  const distinct = new Set(matching.map((entry) => entry.digest));
  const everyHasPlatform = matching.every((entry) => entry.platform !== undefined);
  if (distinct.size > 1 && !everyHasPlatform) {
    throw new DefinitionError(`'${path}' has several images: ${names.slice(0, 20).join(', ')}`, {
      code: 'E_IMAGE_NOT_FOUND',
      hint: 'name one of them by its tag or digest',
    });
  }
  let chosen =
    distinct.size === 1
      ? matching[0]
      : choosePlatform({ ...top, manifests: matching }, platform, `'${path}'`);
  let indexDigest: Digest | undefined;
  for (let depth = 0; chosen !== undefined && depth <= MAX_DEPTH; depth += 1) {
    await fetch(chosen);
    const bytes = await store.read(chosen.digest, MAX_DOCUMENT_BYTES);
    const document = parseManifestDocument(bytes, chosen.mediaType);
    if (document.kind === 'manifest') {
      await fetch(document.manifest.config);
      const configBytes = await store.read(document.manifest.config.digest, MAX_DOCUMENT_BYTES);
      return {
        manifestDescriptor: {
          mediaType: document.manifest.mediaType,
          digest: chosen.digest,
          size: bytes.byteLength,
        },
        manifestBytes: bytes,
        manifest: document.manifest,
        configBytes,
        ...(indexDigest === undefined ? {} : { indexDigest }),
      };
    }
    indexDigest ??= isIndexType(chosen.mediaType) ? chosen.digest : undefined;
    chosen = choosePlatform(document.index, platform, `'${path}'`);
  }
  throw new IntegrityError(`'${path}' nests indexes deeper than ${MAX_DEPTH}`, {
    code: 'E_BAD_MANIFEST',
    source: path,
  });
}

async function copyInto(
  store: BlobStore,
  blob: { readonly digest: Digest; readonly size: number },
  source: AsyncIterable<Buffer>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const writer = await store.openWrite({ expected: blob });
  try {
    // What an earlier download left comes again here.
    await writer.restart();
    for await (const chunk of source) {
      signal?.throwIfAborted();
      await writer.write(chunk);
    }
    await writer.commit();
  } catch (cause) {
    throw cause instanceof TsbuildError || signal?.aborted
      ? cause
      : missingOr(cause, blob.digest, () => cause as Error);
  } finally {
    await writer.abort();
  }
}

async function readIndex(path: string): Promise<Buffer> {
  const name = join(path, 'index.json');
  await using file = await openFile(name);
  return await readSmall(chunksOf(file), name);
}

/**
 * A layout may be anybody's: a FIFO would make us wait for ever, and a device has no end. Not a stream, whose error nobody
 * hears before somebody reads from it.
 */
async function openFile(path: string): Promise<fs.FileHandle> {
  let file: fs.FileHandle;
  try {
    file = await fs.open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw missingOr(cause, path, () => cause as Error);
  }
  if (!(await file.stat()).isFile()) {
    await file.close();
    throw new IntegrityError(`'${path}' is not a regular file`, { code: 'E_BAD_ARCHIVE', source: path });
  }
  return file;
}

async function* chunksOf(file: fs.FileHandle): AsyncGenerator<Buffer> {
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES));
    if (bytesRead === 0) {
      return;
    }
    yield buffer.subarray(0, bytesRead);
  }
}

async function readSmall(entry: AsyncIterable<Buffer>, name: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of entry) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_DOCUMENT_BYTES) {
      throw new IntegrityError(`'${name}' has more than ${MAX_DOCUMENT_BYTES} bytes`, {
        code: 'E_BAD_MANIFEST',
        source: name,
      });
    }
  }
  return Buffer.concat(chunks);
}

async function isGzip(path: string): Promise<boolean> {
  await using file = await fs.open(path);
  const { buffer } = await file.read(Buffer.alloc(2), 0, 2, 0);
  return buffer.readUInt16BE(0) === 0x1f8b;
}

function signalOf(options: LayoutOptions): { signal?: AbortSignal } {
  return options.signal === undefined ? {} : { signal: options.signal };
}

function missingOr(cause: unknown, path: string, other: () => Error): Error {
  if ((cause as NodeJS.ErrnoException).code === 'ENOENT') {
    return new DefinitionError(`'${path}' does not exist`, { code: 'E_LOCAL_FILE_MISSING', cause });
  }
  return other();
}
