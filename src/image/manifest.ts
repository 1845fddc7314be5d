/** Layers and a container config → image config and manifest. Nothing here depends on the clock or the host. */
import { canonicalJson } from '../base/canonical-json.ts';
import { sha256Hex } from '../base/sha256.ts';
import { IntegrityError } from '../errors.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, sha256Digest } from '../oci/digest.ts';
import type { ContainerConfig, HistoryEntry } from '../oci/image-config.ts';
import {
  DOCKER_CONFIG,
  DOCKER_LIST,
  DOCKER_MANIFEST,
  layerCompression,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_MANIFEST,
  toDockerLayerType,
  toOciLayerType,
} from '../oci/media-type.ts';
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
  /** Docker's have no zstd. @defaultValue oci */
  readonly mediaTypes?: 'oci' | 'docker' | undefined;
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
 * Makes an image, an OCI one unless Docker's types are asked for. The base may be a Docker image: layer types become OCI's, the layers' bytes and digests stay.
 * (zstd needs OCI types, and every registry and engine of today takes them for gzip.)
 *
 * @throws {IntegrityError} `E_UNSUPPORTED_MEDIA_TYPE` for a layer that is not a tar
 */
export function buildManifest(parts: ImageParts): BuiltManifest {
  const types = MEDIA_TYPES[parts.mediaTypes ?? 'oci'];
  const layers = parts.layers.map(({ descriptor }) => layerDescriptor(descriptor, types.layer));
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
  const configDescriptor = describe(configBytes, types.config);
  const manifestBytes = encode({
    schemaVersion: 2,
    mediaType: types.manifest,
    config: configDescriptor,
    layers,
    annotations: unlessEmpty(parts.annotations),
  });
  const manifestDescriptor = describe(manifestBytes, types.manifest);
  return { configBytes, configDescriptor, manifestBytes, manifestDescriptor, layers };
}

/** Something other than an image, in the form of one: a config of its own type, and layers. */
export function buildArtifact(
  configBytes: Buffer,
  configType: string,
  blobs: readonly Descriptor[],
): BuiltManifest {
  const layers = blobs.map((blob) => layerDescriptor(blob, toOciLayerType));
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
  mediaTypes: 'oci' | 'docker' = 'oci',
): { readonly indexBytes: Buffer; readonly indexDescriptor: Descriptor } {
  const mediaType = MEDIA_TYPES[mediaTypes].index;
  const indexBytes = encode({
    schemaVersion: 2,
    mediaType,
    manifests,
    annotations: unlessEmpty(annotations),
  });
  return { indexBytes, indexDescriptor: describe(indexBytes, mediaType) };
}

/** Type, digest and size of `bytes`. */
export function describe(bytes: Uint8Array, mediaType: string): Descriptor {
  return {
    mediaType,
    digest: sha256Digest(sha256Hex(bytes)),
    size: bytes.byteLength,
  };
}

const MEDIA_TYPES = {
  oci: { index: OCI_INDEX, manifest: OCI_MANIFEST, config: OCI_CONFIG, layer: toOciLayerType },
  docker: {
    index: DOCKER_LIST,
    manifest: DOCKER_MANIFEST,
    config: DOCKER_CONFIG,
    layer: toDockerLayerType,
  },
} as const;

function unlessEmpty(annotations: Readonly<Record<string, string>> | undefined) {
  return annotations === undefined || Object.keys(annotations).length === 0 ? undefined : annotations;
}

function layerDescriptor(descriptor: Descriptor, typeOf: (mediaType: string) => string): Descriptor {
  if (layerCompression(descriptor.mediaType) === undefined) {
    throw new IntegrityError(`a layer of type '${descriptor.mediaType}' cannot be part of an image`, {
      code: 'E_UNSUPPORTED_MEDIA_TYPE',
      actual: descriptor.mediaType,
    });
  }
  const { annotations, ...plain } = descriptor;
  // Docker's descriptors have none.
  const own = typeOf === toDockerLayerType || annotations === undefined ? {} : { annotations };
  return { ...plain, ...own, mediaType: typeOf(descriptor.mediaType) };
}

function encode(document: unknown): Buffer {
  return Buffer.from(canonicalJson(document), 'utf8');
}
