/**
 * The composition root: opens the store, introduces everything to everything, and is what library and command line call.
 */

import { availableParallelism } from 'node:os';
import type { IsolationChoice } from './base/isolation.ts';
import type { PublishedName } from './content/published-names.ts';
import { type Annotation, checkAnnotations } from './engine/annotations.ts';
import { assembleParts, offlineParts } from './engine/assemble-parts.ts';
import { type BuildImagesOptions, buildImages, solveImages } from './engine/build-images.ts';
import { buildLogs } from './engine/build-logs.ts';
import { buildForPlatforms, type PlatformsBuilt } from './engine/build-platforms.ts';
import { exportCaches } from './engine/cache-export.ts';
import { importCaches } from './engine/cache-import.ts';
import {
  type ExportCacheMountOptions,
  exportCacheMount,
  importCacheMount,
  listCacheMounts,
  removeCacheMounts,
} from './engine/cache-mounts.ts';
import type { CacheSource, CacheTarget } from './engine/cache-options.ts';
import { callInContainer } from './engine/call-function.ts';
import { type CleanOptions, type CleanResult, cleanStore } from './engine/clean.ts';
import { readConfigFiles } from './engine/config-files.ts';
import {
  type DescribedDockerfile,
  type DescribeOptions,
  describeDockerfile,
} from './engine/describe-dockerfile.ts';
import { Dockerfiles } from './engine/dockerfiles.ts';
import { type KeptStepRunOptions, type OnError, runInKeptStep } from './engine/failed-steps.ts';
import { distinctPlatforms } from './engine/image-index.ts';
import {
  ImageLibrary,
  type InspectedImage,
  type InspectedIndex,
  type RemovedImage,
  type StoredImage,
} from './engine/image-library.ts';
import { resolveLayout } from './engine/layouts.ts';
import { type CallingBack, Listeners } from './engine/listeners.ts';
import { BuildInputs } from './engine/local-inputs.ts';
import { untilNothingIsLost } from './engine/lost-blobs.ts';
import {
  buildWish,
  earlyUploads,
  greetRegistries,
  type OutputSpec,
  refuseSeveral,
  type WrittenOutput,
  writeOutput,
} from './engine/outputs.ts';
import type { EngineParts } from './engine/parts.ts';
import { configWithMounts } from './engine/pending-mounts.ts';
import { contextsOf } from './engine/plan-contexts.ts';
import { Programs, programDefaults } from './engine/programs.ts';
import { type PruneOptions, type PruneResult, prune, type UsageLine, usage } from './engine/prune.ts';
import { type ContainerOptions, runContainer } from './engine/run-image.ts';
import { findDotenv } from './engine/secret-sources.ts';
import { Store } from './engine/store.ts';
import { deleteStored, idOfBuilt, publishImage } from './engine/stored-images.ts';
import { startAhead, WorkerOnDemand } from './engine/worker-on-demand.ts';
import { DefinitionError, StepError, UsageError } from './errors.ts';
import { type AppFunction, appFunctionSpec, type CallArguments } from './frontend/fluent/app.ts';
import type { BuilderVersion } from './frontend/fluent/builder-version.ts';
import type { BuiltImage } from './frontend/fluent/built-image.ts';
import { gpuRequests } from './frontend/fluent/gpu-request.ts';
import { Image } from './frontend/fluent/image.ts';
import type * as api from './frontend/fluent/image-engine.ts';
import type { BuildLogEntry } from './frontend/fluent/image-logs.ts';
import type { ImageName } from './frontend/fluent/image-name.ts';
import type { PlatformName } from './frontend/fluent/layer-definition.ts';
import { limitsOption } from './frontend/fluent/limits-option.ts';
import { type ImagePlan, planImage } from './frontend/fluent/plan.ts';
import {
  type DockerfileExport,
  type DockerfileSurroundings,
  toDockerfile,
} from './frontend/fluent/to-dockerfile.ts';
import type { VolumeStore } from './frontend/fluent/volume-store.ts';
import type { LayerStore } from './layer/layer-store.ts';
import { hostPythonSeries } from './local/host-python.ts';
import { FunctionReader } from './local/read-function.ts';
import { formatPlatform, hostPlatform, type Platform, parsePlatform } from './oci/platform.ts';
import { parseReference } from './oci/reference.ts';
import { Secret, secretValues } from './secret/secret.ts';
import type { SecretStore } from './secret/secret-store.ts';
import { readSettings, type Settings } from './settings.ts';
import type { BuildEvent } from './solver/event.ts';
import type { EventStream, EventStreamOptions } from './solver/event-stream.ts';
import type { CacheMountFacts } from './volume/cache-mounts.ts';
import type { FailedStepRunResult } from './worker/failed-step-session.ts';
import type { InputFile, Worker } from './worker/protocol.ts';

export type { Annotation } from './engine/annotations.ts';
export type { CacheSource, CacheTarget } from './engine/cache-options.ts';
export type { KeptStepRunOptions, OnError } from './engine/failed-steps.ts';
export type { KeptStep } from './engine/kept-steps.ts';
export type { OutputSpec, WrittenOutput } from './engine/outputs.ts';
export type { FailedStep, FailedStepRunOptions, FailedStepRunResult } from './worker/failed-step-session.ts';
export type { InputLike, TerminalLike } from './worker/program-streams.ts';

/** A step that downloads or sleeps needs no processor; builders that people come from bound it not at all. */
const LEAST_JOBS = 8;

