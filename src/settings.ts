/**
 * Everything that the environment and the configuration files decide (A5.2 of the Image API), read once into a plain
 * object. Precedence: environment, project file, user file, default; options of the API and of the command line stand
 * above and are applied by those who read the object.
 */

import { ISOLATION_CHOICES, type IsolationChoice } from './base/isolation.ts';
import { nearName } from './base/near-name.ts';
import { isObjectName } from './base/object-name.ts';
import { redactText } from './base/redact.ts';
import { UsageError } from './errors.ts';
import { canonicalHost } from './oci/reference.ts';
import { CONFIG_KEYS } from './settings-table.ts';

/** A value and where it came from, for those that are checked later than they are read. */
export interface Sourced {
  readonly value: string;
  /** `TSBUILD_…`, or the name of the file and key. */
  readonly from: string;
}

export interface Settings {
  readonly forceBuild: boolean;
  readonly ignoreCache: boolean;
  readonly imageBuilderVersion?: Sourced;
  readonly pythonVersion?: Sourced;
  /** Namespace of secrets, volumes and names. @defaultValue `main` */
  readonly environment: string;
  /** State directory. @defaultValue `tsbuild` in the XDG data directory */
  readonly home: string;
  readonly buildValidation: 'error' | 'warn' | 'ignore';
  readonly gpuPolicy: 'auto' | 'strict' | 'ignore';
  /** Directories that describe devices, besides the standard ones. */
  readonly cdiDirs: readonly string[];
  /** Where NVIDIA's driver is. @defaultValue `/` */
  readonly driverRoot: string;
  /** `default`, `unconfined`, or the path of a profile. */
  readonly seccomp: string;
  readonly sandbox: 'auto' | 'bubblewrap' | 'runc' | 'crun';
  readonly isolation: IsolationChoice;
  readonly limitsPolicy: 'warn' | 'require';
  /** Of steps and containers that do not say. */
  readonly network: 'host' | 'private';
  readonly debianSource: 'registry' | 'archive';
  /** Registry host to the base URLs of its mirrors, tried in order. */
  readonly registryMirrors: Readonly<Record<string, readonly string[]>>;
  readonly pythonStandaloneMirror?: string;
  readonly uvSource: 'auto' | 'registry' | 'pypi' | 'host';
  readonly pipIndexUrl?: string;
  readonly npmRegistry?: string;
  readonly aptMirror?: string;
  readonly offline: boolean;
  /** What stored secrets are sealed with; of the environment only. */
  readonly secretsKey?: string;
  /** A file that holds it, which nobody else may read. */
  readonly secretsKeyFile?: string;
}

export type Environment = Readonly<Record<string, string | undefined>>;
/** Parsed JSON of a configuration file; keys are the camelCase names. */
export type ConfigFile = Readonly<Record<string, unknown>>;

/** Unset, empty, `0` and `false` in any case are false; everything else is true. */
export function isTruthy(text: string | undefined): boolean {
  return text !== undefined && !['', '0', 'false'].includes(text.toLowerCase());
}

/**
 * @throws {UsageError} `E_USAGE` when a value cannot be understood. The builder version and the Python version are not
 * judged here: whether they are wrong depends on the image.
 */
export function readSettings(
  env: Environment,
  projectConfig: ConfigFile = {},
  userConfig: ConfigFile = {},
): Settings {
  refuseUnknownKeys(projectConfig, 'project configuration');
  refuseUnknownKeys(userConfig, 'user configuration');
  const find = (variable: string, key: string): Sourced | undefined => {
    const fromEnvironment = env[variable];
    if (fromEnvironment !== undefined && fromEnvironment !== '') {
      return { value: fromEnvironment, from: variable };
    }
    return (
      fromConfig(projectConfig, key, 'project configuration') ??
      fromConfig(userConfig, key, 'user configuration')
    );
  };
  const oneOf = <T extends string>(variable: string, key: string, values: readonly [T, ...T[]]): T => {
    const found = find(variable, key);
    if (found === undefined) {
      return values[0];
    }
    const value = values.find((each) => each === found.value);
    if (value === undefined) {
      throw new UsageError(`${found.from} is '${found.value}'; it can be ${values.join(', ')}`, {
        code: 'E_USAGE',
      });
    }
    return value;
  };
  const text = (variable: string, key: string) => find(variable, key)?.value;
  const flag = (variable: string, key: string) => isTruthy(text(variable, key));

  return Object.freeze({
    forceBuild: flag('TSBUILD_FORCE_BUILD', 'forceBuild'),
    ignoreCache: flag('TSBUILD_IGNORE_CACHE', 'ignoreCache'),
    ...defined('imageBuilderVersion', find('TSBUILD_IMAGE_BUILDER_VERSION', 'imageBuilderVersion')),
    ...defined('pythonVersion', find('TSBUILD_PYTHON_VERSION', 'pythonVersion')),
    environment: environmentName(find('TSBUILD_ENVIRONMENT', 'environment')),
    home: text('TSBUILD_HOME', 'home') ?? defaultHome(env),
    buildValidation: oneOf('TSBUILD_BUILD_VALIDATION', 'buildValidation', ['error', 'warn', 'ignore']),
    gpuPolicy: oneOf('TSBUILD_GPU_POLICY', 'gpuPolicy', ['auto', 'strict', 'ignore']),
    cdiDirs: directories(find('TSBUILD_CDI_DIRS', 'cdiDirs')),
    driverRoot: directories(find('TSBUILD_DRIVER_ROOT', 'driverRoot'))[0] ?? '/',
    seccomp: text('TSBUILD_SECCOMP', 'seccomp') ?? 'default',
    sandbox: oneOf('TSBUILD_SANDBOX', 'sandbox', ['auto', 'bubblewrap', 'runc', 'crun']),
    isolation: oneOf('TSBUILD_ISOLATION', 'isolation', ISOLATION_CHOICES),
    limitsPolicy: oneOf('TSBUILD_LIMITS_POLICY', 'limitsPolicy', ['warn', 'require']),
    network: oneOf('TSBUILD_NETWORK', 'network', ['host', 'private']),
    debianSource: oneOf('TSBUILD_DEBIAN_SOURCE', 'debianSource', ['registry', 'archive']),
    registryMirrors: parseMirrors(find('TSBUILD_REGISTRY_MIRRORS', 'registryMirrors')),
    ...defined('pythonStandaloneMirror', text('TSBUILD_PYTHON_STANDALONE_MIRROR', 'pythonStandaloneMirror')),
    uvSource: oneOf('TSBUILD_UV_SOURCE', 'uvSource', ['auto', 'registry', 'pypi', 'host']),
    ...defined('pipIndexUrl', text('TSBUILD_PIP_INDEX_URL', 'pipIndexUrl')),
    ...defined('npmRegistry', text('TSBUILD_NPM_REGISTRY', 'npmRegistry')),
    ...defined('aptMirror', text('TSBUILD_APT_MIRROR', 'aptMirror')),
    offline: flag('TSBUILD_OFFLINE', 'offline'),
    ...defined('secretsKey', env.TSBUILD_SECRETS_KEY || undefined),
    ...defined('secretsKeyFile', text('TSBUILD_SECRETS_KEY_FILE', 'secretsKeyFile')),
  });
}

