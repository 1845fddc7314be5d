/** Reads what a function of the user's is made of (B12 of the Image API): for its key, and to carry it into a container. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, delimiter, join, normalize, resolve } from 'node:path';
import type { Json } from '../base/canonical-json.ts';
import { DefinitionError } from '../errors.ts';
import type { CarriedFunction, FunctionSource } from '../frontend/fluent/function-call.ts';
import type { FunctionTarget, InlineTarget } from '../frontend/fluent/function-target.ts';
import type { LocalInput } from '../frontend/fluent/local-input.ts';
import { findPythonFunction } from '../frontend/fluent/python-function-source.ts';
import { packagePath, runsFromSources } from '../native/package-path.ts';
import { FilePatternMatcher } from '../patterns/file-pattern-matcher.ts';
import { type Bundle, bundleModule } from './bundle-module.ts';
import { inlineModule } from './inline-module.ts';

/** What a container is given so that it can call the function. */
export interface FunctionLuggage {
  readonly runtime: 'node' | 'python';
  /** Beside the driver. */
  readonly files: readonly { readonly name: string; readonly data: Buffer }[];
  /** Files of the user's, to be mounted at paths of the container. */
  readonly sources: readonly { readonly input: LocalInput; readonly path: string }[];
}

export interface CallValues {
  readonly args: readonly Json[];
  readonly kwargs: Readonly<Record<string, Json>>;
  readonly wantsResult: boolean;
}

function driverFile(name: string): string {
  return packagePath(`data/${name}`);
}

/** Reads each function once, however many ask; made for one build. */
export class FunctionReader {
  readonly #environment: Readonly<Record<string, string | undefined>>;
  readonly #bundles = new Map<FunctionTarget, Promise<Bundle>>();
  readonly #python = new Map<FunctionTarget, Promise<PythonFile | undefined>>();
  /** Files, and directories with a slash at their end, that functions came from. */
  readonly #sources = new Set<string>();

  constructor(environment: Readonly<Record<string, string | undefined>>) {
    this.#environment = environment;
  }

  /** @throws {DefinitionError} `E_FN_NOT_FOUND`, `E_FN_BUNDLE`, `E_LOCAL_FILE_MISSING`, `E_MODULE_NOT_FOUND` */
  async read({ target, globals, includeSource }: CarriedFunction): Promise<FunctionSource> {
    switch (target.kind) {
      case 'inline':
        return { text: normalised(target.text), globals };
      case 'js-module':
        return { text: (await this.#bundle(target)).keyText, globals: {} };
      case 'python-file':
      case 'python-module': {
        const file = await this.#pythonFile(target);
        if (file === undefined) {
          if (includeSource) {
            throw new DefinitionError(
              `there is no Python module '${(target as { module: string }).module}' on this machine`,
              {
                code: 'E_MODULE_NOT_FOUND',
                hint: 'modules are looked for in the working directory and in PYTHONPATH; pass includeSource: false for one of the image',
              },
            );
          }
          // All that is known of it: another module of the image has another function of that name.
          return { text: `from ${(target as { module: string }).module} import ${target.name}`, globals: {} };
        }
        const found = findPythonFunction(file.text, target.name);
        if (found === undefined) {
          throw new DefinitionError(`'${file.path}' defines no function '${target.name}' at its top level`, {
            code: 'E_FN_NOT_FOUND',
          });
        }
        return { text: found.source, globals: found.globals };
      }
    }
  }

  /** What goes into the container. */
  async pack(carried: CarriedFunction, values: CallValues): Promise<FunctionLuggage> {
    const { target } = carried;
    switch (target.kind) {
      case 'inline':
      case 'js-module':
        return await this.#packJavaScript(carried, values);
      case 'python-file':
      case 'python-module':
        return await this.#packPython(carried, target, values);
    }
  }

  /**
   * Whether the file is the source of one of the functions that were packed. A stack comes from a container, and names what it
   * wants.
   */
  isSource(path: string): boolean {
    if (this.#sources.has(path)) {
      return true;
    }
    const directories = [...this.#sources].filter((source) => source.endsWith('/'));
    return (
      normalize(path) === path &&
      path.endsWith('.py') &&
      directories.some((source) => path.startsWith(source))
    );
  }

  async #packJavaScript(
    { target, globals }: CarriedFunction,
    { args, wantsResult }: CallValues,
  ): Promise<FunctionLuggage> {
    const bundle = target.kind === 'js-module' ? await this.#bundle(target) : undefined;
    const module = bundle ?? (await inlineModule(target as InlineTarget, Object.keys(globals)));
    for (const source of module.sources) {
      this.#sources.add(source);
    }
    const hasShim = bundle?.importsTsbuild === true;
    const payload = { name: target.name, args, globals, wantsResult, hasShim };
    return {
      runtime: 'node',
      files: [
        { name: 'driver.mjs', data: await readFile(driverFile('function-driver.mjs')) },
        { name: 'module.mjs', data: Buffer.from(module.code) },
        { name: 'payload.json', data: Buffer.from(JSON.stringify(payload)) },
        ...(hasShim ? [{ name: 'tsbuild.mjs', data: await recipeModule() }] : []),
      ],
      sources: [],
    };
  }

  async #packPython(
    { includeSource }: CarriedFunction,
    target: Extract<FunctionTarget, { kind: 'python-file' | 'python-module' }>,
    { args, kwargs, wantsResult }: CallValues,
  ): Promise<FunctionLuggage> {
    const file = includeSource ? await this.#pythonFile(target) : undefined;
    const top = file?.top;
    const at = top === undefined ? undefined : `/root/${basename(top.path)}`;
    if (top !== undefined) {
      this.#sources.add(top.isDirectory ? `${top.path}/` : top.path);
    }
    const module =
      target.kind === 'python-module' ? target.module : basename(target.path).replace(/\.py$/, '');
    const payload = {
      name: target.name,
      module,
      args,
      kwargs,
      wantsResult,
      // Stacks name the user's files.
      paths:
        top === undefined || at === undefined ? {} : { [pathPrefix(at, top)]: pathPrefix(top.path, top) },
    };
    return {
      runtime: 'python',
      files: [
        { name: 'driver.py', data: await readFile(driverFile('function-driver.py')) },
        { name: 'payload.json', data: Buffer.from(JSON.stringify(payload)) },
      ],
      sources: top === undefined || at === undefined ? [] : [{ path: at, input: sourceInput(top, at) }],
    };
  }

  #bundle(target: Extract<FunctionTarget, { kind: 'js-module' }>): Promise<Bundle> {
    return once(this.#bundles, target, async () => {
      if (!existsSync(target.path)) {
        throw fileMissing(target.path);
      }
      return await bundleModule({ ...target, tsbuild: 'external' });
    });
  }

  #pythonFile(
    target: Extract<FunctionTarget, { kind: 'python-file' | 'python-module' }>,
  ): Promise<PythonFile | undefined> {
    return once(this.#python, target, async () => {
      const top: PythonFile['top'] | undefined =
        target.kind === 'python-file' ? { path: target.path, isDirectory: false } : undefined;
      const found =
        target.kind === 'python-file'
          ? { path: target.path, top: top as PythonFile['top'] }
          : findModule(target.module, [
              target.directory,
              ...(this.#environment.PYTHONPATH ?? '').split(delimiter).filter((path) => path !== ''),
            ]);
      if (found === undefined) {
        return undefined;
      }
      try {
        return { ...found, text: await readFile(found.path, 'utf8') };
      } catch (cause) {
        throw fileMissing(found.path, cause);
      }
    });
  }
}

