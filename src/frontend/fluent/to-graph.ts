/** The chain of calls as a graph of vertices, and as the configuration and history of the image (B1). */
import { posix } from 'node:path';
import { canonicalJson, type Json } from '../../base/canonical-json.ts';
import { sha256Hex } from '../../base/sha256.ts';
import { type Action, type CopyAction, type ExecAction, type Mount, ROOT_OWNER } from '../../graph/action.ts';
import { type Edge, firstOutput, type Operation, type Vertex, vertex } from '../../graph/vertex.ts';
import type { Digest } from '../../oci/digest.ts';
import type { ContainerConfig, HistoryEntry, ImageConfig } from '../../oci/image-config.ts';
import type { Platform } from '../../oci/platform.ts';
import type { Secret } from '../../secret/secret.ts';
import { findingWarning } from '../dockerfile/check-report.ts';
import type { ContextInput } from '../dockerfile/context-input.ts';
import type { DockerfileGraph } from '../dockerfile/convert.ts';
import type { DockerfileDeclaration } from '../dockerfile/declaration.ts';
import type { StageBeginning } from '../dockerfile/request.ts';
import { definitionError } from './arguments.ts';
import type { BuilderVersion } from './builder-version.ts';
import { ConfigState } from './config-state.ts';
import type { Diagnostic } from './diagnostic.ts';
import { type CarriedFunction, functionPlan, type ReadFunction } from './function-call.ts';
import { type Image, imageParts, recipeHash } from './image.ts';
import type { PlanOptions } from './image-engine.ts';
import type {
  FunctionStep,
  LayerDefinition,
  OciLayoutSource,
  PendingMount,
  RegistryLogin,
  RunStep,
  Step,
} from './layer-definition.ts';
import { inputName, type LocalInput, type ScanInput, type ScannedFiles } from './local-input.ts';
import { inputsOf, stepLines } from './plan.ts';
import {
  type BaseSource,
  type BaseSurroundings,
  type ResolveOciLayout,
  resolveBase,
} from './resolve-base.ts';
import { resolveLayers } from './resolve-layers.ts';
import { sourcePython, treeInArchive } from './standalone-python.ts';
import { stepEnvironment } from './step-environment.ts';
import type { StoredImage } from './stored-base.ts';
import type { Volume } from './volume.ts';
import { mountOfVolume, refuseSameVolume } from './volume-mounts.ts';

/** Answers what only the outside knows about bases. Implemented by the engine. */
export interface ConfigResolver {
  /**
   * The digest that the reference has, or had when it was used last, and the image's configuration.
   *
   * @throws {RemoteError} when the registry has to be asked and cannot be.
   */
  resolveImage(
    reference: string,
    platform: Platform,
    options: {
      /** Credentials; the host's if absent. */
      readonly login?: RegistryLogin;
      /** Ask again instead of using what is remembered. */
      readonly refresh: boolean;
    },
  ): Promise<{ readonly manifestDigest: Digest; readonly config: ImageConfig }>;
  readonly resolveOciLayout: ResolveOciLayout;
  /**
   * @param platform - Absent: nobody asked for one.
   * @throws {DefinitionError} `E_IMAGE_NOT_FOUND`, `E_NO_PLATFORM`
   */
  resolveStored(image: StoredImage, platform: Platform | undefined): StoredFacts;
}

/** Of an image of the store. */
export interface StoredFacts {
  readonly id: string;
  readonly platform: Platform;
  readonly layers: readonly string[];
  readonly config: ImageConfig;
}

/** Reads a declared Dockerfile with its contexts and converts it. Implemented by the engine. */
export type ConvertDockerfile = (
  declaration: DockerfileDeclaration,
  options: {
    readonly platform: Platform;
    /** Whether the caller or the definition said so. */
    readonly platformAsked: boolean;
    /** What `FROM base` means. */
    readonly begin?: StageBeginning;
    /** Run every step again. */
    readonly forced: boolean;
    readonly secretEnv: ExecAction['secretEnv'];
    readonly definition: string;
    /** Position of the call in the chain. */
    readonly layer: number;
  },
) => Promise<DockerfileGraph>;

