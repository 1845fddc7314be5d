/** Introduces the ops to one build. */
import { InternalError } from '../errors.ts';
import type { ImageGraph } from '../frontend/fluent/to-graph.ts';
import type { Volume } from '../frontend/fluent/volume.ts';
import { idOfBuildSecret } from '../graph/secret-id.ts';
import type { Vertex } from '../graph/vertex.ts';
import { FunctionReader } from '../local/read-function.ts';
import { randomName } from '../native/random-name.ts';
import { type BuildOpOptions, buildOp } from '../ops/build.ts';
import { mergeOp } from '../ops/merge.ts';
import type { OpTools, SecretValues, VolumeUses } from '../ops/op-context.ts';
import { scratchOp } from '../ops/scratch.ts';
import { sourceDebianOp } from '../ops/source-debian.ts';
import { sourceGitOp } from '../ops/source-git.ts';
import { sourceHttpOp } from '../ops/source-http.ts';
import { sourceImageOp, sourceOciLayoutOp } from '../ops/source-image.ts';
import { sourceLocalOp } from '../ops/source-local.ts';
import { sourcePythonOp } from '../ops/source-python.ts';
import { sourceStoredOp } from '../ops/source-stored.ts';
import { sourceToolOp } from '../ops/source-tool.ts';
import { readSecret, type Secret, type SecretContents, type SecretSources } from '../secret/secret.ts';
import type { Ops } from '../solver/solve.ts';
import { ensureExecutable } from './executable.ts';
import { functionCalls } from './functions.ts';
import type { GivenById } from './given-by-id.ts';
import type { BuildInputs } from './local-inputs.ts';
import type { EngineParts } from './parts.ts';
import { repositoryOfText } from './registries.ts';
import type { RemoteSources } from './remote-sources.ts';
import { standalonePythonArchive } from './standalone-python.ts';
import { fetchTool, toolImage } from './tools.ts';
import { startAhead } from './worker-on-demand.ts';

/** What steps see of the build, and no key does (Image API, B11.2). */
const LENT_ENV = { TSBUILD_IS_CONTAINER: '1', TSBUILD_IS_BUILD: '1' };

/** @param openSources - Gives what the graphs' web files and commits were resolved by; called when a step reads one. */
export function makeOps(
  parts: EngineParts,
  graphs: readonly Pick<ImageGraph, 'secrets' | 'volumes' | 'debianMirrors' | 'functions'>[],
  inputs: BuildInputs,
  openSources: () => Promise<RemoteSources>,
  given: GivenById,
  reader: FunctionReader = new FunctionReader(parts.environment),
  { failures, shipped, onNewBlob }: Pick<BuildOpOptions, 'failures' | 'shipped' | 'onNewBlob'> = {},
): Ops {
  const { store, layers, worker, settings } = parts;
  const tools: OpTools = {
    storeDir: store.dir,
    layers,
    records: store.layers,
    worker,
    ensureExecutable: (platform, stack, context) => ensureExecutable(parts, platform, stack, context),
  };
  const mirrors = new Map(graphs.flatMap((graph) => [...graph.debianMirrors]));
  return {
    scratch: scratchOp,
    merge: mergeOp,
    'source-http': sourceHttpOp,
    'source-git': sourceGitOp({
      ...tools,
      scratchDir: store.scratchDir(randomName()),
      checkout: async (source, directory, context) =>
        (await (await openSources()).git.checkout(source, directory, context)).path,
    }),
    build: buildOp({
      ...tools,
      inputs,
      httpFiles: {
        contents: async (file, context) => await (await openSources()).http.contents(file, context),
      },
      secrets: secretsOf(graphs, parts.secretSources, given),
      agents: given.agent,
      volumes: volumesOf(parts, graphs),
      functions: functionCalls(reader, inputs, new Map(graphs.flatMap((graph) => [...graph.functions]))),
      lentEnv: LENT_ENV,
      scratchFile: (name) => store.scratchFile(name),
      gpuPolicy: settings.gpuPolicy,
      programs: parts.programs,
      ...(failures === undefined ? {} : { failures }),
      ...(shipped === undefined ? {} : { shipped }),
      onNewBlob,
    }),
    'source-local': sourceLocalOp(inputs, () => startAhead(worker)),
    'source-image': sourceImageOp({ blobs: store.blobs, layers }, repositoryOfText),
    'source-oci-layout': sourceOciLayoutOp({ blobs: store.blobs, layers }),
    'source-stored': sourceStoredOp,
    'source-debian': sourceDebianOp({
      ...tools,
      offline: settings.offline,
      mirrorOf: (vertex) => {
        // An ordinary mirror has no snapshots.
        const ofNow = vertex.operation.kind === 'source-debian' && vertex.operation.snapshot === undefined;
        return mirrors.get(vertex.digest) ?? (ofNow ? settings.aptMirror : undefined);
      },
    }),
    'source-python': sourcePythonOp({
      ...tools,
      scratchDir: store.scratchDir(randomName()),
      archive: (source, context) =>
        standalonePythonArchive(parts, async () => (await openSources()).http, source, context),
    }),
    'source-tool': sourceToolOp({
      ...tools,
      scratchDir: store.scratchDir(randomName()),
      fetch: (tool, directory, context) => fetchTool(parts, tool, directory, context),
      ...(settings.uvSource === 'registry'
        ? { image: (vertex: Vertex, signal: AbortSignal) => toolImage(parts, vertex, signal) }
        : {}),
    }),
  };
}

function volumesOf({ volumes }: EngineParts, graphs: readonly Pick<ImageGraph, 'volumes'>[]): VolumeUses {
  const all = new Map<string, Volume>(graphs.flatMap((graph) => [...graph.volumes]));
  return (id) => {
    const volume = all.get(id);
    if (volume === undefined) {
      throw new InternalError(`the graph names a volume that the build does not have: '${id}'`);
    }
    return volumes.use(volume);
  };
}

function secretsOf(
  graphs: readonly Pick<ImageGraph, 'secrets'>[],
  sources: SecretSources,
  given: GivenById,
): SecretValues {
  const all = new Map<string, Secret>(graphs.flatMap((graph) => [...graph.secrets]));
  /** Once a build: opening a sealed one takes its time. */
  const read = new Map<string, Promise<SecretContents>>();
  return async (secretId) => {
    const id = idOfBuildSecret(secretId);
    if (id !== undefined) {
      return await given.secret(id);
    }
    const secret = all.get(secretId);
    if (secret === undefined) {
      throw new InternalError(`the graph names a secret that the build does not have: '${secretId}'`);
    }
    const content = read.get(secretId) ?? readSecret(secret, sources);
    read.set(secretId, content);
    return { kind: 'variables', ...(await content) };
  };
}
