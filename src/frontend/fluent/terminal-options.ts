/** Options of the operations that end a chain (A3 of the Image API), checked in one place. */
import { isAbsolute } from 'node:path';
import {
  booleanOption,
  choiceOption,
  definitionError,
  knownOptions,
  type Options,
  stringOption,
} from './arguments.ts';
import { platformName } from './base-definitions.ts';
import { parseBuilderVersion } from './builder-version.ts';
import { timeoutMs } from './command-layers.ts';
import { gpuRequests } from './gpu-request.ts';
import type { BuildOptions, ExportOptions, PlanOptions, PushOptions, RunOptions } from './image-engine.ts';
import { limitsOption } from './limits-option.ts';
import { envOption, secretList, secretOption } from './step-options.ts';
import type { VolumeMap } from './volume.ts';
import { volumeMounts } from './volume-mounts.ts';

const WATCHED = ['logger', 'signal'];

/** @param method - `plan`, or one that takes its options but `lint`. */
export function planOptions(method: 'plan' | 'toDockerfile', given: unknown): PlanOptions {
  const own = method === 'plan' ? ['lint'] : [];
  const options = knownOptions(method, given, ['builderVersion', 'platform', ...own]);
  const { builderVersion } = options;
  return present({
    builderVersion:
      builderVersion === undefined ? undefined : parseBuilderVersion(builderVersion, `option of ${method}()`),
    platform: platformName(method, options.platform),
    lint: booleanOption(method, options, 'lint'),
  });
}

export function buildOptions(given: unknown): BuildOptions {
  const method = 'build';
  const options = knownOptions(method, given, [
    'forceBuild',
    'ignoreCache',
    'concurrency',
    'offline',
    ...WATCHED,
  ]);
  const { concurrency } = options;
  if (concurrency !== undefined && !(Number.isInteger(concurrency) && (concurrency as number) > 0)) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'concurrency' must be a whole number above 0`);
  }
  return present({
    forceBuild: optionalBoolean(method, options, 'forceBuild'),
    ignoreCache: optionalBoolean(method, options, 'ignoreCache'),
    concurrency: concurrency as number | undefined,
    offline: optionalBoolean(method, options, 'offline'),
    ...watched(method, options),
  });
}

export function runOptions(given: unknown): RunOptions {
  const method = 'run';
  const known = [
    'env',
    'secrets',
    'volumes',
    'workdir',
    'user',
    'timeout',
    'stdin',
    'network',
    'cpu',
    'memory',
    'encoding',
    'gpu',
    ...WATCHED,
  ];
  const options = knownOptions(method, given, known);
  const { stdin, timeout } = options;
  if (stdin !== undefined && typeof stdin !== 'string' && !(stdin instanceof Uint8Array)) {
    throw definitionError('E_ARG_TYPE', "run(): 'stdin' must be a string or bytes");
  }
  const workdir = stringOption(method, options, 'workdir');
  if (workdir !== undefined && !isAbsolute(workdir)) {
    throw definitionError('E_ARG_TYPE', "run(): 'workdir' must be an absolute path");
  }
  timeoutMs(method, timeout);
  limitsOption(method, options);
  gpuRequests(method, options.gpu, { lists: false });
  return present({
    env: options.env === undefined ? undefined : envOption(method, options),
    secrets: secretList(method, options.secrets),
    volumes: volumeMap(method, options.volumes),
    workdir,
    user: stringOption(method, options, 'user'),
    timeout: timeout as number | undefined,
    stdin: stdin as string | Uint8Array | undefined,
    network: choiceOption(method, options, 'network', ['host', 'none', 'private'] as const),
    cpu: options.cpu as number | undefined,
    memory: options.memory as number | undefined,
    encoding: choiceOption(method, options, 'encoding', ['utf8', 'buffer'] as const),
    gpu: options.gpu as string | undefined,
    ...watched(method, options),
  });
}

function volumeMap(method: string, volumes: unknown): VolumeMap | undefined {
  const mounts = volumeMounts(method, volumes);
  return volumes === undefined
    ? undefined
    : Object.freeze(Object.fromEntries(mounts.map(({ path, volume }) => [path, volume])));
}

export function exportOptions(given: unknown): ExportOptions {
  const method = 'exportTo';
  const options = knownOptions(method, given, ['format', 'tag', ...WATCHED]);
  const formats = ['oci-layout', 'oci-archive', 'docker-archive', 'rootfs-tar'] as const;
  const format = choiceOption(method, options, 'format', formats);
  if (format === undefined) {
    throw definitionError('E_ARG_TYPE', `exportTo(): 'format' is missing; it can be ${formats.join(', ')}`);
  }
  return { format, ...present({ tag: stringOption(method, options, 'tag'), ...watched(method, options) }) };
}

export function pushOptions(given: unknown): PushOptions {
  const method = 'push';
  const options = knownOptions(method, given, ['secret', ...WATCHED]);
  return present({ secret: secretOption(method, options), ...watched(method, options) });
}

function watched(method: string, options: Options): Pick<BuildOptions, 'logger' | 'signal'> {
  const { logger, signal } = options;
  if (logger !== undefined && typeof logger !== 'function') {
    throw definitionError('E_ARG_TYPE', `${method}(): 'logger' must be a function`);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'signal' must be an AbortSignal`);
  }
  return present({ logger: logger as BuildOptions['logger'], signal });
}

function optionalBoolean(method: string, options: Options, name: string): boolean | undefined {
  return options[name] === undefined ? undefined : booleanOption(method, options, name);
}

type Present<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** Leaves out what is undefined. */
function present<T extends object>(options: T): Present<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Present<T>;
}