export interface GraphSurroundings extends Omit<BaseSurroundings, 'resolveOciLayout'> {
  readonly resolver: ConfigResolver;
  readonly convertDockerfile: ConvertDockerfile;
  readonly readFunction: ReadFunction;
  /** Used for what may be a file or a directory. The same scan serves the keys, so it should be remembered. */
  readonly scan: ScanInput;
  /** Resolve tags anew, as forced builds do. @defaultValue false, or whether the base is forced */
  readonly refresh?: boolean;
  /** Names the definition in the origins of vertices, so that explanations find the last run of a step. */
  readonly definition?: string;
}

/** What an action that calls a function needs besides what is in its key. */
export interface CalledFunction {
  readonly carried: CarriedFunction;
  readonly args: readonly Json[];
  readonly kwargs: Readonly<Record<string, Json>>;
  /** Recipe hash of the image that it runs in. */
  readonly recipe: string;
}

export interface ImageGraph {
  /** The whole root filesystem. */
  readonly tip: Edge;
  readonly builderVersion: BuilderVersion;
  readonly platform: Platform;
  /** The base's configuration with what the chain changes. */
  readonly config: ContainerConfig;
  /** The base's, if it is an image. */
  readonly base?: ImageConfig;
  /** The id of the base, if it is an image of the store. */
  readonly storedId: string | undefined;
  /** The base's entries first. Every entry that is not `empty_layer` is one layer of the stack, in order. */
  readonly history: readonly HistoryEntry[];
  readonly mounts: readonly PendingMount[];
  /** The calls with all their steps. */
  readonly layers: readonly LayerDefinition[];
  /** For every call, the vertices that it added; none for a call that only changes the configuration. */
  readonly layerVertices: readonly (readonly Vertex[])[];
  /** By the name that `source-local` vertices use. Without those of pending mounts. */
  readonly localInputs: ReadonlyMap<string, LocalInput>;
  /** Selected files of build contexts, by the name that `source-local` vertices use. */
  readonly contextInputs: ReadonlyMap<string, ContextInput>;
  /** By the name that `source-oci-layout` vertices use. */
  readonly layouts: ReadonlyMap<string, OciLayoutSource>;
  /** By position of the call: what it makes of everything that is not files, where its steps do not say. For the ids of images. */
  readonly otherConfigs: ReadonlyMap<number, string>;
  /** Of Dockerfiles: secrets and agents by id are theirs. */
  readonly declarations: readonly DockerfileDeclaration[];
  /** MAINTAINER; otherwise the base's. */
  readonly author: string | undefined;
  /** SOURCE_DATE_EPOCH of a build arg, in seconds. */
  readonly sourceDateEpoch: number | undefined;
  /** By the id that actions use. */
  readonly functions: ReadonlyMap<string, CalledFunction>;
  /** By the id that actions use. */
  readonly secrets: ReadonlyMap<string, Secret>;
  /** By the id that mounts use. */
  readonly volumes: ReadonlyMap<string, Volume>;
  /** Mirrors of `source-debian` vertices, by vertex; where the archive is read from is in no key. */
  readonly debianMirrors: ReadonlyMap<Digest, string>;
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * @throws {DefinitionError} `E_UNDEFINED_VARIABLE` and what resolving the base throws.
 */
export async function toGraph(
  image: Image,
  options: PlanOptions,
  surroundings: GraphSurroundings,
): Promise<ImageGraph> {
  const { layers: calls, mounts } = imageParts(image);
  const layers = await resolveLayers(calls, surroundings.scan);
  const [first] = layers as [LayerDefinition, ...LayerDefinition[]];
  const { resolver, settings, platform, hostPython, readDockerfile } = surroundings;
  const base = await resolveBase(first.base as NonNullable<LayerDefinition['base']>, options, {
    settings,
    platform,
    hostPython,
    readDockerfile,
    resolveOciLayout: (layout, wanted) => resolver.resolveOciLayout(layout, wanted),
  });
  const build = new GraphBuilder({
    platform: base.platform,
    builderVersion: base.builderVersion,
    platformAsked: base.platformAsked,
    formOf: await formsOf(layers, surroundings.scan),
    definition: surroundings.definition,
    convertDockerfile: surroundings.convertDockerfile,
    readFunction: surroundings.readFunction,
    recipeBefore: (index) => recipeHash(layers.slice(0, index), []),
  });
  const refresh = surroundings.refresh ?? first.forceBuild;
  await build.begin(first, base.source, base.from, resolver, refresh);
  await build.addLayer(first, [...base.steps, ...first.steps], 0);
  for (const [index, layer] of layers.entries()) {
    refuseSameVolume(layer.method, layer.volumes ?? [], settings.environment);
    if (index > 0) {
      await build.addLayer(layer, layer.steps, index);
    }
  }
  const { builderVersion, diagnostics } = base;
  return { ...build.result(diagnostics), layers, builderVersion, mounts };
}

/** Only inputs that may be either are looked at here; all others are what their call says. */
async function formsOf(
  layers: readonly LayerDefinition[],
  scan: ScanInput,
): Promise<(input: LocalInput) => ScannedFiles['form']> {
  const unclear = layers.flatMap(inputsOf).filter((input) => input.expects === 'either');
  const forms = new Map(
    await Promise.all(unclear.map(async (input) => [inputName(input), (await scan(input)).form] as const)),
  );
  return (input) =>
    input.expects === 'either' ? (forms.get(inputName(input)) as ScannedFiles['form']) : input.expects;
}

interface GraphBuilderOptions {
  readonly builderVersion: BuilderVersion;
  readonly platform: Platform;
  readonly platformAsked: boolean;
  readonly formOf: (input: LocalInput) => ScannedFiles['form'];
  readonly definition: string | undefined;
  readonly convertDockerfile: ConvertDockerfile;
  readonly readFunction: ReadFunction;
  /** Of the image that a call extends. */
  readonly recipeBefore: (index: number) => string;
}

/** Holds what grows along the chain. */
class GraphBuilder {
  readonly #options: GraphBuilderOptions;
  #platform: Platform;
  readonly #formOf: (input: LocalInput) => ScannedFiles['form'];
  readonly #definition: string | undefined;
  readonly #layerVertices: Vertex[][] = [];
  readonly #localInputs = new Map<string, LocalInput>();
  readonly #layouts = new Map<string, OciLayoutSource>();
  readonly #functions = new Map<string, CalledFunction>();
  readonly #secrets = new Map<string, Secret>();
  readonly #volumes = new Map<string, Volume>();
  readonly #debianMirrors = new Map<Digest, string>();
  readonly #contextInputs = new Map<string, ContextInput>();
  readonly #declarations: DockerfileDeclaration[] = [];
  readonly #otherConfigs = new Map<number, string>();
  readonly #diagnostics: Diagnostic[] = [];
  #author: string | undefined;
  #storedId: string | undefined;
  #sourceDateEpoch: number | undefined;
  readonly #history: HistoryEntry[] = [];
  #tip: Edge | undefined;
  #base: ImageConfig | undefined;
  /** A forced call that has no vertex of its own hands its flag to the next one that has. */
  #forceNext = false;
  #config = new ConfigState({});

