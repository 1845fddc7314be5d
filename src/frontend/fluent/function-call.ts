/** A call of a function in a container: what `runFunction` and the functions of an `App` have in common (B12 of the Image API). */

import { canonicalJson, type Json } from '../../base/canonical-json.ts';
import { lazily } from '../../base/lazily.ts';
import { toPortable } from '../../base/portable-value.ts';
import type { ResourceLimits } from '../../graph/action.ts';
import { definitionError, describe, isPlainObject, type Options } from './arguments.ts';
import { timeoutMs } from './command-layers.ts';
import type { Diagnostic } from './diagnostic.ts';
import type { FunctionTarget } from './function-target.ts';
import { limitsOption } from './limits-option.ts';

/** How a function is carried into a container, apart from its arguments. */
export interface CarriedFunction {
  readonly target: FunctionTarget;
  /** For an inline function, by name; encoded by `toPortable`. */
  readonly globals: Readonly<Record<string, Json>>;
  readonly includeSource: boolean;
  readonly node: NodeChoice;
}

/** `image`: the first on the PATH of the image. `host`: the one that runs this program. `auto`: the image's, else the host's. */
export type NodeChoice = 'auto' | 'image' | 'host';

/** What a function is made of, once its files were read. */
export interface FunctionSource {
  /** What counts of the text (B12.4). */
  readonly text: string;
  /** Text of what it refers to, by name. */
  readonly globals: Readonly<Record<string, Json>>;
}

/** Reads, and for a module bundles, what a function is made of. @throws {DefinitionError} `E_FN_NOT_FOUND`, `E_FN_BUNDLE` */
export type ReadFunction = (carried: CarriedFunction) => Promise<FunctionSource>;

/** `buildFunction` of a plan. */
export interface BuildFunctionPlan {
  readonly form: 'inline' | 'module' | 'python';
  readonly name: string;
  /** The function's own text, for a module the bundle's. */
  readonly source: string;
  readonly globals: Readonly<Record<string, Json>>;
  readonly args: readonly Json[];
  readonly kwargs: Readonly<Record<string, Json>>;
}

export function functionPlan(
  { target }: CarriedFunction,
  { text, globals }: FunctionSource,
  args: readonly Json[],
  kwargs: Readonly<Record<string, Json>>,
): BuildFunctionPlan {
  const form =
    target.kind === 'inline' ? 'inline' : target.kind === 'js-module' ? 'module' : ('python' as const);
  return { form, name: target.name, source: text, globals, args, kwargs };
}

export const CARRY_OPTIONS = ['globals', 'includeSource', 'node'] as const;

/**
 * @throws {DefinitionError} `E_FN_CAPTURES`, `E_ARG_TYPE`
 */
export function carriedFunction(
  method: string,
  target: FunctionTarget,
  options: Options,
): { readonly carried: CarriedFunction; readonly diagnostics: readonly Omit<Diagnostic, 'layer'>[] } {
  const { globals: given, node = 'auto', includeSource = true } = options;
  if (typeof includeSource !== 'boolean') {
    throw definitionError('E_ARG_TYPE', `${method}(): 'includeSource' must be true or false`);
  }
  if (node !== 'auto' && node !== 'image' && node !== 'host') {
    throw definitionError('E_ARG_TYPE', `${method}(): 'node' can be auto, image, host`);
  }
  const { globals, diagnostics } = encodedGlobals(method, target, given);
  if (target.kind === 'inline') {
    const names = new Set(Object.keys((given ?? {}) as object));
    const missing = target.analysis.captures.filter((name) => !names.has(name));
    if (missing.length > 0) {
      const list = missing.map((name) => `'${name}'`).join(', ');
      throw definitionError(
        'E_FN_CAPTURES',
        `${method}(): '${target.name}' uses ${list} from around it, which is not there in the container`,
        'pass values in globals, import modules inside the function, or put it into a module and pass jsFunction(…)',
      );
    }
  }
  return { carried: Object.freeze({ target, globals, includeSource, node }), diagnostics };
}

