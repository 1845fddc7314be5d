/** Paths as one buffer, each followed by NUL, which no path holds: Node-API takes microseconds for each element of an array. */
import { pathBytes } from '../base/path-bytes.ts';

export function pathList(paths: Iterable<string>): Buffer {
  let text = '';
  for (const path of paths) {
    text += `${path}\0`;
  }
  return pathBytes(text);
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
