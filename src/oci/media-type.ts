/** Media types that we read or write. Source: OCI image-spec v1.1, `media-types.md`; Docker image manifest v2, schema 2. */
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
export const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar';
export const OCI_LAYER_GZIP = 'application/vnd.oci.image.layer.v1.tar+gzip';
export const OCI_LAYER_ZSTD = 'application/vnd.oci.image.layer.v1.tar+zstd';
export const OCI_EMPTY = 'application/vnd.oci.empty.v1+json';
export const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
export const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
export const DOCKER_CONFIG = 'application/vnd.docker.container.image.v1+json';
export const DOCKER_LAYER = 'application/vnd.docker.image.rootfs.diff.tar';
export const DOCKER_LAYER_GZIP = 'application/vnd.docker.image.rootfs.diff.tar.gzip';
/** Never specified, but containerd wrote it. We read it and never write it. */
export const DOCKER_LAYER_ZSTD = 'application/vnd.docker.image.rootfs.diff.tar.zstd';
/** Only asked for so that the answer can be refused by name. */
export const DOCKER_SCHEMA1 = 'application/vnd.docker.distribution.manifest.v1+json';
export const DOCKER_SCHEMA1_SIGNED = 'application/vnd.docker.distribution.manifest.v1+prettyjws';

export type LayerCompression = 'none' | 'gzip' | 'zstd';
/** How a blob is written: a compression, or one with a table of contents for readers that fetch single files. */
export type BlobFormat = LayerCompression | 'estargz' | 'zstd:chunked';

interface LayerFacts {
  readonly compression: LayerCompression;
  /** Deprecated "non-distributable" layers, whose bytes are at `urls` and are not pushed. */
  readonly foreign: boolean;
}

const LAYERS: Readonly<Record<string, LayerFacts>> = {
  [OCI_LAYER]: { compression: 'none', foreign: false },
  [OCI_LAYER_GZIP]: { compression: 'gzip', foreign: false },
  [OCI_LAYER_ZSTD]: { compression: 'zstd', foreign: false },
  [DOCKER_LAYER]: { compression: 'none', foreign: false },
  [DOCKER_LAYER_GZIP]: { compression: 'gzip', foreign: false },
  [DOCKER_LAYER_ZSTD]: { compression: 'zstd', foreign: false },
  'application/vnd.oci.image.layer.nondistributable.v1.tar': { compression: 'none', foreign: true },
  'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip': { compression: 'gzip', foreign: true },
  'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd': { compression: 'zstd', foreign: true },
  'application/vnd.docker.image.rootfs.foreign.diff.tar': { compression: 'none', foreign: true },
  'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip': { compression: 'gzip', foreign: true },
};

const OCI_LAYERS: Readonly<Record<LayerCompression, string>> = {
  none: OCI_LAYER,
  gzip: OCI_LAYER_GZIP,
  zstd: OCI_LAYER_ZSTD,
};

const DOCKER_LAYERS: Readonly<Record<LayerCompression, string>> = {
  none: DOCKER_LAYER,
  gzip: DOCKER_LAYER_GZIP,
  zstd: DOCKER_LAYER_ZSTD,
};

/** undefined for a type that is not a tar layer (squashfs, an artifact's file). */
export function layerCompression(mediaType: string): LayerCompression | undefined {
  return facts(mediaType)?.compression;
}

export function isForeignLayer(mediaType: string): boolean {
  return facts(mediaType)?.foreign ?? false;
}

/** The OCI type of a layer with this compression. */
export function ociLayerType(compression: LayerCompression): string {
  return OCI_LAYERS[compression];
}

/** Docker's type → the OCI type for the same bytes; others stay as they are. */
export function toOciLayerType(mediaType: string): string {
  const layer = facts(mediaType);
  return layer === undefined || layer.foreign ? mediaType : OCI_LAYERS[layer.compression];
}

/** The OCI type → Docker's type for the same bytes. zstd, which Docker's specification lacks, keeps what containerd writes. */
export function toDockerLayerType(mediaType: string): string {
  const layer = facts(mediaType);
  return layer === undefined || layer.foreign ? mediaType : DOCKER_LAYERS[layer.compression];
}

export function isIndexType(mediaType: string): boolean {
  return mediaType === OCI_INDEX || mediaType === DOCKER_LIST;
}

export function isManifestType(mediaType: string): boolean {
  return mediaType === OCI_MANIFEST || mediaType === DOCKER_MANIFEST;
}

export function isSchema1Type(mediaType: string): boolean {
  return mediaType === DOCKER_SCHEMA1 || mediaType === DOCKER_SCHEMA1_SIGNED;
}

/** What we can read, in order of preference. */
export const MANIFEST_ACCEPT: string = [
  OCI_INDEX,
  OCI_MANIFEST,
  DOCKER_LIST,
  DOCKER_MANIFEST,
  `${DOCKER_SCHEMA1_SIGNED};q=0.1`,
].join(', ');

function facts(mediaType: string): LayerFacts | undefined {
  return Object.hasOwn(LAYERS, mediaType) ? LAYERS[mediaType] : undefined;
}
