/** Loads `file.ts[::export…]` and finds the images and the functions of apps in it. */
import { stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { UsageError } from '../errors.ts';
import { inRecipeDirectory } from '../frontend/fluent/recipe-directory.ts';
import { DefinitionExports, type ExportKinds, functionsOf, isA, SEPARATOR } from './definition-exports.ts';
import { failed } from './definition-failed.ts';
import type { DefinedFunction, DefinedImage } from './engine-api.ts';
import { importModule, whileDefinitionRuns } from './import-definition.ts';
import type { GivenParam } from './param-values.ts';

export interface LoadedImage {
  readonly image: DefinedImage;
  /** `default`, the name of the export, or that of an image in an export that holds several. */
  readonly exportName: string;
  /** Names the definition between runs: the file and the export. */
  readonly definition: string;
}

/** What `tsbuild run` can run. */
export type Runnable =
  | ({ readonly kind: 'image' } & LoadedImage)
  | {
      readonly kind: 'function';
      readonly function: DefinedFunction;
      readonly exportName: string;
      readonly definition: string;
    };

export interface LoadOptions extends ExportKinds {
  readonly cwd: string;
  /** What `--param` gave. */
  readonly params?: readonly GivenParam[];
  /** Ends the waiting for a definition that takes long. */
  readonly signal?: AbortSignal;
  /** What `import … from 'tsbuild'` gives. @defaultValue the index of this very tsbuild */
  readonly ownIndex?: string;
}

/** `path`, and the exports that were named after `::`; none means all. */
export interface DefinitionName {
  readonly path: string;
  readonly exports: readonly string[];
}

const DEFINITION_FILE = /\.[cm]?[jt]s$/;

/** @throws {UsageError} `E_USAGE` */
export function parseDefinitionName(text: string): DefinitionName {
  const [path = '', ...exports] = text.split(SEPARATOR);
  if (path === '' || exports.includes('')) {
    throw new UsageError(`'${text}' is not a file, or a file and exports such as image.ts${SEPARATOR}web`, {
      code: 'E_USAGE',
    });
  }
  return { path, exports };
}

/** Whether an operand that may be a definition or an image's name is a definition. */
export function looksLikeDefinition(text: string): boolean {
  return text.includes(SEPARATOR) || DEFINITION_FILE.test(text);
}

/**
 * Runs the definition's module and collects its images: those of the exports that were named, or all. Of functions, only
 * the default export is called without being named: others are steps, plugins and whatever else a file exports. An image
 * that is exported twice is taken once, under its first name; `default` comes first.
 *
 * @throws {DefinitionError} `E_DEFINITION_LOAD`, with the user's line where there is one.
 * @throws {UsageError} `E_PARAM_UNKNOWN`, `E_PARAM_VALUE`.
 * @throws {TsbuildError} what the definition's own calls threw; `signal.reason` when aborted.
 */
export async function loadDefinition(name: DefinitionName, options: LoadOptions): Promise<LoadedImage[]> {
  return await withModule(name, options, (namespace, path) => collect(namespace, path, name, options));
}

/**
 * The one thing that `tsbuild run` should run: what was named, or the image that is the default export, or the only function
 * that is exported or that exported apps have, or the only image.
 *
 * @throws What {@link loadDefinition} throws. @throws {UsageError} `E_USAGE` where there are several.
 */
export async function loadRunnable(given: DefinitionName, options: LoadOptions): Promise<Runnable> {
  return await withModule(given, options, async (namespace, path) => {
    const isAboutImage = given.exports.length === 0 && isA(namespace.default, options.Image);
    const name = isAboutImage ? { ...given, exports: ['default'] } : given;
    const functions = functionsOf(namespace, name.exports, options).map(([exportName, of]) => ({
      kind: 'function' as const,
      function: of,
      exportName,
      definition: `${path}${SEPARATOR}${exportName}`,
    }));
    if (functions[0] !== undefined) {
      refuseParams(options.params, name.path);
      refuseSeveral(functions, 'functions', name.path);
      return functions[0];
    }
    const images = await collect(namespace, path, name, options);
    refuseSeveral(images, 'images', name.path);
    return { kind: 'image', ...(images[0] as LoadedImage) };
  });
}

async function withModule<T>(
  name: DefinitionName,
  options: LoadOptions,
  look: (namespace: Readonly<Record<string, unknown>>, path: string) => Promise<T>,
): Promise<T> {
  const path = resolve(options.cwd, name.path);
  await checkFile(path, name.path);
  const load = async () => await look(await importModule(path, options.ownIndex), path);
  return await whileDefinitionRuns(name.path, options.signal, () => inRecipeDirectory(dirname(path), load));
}

function refuseSeveral(
  found: readonly { readonly exportName: string; readonly definition: string }[],
  what: string,
  path: string,
): void {
  if (found.length > 1) {
    throw new UsageError(`'${path}' exports ${found.length} ${what}: ${found.map(shownName).join(', ')}`, {
      code: 'E_USAGE',
      hint: `name one, such as ${path}${SEPARATOR}${found[0]?.exportName}`,
    });
  }
}

/** @throws {UsageError} `E_PARAM_UNKNOWN` */
function refuseParams([given]: readonly GivenParam[] = [], path: string): void {
  if (given !== undefined) {
    throw new UsageError(
      `--param ${given.name} reaches nothing: only functions receive parameters, and none of '${path}' was called`,
      { code: 'E_PARAM_UNKNOWN', hint: 'export a function: export default ({ NAME }) => Image.…' },
    );
  }
}

async function collect(
  namespace: Readonly<Record<string, unknown>>,
  path: string,
  name: DefinitionName,
  options: LoadOptions,
): Promise<LoadedImage[]> {
  const { params = [] } = options;
  const exported = new DefinitionExports(namespace, name.path, options, params);
  const images = name.exports.length > 0 ? await exported.named(name.exports) : await exported.all();
  if (!exported.calledAny) {
    refuseParams(params, name.path);
  }
  const found = new Map<DefinedImage, LoadedImage>();
  for (const [exportName, image] of images) {
    if (!found.has(image)) {
      found.set(image, { image, exportName, definition: `${path}${SEPARATOR}${exportName}` });
    }
  }
  return [...found.values()];
}

async function checkFile(path: string, shown: string): Promise<void> {
  try {
    if ((await stat(path)).isFile()) {
      return;
    }
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw failed(
      missing ? `there is no file '${shown}'` : `cannot read '${shown}': ${(error as Error).message}`,
      error,
      missing ? 'name a definition file, or a directory with a Dockerfile' : undefined,
    );
  }
  throw failed(`'${shown}' is not a file`, undefined);
}

/** What an export is called in lists: the default one by its file. */
export function shownName(loaded: Pick<LoadedImage, 'exportName' | 'definition'>): string {
  if (loaded.exportName !== 'default') {
    return loaded.exportName;
  }
  const [path = ''] = loaded.definition.split(SEPARATOR);
  return basename(path).replace(DEFINITION_FILE, '');
}
