/**
 * What a Dockerfile takes of its contexts, as far as that is known without a network: the same conversion as a build's, on
 * bases of which nothing is known. A source that needs a variable of such a base is left to the build (B9 of the Image API).
 */
import { posix } from 'node:path';
import { sha256Hex } from '../base/sha256.ts';
import { DefinitionError } from '../errors.ts';
import type { ContextInput } from '../frontend/dockerfile/context-input.ts';
import { type DockerfileGraph, dockerfileToGraph } from '../frontend/dockerfile/convert.ts';
import type { DockerfileDeclaration } from '../frontend/dockerfile/declaration.ts';
import type { NamedContextSpec } from '../frontend/dockerfile/named-context.ts';
import type { DockerfileResolver, StageBeginning } from '../frontend/dockerfile/request.ts';
import type { ContextsOf, PlannedContext } from '../frontend/fluent/plan-contexts.ts';
import { firstOutput, vertex } from '../graph/vertex.ts';
import type { ContextFiles } from '../local/found-context.ts';
import { sha256Digest } from '../oci/digest.ts';
import type { ImageConfig } from '../oci/image-config.ts';
import type { Platform } from '../oci/platform.ts';
import type { Dockerfiles } from './dockerfiles.ts';
import type { BuildInputs } from './local-inputs.ts';

const NOTHING: PlannedContext = {
  files: new Map(),
  given: new Map(),
  warnings: [],
  rootOnlyPatterns: [],
  complete: false,
};

export function contextsOf(dockerfiles: Dockerfiles, inputs: BuildInputs, signal: AbortSignal): ContextsOf {
  return async (declaration, { platform, environment, layer, continues }) => {
    const { kind } = declaration.context;
    if (kind === 'remote' || kind === 'stream') {
      return NOTHING;
    }
    const begin = continues ? { begin: beginningOf(platform, environment) } : {};
    const request = await dockerfiles.request(withLocalContexts(declaration), {
      ...begin,
      platform,
      platformAsked: true,
      forced: false,
      secretEnv: [],
      definition: '',
      layer,
    });
    let graph: DockerfileGraph;
    try {
      graph = await dockerfileToGraph(request, OFFLINE);
    } catch (error) {
      // `${NAME:?}` fails here, though the base may well set it.
      if (error instanceof DefinitionError && error.code === 'E_DOCKERFILE_VARIABLE') {
        return NOTHING;
      }
      throw error;
    }
    const known = knownInputs(graph);
    const scans = await Promise.all(
      known.map(async (input) => [input, await inputs.contextFiles(input, signal)] as const),
    );
    return {
      ...plannedFiles(scans),
      warnings: graph.warnings,
      complete: known.length === graph.contextInputs.size,
      rootOnlyPatterns: [...new Set(scans.flatMap(([, { rootOnlyPatterns }]) => rootOnlyPatterns))],
    };
  };
}

/** Without those of instructions that name a variable which nothing sets here. */
function knownInputs({ contextInputs, findings }: DockerfileGraph): readonly ContextInput[] {
  const unknown = new Set(
    findings.flatMap(({ rule, location }) => (rule === 'UndefinedVar' ? [location?.startLine] : [])),
  );
  return [...contextInputs.values()].filter(({ place }) => !unknown.has(place?.location.startLine));
}

function plannedFiles(
  scans: readonly (readonly [ContextInput, ContextFiles])[],
): Pick<PlannedContext, 'files' | 'given'> {
  const files = new Map<string, { sha256: string; mode: number; link?: string; hostPath?: string }>();
  const given = new Map<string, { sha256: string; mode: number; sizeBytes: number; hostPath?: string }>();
  for (const [{ name, files: ofOptions = {} }, { files: found, summary }] of scans) {
    const parents = new Set(found.map(({ path }) => posix.dirname(path)));
    const prefix = name === 'context' || name === 'contextMount' ? '' : `${name}:`;
    for (const file of found) {
      const { path, mode } = file;
      if (file.kind === 'directory') {
        if (!parents.has(path)) {
          files.set(`${prefix}${path}/`, { sha256: sha256Hex(''), mode });
        }
      } else if (file.kind === 'symlink') {
        const { link = '' } = file;
        files.set(prefix + path, { sha256: sha256Hex(link), mode, link });
      } else {
        const sha256 = (summary[path] ?? '').split(' ')[1] ?? '';
        if (prefix === '' && Object.hasOwn(ofOptions, path)) {
          given.set(path, { sha256, mode, sizeBytes: file.expect?.sizeBytes ?? 0, ...located(file) });
        } else {
          files.set(prefix + path, { sha256, mode, ...located(file) });
        }
      }
    }
  }
  return { files, given };
}

function located({ hostPath }: ContextFiles['files'][number]): { readonly hostPath?: string } {
  return hostPath === undefined ? {} : { hostPath };
}

/** What is elsewhere is an image of which nothing is known, like any other. */
function withLocalContexts(declaration: DockerfileDeclaration): DockerfileDeclaration {
  const entries = Object.entries(declaration.contexts).map(([name, spec]): [string, NamedContextSpec] =>
    spec.kind === 'remote' ? [name, { kind: 'image', reference: 'remote' }] : [name, spec],
  );
  return { ...declaration, contexts: Object.fromEntries(entries) };
}

function beginningOf(platform: Platform, environment: ReadonlyMap<string, string>): StageBeginning {
  return {
    tip: firstOutput(vertex({ kind: 'scratch' }, [], { platform, label: 'base' })),
    history: [],
    config: unknownImage(
      platform,
      [...environment].map(([name, value]) => `${name}=${value}`),
    ),
  };
}

function unknownImage({ os, architecture }: Platform, env: readonly string[]): ImageConfig {
  return {
    os,
    architecture,
    config: { Env: env },
    rootfs: { type: 'layers', diff_ids: [sha256Digest(sha256Hex('unknown'))] },
    history: [{ created_by: 'unknown' }],
  };
}

const UNKNOWN_DIGEST = sha256Digest(sha256Hex('unknown'));

const OFFLINE: DockerfileResolver = {
  resolveImage: async (_reference, platform) => ({
    manifestDigest: UNKNOWN_DIGEST,
    config: unknownImage(platform, []),
  }),
  resolveLayout: async (_layout, platform) => ({
    manifestDigest: UNKNOWN_DIGEST,
    config: unknownImage(platform, []),
  }),
  resolveHttp: async (url) => ({ url, digest: UNKNOWN_DIGEST, name: 'download', mtimeSeconds: 0 }),
  resolveGit: async ({ remote }) => ({
    kind: 'source-git',
    remote,
    commit: '0'.repeat(40),
    keepGitDir: false,
    submodules: false,
  }),
  gitTimeSeconds: async () => 0,
  ignoredBy: async () => undefined,
};