/** A key that is misspelt would be a setting that silently does not hold. */
function refuseUnknownKeys(config: ConfigFile, file: string): void {
  const unknown = Object.keys(config).find((key) => !CONFIG_KEYS.includes(key));
  if (unknown !== undefined) {
    const near = nearName(unknown, CONFIG_KEYS);
    throw new UsageError(`the ${file} has the key '${unknown.slice(0, 80)}', which nothing reads`, {
      code: 'E_USAGE',
      hint: near === undefined ? `keys are ${CONFIG_KEYS.join(', ')}` : `did you mean '${near}'?`,
    });
  }
}

/** As PATH lists them. Relative ones would mean another one in each directory. */
function directories(found: Sourced | undefined): readonly string[] {
  const named = (found?.value ?? '').split(':').filter((path) => path !== '');
  const relative = named.find((path) => !path.startsWith('/'));
  if (found !== undefined && relative !== undefined) {
    throw new UsageError(`${found.from} holds '${relative.slice(0, 80)}', which is no absolute path`, {
      code: 'E_USAGE',
    });
  }
  return named;
}

function environmentName(found: Sourced | undefined): string {
  if (found !== undefined && !isObjectName(found.value)) {
    throw new UsageError(
      `${found.from} is '${found.value.slice(0, 80)}', which cannot be the name of an environment`,
      {
        code: 'E_USAGE',
        hint: 'names are 1 to 64 of the characters A-Z, a-z, 0-9, dot, dash and underscore',
      },
    );
  }
  return found?.value ?? 'main';
}

function fromConfig(config: ConfigFile, key: string, file: string): Sourced | undefined {
  const value = config[key];
  if (value === undefined || value === null) {
    return undefined;
  }
  const from = `'${key}' of the ${file}`;
  if (typeof value === 'string' || typeof value === 'boolean') {
    return { value: String(value), from };
  }
  throw new UsageError(`${from} must be a string or a boolean`, { code: 'E_USAGE' });
}

/** XDG Base Directory Specification: a relative `XDG_DATA_HOME` does not count. */
function defaultHome(env: Environment): string {
  const data = env.XDG_DATA_HOME;
  const base = data?.startsWith('/') ? data : `${env.HOME || '/root'}/.local/share`;
  return `${base}/tsbuild`;
}

function parseMirrors(found: Sourced | undefined): Record<string, readonly string[]> {
  const mirrors: Record<string, string[]> = Object.create(null) as Record<string, string[]>;
  for (const entry of found?.value.split(',') ?? []) {
    if (entry.trim() === '') {
      continue;
    }
    const equals = entry.indexOf('=');
    const host = canonicalHost(entry.slice(0, Math.max(equals, 0)).trim());
    const url = entry.slice(equals + 1).trim();
    // A login belongs into the credential files, not where processes list their environment.
    if (host === '' || !/^https?:\/\//.test(url) || !URL.canParse(url) || new URL(url).username !== '') {
      throw new UsageError(
        `${found?.from} holds '${redactText(entry.trim(), 200)}'; it takes host=url[,host=url…]`,
        {
          code: 'E_USAGE',
        },
      );
    }
    mirrors[host] ??= [];
    mirrors[host].push(url);
  }
  return mirrors;
}

/** `exactOptionalPropertyTypes` tells an absent property from an undefined one. */
function defined<K extends string, V>(key: K, value: V | undefined): { readonly [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { readonly [P in K]?: V });
}
