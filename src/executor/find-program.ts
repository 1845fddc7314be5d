import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

/** Not in the PATH of every user. */
const SYSTEM_DIRS = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** Of the system; undefined where it is not installed. */
export function findProgram(name: string): string | undefined {
  const directories = (process.env.PATH ?? '').split(':').filter((directory) => directory.startsWith('/'));
  return [...directories, ...SYSTEM_DIRS]
    .map((directory) => join(directory, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}
