/** A request for a Dockerfile with made-up surroundings: bases, web files and repositories that exist nowhere. */
import { sha256Hex } from '../../src/base/sha256.ts';
import { RemoteError } from '../../src/errors.ts';
import { type DockerfileGraph, dockerfileToGraph } from '../../src/frontend/dockerfile/convert.ts';
import type {
  BuildContext,
  DockerfileRequest,
  DockerfileResolver,
  NamedContext,
} from '../../src/frontend/dockerfile/request.ts';
import { sha256Digest } from '../../src/oci/digest.ts';
import type { ContainerConfig, HistoryEntry, ImageConfig } from '../../src/oci/image-config.ts';
import { parsePlatform } from '../../src/oci/platform.ts';
import { ignoringPattern, parseIgnoreFile } from '../../src/patterns/ignore-file.ts';

/** What a case of a golden folder says besides its Dockerfile. */
export interface DockerfileCase {
  readonly target?: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly platform?: string;
  readonly noCacheStages?: readonly string[];
  readonly network?: 'host' | 'none';
  readonly addHosts?: readonly (readonly [string, string])[];
  readonly allow?: readonly ('network.host' | 'security.insecure' | 'device')[];
  /** Base images by name: their configuration. Others have PATH and a shell. */
  readonly bases?: Readonly<Record<string, Partial<ImageConfig> & { readonly config?: ContainerConfig }>>;
  /** `directory:PATH`, `image:REFERENCE` or `stage:NAME` by name. */
  readonly contexts?: Readonly<Record<string, string>>;
  /** Sources that an ignore line hides. */
  readonly ignored?: readonly string[];
  /** Lines of an ignore file, for the same question. */
  readonly ignoreFile?: readonly string[];
  readonly noContext?: boolean;
  readonly sourceEpochSeconds?: number;
  readonly allStages?: boolean;
  readonly severalPlatforms?: boolean;
  readonly forced?: boolean;
}

export function convertCase(text: string, given: DockerfileCase = {}): Promise<DockerfileGraph> {
  return dockerfileToGraph(requestOf(text, given), resolverOf(given));
}

export function requestOf(text: string, given: DockerfileCase): DockerfileRequest {
  const context: BuildContext = {
    directory: { name: 'context', directory: '/context', ignore: undefined },
    ...(given.sourceEpochSeconds === undefined ? {} : { sourceEpochSeconds: given.sourceEpochSeconds }),
  };
  return {
    text,
    name: 'Dockerfile',
    ...(given.target === undefined ? {} : { target: given.target }),
    buildArgs: given.buildArgs ?? {},
    labels: given.labels ?? {},
    platform: parsePlatform(given.platform ?? 'linux/amd64'),
    platformAsked: given.platform !== undefined,
    buildPlatform: parsePlatform('linux/amd64'),
    severalPlatforms: given.severalPlatforms === true,
    context: given.noContext === true ? undefined : context,
    namedContexts: new Map<string, NamedContext>(
      Object.entries(given.contexts ?? {}).map(([name, spec]): [string, NamedContext] => {
        const colon = spec.indexOf(':');
        const rest = spec.slice(colon + 1);
        switch (spec.slice(0, colon)) {
          case 'directory':
            return [
              name,
              {
                kind: 'directory',
                context: { directory: { name, directory: rest, ignore: undefined } },
              },
            ];
          case 'stage':
            return [name, { kind: 'stage', name: rest }];
          default:
            return [name, { kind: 'image', reference: rest }];
        }
      }),
    ),
    forced: given.forced === true,
    noCacheStages: given.noCacheStages ?? [],
    network: given.network ?? 'host',
    extraHosts: given.addHosts ?? [],
    ulimits: [],
    devices: [],
    allow: new Set(given.allow ?? []),
    stepEnv: {},
    stepSecretEnv: [],
    stepGpus: [],
    definition: 'test',
    layer: 0,
    ...(given.allStages === true ? { allStages: true } : {}),
  };
}

const DEFAULT_HISTORY: readonly HistoryEntry[] = [{ created_by: 'base layer' }];

export function resolverOf(given: DockerfileCase): DockerfileResolver {
  return {
    resolveImage: async (reference, platform) => {
      if (reference.includes('missing')) {
        throw new RemoteError(`no such image: ${reference}`, { code: 'E_REGISTRY_NOT_FOUND' });
      }
      const base = given.bases?.[reference] ?? {};
      return {
        manifestDigest: sha256Digest(sha256Hex(reference)),
        config: {
          os: platform.os,
          architecture: platform.architecture,
          rootfs: { type: 'layers', diff_ids: [sha256Digest(sha256Hex(`${reference} layer`))] },
          history: DEFAULT_HISTORY,
          config: { Env: ['PATH=/bin'] },
          ...base,
        },
      };
    },
    resolveLayout: async ({ hostPath }, platform) => ({
      manifestDigest: sha256Digest(sha256Hex(hostPath)),
      config: {
        os: platform.os,
        architecture: platform.architecture,
        rootfs: { type: 'layers', diff_ids: [sha256Digest(sha256Hex(`${hostPath} layer`))] },
        history: DEFAULT_HISTORY,
      },
    }),
    resolveHttp: async (url) => ({
      url,
      digest: sha256Digest(sha256Hex(url)),
      name: new URL(url).pathname.split('/').at(-1) || '__unnamed__',
      mtimeSeconds: 1_700_000_000,
    }),
    resolveGit: async (source, wishes) => ({
      kind: 'source-git',
      remote: source.remote,
      commit: 'c'.repeat(40),
      ...(source.subdir === undefined ? {} : { subdir: source.subdir }),
      keepGitDir: wishes.keepGitDir ?? source.keepGitDir ?? false,
      submodules: source.submodules ?? true,
    }),
    gitTimeSeconds: async () => 1_600_000_000,
    ignoredBy: async (_directory, source) =>
      given.ignored?.includes(source) === true
        ? `/${source}`
        : ignoringPattern(parseIgnoreFile((given.ignoreFile ?? []).join('\n'), '.dockerignore'), source)
            ?.text,
  };
}
