/**
 * What an output sends or writes: the documents of an image, or of an index and all its images, and where their blobs are.
 *
 * An output that asks for nothing else gets the documents as the store has them, byte for byte.
 */
import { rfc3339 } from '../base/rfc3339.ts';
import { INLINE_MEMBER, inlineMember } from '../cache/portable-cache.ts';
import { type ImageRecord, type IndexRecord, isIndexRecord } from '../content/image-records.ts';
import type { LayerBlob } from '../content/layer-records.ts';
import { UsageError } from '../errors.ts';
import { type BuiltManifest, buildIndex, buildManifest } from '../image/manifest.ts';
import type { BlobWish, LayerContext } from '../layer/layer-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { HistoryEntry } from '../oci/image-config.ts';
import { MAX_DOCUMENT_BYTES } from '../oci/json-document.ts';
import { type Index, type Manifest, parseIndex, parseManifest } from '../oci/manifest.ts';
import { OCI_MANIFEST } from '../oci/media-type.ts';
import { type Platform, parsePlatform } from '../oci/platform.ts';
import type { LayerId } from '../solver/op.ts';
import { type Annotation, annotationsOf } from './annotations.ts';
import { imageLayers, sourceDateEpoch } from './build-images.ts';
import { compressedAs, hasTable, type LayerFormatName } from './compression.ts';
import { indexedImages } from './indexed-images.ts';
import type { EngineParts } from './parts.ts';

/** What an output may ask of layers and documents. */
export interface ShipmentWish {
  /**
   * Of all layers; `estargz` and `zstd:chunked` of those that tsbuild made.
   *
   * @defaultValue zstd, or gzip where zstd cannot be; layers of a base as they are, where they can be
   */
  readonly compression?: LayerFormatName;
  /** @defaultValue 3 for zstd and zstd:chunked, 6 for gzip and estargz */
  readonly compressionLevel?: number;
  /**
   * Whether layers of a base are compressed anew.
   *
   * @defaultValue true when `compression` is `zstd`, `gzip` or `uncompressed`, else false
   */
  readonly forceCompression?: boolean;
  /** Modification times in our layers are at most SOURCE_DATE_EPOCH. @defaultValue false */
  readonly rewriteTimestamp?: boolean;
  /** Seconds since 1970: when the image says that it was made. @defaultValue the environment's SOURCE_DATE_EPOCH */
  readonly sourceDateEpoch?: number;
  /** Docker's are for readers that know no other; they have no annotations and no zstd. @defaultValue oci */
  readonly mediaTypes?: 'oci' | 'docker';
  readonly annotations?: readonly Annotation[];
}

export interface ShippedImage extends BuiltManifest {
  readonly record: ImageRecord;
  readonly platform: Platform;
  /** Brings the blob of one of its layers here, where that may be elsewhere. */
  fetch(digest: Digest): Promise<void>;
}

export interface Shipment {
  /** Of the index, or of the only image. With the annotations that are for it. */
  readonly descriptor: Descriptor;
  readonly images: readonly ShippedImage[];
  /** Absent: one image, by itself. */
  readonly index?: { readonly descriptor: Descriptor; readonly bytes: Buffer };
}

/** What the reader of an output does not know. */
export interface ReaderWish extends ShipmentWish {
  /** No zstd, whatever the media types. */
  readonly noZstd?: boolean;
  /** No media types of Docker's, which an image that was pulled may have. */
  readonly ociOnly?: boolean;
  /** Blobs may be where they came from: {@link ShippedImage.fetch} brings them. @defaultValue false */
  readonly mayBeElsewhere?: boolean;
}

