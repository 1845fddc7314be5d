/**
 * What one call of the chain means, as closed data: its text in plans, what it executes, what it changes in the
 * configuration, which local files it declares. Plans and graphs are made from the same value, so they cannot disagree.
 */
import type { Json } from '../../base/canonical-json.ts';
import type { GpuRequest, ResourceLimits, ToolSupport } from '../../graph/action.ts';
import type { Secret } from '../../secret/secret.ts';
import type { DockerfileDeclaration } from '../dockerfile/declaration.ts';
import type { BuilderVersion } from './builder-version.ts';
import type { Diagnostic } from './diagnostic.ts';
import type { CarriedFunction, FunctionResources } from './function-call.ts';
import type { LocalInput, ScannedFiles } from './local-input.ts';
import type { StoredImage } from './stored-base.ts';
import type { VolumeMount } from './volume-mounts.ts';

export type PlatformName = 'linux/amd64' | 'linux/arm64';

export interface LayerDefinition {
  readonly method: string;
  /** What progress calls it. */
  readonly label: string;
  /** Of the first layer only. */
  readonly base?: Base;
  readonly steps: readonly Step[];
  /** Instead of steps, until `resolve-layers.ts` has worked them out. */
  readonly deferred?: DeferredSteps;
  /** For this call's commands only. Values are in the key. */
  readonly env: Readonly<Record<string, string>>;
  /** For this call's commands only. Identities are in the key. */
  readonly secrets: readonly Secret[];
  /** For this call's commands only; alternatives, the best first. In the key. */
  readonly gpu: readonly GpuRequest[];
  /** Mounted while this call's commands run; sorted by path. Path, name and mount options are in the key. @defaultValue none */
  readonly volumes?: readonly VolumeMount[];
  readonly forceBuild: boolean;
  /** What counts besides the text of the commands. */
  readonly keyExtras: Readonly<Record<string, Json>>;
  /** Literal arguments, for the recipe hash. */
  readonly recipe: Json;
  /** Known when the call is made. */
  readonly diagnostics: readonly Omit<Diagnostic, 'layer'>[];
  /** Requirements of an install method, for the lint. */
  readonly requirements: readonly string[];
}

/** Steps that hang on what local files say: whether one is there, what kind it is, what is written in it. */
export interface DeferredSteps {
  /** Looked at before the steps are known. Only those that steps name are in the image and in the key. */
  readonly inputs: readonly LocalInput[];
  /**
   * The same facts give the same steps.
   *
   * @throws {DefinitionError} for files that do not say what the call needs.
   */
  resolve(facts: (input: LocalInput) => ScannedFiles): ResolvedSteps | Promise<ResolvedSteps>;
}

export type ResolvedSteps = Pick<LayerDefinition, 'steps'> & Partial<Pick<LayerDefinition, 'requirements'>>;

/** One line of a plan. */
export type Step =
  | RunStep
  | CopyToolStep
  | CopyPythonStep
  | CopyLocalStep
  | ConfigStep
  | WorkdirStep
  | DockerfileStep
  | FunctionStep;

export interface RunStep {
  readonly kind: 'run';
  /** Without `RUN`. */
  readonly text: string;
  /** How the text becomes an argument vector: by the image's shell, by the shell with `set -e`, or as it is. */
  readonly form: 'shell' | 'script' | 'exec';
  /** The argument vector of the `exec` form. */
  readonly argv: readonly string[];
  readonly lend: readonly ToolSupport[];
  /** Names of `${NAME}` that must be defined when the step runs. */
  readonly variables: readonly string[];
  /** Local files that the command sees at their paths in the inputs, all below `at`. It may change them; nothing of that stays. */
  readonly mounted?: { readonly at: string; readonly inputs: readonly LocalInput[] };
  readonly timeoutMs?: number;
  readonly retries?: number;
  readonly limits?: ResourceLimits;
  /** What to try when the shell does not find the command. */
  readonly hintIfMissing?: string;
}

/** A relocatable CPython. Which release it is, the builder version decides. */
export interface CopyPythonStep {
  readonly kind: 'copy-python';
  readonly text: string;
  readonly series: string;
  readonly destination: string;
}

export interface CopyToolStep {
  readonly kind: 'copy-tool';
  readonly text: string;
  readonly tool: 'uv';
  readonly version: string;
  readonly source: string;
  readonly destination: string;
}

