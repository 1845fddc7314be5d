/**
 * Owners and devices that the disk cannot have are written down beside a tree (docs/reference/store.md, "Owners"): a
 * layer's beside its `fs`, a merged tree's beside its `root`. No file means that the disk says all.
 */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { native } from '../native/addon.ts';
import { fromNative } from '../native/error.ts';

/** The file for the tree in `directory`. */
export function ownersBeside(directory: string): string {
  return `${dirname(directory)}/owners`;
}

/** What `lowers`, topmost first, record together becomes that of the tree that is made of them. @returns Whether there is anything. */
export async function mergeOwners(lowers: readonly string[], file: string): Promise<boolean> {
  const isAny = anyRecorded(lowers);
  if (isAny) {
    await recording(() => native().mergeOwners(lowers, file));
  }
  return isAny;
}

/** What a changed tree, `tree`, has of the merged tree's owners becomes the layer's. @returns Whether the root's owner changed. */
export async function writeLayerOwners(options: {
  readonly merged: string;
  readonly tree: string;
  readonly lowers: readonly string[];
  readonly output: string;
}): Promise<boolean> {
  return existsSync(options.merged) || anyRecorded(options.lowers)
    ? await recording(() => native().writeLayerOwners(options))
    : false;
}

/** After a program that knows nothing of records: those of what it removed or wrote to are forgotten. */
export async function pruneOwners(root: string, file: string): Promise<void> {
  if (existsSync(file)) {
    await recording(() => native().pruneOwners(root, file));
  }
}

/** Mostly there is nothing, and to look costs less than a thread that finds nothing. */
function anyRecorded(trees: readonly string[]): boolean {
  return trees.some((tree) => existsSync(ownersBeside(tree)));
}

async function recording<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fromNative(error, 'cannot record owners');
  }
}
