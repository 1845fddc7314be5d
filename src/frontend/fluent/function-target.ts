/** What a build function or an app's function is: where its source comes from (B12 of the Image API). */

import { lazily } from '../../base/lazily.ts';
import { absoluteLocalPath, type LocalPath, pathText } from '../../base/local-path.ts';
import {
  definitionError,
  isPlainObject,
  knownOptions,
  optionsInPlace,
  requiredString,
  stringArray,
} from './arguments.ts';
import { analyseFunction, type FunctionText } from './javascript-captures.ts';

/** A function of this program, sent as text: everything that it needs is in it, or in `globals`. */
// biome-ignore lint/suspicious/noExplicitAny: whatever parameters it has.
export type InlineFunction = (...args: any[]) => unknown;

/** A function that a module exports; the module is bundled, TypeScript too. Made by {@link jsFunction}. */
export interface JsModuleFunction {
  readonly module: LocalPath;
  /** @defaultValue `default` */
  readonly export?: string;
  /** Packages that are looked up in the image instead of being bundled, such as those with native code. @defaultValue none */
  readonly external?: readonly string[];
}

type JsFunctionOptions = Pick<JsModuleFunction, 'external'>;

/** A function at the top level of a Python file. Made by {@link pythonFunction}. */
export interface PythonFileFunction {
  readonly python: LocalPath;
  readonly function: string;
}

/** A function of a Python module that can be imported. Made by {@link pythonFunction}. */
export interface PythonModuleFunction {
  readonly pythonModule: string;
  readonly function: string;
}

export type BuildFunctionTarget =
  | InlineFunction
  | JsModuleFunction
  | PythonFileFunction
  | PythonModuleFunction;

/** A checked target. */
export type FunctionTarget = InlineTarget | JsModuleTarget | PythonFileTarget | PythonModuleTarget;

export interface InlineTarget {
  readonly kind: 'inline';
  readonly name: string;
  readonly text: string;
  readonly analysis: FunctionText;
  readonly function: InlineFunction;
  /** Files on the stack of the call that named it, innermost first: the function is probably in one of them. */
  readonly nearFiles: readonly string[];
}

export interface JsModuleTarget {
  readonly kind: 'js-module';
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  readonly exportName: string;
  readonly external: readonly string[];
  readonly recipe: string;
}

export interface PythonFileTarget {
  readonly kind: 'python-file';
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  readonly recipe: string;
}

export interface PythonModuleTarget {
  readonly kind: 'python-module';
  readonly name: string;
  /** `package.module`. */
  readonly module: string;
  /** Absolute: the working directory at the time of the call, where modules are looked for first. */
  readonly directory: string;
}

/**
 * A function that a JavaScript or TypeScript module exports. The module is bundled with what the function needs of it;
 * `tsbuild` itself is known in the container as far as definitions go.
 *
 * @param module - Path, or `new URL('./steps.ts', import.meta.url)`.
 * @param exportName - @defaultValue `default`
 * @param options - `external`: packages that are in the image.
 * @example
 * ```ts
 * image.runFunction(jsFunction(new URL('./steps.ts', import.meta.url), 'fetchModel'), { args: ['small'] });
 * ```
 * @throws {DefinitionError} `E_ARG_TYPE`, `E_UNKNOWN_OPTION`
 */
export function jsFunction(
  module: LocalPath,
  exportName?: string | JsFunctionOptions,
  options?: JsFunctionOptions,
): JsModuleFunction {
  const call = optionsInPlace(exportName, options);
  const { external } = knownOptions('jsFunction', call.given, ['external']);
  absoluteLocalPath('jsFunction', 'module', module);
  return Object.freeze({
    module,
    export: requiredString('jsFunction', 'export', call.placed === undefined ? 'default' : call.placed),
    ...(external === undefined ? {} : { external: stringArray('jsFunction', 'external', external) }),
  });
}

/**
 * A function of a Python file, or of a module of a package. No Python is needed on this machine.
 *
 * @example
 * ```ts
 * image.runFunction(pythonFunction('models.py', 'download'));
 * image.runFunction(pythonFunction({ module: 'models.fetch', function: 'download' }));
 * ```
 * @throws {DefinitionError} `E_ARG_TYPE`; `E_FN_NOT_FUNCTION` for a name that no function at the top level can have.
 */
