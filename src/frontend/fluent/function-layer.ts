/** Definition of the layer that a function of the user's makes (A2.20, B12 of the Image API). */
import type { Json } from '../../base/canonical-json.ts';
import { knownOptions } from './arguments.ts';
import {
  CARRY_OPTIONS,
  carriedFunction,
  functionArguments,
  functionResources,
  type NodeChoice,
  RESOURCE_OPTIONS,
} from './function-call.ts';
import { functionTarget } from './function-target.ts';
import { gpuRequests } from './gpu-request.ts';
import { type LayerDefinition, label } from './layer-definition.ts';
import { type LimitOptions, retriesOption } from './limits-option.ts';
import { recipeOf, STEP_OPTIONS, type StepOptions, stepOptions } from './step-options.ts';
import type { VolumeMap } from './volume.ts';
import { volumeMounts } from './volume-mounts.ts';

/** Limits and placement of a function. */
export interface FunctionResourceOptions extends LimitOptions {
  /** `TYPE[:COUNT]`, or alternatives, the best first (B7). Of a layer part of the key, in their order. @defaultValue none */
  readonly gpu?: string | readonly string[];
  /**
   * Mount path to volume. What is written there persists, also if the function fails, and is in no layer. Of a layer, paths,
   * names and mount options are part of the key, contents never. `E_VOLUME_PATH`, `E_VOLUME_TYPE`, `E_VOLUME_DUPLICATE`.
   * @defaultValue none
   */
  readonly volumes?: VolumeMap;
  /** Wall-clock limit in seconds. Not part of the key. @defaultValue 3600 */
  readonly timeout?: number;
  /** No effect here: `W_IGNORED_OPTION`. */
  readonly cloud?: string;
  /** No effect here: `W_IGNORED_OPTION`. */
  readonly region?: string | readonly string[];
  /** Values for an inline function, by name. Part of the key, as far as they can be carried. @defaultValue none */
  readonly globals?: Readonly<Record<string, unknown>>;
  /** Show a Python function's file or package to it, below `/root`. Not part of the key. @defaultValue true */
  readonly includeSource?: boolean;
  /** Which Node runs JavaScript: the image's, this program's, or the first of them that there is. Not part of the key. @defaultValue auto */
  readonly node?: NodeChoice;
}

export interface RunFunctionOptions extends Omit<StepOptions, 'gpu'>, FunctionResourceOptions {
  /** How often it is run again, on a fresh file system, when it fails. Not part of the key. @defaultValue those of the engine */
  readonly retries?: number;
  /** Part of the key. @defaultValue none */
  readonly args?: readonly Json[];
  /** Of Python functions only. Part of the key. @defaultValue none */
  readonly kwargs?: Readonly<Record<string, Json>>;
}

export function runFunction(target: unknown, given: unknown): LayerDefinition {
  const method = 'runFunction';
  const options = knownOptions(method, given, [
    ...STEP_OPTIONS,
    'volumes',
    ...CARRY_OPTIONS,
    ...RESOURCE_OPTIONS,
    'retries',
    'args',
    'kwargs',
  ]);
  const of = functionTarget(method, target);
  const { args, kwargs } = functionArguments(method, of, options);
  const { carried, diagnostics } = carriedFunction(method, of, options);
  const { resources, diagnostics: ignored } = functionResources(method, options);
  const retries = retriesOption(method, options);
  const { globals: _, ...literal } = options;
  const { gpu, ...common } = options;
  return {
    method,
    label: label(method, [of.name]),
    steps: [
      {
        kind: 'function',
        text: `tsbuild-function ${of.name}`,
        carried,
        args,
        kwargs,
        resources,
        ...(retries === undefined ? {} : { retries }),
      },
    ],
    ...stepOptions(method, common),
    gpu: gpuRequests(method, gpu, { lists: true }),
    volumes: volumeMounts(method, options.volumes),
    keyExtras: {},
    recipe: [targetRecipe(of), { ...(recipeOf(literal) as object), globals: carried.globals }],
    diagnostics: [...diagnostics, ...ignored],
    requirements: [],
  };
}

/** Literal, without what differs between this machine and a container. */
function targetRecipe(target: ReturnType<typeof functionTarget>): Json {
  switch (target.kind) {
    case 'inline':
      return ['inline', target.name];
    case 'js-module':
      return ['module', target.recipe, target.exportName];
    case 'python-file':
      return ['python', target.recipe, target.name];
    case 'python-module':
      return ['python', target.module, target.name];
  }
}
