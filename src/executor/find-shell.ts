/** The shell that a person gets in an image. */
import { posix } from 'node:path';
import { DefinitionError } from '../errors.ts';
import { resolveInTree } from '../snapshot/resolve.ts';

/** The best first: only one of them edits lines and completes names. */
const SHELLS = ['bash', 'sh'];
/** Where they are if the image's PATH does not have them. */
const DIRECTORIES = ['/usr/local/bin', '/usr/bin', '/bin'];
const ANY_EXECUTE = 0o111;

/**
 * @param root - Of the image. @param path - The PATH of the program.
 * @returns Its path in the image. @throws {DefinitionError} `E_NO_SHELL`
 */
export function findShell(root: string, path: string): string {
  const directories = [...path.split(':').filter((each) => each.startsWith('/')), ...DIRECTORIES];
  for (const shell of SHELLS) {
    for (const directory of directories) {
      const file = posix.join(directory, shell);
      const { stat } = resolveInTree(root, file);
      if (stat?.isFile() === true && (stat.mode & ANY_EXECUTE) !== 0) {
        return file;
      }
    }
  }
  throw new DefinitionError('there is no shell in this file system: neither bash nor sh', {
    code: 'E_NO_SHELL',
    hint: 'name a program that is there after `--`, or add busybox to the image while you look for the mistake',
  });
}
