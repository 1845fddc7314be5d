/** Files that only their owner may read. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { HostError } from '../errors.ts';

const OTHERS = 0o077;

/**
 * Undefined when there is none. Links are not followed.
 *
 * @throws {HostError} `E_SECRET_STORE_MODE` when others may read or write it, or it is somebody else's; `E_IO`.
 */
export function readPrivateFile(path: string, what: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') {
      return undefined;
    }
    throw new HostError(`cannot read ${what} '${path}': ${code}`, { code: 'E_IO', path, cause });
  }
  try {
    // Of what is read, and not of what the path may be by then.
    const stat = fstatSync(fd);
    const mode = (stat.mode & 0o7777).toString(8).padStart(4, '0');
    if (!stat.isFile() || (stat.mode & OTHERS) !== 0 || stat.uid !== process.geteuid?.()) {
      throw new HostError(`${what} '${path}' is not for its owner alone: mode ${mode}, owner ${stat.uid}`, {
        code: 'E_SECRET_STORE_MODE',
        path,
        hint: `chmod 600 '${path}', and think of changing what is in it`,
      });
    }
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}