  constructor(options: GraphBuilderOptions) {
    this.#options = options;
    this.#platform = options.platform;
    this.#formOf = options.formOf;
    this.#definition = options.definition;
  }

  async begin(
    layer: LayerDefinition,
    source: BaseSource,
    from: string,
    resolver: ConfigResolver,
    refresh: boolean,
  ): Promise<void> {
    switch (source.kind) {
      case 'scratch':
        this.#start(layer, { kind: 'scratch' });
        return;
      case 'image': {
        const { reference, login } = source;
        const options = { refresh, ...(login === undefined ? {} : { login }) };
        const { manifestDigest, config } = await resolver.resolveImage(reference, this.#platform, options);
        this.#start(layer, { kind: 'source-image', reference, manifestDigest });
        this.#startFrom(config, reference);
        return;
      }
      case 'stored': {
        const asked = this.#options.platformAsked ? this.#platform : undefined;
        const { id, platform, layers, config } = resolver.resolveStored(source.image, asked);
        this.#platform = platform;
        this.#storedId = id;
        this.#start(layer, { kind: 'source-stored', image: id, layers });
        this.#startFrom(config, id);
        return;
      }
      case 'layout': {
        const { manifestDigest, config } = source;
        // Content is named by digest; two copies of one layout are as good as each other.
        const layout = `layout-${manifestDigest.slice('sha256:'.length, 'sha256:'.length + 32)}`;
        this.#layouts.set(layout, source.layout);
        this.#start(layer, { kind: 'source-oci-layout', layout, manifestDigest });
        this.#startFrom(config, 'OCI layout');
        return;
      }
      case 'debian': {
        const { kind: _, mirror, ...what } = source;
        const { architecture } = this.#platform;
        const started = this.#start(layer, { kind: 'source-debian', ...what, architecture });
        if (mirror !== undefined) {
          this.#debianMirrors.set(started.digest, mirror);
        }
        this.#config = new ConfigState(DEBIAN_CONFIG);
        this.#history.push({ created_by: from });
        return;
      }
      case 'dockerfile':
        await this.#convert(layer, source.declaration, 0, false);
        return;
    }
  }

  async addLayer(layer: LayerDefinition, steps: readonly Step[], index: number): Promise<void> {
    this.#layerVertices[index] ??= [];
    // Instructions of a Dockerfile come last: they are the whole call, or what follows the base in its factory.
    const last = steps.at(-1);
    if (last?.kind === 'dockerfile') {
      await this.addLayer(layer, steps.slice(0, -1), index);
      await this.#convert(layer, last.declaration, index, true);
      return;
    }
    const { actions, inputs } = await this.#actionsOf(layer, steps, index);
    this.#forceNext ||= layer.forceBuild;
    if (actions.length > 0) {
      this.#push(layer, index, { kind: 'build', actions }, [this.#tip as Edge, ...inputs]);
    }
    if (steps.length > 0) {
      const lines = stepLines(steps, (input) => ({ form: this.#formOf(input) }) as ScannedFiles);
      this.#history.push({
        created_by: lines.join('\n'),
        ...(actions.length === 0 ? { empty_layer: true } : {}),
      });
    }
  }

  /** A Dockerfile is the base, or continues what there is. */
  async #convert(
    layer: LayerDefinition,
    declaration: DockerfileDeclaration,
    index: number,
    continues: boolean,
  ): Promise<void> {
    for (const secret of layer.secrets) {
      this.#secrets.set(secret.id, secret);
    }
    const { platformAsked, convertDockerfile } = this.#options;
    const graph = await convertDockerfile(declaration, {
      platform: this.#platform,
      platformAsked: platformAsked || continues,
      forced: layer.forceBuild || this.#forceNext,
      secretEnv: stepEnvironment(new Map(), layer.secrets, {}).secretEnv,
      definition: `${this.#definition ?? ''}#${index}`,
      layer: index,
      ...(continues ? { begin: this.#beginning() } : {}),
    });
    this.#forceNext = false;
    const { tip, vertices } = graph;
    this.#layerVertices[index] = [...(this.#layerVertices[index] ?? []), ...vertices];
    this.#tip = tip;
    this.#platform = graph.platform;
    this.#config = new ConfigState(graph.config);
    this.#history.splice(0, this.#history.length, ...graph.history);
    this.#author = graph.author;
    this.#sourceDateEpoch ??= graph.sourceDateEpoch;
    this.#declarations.push(declaration);
    const { config, platform, author = null, history } = graph;
    this.#otherConfigs.set(index, canonicalJson({ config, platform, author, history } as unknown as Json));
    for (const [name, input] of graph.contextInputs) {
      this.#contextInputs.set(name, input);
    }
    for (const [name, layout] of graph.layouts) {
      this.#layouts.set(name, layout);
    }
    this.#diagnostics.push(
      ...graph.warnings.map((warning) => ({ ...warning, layer: index })),
      ...graph.findings.map((finding) => ({ ...findingWarning(graph.name, finding), layer: index })),
    );
  }

  #beginning(): StageBeginning {
    const { os, architecture } = this.#platform;
    return {
      tip: this.#tip as Edge,
      history: [...this.#history],
      config: {
        os,
        architecture,
        config: this.#config.toContainerConfig(),
        rootfs: { type: 'layers', diff_ids: [] },
        ...(this.#author === undefined ? {} : { author: this.#author }),
      },
    };
  }

  result(diagnostics: readonly Diagnostic[]): Omit<ImageGraph, 'layers' | 'builderVersion' | 'mounts'> {
    return {
      contextInputs: this.#contextInputs,
      declarations: this.#declarations,
      otherConfigs: this.#otherConfigs,
      author: this.#author ?? this.#base?.author,
      sourceDateEpoch: this.#sourceDateEpoch,
      diagnostics: [...diagnostics, ...this.#diagnostics],
      tip: this.#tip as Edge,
      platform: this.#platform,
      config: this.#config.toContainerConfig(),
      ...(this.#base === undefined ? {} : { base: this.#base }),
      storedId: this.#storedId,
      history: this.#history,
      layerVertices: this.#layerVertices,
      localInputs: this.#localInputs,
      layouts: this.#layouts,
      functions: this.#functions,
      secrets: this.#secrets,
      volumes: this.#volumes,
      debianMirrors: this.#debianMirrors,
    };
  }

  #start(layer: LayerDefinition, operation: Operation): Vertex {
    this.#layerVertices[0] = [];
    return this.#push(layer, 0, operation, []);
  }

  #startFrom(config: ImageConfig, name: string): void {
    this.#base = config;
    this.#config = new ConfigState(config.config ?? {});
    this.#history.push(...baseHistory(config, name));
  }

  #push(layer: LayerDefinition, index: number, operation: Operation, inputs: readonly Edge[]): Vertex {
    const definition = this.#definition;
    const pushed = vertex(operation, inputs, {
      platform: this.#platform,
      label: layer.label,
      origin: { method: layer.method, layer: index, ...(definition === undefined ? {} : { definition }) },
      ...(layer.forceBuild || this.#forceNext ? { force: true } : {}),
    });
    this.#forceNext = false;
    (this.#layerVertices[index] as Vertex[]).push(pushed);
    this.#tip = firstOutput(pushed);
    return pushed;
  }

  async #actionsOf(
    layer: LayerDefinition,
    steps: readonly Step[],
    index: number,
  ): Promise<{ actions: Action[]; inputs: Edge[] }> {
    const actions: Action[] = [];
    const inputs: Edge[] = [];
    const addInput = (operation: Operation, label: string): number => {
      inputs.push(firstOutput(vertex(operation, [], { platform: this.#platform, label })));
      // Input 0 is the root itself.
      return inputs.length;
    };
    const addLocalFiles = (files: LocalInput): number => {
      const input = inputName(files);
      this.#localInputs.set(input, files);
      return addInput({ kind: 'source-local', input }, `local files for ${layer.label}`);
    };
    for (const step of steps) {
      switch (step.kind) {
        case 'run':
          actions.push(this.#exec(layer, step, (step.mounted?.inputs ?? []).map(bindOf(addLocalFiles))));
          break;
        case 'function':
          actions.push(await this.#call(layer, step, index));
          break;
        case 'config':
          this.#config.apply(step.change);
          break;
        case 'workdir':
          this.#config.enter(step.path);
          actions.push(makeDirectory(this.#config.workingDir));
          break;
        case 'copy-tool': {
          const { tool, version } = step;
          const { architecture } = this.#platform;
          const input = addInput({ kind: 'source-tool', tool, version, architecture }, `${tool} ${version}`);
          actions.push(copy(input, step.source, step.destination));
          break;
        }
        case 'copy-python': {
          const source = sourcePython(step, this.#options.builderVersion, this.#platform);
          const input = addInput(source, `Python ${step.series}`);
          // Compiled modules in it hold the times of their sources.
          actions.push({
            ...copy(input, treeInArchive(source.file), step.destination),
            modes: 'keep',
            times: 'keep',
          });
          break;
        }
        case 'copy-local': {
          const input = addLocalFiles(step.input);
          if (this.#formOf(step.input) === 'file') {
            // Mounted files lie at their final paths already.
            const whole = step.fileGoesTo === 'contextMount';
            const destination = this.#config.resolve(step.fileDestination);
            actions.push(copy(input, whole ? '/' : step.input.fileAt, destination));
          } else {
            const destination = this.#config.resolve(step.directoryDestination);
            if (destination !== '/') {
              actions.push(makeDirectory(destination));
            }
            actions.push(copy(input, '/', destination));
          }
          break;
        }
      }
    }
    return { actions, inputs };
  }

  async #call(layer: LayerDefinition, step: FunctionStep, index: number): Promise<ExecAction> {
    const { carried, args, kwargs, resources, retries } = step;
    const source = await this.#options.readFunction(carried);
    const { form, name, ...rest } = functionPlan(carried, source, args, kwargs);
    const key = canonicalJson({ form, name, ...rest, source: sha256Hex(rest.source) } as unknown as Json);
    const id = `function-${this.#functions.size + 1}-${sha256Hex(key).slice(0, 16)}`;
    this.#functions.set(id, { carried, args, kwargs, recipe: this.#options.recipeBefore(index) });
    return {
      ...this.#execIn(layer, []),
      argv: step.text.split(' '),
      lend: LEND_TO_FUNCTIONS,
      timeoutMs: resources.timeoutMs,
      limits: resources.limits,
      ...(retries === undefined ? {} : { retries }),
      call: {
        id,
        key,
        ...(form === 'python' ? { runtime: 'python' } : { runtime: 'node', node: carried.node }),
      },
    };
  }

  #exec(layer: LayerDefinition, step: RunStep, mounts: readonly Mount[]): ExecAction {
    const exec = this.#execIn(layer, mounts);
    const { env, secretEnv } = exec;
    const defined = new Set(env.map(([name]) => name));
    let isComplete = true;
    for (const each of secretEnv) {
      if ('name' in each) {
        defined.add(each.name);
      } else {
        isComplete = false;
      }
    }
    const missing = step.variables.filter((name) => !defined.has(name));
    if (isComplete && missing.length > 0) {
      throw definitionError(
        'E_UNDEFINED_VARIABLE',
        `${layer.method}(): ${missing.map((name) => `\${${name}}`).join(', ')} is not defined by the step's secrets, ` +
          `its env or the image's environment`,
        'pass secrets: [Secret.fromDict({ … })] to the call',
      );
    }
    return {
      ...exec,
      ...(missing.length === 0 ? {} : { requiredVariables: missing }),
      argv: argvOf(step, this.#config.shell),
      lend: step.lend,
      ...(step.timeoutMs === undefined ? {} : { timeoutMs: step.timeoutMs }),
      ...(step.retries === undefined ? {} : { retries: step.retries }),
      ...(step.limits === undefined ? {} : { limits: step.limits }),
      ...(step.hintIfMissing === undefined ? {} : { hintIfMissing: step.hintIfMissing }),
    };
  }

  /** What every program of a call has. */
  #execIn(layer: LayerDefinition, mounts: readonly Mount[]): Omit<ExecAction, 'argv' | 'lend'> {
    const { env, secretEnv } = stepEnvironment(this.#config.environment, layer.secrets, layer.env);
    for (const secret of layer.secrets) {
      this.#secrets.set(secret.id, secret);
    }
    const { volumes = [] } = layer;
    for (const { volume } of volumes) {
      this.#volumes.set(volume.id, volume);
    }
    return {
      kind: 'exec',
      env,
      cwd: this.#config.workingDir,
      user: this.#config.user,
      network: 'host',
      mounts: [...mounts, ...volumes.map(mountOfVolume)],
      secretEnv,
      ...(layer.gpu.length === 0 ? {} : { gpus: layer.gpu }),
    };
  }
}

/** Functions install packages and fetch models as commands do: their caches stay out of the layer. */
const LEND_TO_FUNCTIONS = ['pip', 'uv', 'npm', 'apt-archives'] as const;

/** What Debian's own images have; an image without PATH does not start under every runtime. */
const DEBIAN_CONFIG: ContainerConfig = {
  Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
  Cmd: ['bash'],
};

/** The directory that the input's files are in, writable; what is written there is thrown away. */
function bindOf(addInput: (input: LocalInput) => number): (input: LocalInput) => Mount {
  return (input) => {
    const directory = posix.dirname(input.directoryAt);
    return {
      kind: 'bind',
      input: addInput(input),
      source: directory,
      target: directory,
      readOnly: false,
    };
  };
}

function argvOf(step: RunStep, shell: readonly string[]): readonly string[] {
  switch (step.form) {
    case 'exec':
      return step.argv;
    case 'shell':
      return [...shell, step.text];
    case 'script':
      return [...shell, `set -e\n${step.text}`];
  }
}

/** Ownership 0:0, normal modes, fixed times (A2.14). */
function copy(input: number, source: string, destination: string): CopyAction {
  return { kind: 'copy', input, source, destination, owner: ROOT_OWNER, modes: 'normalise', times: 'epoch' };
}

function makeDirectory(path: string): Action {
  return { kind: 'mkdir', path, mode: 0o755, owner: ROOT_OWNER };
}

/** A base whose history does not tell its layers gets one entry a layer, so that ours line up with the layers. */
function baseHistory(config: ImageConfig, name: string): readonly HistoryEntry[] {
  const history = config.history ?? [];
  const layers = config.rootfs.diff_ids.length;
  if (history.filter((entry) => entry.empty_layer !== true).length === layers) {
    return history;
  }
  return Array.from({ length: layers }, () => ({ comment: `layer of ${name}` }));
}
