/**
 * A tree of files as selection sees it: the user's context as the front scanned it, a mounted root, or a list of files.
 * Paths are `/`-rooted text without `.`, `..` or a trailing `/`, and never lead through a link.
 */
import type { Descent, DockerignoreMatcher } from './dockerignore.ts';

export interface TreeEntry {
  readonly kind: 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'char' | 'block';
  /** Target of a symlink. */
  readonly link?: string;
}

export interface SourceTree<E extends TreeEntry> {
  /** What is at the path itself. `/` is always a directory. */
  stat(path: string): E | undefined | Promise<E | undefined>;
  /** What each of the directories holds, sorted by name. */
  list(directories: readonly string[]): readonly DirectoryRow<E>[][] | Promise<readonly DirectoryRow<E>[][]>;
}

export interface DirectoryRow<E> {
  readonly name: string;
  readonly entry: E;
}

/** A file that a walk came to. */
export interface WalkedEntry<E> {
  /** Relative to where the patterns are anchored. */
  readonly path: string;
  /** In the tree. */
  readonly at: string;
  readonly entry: E;
}

/** A directory on the way to where a walk begins, or that the walk came to. */
export interface WalkedDirectory<E> extends WalkedEntry<E> {
  readonly parent: WalkedDirectory<E> | undefined;
  readonly included: Descent | undefined;
  readonly excluded: Descent | undefined;
}

export interface WalkFilter {
  /** Only what matches, and what is below it. */
  readonly include?: DockerignoreMatcher | undefined;
  /** Not what matches. */
  readonly exclude?: DockerignoreMatcher | undefined;
}

export interface Walk<E> {
  /** Sorted so that directories come before what is in them. A directory that leads to something is there too. */
  readonly entries: readonly WalkedEntry<E>[];
}

/** The top of a walk: patterns are relative to it. */
export function walkTop<E>(at: string, entry: E): WalkedDirectory<E> {
  return { path: '', at, entry, parent: undefined, included: undefined, excluded: undefined };
}

/** Steps from a directory to something in it that is at `at`. */
export function stepDown<E>(
  parent: WalkedDirectory<E>,
  name: string,
  at: string,
  entry: E,
  { include, exclude }: WalkFilter,
): WalkedDirectory<E> {
  const path = parent.path === '' ? name : `${parent.path}/${name}`;
  return {
    path,
    at,
    entry,
    parent,
    included: include?.descend(path, parent.included),
    excluded: exclude?.descend(path, parent.excluded),
  };
}

/** Whether the filter lets the entry through. */
export function passes({ included, excluded }: WalkedDirectory<unknown>): boolean {
  return included?.matched !== false && excluded?.matched !== true;
}

/**
 * Everything below `start` that passes the filter, with the directories that lead there from the top. Directories that
 * cannot hold anything of it are not listed; links are not followed. Level by level, so that a tree may list many
 * directories at once.
 */
export async function walk<E extends TreeEntry>(
  tree: SourceTree<E>,
  start: WalkedDirectory<E>,
  filter: WalkFilter,
): Promise<Walk<E>> {
  const found = new Map<string, WalkedEntry<E>>();
  let level = mayHold(start, filter) ? [start] : [];
  while (level.length > 0) {
    const next: WalkedDirectory<E>[] = [];
    const listings = await tree.list(level.map(({ at }) => at));
    for (const [index, directory] of level.entries()) {
      const prefix = directory.at === '/' ? '/' : `${directory.at}/`;
      for (const { name, entry } of listings[index] ?? []) {
        const row = stepDown(directory, name, prefix + name, entry, filter);
        if (passes(row)) {
          addWithParents(found, row);
        }
        if (entry.kind === 'directory' && mayHold(row, filter)) {
          next.push(row);
        }
      }
    }
    level = next;
  }
  return { entries: [...found.values()].sort((one, other) => (one.path < other.path ? -1 : 1)) };
}

/** Adds an entry and the directories that lead to it from the top, each once. */
export function addWithParents<E>(found: Map<string, WalkedEntry<E>>, row: WalkedDirectory<E>): void {
  for (let at: WalkedDirectory<E> | undefined = row; at !== undefined && at.path !== ''; at = at.parent) {
    if (found.has(at.path)) {
      return;
    }
    found.set(at.path, { path: at.path, at: at.at, entry: at.entry });
  }
}

function mayHold(directory: WalkedDirectory<unknown>, { include, exclude }: WalkFilter): boolean {
  const { path, included, excluded } = directory;
  // Of the top nothing is known: patterns are about what is below it.
  if (path === '') {
    return true;
  }
  const wanted = included?.matched !== false || include?.mayDifferBelow(path, included) === true;
  const spared = excluded?.matched !== true || exclude?.mayDifferBelow(path, excluded) === true;
  return wanted && spared;
}

/** A tree of paths and entries. Directories that lead to an entry need not be there themselves. */
export class MapTree<E extends TreeEntry> implements SourceTree<E> {
  readonly #entries = new Map<string, E>();
  readonly #children = new Map<string, DirectoryRow<E>[]>();

  /**
   * @param directory - What a directory is that no entry describes.
   */
  constructor(entries: Iterable<readonly [path: string, entry: E]>, directory: E) {
    for (const [path, entry] of entries) {
      this.#entries.set(path, entry);
    }
    for (const path of [...this.#entries.keys()]) {
      for (let slash = path.lastIndexOf('/'); slash > 0; slash = path.lastIndexOf('/', slash - 1)) {
        const parent = path.slice(0, slash);
        if (this.#entries.has(parent)) {
          break;
        }
        this.#entries.set(parent, directory);
      }
    }
    if (!this.#entries.has('/')) {
      this.#entries.set('/', directory);
    }
    for (const [path, entry] of this.#entries) {
      if (path !== '/') {
        const slash = path.lastIndexOf('/');
        const parent = slash === 0 ? '/' : path.slice(0, slash);
        const rows = this.#children.get(parent);
        const row = { name: path.slice(slash + 1), entry };
        if (rows === undefined) {
          this.#children.set(parent, [row]);
        } else {
          rows.push(row);
        }
      }
    }
    for (const rows of this.#children.values()) {
      rows.sort((one, other) => (one.name < other.name ? -1 : 1));
    }
  }

  stat(path: string): E | undefined {
    return this.#entries.get(path);
  }

  list(directories: readonly string[]): DirectoryRow<E>[][] {
    return directories.map((directory) => this.#children.get(directory) ?? []);
  }
}
