/** What the install methods read in a pyproject.toml. Source: PyPA specifications, "pyproject.toml specification" (PEP 621). */
import { DefinitionError } from '../../errors.ts';
import { definitionError } from './arguments.ts';
import type { LocalInput, ScannedFiles } from './local-input.ts';
import { byCodePoint } from './requirement-tokens.ts';

type Table = Readonly<Record<string, unknown>>;

export interface Pyproject {
  /** On this machine, for messages. */
  readonly path: string;
  readonly table: Table;
}

/** @throws {DefinitionError} `E_PYPROJECT_MISSING`, `E_PYPROJECT_SYNTAX` */
export async function readPyproject(
  method: string,
  { hostPath: path }: LocalInput,
  { form, text }: ScannedFiles,
): Promise<Pyproject> {
  if (form === 'missing') {
    throw definitionError('E_PYPROJECT_MISSING', `${method}(): there is no '${path}'`);
  }
  if (text === undefined) {
    throw definitionError('E_PYPROJECT_SYNTAX', `'${path}' is too large for a pyproject.toml`);
  }
  // Few definitions need it.
  const { parse, TomlError } = await import('smol-toml');
  try {
    return { path, table: parse(text.replace(/^\uFEFF/, '')) };
  } catch (error) {
    if (!(error instanceof TomlError)) {
      throw error;
    }
    const { line, column, codeblock } = error;
    const [reason = ''] = error.message.replace(/^Invalid TOML document: /, '').split('\n');
    throw new DefinitionError(`cannot read '${path}': ${reason}`, {
      code: 'E_PYPROJECT_SYNTAX',
      file: path,
      line,
      column,
      excerpt: codeblock.trimEnd(),
      cause: error,
    });
  }
}

/**
 * The dependencies of the project and of some of its optional groups, each once, sorted by code point. A group that names
 * the project itself (`all = ["project[dev,test]"]`) means its other groups.
 *
 * @throws {DefinitionError} `E_PYPROJECT_NO_DEPENDENCIES`, `E_PYPROJECT_UNKNOWN_GROUP`, `E_PYPROJECT_SYNTAX`
 */
export function projectRequirements(pyproject: Pyproject, groups: readonly string[]): readonly string[] {
  const project = tableAt(pyproject.table, 'project');
  if (project?.dependencies === undefined) {
    throw noDependencies(pyproject, project);
  }
  const optional = tableAt(project, 'optional-dependencies') ?? {};
  const known = new Map(Object.keys(optional).map((name) => [normalName(name), name]));
  const found = new Set(requirementList(pyproject, 'dependencies', project.dependencies));
  const seen = new Set<string>();
  const add = (group: string): void => {
    const name = known.get(normalName(group));
    if (name === undefined) {
      throw unknownGroup(pyproject, group, [...known.values()]);
    }
    if (seen.has(name)) {
      return;
    }
    seen.add(name);
    for (const requirement of requirementList(
      pyproject,
      `optional-dependencies.${name}`,
      Object.hasOwn(optional, name) ? optional[name] : [],
    )) {
      const own = extrasOfSelf(requirement, project.name);
      if (own === undefined) {
        found.add(requirement);
      } else {
        own.forEach(add);
      }
    }
  };
  groups.forEach(add);
  return [...found].sort(byCodePoint);
}

/** Whether the file is the root of a workspace of uv. */
export function isUvWorkspace({ table }: Pyproject): boolean {
  return tableAt(table, 'tool', 'uv', 'workspace') !== undefined;
}

function noDependencies({ path, table }: Pyproject, project: Table | undefined): DefinitionError {
  const { dynamic } = project ?? {};
  const isDynamic = Array.isArray(dynamic) && dynamic.includes('dependencies');
  return definitionError(
    'E_PYPROJECT_NO_DEPENDENCIES',
    `'${path}' has no [project].dependencies${isDynamic ? '; they are dynamic, and only its build backend knows them' : ''}`,
    tableAt(table, 'tool', 'poetry') === undefined
      ? undefined
      : 'it is a Poetry project: use poetryInstallFromFile()',
  );
}

function unknownGroup({ path }: Pyproject, group: string, known: readonly string[]): DefinitionError {
  return definitionError(
    'E_PYPROJECT_UNKNOWN_GROUP',
    `'${path}' has no [project.optional-dependencies] of the name '${group}'`,
    known.length === 0 ? 'it has no optional dependencies' : `it has ${[...known].sort().join(', ')}`,
  );
}

function requirementList({ path }: Pyproject, key: string, value: unknown): readonly string[] {
  const isList = Array.isArray(value) && value.every((each) => typeof each === 'string');
  // What begins with a hyphen would be an option of the installer.
  const wrong = isList ? (value as string[]).find((each) => /^\s*(-|$)/.test(each)) : '';
  if (!isList || wrong !== undefined) {
    const what = isList ? `, and '${wrong}' is none` : '';
    throw definitionError(
      'E_PYPROJECT_SYNTAX',
      `'${path}': [project].${key} is a list of requirements${what}`,
    );
  }
  return (value as string[]).map((each) => each.trim());
}

/** `name[a, b]` without a version or marker, where `name` is the project's own. */
function extrasOfSelf(requirement: string, projectName: unknown): readonly string[] | undefined {
  const [, name = '', extras = ''] = /^([\w.-]+)\s*\[([^\]]*)\]$/.exec(requirement) ?? [];
  return typeof projectName === 'string' && name !== '' && normalName(name) === normalName(projectName)
    ? extras
        .split(',')
        .map((each) => each.trim())
        .filter((each) => each !== '')
    : undefined;
}

/** PEP 503, which PEP 685 applies to the names of extras. */
function normalName(name: string): string {
  return name.replace(/[-_.]+/g, '-').toLowerCase();
}

function tableAt(table: Table | undefined, ...path: readonly string[]): Table | undefined {
  let at: unknown = table;
  for (const name of path) {
    if (at === null || typeof at !== 'object' || !Object.hasOwn(at, name)) {
      return undefined;
    }
    at = (at as Table)[name];
  }
  return at !== null && typeof at === 'object' && !Array.isArray(at) ? (at as Table) : undefined;
}