export async function prepareShipment(
  parts: EngineParts,
  record: ImageRecord | IndexRecord,
  wish: ReaderWish,
  context: LayerContext,
): Promise<Shipment> {
  const { annotations = [] } = wish;
  if (wish.mediaTypes === 'docker' && annotations.length > 0) {
    throw new UsageError("Docker's media types have no place for annotations", {
      code: 'E_USAGE',
      hint: 'leave out oci-mediatypes=false',
    });
  }
  const records = isIndexRecord(record) ? indexedImages(parts.store, record) : [record];
  const prepared = await Promise.all(records.map((each) => prepareImage(parts, each, wish, context)));
  const images = prepared.map(({ image }) => image);
  if (!isIndexRecord(record)) {
    const [image] = images as [ShippedImage];
    const own = annotationsOf(annotations, 'manifest-descriptor', image.platform);
    return { descriptor: annotated(image.manifestDescriptor, own), images };
  }
  const bytes = await parts.store.blobs.read(record.id, MAX_DOCUMENT_BYTES);
  const stored = parseIndex(bytes, record.mediaType);
  const changed = annotations.some(({ target }) => target !== 'index-descriptor');
  const index =
    prepared.every(({ asStored }) => asStored) && !changed
      ? { descriptor: { mediaType: record.mediaType, digest: record.id, size: bytes.length }, bytes }
      : indexOf(images, stored, wish);
  return {
    descriptor: annotated(index.descriptor, annotationsOf(annotations, 'index-descriptor')),
    images,
    index,
  };
}

function indexOf(
  images: readonly ShippedImage[],
  stored: Index,
  { annotations = [], mediaTypes = 'oci' }: ShipmentWish,
): NonNullable<Shipment['index']> {
  const entries = images.map(({ manifestDescriptor, platform }, position) =>
    annotated(
      { ...manifestDescriptor, platform },
      mediaTypes === 'docker'
        ? {}
        : {
            ...stored.manifests[position]?.annotations,
            ...annotationsOf(annotations, 'manifest-descriptor', platform),
          },
    ),
  );
  const own =
    mediaTypes === 'docker' ? {} : { ...stored.annotations, ...annotationsOf(annotations, 'index') };
  const { indexBytes, indexDescriptor } = buildIndex(entries, own, mediaTypes);
  return { descriptor: indexDescriptor, bytes: indexBytes };
}

async function prepareImage(
  parts: EngineParts,
  record: ImageRecord,
  wish: ReaderWish,
  context: LayerContext,
): Promise<{ readonly image: ShippedImage; readonly asStored: boolean }> {
  const { blobs } = parts.store;
  const platform = parsePlatform(record.platform);
  const manifestBytes = await blobs.read(record.manifestDigest, MAX_DOCUMENT_BYTES);
  const stored = parseManifest(manifestBytes);
  const annotations = annotationsOf(wish.annotations ?? [], 'manifest', platform);
  const unchanged = Object.keys(annotations).length === 0 && isContent(stored, wish);
  const layers =
    unchanged && (await areHere(parts, stored.layers))
      ? undefined
      : await layersOf(parts, record, wish, context);
  const fetch = fetcher(parts, record, layers ?? [], wish, context);
  if (layers === undefined || (unchanged && isSame(stored.layers, layers))) {
    const image = {
      record,
      platform,
      fetch,
      configBytes: await blobs.read(record.configDigest, MAX_DOCUMENT_BYTES),
      configDescriptor: stored.config,
      manifestBytes,
      manifestDescriptor: {
        mediaType: stored.mediaType,
        digest: record.manifestDigest,
        size: manifestBytes.length,
      },
      layers: stored.layers,
    };
    return { image, asStored: true };
  }
  const { config } = record;
  const epoch = wish.sourceDateEpoch === undefined ? undefined : rfc3339(wish.sourceDateEpoch);
  const created = epoch ?? config.created;
  const manifest = buildManifest({
    layers: imageLayers(layers),
    config: config.config ?? {},
    platform,
    created,
    history: clampHistory(config.history ?? [], epoch),
    author: config.author,
    extra: inlineMember(config[INLINE_MEMBER]),
    mediaTypes: wish.mediaTypes,
    annotations: wish.mediaTypes === 'docker' ? {} : { ...stored.annotations, ...annotations },
  });
  return { image: { record, platform, fetch, ...manifest }, asStored: false };
}

