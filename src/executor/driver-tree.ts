/**
 * What lies where in the tree that a driver is in: the machine's own, or one of its own on it. Links are followed in the tree; paths that
 * come out are the machine's.
 */
import { lstatSync, readdirSync, readFileSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { resolveInTree } from '../snapshot/resolve.ts';

/** A file or directory: where it is on the host, and where programs expect it. */
export interface DriverFile {
  readonly source: string;
  readonly target: string;
}

/** Its node, where programs of this machine can open it. */
export function nodeAt(root: string, path: string): DriverFile | undefined {
  return isDevice(root, path) ? { source: join(root, path), target: path } : undefined;
}

export function textAt(root: string, path: string): string | undefined {
  try {
    return readFileSync(onHost(root, path), 'utf8');
  } catch {
    return undefined;
  }
}

/** Sorted. A directory that is not there has none. */
export function namesIn(root: string, directory: string): readonly string[] {
  try {
    return readdirSync(onHost(root, directory)).sort();
  } catch {
    return [];
  }
}

/** Anything but a directory. */
export function fileAt(root: string, path: string): DriverFile | undefined {
  const stat = statAt(root, path);
  return stat === undefined || stat.isDirectory() ? undefined : at(root, path);
}

export function at(root: string, path: string): DriverFile {
  return { source: onHost(root, path), target: path };
}

export function statAt(root: string, path: string): Stats | undefined {
  try {
    return lstatSync(onHost(root, path), { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

export function onHost(root: string, path: string): string {
  return join(root, resolved(root, path).path);
}

export function resolved(
  root: string,
  path: string,
): { readonly path: string; readonly stat: Stats | undefined } {
  try {
    return resolveInTree(root, path);
  } catch {
    return { path, stat: undefined };
  }
}

/**
 * A file that stands where a node should be, as a mount that failed leaves it, is none. A link leads where it leads on the host: the
 * tree of a driver in a container has the host's devices.
 */
export function isDevice(root: string, path: string): boolean {
  try {
    return statSync(join(root, path)).isCharacterDevice();
  } catch {
    return false;
  }
}
