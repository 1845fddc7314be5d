/**
 * Which files one source of a Dockerfile's COPY means. The front asks of the scanned context and the worker of what it has
 * mounted, by the same code, so that what was hashed is what is copied.
 *
 * Source: reference of the Dockerfile, "COPY"; what BuildKit does where that is silent.
 */
import { posix } from 'node:path';
import { type DockerignoreMatcher, dockerignoreMatcher, onePatternMatcher } from './dockerignore.ts';
import { type GoComponent, goComponent } from './go-match.ts';
import {
  type Everything,
  passes,
  type SourceTree,
  type Step,
  stepDown,
  type TreeEntry,
  tell,
  type WalkedEntry,
  walk,
  walkTop,
} from './source-tree.ts';

/** The fields of `CopySelection` of `graph/action.ts`. */
export interface SelectionOptions {
  readonly wildcards: boolean;
  readonly parents: boolean;
  readonly exclude: readonly string[];
}

export type Selected<E> =
  | {
      readonly kind: 'selected';
      /** In the order in which they are copied. None, if a pattern matches nothing. */
      readonly matches: readonly SelectedSource<E>[];
      /** Links that were followed to get there: whoever hands the files on must hand these on too. */
      readonly links: readonly LinkOnTheWay<E>[];
    }
  /** Nothing is at `at`, which `path` needs; they differ where links lead elsewhere. */
  | { readonly kind: 'missing'; readonly path: string; readonly at: string }
  /** Links that lead in a circle. */
  | { readonly kind: 'loop'; readonly path: string };

export interface LinkOnTheWay<E> {
  readonly at: string;
  readonly entry: E;
}

/**
 * One match. A directory means its contents, `below`. With `parents` that is what is recreated at the destination, the
 * directories on the way included, and `path` is what precedes the first `/./`.
 */
export interface SelectedSource<E> {
  /** `/`-rooted, before links are followed: its last component names a file in the destination. */
  readonly path: string;
  /** Where it is in the tree, links followed. */
  readonly at: string;
  /** Never a link. */
  readonly entry: E;
  /** Of a directory: everything below it, but what is excluded; links are kept as links. Directories before what is in them. */
  readonly below: readonly WalkedEntry<E>[] | Everything;
  /** A file that was matched itself and that a pattern of `exclude` names. It is copied all the same, as BuildKit does. */
  readonly namedByExclude: boolean;
}

/** As many as BuildKit follows for one path. */
const MAX_LINKS = 255;
/** Where a path ends that `parents` does not recreate. */
const PIVOT = '/./';

/**
 * Sources never leave the tree: `..` at its root stays there, and absolute links begin there.
 *
 * @throws {DefinitionError} `E_BAD_PATTERN`
 */
export async function selectSources<E extends TreeEntry>(
  tree: SourceTree<E>,
  source: string,
  options: SelectionOptions,
): Promise<Selected<E>> {
  const selection: Selection<E> = {
    tree,
    links: new Map(),
    exclude: options.exclude.length === 0 ? undefined : dockerignoreMatcher(options.exclude),
  };
  try {
    const matches = options.parents
      ? await withParents(selection, source, options.wildcards)
      : await plain(selection, source, options.wildcards);
    const links = [...selection.links].map(([at, entry]) => ({ at, entry }));
    return { kind: 'selected', matches, links };
  } catch (error) {
    if (error instanceof NotSelectable) {
      return error.outcome;
    }
    throw error;
  }
}

interface Selection<E extends TreeEntry> {
  readonly tree: SourceTree<E>;
  readonly links: Map<string, E>;
  readonly exclude: DockerignoreMatcher | undefined;
}

/** Ends a selection from deep inside. Never leaves this file. */
class NotSelectable extends Error {
  readonly outcome: Exclude<Selected<never>, { kind: 'selected' }>;

  constructor(outcome: NotSelectable['outcome']) {
    super(outcome.kind);
    this.outcome = outcome;
  }
}

