import { readFileSync } from 'node:fs';
import { DefinitionError, HostError } from '../errors.ts';

/**
 * Text of a file of ignore patterns; what `providePatternFileReader` is given. Synchronous because a matcher is.
 *
 * @throws {DefinitionError} `E_LOCAL_FILE_MISSING`
 * @throws {HostError} `E_IO`
 */
export function readPatternFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new DefinitionError(`there is no file of ignore patterns at '${path}'`, {
        code: 'E_LOCAL_FILE_MISSING',
        cause,
      });
    }
    throw new HostError(`cannot read the ignore patterns '${path}'`, {
      code: 'E_IO',
      errno: code,
      path,
      cause,
    });
  }
}
