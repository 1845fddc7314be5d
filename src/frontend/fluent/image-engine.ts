/**
 * What an image asks of whoever builds it. Implemented by `engine.ts`; `index.ts` registers a lazy default, so that
 * `image.build()` works without mentioning an engine.
 */
import { InternalError } from '../../errors.ts';
import type { Secret } from '../../secret/secret.ts';
import type { BuildEvent } from '../../solver/event.ts';
import type { AppFunction, CallArguments } from './app.ts';
import type { BuilderVersion } from './builder-version.ts';
import type { BuiltImage } from './built-image.ts';
import type { Image } from './image.ts';
import type { BuildLogEntry } from './image-logs.ts';
import type { ImageName } from './image-name.ts';
import type { PlatformName } from './layer-definition.ts';
import type { ImagePlan } from './plan.ts';
import type { DockerfileExport } from './to-dockerfile.ts';
import type { VolumeMap } from './volume.ts';

interface Watched {
  /** Called with every event. @defaultValue nobody is told */
  readonly logger?: (event: BuildEvent) => void;
  /** Ends the work; what was called rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface PlanOptions {
  /** Unless the factory pinned one. */
  readonly builderVersion?: BuilderVersion;
  /** Unless the factory named one. */
  readonly platform?: PlatformName;
  /** Adds the warnings about style. @defaultValue false */
  readonly lint?: boolean;
}

export interface BuildOptions extends Watched {
  /** Every layer of every image anew, replacing what the cache knows (B3). @defaultValue false */
  readonly forceBuild?: boolean;
  /** Every layer anew, without touching the cache (B3). @defaultValue false */
  readonly ignoreCache?: boolean;
  /** How many layers may be built at once. @defaultValue that of the engine */
  readonly concurrency?: number;
  /** Fail instead of using the network for bases. @defaultValue false */
  readonly offline?: boolean;
}

export interface RunOptions extends Watched {
  /** Added to the image's environment. */
  readonly env?: Readonly<Record<string, string | null | undefined>>;
  /** Variables of the command only. A later one counts, and `env` counts over them. */
  readonly secrets?: readonly Secret[];
  /** Mount path to volume. What the container writes there stays. @defaultValue none */
  readonly volumes?: VolumeMap;
  /** @defaultValue the image's WORKDIR */
  readonly workdir?: string;
  /** @defaultValue the image's USER */
  readonly user?: string;
  /** Wall-clock limit in seconds. @defaultValue no limit */
  readonly timeout?: number;
  /**
   * GPUs of this machine for the container: `'H100'`, `'any:2'`, `'all'`, `'device=0'`, `'any,memory>=40GB'` (B7).
   * @defaultValue none
   */
  readonly gpu?: string;
  /** @defaultValue closed */
  readonly stdin?: string | Uint8Array;
  /** `private`: one that leads where the machine's does, and not to the machine. @defaultValue `host` */
  readonly network?: 'host' | 'none' | 'private';
  /** Cores that the container may use, fractions too. @defaultValue all */
  readonly cpu?: number;
  /** MiB that it may use; `E_BUILD_MEMORY` when it needs more. @defaultValue no limit */
  readonly memory?: number;
  /** @defaultValue `utf8` */
  readonly encoding?: 'utf8' | 'buffer';
}

export interface RunResult<Output = string> {
  readonly exitCode: number;
  readonly stdout: Output;
  readonly stderr: Output;
}

export interface ExportOptions extends Watched {
  /** A directory (`oci-layout`), an archive of one, an archive for `docker load`, or the bare files. */
  readonly format: 'oci-layout' | 'oci-archive' | 'docker-archive' | 'rootfs-tar';
  /** Name that the image gets in the destination. */
  readonly tag?: string;
}

export interface PushOptions extends Watched {
  /** With REGISTRY_USERNAME and REGISTRY_PASSWORD. @defaultValue the host's credentials */
  readonly secret?: Secret;
}

/** How a call of a function of an app is watched. */
export interface FunctionCallOptions extends Watched {
  /** What the function prints, as it comes. @defaultValue this process's own output */
  readonly onOutput?: (stream: 'stdout' | 'stderr', chunk: Buffer) => void;
}

/** Options arrive here normalised: no unknown names, right types. Every method builds what it needs first. */
export interface ImageEngine {
  plan(image: Image, options: PlanOptions): Promise<ImagePlan>;
  toDockerfile(image: Image, options: PlanOptions): Promise<DockerfileExport>;
  /** In parallel, each shared layer once. The results are in the order of `images`. */
  build(images: readonly Image[], options: BuildOptions): Promise<readonly BuiltImage[]>;
  /** `command` takes the place of CMD. */
  run(
    image: Image,
    command: readonly string[] | undefined,
    options: RunOptions,
  ): Promise<RunResult<string | Buffer>>;
  /** In a container that is thrown away. @returns What the function returned. */
  callFunction(of: AppFunction, values: CallArguments, options: FunctionCallOptions): Promise<unknown>;
  /** In their order; later ones win. For calls in this process. */
  secretValues(secrets: readonly Secret[]): Promise<Readonly<Record<string, string>>>;
  readFile(image: Image, path: string): Promise<Buffer>;
  exists(image: Image, path: string): Promise<boolean>;
  listFiles(image: Image, prefix: string): Promise<readonly string[]>;
  exportTo(image: Image, path: string, options: ExportOptions): Promise<PublishedImage>;
  push(image: Image, reference: string, options: PushOptions): Promise<PublishedImage>;
  /** Points a name of this machine at what was built last of the definition. Builds nothing. */
  publish(image: Image, name: ImageName): Promise<void>;
  /** Forgets an image with its names. What it shares with others stays. */
  deleteImage(id: string): Promise<void>;
  /** Of the last attempt to build. `layers` null is all of them. */
  logs(image: Image, options: { readonly layers: number | null }): AsyncIterable<BuildLogEntry>;
}

export interface PublishedImage {
  /** Of the manifest. */
  readonly digest: string;
}

let provider: (() => Promise<ImageEngine>) | undefined;

/** Says where images find their engine. The function is called for every operation and should remember its engine. */
export function provideDefaultEngine(find: () => Promise<ImageEngine>): void {
  provider = find;
}

export async function defaultEngine(): Promise<ImageEngine> {
  if (provider === undefined) {
    throw new InternalError('no engine was registered for images');
  }
  return provider();
}
