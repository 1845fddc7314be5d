/** Definitions from Dockerfiles: `fromDockerfile` and `dockerfileCommands` (A1.7 and A2.16 of the Image API). */
import { basename, posix } from 'node:path';
import type { Json } from '../../base/canonical-json.ts';
import { absoluteLocalPath, type LocalPath, pathText } from '../../base/local-path.ts';
import type { DeviceRequest, Ulimit } from '../../graph/action.ts';
import type { IgnoreSyntax } from '../../patterns/file-pattern-matcher.ts';
import { describeFilter, type IgnoreSpec, ignoreSyntax, inputFilter } from '../../patterns/ignore-spec.ts';
import { type BuildSecret, parseBuildSecret } from '../../secret/build-secret.ts';
import { parseSshAgent, type SshAgentSpec } from '../../secret/ssh-agent-spec.ts';
import type { ContextIgnore } from '../dockerfile/context-input.ts';
import {
  type ContextSource,
  type DockerfileDeclaration,
  type DockerfileSource,
  type IgnoreFileOrder,
  PLAIN_DECLARATION,
} from '../dockerfile/declaration.ts';
import { type NamedContextSpec, parseNamedContextFlag } from '../dockerfile/named-context.ts';
import type { Entitlement } from '../dockerfile/request.ts';
import {
  choiceOption,
  definitionError,
  flattenStrings,
  isPlainObject,
  knownOptions,
  type Options,
  requiredString,
  splitOptions,
  stringArray,
  stringOption,
} from './arguments.ts';
import { baseLayer, FACTORY_OPTIONS, type FactoryOptions } from './base-definitions.ts';
import { type DockerfileStep, type LayerDefinition, label } from './layer-definition.ts';
import { describeMount, Mount } from './mount.ts';
import { addPythonSteps, parseAddPython } from './standalone-python.ts';
import { NO_STEP_OPTIONS, recipeOf, STEP_OPTIONS, type StepOptions, stepOptions } from './step-options.ts';

/** What the context of a Dockerfile is and which of its files count. */
interface ContextOptions {
  /** @defaultValue the working directory of the process */
  readonly contextDir?: LocalPath;
  /** Instead of `contextDir` and `ignore`: the tree of the mount is the context. What instructions use of it is part of the key. */
  readonly contextMount?: Mount;
  /**
   * What is left out of the context. Selected files are part of the key, the patterns are not. `[]` leaves nothing out.
   * @defaultValue an ignore file of the context
   */
  readonly ignore?: IgnoreSpec;
  /** @defaultValue `dockerignore` */
  readonly ignoreSyntax?: IgnoreSyntax;
  /** Values of ARG. Part of the key of the steps that see them. @defaultValue none */
  readonly buildArgs?: Readonly<Record<string, string>>;
}

export type DockerfileCommandsOptions = StepOptions &
  ContextOptions & {
    /**
     * Files of this machine by their path in the context, beside its own and over them. No ignore pattern is about them.
     * Path, mode and content are part of the key where an instruction uses them. @defaultValue none
     */
    readonly contextFiles?: Readonly<Record<string, LocalPath>>;
  };

export interface FromDockerfileOptions extends FactoryOptions, StepOptions, ContextOptions {
  /** Series of a CPython to put above the image, as a layer of its own: `3.12`, `3.14t`. Its release is part of the key. */
  readonly addPython?: string;
  /** Stop at this stage. @defaultValue the last one */
  readonly target?: string;
  /**
   * Instead of `contextDir`: the URL of a git repository or of an archive, a tar archive as a stream, or `none`. The path of
   * the Dockerfile is then one in the context.
   */
  readonly context?: string | AsyncIterable<Uint8Array>;
  /**
   * Which ignore file counts without `ignore`. `nearest`: the first of `<Dockerfile>.dockerignore`, `.dockerignore` beside it
   * and `.dockerignore` of the context that is inside of the context. `docker`: as its tools do, without the second and with
   * the first wherever it is. Not part of the key. @defaultValue `nearest`
   */
  readonly ignoreFiles?: IgnoreFileOrder;
  /** Over those of the Dockerfile. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Further contexts by name: a directory, `docker-image://…`, `oci-layout://…`, `target:…`, or a URL. */
  readonly buildContexts?: Readonly<Record<string, string>>;
  /** Stages whose steps run again. Not part of the key. */
  readonly noCacheFilter?: readonly string[];
  /**
   * Network of steps that do not say: the machine's, none, or a private one that leads where the machine's does and not to the machine.
   * Whether there is one is part of the key. @defaultValue `host`
   */
  readonly network?: 'host' | 'none' | 'private';
  /** Further lines of `/etc/hosts`: name to address. The names are part of the key. */
  readonly addHosts?: Readonly<Record<string, string>>;
  /** Size of `/dev/shm` in bytes. Not part of the key. */
  readonly shmSizeBytes?: number;
  /** Part of the key. */
  readonly ulimits?: readonly Ulimit[];
  /** Devices of the Container Device Interface for every step. Part of the key. */
  readonly devices?: readonly DeviceRequest[];
  /** What the Dockerfile is trusted with. @defaultValue nothing */
  readonly allow?: readonly Entitlement[];
  /** Secrets for `RUN --mount=type=secret`: `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`. Ids are in the key, values never. */
  readonly buildSecrets?: readonly string[];
  /** Agents for `RUN --mount=type=ssh`: `default`, `ID=SOCKET` or `ID=KEY,KEY`. */
  readonly ssh?: readonly string[];
}

