/** Where the values of secrets come from: the environment, files of variables, the store. */
import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DefinitionError } from '../errors.ts';
import { MAX_SECRET_BYTES } from '../secret/build-secret.ts';
import type { SecretSources } from '../secret/secret.ts';
import type { SecretFiles } from './secret-files.ts';

export function secretSources(environment: NodeJS.ProcessEnv, files: SecretFiles): SecretSources {
  return {
    environment,
    stored: (name, ofEnvironment) => files.values(name, ofEnvironment),
    dotenv: findDotenv,
  };
}

/**
 * Above the directory where the search begins, files of strangers are passed over: anybody may put a file into `/tmp`, which is
 * above many projects.
 *
 * @throws {DefinitionError} `E_SECRET_VALUE` for a file that cannot be read or is too large.
 */
export const findDotenv: SecretSources['dotenv'] = async (start, filename) => {
  const at = await stat(start).catch(() => undefined);
  const beginning = at?.isFile() === true ? dirname(start) : start;
  const trusted = new Set([0, process.getuid?.(), at?.uid]);
  for (let directory = beginning; ; directory = dirname(directory)) {
    const path = join(directory, filename);
    const found = await stat(path).catch(() => undefined);
    if (found?.isFile() === true && (directory === beginning || trusted.has(found.uid))) {
      if (found.size > MAX_SECRET_BYTES) {
        throw new DefinitionError(`'${path}' is too large for a file of variables`, {
          code: 'E_SECRET_VALUE',
        });
      }
      try {
        return { path, text: await readFile(path, 'utf8') };
      } catch (cause) {
        throw new DefinitionError(`cannot read '${path}': ${(cause as NodeJS.ErrnoException).code}`, {
          code: 'E_SECRET_VALUE',
          cause,
        });
      }
    }
    if (directory === dirname(directory)) {
      return undefined;
    }
  }
};
