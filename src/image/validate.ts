/**
 * Checks an image against the image-spec, down to the entries of its layers. Every image that a test writes passes here;
 * nothing of it runs during a build.
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import tar from 'tar-stream';
import { IntegrityError } from '../errors.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, sha256Digest } from '../oci/digest.ts';
import { type ImageConfig, parseImageConfig } from '../oci/image-config.ts';
import { MAX_DOCUMENT_BYTES } from '../oci/json-document.ts';
import { parseManifestDocument } from '../oci/manifest.ts';
import {
  DOCKER_CONFIG,
  DOCKER_MANIFEST,
  isForeignLayer,
  layerCompression,
  OCI_CONFIG,
  OCI_MANIFEST,
} from '../oci/media-type.ts';
import { platformDistance } from '../oci/platform.ts';
import { splitZstdFrames } from './zstd-frames.ts';

/** `BlobStore` is one. */
export interface BlobReader {
  read(digest: Digest, maxBytes: number): Promise<Buffer>;
  openRead(digest: Digest): Promise<Readable>;
}

export interface ValidatedImage {
  /** Images that were checked: one, or those of the index. */
  readonly images: number;
  readonly layers: number;
  readonly entries: number;
}

const MAX_DEPTH = 8;
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

/**
 * @throws {IntegrityError} `E_BAD_MANIFEST`, `E_BAD_ARCHIVE`, `E_DIGEST_MISMATCH` or `E_SIZE_MISMATCH`, for the first
 * thing that is wrong
 */
export async function validate(
  image: { readonly descriptor: Descriptor },
  reader: BlobReader,
  depth = 0,
): Promise<ValidatedImage> {
  const { descriptor } = image;
  const bytes = await readExactly(reader, descriptor);
  const document = parseManifestDocument(bytes, descriptor.mediaType);
  if (document.kind === 'index') {
    if (depth >= MAX_DEPTH) {
      throw bad(`indexes are nested deeper than ${MAX_DEPTH}`);
    }
    const total = { images: 0, layers: 0, entries: 0 };
    for (const child of document.index.manifests) {
      const checked = await validate({ descriptor: child }, reader, depth + 1);
      if (child.platform !== undefined && checked.images === 1) {
        await checkPlatform(child, reader);
      }
      total.images += checked.images;
      total.layers += checked.layers;
      total.entries += checked.entries;
    }
    return total;
  }
  const { manifest } = document;
  const isDocker = manifest.mediaType === DOCKER_MANIFEST;
  if (manifest.config.mediaType !== (isDocker ? DOCKER_CONFIG : OCI_CONFIG)) {
    throw bad(`the config of a ${manifest.mediaType} has the type ${manifest.config.mediaType}`);
  }
  const config = parseImageConfig(await readExactly(reader, manifest.config), manifest.config.mediaType);
  checkConfig(config);
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== manifest.layers.length) {
    throw bad(`the manifest has ${manifest.layers.length} layers and the config ${diffIds.length}`);
  }
  let entries = 0;
  for (const [index, layer] of manifest.layers.entries()) {
    const dockerLayer = layer.mediaType.startsWith('application/vnd.docker.');
    if (manifest.mediaType === OCI_MANIFEST && dockerLayer) {
      throw bad(`layer ${index} of an OCI manifest has the type ${layer.mediaType}`);
    }
    const diffId = diffIds[index];
    if (diffId !== undefined && !isForeignLayer(layer.mediaType)) {
      entries += await checkLayer(reader, layer, diffId);
    }
  }
  return { images: 1, layers: manifest.layers.length, entries };
}

async function checkPlatform(child: Descriptor, reader: BlobReader): Promise<void> {
  const document = parseManifestDocument(await readExactly(reader, child), child.mediaType);
  if (document.kind === 'manifest' && child.platform !== undefined) {
    const config = parseImageConfig(await readExactly(reader, document.manifest.config));
    if (platformDistance(config, child.platform) !== 0) {
      throw bad(
        `the index says ${JSON.stringify(child.platform)}, the config ${config.os}/${config.architecture}`,
      );
    }
  }
}

function checkConfig(config: ImageConfig): void {
  if (config.created !== undefined && !RFC3339.test(config.created)) {
    throw bad(`created is '${config.created}', which is not RFC 3339`);
  }
  const history = config.history ?? [];
  const described = history.filter((entry) => entry.empty_layer !== true).length;
  if (history.length > 0 && described !== config.rootfs.diff_ids.length) {
    throw bad(`history describes ${described} layers of ${config.rootfs.diff_ids.length}`);
  }
  for (const { created } of history) {
    if (created !== undefined && !RFC3339.test(created)) {
      throw bad(`a created of history is '${created}', which is not RFC 3339`);
    }
  }
  for (const variable of config.config?.Env ?? []) {
    if (!/^[^=]+=/.test(variable)) {
      throw bad('an entry of Env is not NAME=value');
    }
  }
}

