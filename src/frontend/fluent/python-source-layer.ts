/** Definitions of Python modules of the user's: `addLocalPythonSource` (A2.14 of the Image API). */

import type { Json } from '../../base/canonical-json.ts';
import { lazily } from '../../base/lazily.ts';
import { absoluteLocalPath, type LocalPath, pythonPath } from '../../base/local-path.ts';
import type { IgnoreSyntax } from '../../patterns/file-pattern-matcher.ts';
import { describeFilter, type IgnoreSpec, ignoreSyntax, inputFilter } from '../../patterns/ignore-spec.ts';
import { notPythonSource } from '../../patterns/python-files.ts';
import { booleanOption, definitionError, flattenStrings, knownOptions, splitOptions } from './arguments.ts';
import { type ConfigStep, label } from './layer-definition.ts';
import type { LocalInput } from './local-input.ts';
import type { Added } from './local-layers.ts';
import { recipeDirectory } from './recipe-directory.ts';
import { NO_STEP_OPTIONS, recipeOf } from './step-options.ts';

export interface AddLocalPythonSourceOptions {
  /** Put the modules into a layer instead of mounting them when a container starts. @defaultValue false */
  readonly copy?: boolean;
  /**
   * What is left out of packages, by paths relative to the module's own directory. Takes the place of the default. What is
   * selected is part of the key, the patterns are not.
   * @defaultValue everything but `*.py`, and whatever begins with a dot
   */
  readonly ignore?: IgnoreSpec;
  /** @defaultValue `dockerignore` */
  readonly ignoreSyntax?: IgnoreSyntax;
  /**
   * Looked into before the directory of the definition file, the working directory and PYTHONPATH. Not part of the key.
   * @defaultValue none
   */
  readonly searchPaths?: readonly LocalPath[];
  /** Not part of the cache key; without effect on a mount. @defaultValue false */
  readonly forceBuild?: boolean;
}

/** Where modules land, and what PYTHONPATH gains (E15). */
export const PYTHON_ROOT = '/root';

const METHOD = 'addLocalPythonSource';
const MODULE_NAME = lazily(
  () => /^[\p{ID_Start}_][\p{ID_Continue}]*(\.[\p{ID_Start}_][\p{ID_Continue}]*)*$/u,
);

/** Undefined when the call adds nothing. */
export function addLocalPythonSource(args: readonly unknown[]): Added | undefined {
  const { values, options } = splitOptions(args);
  const modules = flattenStrings(METHOD, values);
  knownOptions(METHOD, options, ['copy', 'ignore', 'ignoreSyntax', 'searchPaths', 'forceBuild']);
  const copy = booleanOption(METHOD, options, 'copy');
  const forceBuild = booleanOption(METHOD, options, 'forceBuild');
  const syntax = ignoreSyntax(METHOD, options.ignoreSyntax, 'dockerignore');
  const filter =
    options.ignore === undefined
      ? ({ kind: 'predicate', ignores: notPythonSource } as const)
      : inputFilter(METHOD, options.ignore, syntax);
  const searchPaths = readSearchPaths(options.searchPaths);
  const wrong = modules.find((name) => !MODULE_NAME().test(name));
  if (wrong !== undefined) {
    throw definitionError(
      'E_ARG_TYPE',
      `${METHOD}(): '${wrong.slice(0, 200)}' is not the name of a module`,
      "write it as in an import statement: 'app' or 'package.module', not a path",
    );
  }
  if (modules.length === 0) {
    return undefined;
  }
  const recipe: Json = [
    METHOD,
    modules,
    describeFilter(filter),
    recipeOf({ ...options, searchPaths: undefined }),
  ];
  const input: LocalInput = Object.freeze({
    expects: 'directory',
    hostPath: searchPaths[0] as string,
    fileAt: PYTHON_ROOT,
    directoryAt: PYTHON_ROOT,
    filter,
    python: Object.freeze({ modules: Object.freeze(modules), searchPaths }),
  });
  if (!copy) {
    return { kind: 'mount', mount: Object.freeze({ kind: 'pythonSource', input, recipe }) };
  }
  const step = {
    kind: 'copy-local',
    input,
    textOfFile: 'COPY . /',
    textOfDirectory: 'COPY . /',
    fileDestination: '/',
    directoryDestination: '/',
    fileGoesTo: 'contextMount',
  } as const;
  return {
    kind: 'layer',
    layer: {
      method: METHOD,
      label: label(METHOD, modules),
      steps: [step, PYTHON_PATH_STEP],
      ...NO_STEP_OPTIONS,
      forceBuild,
      keyExtras: {},
      recipe,
      diagnostics: [],
      requirements: [],
    },
  };
}

const PYTHON_PATH_STEP: ConfigStep = Object.freeze({
  kind: 'config',
  text: `ENV PYTHONPATH=${PYTHON_ROOT}:$PYTHONPATH`,
  change: Object.freeze({ kind: 'prepend-env', name: 'PYTHONPATH', value: PYTHON_ROOT }),
});

function readSearchPaths(given: unknown): readonly string[] {
  if (given !== undefined && !Array.isArray(given)) {
    throw definitionError('E_ARG_TYPE', `${METHOD}(): 'searchPaths' must be an array of paths`);
  }
  const own = ((given ?? []) as unknown[]).map((path) => absoluteLocalPath(METHOD, 'searchPaths', path));
  const recipe = recipeDirectory();
  const others = [
    ...(recipe === undefined ? [] : [recipe]),
    absoluteLocalPath(METHOD, 'cwd', '.'),
    ...pythonPath(),
  ];
  return Object.freeze([...new Set([...own, ...others])]);
}
