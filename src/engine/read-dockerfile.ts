/** The text of a Dockerfile: of one that the user names, or of the one that a context holds. */
import { lstat, readFile, stat } from 'node:fs/promises';
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

/**
 * Of one that the user names; links are followed.
 *
 * @throws {DefinitionError} `E_LOCAL_FILE_MISSING`, `E_FILE_TOO_LARGE`
 * @throws {HostError} `E_IO`
 */
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
    if (isAbsence(code)) {
      throw missing(path, NAME_IT, cause);
    }
    throw new HostError(`cannot read the Dockerfile '${path}'`, { code: 'E_IO', errno: code, path, cause });
  }
}

/** A directory that holds a Dockerfile. */
export interface DockerfilePlace {
  readonly directory: string;
  /** What messages call something in it. */
  readonly shown: (name: string) => string;
}

/**
 * Of a context. A link in it leads nowhere but into it, as BuildKit has it: what a stranger put there must not be a file of the
 * user's, whose lines an error would show.
 *
 * @param path - In the context. @defaultValue one of the usual names
 * @throws As {@link readDockerfile}.
 */
export async function readDockerfileWithin(
  { directory, shown }: DockerfilePlace,
  path: string | undefined,
  signal: AbortSignal,
): Promise<DockerfileText> {
  for (const each of path === undefined ? USUAL_NAMES : [path]) {
    const name = shown(each);
    const bytes = await callNative(signal, `cannot read the Dockerfile '${name}'`, async () => {
      const found = native().statInRoot(directory, each);
      if (found === undefined) {
        return undefined;
      }
      checkFound(name, found.kind === 'directory', found.sizeBytes);
      return await native().readInRoot(directory, each, MAX_DOCKERFILE_BYTES);
    }).catch((error: unknown) => {
      if (error instanceof HostError && isAbsence(error.errno)) {
        // The directory itself is not there.
        return undefined;
      }
      throw error;
    });
    if (bytes !== undefined) {
      return { text: bytes.toString('utf8'), name };
    }
  }
  const wanted = path ?? USUAL_NAMES[0];
  throw missing(shown(wanted), await hintAbout(join(directory, wanted)));
}

async function hintAbout(path: string): Promise<string> {
  const found = await lstat(path).catch(() => undefined);
  return found?.isSymbolicLink() === true
    ? 'it is a link to nothing in the context; name what is meant with --file'
    : NAME_IT;
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

function isAbsence(errno: string | undefined): boolean {
  return errno === 'ENOENT' || errno === 'ENOTDIR';
}

const NAME_IT = 'name it with --file';

function missing(name: string, hint: string, cause?: unknown): DefinitionError {
  return new DefinitionError(`there is no Dockerfile '${name}'`, {
    code: 'E_LOCAL_FILE_MISSING',
    cause,
    hint,
  });
}