/** A Dockerfile that is not in a file. */
export interface DockerfileText {
  readonly text: string;
  /** What errors call it. @defaultValue `Dockerfile` */
  readonly name?: string;
}

const CONTEXT_OPTIONS = ['contextDir', 'contextMount', 'ignore', 'ignoreSyntax', 'buildArgs'];
const DOCKERFILE_OPTIONS = [
  'addPython',
  ...CONTEXT_OPTIONS,
  'target',
  'context',
  'ignoreFiles',
  'labels',
  'buildContexts',
  'noCacheFilter',
  'network',
  'addHosts',
  'shmSizeBytes',
  'ulimits',
  'devices',
  'allow',
  'buildSecrets',
  'ssh',
];
const ENTITLEMENTS: readonly Entitlement[] = ['network.host', 'security.insecure', 'device'];

/** The layers of the Dockerfile, and with `addPython` that of Python. */
export function fromDockerfile(
  path: unknown,
  given: unknown,
): { readonly base: LayerDefinition; readonly python?: LayerDefinition } {
  const method = 'fromDockerfile';
  const options = knownOptions(method, given, [...FACTORY_OPTIONS, ...STEP_OPTIONS, ...DOCKERFILE_OPTIONS]);
  const context = contextSource(method, options);
  const file = dockerfileSource(method, path, context);
  const common = stepOptions(method, options);
  const addPython = parseAddPython(method, options.addPython);
  const declaration: DockerfileDeclaration = {
    ...PLAIN_DECLARATION,
    ...contextParts(method, options),
    file,
    context,
    ignoreFiles: choiceOption(method, options, 'ignoreFiles', ['nearest', 'docker']) ?? 'nearest',
    target: stringOption(method, options, 'target'),
    labels: stringRecord(method, options, 'labels'),
    contexts: namedContexts(method, options),
    noCacheStages: optionalStrings(method, options, 'noCacheFilter'),
    network: choiceOption(method, options, 'network', ['host', 'none', 'private']) ?? 'host',
    extraHosts: Object.entries(stringRecord(method, options, 'addHosts')),
    shmSizeBytes: sizeOption(method, options, 'shmSizeBytes'),
    ulimits: listOf<Ulimit>(method, options, 'ulimits', isUlimit),
    devices: listOf<DeviceRequest>(method, options, 'devices', isDevice),
    allow: optionalStrings(method, options, 'allow').map((each) => entitlement(method, each)),
    secrets: optionalStrings(method, options, 'buildSecrets').map(
      (each): BuildSecret => parseBuildSecret(each),
    ),
    ssh: optionalStrings(method, options, 'ssh').map((each): SshAgentSpec => parseSshAgent(each)),
    stepEnv: common.env,
    stepSecrets: common.secrets,
    stepGpus: common.gpu,
  };
  const words = [shownSource(file)];
  const base = {
    ...baseLayer(method, options, words, {
      kind: 'dockerfile',
      declaration: Object.freeze(declaration),
    }),
    ...common,
    recipe: [sourceRecipe(path), recipeOf(forRecipe(method, options))],
  };
  return addPython === undefined ? { base } : { base, python: pythonLayer(method, addPython) };
}

function pythonLayer(method: string, series: string): LayerDefinition {
  return {
    method,
    label: label(method, ['Python', series]),
    steps: addPythonSteps(series),
    ...NO_STEP_OPTIONS,
    keyExtras: {},
    recipe: ['addPython', series],
    diagnostics: [],
    requirements: [],
  };
}

