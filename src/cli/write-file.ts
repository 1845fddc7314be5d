/** Files that scripts wait for appear whole or not at all. */
import { rename, rm, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { HostError } from '../errors.ts';

/** Replaces `path` in one step. @throws {HostError} `E_IO`. */
export async function writeResult(cwd: string, path: string, text: string): Promise<void> {
  const target = resolve(cwd, path);
  const temporary = `${target}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, text);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    const { code, syscall, message } = error as NodeJS.ErrnoException;
    throw new HostError(`cannot write '${path}': ${message}`, {
      code: code === 'ENOSPC' ? 'E_DISK_FULL' : 'E_IO',
      errno: code,
      syscall,
      path: target,
      cause: error,
    });
  }
}