export function pythonFunction(file: LocalPath, name: string): PythonFileFunction;
export function pythonFunction(of: {
  readonly module: string;
  readonly function: string;
}): PythonModuleFunction;
export function pythonFunction(
  of: LocalPath | { readonly module: string; readonly function: string },
  name?: string,
): PythonFileFunction | PythonModuleFunction {
  const method = 'pythonFunction';
  if (isPlainObject(of)) {
    const { module, function: named } = knownOptions(method, of, ['module', 'function']);
    return Object.freeze({
      pythonModule: pythonModuleName(method, module),
      function: pythonName(method, named),
    });
  }
  absoluteLocalPath(method, 'file', of);
  return Object.freeze({ python: of as LocalPath, function: pythonName(method, name) });
}

/**
 * @throws {DefinitionError} `E_FN_NOT_FUNCTION`, `E_FN_ANONYMOUS`, `E_ARG_TYPE`, `E_UNKNOWN_OPTION`
 */
export function functionTarget(method: string, target: unknown): FunctionTarget {
  if (typeof target === 'function') {
    return inlineTarget(method, target as InlineFunction);
  }
  if (!isPlainObject(target)) {
    throw notFunction(method, 'the target must be a function, jsFunction(…) or pythonFunction(…)');
  }
  if ('module' in target) {
    const {
      module,
      export: exported = 'default',
      external = [],
    } = knownOptions(method, target, ['module', 'export', 'external']);
    const path = absoluteLocalPath(method, 'module', module);
    const exportName = requiredString(method, 'export', exported);
    return {
      kind: 'js-module',
      name: exportName === 'default' ? fileStem(path) : exportName,
      path,
      exportName,
      external: stringArray(method, 'external', external),
      recipe: pathText(module as LocalPath),
    };
  }
  if ('python' in target) {
    const { python, function: named } = knownOptions(method, target, ['python', 'function']);
    return {
      kind: 'python-file',
      name: pythonName(method, named),
      path: absoluteLocalPath(method, 'python', python),
      recipe: pathText(python as LocalPath),
    };
  }
  if ('pythonModule' in target) {
    const { pythonModule, function: named } = knownOptions(method, target, ['pythonModule', 'function']);
    return {
      kind: 'python-module',
      name: pythonName(method, named),
      module: pythonModuleName(method, pythonModule),
      directory: absoluteLocalPath(method, 'module', '.'),
    };
  }
  throw notFunction(method, 'the target must be a function, jsFunction(…) or pythonFunction(…)');
}

function inlineTarget(method: string, fn: InlineFunction): InlineTarget {
  const text = Function.prototype.toString.call(fn);
  if (fn.name === '' || fn.name.startsWith('bound ') || /\{\s*\[native code\]\s*\}$/.test(text)) {
    throw definitionError(
      'E_FN_ANONYMOUS',
      `${method}(): the function has no name of its own (it is anonymous, bound or native)`,
      'give it a name: `const download = () => { … }`',
    );
  }
  const analysis = analyseFunction(text);
  if (analysis === undefined || analysis.generator) {
    throw notFunction(method, `'${fn.name}' is not a plain function`);
  }
  return { kind: 'inline', name: fn.name, text, analysis, function: fn, nearFiles: filesOnStack() };
}

const PYTHON_NAME = lazily(() => /^[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*$/u);

function pythonName(method: string, name: unknown): string {
  const text = requiredString(method, 'function', name);
  if (!PYTHON_NAME().test(text)) {
    throw notFunction(method, `'${text}' is not the name of a function at the top level of a Python module`);
  }
  return text;
}

function pythonModuleName(method: string, name: unknown): string {
  const text = requiredString(method, 'module', name);
  if (!text.split('.').every((part) => PYTHON_NAME().test(part))) {
    throw definitionError('E_ARG_TYPE', `${method}(): '${text}' is not the name of a Python module`);
  }
  return text;
}

function fileStem(path: string): string {
  return (path.split('/').at(-1) ?? '').replace(/\.[^.]*$/, '');
}

function notFunction(method: string, why: string) {
  return definitionError('E_FN_NOT_FUNCTION', `${method}(): ${why}`);
}

const FRAME_FILE = /(?:\(|\s)(?:file:\/\/)?(\/[^\s()]+):\d+:\d+\)?$/;

/** As the engine spells them; those of tsbuild are among them and hold no function of the user's. */
function filesOnStack(): readonly string[] {
  const files = (new Error('stack').stack ?? '').split('\n').flatMap((line) => {
    const file = FRAME_FILE.exec(line)?.[1];
    return file === undefined ? [] : [decoded(file.replace(/[?#].*$/, ''))];
  });
  return [...new Set(files)];
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
