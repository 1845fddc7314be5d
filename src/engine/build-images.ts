/**
 * What `build()` does, from top to bottom: definitions → graphs → results → blobs → manifests.
 *
 * Layers are written as blobs while later steps still run. A build of which everything is known starts no worker and asks
 * nobody.
 */
import { rfc3339 } from '../base/rfc3339.ts';
import { inlineMember } from '../cache/portable-cache.ts';
import type { BuildFacts } from '../content/image-records.ts';
import type { LayerBlob } from '../content/layer-records.ts';
import { DefinitionError, InternalError } from '../errors.ts';
import { BuiltImage, type BuiltLayer } from '../frontend/fluent/built-image.ts';
import type { Diagnostic } from '../frontend/fluent/diagnostic.ts';
import { type Image, recordAttempt } from '../frontend/fluent/image.ts';
import type { LayerDefinition, PlatformName } from '../frontend/fluent/layer-definition.ts';
import { callDiagnostics } from '../frontend/fluent/plan.ts';
import { type ImageGraph, toGraph } from '../frontend/fluent/to-graph.ts';
import type { Vertex } from '../graph/vertex.ts';
import { buildManifest, type ImageLayer } from '../image/manifest.ts';
import {
  type BlobWish,
  holdsLayer,
  type LayerContext,
  type LayerStore,
  type OnNewBlob,
} from '../layer/layer-store.ts';
import { hostPythonSeries } from '../local/host-python.ts';
import { FunctionReader } from '../local/read-function.ts';
import { randomName } from '../native/random-name.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { parseImageConfig } from '../oci/image-config.ts';
import { MAX_DOCUMENT_BYTES } from '../oci/json-document.ts';
import { parseManifest } from '../oci/manifest.ts';
import { formatPlatform, hostPlatform } from '../oci/platform.ts';
import type { BuildEvent, Emit } from '../solver/event.ts';
import type { LayerId } from '../solver/op.ts';
import { type KnownVertex, type Solution, solve } from '../solver/solve.ts';
import { type Annotation, annotationsOf } from './annotations.ts';
import { type Attempt, Attempts } from './attempts.ts';
import { resolveBaseImage } from './base-resolver.ts';
import { BuildValidation } from './build-validation.ts';
import { BuildWarnings, warningsOfFiles } from './build-warnings.ts';
import { inlineCache, portableIds } from './cache-export.ts';
import type { ImportedCaches } from './cache-import.ts';
import { Dockerfiles } from './dockerfiles.ts';
import { type OnError, stepFailures } from './failed-steps.ts';
import { imageId } from './image-id.ts';
import { resolveLayout } from './layouts.ts';
import { BuildInputs } from './local-inputs.ts';
import { makeOps } from './make-ops.ts';
import type { EngineParts } from './parts.ts';
import { withMounts } from './pending-mounts.ts';
import { shippedOnly } from './shipped-vertices.ts';
import { StepWarnings } from './step-warnings.ts';
import { resolveStored } from './stored-images.ts';
import { startAhead } from './worker-on-demand.ts';

export interface BuildImagesOptions {
  readonly signal: AbortSignal;
  /** Every layer anew, replacing what the cache knows. */
  readonly forceBuild?: boolean;
  /** Every layer anew, without touching the cache. Stands over `forceBuild`. */
  readonly ignoreCache?: boolean;
  /** Ask registries again what tags mean. */
  readonly pull?: boolean;
  readonly platform?: PlatformName;
  /** One for each image, which must then be built for it: a definition that names another platform is refused. */
  readonly platforms?: readonly PlatformName[];
  /** One for each image: names it between runs, so that a miss can be compared with the last time. */
  readonly definitions?: readonly string[];
  readonly onEvent?: (event: BuildEvent) => void;
  readonly concurrency?: number;
  /** Make pending local files a last layer. @defaultValue false */
  readonly materialise?: boolean;
  /** The same, one for each image. Stands over `materialise`. */
  readonly materialised?: readonly boolean[];
  /** @defaultValue zstd, level 3, base layers as they are */
  readonly wish?: BlobWish;
  /** Whether somebody wants the files of the images too, besides their blobs. @defaultValue false */
  readonly wantsFiles?: boolean;
  /** As {@link LayerContext} has it. */
  readonly onNewBlob?: OnNewBlob;
  /** Caches that are being read while graphs are made. What they promise is left where it is until somebody needs it. */
  readonly imported?: Promise<ImportedCaches>;
  /** Put records of each image into its config. @defaultValue false */
  readonly inlineCache?: boolean;
  /** What becomes of a step that fails. @defaultValue fail */
  readonly onError?: OnError;
  /** Of the manifests. */
  readonly annotations?: readonly Annotation[];
}

