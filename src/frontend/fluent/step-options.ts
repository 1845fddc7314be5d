/** Options that every layer method has (A0.5 of the Image API). */
import type { Json } from '../../base/canonical-json.ts';
import { pathText } from '../../base/local-path.ts';
import type { GpuRequest } from '../../graph/action.ts';
import { Secret, stringEntries } from '../../secret/secret.ts';
import { booleanOption, definitionError, isPlainObject, type Options } from './arguments.ts';
import { gpuRequests, NO_GPU } from './gpu-request.ts';
import { Volume } from './volume.ts';

export interface StepOptions {
  /** Runs the layer and all later ones, whatever the cache knows (B3). Not part of the cache key. @defaultValue false */
  readonly forceBuild?: boolean;
  /**
   * Variables for this call's commands only; null and undefined entries are dropped. Values are part of the cache key.
   * @defaultValue none
   */
  readonly env?: Readonly<Record<string, string | null | undefined>>;
  /** Variables from secrets, for this call's commands only. Names are part of the key, values never. @defaultValue none */
  readonly secrets?: readonly Secret[];
  /**
   * GPUs of this machine for this call's commands only, as `TYPE[:COUNT]`: `'H100'`, `'A100-80GB:4'`, `'any'` (B7); also `'all'`, `'2'`,
   * `'device=0'`, `'any,memory>=40GB,compute>=8.0'`. The request is part of the cache key, the device is not. @defaultValue none
   */
  readonly gpu?: string;
}

export const STEP_OPTIONS = ['forceBuild', 'env', 'secrets', 'gpu'] as const;

export interface NormalStepOptions {
  readonly forceBuild: boolean;
  readonly env: Readonly<Record<string, string>>;
  readonly secrets: readonly Secret[];
  readonly gpu: readonly GpuRequest[];
}

export const NO_STEP_OPTIONS: NormalStepOptions = Object.freeze({
  forceBuild: false,
  env: Object.freeze({}),
  secrets: Object.freeze([]),
  gpu: NO_GPU,
});

/** @throws {DefinitionError} `E_ARG_TYPE`, `E_SECRET_TYPE`, `E_SECRET_KEY`, `E_SECRET_VALUE`, `E_GPU_FORMAT` */
export function stepOptions(method: string, options: Options): NormalStepOptions {
  const { secrets, gpu } = options;
  return Object.freeze({
    forceBuild: booleanOption(method, options, 'forceBuild'),
    env: envOption(method, options),
    secrets: secretList(method, secrets),
    gpu: gpuRequests(method, gpu, { lists: false }),
  });
}

/** @throws {DefinitionError} `E_ARG_TYPE`, `E_SECRET_KEY`, `E_SECRET_VALUE` */
export function envOption(method: string, { env = {} }: Options): Readonly<Record<string, string>> {
  if (!isPlainObject(env)) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'env' must be an object of strings`);
  }
  return stringEntries(`${method}(): 'env'`, env);
}

/** @throws {DefinitionError} `E_SECRET_TYPE` */
export function secretOption(method: string, { secret }: Options): Secret | undefined {
  if (secret !== undefined && !(secret instanceof Secret)) {
    throw definitionError('E_SECRET_TYPE', `${method}(): 'secret' must be a Secret`);
  }
  return secret;
}

/** @throws {DefinitionError} `E_SECRET_TYPE` */
export function secretList(method: string, secrets: unknown): readonly Secret[] {
  if (secrets === undefined) {
    return Object.freeze([]);
  }
  if (!Array.isArray(secrets) || !secrets.every((each) => each instanceof Secret)) {
    throw definitionError('E_SECRET_TYPE', `${method}(): 'secrets' must be an array of Secret`);
  }
  return Object.freeze([...(secrets as Secret[])]);
}

/** What the recipe hash sees of options: literal values, identities of secrets. */
export function recipeOf(options: Options): Json {
  const entries = Object.entries(options).filter(([name, value]) => value !== undefined && name !== 'ignore');
  return Object.fromEntries(entries.map(([name, value]) => [name, recipeValue(value)]));
}

function recipeValue(value: unknown): Json {
  if (value instanceof Secret) {
    return value.identity as unknown as Json;
  }
  if (value instanceof Volume) {
    const { name, readOnly, subPath = null } = value;
    return { name, readOnly, subPath };
  }
  if (value instanceof URL) {
    return pathText(value);
  }
  if (Array.isArray(value)) {
    return value.map(recipeValue);
  }
  if (isPlainObject(value)) {
    return recipeOf(value);
  }
  if (typeof value === 'object' && value !== null) {
    return 'stream';
  }
  return typeof value === 'function' ? 'function' : (value as Json);
}