async function plain<E extends TreeEntry>(
  selection: Selection<E>,
  source: string,
  wildcards: boolean,
): Promise<SelectedSource<E>[]> {
  const matches: SelectedSource<E>[] = [];
  for (const path of await matchingPaths(selection, source, wildcards)) {
    const { at, entry } = await existing(selection, '/', componentsOf(path), true);
    const base = { path, at, entry };
    if (entry.kind === 'directory' && selection.tree.isIndexed === true && selection.exclude === undefined) {
      matches.push({ ...base, below: { directory: at }, namedByExclude: false });
    } else if (entry.kind === 'directory') {
      const below: WalkedEntry<E>[] = [];
      const add = (each: WalkedEntry<E>) => below.push(each);
      await walk(selection.tree, walkTop(at, entry), { exclude: selection.exclude }, add);
      matches.push({ ...base, below, namedByExclude: false });
    } else {
      const name = path.slice(path.lastIndexOf('/') + 1);
      const namedByExclude = selection.exclude?.descend(name, undefined).matched === true;
      matches.push({ ...base, below: [], namedByExclude });
    }
  }
  return matches;
}

/** Paths that a source means, links not yet followed. Only a literal may be missing: it is its own only match. */
async function matchingPaths<E extends TreeEntry>(
  selection: Selection<E>,
  source: string,
  wildcards: boolean,
): Promise<string[]> {
  const components = componentsOf(source).map((text): GoComponent => readComponent(text, wildcards));
  const firstPattern = components.findIndex(({ kind }) => kind === 'pattern');
  const literals = (firstPattern < 0 ? components : components.slice(0, firstPattern)).map(nameOf);
  if (firstPattern < 0) {
    return [`/${literals.join('/')}`];
  }
  const top = await lookup(selection, '/', literals, true);
  if (top.entry?.kind !== 'directory') {
    return [];
  }
  // Both the path as it is written and where that is: only what precedes the first wildcard leads through links.
  let found = [{ path: literals.map((name) => `/${name}`).join(''), at: top.at, entry: top.entry }];
  for (const component of components.slice(firstPattern)) {
    const directories = found.filter(({ entry }) => entry.kind === 'directory');
    if (component.kind === 'literal') {
      const below = directories.map(async ({ path, at }) => {
        const entry = await selection.tree.stat(join(at, component.name));
        return entry === undefined
          ? []
          : [{ path: `${path}/${component.name}`, at: join(at, component.name), entry }];
      });
      found = (await Promise.all(below)).flat();
    } else {
      const listings = await selection.tree.list(directories.map(({ at }) => at));
      found = directories.flatMap(({ path, at }, index) =>
        (listings[index] ?? [])
          .filter(({ name }) => component.matches(name))
          .map(({ name, entry }) => ({ path: `${path}/${name}`, at: join(at, name), entry })),
      );
    }
  }
  return found.map(({ path }) => path);
}

async function withParents<E extends TreeEntry>(
  selection: Selection<E>,
  source: string,
  wildcards: boolean,
): Promise<SelectedSource<E>[]> {
  const pivot = source.indexOf(PIVOT);
  const base = pivot < 0 ? '/' : source.slice(0, pivot);
  const rest = componentsOf(pivot < 0 ? source : source.slice(pivot + PIVOT.length));
  // With the ignore kind of pattern a component may also hold `**`, which is a wildcard here and there.
  const components = rest.map((text) => readComponent(text, wildcards));
  const firstPattern = components.findIndex(({ kind }) => kind === 'pattern');
  const literals = (firstPattern < 0 ? components : components.slice(0, firstPattern)).map(nameOf);
  const basePaths = await matchingPaths(selection, base, wildcards);
  const mustExist = firstPattern < 0 && !isPattern(base, wildcards);
  const filter = {
    exclude: selection.exclude,
    include: firstPattern < 0 ? undefined : onePatternMatcher(rest.join('/')),
  };

  const matches: SelectedSource<E>[] = [];
  for (const path of basePaths) {
    const { at, entry } = await existing(selection, '/', componentsOf(path), true);
    if (entry.kind === 'directory') {
      const below: WalkedEntry<E>[] = [];
      const start = await descendTo(selection, walkTop(at, entry), literals, filter);
      if (start.kind === 'missing') {
        if (mustExist) {
          throw new NotSelectable({ ...start, path: join(path, literals.join('/')) });
        }
      } else {
        const add = (each: WalkedEntry<E>) => below.push(each);
        if (firstPattern < 0 && passes(start.step)) {
          tell(start.step, add);
        }
        if (start.step.entry.kind === 'directory') {
          await walk(selection.tree, start.step, filter, add);
        }
      }
      matches.push({ path, at, entry, below, namedByExclude: false });
    } else if (mustExist) {
      throw new NotSelectable({ kind: 'missing', path: join(path, literals.join('/')), at });
    }
  }
  return matches;
}