export interface BuiltRecord {
  readonly image: BuiltImage;
  readonly id: string;
  readonly layers: readonly LayerId[];
  readonly manifestDescriptor: Descriptor;
  readonly configDigest: Digest;
  /** What an export of the cache needs to know. */
  readonly portable: {
    readonly id: string;
    readonly created: string;
    readonly known: readonly KnownVertex[];
  };
}

export const DEFAULT_WISH: BlobWish = { compression: 'zstd', level: 3, keepSource: true };

/** Solved images, before anything is compressed. */
export interface SolvedImage {
  readonly source: Image;
  readonly graph: ImageGraph;
  readonly id: string;
  readonly layers: readonly LayerId[];
  readonly builtLayers: readonly BuiltLayer[];
  readonly known: readonly KnownVertex[];
  /** Of the definition, and of its steps that ran. */
  readonly diagnostics: readonly Diagnostic[];
}

/** Definitions → results, with everything that a step needs; nothing is compressed but what `blobs` asks for. */
export async function solveImages(
  parts: EngineParts,
  images: readonly Image[],
  options: BuildImagesOptions,
  blobs?: {
    readonly wish: BlobWish;
    /** Told of every stack as soon as it is there. */
    readonly onLayers: (layers: readonly LayerId[], emit: Emit) => void;
  },
): Promise<{
  readonly solved: readonly SolvedImage[];
  readonly context: LayerContext;
  readonly inputs: BuildInputs;
}> {
  const { signal } = options;
  const stepWarnings = new StepWarnings();
  const attempts = new Attempts(parts.store);
  const onEvent = (event: BuildEvent) => {
    stepWarnings.hear(event);
    attempts.see(event);
    parts.onEvent(event);
    options.onEvent?.(event);
  };
  const emit: Emit = (event) => onEvent({ timeMs: parts.now(), ...event } as BuildEvent);
  const { settings, store, now } = parts;
  const validation = new BuildValidation(settings.buildValidation, now(), store.dir);
  const inputs = new BuildInputs(store.stats, now, {
    check: validation.check,
    scans: store.scans,
    onChanged: () => startAhead(parts.worker),
  });
  const mode = options.ignoreCache === true ? 'ignore' : options.forceBuild === true ? 'force' : 'use';
  await using dockerfiles = new Dockerfiles(parts, {
    signal,
    emit,
    again: mode !== 'use' || options.pull === true,
    severalPlatforms: new Set(options.platforms).size > 1,
    onContext: (context) => inputs.expect(context, signal),
  });
  const reader = new FunctionReader(parts.environment);
  const graphs = await Promise.all(
    images.map((image, index) =>
      graphOf(
        parts,
        image,
        forImage(options, index),
        { inputs, dockerfiles, reader },
        mode !== 'use',
        options.definitions?.[index],
      ),
    ),
  );
  await options.imported;
  const warnings = new BuildWarnings(emit);
  // What the calls say and the checks found may be why a step fails.
  for (const [index, graph] of graphs.entries()) {
    warnings.add(index, callDiagnostics(graph.layers));
    warnings.add(
      index,
      graph.diagnostics.filter(({ source }) => source !== undefined),
    );
  }
  const tips = graphs.map((graph) => graph.tip.vertex);
  let attempted: readonly Attempt[] = [];
  const attemptsOf = (resultIds: ReadonlyMap<Digest, string>) =>
    graphs.map(
      (graph): Attempt => ({
        graph,
        ids: layerIds(graph, resultIds),
        methods: graph.layers.map(({ method }) => method),
      }),
    );
  const failures = stepFailures(parts, options.onError ?? 'fail');
  const isShippedOnly = shippedOnly(tips);
  const shipped =
    blobs === undefined || options.wantsFiles === true || !holdsLayer(blobs.wish)
      ? {}
      : { shipped: (vertex: Vertex) => (isShippedOnly(vertex) ? blobs.wish : undefined) };
  const solution = await solve(tips, {
    ops: makeOps(parts, graphs, inputs, dockerfiles.openSources, dockerfiles.given, reader, {
      ...(failures === undefined ? {} : { failures }),
      ...shipped,
      onNewBlob: options.onNewBlob,
    }),
    cache: parts.cache,
    jobs: options.concurrency ?? parts.jobs,
    signal,
    onEvent,
    now: parts.now,
    generation: randomName,
    cacheMode: mode,
    onKeys: (resultIds) => {
      // A failed attempt has ids too: logs are found by them.
      attempts.know(resultIds);
      attempted = attemptsOf(resultIds);
      for (const [index, { ids, methods }] of attempted.entries()) {
        // Pending files that are made a layer are no part of the definition.
        const own = ids.slice(0, methods.length);
        const layers = own.map((id, layer) => ({
          id,
          method: methods[layer] ?? '',
          cached: false,
          durationMs: 0,
        }));
        recordAttempt(images[index] as Image, { id: own.at(-1) ?? '', layers });
      }
    },
    onResult: (vertex, { result, resultId }) => {
      attempts.know(new Map([[vertex.digest, resultId]]));
      if (result.kind === 'rootfs') {
        blobs?.onLayers(result.layers, emit);
      }
    },
  }).catch((error: unknown) => {
    throw attempts.failed(error, attempted);
  });
  attempts.know(solution.resultIds);
  attempts.succeeded(attemptsOf(solution.resultIds));
  for (const [index, { layers, diagnostics }] of graphs.entries()) {
    warnings.add(
      index,
      diagnostics.filter(({ source }) => source === undefined),
    );
    warnings.add(index, await warningsOfFiles(layers, (input) => inputs.scan(input, signal)));
    warnings.add(index, validation.diagnostics);
  }
  const solved = images.map((image, index) =>
    describe(
      image,
      withDiagnostics(graphs[index] as ImageGraph, warnings.ofImage(index), stepWarnings),
      solution,
    ),
  );
  return { solved, context: { signal, emit }, inputs };
}

