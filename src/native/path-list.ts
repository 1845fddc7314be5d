/** Paths as one argument, each followed by NUL, which no path holds: Node-API takes microseconds for each element of an array. */
import { pathBytes } from '../base/path-bytes.ts';

/** @param paths - UTF-8. */
export function pathList(paths: readonly string[]): string {
  return paths.map((path) => `${path}\0`).join('');
}

/**
 * A choice of the entries of a `NativeTreeIndex`.
 *
 * @param paths - `/`-rooted; each means the entry itself.
 * @param below - `/`-rooted; each means all that is below a directory, and not itself.
 */
export function choiceOf(paths: Iterable<string>, below: Iterable<string>): Buffer {
  let text = '';
  for (const path of paths) {
    text += `=${path.slice(1)}\0`;
  }
  for (const path of below) {
    text += `*${path.slice(1)}\0`;
  }
  return pathBytes(text);
}
