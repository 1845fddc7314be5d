/** Local paths as users write them (A0.4 of the Image API). The one place of the core that asks the process for its surroundings. */
import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { definitionError, describe } from './options.ts';

/** URLs are `file:` URLs. */
export type LocalPath = string | URL;

/** Absolute, with `~` and the working directory as they are now. @throws {DefinitionError} `E_ARG_TYPE` */
export function absoluteLocalPath(method: string, name: string, path: unknown): string {
  if (path instanceof URL) {
    if (path.protocol !== 'file:' || path.host !== '') {
      throw definitionError(
        'E_ARG_TYPE',
        `${method}(): '${name}' must be a file: URL, not '${path.protocol}'`,
      );
    }
    return fileURLToPath(path);
  }
  if (typeof path !== 'string') {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' must be a path, not ${describe(path)}`);
  }
  if (path === '' || path.includes('\0')) {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' is empty or holds a NUL character`);
  }
  if (path === '~' || path.startsWith('~/')) {
    return resolve(homeDirectory(method, name), path.slice(2));
  }
  return resolve(process.cwd(), path);
}

function homeDirectory(method: string, name: string): string {
  const home = process.env.HOME;
  if (home === undefined || !isAbsolute(home)) {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' begins with '~', and HOME is not set`);
  }
  return home;
}

/**
 * Literal text of the path, for the recipe hash. Of a URL only the last part: it is made from `import.meta.url`, which is
 * another one in a container, where the hash must be the same.
 */
export function pathText(path: LocalPath): string {
  return path instanceof URL ? (path.pathname.split('/').at(-1) ?? '') : path;
}

/** Directories of PYTHONPATH, absolute. Python takes an empty entry for the working directory, and so do we. */
export function pythonPath(): string[] {
  const entries = process.env.PYTHONPATH;
  return entries === undefined || entries === ''
    ? []
    : entries.split(':').map((entry) => resolve(process.cwd(), entry));
}
