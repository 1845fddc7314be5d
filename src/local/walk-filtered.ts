import type { InputFilter } from '../patterns/ignore-spec.ts';
import type { SourceTree } from '../patterns/source-tree.ts';
import type { ContextEntry } from './context-tree.ts';

interface Directory {
  readonly path: string;
  readonly entry: ContextEntry;
  readonly parent: Directory | undefined;
  told: boolean;
}

/**
 * Tells `found` of what a filter of the Image API lets through, directories before what is in them. A directory that the filter
 * leaves out comes with what is let through below it; so does every directory where a function is asked, which sees files only.
 */
export async function walkFiltered(
  tree: SourceTree<ContextEntry>,
  at: string,
  top: ContextEntry,
  { filter, recursive }: { readonly filter: InputFilter; readonly recursive: boolean },
  found: (path: string, entry: ContextEntry) => void,
): Promise<void> {
  const tell = (directory: Directory): void => {
    if (!directory.told) {
      directory.told = true;
      if (directory.parent !== undefined) {
        tell(directory.parent);
      }
      found(directory.path, directory.entry);
    }
  };
  let level: Directory[] = [{ path: at, entry: top, parent: undefined, told: true }];
  while (level.length > 0) {
    const next: Directory[] = [];
    const listings = await tree.list(level.map(({ path }) => path));
    for (const [index, parent] of level.entries()) {
      for (const { name, entry } of listings[index] ?? []) {
        const path = parent.path === '/' ? `/${name}` : `${parent.path}/${name}`;
        const relative = path.slice(at === '/' ? 1 : at.length + 1);
        if (entry.kind === 'directory') {
          const left = leavesOut(filter, relative, entry);
          const directory = { path, entry, parent, told: false };
          if (!left && filter.kind !== 'predicate' && recursive) {
            tell(directory);
          }
          if (recursive && !(left && prunes(filter))) {
            next.push(directory);
          }
        } else if (!leavesOut(filter, relative, entry)) {
          tell(parent);
          found(path, entry);
        }
      }
    }
    level = next;
  }
}

function leavesOut(filter: InputFilter, path: string, { kind, facts }: ContextEntry): boolean {
  switch (filter.kind) {
    case 'none':
      return false;
    case 'patterns':
      return filter.matcher.matches(path, kind === 'directory');
    case 'predicate':
      return (
        kind !== 'directory' &&
        Boolean(filter.ignores(path, { size: facts?.sizeBytes ?? 0, isFile: kind === 'file' }))
      );
  }
}

function prunes(filter: InputFilter): boolean {
  return filter.kind === 'patterns' && filter.matcher.canPruneDirectories();
}