export interface EngineOptions {
  /** @defaultValue TSBUILD_HOME, or `tsbuild` in the XDG data directory */
  readonly storeDir?: string;
  /** Steps at a time. @defaultValue twice the number of cores, at least 8: steps wait for networks and for each other's locks */
  readonly jobs?: number;
  /** Called with everything that the engine does; one that throws cancels what is at work. @defaultValue nobody is told */
  readonly onEvent?: (event: BuildEvent) => void;
  /** Whether steps get this machine's certificates: `auto` when it trusts some beyond the public ones. @defaultValue auto */
  readonly hostCa?: 'auto' | 'always' | 'never';
  /** Fail instead of using the network for bases and tools. @defaultValue TSBUILD_OFFLINE */
  readonly offline?: boolean;
  /** @defaultValue auto, or TSBUILD_SNAPSHOT */
  readonly snapshotter?: 'auto' | 'overlay' | 'copy';
  /**
   * How steps are kept apart from this machine: as root, in a user namespace with subordinate ids or with one id, or in little more than a
   * file system of their own. `auto` is the best that works. In no key. @defaultValue TSBUILD_ISOLATION, or auto
   */
  readonly isolation?: IsolationChoice;
  /**
   * All directories that describe devices (Container Device Interface); later ones stand over earlier ones.
   * @defaultValue `/etc/cdi`, `/var/run/cdi`, and those of TSBUILD_CDI_DIRS
   */
  readonly cdiDirs?: readonly string[];
  /**
   * Where NVIDIA's driver is, with its `/proc`, `/dev` and libraries, for GPUs that nothing describes.
   * @defaultValue TSBUILD_DRIVER_ROOT, or `/`
   */
  readonly driverRoot?: string;
  /**
   * What a step that asks for GPUs gets: any that are there in number, with a warning when they are of another type; only those of the
   * type; or none, with a warning. In no key. @defaultValue TSBUILD_GPU_POLICY, or auto
   */
  readonly gpuPolicy?: 'auto' | 'strict' | 'ignore';
  /**
   * Which system calls steps and containers get: those of tsbuild's own profile (docs/reference/seccomp.md), all of them, or those of a
   * profile as Docker takes it, by its path. In no key. @defaultValue TSBUILD_SECCOMP, or default
   */
  readonly seccomp?: 'default' | 'unconfined' | (string & {});
  /**
   * What makes the sandboxes of steps and containers: bubblewrap, runc or crun; or bubblewrap unless a step needs what only the others
   * give. In no key. @defaultValue TSBUILD_SANDBOX, or auto
   */
  readonly sandbox?: 'auto' | 'bubblewrap' | 'runc' | 'crun';
  /**
   * How much memory each step and each container may use with all that it starts, unless its call says so; 6 MiB at least. A program that
   * needs more fails with `E_BUILD_MEMORY`. In no key. @defaultValue no limit
   */
  readonly memoryBytes?: number;
  /** As `memoryBytes`: cores, fractions too. @defaultValue all */
  readonly cpus?: number;
  /** As `memoryBytes`: processes and threads. @defaultValue no limit */
  readonly pidsLimit?: number;
  /**
   * Whether a limit that cannot be kept on this machine is a warning, given once, or `E_LIMITS`.
   * @defaultValue TSBUILD_LIMITS_POLICY, or warn
   */
  readonly limitsPolicy?: 'warn' | 'require';
  /** How long each command of a step may run, in milliseconds, unless its call says so. In no key. @defaultValue no limit */
  readonly stepTimeoutMs?: number;
  /** How often a step that failed is run again, on a fresh file system, unless its call says so. In no key. @defaultValue 0 */
  readonly stepRetries?: number;
  /**
   * Network of steps and containers that do not say: the machine's, or one of their own that leads where the machine's does and not to the
   * machine's loopback interface. In no key. @defaultValue TSBUILD_NETWORK, or host
   */
  readonly network?: 'host' | 'private';
  /** For images whose factory pins none. Part of the key of the first layer. @defaultValue TSBUILD_IMAGE_BUILDER_VERSION, or `2026.10` */
  readonly builderVersion?: BuilderVersion;
  /** @defaultValue process.env */
  readonly env?: NodeJS.ProcessEnv;
  /** Ends whatever the engine does. */
  readonly signal?: AbortSignal;
}

export interface EngineBuildOptions extends api.BuildOptions {
  /** Ask the registries again what the tags of base images mean. Not part of the key. @defaultValue false */
  readonly pull?: boolean;
  /** Of base images and of the result. Part of the key. @defaultValue that of this machine */
  readonly platform?: Platform;
  /** Several make an index of one image for each. The same one twice counts once. Stands over `platform`. */
  readonly platforms?: readonly Platform[];
  /** Of the image in the store and of every output. */
  readonly annotations?: readonly Annotation[];
  /** Names by which the store remembers the image. Only with one image. */
  readonly tags?: readonly string[];
  /** One for each image: names it between runs, for explanations. */
  readonly definitions?: readonly string[];
  /** Where each image is written to besides the store. */
  readonly outputs?: readonly OutputSpec[];
  /** Caches of other machines that are looked into before steps run. */
  readonly cacheFrom?: readonly CacheSource[];
  /** Where what this build knows is written for other machines. */
  readonly cacheTo?: readonly CacheTarget[];
  /** Called after each output. */
  readonly onWritten?: (written: WrittenOutput) => void;
  /**
   * What becomes of a step that fails. `keep` keeps what it left for `runInFailed`, under the name that the error's `keptAs` has. A
   * function may run programs in the step's file system; the build fails when it resolves.
   * @defaultValue fail
   */
  readonly onError?: OnError;
}