/** Instructions that belong to a factory's layer, right after the base. */
export function setupStep(method: string, lines: readonly string[]): DockerfileStep {
  return dockerfileStep(`${method}()`, lines, {
    ...contextParts(method, {}),
    context: contextSource(method, {}),
  });
}

function dockerfileStep(
  name: string,
  lines: readonly string[],
  parts: Partial<DockerfileDeclaration> & Pick<DockerfileDeclaration, 'context'>,
): DockerfileStep {
  const declaration = Object.freeze<DockerfileDeclaration>({
    ...PLAIN_DECLARATION,
    ...parts,
    file: { kind: 'text', text: ['FROM base', ...lines].join('\n'), name },
  });
  return { kind: 'dockerfile', declaration, lines };
}

/** Undefined when the call adds nothing. */
export function dockerfileCommands(args: readonly unknown[]): LayerDefinition | undefined {
  const method = 'dockerfileCommands';
  const { values, options } = splitOptions(args);
  const lines = flattenStrings(method, values);
  knownOptions(method, options, [...STEP_OPTIONS, ...CONTEXT_OPTIONS, 'contextFiles']);
  const common = stepOptions(method, options);
  const context = contextSource(method, options);
  const contextFiles = contextFilesOption(method, options.contextFiles);
  if (lines.length === 0) {
    return undefined;
  }
  const step = dockerfileStep(`${method}()`, lines, {
    ...contextParts(method, options),
    context,
    contextFiles,
    stepEnv: common.env,
    stepSecrets: common.secrets,
    stepGpus: common.gpu,
  });
  return {
    method,
    label: label(method, [lines[0] as string, ...(lines.length > 1 ? ['…'] : [])]),
    steps: [step],
    ...common,
    keyExtras: {},
    recipe: [lines, recipeOf(forRecipe(method, options))],
    diagnostics: [],
    requirements: [],
  };
}

/** Options with what is no literal value described. */
function forRecipe(method: string, options: Options): Options {
  const { contextMount, ignore, ignoreSyntax: syntax } = options;
  return {
    ...options,
    contextMount: contextMount instanceof Mount ? describeMount(contextMount) : undefined,
    ignored:
      ignore === undefined
        ? undefined
        : describeFilter(inputFilter(method, ignore, ignoreSyntax(method, syntax, 'dockerignore'))),
  };
}

function dockerfileSource(method: string, path: unknown, context: ContextSource): DockerfileSource {
  if (isPlainObject(path)) {
    const { text, name } = path;
    if (typeof text !== 'string' || (name !== undefined && typeof name !== 'string')) {
      throw definitionError('E_ARG_TYPE', `${method}(): a Dockerfile without a file is { text, name? }`);
    }
    return { kind: 'text', text, name: name ?? 'Dockerfile' };
  }
  if (context.kind === 'remote' || context.kind === 'stream') {
    return {
      kind: 'in-context',
      path: path === undefined ? undefined : requiredString(method, 'path', path),
    };
  }
  if (path === undefined && context.kind === 'directory') {
    return { kind: 'in-context', path: undefined };
  }
  return { kind: 'path', path: absoluteLocalPath(method, 'path', path) };
}