async function layersOf(
  parts: EngineParts,
  { layers }: ImageRecord,
  wish: ReaderWish,
  context: LayerContext,
): Promise<readonly LayerBlob[]> {
  const form = blobWish(parts, wish);
  return wish.mayBeElsewhere === true
    ? await parts.layers.describeBlobs(layers, form, context)
    : await parts.layers.ensureBlobs(layers, form, context);
}

function fetcher(
  parts: EngineParts,
  record: ImageRecord,
  layers: readonly LayerBlob[],
  wish: ReaderWish,
  context: LayerContext,
): ShippedImage['fetch'] {
  return async (digest) => {
    const index = layers.findIndex((blob) => blob.digest === digest);
    if (index >= 0) {
      const layer = record.layers[index] as LayerId;
      await parts.layers.ensureBlob(layer, record.layers.slice(0, index), blobWish(parts, wish), context);
    }
  };
}

/** Whether nothing was asked for that the stored manifest may not be. */
function isContent(stored: Manifest, wish: ReaderWish): boolean {
  const { compression, compressionLevel, forceCompression, rewriteTimestamp, sourceDateEpoch } = wish;
  const asked = [compression, compressionLevel, forceCompression, sourceDateEpoch].some(
    (each) => each !== undefined,
  );
  return (
    !asked &&
    rewriteTimestamp !== true &&
    wish.mediaTypes !== 'docker' &&
    wish.noZstd !== true &&
    (stored.mediaType === OCI_MANIFEST || wish.ociOnly !== true)
  );
}

async function areHere({ store }: EngineParts, layers: readonly Descriptor[]): Promise<boolean> {
  return (await Promise.all(layers.map(({ digest }) => store.blobs.has(digest)))).every(Boolean);
}

function isSame(stored: readonly Descriptor[], blobs: readonly LayerBlob[]): boolean {
  return (
    stored.length === blobs.length && stored.every(({ digest }, index) => digest === blobs[index]?.digest)
  );
}

/** The form of the layers that are ours. @throws {UsageError} `E_USAGE` for one that the reader does not know. */
export function blobWish({ environment }: Pick<EngineParts, 'environment'>, wish: ReaderWish): BlobWish {
  const gzipAtMost = wish.noZstd === true || wish.mediaTypes === 'docker';
  const named = wish.compression;
  if (gzipAtMost && (named === 'zstd' || hasTable(named))) {
    const why = named === 'zstd' ? 'no media type' : 'no place for the annotations that it needs';
    throw new UsageError(`${named} has ${why} in what Docker's tools load`, {
      code: 'E_USAGE',
      hint: 'use compression=gzip',
    });
  }
  const blobs = {
    ...compressedAs(named ?? (gzipAtMost ? 'gzip' : 'zstd'), wish.compressionLevel),
    // What was asked for by name is what one gets, whatever the store has of an earlier build.
    // A table of contents is of use to readers of few files; nobody wants another base for it without saying so.
    keepSource: !gzipAtMost && !(wish.forceCompression ?? (named !== undefined && !hasTable(named))),
  };
  if (wish.rewriteTimestamp !== true) {
    return blobs;
  }
  return { ...blobs, clampMtimeSeconds: requiredEpoch(environment, wish) };
}

/** @throws {UsageError} `E_USAGE` when nothing says to which time. */
export function requiredEpoch(environment: NodeJS.ProcessEnv, wish: ShipmentWish): number {
  const epoch = wish.sourceDateEpoch ?? sourceDateEpoch(environment);
  if (epoch === undefined) {
    throw new UsageError('rewriting timestamps needs SOURCE_DATE_EPOCH, in seconds since 1970', {
      code: 'E_USAGE',
      hint: 'SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) tsbuild build …',
    });
  }
  return epoch;
}

function clampHistory(history: readonly HistoryEntry[], latest: string | undefined): readonly HistoryEntry[] {
  return latest === undefined
    ? history
    : history.map((entry) =>
        entry.created !== undefined && Date.parse(entry.created) > Date.parse(latest)
          ? { ...entry, created: latest }
          : entry,
      );
}

function annotated(descriptor: Descriptor, annotations: Readonly<Record<string, string>>): Descriptor {
  return Object.keys(annotations).length === 0 ? descriptor : { ...descriptor, annotations };
}