/** Options with what holds for one image. */
function forImage(options: BuildImagesOptions, index: number): BuildImagesOptions {
  const platform = options.platforms?.[index];
  const materialise = options.materialised?.[index];
  return {
    ...options,
    ...(platform === undefined ? {} : { platform }),
    ...(materialise === undefined ? {} : { materialise }),
  };
}

/** @throws what a step, a registry or the host throws; `signal.reason` on cancellation. */
export async function buildImages(
  parts: EngineParts,
  images: readonly Image[],
  options: BuildImagesOptions,
): Promise<readonly BuiltRecord[]> {
  const wish = options.wish ?? DEFAULT_WISH;
  const blobOf: LayerStore['ensureBlob'] = (layer, ...rest) =>
    options.imported === undefined
      ? parts.layers.ensureBlob(layer, ...rest)
      : parts.layers.describeBlob(layer, ...rest);
  // Work on layers is begun as soon as they are there, and stops when the build fails.
  const early = new AbortController();
  const signal = AbortSignal.any([options.signal, early.signal]);
  const started = new Map<LayerId, Promise<unknown>>();
  try {
    const onLayers = (layers: readonly LayerId[], emit: Emit) => {
      for (const [index, layer] of layers.entries()) {
        // The layers below a result have had their turn, mostly.
        if (!started.has(layer)) {
          // The next step is told first: everything waits for that, and for a blob only the end.
          const ahead = new Promise((resolve) => setImmediate(resolve)).then(() =>
            blobOf(layer, layers.slice(0, index), wish, { signal, emit, onNewBlob: options.onNewBlob }),
          );
          started.set(layer, ahead);
          // A failure shows up again where the blobs are needed.
          ahead.catch(() => undefined);
        }
      }
    };
    const outcome = await solveImages(parts, images, options, { wish, onLayers });
    const built: BuiltRecord[] = [];
    for (const solved of outcome.solved) {
      const blobs = await Promise.all(
        solved.layers.map((layer, index) =>
          blobOf(layer, solved.layers.slice(0, index), wish, outcome.context),
        ),
      );
      built.push(await finish(parts, solved, blobs, options, (await options.imported)?.created));
    }
    return built;
  } catch (error) {
    early.abort(error);
    await Promise.allSettled(started.values());
    throw error;
  }
}

