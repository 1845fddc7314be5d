/** The files of Python modules that a definition names, each where its package is below the root of all (A2.14). */
import { join } from 'node:path';
import { DefinitionError } from '../errors.ts';
import type { LocalInput, PythonModules } from '../frontend/fluent/local-input.ts';
import { isCompiledModule, isHidden, notPythonSource } from '../patterns/python-files.ts';
import { compiledModule, findPythonModule } from './find-python-module.ts';
import type { Selection } from './scan-input.ts';

/**
 * @param select - Selects the files of one directory or file.
 * @throws {DefinitionError} `E_MODULE_NOT_FOUND`, `E_MODULE_BINARY`
 */
export async function selectPythonModules(
  input: LocalInput,
  { modules, searchPaths }: PythonModules,
  select: (part: LocalInput) => Promise<Selection>,
): Promise<Selection> {
  const selections: Selection[] = [];
  for (const name of modules) {
    const at = `${input.directoryAt}/${name.replaceAll('.', '/')}`;
    const found = await findPythonModule(name, searchPaths);
    if (found.kind === 'module') {
      const { python: _, ...rest } = input;
      const file = { ...rest, expects: 'file', hostPath: found.file, fileAt: `${at}.py` } as const;
      selections.push(await select(file));
      continue;
    }
    const parts: Selection[] = [];
    for (const directory of found.directories) {
      parts.push(await selectPackage(name, { ...input, hostPath: directory, directoryAt: at }, select));
    }
    if (parts.every(({ files }) => files.length === 0)) {
      throw new DefinitionError(
        `the Python module '${name}' has no files in ${found.directories.map((each) => `'${each}'`).join(', ')}`,
        { code: 'E_MODULE_NOT_FOUND', hint: 'a directory without Python files counts as a package too' },
      );
    }
    selections.push(...parts);
  }
  return merged(selections);
}

/** Compiled parts are no reason to fail where the user's own `ignore` leaves them out; by default they would be missed. */
async function selectPackage(
  name: string,
  { python: _, ...part }: LocalInput,
  select: (part: LocalInput) => Promise<Selection>,
): Promise<Selection> {
  const { filter } = part;
  const compiled: string[] = [];
  const byDefault = filter.kind === 'predicate' && filter.ignores === notPythonSource;
  const selection = await select({
    ...part,
    filter: byDefault
      ? {
          kind: 'predicate',
          ignores: (path, entry) => {
            if (isCompiledModule(path) && !isHidden(path)) {
              compiled.push(join(part.hostPath, path));
            }
            return notPythonSource(path, entry);
          },
        }
      : filter,
  });
  compiled.push(
    ...selection.files.flatMap(({ path, hostPath }) => (isCompiledModule(path) ? [hostPath] : [])),
  );
  const [first] = compiled;
  if (first !== undefined) {
    throw compiledModule(name, first);
  }
  return selection;
}

/** What comes first stays: so Python looks through the parts of a namespace package, too. */
function merged(selections: readonly Selection[]): Selection {
  const seen = new Set<string>();
  const once = <T>(all: readonly T[], pathOf: (each: T) => string): T[] =>
    all.filter((each) => {
      const path = pathOf(each);
      const isNew = !seen.has(path);
      seen.add(path);
      return isNew;
    });
  const all = <T>(pick: (selection: Selection) => readonly T[]) => selections.flatMap(pick);
  return {
    form: 'directory',
    files: once(
      all(({ files }) => files),
      ({ path }) => path,
    ),
    links: once(
      all(({ links }) => links),
      ({ path }) => path,
    ),
    emptyDirectories: once(
      all(({ emptyDirectories }) => emptyDirectories),
      (path) => path,
    ),
    findings: {
      linksOutside: all(({ findings }) => findings.linksOutside),
      unfiltered: all(({ findings }) => findings.unfiltered),
      rootOnlyPatterns: all(({ findings }) => findings.rootOnlyPatterns),
    },
  };
}
