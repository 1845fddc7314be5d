/** A build of a Dockerfile as a definition declares it. Nothing is read; the engine opens it when it plans or builds. */
import type { DeviceRequest, GpuRequest, Ulimit } from '../../graph/action.ts';
import type { BuildSecret } from '../../secret/build-secret.ts';
import type { Secret } from '../../secret/secret.ts';
import type { SshAgentSpec } from '../../secret/ssh-agent-spec.ts';
import type { ContextIgnore, ContextPart } from './context-input.ts';
import type { NamedContextSpec } from './named-context.ts';
import type { Entitlement } from './request.ts';

/** A larger Dockerfile is something else. */
export const MAX_DOCKERFILE_BYTES = 16 * 1024 * 1024;

export interface DockerfileDeclaration {
  readonly file: DockerfileSource;
  readonly context: ContextSource;
  /** Undefined: an ignore file decides, which is looked for as `ignoreFiles` says. */
  readonly ignore: ContextIgnore | undefined;
  readonly ignoreFiles: IgnoreFileOrder;
  /** Files of this machine by path in the context; nothing ignores them. */
  readonly contextFiles: Readonly<Record<string, string>>;
  readonly buildArgs: Readonly<Record<string, string>>;
  readonly target: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** By name, with `::platform` if it was given so. */
  readonly contexts: Readonly<Record<string, NamedContextSpec>>;
  readonly noCacheStages: readonly string[];
  readonly network: 'host' | 'none' | 'private';
  readonly extraHosts: readonly (readonly [name: string, address: string])[];
  readonly shmSizeBytes: number | undefined;
  readonly ulimits: readonly Ulimit[];
  readonly devices: readonly DeviceRequest[];
  readonly allow: readonly Entitlement[];
  readonly secrets: readonly BuildSecret[];
  readonly ssh: readonly SshAgentSpec[];
  /** Variables of every RUN, as the options of a method of the Image API give them. */
  readonly stepEnv: Readonly<Record<string, string>>;
  readonly stepSecrets: readonly Secret[];
  /** GPUs of every RUN; alternatives, the best first. */
  readonly stepGpus: readonly GpuRequest[];
}

/**
 * `docker`: the ignore file beside the Dockerfile that has its name, or the one at the top of the context. `nearest` (B8.4):
 * also `.dockerignore` beside the Dockerfile, in between; and only files inside of the context.
 */
export type IgnoreFileOrder = 'docker' | 'nearest';

export type DockerfileSource =
  /** Absolute path on this machine. */
  | { readonly kind: 'path'; readonly path: string }
  /** In the context, relative to it. @defaultValue `Dockerfile`, or `dockerfile` where there is none */
  | { readonly kind: 'in-context'; readonly path: string | undefined }
  | { readonly kind: 'text'; readonly text: string; readonly name: string };

export type ContextSource =
  /** Absolute. */
  | { readonly kind: 'directory'; readonly path: string }
  /** What a Mount holds is the whole context. */
  | { readonly kind: 'mount'; readonly parts: readonly ContextPart[] }
  /** A git repository, an archive or a Dockerfile somewhere else. */
  | { readonly kind: 'remote'; readonly url: string }
  /** A tar archive, or a Dockerfile, from standard input. */
  | { readonly kind: 'stream'; readonly stream: AsyncIterable<Uint8Array> }
  | { readonly kind: 'none' };

/** Everything that only some callers say. */
export const PLAIN_DECLARATION: Omit<DockerfileDeclaration, 'file' | 'context'> = Object.freeze({
  ignore: undefined,
  ignoreFiles: 'docker',
  contextFiles: Object.freeze({}),
  buildArgs: Object.freeze({}),
  target: undefined,
  labels: Object.freeze({}),
  contexts: Object.freeze({}),
  noCacheStages: Object.freeze([]),
  network: 'host',
  extraHosts: Object.freeze([]),
  shmSizeBytes: undefined,
  ulimits: Object.freeze([]),
  devices: Object.freeze([]),
  allow: Object.freeze([]),
  secrets: Object.freeze([]),
  ssh: Object.freeze([]),
  stepEnv: Object.freeze({}),
  stepSecrets: Object.freeze([]),
  stepGpus: Object.freeze([]),
});
