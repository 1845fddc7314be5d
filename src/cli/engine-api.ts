/**
 * What the command line asks of the engine: no more than a command uses, so that commands can be tested without an engine.
 * Plain data has the engine's own types; importing a type loads nothing.
 */

import type { Annotation, AnnotationTarget } from '../engine/annotations.ts';
import type { CacheMountFacts, ExportCacheMountOptions } from '../engine/cache-mounts.ts';
import type { CacheSource, CacheTarget } from '../engine/cache-options.ts';
import type { CleanOptions, CleanResult } from '../engine/clean.ts';
import type { DescribedDockerfile, DescribeOptions } from '../engine/describe-dockerfile.ts';
import type { KeptStepRunOptions, OnError } from '../engine/failed-steps.ts';
import type { RemovedImage, StoredImage } from '../engine/image-library.ts';
import type { OutputSpec, WrittenOutput } from '../engine/outputs.ts';
import type { PruneOptions, PruneResult, UsageLine } from '../engine/prune.ts';
import type { InputLike, TerminalLike } from '../engine/run-image.ts';
import type { PublishedName } from '../engine/stored-images.ts';
import type { EngineOptions } from '../engine.ts';
import type { DockerfileText, FromDockerfileOptions } from '../frontend/fluent/dockerfile-layers.ts';
import type { BuildLogEntry } from '../frontend/fluent/image-logs.ts';
import type { ImageName } from '../frontend/fluent/image-name.ts';
import type { Volume, VolumeMap } from '../frontend/fluent/volume.ts';
import type { VolumeStore } from '../frontend/fluent/volume-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Platform } from '../oci/platform.ts';
import type { SecretStore } from '../secret/secret-store.ts';

export type {
  Annotation,
  AnnotationTarget,
  CacheSource,
  CacheTarget,
  DescribedDockerfile,
  DockerfileText,
  EngineOptions,
  OutputSpec,
  StoredImage,
  WrittenOutput,
};

/** An image of a definition: the engine's business alone, so all that counts here is that it is one. */
export type DefinedImage = object;

/** A function of an app. */
export interface DefinedFunction {
  readonly name: string;
  readonly image: DefinedImage;
}

export interface DefinedApp {
  readonly functions: readonly DefinedFunction[];
  readonly images: readonly DefinedImage[];
}

/** Arguments in the form in which they are carried. */
export type CallValues = object;

export interface PlanOptions {
  readonly platform?: 'linux/amd64' | 'linux/arm64';
  readonly lint?: boolean;
}

export interface ExportedDockerfile {
  readonly text: string;
  readonly context: Readonly<
    Record<string, { readonly localPath?: string; readonly mode: number; readonly link?: string }>
  >;
  readonly buildContexts: Readonly<Record<string, string>>;
  readonly secrets: readonly string[];
}

export interface DefinedPlan {
  readonly platform: string;
  readonly layers: readonly {
    readonly method: string;
    readonly commands: readonly string[];
    readonly forceBuild: boolean;
  }[];
  readonly diagnostics: readonly Diagnostic[];
}

export interface Diagnostic {
  readonly code: string;
  readonly message: string;
  readonly source?: { readonly file: string; readonly line?: number };
  readonly layer?: number;
}

export interface BuiltImage {
  readonly id: string;
  /** Of the manifest, or of the index of several platforms. */
  readonly digest: string;
  readonly layers: readonly {
    readonly id: string;
    readonly method: string;
    readonly cached: boolean;
    readonly durationMs: number;
  }[];
  readonly diagnostics: readonly Diagnostic[];
}

export interface BuildOptions {
  readonly signal?: AbortSignal;
  /** Look nothing up and record nothing. */
  readonly ignoreCache?: boolean;
  /** Look nothing up, and replace what is recorded. */
  readonly forceBuild?: boolean;
  /** Ask the registries again what the tags of base images mean. */
  readonly pull?: boolean;
  /** Several make an index. @defaultValue that of this machine */
  readonly platforms?: readonly Platform[];
  readonly annotations?: readonly Annotation[];
  /** Names that the store remembers the image by. Only with one image. */
  readonly tags?: readonly string[];
  /** One for each image: names it between runs, so that a miss can be compared with the last time. */
  readonly definitions?: readonly string[];
  readonly outputs?: readonly OutputSpec[];
  /** Caches of other machines that are looked into before steps run. */
  readonly cacheFrom?: readonly CacheSource[];
  /** Where what this build knows is written for other machines. */
  readonly cacheTo?: readonly CacheTarget[];
  /** What becomes of a step that fails. @defaultValue fail */
  readonly onError?: OnError;
  /** Called after each output. */
  readonly onWritten?: (written: WrittenOutput) => void;
}

export interface RunOptions {
  readonly signal?: AbortSignal;
  readonly env?: Readonly<Record<string, string>>;
  /** By path in the container: what {@link EngineModule.Volume} made. */
  readonly volumes?: VolumeMap;
  readonly workdir?: string;
  readonly user?: string;
  readonly network?: 'host' | 'none' | 'private';
  readonly gpu?: string;
  readonly timeoutMs?: number;
  readonly platform?: Platform;
  readonly pull?: boolean;
  readonly definition?: string;
  readonly onOutput?: (stream: 'stdout' | 'stderr', chunk: Buffer) => void;
  readonly stdin?: InputLike;
  readonly terminal?: TerminalLike;
  /** The best shell of the image instead of its own command. */
  readonly shell?: boolean;
  /** The command is about to start. */
  readonly onStart?: () => void;
}

/** `secrets` and the rest are the function's own. */
export type CallOptions = Omit<RunOptions, 'stdin' | 'terminal' | 'shell' | 'onStart'>;

