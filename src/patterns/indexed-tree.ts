/** A tree of which an index knows everything, and gives what it is asked for. */
import { pathBytes } from '../base/path-bytes.ts';
import type { DirectoryRow, SourceTree, TreeEntry } from './source-tree.ts';

/** Begins with the name. */
type Row = readonly [name: string, ...more: unknown[]];

/** Paths are relative, in bytes. The answers are JSON of rows. */
export interface PathIndex {
  entry(path: Buffer): string | null;
  children(directory: Buffer): string;
}

export class IndexedTree<E extends TreeEntry, R extends Row> implements SourceTree<E> {
  readonly isIndexed = true;
  readonly #index: PathIndex;
  readonly #top: E;
  readonly #toEntry: (row: R) => E;

  constructor(index: PathIndex, top: E, toEntry: (row: R) => E) {
    this.#index = index;
    this.#top = top;
    this.#toEntry = toEntry;
  }

  stat(path: string): E | undefined {
    if (path === '/') {
      return this.#top;
    }
    const row = this.#index.entry(pathBytes(path.slice(1)));
    return row === null ? undefined : this.#toEntry(JSON.parse(row) as R);
  }

  list(directories: readonly string[]): DirectoryRow<E>[][] {
    return directories.map((directory) => {
      const rows = JSON.parse(this.#index.children(pathBytes(directory.slice(1)))) as readonly R[];
      return rows.map((row) => ({ name: row[0], entry: this.#toEntry(row) }));
    });
  }
}