async function graphOf(
  parts: EngineParts,
  image: Image,
  options: BuildImagesOptions,
  {
    inputs,
    dockerfiles,
    reader,
  }: { readonly inputs: BuildInputs; readonly dockerfiles: Dockerfiles; readonly reader: FunctionReader },
  forced: boolean,
  definition: string | undefined,
): Promise<ImageGraph> {
  const { signal } = options;
  const { blobs, images } = parts.store;
  const again = forced || options.pull === true;
  const graph = await toGraph(image, options.platform === undefined ? {} : { platform: options.platform }, {
    settings: parts.settings,
    platform: formatPlatform(hostPlatform()) as PlatformName,
    hostPython: () => hostPythonSeries(parts.environment),
    scan: (input) => inputs.scan(input, signal),
    readDockerfile: (declaration) => dockerfiles.read(declaration),
    convertDockerfile: dockerfiles.convert,
    readFunction: (carried) => reader.read(carried),
    resolver: {
      resolveImage: (reference, platform, { login, refresh }) =>
        resolveBaseImage({ blobs, images, registries: parts.registries }, reference, platform, {
          again: again || refresh,
          login,
          signal,
        }),
      resolveStored: (image, platform) => resolveStored(parts, image, platform),
      resolveOciLayout: (layout, platform) => resolveLayout(parts.store, layout, platform, signal),
    },
    ...(definition === undefined ? {} : { definition }),
    ...(again ? { refresh: true } : {}),
  });
  const { platforms, platform: asked } = options;
  if (platforms !== undefined && formatPlatform(graph.platform) !== asked) {
    throw new DefinitionError(
      `the definition is for ${formatPlatform(graph.platform)} and cannot be built for ${asked}`,
      { code: 'E_NO_PLATFORM', hint: 'leave the platform out of the definition, or ask for that one only' },
    );
  }
  for (const input of [...graph.localInputs.values(), ...graph.contextInputs.values()]) {
    inputs.add(input);
  }
  return options.materialise === true && graph.mounts.length > 0 ? withMounts(graph, inputs) : graph;
}

/** All that is worth saying about an image is its graph's from then on. */
function withDiagnostics(graph: ImageGraph, known: readonly Diagnostic[], steps: StepWarnings): ImageGraph {
  return { ...graph, diagnostics: [...known, ...steps.of(graph)] };
}

function describe(source: Image, graph: ImageGraph, { solved, resultIds, known }: Solution): SolvedImage {
  const tip = solved.get(graph.tip.vertex.digest);
  if (tip === undefined || tip.result.kind !== 'rootfs') {
    throw new InternalError('the tip of an image has no root filesystem');
  }
  const ids = layerIds(graph, resultIds);
  const builtLayers = graph.layerVertices.map((vertices, index): BuiltLayer => {
    const ran = vertices
      .map((each) => solved.get(each.digest))
      .filter((outcome) => outcome?.cached === false);
    return {
      id: ids[index] ?? '',
      method: graph.layers[index]?.method ?? 'addLocal',
      // An image of the store was built before.
      cached: ran.length === 0 || (index === 0 && graph.storedId !== undefined),
      durationMs: ran.reduce((sum, outcome) => sum + (outcome?.durationMs ?? 0), 0),
    };
  });
  const id = ids.at(-1) ?? '';
  recordAttempt(source, {
    id: ids[graph.layers.length - 1] ?? '',
    layers: builtLayers.slice(0, graph.layers.length),
  });
  const { layers } = tip.result;
  return { source, graph, id, layers, builtLayers, known, diagnostics: graph.diagnostics };
}

/** Of every call of the chain, the base's first. */
function layerIds(graph: ImageGraph, resultIds: ReadonlyMap<Digest, string>): readonly string[] {
  const ids: string[] = [];
  for (const [index, vertices] of graph.layerVertices.entries()) {
    if (index === 0 && graph.storedId !== undefined) {
      ids.push(graph.storedId);
      continue;
    }
    const results = vertices.map((each) => resultIds.get(each.digest) ?? '');
    const other = graph.otherConfigs.get(index);
    const config = other === undefined ? configLines(graph.layers[index]) : [other];
    ids.push(imageId(ids.at(-1) ?? '', { results, config }));
  }
  return ids;
}

/** What a call changes in the configuration; its steps on the root filesystem are covered by their results. */
function configLines(layer: LayerDefinition | undefined): readonly string[] {
  return (layer?.steps ?? []).flatMap((step) =>
    step.kind === 'config' || step.kind === 'workdir' ? [step.text] : [],
  );
}