interface PythonFile {
  /** Of the module itself. */
  readonly path: string;
  readonly text: string;
  /** What is shown to the function: the file, or the package at the top. */
  readonly top: { readonly path: string; readonly isDirectory: boolean };
}

function findModule(name: string, roots: readonly string[]): Omit<PythonFile, 'text'> | undefined {
  const parts = name.split('.');
  for (const root of roots) {
    const base = resolve(root, ...parts);
    for (const path of [join(base, '__init__.py'), `${base}.py`]) {
      if (existsSync(path)) {
        const isFile = parts.length === 1 && path === `${base}.py`;
        return { path, top: { path: isFile ? path : resolve(root, parts[0] ?? ''), isDirectory: !isFile } };
      }
    }
  }
  return undefined;
}

const NOT_SOURCE = ['**/__pycache__', '**/*.pyc', '**/.git'];

function sourceInput({ path, isDirectory }: PythonFile['top'], at: string): LocalInput {
  return {
    expects: isDirectory ? 'directory' : 'file',
    hostPath: path,
    fileAt: at,
    directoryAt: at,
    filter: isDirectory
      ? { kind: 'patterns', matcher: new FilePatternMatcher(NOT_SOURCE) }
      : { kind: 'none' },
  };
}

function pathPrefix(path: string, { isDirectory }: PythonFile['top']): string {
  return isDirectory ? `${path}/` : `${path}"`;
}

let recipe: Promise<Buffer> | undefined;

/** What `import … from 'tsbuild'` means in the container: compiled it is one file already. */
function recipeModule(): Promise<Buffer> {
  recipe ??= runsFromSources()
    ? bundleModule({
        path: packagePath('src/recipe.ts'),
        exportName: '*',
        external: ['rolldown'],
        tsbuild: 'bundled',
      }).then(({ code }) => Buffer.from(code))
    : readFile(packagePath('dist/recipe.js'));
  return recipe;
}

/** Line ends and blanks at them say nothing. */
function normalised(text: string): string {
  return text
    .replaceAll(/\r\n?/g, '\n')
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

function fileMissing(path: string, cause?: unknown): DefinitionError {
  return new DefinitionError(`there is no file '${path}'`, { code: 'E_LOCAL_FILE_MISSING', cause });
}

function once<K, V>(made: Map<K, Promise<V>>, key: K, make: () => Promise<V>): Promise<V> {
  let value = made.get(key);
  if (value === undefined) {
    value = make();
    made.set(key, value);
  }
  return value;
}
