/** Layers and a container config → image config and manifest. Nothing here depends on the clock or the host. */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../base/canonical-json.ts';
import { IntegrityError } from '../errors.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, sha256Digest } from '../oci/digest.ts';
import type { ContainerConfig, HistoryEntry } from '../oci/image-config.ts';
import { layerCompression, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, toOciLayerType } from '../oci/media-type.ts';
import { normalizePlatform, type Platform } from '../oci/platform.ts';
import { completeHistory } from './history.ts';

export interface ImageLayer {
  readonly descriptor: Descriptor;
  /** Digest of the uncompressed tar. */
  readonly diffId: Digest;
}

export interface ImageParts {
  readonly layers: readonly ImageLayer[];
  readonly config: ContainerConfig;
  readonly platform: Platform;
  /** RFC 3339. Left out when absent: an image is then the same whenever it is built. */
  readonly created?: string | undefined;
  readonly author?: string | undefined;
  /** Of all layers, the base's first. Completed where the base's has gaps. */
  readonly history?: readonly HistoryEntry[] | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** Members of the config beyond the spec's, under names that nobody else uses. */
  readonly extra?: Readonly<Record<string, unknown>> | undefined;
}

export interface BuiltManifest {
  readonly configBytes: Buffer;
  readonly configDescriptor: Descriptor;
  readonly manifestBytes: Buffer;
  readonly manifestDescriptor: Descriptor;
  /** As they are in the manifest: OCI types, also where the base had Docker's. */
  readonly layers: readonly Descriptor[];
}

/**
 * Makes an OCI image. The base may be a Docker image: layer types become OCI's, the layers' bytes and digests stay.
 * (zstd needs OCI types, and every registry and engine of today takes them for gzip.)
 *
 * @throws {IntegrityError} `E_UNSUPPORTED_MEDIA_TYPE` for a layer that is not a tar
 */
export function buildManifest(parts: ImageParts): BuiltManifest {
  const layers = parts.layers.map(({ descriptor }) => layerDescriptor(descriptor));
  const { os, architecture, variant, ...osDetails } = normalizePlatform(parts.platform);
  const configBytes = encode({
    ...parts.extra,
    created: parts.created,
    author: parts.author,
    os,
    architecture,
    // Windows needs `os.version`; the variant is part of the config since image-spec 1.1.
    variant,
    ...osDetails,
    config: parts.config,
    rootfs: { type: 'layers', diff_ids: parts.layers.map((layer) => layer.diffId) },
    history: completeHistory(parts.history ?? [], parts.layers.length),
  });
  const configDescriptor = describe(configBytes, OCI_CONFIG);
  const manifestBytes = encode({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: configDescriptor,
    layers,
    annotations: parts.annotations,
  });
  const manifestDescriptor = describe(manifestBytes, OCI_MANIFEST);
  return { configBytes, configDescriptor, manifestBytes, manifestDescriptor, layers };
}

/** Something other than an image, in the form of one: a config of its own type, and layers. */
export function buildArtifact(
  configBytes: Buffer,
  configType: string,
  blobs: readonly Descriptor[],
): BuiltManifest {
  const layers = blobs.map(layerDescriptor);
  const configDescriptor = describe(configBytes, configType);
  const manifestBytes = encode({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: configDescriptor,
    layers,
  });
  const manifestDescriptor = describe(manifestBytes, OCI_MANIFEST);
  return { configBytes, configDescriptor, manifestBytes, manifestDescriptor, layers };
}

/** Several images as one, for several platforms. Each descriptor should name its platform. */
export function buildIndex(
  manifests: readonly Descriptor[],
  annotations?: Readonly<Record<string, string>>,
): { readonly indexBytes: Buffer; readonly indexDescriptor: Descriptor } {
  const indexBytes = encode({ schemaVersion: 2, mediaType: OCI_INDEX, manifests, annotations });
  return { indexBytes, indexDescriptor: describe(indexBytes, OCI_INDEX) };
}

/** Type, digest and size of `bytes`. */
export function describe(bytes: Uint8Array, mediaType: string): Descriptor {
  return {
    mediaType,
    digest: sha256Digest(createHash('sha256').update(bytes).digest('hex')),
    size: bytes.byteLength,
  };
}

function layerDescriptor(descriptor: Descriptor): Descriptor {
  if (layerCompression(descriptor.mediaType) === undefined) {
    throw new IntegrityError(`a layer of type '${descriptor.mediaType}' cannot be part of an image`, {
      code: 'E_UNSUPPORTED_MEDIA_TYPE',
      actual: descriptor.mediaType,
    });
  }
  return { ...descriptor, mediaType: toOciLayerType(descriptor.mediaType) };
}

function encode(document: unknown): Buffer {
  return Buffer.from(canonicalJson(document), 'utf8');
}