export interface EngineRunOptions
  extends Omit<api.RunOptions, 'timeout' | 'encoding' | 'gpu' | 'stdin'>,
    Omit<ContainerOptions, 'gpus'> {
  /** As `RunOptions.gpu`; a list is ordered by preference. */
  readonly gpu?: string | readonly string[];
  /** Which variant of the image to run. @defaultValue that of this machine */
  readonly platform?: Platform;
  /** Ask the registries again what the tags of base images mean. @defaultValue false */
  readonly pull?: boolean;
  /** Names the image between runs, for explanations. */
  readonly definition?: string;
  /** What the container writes, as it comes. */
  readonly onOutput?: (stream: 'stdout' | 'stderr', chunk: Buffer) => void;
}

type PublishOptions = CallingBack & { readonly secret?: api.PushOptions['secret'] };

/** What `tsbuild run` may change about a call. */
export interface EngineCallOptions
  extends api.FunctionCallOptions,
    Pick<
      EngineRunOptions,
      'env' | 'gpu' | 'workdir' | 'user' | 'network' | 'timeoutMs' | 'platform' | 'pull' | 'definition'
    > {}

export class Engine implements api.ImageEngine, AsyncDisposable {
  readonly #parts: EngineParts;
  readonly #library: ImageLibrary;
  readonly #signal: AbortSignal | undefined;
  readonly #worker: WorkerOnDemand;
  readonly #listeners: Listeners;
  /** Made by the first operation that must do without the network. */
  #offline: EngineParts | undefined;
  #running = 0;
  #closed: Promise<void> | undefined;

  private constructor(
    parts: EngineParts,
    worker: WorkerOnDemand,
    listeners: Listeners,
    signal: AbortSignal | undefined,
  ) {
    this.#parts = parts;
    this.#listeners = listeners;
    this.#library = new ImageLibrary(parts);
    this.#worker = worker;
    this.#signal = signal;
  }

  /**
   * Opens the store. Nothing else is started; end with `close()` or `await using`.
   *
   * @example
   * ```ts
   * await using engine = await Engine.open({ storeDir: '/var/lib/builds', jobs: 4 });
   * ```
   * @throws {HostError} `E_IO`, `E_STORE_VERSION`. @throws {UsageError} `E_USAGE` for settings that cannot be understood.
   */
  static async open(options: EngineOptions = {}): Promise<Engine> {
    const environment = options.env ?? process.env;
    const { project, user } = readConfigFiles(process.cwd(), environment);
    const settings = withOptions(readSettings(environment, project, user), options);
    const now = Date.now;
    const store = Store.open(options.storeDir ?? settings.home, now);
    const listeners = new Listeners(options.onEvent);
    const worker = new WorkerOnDemand({
      ...options,
      storeDir: store.dir,
      emit: (event) => listeners.tell({ ...event, timeMs: now() }),
      environment,
      settings,
    });
    const parts = assembleParts({
      store,
      settings,
      programs: new Programs(
        programDefaults({ ...options, network: settings.network }),
        settings.limitsPolicy,
      ),
      environment,
      worker: () => worker.get(),
      jobs: options.jobs ?? Math.max(LEAST_JOBS, 2 * availableParallelism()),
      onEvent: listeners.tell,
      now,
      signal: options.signal,
    });
    const engine = new Engine(parts, worker, listeners, options.signal);
    if (await store.sweep()) {
      // What a killed worker left belongs to subordinate ids; a new worker removes it when it starts.
      await worker.get();
    }
    return engine;
  }

  /**
   * Describes every layer, without network and without executing anything.
   *
   * @example
   * ```ts
   * const { layers } = await engine.plan(image, { lint: true });
   * ```
   */
  async plan(image: Image, options: api.PlanOptions = {}): Promise<ImagePlan> {
    return await this.#planning((surroundings) => planImage(image, options, surroundings));
  }

  /**
   * The image as one Dockerfile and the files that it needs.
   *
   * @example
   * ```ts
   * const { text, context } = await engine.toDockerfile(image);
   * console.log(text, context);
   * ```
   * @throws {DefinitionError} `E_NO_DOCKERFILE` for what no Dockerfile can say.
   */
  async toDockerfile(image: Image, options: api.PlanOptions = {}): Promise<DockerfileExport> {
    return await this.#planning((surroundings) => toDockerfile(image, options, surroundings));
  }