const VARIABLE = lazily(() => /^[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*$/u);

function encodedGlobals(method: string, target: FunctionTarget, given: unknown) {
  if (given === undefined) {
    return { globals: {}, diagnostics: [] };
  }
  if (!isPlainObject(given)) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'globals' must be an object`);
  }
  if (target.kind !== 'inline') {
    throw definitionError('E_ARG_TYPE', `${method}(): 'globals' are for inline functions only`);
  }
  const globals: Record<string, Json> = {};
  const diagnostics: Omit<Diagnostic, 'layer'>[] = [];
  for (const [name, value] of Object.entries(given)) {
    if (!VARIABLE().test(name)) {
      throw definitionError('E_ARG_TYPE', `${method}(): the global '${name}' is not a name`);
    }
    try {
      globals[name] = toPortable(value);
    } catch (error) {
      diagnostics.push({
        code: 'W_GLOBAL_UNSERIALIZABLE',
        message: `${method}(): the global '${name}' is left out: ${(error as Error).message}`,
      });
    }
  }
  return { globals: Object.freeze(globals), diagnostics };
}

/** Bytes of canonical JSON. */
export const MAX_ARGUMENT_BYTES = 2 * 1024 * 1024;
const UTF8 = new TextEncoder();

/** @throws {DefinitionError} `E_ARG_TYPE`, `E_FN_KWARGS`, `E_FN_ARGS_TOO_LARGE` */
export function functionArguments(
  method: string,
  target: FunctionTarget,
  options: Options,
): { readonly args: readonly Json[]; readonly kwargs: Readonly<Record<string, Json>> } {
  const { args = [], kwargs = {} } = options;
  if (!Array.isArray(args)) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'args' must be an array, not ${describe(args)}`);
  }
  if (!isPlainObject(kwargs)) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'kwargs' must be an object, not ${describe(kwargs)}`);
  }
  const isPython = target.kind === 'python-file' || target.kind === 'python-module';
  if (options.kwargs !== undefined && !isPython) {
    throw definitionError('E_FN_KWARGS', `${method}(): 'kwargs' are for Python functions only`);
  }
  let text: string;
  try {
    text = canonicalJson([args, kwargs]);
  } catch (error) {
    throw definitionError(
      'E_ARG_TYPE',
      `${method}(): the arguments must be what JSON can say: ${(error as Error).message}`,
    );
  }
  checkSize(method, text);
  const [copiedArgs, copiedKwargs] = JSON.parse(text) as [Json[], Record<string, Json>];
  return { args: copiedArgs, kwargs: copiedKwargs };
}

/** @throws {DefinitionError} `E_FN_ARGS_TOO_LARGE` */
export function checkSize(method: string, text: string): void {
  const size = UTF8.encode(text).length;
  if (size > MAX_ARGUMENT_BYTES) {
    throw definitionError(
      'E_FN_ARGS_TOO_LARGE',
      `${method}(): the arguments are ${size} bytes as JSON; the limit is ${MAX_ARGUMENT_BYTES}`,
      'copy large data into the image as a file',
    );
  }
}

export const RESOURCE_OPTIONS = ['cpu', 'memory', 'timeout', 'cloud', 'region'] as const;
const DEFAULT_TIMEOUT_SECONDS = 3600;

/** Limits of a call; in no key. */
export interface FunctionResources {
  readonly timeoutMs: number;
  readonly limits: ResourceLimits;
}

/** @throws {DefinitionError} `E_ARG_TYPE` */
export function functionResources(
  method: string,
  options: Options,
): { readonly resources: FunctionResources; readonly diagnostics: readonly Omit<Diagnostic, 'layer'>[] } {
  const { cloud, region } = options;
  const limits = limitsOption(method, options);
  const texts = (value: unknown) =>
    value === undefined ||
    typeof value === 'string' ||
    (Array.isArray(value) && value.every((each) => typeof each === 'string'));
  if ((cloud !== undefined && typeof cloud !== 'string') || !texts(region)) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'cloud' and 'region' are strings`);
  }
  const given = (names: readonly string[], why: string) =>
    names
      .filter((name) => options[name] !== undefined)
      .map((name) => ({
        code: 'W_IGNORED_OPTION' as const,
        message: `${method}(): '${name}' has no effect: ${why}`,
      }));
  return {
    resources: {
      timeoutMs: timeoutMs(method, options.timeout ?? DEFAULT_TIMEOUT_SECONDS) as number,
      limits,
    },
    diagnostics: given(['cloud', 'region'], 'the function runs on this machine'),
  };
}
