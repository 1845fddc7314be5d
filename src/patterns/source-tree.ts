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
  /** Whether a selection may say {@link Everything}. @defaultValue false */
  readonly isIndexed?: boolean;
}

/** All that is below a directory, of a tree that need not be walked to know it. */
export interface Everything {
  readonly directory: string;
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

/** A place that a walk came to, or that is on the way to where one begins. */
export interface Step<E> extends WalkedEntry<E> {
  readonly parent: Step<E> | undefined;
  readonly included: Descent | undefined;
  readonly excluded: Descent | undefined;
  /** Whether it was told already. */
  told: boolean;
}

export interface WalkFilter {
  /** Only what matches, and what is below it. */
  readonly include?: DockerignoreMatcher | undefined;
  /** Not what matches. */
  readonly exclude?: DockerignoreMatcher | undefined;
}

/** The top of a walk: patterns are relative to it. It is not told itself. */
export function walkTop<E>(at: string, entry: E): Step<E> {
  return { path: '', at, entry, parent: undefined, included: undefined, excluded: undefined, told: true };
}

/** From a directory to something in it, which is at `at`. */
export function stepDown<E>(
  parent: Step<E>,
  name: string,
  at: string,
  entry: E,
  { include, exclude }: WalkFilter,
): Step<E> {
  const path = parent.path === '' ? name : `${parent.path}/${name}`;
  return {
    path,
    at,
    entry,
    parent,
    included: include?.descend(path, parent.included),
    excluded: exclude?.descend(path, parent.excluded),
    told: false,
  };
}

/** Whether the filter lets it through. */
export function passes({ included, excluded }: Step<unknown>): boolean {
  return included?.matched !== false && excluded?.matched !== true;
}

/** Tells of a place and of the directories that lead to it from the top, those first and each once. */
export function tell<E>(step: Step<E>, found: (entry: WalkedEntry<E>) => void): void {
  if (!step.told) {
    step.told = true;
    if (step.parent !== undefined) {
      tell(step.parent, found);
    }
    found(step);
  }
}

/**
 * Tells `found` of everything below `start` that passes the filter, and of the directories that lead there from the top:
 * directories before what is in them. Directories that cannot hold anything of it are not listed; links are not followed.
 * Level by level, so that a tree may list many directories at once.
 */
export async function walk<E extends TreeEntry>(
  tree: SourceTree<E>,
  start: Step<E>,
  filter: WalkFilter,
  found: (entry: WalkedEntry<E>) => void,
): Promise<void> {
  let level = mayHold(start, filter) ? [start] : [];
  while (level.length > 0) {
    const next: Step<E>[] = [];
    const listings = await tree.list(level.map(({ at }) => at));
    for (const [index, directory] of level.entries()) {
      const prefix = directory.at === '/' ? '/' : `${directory.at}/`;
      for (const { name, entry } of listings[index] ?? []) {
        const step = stepDown(directory, name, prefix + name, entry, filter);
        if (passes(step)) {
          tell(step, found);
        }
        if (entry.kind === 'directory' && mayHold(step, filter)) {
          next.push(step);
        }
      }
    }
    level = next;
  }
}

function mayHold(directory: Step<unknown>, { include, exclude }: WalkFilter): boolean {
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
    if (!this.#entries.has('/')) {
      this.#entries.set('/', directory);
    }
    // Also visits what it adds.
    for (const [path, entry] of this.#entries) {
      if (path !== '/') {
        const slash = path.lastIndexOf('/');
        const parent = slash === 0 ? '/' : path.slice(0, slash);
        const row = { name: path.slice(slash + 1), entry };
        const rows = this.#children.get(parent);
        if (rows !== undefined) {
          rows.push(row);
        } else {
          this.#children.set(parent, [row]);
          if (!this.#entries.has(parent)) {
            this.#entries.set(parent, directory);
          }
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