  async #planning<T>(work: (surroundings: DockerfileSurroundings) => Promise<T>): Promise<T> {
    const { settings, environment, store, now } = this.#parts;
    const inputs = new BuildInputs(store.stats, now);
    const reader = new FunctionReader(environment);
    const signal = this.#signalOf({});
    await using dockerfiles = new Dockerfiles(this.#parts, {
      signal,
      emit: () => undefined,
      again: false,
      severalPlatforms: false,
    });
    return await work({
      settings,
      readDockerfile: (declaration) => dockerfiles.read(declaration),
      platform: formatPlatform(hostPlatform()) as PlatformName,
      hostPython: () => hostPythonSeries(environment),
      scan: (input) => inputs.scan(input, signal),
      secretWarnings: (secret) => Secret.warningsOf(secret, findDotenv),
      contextsOf: contextsOf(dockerfiles, inputs, signal),
      readFunction: (carried) => reader.read(carried),
      resolveOciLayout: (layout, platform) => resolveLayout(store, layout, platform, signal),
    });
  }

  /**
   * What the Dockerfile of an image that `Image.fromDockerfile()` made says of itself: violations of the build checks, what
   * its target takes, its stages. Nothing is built.
   *
   * @example
   * ```ts
   * const { findings, error } = await engine.describeDockerfile(Image.fromDockerfile('Dockerfile'));
   * ```
   * @throws {DefinitionError} `E_ARG_TYPE` for other images.
   */
  async describeDockerfile(image: Image, options: DescribeOptions = {}): Promise<DescribedDockerfile> {
    return await this.#during(() =>
      describeDockerfile(this.#parts, image, { ...options, signal: this.#signalOf(options) }),
    );
  }

  /**
   * Builds what is missing, in parallel, each shared layer once. The results are in the order of `images`.
   *
   * @example
   * ```ts
   * const [built] = await engine.build([image], {
   *   tags: ['web:1'],
   *   outputs: [{ type: 'oci', dest: 'web.tar' }],
   * });
   * console.log(built?.digest);
   * ```
   */
  async build(images: readonly Image[], given: EngineBuildOptions = {}): Promise<readonly BuiltImage[]> {
    return await this.#watched(given, async (options) => {
      const parts = this.#partsFor(options);
      const { tags = [], outputs = [], annotations = [], definitions = [] } = options;
      const { cacheFrom = [], cacheTo = [] } = options;
      if ((tags.length > 0 || outputs.length > 0) && images.length !== 1) {
        throw new UsageError('names and outputs need exactly one image', { code: 'E_USAGE' });
      }
      const platforms = distinctPlatforms(
        options.platforms ?? (options.platform === undefined ? [] : [options.platform]),
      );
      for (const spec of outputs) {
        refuseSeveral(spec, platforms.length);
      }
      // Which platform it is may be the definition's to say; outputs look again.
      const known =
        platforms.length > 0 ? annotations : annotations.filter(({ platform }) => platform === undefined);
      checkAnnotations(known, platforms);
      const context = this.#context(options);
      // The worker writes them. It starts while definitions are read and files are looked at.
      if (outputs.some(({ type }) => type === 'local' || type === 'tar')) {
        startAhead(parts.worker);
      }
      // By then there is something to build, and this process waits for it. Before, it has files to look at.
      const forget = this.#worker.whenRunning(() => greetRegistries(parts, outputs, tags, context.signal));
      const stop = new AbortController();
      const imported =
        cacheFrom.length === 0
          ? undefined
          : importCaches(parts, cacheFrom, platforms[0] ?? hostPlatform(), definitions, {
              ...context,
              signal: AbortSignal.any([context.signal, stop.signal]),
            });
      // Waited for by the build, if it comes so far.
      imported?.catch(() => undefined);
      const shared: BuildImagesOptions = {
        ...this.#buildOptions(options),
        annotations,
        ...(imported === undefined ? {} : { imported }),
        inlineCache: cacheTo.some(({ type }) => type === 'inline'),
        ...buildWish(parts, outputs),
      };
      const built = await untilNothingIsLost(context, () =>
        this.#buildOnce(parts, images, platforms, shared, options),
      ).finally(async () => {
        forget();
        stop.abort();
        await Promise.allSettled([imported]);
      });
      const records = built.flatMap((each) => each.records);
      await exportCaches(
        parts,
        {
          // One graph holds all images.
          known: records[0]?.portable.known ?? [],
          tips: records.map(({ layers }) => layers),
          images: records.map(({ portable: { id, created } }) => ({ id, created })),
          definitions,
        },
        cacheTo,
        context,
      );
      return built.map(({ image }) => image);
    });
  }

  async #buildOnce(
    parts: EngineParts,
    images: readonly Image[],
    platforms: readonly Platform[],
    shared: BuildImagesOptions,
    options: EngineBuildOptions,
  ): Promise<readonly PlatformsBuilt[]> {
    const { tags = [], outputs = [], annotations = [] } = options;
    const [first] = images;
    // Outputs carry pending local files as a last layer; the image itself does not. Both are one build: what is forced runs once.
    const carries = outputs.length > 0 && first !== undefined && first.mounts.length > 0;
    await using uploads = await earlyUploads(parts, outputs, tags, this.#context(options).signal);
    const sending = uploads === undefined ? shared : { ...shared, onNewBlob: uploads.begin };
    const all = await buildForPlatforms(
      parts,
      carries ? [first, ...images] : images,
      platforms,
      carries ? carrying(sending, images.length) : sending,
    );
    const built = carries ? all.slice(1) : all;
    const [only] = built;
    const [whole] = all;
    for (const tag of tags) {
      await this.#library.name(tag, only?.image.id ?? '');
    }
    if (outputs.length > 0 && only !== undefined) {
      for (const spec of outputs) {
        const annotated = { ...spec, annotations: [...annotations, ...(spec.annotations ?? [])] };
        const context = this.#context(options);
        const written = await writeOutput(parts, whole?.image.id ?? '', annotated, tags, context, uploads);
        options.onWritten?.(written);
      }
    }
    return built;
  }

  /**
   * Runs a container and throws its changes away. `command` takes the place of CMD.
   *
   * @param image - A definition, which is built first, or the name or id of an image of the store.
   * @example
   * ```ts
   * const { exitCode, stdout } = await engine.run('web:1', ['cat', '/etc/os-release']);
   * ```
   * @throws {StepError} `E_BUILD_TIMEOUT` when it ran too long; {DefinitionError} `E_NOTHING_TO_RUN`, `E_IMAGE_NOT_FOUND`.
   */
  run(
    image: Image,
    command: readonly string[] | undefined,
    options: api.RunOptions,
  ): Promise<api.RunResult<string | Buffer>>;
  run(
    image: Image | string,
    command: readonly string[] | undefined,
    options?: EngineRunOptions,
  ): Promise<api.RunResult<string | Buffer> & { readonly signal?: string }>;
  async run(
    image: Image | string,
    command: readonly string[] | undefined,
    given: EngineRunOptions & { readonly timeout?: number; readonly encoding?: 'utf8' | 'buffer' } = {},
  ): Promise<api.RunResult<string | Buffer> & { readonly signal?: string }> {
    return await this.#watched(given, async (options) => {
      const context = this.#context(options);
      const chunks: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
      const timeoutMs =
        options.timeoutMs ?? (options.timeout === undefined ? undefined : options.timeout * 1000);
      const limits = limitsOption('run', { ...options });
      const gpus = gpuRequests('run', options.gpu, { lists: true });
      const { container, result } = await untilNothingIsLost(context, async () => {
        const container = await this.#container(image, options);
        const result = await runContainer(
          this.#parts,
          container,
          command,
          { ...options, gpus, limits, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
          context,
          options.onOutput ?? ((stream, chunk) => chunks[stream].push(chunk)),
        );
        return { container, result };
      });
      const text = (stream: 'stdout' | 'stderr') => {
        const whole = Buffer.concat(chunks[stream]);
        return options.encoding === 'buffer' ? whole : whole.toString('utf8');
      };
      const argv = command ?? container.config.Cmd ?? [];
      switch (result.reason) {
        case 'timeout':
          throw new StepError(`the container ran longer than ${timeoutMs} ms`, {
            code: 'E_BUILD_TIMEOUT',
            argv,
            reason: 'timeout',
            logTail: '',
          });
        case 'exit':
        case 'signal':
          return {
            exitCode: result.exitCode ?? 1,
            stdout: text('stdout'),
            stderr: text('stderr'),
            ...(result.signal === undefined ? {} : { signal: result.signal }),
          };
      }
    });
  }

  /**
   * Runs a program in the file system of a step that failed and was kept, with its user, directory, environment, network, devices and
   * mounts, but without its secrets and ssh agents. What the program changes is thrown away.
   *
   * @param name - What the error's `keptAs` has, or `latest`.
   * @param command - Run directly; undefined is the best shell that is there.
   * @example
   * ```ts
   * const { exitCode } = await engine.runInFailed('latest', ['cat', '/src/config.log'], {
   *   onOutput: (_stream, chunk) => process.stdout.write(chunk),
   * });
   * ```
   * @throws {UsageError} `E_FAILED_STEP_NOT_FOUND`; {DefinitionError} `E_NO_SHELL`
   */
  async runInFailed(
    name: string,
    command: readonly string[] | undefined,
    options: KeptStepRunOptions & { readonly signal?: AbortSignal } = {},
  ): Promise<FailedStepRunResult> {
    return await this.#watched(options, (guarded) =>
      runInKeptStep(this.#parts, name, command, guarded, this.#context(guarded)),
    );
  }

  /**
   * Calls a function of an app in a container that is thrown away; builds its image first if that is necessary.
   *
   * @internal {@link AppFunction} calls it.
   *
   * @returns What the function returned.
   * @throws {StepError} with `remoteStack` when the function throws. @throws {DefinitionError} `E_FN_RESULT`, `E_FN_NOT_FOUND`
   */
  async callFunction(
    of: AppFunction,
    values: CallArguments,
    options: EngineCallOptions = {},
  ): Promise<unknown> {
    return await this.#during(async () => {
      const context = this.#context(options);
      const spec = appFunctionSpec(of);
      const gpus =
        options.gpu === undefined ? {} : { gpus: gpuRequests('callFunction', options.gpu, { lists: true }) };
      const onOutput = options.onOutput ?? ((stream, chunk) => process[stream].write(chunk));
      return await untilNothingIsLost(context, () =>
        callInContainer(this.#parts, spec, values, { ...options, ...gpus, onOutput }, context, () =>
          this.#container(spec.image, options),
        ),
      );
    });
  }

  /** @internal For {@link AppFunction}, when it is called in this process. */
  async secretValues(secrets: readonly Secret[]): Promise<Readonly<Record<string, string>>> {
    const { secretSources } = this.#parts;
    return Object.assign(
      {},
      ...(await Promise.all(secrets.map((each) => secretValues(each, secretSources)))),
    );
  }

  /**
   * A file of the built image.
   *
   * @example
   * ```ts
   * const release = String(await engine.readFile(image, '/etc/os-release'));
   * ```
   */
  async readFile(image: Image, path: string): Promise<Buffer> {
    const MAX_BYTES = 1 << 30;
    const { base64 } = await this.#inspectTree(image, (layers, worker, signal) =>
      worker.call('readFile', { layers, path, maxBytes: MAX_BYTES }, { signal }),
    );
    return Buffer.from(base64, 'base64');
  }

  /**
   * Whether the built image has something at a path, be it a file, a link or a directory.
   *
   * @example
   * ```ts
   * const hasGit = await engine.exists(image, '/usr/bin/git');
   * ```
   */
  async exists(image: Image, path: string): Promise<boolean> {
    const { exists } = await this.#inspectTree(image, (layers, worker, signal) =>
      worker.call('exists', { layers, path }, { signal }),
    );
    return exists;
  }

  /**
   * Files, links and directories (with a trailing `/`) of the built image below a path, sorted.
   *
   * @example
   * ```ts
   * const paths = await engine.listFiles(image, '/etc');
   * ```
   */
  async listFiles(image: Image, prefix: string): Promise<readonly string[]> {
    const { paths } = await this.#inspectTree(image, (layers, worker, signal) =>
      worker.call('listFiles', { layers, prefix }, { signal }),
    );
    return paths;
  }

  /**
   * Builds what is missing, and writes the image to this machine; pending mounts become a last layer.
   *
   * @param path - Absolute, or below the working directory.
   * @example
   * ```ts
   * await engine.exportTo(image, 'web.tar', { format: 'docker-archive', tag: 'web:1' });
   * ```
   */
  async exportTo(image: Image, path: string, options: api.ExportOptions): Promise<api.PublishedImage> {
    const name = options.tag === undefined ? {} : { name: options.tag };
    const specs: Record<api.ExportOptions['format'], OutputSpec> = {
      'oci-layout': { type: 'oci', tar: false, dest: path, ...name },
      'oci-archive': { type: 'oci', dest: path, ...name },
      'docker-archive': { type: 'docker', dest: path, ...name },
      'rootfs-tar': { type: 'tar', dest: path },
    };
    return await this.#publish(image, specs[options.format], options);
  }

  /**
   * Sends an image of the store or of a definition to a registry, what that does not have yet.
   *
   * @example
   * ```ts
   * const { digest } = await engine.push('web:1', 'registry.example/team/web:1');
   * ```
   * @throws {RemoteError} `E_AUTH` and its like; {DefinitionError} `E_IMAGE_NOT_FOUND`.
   */
  push(
    image: Image | string,
    destination: string,
    options: api.PushOptions = {},
  ): Promise<api.PublishedImage> {
    return this.#publish(image, { type: 'registry', name: destination }, options);
  }

  /**
   * Points a name of this machine at what was built last of the definition.
   *
   * @example
   * ```ts
   * await engine.build([image]);
   * await engine.publish(image, { name: 'web', tag: 'v1' });
   * ```
   */
  async publish(image: Image, name: ImageName): Promise<void> {
    publishImage(this.#parts, image, name);
  }

  /**
   * What was published on this machine, sorted.
   *
   * @example
   * ```ts
   * for (const { name, tag, id } of engine.publishedNames()) {
   *   console.log(`${name}:${tag}`, id);
   * }
   * ```
   */
  publishedNames(): readonly PublishedName[] {
    return this.#parts.store.published.list();
  }

  /**
   * What a name stood for, the newest first; images that are gone too.
   *
   * @example
   * ```ts
   * const [now, before] = engine.publishedHistory({ name: 'web', tag: 'v1' });
   * ```
   */
  publishedHistory(name: ImageName): readonly PublishedName[] {
    const { store, settings } = this.#parts;
    return store.published.history({ ...name, namespace: name.namespace ?? settings.environment });
  }

  /**
   * Forgets an image of the store with its names. What it is built on stays.
   *
   * @example
   * ```ts
   * await engine.deleteImage('im-1QvBvzuiGs2TX5w0XPQKvz');
   * ```
   */
  async deleteImage(id: string): Promise<void> {
    await deleteStored(this.#parts, this.#library, id);
  }

  /**
   * What the steps of the last attempt to build an image said.
   *
   * @param image - A definition, or the name or id of an image, of a layer or of a failed attempt.
   * @example
   * ```ts
   * for await (const { message } of engine.logs('web:v1', { layers: null })) {
   *   console.log(message);
   * }
   * ```
   * @throws {DefinitionError} `E_NOT_BUILT`, `E_IMAGE_NOT_FOUND`
   */
  async *logs(
    image: Image | string,
    { layers }: { readonly layers: number | null },
  ): AsyncGenerator<BuildLogEntry, void, undefined> {
    const { store } = this.#parts;
    const id =
      typeof image !== 'string'
        ? idOfBuilt(this.#parts, image, 'there are no logs')
        : store.attempts.find(image) === undefined
          ? this.#library.find(image).id
          : image;
    yield* buildLogs(store, id, layers);
  }

  /**
   * Writes an image of the store or of a definition somewhere.
   *
   * @example
   * ```ts
   * await engine.output('web:1', { type: 'local', dest: './rootfs' });
   * ```
   */
  output(
    image: Image | string,
    spec: OutputSpec,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<api.PublishedImage> {
    return this.#publish(image, spec, options);
  }

  /**
   * Brings an image of a registry into the store, whole.
   *
   * @example
   * ```ts
   * const { id } = await engine.pull('debian:trixie-slim');
   * ```
   */
  async pull(
    reference: string,
    options: { readonly platform?: Platform; readonly signal?: AbortSignal } = {},
  ): Promise<StoredImage> {
    return await this.#during(() =>
      this.#library.pull(reference, options.platform ?? hostPlatform(), this.#context(options)),
    );
  }

  /**
   * Gives an image of the store another name. @throws {DefinitionError} `E_IMAGE_NOT_FOUND`
   *
   * @example
   * ```ts
   * await engine.tag('web:1', 'web:latest');
   * ```
   */
  async tag(source: string, target: string): Promise<StoredImage> {
    return await this.#library.tag(source, target);
  }

  /**
   * Images of the store, the newest first.
   *
   * @example
   * ```ts
   * for (const { names, sizeBytes } of engine.images()) {
   *   console.log(names.join(', '), sizeBytes);
   * }
   * ```
   */
  images(): readonly StoredImage[] {
    return this.#library.list();
  }

  /**
   * Manifest, config and what else the store knows. @throws {DefinitionError} `E_IMAGE_NOT_FOUND`
   *
   * @example
   * ```ts
   * const { manifestDescriptor } = await engine.inspect('web:1');
   * ```
   */
  async inspect(name: string): Promise<InspectedImage | InspectedIndex> {
    return await this.#library.inspect(name);
  }

  /**
   * Removes a name, and the image with its last one. What only it used is left to `prune`.
   *
   * @example
   * ```ts
   * await engine.removeImage('web:1');
   * ```
   */
  async removeImage(name: string): Promise<RemovedImage> {
    return await this.#library.remove(name);
  }

  /**
   * Directories that steps keep between builds, by id.
   *
   * @example
   * ```ts
   * const idle = (await engine.cacheMounts()).filter(({ inUse }) => !inUse);
   * ```
   */
  async cacheMounts(options: { readonly signal?: AbortSignal } = {}): Promise<readonly CacheMountFacts[]> {
    return await this.#during(() => listCacheMounts(this.#parts, this.#signalOf(options)));
  }

  /**
   * @example
   * ```ts
   * await engine.removeCacheMounts(['/root/.npm']);
   * ```
   * @throws {UsageError} `E_CACHE_MOUNT_NOT_FOUND`, `E_CACHE_MOUNT_IN_USE`; nothing is removed then.
   */
  async removeCacheMounts(
    ids: readonly string[],
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    await this.#during(() => removeCacheMounts(this.#parts, ids, this.#signalOf(options)));
  }

  /**
   * Writes what a cache mount holds as a tar, with owners as steps see them. Compressed as the name of the file says (`.tar`,
   * `.tar.gz`, `.tgz`), otherwise with zstd.
   *
   * @example
   * ```ts
   * await engine.exportCacheMount('/root/.npm', 'npm.tar.zst');
   * ```
   * @throws {UsageError} `E_CACHE_MOUNT_NOT_FOUND`, `E_CACHE_MOUNT_IN_USE`
   */
  async exportCacheMount(
    id: string,
    path: string,
    options: ExportCacheMountOptions = {},
  ): Promise<{ readonly sizeBytes: number }> {
    return await this.#during(() => exportCacheMount(this.#parts, id, path, options, this.#context(options)));
  }

  /**
   * Makes a cache mount of a tar in any compression, in the place of what it held.
   *
   * @example
   * ```ts
   * await engine.importCacheMount('/root/.npm', 'npm.tar.zst');
   * ```
   * @throws {UsageError} `E_CACHE_MOUNT_IN_USE`; {IntegrityError} `E_BAD_ARCHIVE`. Nothing has changed then.
   */
  async importCacheMount(
    id: string,
    path: string,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<{ readonly sizeBytes: number }> {
    return await this.#during(() => importCacheMount(this.#parts, id, path, this.#context(options)));
  }

  /** Secrets of this engine's store. */
  get secrets(): SecretStore {
    return this.#parts.secrets;
  }

  /** Volumes of this engine's store. */
  get volumes(): VolumeStore {
    return this.#parts.volumes;
  }

  /**
   * What the store takes on disk, by kind, and how much of it `prune` would free.
   *
   * @example
   * ```ts
   * for (const { kind, sizeBytes, reclaimableBytes } of await engine.usage()) {
   *   console.log(kind, sizeBytes, reclaimableBytes);
   * }
   * ```
   */
  async usage(options: { readonly signal?: AbortSignal } = {}): Promise<readonly UsageLine[]> {
    return await this.#during(() => usage(this.#parts, this.#signalOf(options)));
  }

  /**
   * @example
   * ```ts
   * const { freedBytes } = await engine.prune();
   * ```
   * @throws {UsageError} `E_USAGE` while this engine builds.
   */
  async prune(options: PruneOptions & { readonly signal?: AbortSignal } = {}): Promise<PruneResult> {
    if (this.#running > 0) {
      throw new UsageError('cannot prune while this engine is at work', { code: 'E_USAGE' });
    }
    return await this.#during(() => prune(this.#parts, options, this.#signalOf(options)));
  }

  /**
   * Empties the store: images, layers, caches, cache mounts and logs; volumes only when asked. Secrets stay.
   *
   * @example
   * ```ts
   * const { freedBytes } = await engine.clean({ volumes: true });
   * ```
   * @throws {UsageError} `E_STORE_IN_USE` while another engine lives, `E_USAGE` while this one builds.
   */
  async clean(options: CleanOptions & { readonly signal?: AbortSignal } = {}): Promise<CleanResult> {
    if (this.#running > 0) {
      throw new UsageError('cannot clean while this engine is at work', { code: 'E_USAGE' });
    }
    return await this.#during(() =>
      cleanStore(this.#parts, options, this.#signalOf(options), () => this.#worker.stop()),
    );
  }

  /**
   * Everything that this engine tells from now on, to be read with `for await`. Ends with the engine, or when the reader leaves the
   * loop. For the events of one build, hand the `push` of an `EventStream` to its `logger`.
   *
   * @example
   * ```ts
   * for await (const event of engine.events()) {
   *   if (event.kind === 'log') {
   *     console.log(event.text);
   *   }
   * }
   * ```
   */
  events(options: EventStreamOptions = {}): EventStream {
    const stream = this.#listeners.stream(options);
    if (this.#closed !== undefined) {
      stream.end();
    }
    return stream;
  }

  /**
   * Ends the worker and all connections. What runs is cancelled by its signal, not by this. Can be called again.
   *
   * @example
   * ```ts
   * const engine = await Engine.open();
   * try {
   *   await engine.build([image]);
   * } finally {
   *   await engine.close();
   * }
   * ```
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    let ending: Promise<void> | undefined;
    try {
      await this.#parts.volumes.close();
    } finally {
      try {
        const isIdle = await this.#worker.isIdle();
        ending = this.#worker.close();
        ending.catch(() => undefined);
        // Where nothing is written down any more it tidies up while we do, if it hears of it before this thread is busy with the database.
        await (isIdle ? new Promise((resolve) => setImmediate(resolve)) : ending);
        this.#parts.programs.close();
        await this.#parts.registries.close();
        await this.#offline?.registries.close();
      } finally {
        this.#listeners.close();
        this.#parts.store.close();
        await ending;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #publish(
    image: Image | string,
    spec: OutputSpec,
    given: PublishOptions,
  ): Promise<api.PublishedImage> {
    return await this.#watched(given, (options) => this.#publishWatched(image, spec, options));
  }

  async #publishWatched(
    image: Image | string,
    spec: OutputSpec,
    options: PublishOptions,
  ): Promise<api.PublishedImage> {
    const context = this.#context(options);
    const publish = async () => {
      let id: string;
      const names: string[] = [];
      if (typeof image === 'string') {
        id = this.#library.find(image).id;
        names.push(...[this.#library.nameOf(image)].filter((name) => name !== undefined));
      } else {
        const [built] = await buildImages(this.#parts, [image], {
          ...this.#buildOptions(options),
          materialise: true,
        });
        id = built?.id ?? '';
      }
      if (options.secret !== undefined && spec.name !== undefined) {
        await this.#parts.registries.clientFor(parseReference(spec.name), {
          type: 'static',
          secret: options.secret,
        });
      }
      return await writeOutput(this.#parts, id, spec, names, context);
    };
    return await untilNothingIsLost(context, publish);
  }

  async #container(
    image: Image | string,
    options: EngineRunOptions,
  ): Promise<Parameters<typeof runContainer>[1]> {
    if (typeof image === 'string') {
      const record = this.#library.findFor(image, options.platform ?? hostPlatform());
      return {
        imageId: record.id,
        recipe: record.build.recipe,
        layers: record.layers,
        config: record.config.config ?? {},
        platform: parsePlatform(record.platform),
        files: [],
      };
    }
    if (!(image instanceof Image)) {
      throw new DefinitionError('run() takes an Image or the name of one', { code: 'E_ARG_TYPE' });
    }
    const { solved, inputs } = await solveImages(this.#parts, [image], {
      ...this.#buildOptions(options),
      ...(options.definition === undefined ? {} : { definitions: [options.definition] }),
    });
    const [only] = solved;
    if (only === undefined) {
      throw new DefinitionError('the image was not built', { code: 'E_NOT_BUILT' });
    }
    const files: InputFile[] = [];
    for (const { input } of only.graph.mounts) {
      files.push(...(await inputs.mounted(input, this.#signalOf(options))).files);
    }
    const { platform } = only.graph;
    const config = configWithMounts(only.graph);
    return { imageId: only.id, recipe: image.recipeHash, layers: only.layers, config, platform, files };
  }

  async #inspectTree<T>(
    image: Image,
    look: (
      layers: Parameters<LayerStore['ensureSnapshots']>[0],
      worker: Worker,
      signal: AbortSignal,
    ) => Promise<T>,
  ): Promise<T> {
    return await this.#during(async () => {
      const context = this.#context({});
      const layers = await untilNothingIsLost(context, async () => {
        const { layers } = await this.#container(image, {});
        await this.#parts.layers.ensureSnapshots(layers, context);
        return layers;
      });
      return await look(layers, await this.#parts.worker(), context.signal);
    });
  }

  #partsFor({ offline = false }: EngineBuildOptions): EngineParts {
    if (!offline || this.#parts.settings.offline) {
      return this.#parts;
    }
    this.#offline ??= offlineParts(this.#parts);
    return this.#offline;
  }

  #buildOptions(options: EngineBuildOptions): BuildImagesOptions {
    const { settings } = this.#parts;
    const { logger } = options;
    return {
      signal: this.#signalOf(options),
      forceBuild: options.forceBuild ?? settings.forceBuild,
      ignoreCache: options.ignoreCache ?? settings.ignoreCache,
      pull: options.pull ?? false,
      ...(options.platform === undefined
        ? {}
        : { platform: formatPlatform(options.platform) as PlatformName }),
      ...(options.definitions === undefined ? {} : { definitions: options.definitions }),
      ...(logger === undefined ? {} : { onEvent: logger }),
      ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }),
      ...(options.onError === undefined ? {} : { onError: options.onError }),
    };
  }

  #context(options: {
    readonly signal?: AbortSignal;
    readonly logger?: (event: BuildEvent) => void;
  }): Parameters<LayerStore['ensureSnapshots']>[1] {
    const { onEvent, now } = this.#parts;
    const { logger } = options;
    return {
      signal: this.#signalOf(options),
      emit: (draft) => {
        const event = { timeMs: now(), ...draft } as BuildEvent;
        onEvent(event);
        logger?.(event);
      },
    };
  }

  #signalOf({ signal }: { readonly signal?: AbortSignal }): AbortSignal {
    const signals = [signal, this.#signal].filter((each) => each !== undefined);
    return signals.length === 1 && signals[0] !== undefined ? signals[0] : AbortSignal.any(signals);
  }

  #watched<O extends CallingBack, T>(given: O, work: (options: O) => Promise<T>): Promise<T> {
    return this.#during(() => this.#listeners.during(given, work));
  }

  async #during<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed !== undefined) {
      throw new UsageError('this engine was closed', { code: 'E_USAGE' });
    }
    this.#running += 1;
    try {
      return await work();
    } finally {
      this.#running -= 1;
    }
  }
}

/** Options for the first image twice: with its pending files as a layer, and then all images as they are. */
function carrying(shared: BuildImagesOptions, count: number): BuildImagesOptions {
  const { definitions } = shared;
  return {
    ...shared,
    materialised: [true, ...Array.from({ length: count }, () => false)],
    ...(definitions === undefined ? {} : { definitions: [definitions[0] ?? '', ...definitions] }),
  };
}

function withOptions(
  settings: Settings,
  { offline, gpuPolicy, isolation, seccomp, sandbox, builderVersion, limitsPolicy, network }: EngineOptions,
): Settings {
  return {
    ...settings,
    ...(offline === undefined ? {} : { offline: offline || settings.offline }),
    ...(gpuPolicy === undefined ? {} : { gpuPolicy }),
    ...(seccomp === undefined ? {} : { seccomp }),
    ...(sandbox === undefined ? {} : { sandbox }),
    ...(isolation === undefined ? {} : { isolation }),
    ...(limitsPolicy === undefined ? {} : { limitsPolicy }),
    ...(network === undefined ? {} : { network }),
    ...(builderVersion === undefined
      ? {}
      : { imageBuilderVersion: { value: builderVersion, from: 'builderVersion of the engine' } }),
  };
}
