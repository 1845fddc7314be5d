/** Images that are in the store: by name, by id, pulled, named, inspected, removed. */
import { type ImageRecord, type IndexRecord, isIndexRecord } from '../content/image-records.ts';
import { DefinitionError, InternalError } from '../errors.ts';
import type { LayerContext } from '../layer/layer-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { MAX_DOCUMENT_BYTES } from '../oci/json-document.ts';
import { type Index, type Manifest, parseIndex, parseManifest } from '../oci/manifest.ts';
import { OCI_MANIFEST } from '../oci/media-type.ts';
import {
  choosePlatform,
  formatPlatform,
  hostPlatform,
  type Platform,
  parsePlatform,
} from '../oci/platform.ts';
import { parseReference } from '../oci/reference.ts';
import { resolveBaseImage } from './base-resolver.ts';
import { DEFAULT_WISH } from './build-images.ts';
import type { EngineParts } from './parts.ts';
import { repositoryOf } from './registries.ts';
import type { Store } from './store.ts';
import { writeStoreIndex } from './store-index.ts';

export interface StoredImage {
  readonly names: readonly string[];
  readonly id: string;
  readonly digest: Digest;
  /** Of an index the first one. */
  readonly platform: Platform;
  /** One, or those of an index. */
  readonly platforms: readonly Platform[];
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

/** The same of an index: images of one definition for several platforms. */
export interface InspectedIndex {
  readonly id: string;
  readonly names: readonly string[];
  readonly digest: Digest;
  /** Of the index. */
  readonly manifestDescriptor: Descriptor;
  readonly stored: string;
  readonly sizeBytes: number;
  readonly index: Index;
  readonly images: readonly InspectedImage[];
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
  find(text: string): ImageRecord | IndexRecord {
    return this.#parts.store.images.find(this.nameOf(text) ?? text);
  }

  /** The whole name that `text` is in the store; undefined for an id. */
  nameOf(text: string): string | undefined {
    const name = tryLocalName(text);
    return name !== undefined && this.#parts.store.images.hasName(name) ? name : undefined;
  }

  /**
   * The image itself, or of an index the one that suits the platform best.
   *
   * @throws {DefinitionError} `E_IMAGE_NOT_FOUND`, `E_NO_PLATFORM`
   */
  findFor(text: string, platform: Platform): ImageRecord {
    const record = this.find(text);
    if (!isIndexRecord(record)) {
      return record;
    }
    const images = this.#imagesOf(record);
    const manifests = images.map(({ manifestDigest, platform: own }) => ({
      mediaType: OCI_MANIFEST,
      digest: manifestDigest,
      size: 0,
      platform: parsePlatform(own),
    }));
    const index = { schemaVersion: 2, mediaType: record.mediaType, manifests } as const;
    const chosen = manifests.indexOf(choosePlatform(index, platform, `'${text}'`) as (typeof manifests)[0]);
    return images[chosen] as ImageRecord;
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

  /** An image without a name of its own that is part of an index is not listed apart. */
  list(): readonly StoredImage[] {
    const { images } = this.#parts.store;
    const indexes = images.listIndexes();
    const parts = new Set(indexes.flatMap((index) => index.images.map(({ id }) => id)));
    const single = images.list().filter(({ id, names }) => names.length > 0 || !parts.has(id));
    const all = [...single, ...indexes];
    return all.map((record) => this.#describe(record)).sort((a, b) => b.createdMs - a.createdMs);
  }

  async inspect(text: string): Promise<InspectedImage | InspectedIndex> {
    const record = this.find(text);
    if (!isIndexRecord(record)) {
      return await this.#inspectImage(record, record.manifestDigest);
    }
    const { blobs } = this.#parts.store;
    const { names, sizeBytes, createdMs } = this.#stored(record.id);
    const images = this.#imagesOf(record);
    return {
      id: record.id,
      names,
      digest: record.id,
      manifestDescriptor: { mediaType: record.mediaType, digest: record.id, size: record.sizeBytes },
      stored: new Date(createdMs).toISOString(),
      sizeBytes,
      index: parseIndex(await blobs.read(record.id, MAX_DOCUMENT_BYTES)),
      images: await Promise.all(images.map((image) => this.#inspectImage(image, image.manifestDigest))),
    };
  }

  async #inspectImage(record: ImageRecord, manifestDigest: Digest): Promise<InspectedImage> {
    const bytes = await this.#parts.store.blobs.read(manifestDigest, MAX_DOCUMENT_BYTES);
    const manifest = parseManifest(bytes);
    const { names, sizeBytes, createdMs } = this.#stored(record.id);
    return {
      id: record.id,
      names,
      digest: manifestDigest,
      configDigest: record.configDigest,
      manifestDescriptor: { mediaType: manifest.mediaType, digest: manifestDigest, size: bytes.length },
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
    const { names } = this.#stored(record.id);
    const byName = name !== undefined && names.includes(name);
    const untagged = byName ? [name] : names;
    const listedIn = isIndexRecord(record) ? [] : images.indexesOf(record.id);
    if (!byName && listedIn.length > 0) {
      throw new DefinitionError(`'${text}' is part of the image ${listedIn[0]} for several platforms`, {
        code: 'E_IMAGE_IN_USE',
        hint: `remove that one: tsbuild image rm ${listedIn[0]}`,
      });
    }
    for (const each of untagged) {
      images.removeName(each);
    }
    const last = untagged.length === names.length && listedIn.length === 0;
    if (last && isIndexRecord(record)) {
      images.removeIndex(record.id);
    } else if (last) {
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
    await layers.ensureBlobs(ids, DEFAULT_WISH, context);
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
    const { images } = this.#parts.store;
    const record = [...images.list(), ...images.listIndexes()].find((each) => each.id === id);
    if (record === undefined) {
      throw new DefinitionError(`no image '${id}' in the store`, { code: 'E_IMAGE_NOT_FOUND' });
    }
    return this.#describe(record);
  }

  #describe(record: (ImageRecord | IndexRecord) & { readonly names: readonly string[] }): StoredImage {
    const images = isIndexRecord(record) ? this.#imagesOf(record) : [record];
    const blobs = new Map<Digest, number>();
    for (const { layers } of images) {
      for (const blob of this.#parts.layers.knownBlobs(layers, DEFAULT_WISH)) {
        if (blob !== undefined) {
          blobs.set(blob.digest, blob.sizeBytes);
        }
      }
    }
    const platforms = images.map(({ platform }) => parsePlatform(platform));
    return {
      names: record.names,
      id: record.id,
      digest: isIndexRecord(record) ? record.id : record.manifestDigest,
      platform: platforms[0] ?? hostPlatform(),
      platforms,
      sizeBytes: [...blobs.values()].reduce((sum, size) => sum + size, 0),
      createdMs: record.createdMs,
    };
  }

  /** With the manifests that the index has. */
  #imagesOf(record: IndexRecord): readonly ImageRecord[] {
    return indexedImages(this.#parts.store, record);
  }
}

/** The images of an index, each with the manifest and config that the index has of it. */
export function indexedImages(
  { images }: Pick<Store, 'images'>,
  record: IndexRecord,
): readonly ImageRecord[] {
  return record.images.map(({ id, manifestDigest, configDigest }) => {
    const image = images.peek(id);
    if (image === undefined) {
      throw new InternalError(`the image '${id}' of the index ${record.id} is not in the store`);
    }
    return { ...image, manifestDigest, configDigest };
  });
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
