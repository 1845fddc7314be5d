/** Images that are in the store: by name, by id, pulled, named, inspected, removed. */
import type { ImageRecord } from '../content/image-records.ts';
import { DefinitionError } from '../errors.ts';
import type { LayerContext } from '../layer/layer-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { MAX_DOCUMENT_BYTES } from '../oci/json-document.ts';
import { type Manifest, parseManifest } from '../oci/manifest.ts';
import { formatPlatform, type Platform, parsePlatform } from '../oci/platform.ts';
import { parseReference } from '../oci/reference.ts';
import { resolveBaseImage } from './base-resolver.ts';
import type { EngineParts } from './parts.ts';
import { repositoryOf } from './registries.ts';
import { writeStoreIndex } from './store-index.ts';

export interface StoredImage {
  readonly names: readonly string[];
  readonly id: string;
  readonly digest: Digest;
  readonly platform: Platform;
  /** Of its blobs, compressed. */
  readonly sizeBytes: number;
  readonly createdMs: number;
}

/** All that the store knows of an image, as `tsbuild image inspect` prints it. */
export interface InspectedImage {
  readonly id: string;
  readonly names: readonly string[];
  readonly digest: Digest;
  readonly configDigest: Digest;
  readonly manifestDescriptor: Descriptor;
  /** `linux/amd64`. */
  readonly platform: string;
  /** When it came into the store, ISO 8601. */
  readonly stored: string;
  readonly sizeBytes: number;
  readonly layers: ImageRecord['build']['layers'];
  readonly manifest: Manifest;
  readonly config: ImageRecord['config'];
}

export interface RemovedImage {
  readonly untagged: readonly string[];
  readonly deleted?: string;
}

export class ImageLibrary {
  readonly #parts: EngineParts;

  constructor(parts: EngineParts) {
    this.#parts = parts;
  }

  /** @throws {DefinitionError} `E_IMAGE_NOT_FOUND` */
  find(text: string): ImageRecord {
    const { images } = this.#parts.store;
    const name = tryLocalName(text);
    return images.find(name !== undefined && images.hasName(name) ? name : text);
  }

  async name(name: string, id: string): Promise<void> {
    this.#parts.store.images.setName(localName(name), id);
    await writeStoreIndex(this.#parts.store);
  }

  async tag(source: string, target: string): Promise<StoredImage> {
    const { id } = this.find(source);
    await this.name(target, id);
    return this.#stored(id);
  }

  list(): readonly StoredImage[] {
    return this.#parts.store.images.list().map((record) => this.#describe(record));
  }

  async inspect(text: string): Promise<InspectedImage> {
    const record = this.find(text);
    const bytes = await this.#parts.store.blobs.read(record.manifestDigest, MAX_DOCUMENT_BYTES);
    const manifest = parseManifest(bytes);
    const { names, sizeBytes, createdMs } = this.#stored(record.id);
    return {
      id: record.id,
      names,
      digest: record.manifestDigest,
      configDigest: record.configDigest,
      manifestDescriptor: {
        mediaType: manifest.mediaType,
        digest: record.manifestDigest,
        size: bytes.length,
      },
      platform: record.platform,
      stored: new Date(createdMs).toISOString(),
      sizeBytes,
      layers: record.build.layers,
      manifest,
      config: record.config,
    };
  }

  async remove(text: string): Promise<RemovedImage> {
    const { images } = this.#parts.store;
    const name = tryLocalName(text);
    const record = this.find(text);
    const names = images.list().find((each) => each.id === record.id)?.names ?? [];
    const byName = name !== undefined && names.includes(name);
    const untagged = byName ? [name] : names;
    for (const each of untagged) {
      images.removeName(each);
    }
    const last = untagged.length === names.length;
    if (last) {
      images.remove(record.id);
    }
    await writeStoreIndex(this.#parts.store);
    return { untagged, ...(last ? { deleted: record.id } : {}) };
  }

  async pull(referenceText: string, platform: Platform, context: LayerContext): Promise<StoredImage> {
    const { store, layers, registries } = this.#parts;
    const { blobs, images } = store;
    const reference = parseReference(referenceText);
    const { manifestDigest, config } = await resolveBaseImage(
      { blobs, images, registries },
      referenceText,
      platform,
      {
        again: true,
        signal: context.signal,
      },
    );
    const manifest = parseManifest(await blobs.read(manifestDigest, MAX_DOCUMENT_BYTES));
    const ids = layers.recordImage(manifest.layers, config.rootfs.diff_ids, repositoryOf(reference));
    await layers.ensureBlobs(ids, { compression: 'zstd', level: 3, keepSource: true }, context);
    images.put({
      id: manifestDigest,
      manifestDigest,
      configDigest: manifest.config.digest,
      platform: formatPlatform(platform),
      layers: ids,
      config,
      build: { layers: [] },
    });
    await this.name(referenceText, manifestDigest);
    return this.#stored(manifestDigest);
  }

  #stored(id: string): StoredImage {
    const record = this.#parts.store.images.list().find((each) => each.id === id);
    if (record === undefined) {
      throw new DefinitionError(`no image '${id}' in the store`, { code: 'E_IMAGE_NOT_FOUND' });
    }
    return this.#describe(record);
  }

  #describe(record: ImageRecord & { readonly names: readonly string[] }): StoredImage {
    const known = this.#parts.layers.knownBlobs(record.layers, {
      compression: 'zstd',
      level: 3,
      keepSource: true,
    });
    return {
      names: record.names,
      id: record.id,
      digest: record.manifestDigest,
      platform: parsePlatform(record.platform),
      sizeBytes: known.reduce((sum, blob) => sum + (blob?.sizeBytes ?? 0), 0),
      createdMs: record.createdMs,
    };
  }
}

/**
 * A name as the store keeps it: as it was given, with its tag.
 *
 * @throws {DefinitionError} `E_IMAGE_NAME`
 */
export function localName(text: string): string {
  const { tag, digest } = parseReference(text);
  if (digest !== undefined) {
    throw new DefinitionError(`'${text}' has a digest; a name that you give has a tag at most`, {
      code: 'E_IMAGE_NAME',
    });
  }
  return tag === undefined || text.endsWith(`:${tag}`) ? text : `${text}:${tag}`;
}

function tryLocalName(text: string): string | undefined {
  try {
    return localName(text);
  } catch {
    // An id, or the beginning of one, need not be a reference.
    return undefined;
  }
}
