/** Loads `file.ts[::export…]` and finds the images in it. */
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { nearName } from '../base/near-name.ts';
import { type DefinitionError, UsageError } from '../errors.ts';
import type { DefinedImage } from './engine-api.ts';
import { failed, importModule } from './import-definition.ts';

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
  const namespace = await importModule(path, name.path, options.ownIndex);
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