/** Local files into the image. Which of the two lines holds is known when the input was looked at. */
export interface CopyLocalStep {
  readonly kind: 'copy-local';
  readonly input: LocalInput;
  readonly textOfFile: string;
  readonly textOfDirectory: string;
  /** Relative paths are below WORKDIR. */
  readonly fileDestination: string;
  readonly directoryDestination: string;
  /** `contextMount` of the plan holds final paths or a directory's contents, `contextFiles` single files. */
  readonly fileGoesTo: 'contextFiles' | 'contextMount';
}

export interface ConfigStep {
  readonly kind: 'config';
  readonly text: string;
  readonly change: ConfigChange;
}

export type ConfigChange =
  | { readonly kind: 'env'; readonly name: string; readonly value: string }
  /** Put before what the list of paths has, unless it is in it. */
  | { readonly kind: 'prepend-env'; readonly name: string; readonly value: string }
  | { readonly kind: 'entrypoint'; readonly argv: readonly string[] }
  | { readonly kind: 'cmd'; readonly argv: readonly string[] }
  | { readonly kind: 'shell'; readonly argv: readonly string[] }
  | { readonly kind: 'user'; readonly user: string };

export interface WorkdirStep {
  readonly kind: 'workdir';
  readonly text: string;
  readonly path: string;
}

/** Instructions of a Dockerfile on top of the image; the first line is `FROM base`. */
export interface DockerfileStep {
  readonly kind: 'dockerfile';
  readonly declaration: DockerfileDeclaration;
  /** As given. */
  readonly lines: readonly string[];
}

/** A function of the user's that runs in a container of the image. */
export interface FunctionStep {
  readonly kind: 'function';
  /** Without `RUN`. */
  readonly text: string;
  readonly carried: CarriedFunction;
  readonly args: readonly Json[];
  readonly kwargs: Readonly<Record<string, Json>>;
  readonly resources: FunctionResources;
  readonly retries?: number;
}

interface AnyBase {
  /** Pinned by the factory, for the whole chain. */
  readonly builderVersion?: BuilderVersion;
  readonly platform?: PlatformName;
}

/** Where the chain begins. What depends on the builder version is worked out by `resolve-base.ts`. */
export type Base = AnyBase &
  (
    | {
        readonly kind: 'debian-slim';
        readonly pythonVersion?: string;
        readonly source?: 'registry' | 'archive';
        readonly toolchain: boolean;
      }
    | {
        readonly kind: 'debian';
        readonly suite?: string;
        readonly packages: readonly string[];
        readonly components: readonly string[];
        readonly mirror?: string;
        readonly snapshot?: string;
      }
    | {
        readonly kind: 'registry';
        readonly reference: string;
        readonly login?: RegistryLogin;
        /** Series of a CPython that is added. */
        readonly addPython?: string;
      }
    | {
        readonly kind: 'ubuntu';
        readonly version?: string;
        /** Undefined: the one that B6 finds. */
        readonly addPython: string | false | undefined;
      }
    | { readonly kind: 'micromamba'; readonly pythonVersion?: string }
    | {
        readonly kind: 'oci-layout';
        readonly layout: OciLayoutSource;
      }
    | { readonly kind: 'stored'; readonly image: StoredImage }
    | { readonly kind: 'scratch' }
    | { readonly kind: 'dockerfile'; readonly declaration: DockerfileDeclaration }
  );

/** How a registry is told who asks. */
export interface RegistryLogin {
  /** The secret holds user and password, keys of AWS, or the key file of a service account of Google Cloud. */
  readonly type: 'static' | 'aws' | 'gcp';
  /** Without one, pulling fails. */
  readonly secret: Secret | undefined;
}

/** An OCI layout on the user's machine. */
export interface OciLayoutSource {
  readonly form: 'directory' | 'archive';
  /** Absolute. */
  readonly hostPath: string;
  readonly tag?: string;
}

/** Local files that are put above the image when a container starts. */
export interface PendingMount {
  readonly kind: 'file' | 'dir' | 'pythonSource';
  readonly input: LocalInput;
  readonly recipe: Json;
}

const LABEL_LENGTH = 72;

export function label(method: string, words: readonly string[]): string {
  const text = [method, ...words].join(' ').replace(/\s+/g, ' ').trim();
  return text.length <= LABEL_LENGTH ? text : `${text.slice(0, LABEL_LENGTH - 1)}…`;
}
