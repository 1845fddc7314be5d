import { IntegrityError } from '../errors.ts';
import { type Digest, parseDigest } from './digest.ts';
import { isObject, malformed, parseJsonObject, stringList, stringMap } from './json-document.ts';
import { DOCKER_CONFIG, OCI_CONFIG } from './media-type.ts';

/** Source: OCI image-spec v1.1, `config.md`. `Shell`, `Healthcheck` and `OnBuild` are Docker's; others survive a round trip. */
export interface ContainerConfig {
  readonly User?: string;
  readonly ExposedPorts?: Readonly<Record<string, Record<string, never>>>;
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[] | null;
  readonly Cmd?: readonly string[] | null;
  readonly Volumes?: Readonly<Record<string, Record<string, never>>>;
  readonly WorkingDir?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
  readonly Shell?: readonly string[];
  readonly [docker: string]: unknown;
}

export interface HistoryEntry {
  readonly created?: string;
  readonly created_by?: string;
  readonly author?: string;
  readonly comment?: string;
  readonly empty_layer?: boolean;
}

export interface ImageConfig {
  readonly created?: string;
  readonly author?: string;
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
  readonly config?: ContainerConfig;
  readonly rootfs: { readonly type: 'layers'; readonly diff_ids: readonly Digest[] };
  readonly history?: readonly HistoryEntry[];
  readonly [other: string]: unknown;
}

/** Members of `config` that are lists of strings. Docker writes null for an empty one. */
const STRING_LISTS = ['Env', 'Entrypoint', 'Cmd', 'Shell', 'OnBuild'] as const;
const STRINGS = ['User', 'WorkingDir', 'StopSignal'] as const;
/** Sets of strings are maps to empty objects, as Go writes them. */
const STRING_SETS = ['ExposedPorts', 'Volumes'] as const;
const MAX_DIFF_IDS = 4096;

/**
 * Parses an image config. Members that are null count as absent; members that we do not know are kept.
 *
 * @throws {IntegrityError} `E_BAD_MANIFEST`
 */
export function parseImageConfig(bytes: Uint8Array, mediaType?: string): ImageConfig {
  if (mediaType !== undefined && mediaType !== OCI_CONFIG && mediaType !== DOCKER_CONFIG) {
    throw new IntegrityError(`not an image: its config has the type '${mediaType.slice(0, 100)}'`, {
      code: 'E_UNSUPPORTED_MEDIA_TYPE',
      expected: OCI_CONFIG,
      actual: mediaType.slice(0, 100),
    });
  }
  const json = withoutNulls(parseJsonObject(bytes, 'image config'));
  for (const name of ['os', 'architecture'] as const) {
    if (typeof json[name] !== 'string') {
      throw malformed('image config', `${name} is not a string`);
    }
  }
  for (const name of ['created', 'author', 'variant'] as const) {
    if (json[name] !== undefined && typeof json[name] !== 'string') {
      throw malformed('image config', `${name} is not a string`);
    }
  }
  const rootfs = json.rootfs;
  if (!isObject(rootfs) || rootfs.type !== 'layers') {
    throw malformed('image config', "rootfs is not of the type 'layers'");
  }
  // A Docker image without layers has null here.
  const diffIds = rootfs.diff_ids ?? [];
  if (!Array.isArray(diffIds) || diffIds.length > MAX_DIFF_IDS) {
    throw malformed('image config', 'rootfs.diff_ids is not a list, or too long');
  }
  const config = json.config === undefined ? undefined : parseContainerConfig(json.config);
  const history = json.history === undefined ? undefined : parseHistory(json.history);
  return {
    ...(json as unknown as ImageConfig),
    rootfs: { type: 'layers', diff_ids: diffIds.map(parseDigest) },
    ...(config === undefined ? {} : { config }),
    ...(history === undefined ? {} : { history }),
  };
}

function parseContainerConfig(value: unknown): ContainerConfig {
  if (!isObject(value)) {
    throw malformed('image config', 'config is not an object');
  }
  const config = withoutNulls(value);
  for (const name of STRING_LISTS) {
    stringList(config[name], `image config: config.${name}`);
  }
  for (const name of STRINGS) {
    if (config[name] !== undefined && typeof config[name] !== 'string') {
      throw malformed('image config', `config.${name} is not a string`);
    }
  }
  for (const name of STRING_SETS) {
    if (config[name] !== undefined && !isObject(config[name])) {
      throw malformed('image config', `config.${name} is not a map`);
    }
  }
  stringMap(config.Labels, 'image config: config.Labels');
  return config as ContainerConfig;
}

function parseHistory(value: unknown): readonly HistoryEntry[] {
  if (!Array.isArray(value)) {
    throw malformed('image config', 'history is not a list');
  }
  return value.map((entry) => {
    if (!isObject(entry)) {
      throw malformed('image config', 'an entry of history is not an object');
    }
    const { empty_layer: emptyLayer } = entry;
    if (emptyLayer !== undefined && emptyLayer !== null && typeof emptyLayer !== 'boolean') {
      throw malformed('image config', 'empty_layer is not a boolean');
    }
    for (const name of ['created', 'created_by', 'author', 'comment'] as const) {
      if (entry[name] !== undefined && entry[name] !== null && typeof entry[name] !== 'string') {
        throw malformed('image config', `history: ${name} is not a string`);
      }
    }
    return withoutNulls(entry) as HistoryEntry;
  });
}

function withoutNulls(value: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== null));
}
