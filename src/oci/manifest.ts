import { IntegrityError } from '../errors.ts';
import type { Descriptor } from './descriptor.ts';
import { type JsonObject, parseDescriptor, parseJsonObject, stringMap } from './json-document.ts';
import {
  DOCKER_LIST,
  DOCKER_MANIFEST,
  isIndexType,
  isManifestType,
  isSchema1Type,
  OCI_INDEX,
  OCI_MANIFEST,
} from './media-type.ts';

/** Source: OCI image-spec v1.1, `manifest.md`. */
export interface Manifest {
  readonly schemaVersion: 2;
  readonly mediaType: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Source: OCI image-spec v1.1, `image-index.md`. */
export interface Index {
  readonly schemaVersion: 2;
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>>;
}

export type ManifestDocument =
  | { readonly kind: 'manifest'; readonly manifest: Manifest }
  | { readonly kind: 'index'; readonly index: Index };

/** The Docker engine has a limit of 127 layers and containerd none; this only bounds what a hostile document costs. */
const MAX_LAYERS = 4096;
const MAX_INDEX_ENTRIES = 4096;

/**
 * Parses a manifest or an index. `mediaType` is what the server or the descriptor called it; without it, or with a
 * generic one, the document itself says what it is.
 *
 * @throws {IntegrityError} `E_BAD_MANIFEST`; `E_UNSUPPORTED_MEDIA_TYPE` for schema 1 and unknown types
 */
export function parseManifestDocument(bytes: Uint8Array, mediaType?: string): ManifestDocument {
  const json = parseJsonObject(bytes, 'manifest');
  const type = documentType(json, mediaType);
  // CVE-2021-41190: the same bytes must not be a manifest to one reader and an index to another.
  if (json.manifests !== undefined && (json.layers !== undefined || json.config !== undefined)) {
    throw bad('it has both `manifests` and `layers` or `config`');
  }
  if (json.schemaVersion !== 2) {
    throw bad(`schemaVersion is ${JSON.stringify(json.schemaVersion)?.slice(0, 20)}, not 2`);
  }
  const annotations = stringMap(json.annotations, 'annotations');
  const common = {
    schemaVersion: 2 as const,
    mediaType: type,
    ...(annotations === undefined ? {} : { annotations }),
  };
  if (isIndexType(type)) {
    const manifests = list(json.manifests, 'manifests', MAX_INDEX_ENTRIES);
    return {
      kind: 'index',
      index: { ...common, manifests: manifests.map((entry, i) => parseDescriptor(entry, `manifests[${i}]`)) },
    };
  }
  const artifactType = json.artifactType;
  if (artifactType !== undefined && typeof artifactType !== 'string') {
    throw bad('artifactType is not a string');
  }
  const layers = list(json.layers, 'layers', MAX_LAYERS);
  return {
    kind: 'manifest',
    manifest: {
      ...common,
      ...(artifactType === undefined ? {} : { artifactType }),
      config: parseDescriptor(json.config, 'config'),
      layers: layers.map((entry, i) => parseDescriptor(entry, `layers[${i}]`)),
    },
  };
}

/** @throws {IntegrityError} as {@link parseManifestDocument}, and when it is an index. */
export function parseManifest(bytes: Uint8Array, mediaType?: string): Manifest {
  const document = parseManifestDocument(bytes, mediaType);
  if (document.kind !== 'manifest') {
    throw bad('it is an index, where an image manifest is expected');
  }
  return document.manifest;
}

/** @throws {IntegrityError} as {@link parseManifestDocument}, and when it is an image manifest. */
export function parseIndex(bytes: Uint8Array, mediaType?: string): Index {
  const document = parseManifestDocument(bytes, mediaType);
  if (document.kind !== 'index') {
    throw bad('it is an image manifest, where an index is expected');
  }
  return document.index;
}

function documentType(json: JsonObject, given: string | undefined): string {
  const inside = json.mediaType;
  if (inside !== undefined && typeof inside !== 'string') {
    throw bad('mediaType is not a string');
  }
  const outside = given === undefined || isGeneric(given) ? undefined : given;
  if (isSchema1Type(outside ?? '') || isSchema1Type(inside ?? '') || json.schemaVersion === 1) {
    throw new IntegrityError('the image has only a Docker schema 1 manifest, which no current tool reads', {
      code: 'E_UNSUPPORTED_MEDIA_TYPE',
      hint: 'push the image again with a current tool',
    });
  }
  if (inside !== undefined && outside !== undefined && inside !== outside) {
    throw bad(`it calls itself '${inside.slice(0, 100)}' but came as '${outside.slice(0, 100)}'`);
  }
  const type = outside ?? inside ?? (json.manifests === undefined ? OCI_MANIFEST : OCI_INDEX);
  if (!isIndexType(type) && !isManifestType(type)) {
    throw new IntegrityError(`a manifest of type '${type.slice(0, 100)}' is not supported`, {
      code: 'E_UNSUPPORTED_MEDIA_TYPE',
      expected: [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].join(', '),
      actual: type.slice(0, 100),
    });
  }
  return type;
}

/** What servers without an idea of the content say. */
function isGeneric(mediaType: string): boolean {
  return ['', 'application/json', 'application/octet-stream', 'text/plain'].includes(mediaType);
}

function list(value: unknown, name: string, max: number): readonly unknown[] {
  if (!Array.isArray(value)) {
    throw bad(`${name} is not a list`);
  }
  if (value.length > max) {
    throw bad(`${name} has ${value.length} entries, more than ${max}`);
  }
  return value;
}

function bad(reason: string): IntegrityError {
  return new IntegrityError(`malformed manifest: ${reason}`, { code: 'E_BAD_MANIFEST' });
}
