/** Loads `file.ts[::export…]` and finds the images in it. */
import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { registerHooks } from 'node:module';
import { basename, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { nearName } from '../base/near-name.ts';
import { DefinitionError, TsbuildError, UsageError } from '../errors.ts';
import type { DefinedImage } from './engine-api.ts';
import { excerpt, placeOf } from './source-excerpt.ts';

export interface LoadedImage {
  readonly image: DefinedImage;
  /** `default` or the name of the export. */
  readonly exportName: string;
  /** Names the definition between runs: the file and the export. */
  readonly definition: string;
}

export interface LoadOptions {
  readonly cwd: string;
  /** Tells an image from other values. */
  readonly Image: { readonly prototype: DefinedImage };
  /** What `import … from 'tsbuild'` gives. @defaultValue the index of this very tsbuild */
  readonly ownIndex?: string;
}

/** `path`, and the exports that were named after `::`; none means all. */
export interface DefinitionName {
  readonly path: string;
  readonly exports: readonly string[];
}

const SEPARATOR = '::';
const OWN_INDEX = new URL(import.meta.url.endsWith('.ts') ? '../index.ts' : '../index.js', import.meta.url)
  .href;
const TYPESCRIPT_FILE = /^file:.*\.m?ts$/;
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
 * Runs the definition's module and collects its images: the ones that were named, or all that it exports. An image that
 * is exported twice is taken once, under its first name; `default` comes first.
 *
 * @throws {DefinitionError} `E_DEFINITION_LOAD`, with the user's line where there is one.
 * @throws {TsbuildError} what the definition's own calls threw.
 */
export async function loadDefinition(name: DefinitionName, options: LoadOptions): Promise<LoadedImage[]> {
  const path = resolve(options.cwd, name.path);
  await checkFile(path, name.path);
  const namespace = await importModule(path, name.path, options.ownIndex ?? OWN_INDEX);
  return collect(namespace, path, name, options.Image);
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

async function importModule(
  path: string,
  shown: string,
  ownIndex: string,
): Promise<Readonly<Record<string, unknown>>> {
  hookOwnPackage(ownIndex);
  const loads = followLoads();
  try {
    return await import(pathToFileURL(path).href);
  } catch (error) {
    if (error instanceof TsbuildError) {
      throw error;
    }
    throw await describeFailure(error, shown, loads.last());
  } finally {
    loads.stop();
  }
}

let ownPackageHooked = false;

/**
 * `import … from 'tsbuild'` means this very tsbuild, wherever the definition lies: a single file works without an
 * installation beside it, and there is one Image class, by which images are recognised. Stays for the life of the
 * process, because a definition may import lazily.
 */
function hookOwnPackage(ownIndex: string): void {
  if (ownPackageHooked) {
    return;
  }
  ownPackageHooked = true;
  registerHooks({
    resolve: (specifier, context, nextResolve) =>
      specifier === 'tsbuild' ? { url: ownIndex, shortCircuit: true } : nextResolve(specifier, context),
  });
}

/**
 * Remembers which module was read last: when a module cannot be compiled, it is that one. TypeScript files are modules
 * here even where a package.json above them says CommonJS: a definition lies in all kinds of projects.
 */
function followLoads(): { last(): string | undefined; stop(): void } {
  let last: string | undefined;
  const hooks = registerHooks({
    load: (url, context, nextLoad) => {
      last = url;
      return TYPESCRIPT_FILE.test(url) && !url.includes('/node_modules/')
        ? nextLoad(url, { ...context, format: 'module-typescript' })
        : nextLoad(url, context);
    },
  });
  return { last: () => last, stop: () => hooks.deregister() };
}

async function describeFailure(
  error: unknown,
  shown: string,
  lastLoaded: string | undefined,
): Promise<DefinitionError> {
  if (!(error instanceof Error)) {
    return failed(`'${shown}' threw ${String(error).slice(0, 200)}`, error);
  }
  const code = 'code' in error ? String(error.code) : '';
  if (error instanceof SyntaxError) {
    // Node puts the place in front of the stack for TypeScript, and nowhere for JavaScript: ask `node --check` then.
    const place = /^(?!SyntaxError)([\s\S]*?)\n\s*SyntaxError/.exec(error.stack ?? '')?.[1];
    const found = place ?? (await syntaxCheck(lastLoaded));
    const hint =
      code === 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX'
        ? 'Node only removes types: write a union of strings for an enum, and plain fields for parameter properties'
        : undefined;
    return failed(`cannot load '${shown}': ${error.message}${indented(found)}`, error, hint);
  }
  const place = placeOf(error);
  const shownPlace = place === undefined ? undefined : excerpt(place);
  const hint =
    code === 'ERR_MODULE_NOT_FOUND' ? 'install what it imports beside it, or mend the path' : undefined;
  const message =
    error.name === 'Error' || error.message.startsWith(error.name)
      ? error.message
      : `${error.name}: ${error.message}`;
  return failed(
    `cannot load '${shown}': ${message}${shownPlace === undefined ? '' : `\n${shownPlace}`}`,
    error,
    hint,
  );
}

async function syntaxCheck(url: string | undefined): Promise<string | undefined> {
  if (url === undefined || !url.startsWith('file:')) {
    return undefined;
  }
  try {
    await promisify(execFile)(process.execPath, ['--check', fileURLToPath(url)]);
  } catch (error) {
    const text = String((error as { stderr?: unknown }).stderr ?? '');
    return /^([\s\S]*?)\n\s*SyntaxError/.exec(text)?.[1];
  }
  return undefined;
}

function indented(text: string | undefined): string {
  if (text === undefined || text.trim() === '') {
    return '';
  }
  return `\n${text
    .trimEnd()
    .split('\n')
    .map((line) => `  ${line.replace(/^file:\/\/(?=\/)/, '')}`)
    .join('\n')}`;
}

function collect(
  namespace: Readonly<Record<string, unknown>>,
  path: string,
  name: DefinitionName,
  Image: LoadOptions['Image'],
): LoadedImage[] {
  const all = Object.keys(namespace).sort(byRank);
  const wanted = name.exports.length > 0 ? name.exports : all;
  const found = new Map<DefinedImage, LoadedImage>();
  for (const exportName of wanted) {
    const value = namespace[exportName];
    if (value instanceof (Image as unknown as new () => object)) {
      const image = value as unknown as DefinedImage;
      if (!found.has(image)) {
        found.set(image, { image, exportName, definition: `${path}${SEPARATOR}${exportName}` });
      }
    } else if (name.exports.length > 0) {
      throw notAnImage(exportName, value, all, name.path);
    }
  }
  if (found.size === 0) {
    throw failed(
      `'${name.path}' exports no image${all.length === 0 ? '' : ` (it exports ${all.join(', ')})`}`,
      undefined,
      "export one: 'export default Image.debianSlim()'",
    );
  }
  return [...found.values()];
}

function notAnImage(
  exportName: string,
  value: unknown,
  all: readonly string[],
  shown: string,
): DefinitionError {
  if (value === undefined && !all.includes(exportName)) {
    const near = nearName(exportName, all);
    const hint =
      near === undefined
        ? `it exports ${all.join(', ') || 'nothing'}`
        : `did you mean '${SEPARATOR}${near}'?`;
    return failed(`'${shown}' has no export '${exportName}'`, undefined, hint);
  }
  return failed(`export '${exportName}' of '${shown}' is not an image`, undefined);
}

/** `default` first, then by name: the order in which a module object has them, whoever loaded it. */
function byRank(left: string, right: string): number {
  if (left === 'default' || right === 'default') {
    return left === right ? 0 : left === 'default' ? -1 : 1;
  }
  return left < right ? -1 : left > right ? 1 : 0;
}

/** What an export is called in lists: the default one by its file. */
export function shownName(loaded: LoadedImage): string {
  if (loaded.exportName !== 'default') {
    return loaded.exportName;
  }
  const [path = ''] = loaded.definition.split(SEPARATOR);
  return basename(path).replace(DEFINITION_FILE, '');
}

function failed(message: string, cause: unknown, hint?: string): DefinitionError {
  return new DefinitionError(message, { code: 'E_DEFINITION_LOAD', cause, hint });
}