async function finish(
  parts: EngineParts,
  solved: SolvedImage,
  blobs: readonly LayerBlob[],
  options: BuildImagesOptions,
  importedTimes: ReadonlyMap<string, string> | undefined,
): Promise<BuiltRecord> {
  const { store } = parts;
  if (solved.id === solved.graph.storedId) {
    return await asStored(parts, solved);
  }
  const { source, graph, id, layers, builtLayers, known, diagnostics } = solved;
  const portableId = layerIds(graph, portableIds(known)).at(-1) ?? '';
  const stored = store.images.get(id);
  const before = stored?.config.created ?? importedTimes?.get(id);
  const created = createdAt(parts, graph.sourceDateEpoch, before);
  const portable = { id: portableId, created, known };
  const manifest = buildManifest({
    layers: imageLayers(blobs),
    config: graph.config,
    platform: graph.platform,
    created,
    history: graph.history.map((entry) => (entry.created === undefined ? { created, ...entry } : entry)),
    annotations: annotationsOf(options.annotations ?? [], 'manifest', graph.platform),
    ...(graph.author === undefined ? {} : { author: graph.author }),
    ...(options.inlineCache === true
      ? {
          extra: inlineMember(
            inlineCache(
              parts,
              {
                known,
                images: [{ id: portableId, created }],
                definitions: options.definitions ?? [],
              },
              layers,
            ),
          ),
        }
      : {}),
  });
  await Promise.all([store.blobs.put(manifest.configBytes), store.blobs.put(manifest.manifestBytes)]);
  const config = parseImageConfig(manifest.configBytes);
  const platform = formatPlatform(graph.platform);
  store.images.put({
    id,
    manifestDigest: manifest.manifestDescriptor.digest,
    configDigest: manifest.configDescriptor.digest,
    platform,
    layers,
    config,
    build: factsOf(source, builtLayers, stored?.build),
  });
  return {
    image: BuiltImage.of(source, {
      id,
      digest: manifest.manifestDescriptor.digest,
      configDigest: manifest.configDescriptor.digest,
      manifestDescriptor: manifest.manifestDescriptor,
      config,
      layers: builtLayers,
      diagnostics,
    }),
    id,
    layers,
    manifestDescriptor: manifest.manifestDescriptor,
    configDigest: manifest.configDescriptor.digest,
    portable,
  };
}

/** What was there before says how long it took; a build that ran nothing does not know. */
function factsOf(
  { recipeHash: recipe }: Image,
  builtLayers: readonly BuiltLayer[],
  before: BuildFacts | undefined,
): BuildFacts {
  const ranNothing = builtLayers.every(({ cached }) => cached);
  const isSame =
    before?.recipe === recipe &&
    before.layers.length === builtLayers.length &&
    before.layers.every(
      ({ id, method }, index) => id === builtLayers[index]?.id && method === builtLayers[index].method,
    );
  return before !== undefined && isSame && ranNothing
    ? before
    : { recipe, layers: builtLayers.map(({ id, method, durationMs }) => ({ id, method, durationMs })) };
}

/** Nothing was added to an image of the store: it stays what it is, to the byte. */
async function asStored({ store, now }: EngineParts, solved: SolvedImage): Promise<BuiltRecord> {
  const { source, id, layers, builtLayers, known, diagnostics } = solved;
  const record = store.images.get(id);
  if (record === undefined) {
    throw new InternalError(`the image '${id}' left the store while it was looked at`);
  }
  const { manifestDigest, configDigest, config } = record;
  const bytes = await store.blobs.read(manifestDigest, MAX_DOCUMENT_BYTES);
  const { mediaType } = parseManifest(bytes);
  const manifestDescriptor = { mediaType, digest: manifestDigest, size: bytes.length };
  const created = config.created ?? rfc3339(Math.floor(now() / 1000));
  return {
    image: BuiltImage.of(source, {
      id,
      digest: manifestDigest,
      configDigest,
      manifestDescriptor,
      config,
      layers: builtLayers,
      diagnostics,
    }),
    id,
    layers,
    manifestDescriptor,
    configDigest,
    portable: { id, created, known },
  };
}

/** Blobs of a stack as a manifest wants them. */
export function imageLayers(blobs: readonly LayerBlob[]): readonly ImageLayer[] {
  return blobs.map(({ mediaType, digest, sizeBytes, diffId, annotations }) => ({
    descriptor: {
      mediaType,
      digest,
      size: sizeBytes,
      ...(annotations === undefined ? {} : { annotations }),
    },
    diffId,
  }));
}

/** SOURCE_DATE_EPOCH, or when this image was first built here, or now. Whole seconds. */
function createdAt(
  { environment, now }: EngineParts,
  ofBuild: number | undefined,
  before: string | undefined,
): string {
  const epoch = ofBuild ?? sourceDateEpoch(environment);
  return epoch === undefined ? (before ?? rfc3339(Math.floor(now() / 1000))) : rfc3339(epoch);
}

/** Seconds. Source: reproducible-builds.org, "SOURCE_DATE_EPOCH". */
export function sourceDateEpoch(environment: NodeJS.ProcessEnv): number | undefined {
  const text = environment.SOURCE_DATE_EPOCH;
  return text !== undefined && /^\d{1,12}$/.test(text) ? Number(text) : undefined;
}
