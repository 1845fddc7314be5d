/**
 * Functions that are called in containers of images (A4.5 of the Image API): a thin runner above the builder. Nothing is
 * deployed; a call builds the image if that is necessary, runs a container, and gives what the function returned.
 */
import { pathToFileURL } from 'node:url';
import type { Json } from '../../base/canonical-json.ts';
import { toPortable } from '../../base/portable-value.ts';
import type { GpuRequest } from '../../graph/action.ts';
import type { Secret } from '../../secret/secret.ts';
import { definitionError, isPlainObject, knownOptions, type Options, requiredString } from './arguments.ts';
import type { Diagnostic } from './diagnostic.ts';
import {
  CARRY_OPTIONS,
  type CarriedFunction,
  carriedFunction,
  checkSize,
  type FunctionResources,
  functionResources,
  RESOURCE_OPTIONS,
} from './function-call.ts';
import type { FunctionResourceOptions } from './function-layer.ts';
import { type BuildFunctionTarget, functionTarget, type InlineFunction } from './function-target.ts';
import { gpuRequests } from './gpu-request.ts';
import { Image } from './image.ts';
import { defaultEngine, type FunctionCallOptions } from './image-engine.ts';
import { type StepOptions, secretList, stepOptions } from './step-options.ts';
import { type VolumeMount, volumeMounts } from './volume-mounts.ts';

export interface AppOptions {
  /** Of functions that name none themselves. @defaultValue Image.debianSlim() */
  readonly image?: Image;
  /** Of all functions, before their own. @defaultValue none */
  readonly secrets?: readonly Secret[];
}

export interface AppFunctionOptions extends Pick<StepOptions, 'env' | 'secrets'>, FunctionResourceOptions {
  /** @defaultValue the app's */
  readonly image?: Image;
}

/** Everything that a call needs besides its arguments. */
export interface AppFunctionSpec {
  readonly image: Image;
  readonly carried: CarriedFunction;
  readonly env: Readonly<Record<string, string>>;
  readonly secrets: readonly Secret[];
  readonly gpu: readonly GpuRequest[];
  readonly volumes: readonly VolumeMount[];
  readonly resources: FunctionResources;
  readonly diagnostics: readonly Omit<Diagnostic, 'layer'>[];
}

/** Arguments of one call, and how it is watched. */
export interface InvokeOptions<Args extends readonly unknown[] = readonly unknown[]>
  extends FunctionCallOptions {
  /** @defaultValue none */
  readonly args?: Args;
  /** Keyword arguments of a Python function. @defaultValue none */
  readonly kwargs?: Readonly<Record<string, unknown>>;
}

/**
 * A named set of functions that run in containers.
 *
 * @example
 * ```ts
 * const app = new App('scraper', { image: Image.debianSlim().pipInstall('requests') });
 * export const titles = app.function({ timeout: 60 }, pythonFunction('titles.py', 'fetch'));
 * console.log(await titles.remote('https://example.com'));
 * ```
 */
export class App {
  readonly name: string;
  readonly image: Image | undefined;
  readonly secrets: readonly Secret[];
  readonly #functions: AppFunction[] = [];

  /** @throws {DefinitionError} `E_ARG_TYPE`, `E_UNKNOWN_OPTION`, `E_SECRET_TYPE` */
  constructor(name: string | ({ readonly name: string } & AppOptions), options?: AppOptions) {
    const method = 'App';
    if (isPlainObject(name) && options !== undefined) {
      throw definitionError('E_ARG_TYPE', `${method}(): the options are given twice`);
    }
    const { name: given, ...rest } = isPlainObject(name)
      ? knownOptions(method, name, ['name', 'image', 'secrets'])
      : { name, ...knownOptions(method, options, ['image', 'secrets']) };
    this.name = requiredString(method, 'name', given);
    this.image = imageOption(method, rest);
    this.secrets = secretList(method, rest.secrets);
  }

  /** In the order of their definition. */
  get functions(): readonly AppFunction[] {
    return [...this.#functions];
  }

  /** Those that its functions run in, its own first; each once. */
  get images(): readonly Image[] {
    const images = this.#functions.map(({ image }) => image);
    return [...new Set(this.image === undefined ? images : [this.image, ...images])];
  }

  /**
   * A function that runs in containers of an image. What an inline function may use is as for `runFunction`.
   *
   * @throws {DefinitionError} `E_FN_NOT_FUNCTION`, `E_FN_ANONYMOUS`, `E_FN_CAPTURES`, `E_ARG_TYPE`, `E_UNKNOWN_OPTION`,
   * `E_SECRET_TYPE`, `E_GPU_FORMAT`, `E_VOLUME_PATH`
   */
  function<Args extends unknown[], Result>(
    options: AppFunctionOptions,
    target: (...args: Args) => Result,
  ): AppFunction<Args, Awaited<Result>>;
  function<Args extends unknown[] = unknown[], Result = unknown>(
    options: AppFunctionOptions,
    target: Exclude<BuildFunctionTarget, InlineFunction>,
  ): AppFunction<Args, Result>;
  function(given: AppFunctionOptions, target: BuildFunctionTarget): AppFunction {
    const method = 'function';
    const options = knownOptions(method, given, [
      'image',
      'env',
      'secrets',
      'gpu',
      'volumes',
      ...CARRY_OPTIONS,
      ...RESOURCE_OPTIONS,
    ]);
    const of = functionTarget(method, target);
    const { gpu, ...rest } = options;
    const common = stepOptions(method, rest);
    const { carried, diagnostics } = carriedFunction(method, of, options);
    const { resources, diagnostics: ignored } = functionResources(method, options);
    const made = new AppFunction({
      image: imageOption(method, options) ?? this.image ?? Image.debianSlim(),
      carried,
      env: common.env,
      secrets: Object.freeze([...this.secrets, ...common.secrets]),
      gpu: gpuRequests(method, gpu, { lists: true }),
      volumes: volumeMounts(method, options.volumes),
      resources,
      diagnostics: [...diagnostics, ...ignored],
    });
    this.#functions.push(made);
    return made;
  }
}

/** Made by {@link App.function}. */
// biome-ignore lint/suspicious/noExplicitAny: one of whatever parameters is still a function of an app.
export class AppFunction<Args extends unknown[] = any[], Result = unknown> {
  readonly #spec: AppFunctionSpec;
  /** Calls it in a container. @throws {StepError} with `remoteStack` when it throws; {DefinitionError} `E_FN_RESULT`. */
  readonly remote: (...args: Args) => Promise<Result>;
  /** Calls it in this process, with its secrets and `env` as environment meanwhile. Not for Python. */
  readonly local: (...args: Args) => Promise<Result>;