interface ParentsFilter {
  readonly include: DockerignoreMatcher | undefined;
  readonly exclude: DockerignoreMatcher | undefined;
}

type Start<E> =
  | { readonly kind: 'found'; readonly step: Step<E> }
  | { readonly kind: 'missing'; readonly at: string };

/** Goes down by names as written; links on the way are followed, but not the last when it is what was asked for. */
async function descendTo<E extends TreeEntry>(
  selection: Selection<E>,
  top: Step<E>,
  names: readonly string[],
  filter: ParentsFilter,
): Promise<Start<E>> {
  let step = top;
  for (const [index, name] of names.entries()) {
    const isLast = index + 1 === names.length;
    const followLast = !isLast || filter.include !== undefined;
    const found = await lookup(selection, step.at, [name], followLast);
    if (found.entry === undefined || (!isLast && found.entry.kind !== 'directory')) {
      return { kind: 'missing', at: found.at };
    }
    step = stepDown(step, name, found.at, found.entry, filter);
  }
  return { kind: 'found', step };
}

interface Place<E> {
  readonly at: string;
  /** Undefined: nothing is at `at`. */
  readonly entry: E | undefined;
}

async function existing<E extends TreeEntry>(
  selection: Selection<E>,
  top: string,
  names: readonly string[],
  followLast: boolean,
): Promise<{ readonly at: string; readonly entry: E }> {
  const { at, entry } = await lookup(selection, top, names, followLast);
  if (entry === undefined) {
    throw new NotSelectable({ kind: 'missing', path: join(top, names.join('/')), at });
  }
  return { at, entry };
}

/** Follows links as the kernel would in a root of its own; they count from the root of the tree, not from `top`. */
async function lookup<E extends TreeEntry>(
  { tree, links }: Selection<E>,
  top: string,
  names: readonly string[],
  followLast: boolean,
): Promise<Place<E>> {
  const pending = [...names].reverse();
  let at = top;
  let entry = await tree.stat(top);
  let followed = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (entry?.kind !== 'directory') {
      return { at, entry: undefined };
    }
    if (name === '..') {
      at = parentOf(at);
      entry = await tree.stat(at);
      continue;
    }
    if (name === '' || name === '.') {
      continue;
    }
    const path = join(at, name);
    const found = await tree.stat(path);
    if (found?.kind === 'symlink' && (pending.length > 0 || followLast)) {
      followed += 1;
      if (followed > MAX_LINKS) {
        throw new NotSelectable({ kind: 'loop', path: join(top, names.join('/')) });
      }
      links.set(path, found);
      const target = found.link ?? '';
      pending.push(...target.split('/').reverse());
      if (target.startsWith('/')) {
        at = '/';
        entry = await tree.stat('/');
      }
      continue;
    }
    at = path;
    entry = found;
    if (entry === undefined) {
      break;
    }
  }
  return { at, entry };
}

function readComponent(text: string, wildcards: boolean): GoComponent {
  return wildcards ? goComponent(text) : { kind: 'literal', name: text };
}

function isPattern(path: string, wildcards: boolean): boolean {
  return componentsOf(path).some((text) => readComponent(text, wildcards).kind === 'pattern');
}

function nameOf(component: GoComponent): string {
  return component.kind === 'literal' ? component.name : '';
}

/** Of a path clamped to the root: no empty ones, no `.`, no `..`. */
function componentsOf(path: string): string[] {
  return posix
    .resolve('/', path)
    .split('/')
    .filter((part) => part !== '');
}

function join(directory: string, name: string): string {
  if (name === '') {
    return directory;
  }
  return directory === '/' ? `/${name}` : `${directory}/${name}`;
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 0)) || '/';
}
