/** The directory of a volume that a program gets: all of it, or one below that a program may be changing meanwhile. */
import { lstatSync, mkdirSync } from 'node:fs';
import { DefinitionError } from '../errors.ts';
import { native } from '../native/addon.ts';
import { fromNative } from '../native/error.ts';

/** A directory that stays what it is until it is released. */
export interface MountedVolume {
  readonly source: string;
  release(): void;
}

/**
 * Other programs have the whole volume, and can put a link in the place of the directory at any moment. So it is bound on a
 * place of our own first, and then looked at: what is bound must be what the path leads to inside of the volume.
 *
 * @param make - Whether a missing directory is made.
 * @param target - Path for that mount, which does not exist yet.
 * @throws {DefinitionError} `E_FILE_NOT_FOUND`
 */
export function mountSubPath(volume: string, subPath: string, make: boolean, target: string): MountedVolume {
  const doing = `cannot mount '${subPath}' of a volume`;
  try {
    if (make && native().statInRoot(volume, subPath) === undefined) {
      native().mkdirInRoot(volume, subPath, 0o755, 0, 0);
    }
    const found = native().statInRoot(volume, subPath);
    if (found?.kind !== 'directory') {
      throw new DefinitionError(
        `${doing}: ${found === undefined ? 'no such directory there' : 'it is not a directory'}`,
        { code: 'E_FILE_NOT_FOUND' },
      );
    }
    mkdirSync(target, { mode: 0o700 });
    native().mountBind(`${volume}/${found.path.toString('utf8').replace(/^\//, '')}`, target, false, true);
    const bound = lstatSync(target, { bigint: true });
    const { dev, ino } = native().statInRoot(volume, subPath) ?? found;
    if (String(bound.dev) !== dev || String(bound.ino) !== ino) {
      native().unmount(target, true);
      throw new DefinitionError(`${doing}: it was moved while it was mounted`, { code: 'E_FILE_NOT_FOUND' });
    }
  } catch (error) {
    throw fromNative(error, doing);
  }
  return { source: target, release: () => native().unmount(target, true) };
}
