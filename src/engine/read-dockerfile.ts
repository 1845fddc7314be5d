/** The text of a Dockerfile: of the user's own, or of a stranger's that came with a context from elsewhere. */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DefinitionError, HostError } from '../errors.ts';
import { MAX_DOCKERFILE_BYTES } from '../frontend/dockerfile/declaration.ts';
import { native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';

export interface DockerfileText {
  readonly text: string;
  /** What messages call it. */
  readonly name: string;
}

/** What it is called in a context, in the order in which they are looked for. */
const USUAL_NAMES = ['Dockerfile', 'dockerfile'] as const;

/** @throws {DefinitionError} `E_LOCAL_FILE_MISSING`, `E_FILE_TOO_LARGE`. @throws {HostError} `E_IO` */
export async function readDockerfile(path: string): Promise<DockerfileText> {
  try {
    const found = await stat(path);
    checkFound(path, found.isDirectory(), found.size);
    return { text: await readFile(path, 'utf8'), name: path };
  } catch (cause) {
    if (cause instanceof DefinitionError) {
      throw cause;
    }
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw missing(path, cause);
    }
    throw new HostError(`cannot read the Dockerfile '${path}'`, { code: 'E_IO', errno: code, path, cause });
  }
}

/** Of a directory of the user's own. @throws As {@link readDockerfile}. */
export async function readDockerfileOf(directory: string): Promise<DockerfileText> {
  const [usual, lower] = USUAL_NAMES.map((name) => join(directory, name)) as [string, string];
  return await readDockerfile(!(await exists(usual)) && (await exists(lower)) ? lower : usual);
}

/**
 * Of a context from elsewhere. A link in it leads nowhere but into it: the Dockerfile of a stranger must not be a file of the
 * user's, whose lines an error would show. Where the context lies for now is nobody's business.
 *
 * @param path - In the context. @defaultValue one of the usual names
 * @throws As {@link readDockerfile}.
 */
export async function readDockerfileWithin(
  directory: string,
  path: string | undefined,
  signal: AbortSignal,
): Promise<DockerfileText> {
  for (const name of path === undefined ? USUAL_NAMES : [path]) {
    const bytes = await callNative(signal, `cannot read the Dockerfile '${name}'`, async () => {
      const found = native().statInRoot(directory, name);
      if (found === undefined) {
        return undefined;
      }
      checkFound(name, found.kind === 'directory', found.sizeBytes);
      return await native().readInRoot(directory, name, MAX_DOCKERFILE_BYTES);
    });
    if (bytes !== undefined) {
      return { text: bytes.toString('utf8'), name };
    }
  }
  throw missing(path ?? USUAL_NAMES[0]);
}

function checkFound(name: string, isDirectory: boolean, sizeBytes: number): void {
  if (isDirectory) {
    throw new DefinitionError(`the Dockerfile '${name}' is a directory`, { code: 'E_LOCAL_FILE_MISSING' });
  }
  if (sizeBytes > MAX_DOCKERFILE_BYTES) {
    throw new DefinitionError(`'${name}' has ${sizeBytes} bytes, which is no Dockerfile`, {
      code: 'E_FILE_TOO_LARGE',
    });
  }
}

function missing(name: string, cause?: unknown): DefinitionError {
  return new DefinitionError(`there is no Dockerfile '${name}'`, {
    code: 'E_LOCAL_FILE_MISSING',
    cause,
    hint: 'name it with --file',
  });
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