function contextSource(method: string, options: Options): ContextSource {
  const { context, contextDir, contextMount, ignore } = options;
  if (contextMount !== undefined) {
    if (!(contextMount instanceof Mount)) {
      throw definitionError('E_ARG_TYPE', `${method}(): 'contextMount' must be a Mount`);
    }
    const other = ['context', 'contextDir', 'ignore'].find((name) => options[name] !== undefined);
    if (other !== undefined) {
      throw definitionError(
        'E_ARG_TYPE',
        `${method}(): 'contextMount' is instead of '${other}'`,
        other === 'ignore' ? 'give ignore to Mount.fromLocalDir()' : undefined,
      );
    }
    return { kind: 'mount', parts: Mount.partsOf(contextMount) };
  }
  if (context === undefined) {
    return { kind: 'directory', path: absoluteLocalPath(method, 'contextDir', contextDir ?? '.') };
  }
  if (contextDir !== undefined || ignore !== undefined) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'context' is instead of 'contextDir' and 'ignore'`);
  }
  if (context === 'none') {
    return { kind: 'none' };
  }
  if (typeof context === 'string' && context !== '') {
    return { kind: 'remote', url: context };
  }
  if (typeof context === 'object' && context !== null && Symbol.asyncIterator in context) {
    return { kind: 'stream', stream: context as AsyncIterable<Uint8Array> };
  }
  throw definitionError('E_ARG_TYPE', `${method}(): 'context' is a URL, a stream or 'none'`);
}

function contextParts(method: string, options: Options): Pick<DockerfileDeclaration, 'ignore' | 'buildArgs'> {
  return {
    ignore: contextIgnore(method, options),
    buildArgs: stringRecord(method, options, 'buildArgs'),
  };
}

const IGNORE_NAME = "the option 'ignore'";

/** Lists in the usual syntax mean what a file of them means, so that errors can name the line. */
function contextIgnore(method: string, options: Options): ContextIgnore | undefined {
  const { ignore } = options;
  const syntax = ignoreSyntax(method, options.ignoreSyntax, 'dockerignore');
  if (ignore === undefined) {
    return undefined;
  }
  const filter = inputFilter(method, ignore, syntax);
  if (!Array.isArray(ignore) || syntax === 'gitignore') {
    return { name: IGNORE_NAME, filter };
  }
  // A list has no comments.
  const lines = (ignore as string[]).map((each) => (each.startsWith('#') ? `\\${each}` : each));
  return { name: IGNORE_NAME, text: lines.join('\n') };
}

function contextFilesOption(method: string, given: unknown): Readonly<Record<string, string>> {
  if (given === undefined) {
    return {};
  }
  if (!isPlainObject(given)) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'contextFiles' must be an object of paths`);
  }
  const entries = Object.entries(given).map(([path, file]) => {
    const at = posix.resolve('/', path);
    if (path.includes('\0') || at === '/' || path.endsWith('/')) {
      throw definitionError(
        'E_ARG_TYPE',
        `${method}(): '${path}' cannot be the path of a file in the context`,
      );
    }
    return [at, absoluteLocalPath(method, 'contextFiles', file)] as const;
  });
  return Object.freeze(Object.fromEntries(entries));
}

function namedContexts(method: string, options: Options): Readonly<Record<string, NamedContextSpec>> {
  const entries = Object.entries(stringRecord(method, options, 'buildContexts'));
  return Object.fromEntries(
    entries.map(([name, value]) => {
      const [lower, context] = parseNamedContextFlag(`${name}=${value}`);
      return [
        lower,
        context.kind === 'directory' || context.kind === 'layout'
          ? { ...context, path: absoluteLocalPath(method, 'buildContexts', context.path) }
          : context,
      ];
    }),
  );
}

function stringRecord(method: string, options: Options, name: string): Readonly<Record<string, string>> {
  const value = options[name];
  if (value === undefined) {
    return {};
  }
  if (!isPlainObject(value) || !Object.values(value).every((each) => typeof each === 'string')) {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' must be an object of strings`);
  }
  return Object.freeze({ ...(value as Record<string, string>) });
}

function optionalStrings(method: string, options: Options, name: string): readonly string[] {
  return options[name] === undefined ? [] : stringArray(method, name, options[name]);
}

function sizeOption(method: string, options: Options, name: string): number | undefined {
  const value = options[name];
  if (value !== undefined && !(typeof value === 'number' && Number.isSafeInteger(value) && value > 0)) {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' must be a number of bytes above 0`);
  }
  return value;
}

function listOf<T>(
  method: string,
  options: Options,
  name: string,
  is: (value: unknown) => boolean,
): readonly T[] {
  const value = options[name] ?? [];
  if (!Array.isArray(value) || !value.every(is)) {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' has an entry of the wrong form`);
  }
  return Object.freeze([...(value as T[])]);
}

function isUlimit(value: unknown): boolean {
  return (
    isPlainObject(value) &&
    typeof value.name === 'string' &&
    Number.isSafeInteger(value.soft) &&
    Number.isSafeInteger(value.hard)
  );
}

function isDevice(value: unknown): boolean {
  return isPlainObject(value) && typeof value.name === 'string' && typeof value.required === 'boolean';
}

function entitlement(method: string, text: string): Entitlement {
  const found = ENTITLEMENTS.find((each) => each === text);
  if (found === undefined) {
    throw definitionError(
      'E_ARG_TYPE',
      `${method}(): 'allow' cannot hold '${text}'`,
      `it can hold ${ENTITLEMENTS.join(', ')}`,
    );
  }
  return found;
}

/** As it was written; `path` was checked. */
function sourceRecipe(path: unknown): Json {
  if (path === undefined) {
    return null;
  }
  return isPlainObject(path) ? recipeOf(path) : pathText(path as LocalPath);
}

function shownSource(file: DockerfileSource): string {
  switch (file.kind) {
    case 'path':
      return basename(file.path);
    case 'in-context':
      return file.path ?? 'Dockerfile';
    case 'text':
      return file.name;
  }
}
