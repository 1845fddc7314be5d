/** Local paths as this frontend takes them; secrets take them too. */
import { resolve } from 'node:path';

export { absoluteLocalPath, type LocalPath, pathText } from '../../base/local-path.ts';

/** Directories of PYTHONPATH, absolute. Python takes an empty entry for the working directory, and so do we. */
export function pythonPath(): string[] {
  const entries = process.env.PYTHONPATH;
  return entries === undefined || entries === ''
    ? []
    : entries.split(':').map((entry) => resolve(process.cwd(), entry));
}
