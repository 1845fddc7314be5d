/**
 * Where a Python module lies, as Python's own finder of files says.
 *
 * Source: Python language reference, section 5.5 "The Path Based Finder"; PEP 420 for packages without `__init__.py`.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { nearName } from '../base/near-name.ts';
import { DefinitionError } from '../errors.ts';
import { isCompiledModule } from '../patterns/python-files.ts';

export type FoundModule =
  | { readonly kind: 'module'; readonly file: string }
  /** Several directories: a namespace package, of which earlier ones come first. */
  | { readonly kind: 'package'; readonly directories: readonly string[] };

/** @throws {DefinitionError} `E_MODULE_NOT_FOUND`, `E_MODULE_BINARY` */
export async function findPythonModule(name: string, searchPaths: readonly string[]): Promise<FoundModule> {
  const parts = name.split('.');
  let directories = searchPaths;
  let found: FoundModule | undefined;
  for (const [index, part] of parts.entries()) {
    found = await findIn(part, directories, name);
    const isLast = index + 1 === parts.length;
    if (found === undefined || (!isLast && found.kind === 'module')) {
      const within = index === 0 ? undefined : parts.slice(0, index).join('.');
      throw await notFound(name, part, within, directories);
    }
    directories = found.kind === 'package' ? found.directories : [];
  }
  return found as FoundModule;
}

async function findIn(
  part: string,
  directories: readonly string[],
  whole: string,
): Promise<FoundModule | undefined> {
  const portions: string[] = [];
  for (const directory of directories) {
    const entries = await kindsIn(directory);
    if (entries.get(part) === 'directory') {
      const inside = await kindsIn(join(directory, part));
      if (inside.get('__init__.py') === 'file') {
        return { kind: 'package', directories: [join(directory, part)] };
      }
      portions.push(join(directory, part));
    }
    const compiled = [...entries].find(
      ([name, kind]) => kind === 'file' && isCompiledModule(name) && name.split('.')[0] === part,
    );
    if (compiled !== undefined) {
      throw compiledModule(whole, join(directory, compiled[0]));
    }
    if (entries.get(`${part}.py`) === 'file') {
      return { kind: 'module', file: join(directory, `${part}.py`) };
    }
  }
  return portions.length === 0 ? undefined : { kind: 'package', directories: portions };
}

export function compiledModule(name: string, path: string): DefinitionError {
  return new DefinitionError(`the module '${name}' has compiled parts: '${path}'`, {
    code: 'E_MODULE_BINARY',
    hint: 'install it in the image with pipInstall(), or leave the file out with ignore',
  });
}

/** Links count as what they lead to. What is not there, or may not be looked into, holds nothing, as for Python. */
async function kindsIn(directory: string): Promise<ReadonlyMap<string, 'file' | 'directory'>> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  const kinds = new Map<string, 'file' | 'directory'>();
  for (const entry of entries) {
    if (entry.isSymbolicLink()) {
      const found = await stat(join(directory, entry.name)).catch(() => undefined);
      if (found !== undefined) {
        kinds.set(entry.name, found.isDirectory() ? 'directory' : 'file');
      }
    } else if (entry.isDirectory() || entry.isFile()) {
      kinds.set(entry.name, entry.isDirectory() ? 'directory' : 'file');
    }
  }
  return kinds;
}

async function notFound(
  name: string,
  part: string,
  within: string | undefined,
  directories: readonly string[],
): Promise<DefinitionError> {
  const listings = await Promise.all(directories.map(kindsIn));
  const names = listings.flatMap((entries) =>
    [...entries].flatMap(([entry, kind]) =>
      kind === 'directory' ? [entry] : entry.endsWith('.py') ? [entry.slice(0, -'.py'.length)] : [],
    ),
  );
  const near = nearName(part, names);
  const where =
    directories.length === 0
      ? `'${within}' is not a package`
      : `it is not in ${directories.map((directory) => `'${directory}'`).join(', ')}`;
  return new DefinitionError(`there is no Python module '${name}': ${where}`, {
    code: 'E_MODULE_NOT_FOUND',
    hint:
      near === undefined
        ? 'searchPaths names further directories'
        : `did you mean '${within === undefined ? near : `${within}.${near}`}'?`,
  });
}