/** Digest and size of the blob, diffId of the tar in it, and the rules of image-spec v1.1, `layer.md`, for its entries. */
async function checkLayer(reader: BlobReader, layer: Descriptor, diffId: Digest): Promise<number> {
  const compression = layerCompression(layer.mediaType);
  if (compression === undefined) {
    throw bad(`a layer has the type ${layer.mediaType}`);
  }
  const blobHash = createHash('sha256');
  const tarHash = createHash('sha256');
  let blobSize = 0;
  async function* blob(source: AsyncIterable<Buffer>) {
    for await (const chunk of source) {
      blobHash.update(chunk);
      blobSize += chunk.length;
      yield chunk;
    }
  }
  async function* uncompressed(source: AsyncIterable<Buffer>) {
    for await (const chunk of source) {
      tarHash.update(chunk);
      yield chunk;
    }
  }
  const entries = new EntryRules();
  const extract = tar.extract();
  extract.on('entry', (header, stream, next) => {
    // The pipeline reports it; an entry alone would be an unhandled error.
    stream.on('error', () => {});
    stream.resume();
    try {
      entries.check(header);
      stream.on('end', next);
    } catch (error) {
      next(error as Error);
    }
  });
  const source = await reader.openRead(layer.digest);
  try {
    if (compression === 'none') {
      await pipeline(source, blob, uncompressed, extract);
    } else if (compression === 'gzip') {
      await pipeline(source, blob, createGunzip(), uncompressed, extract);
    } else {
      await pipeline(
        Readable.from(splitZstdFrames(blob(source))),
        createZstdDecompress(),
        uncompressed,
        extract,
      );
    }
  } catch (cause) {
    throw cause instanceof IntegrityError
      ? cause
      : new IntegrityError(`layer ${layer.digest} cannot be read: ${(cause as Error).message}`, {
          code: 'E_BAD_ARCHIVE',
          cause,
        });
  }
  const actualDigest = sha256Digest(blobHash.digest('hex'));
  const actualDiffId = sha256Digest(tarHash.digest('hex'));
  if (blobSize !== layer.size) {
    throw new IntegrityError(`layer ${layer.digest} has ${blobSize} bytes instead of ${layer.size}`, {
      code: 'E_SIZE_MISMATCH',
    });
  }
  if (actualDigest !== layer.digest || actualDiffId !== diffId) {
    const [expected, actual] =
      actualDigest === layer.digest ? [diffId, actualDiffId] : [layer.digest, actualDigest];
    throw new IntegrityError(`layer ${layer.digest} has the digest ${actual} instead of ${expected}`, {
      code: 'E_DIGEST_MISMATCH',
      expected,
      actual,
    });
  }
  entries.finish();
  return entries.count;
}

class EntryRules {
  readonly #names = new Set<string>();
  readonly #links: { readonly name: string; readonly target: string }[] = [];
  count = 0;

  check(header: tar.Header): void {
    this.count += 1;
    const name = normalize(header.name);
    if (header.name.startsWith('/') || name.split('/').includes('..')) {
      throw malformed(`the entry '${header.name}' is outside of the root`);
    }
    if (this.#names.has(name)) {
      throw malformed(`the entry '${header.name}' is there twice`);
    }
    this.#names.add(name);
    const base = name.slice(name.lastIndexOf('/') + 1);
    if (base.startsWith('.wh.') && (header.type !== 'file' || header.size !== 0 || base === '.wh.')) {
      throw malformed(`the whiteout '${header.name}' is not an empty file with a name`);
    }
    if (header.type === 'link') {
      this.#links.push({ name, target: normalize(header.linkname ?? '') });
    }
  }

  finish(): void {
    for (const { name, target } of this.#links) {
      if (!this.#names.has(target)) {
        throw malformed(`the hard link '${name}' leads to '${target}', which is not in the layer`);
      }
    }
    for (const name of this.#names) {
      const slash = name.lastIndexOf('/');
      if (this.#names.has(`${name.slice(0, slash + 1)}.wh.${name.slice(slash + 1)}`)) {
        throw malformed(`'${name}' is both there and removed`);
      }
    }
  }
}

function normalize(name: string): string {
  return name.replace(/^(\.\/)+/, '').replace(/\/+$/, '');
}

async function readExactly(reader: BlobReader, descriptor: Descriptor): Promise<Buffer> {
  const bytes = await reader.read(descriptor.digest, MAX_DOCUMENT_BYTES);
  if (bytes.byteLength !== descriptor.size) {
    throw new IntegrityError(
      `${descriptor.digest} has ${bytes.byteLength} bytes instead of ${descriptor.size}`,
      {
        code: 'E_SIZE_MISMATCH',
      },
    );
  }
  return bytes;
}

function bad(reason: string): IntegrityError {
  return new IntegrityError(`invalid image: ${reason}`, { code: 'E_BAD_MANIFEST' });
}

function malformed(reason: string): IntegrityError {
  return new IntegrityError(`invalid layer: ${reason}`, { code: 'E_BAD_ARCHIVE' });
}
