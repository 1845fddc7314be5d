/**
 * What a Dockerfile is built with, and what the frontend asks of the outside. The frontend itself reads no file, starts
 * no process and opens no socket: whatever it must know of the world comes through a {@link DockerfileResolver}.
 */

import type { DeviceRequest, GpuRequest, SecretVariable, Ulimit, WholeSecret } from '../../graph/action.ts';
import type { Edge, SourceGit } from '../../graph/vertex.ts';
import type { Digest } from '../../oci/digest.ts';
import type { HistoryEntry, ImageConfig } from '../../oci/image-config.ts';
import type { Platform } from '../../oci/platform.ts';
import type { ContextInput } from './context-input.ts';
import type { GitSource } from './git-url.ts';

/** What a step may only have when the caller allows it, as buildx's `--allow` names it. */
export type Entitlement = 'network.host' | 'security.insecure' | 'device';

export interface DockerfileRequest {
  /** The Dockerfile. */
  readonly text: string;
  /** What errors call it. */
  readonly name: string;
  /** @defaultValue the last stage */
  readonly target?: string;
  readonly buildArgs: Readonly<Record<string, string>>;
  /** Over those of the Dockerfile. */
  readonly labels: Readonly<Record<string, string>>;
  /** The platform of the result, TARGETPLATFORM. */
  readonly platform: Platform;
  /** Whether somebody asked for it: the config then says so whatever the base says. */
  readonly platformAsked: boolean;
  /** BUILDPLATFORM. */
  readonly buildPlatform: Platform;
  /** Several platforms are built: progress says which. */
  readonly severalPlatforms: boolean;
  /** Undefined: there is no build context. */
  readonly context: BuildContext | undefined;
  /** By lower-case name, with `::platform` if the name was given so. */
  readonly namedContexts: ReadonlyMap<string, NamedContext>;
  /** Every step runs again. */
  readonly forced: boolean;
  /** Stages whose steps run again; all lower case. */
  readonly noCacheStages: readonly string[];
  /** Of steps that do not say. */
  readonly network: 'host' | 'none' | 'private';
  readonly extraHosts: readonly (readonly [name: string, address: string])[];
  readonly shmSizeBytes?: number;
  readonly ulimits: readonly Ulimit[];
  readonly devices: readonly DeviceRequest[];
  readonly allow: ReadonlySet<Entitlement>;
  /** Variables of every RUN, over those of the Dockerfile. */
  readonly stepEnv: Readonly<Record<string, string>>;
  readonly stepSecretEnv: readonly (SecretVariable | WholeSecret)[];
  /** GPUs of every RUN; alternatives, the best first. */
  readonly stepGpus: readonly GpuRequest[];
  /** Convert every stage, for checks. @defaultValue only what the target needs */
  readonly allStages?: boolean;
  /** Names the definition in the origins of vertices, so that explanations find the last run of a step. */
  readonly definition: string;
  /** Position in the chain of the call that brought the Dockerfile, for errors. */
  readonly layer: number;
  /** Where an `input` context gets the root filesystem that `dockerfileCommands` continues. */
  readonly begin?: StageBeginning;
}

/** Where a context is, and what of it is hidden. */
export type ContextDirectory = Omit<ContextInput, 'kind' | 'selections'>;

/** A build context that lies in a directory of this machine. */
export interface BuildContext {
  readonly directory: ContextDirectory;
  /** Of SOURCE_DATE_EPOCH=context: what git, a server or an archive says; a directory says nothing. */
  readonly sourceEpochSeconds?: number;
}

export type NamedContext =
  | { readonly kind: 'directory'; readonly context: BuildContext }
  | { readonly kind: 'image'; readonly reference: string }
  | { readonly kind: 'layout'; readonly layout: LayoutReference }
  /** Another stage of the same Dockerfile. */
  | { readonly kind: 'stage'; readonly name: string };

/** An OCI layout on this machine. */
export interface LayoutReference {
  readonly form: 'directory' | 'archive';
  /** Absolute. */
  readonly hostPath: string;
  readonly tag?: string;
}

/** An image that exists or is being made, as something to start from. */
export interface StageBeginning {
  readonly tip: Edge;
  readonly config: ImageConfig;
  readonly history: readonly HistoryEntry[];
}

export interface ResolvedImage {
  readonly manifestDigest: Digest;
  readonly config: ImageConfig;
}

export interface ResolvedHttp {
  /** For display: without credentials and query. */
  readonly url: string;
  readonly digest: Digest;
  readonly name: string;
  /** 0 when the server gave none. */
  readonly mtimeSeconds: number;
}

/** What an instruction says besides the URL of a repository; what both say must agree. */
export interface GitWishes {
  readonly checksum?: string;
  readonly keepGitDir?: boolean;
}

export interface DockerfileResolver {
  /** @throws {RemoteError} when the registry has to be asked and cannot be. */
  resolveImage(reference: string, platform: Platform): Promise<ResolvedImage>;
  resolveLayout(layout: LayoutReference, platform: Platform): Promise<ResolvedImage>;
  /** Finds out which bytes a URL stands for; nobody is asked when a checksum says so. @throws {DefinitionError} `E_CHECKSUM` */
  resolveHttp(url: string, checksum: string | undefined): Promise<ResolvedHttp>;
  /** Finds out which commit is meant. @throws {DefinitionError} `E_GIT_NOT_FOUND`, `E_GIT_URL` */
  resolveGit(source: GitSource, wishes: GitWishes): Promise<SourceGit>;
  /** When the commit was made, in seconds since the epoch. */
  gitTimeSeconds(source: GitSource): Promise<number>;
  /**
   * For the check CopyIgnoredFile: the ignore line that hides a source, if there is one and no line takes anything back.
   */
  ignoredBy(directory: ContextDirectory, source: string): Promise<string | undefined>;
}
