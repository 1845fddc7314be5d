import { posix } from 'node:path';

/** As Go's `path.Clean`: no `.`, no `//`, `..` resolved as far as possible, no trailing `/` but of the root. */
export function normalPath(path: string): string {
  const normal = posix.normalize(path);
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal;
}
