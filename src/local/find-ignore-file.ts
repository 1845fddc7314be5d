import { readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DefinitionError, HostError } from '../errors.ts';
import type { ContextIgnore } from '../frontend/dockerfile/context-input.ts';
import type { IgnoreFileOrder } from '../frontend/dockerfile/declaration.ts';

const IGNORE_FILE = '.dockerignore';
/** One above this is something else. */
const MAX_IGNORE_FILE_BYTES = 16 * 1024 * 1024;

/**
 * The ignore file of a local context: the first that is there, even if it is empty. It is read though it may hide itself.
 *
 * @param directory - Of the context, absolute.
 * @param dockerfile - Path of the Dockerfile, if it is a file of this machine and the context is its own.
 * @throws {DefinitionError} `E_LOCAL_FILE_MISSING` when it is no file; `E_FILE_TOO_LARGE`
 * @throws {HostError} `E_IO`
 */
export async function findIgnoreFile(
  directory: string,
  dockerfile?: string,
  order: IgnoreFileOrder = 'docker',
): Promise<ContextIgnore | undefined> {
  const candidates = [
    ...(dockerfile === undefined ? [] : [`${dockerfile}${IGNORE_FILE}`]),
    ...(dockerfile === undefined || order === 'docker' ? [] : [join(dirname(dockerfile), IGNORE_FILE)]),
    join(directory, IGNORE_FILE),
  ].filter((path) => order === 'docker' || path.startsWith(directory === '/' ? '/' : `${directory}/`));
  for (const path of candidates) {
    const text = textOf(path);
    if (text !== undefined) {
      return { name: path, text };
    }
  }
  return undefined;
}

function textOf(path: string): string | undefined {
  try {
    const found = statSync(path);
    if (!found.isFile()) {
      throw new DefinitionError(`the ignore file '${path}' is not a file`, { code: 'E_LOCAL_FILE_MISSING' });
    }
    if (found.size > MAX_IGNORE_FILE_BYTES) {
      throw new DefinitionError(`the ignore file '${path}' has ${found.size} bytes`, {
        code: 'E_FILE_TOO_LARGE',
        hint: `at most ${MAX_IGNORE_FILE_BYTES} bytes are read`,
      });
    }
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (cause instanceof DefinitionError) {
      throw cause;
    }
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      return undefined;
    }
    throw new HostError(`cannot read the ignore file '${path}'`, { code: 'E_IO', errno: code, path, cause });
  }
}
