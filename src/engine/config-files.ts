/** Configuration files: the nearest `tsbuild.config.json` upward, and the user's own (Image API, A5.2). */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { UsageError } from '../errors.ts';
import type { ConfigFile } from '../settings.ts';

const PROJECT_FILE = 'tsbuild.config.json';

/** @throws {UsageError} `E_USAGE` for a file that is not a JSON object. */
export function readConfigFiles(
  cwd: string,
  environment: NodeJS.ProcessEnv,
): { readonly project: ConfigFile; readonly user: ConfigFile } {
  let project: ConfigFile | undefined;
  for (let directory = cwd; project === undefined; directory = dirname(directory)) {
    project = readConfig(join(directory, PROJECT_FILE));
    if (directory === dirname(directory)) {
      break;
    }
  }
  const configHome = environment.XDG_CONFIG_HOME || join(environment.HOME || homedir(), '.config');
  const user = readConfig(environment.TSBUILD_CONFIG_PATH || join(configHome, 'tsbuild', 'config.json'));
  return { project: project ?? {}, user: user ?? {} };
}

function readConfig(path: string): ConfigFile | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EACCES') {
      return undefined;
    }
    throw new UsageError(`cannot read the configuration file '${path}': ${code}`, {
      code: 'E_USAGE',
      cause: error,
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new UsageError(`the configuration file '${path}' is not JSON: ${(cause as Error).message}`, {
      code: 'E_USAGE',
      cause,
    });
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new UsageError(`the configuration file '${path}' must hold a JSON object`, { code: 'E_USAGE' });
  }
  return value as ConfigFile;
}
