/** A real directory as selection sees it, by nothing but Node. */
import { lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { SourceTree, TreeEntry } from '../../src/patterns/source-tree.ts';

export function diskTree(root: string): SourceTree<TreeEntry> {
  const stat = (path: string): TreeEntry | undefined => {
    const found = lstatSync(join(root, path), { throwIfNoEntry: false });
    if (found === undefined) {
      return undefined;
    }
    if (found.isSymbolicLink()) {
      return { kind: 'symlink', link: readlinkSync(join(root, path)) };
    }
    return { kind: found.isDirectory() ? 'directory' : 'file' };
  };
  return {
    stat,
    list: (directories) =>
      directories.map((directory) =>
        readdirSync(join(root, directory))
          .sort()
          .map((name) => ({ name, entry: stat(join(directory, name)) as TreeEntry })),
      ),
  };
}