  constructor(spec: AppFunctionSpec) {
    this.#spec = Object.freeze(spec);
    this.remote = (...args) => this.invoke({ args });
    this.local = async (...args) => (await callHere(spec, args)) as Result;
    Object.freeze(this);
  }

  get name(): string {
    return this.#spec.carried.target.name;
  }

  get image(): Image {
    return this.#spec.image;
  }

  /** {@link AppFunction.remote} with keyword arguments, a signal, a logger. */
  async invoke(options: InvokeOptions<Args> = {}): Promise<Result> {
    const { args: _, kwargs: __, ...rest } = options;
    const values = callValues(this, options);
    return (await (await defaultEngine()).callFunction(this as AppFunction, values, rest)) as Result;
  }

  /** @internal See {@link appFunctionSpec}. */
  static specOf(of: AppFunction): AppFunctionSpec {
    return of.#spec;
  }
}

/** What the engine runs. */
export function appFunctionSpec(of: AppFunction): AppFunctionSpec {
  return AppFunction.specOf(of);
}

/** Arguments in the form in which they are carried. */
export interface CallArguments {
  readonly args: readonly Json[];
  readonly kwargs: Readonly<Record<string, Json>>;
}

/** @throws {DefinitionError} `E_FN_KWARGS`, `E_FN_ARGS_TOO_LARGE`, `E_ARG_TYPE` */
export function callValues(
  of: AppFunction,
  {
    args = [],
    kwargs,
  }: { readonly args?: readonly unknown[]; readonly kwargs?: Readonly<Record<string, unknown>> },
): CallArguments {
  const { target } = appFunctionSpec(of).carried;
  if (kwargs !== undefined && target.kind !== 'python-file' && target.kind !== 'python-module') {
    throw definitionError('E_FN_KWARGS', `'${target.name}': 'kwargs' are for Python functions only`);
  }
  try {
    const values = {
      args: args.map(toPortable),
      kwargs: Object.fromEntries(Object.entries(kwargs ?? {}).map(([name, one]) => [name, toPortable(one)])),
    };
    checkSize(target.name, JSON.stringify(values));
    return values;
  } catch (error) {
    if (error instanceof TypeError) {
      throw definitionError('E_ARG_TYPE', `arguments of '${target.name}': ${error.message}`);
    }
    throw error;
  }
}

function imageOption(method: string, options: Options): Image | undefined {
  const { image } = options;
  if (image !== undefined && !(image instanceof Image)) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'image' must be an Image`);
  }
  return image;
}

async function callHere(spec: AppFunctionSpec, args: readonly unknown[]): Promise<unknown> {
  const { carried, secrets, env } = spec;
  const fn = await functionHere(carried);
  // Without secrets there is nothing that the engine would have to be opened for.
  const ofSecrets = secrets.length === 0 ? {} : await (await defaultEngine()).secretValues(secrets);
  const values = { ...ofSecrets, ...env };
  const before = Object.fromEntries(Object.keys(values).map((name) => [name, process.env[name]]));
  Object.assign(process.env, values);
  try {
    return await fn(...args);
  } finally {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) {
        delete process.env[name];
      } else {
        process.env[name] = value;
      }
    }
  }
}

async function functionHere({ target }: CarriedFunction): Promise<InlineFunction> {
  switch (target.kind) {
    case 'inline':
      return target.function;
    case 'js-module': {
      const module = (await import(pathToFileURL(target.path).href)) as Readonly<Record<string, unknown>>;
      const fn = module[target.exportName];
      if (typeof fn !== 'function') {
        throw definitionError(
          'E_FN_NOT_FOUND',
          `'${target.path}' exports no function '${target.exportName}'`,
        );
      }
      return fn as InlineFunction;
    }
    default:
      throw definitionError(
        'E_FN_NOT_FUNCTION',
        `'${target.name}' is written in Python and cannot be called in this process`,
        'call it with remote()',
      );
  }
}