export interface RunResult {
  readonly exitCode: number;
  /** `SIGKILL`, … when a signal ended the command. */
  readonly signal?: string | undefined;
}

export interface InspectedImage {
  /** Absent: an index. */
  readonly configDigest?: Digest;
  readonly manifestDescriptor: Descriptor;
}

export interface EngineLike extends AsyncDisposable {
  /** Without network and without executing anything. */
  plan(image: DefinedImage, options?: PlanOptions): Promise<DefinedPlan>;
  toDockerfile(image: DefinedImage, options?: PlanOptions): Promise<ExportedDockerfile>;
  build(images: readonly DefinedImage[], options?: BuildOptions): Promise<readonly BuiltImage[]>;
  /** What a Dockerfile says of itself; nothing is built. */
  describeDockerfile(image: DefinedImage, options?: DescribeOptions): Promise<DescribedDockerfile>;
  run(
    image: DefinedImage | string,
    command: readonly string[] | undefined,
    options?: RunOptions,
  ): Promise<RunResult>;
  /** In the file system of a failed step that was kept. */
  runInFailed(
    name: string,
    command: readonly string[] | undefined,
    options?: KeptStepRunOptions & { readonly signal?: AbortSignal },
  ): Promise<RunResult>;
  /** @returns What the function returned. */
  callFunction(of: DefinedFunction, values: CallValues, options?: CallOptions): Promise<unknown>;
  pull(
    reference: string,
    options?: { readonly platform?: Platform; readonly signal?: AbortSignal },
  ): Promise<StoredImage>;
  push(
    name: string,
    destination: string,
    options?: { readonly signal?: AbortSignal },
  ): Promise<{ readonly digest: string }>;
  /** Writes an image of the store somewhere. */
  output(
    name: string,
    spec: OutputSpec,
    options?: { readonly signal?: AbortSignal },
  ): Promise<{ readonly digest: string }>;
  tag(source: string, target: string): StoredImage | Promise<StoredImage>;
  images(): readonly StoredImage[] | Promise<readonly StoredImage[]>;
  /** By name or id. Plain data: manifest, config and what else the store knows. */
  inspect(name: string): Promise<InspectedImage>;
  /** What was published, sorted. */
  publishedNames(): readonly PublishedName[] | Promise<readonly PublishedName[]>;
  /** What a name stood for, newest first. The namespace is the settings' if there is none. */
  publishedHistory(name: ImageName): readonly PublishedName[] | Promise<readonly PublishedName[]>;
  /** Of the last attempt to build. `layers` null is all of them. */
  logs(image: string, options: { readonly layers: number | null }): AsyncIterable<BuildLogEntry>;
  /** What was removed: a name, or the image as well when it was its last name. */
  removeImage(name: string): RemovedImage | Promise<RemovedImage>;
  cacheMounts(): Promise<readonly CacheMountFacts[]>;
  removeCacheMounts(ids: readonly string[]): Promise<void>;
  exportCacheMount(
    id: string,
    path: string,
    options?: ExportCacheMountOptions,
  ): Promise<{ readonly sizeBytes: number }>;
  importCacheMount(
    id: string,
    path: string,
    options?: { readonly signal?: AbortSignal },
  ): Promise<{ readonly sizeBytes: number }>;
  readonly secrets: SecretStore;
  readonly volumes: Pick<VolumeStore, 'create' | 'list' | 'delete' | 'put' | 'get' | 'listFiles' | 'remove'>;
  usage(): Promise<readonly UsageLine[]>;
  prune(options?: PruneOptions): Promise<PruneResult>;
  /** Empties the store; see the engine. */
  clean(options?: CleanOptions): Promise<CleanResult>;
}

/** One thing that `doctor` tried. */
export interface HostCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** The one command or setting that mends it. */
  readonly fix?: string | undefined;
  /** False: builds work without it. */
  readonly required?: boolean;
  /** More of it, for those who asked. */
  readonly lines?: readonly string[];
}

export interface RegistryLogin {
  readonly username: string;
  readonly password: string;
}

export interface ProbeHostOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** All directories that describe devices. @defaultValue as the settings say */
  readonly cdiDirs?: readonly string[];
  /** @defaultValue as the settings say */
  readonly driverRoot?: string;
  /** All of GPUs. @defaultValue false */
  readonly wholeGpu?: boolean;
}

/** What `src/cli/engine-module.ts` hands to the commands. */
export interface EngineModule {
  readonly Engine: { open(options?: EngineOptions): Promise<EngineLike> };
  readonly Volume: Pick<typeof Volume, 'fromName'>;
  /** The class by which an exported value is recognised as an image. Its constructor is nobody's business. */
  readonly Image: {
    readonly prototype: DefinedImage;
    fromDockerfile(path: string | DockerfileText | undefined, options: FromDockerfileOptions): DefinedImage;
  };
  /** Likewise, for apps and their functions. */
  readonly App: { readonly prototype: DefinedApp };
  readonly AppFunction: { readonly prototype: DefinedFunction };
  callValues(of: DefinedFunction, values: { readonly args: readonly unknown[] }): CallValues;
  probeHost(options?: ProbeHostOptions): Promise<readonly HostCheck[]>;
  /** Asks the registry whether the login is good. @throws {RemoteError} `E_AUTH`. */
  checkLogin(
    server: string,
    login: RegistryLogin,
    options: { readonly environment: NodeJS.ProcessEnv; readonly signal: AbortSignal },
  ): Promise<void>;
  /** @returns Where it is kept now: the path of a file or the name of a helper. */
  saveLogin(server: string, login: RegistryLogin, env: NodeJS.ProcessEnv): Promise<string>;
  /** @returns Whether there was one. */
  eraseLogin(server: string, env: NodeJS.ProcessEnv): Promise<boolean>;
}
