/** Images that are in the store: by name, by id, pulled, named, inspected, removed. */
import { type ImageRecord, type IndexRecord, isIndexRecord } from '../content/image-records.ts';
import type { PublishedName } from '../content/published-names.ts';
import { DefinitionError } from '../errors.ts';
import { formatImageName, parseImageName } from '../frontend/fluent/image-name.ts';
import type { LayerContext } from '../layer/layer-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { MAX_DOCUMENT_BYTES } from '../oci/json-document.ts';
import { type Index, type Manifest, parseIndex, parseManifest } from '../oci/manifest.ts';
import { formatPlatform, hostPlatform, type Platform, parsePlatform } from '../oci/platform.ts';
import { parseReference } from '../oci/reference.ts';
import { resolveBaseImage } from './base-resolver.ts';
import { DEFAULT_WISH } from './build-images.ts';
import { imageFor, indexedImages } from './indexed-images.ts';
import type { EngineParts } from './parts.ts';
import { repositoryOf } from './registries.ts';
import { writeStoreIndex } from './store-index.ts';

export interface StoredImage {
  readonly names: readonly string[];
  /** Names that it was published under, with their namespace unless that is the settings'. */
  readonly published: readonly string[];
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
    const name = this.nameOf(text) ?? publishedAs(this.#parts, text)?.id;
    return this.#parts.store.images.find(name ?? text);
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
    return imageFor(this.#parts.store, this.find(text), platform, text);
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
    const { names, published } = this.#stored(record.id);
    const byName = name !== undefined && names.includes(name);
    const publishedName = byName ? undefined : publishedAs(this.#parts, text);
    if (publishedName !== undefined) {
      return this.#unpublish(publishedName, names.length + published.length === 1);
    }
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
    const keepsPublished = byName && published.length > 0;
    const last = untagged.length === names.length && listedIn.length === 0 && !keepsPublished;
    if (last && isIndexRecord(record)) {
      images.removeIndex(record.id);
    } else if (last) {
      images.remove(record.id);
    }
    await writeStoreIndex(this.#parts.store);
    return { untagged, ...(last ? { deleted: record.id } : {}) };
  }

  /** @param last - The image has no other name, and goes with it unless an index lists it. */
  async #unpublish(name: PublishedName, last: boolean): Promise<RemovedImage> {
    const { published, images } = this.#parts.store;
    published.remove(name);
    const untagged = [shownName(this.#parts, name)];
    const isIndex = images.getIndex(name.id) !== undefined;
    if (!last || (!isIndex && images.indexesOf(name.id).length > 0)) {
      return { untagged };
    }
    if (isIndex) {
      images.removeIndex(name.id);
    } else {
      images.remove(name.id);
    }
    await writeStoreIndex(this.#parts.store);
    return { untagged, deleted: name.id };
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
      published: this.#parts.store.published
        .list()
        .filter(({ id }) => id === record.id)
        .map((name) => shownName(this.#parts, name)),
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

/** What was published as the text, in the environment of the settings unless the text names another. */
function publishedAs({ store, settings }: EngineParts, text: string): PublishedName | undefined {
  try {
    const name = parseImageName('image', text);
    return store.published.get({ ...name, namespace: name.namespace ?? settings.environment });
  } catch {
    // Ids and references of registries need not be such names.
    return undefined;
  }
}

function shownName({ settings }: EngineParts, { namespace, name, tag }: PublishedName): string {
  return formatImageName({ ...(namespace === settings.environment ? {} : { namespace }), name, tag });
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
