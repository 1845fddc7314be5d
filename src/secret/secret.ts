/**
 * A secret: named variables whose values never enter a plan, a key, a history or a text (A4.1 of the Image API).
 * What the rest of tsbuild sees is the identity; only {@link secretValues} gives the values, to whoever runs a step.
 */
import { canonicalJson, type Json } from '../base/canonical-json.ts';
import { absoluteLocalPath, type LocalPath } from '../base/local-path.ts';
import { checkObjectName } from '../base/object-name.ts';
import { booleanOption, isPlainObject, knownOptions, optionsInPlace, stringOption } from '../base/options.ts';
import {
  type CreateObjectOptions,
  createOptions,
  type DeleteObjectOptions,
  deleteOptions,
  environmentOf,
  type ListObjectsOptions,
  listOptions,
  type StoredObject,
} from '../base/stored-objects.ts';
import { DefinitionError } from '../errors.ts';
import { parseDotenv } from './dotenv.ts';
import { secretStore } from './secret-store.ts';

/** B2.3: kind and sorted variable names, or what the names come from. */
export type SecretIdentity =
  | { readonly kind: 'dict'; readonly keys: readonly string[] }
  | { readonly kind: 'environ'; readonly keys: readonly string[] }
  | { readonly kind: 'env'; readonly keys: readonly string[] }
  | { readonly kind: 'name'; readonly name: string; readonly requiredKeys: readonly string[] }
  | { readonly kind: 'dotenv'; readonly filename: string };

/** What `fromName` takes. */
export interface SecretFromNameOptions {
  /** Namespace of the name. Not part of the cache key. @defaultValue TSBUILD_ENVIRONMENT, or `main` */
  readonly environment?: string;
  /** Variables that it must have. Part of the cache key. @defaultValue none */
  readonly requiredKeys?: readonly string[];
}

/** What `fromDotenv` takes. */
export interface SecretFromDotenvOptions {
  /** Name of the file. Part of the cache key. @defaultValue `.env` */
  readonly filename?: string;
  /** Fail when there is no such file, instead of having no variables. Not part of the cache key. @defaultValue false */
  readonly required?: boolean;
}

type Values =
  | { readonly kind: 'known'; readonly values: Readonly<Record<string, string>> }
  | {
      readonly kind: 'environment';
      /** Variable of the step to variable of the invoking process. */
      readonly variables: Readonly<Record<string, string>>;
      readonly optional: boolean;
    }
  | {
      readonly kind: 'stored';
      readonly name: string;
      readonly environment?: string;
      readonly requiredKeys: readonly string[];
    }
  /** The search begins at `start`, a file or a directory, and goes upwards. */
  | {
      readonly kind: 'dotenv';
      readonly start: string;
      readonly filename: string;
      readonly required: boolean;
    };

/** Where values come from that were not given when the secret was made. */
export interface SecretSources {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** @throws {DefinitionError} `E_SECRET_NOT_FOUND` @throws {HostError} `E_SECRET_STORE_MODE`, `E_SECRET_STORE_KEY` */
  stored(name: string, environment: string | undefined): Promise<Readonly<Record<string, string>>>;
  /** The nearest file of that name, in the directory of `start` or above. */
  dotenv(
    start: string,
    filename: string,
  ): Promise<{ readonly path: string; readonly text: string } | undefined>;
}

/** Something that is worth saying about a secret. */
export interface SecretWarning {
  readonly code: 'W_DOTENV_MISSING';
  readonly message: string;
}

const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const PRIVATE: unique symbol = Symbol('tsbuild.secret');
let count = 0;

/** Immutable. Printing, inspecting or serialising it shows the identity. */
export class Secret {
  /** Secrets as things that are stored. */
  static readonly objects = Object.freeze({ create: createSecret, list: listSecrets, delete: deleteSecret });

  readonly #identity: SecretIdentity;
  readonly #values: Values;
  readonly #id: string;

  /** Use a factory such as {@link Secret.fromDict}. */
  constructor(key: typeof PRIVATE, identity: SecretIdentity, values: Values) {
    if (key !== PRIVATE) {
      throw new DefinitionError('a Secret is made by Secret.fromDict() and the like', {
        code: 'E_SECRET_TYPE',
      });
    }
    count += 1;
    this.#id = `secret-${count}`;
    this.#identity = frozen(identity);
    this.#values = values;
    Object.freeze(this);
  }

  /**
   * Values as they are now; entries that are null or undefined are dropped.
   *
   * @example
   * ```ts
   * image.runCommands('curl -H "Authorization: Bearer $TOKEN" https://example.com', {
   *   secrets: [Secret.fromDict({ TOKEN: 'from somewhere' })],
   * });
   * ```
   * @throws {DefinitionError} `E_SECRET_VALUE`, `E_SECRET_KEY`
   */
  static fromDict(values: Readonly<Record<string, string | null | undefined>>): Secret {
    const where = 'Secret.fromDict()';
    const known = stringEntries(where, objectOfStrings(where, values));
    return new Secret(
      PRIVATE,
      { kind: 'dict', keys: Object.keys(known).sort() },
      { kind: 'known', values: known },
    );
  }

  /**
   * Variables of this process, as they are now. Inside of a container (`TSBUILD_IS_CONTAINER=1`) the secret is empty: the
   * definition may be loaded there too, where the variables are not.
   *
   * @example
   * ```ts
   * image.pipInstall('private-package', { secrets: [Secret.fromLocalEnviron(['PIP_INDEX_URL'])] });
   * ```
   * @throws {DefinitionError} `E_ENVIRON_MISSING` naming a variable that is not set; `E_SECRET_KEY`, `E_NOT_STRINGS`.
   */
  static fromLocalEnviron(
    keys: readonly string[],
    environment: Readonly<Record<string, string | undefined>> = process.env,
  ): Secret {
    const names = checkedNames('Secret.fromLocalEnviron()', keys);
    const known: Record<string, string> = Object.create(null) as Record<string, string>;
    if (environment.TSBUILD_IS_CONTAINER !== '1') {
      for (const name of names) {
        known[name] = present(environment, name, 'Secret.fromLocalEnviron()');
      }
    }
    return new Secret(
      PRIVATE,
      { kind: 'environ', keys: [...new Set(names)].sort() },
      { kind: 'known', values: Object.freeze(known) },
    );
  }

  /**
   * Variables of this process, read when a step that needs them is about to run. A record renames: `{ TARGET: 'SOURCE' }`.
   *
   * @example
   * ```ts
   * image.runCommands('make fetch', { secrets: [Secret.fromEnv({ TOKEN: 'CI_JOB_TOKEN' })] });
   * ```
   * @throws {DefinitionError} `E_SECRET_KEY`, `E_NOT_STRINGS`, `E_UNKNOWN_OPTION`; later `E_ENVIRON_MISSING`, unless `optional`.
   */
  static fromEnv(
    variables: readonly string[] | Readonly<Record<string, string>>,
    options?: { readonly optional?: boolean },
  ): Secret {
    const method = 'Secret.fromEnv';
    const optional = booleanOption(method, knownOptions(method, options, ['optional']), 'optional');
    const pairs = isPlainObject(variables)
      ? Object.entries(stringEntries(`${method}()`, variables))
      : checkedNames(`${method}()`, variables).map((name) => [name, name] as const);
    const map = Object.freeze(Object.fromEntries(pairs));
    return new Secret(
      PRIVATE,
      { kind: 'env', keys: Object.keys(map).sort() },
      { kind: 'environment', variables: map, optional },
    );
  }

  /**
   * Variables of a file, read when a step that needs them is about to run.
   *
   * @param path - Where the search begins: a directory, or a file in it; it goes upwards. @defaultValue the working directory
   * @example
   * ```ts
   * image.runCommands('python fetch.py', { secrets: [Secret.fromDotenv()] });
   * ```
   * @throws {DefinitionError} `E_ARG_TYPE`, `E_UNKNOWN_OPTION`; later `E_LOCAL_FILE_MISSING` if `required`, `E_SECRET_KEY`, `E_SECRET_VALUE`.
   */
  static fromDotenv(path?: LocalPath | SecretFromDotenvOptions, options?: SecretFromDotenvOptions): Secret {
    const method = 'Secret.fromDotenv';
    const call = optionsInPlace(path, options);
    const given = knownOptions(method, call.given, ['filename', 'required']);
    const filename = stringOption(method, given, 'filename') ?? '.env';
    if (filename === '' || filename.includes('/') || filename.includes('\0')) {
      throw new DefinitionError(`${method}(): 'filename' must be the name of a file, without a directory`, {
        code: 'E_ARG_TYPE',
      });
    }
    const start = absoluteLocalPath(method, 'path', call.placed ?? '.');
    const required = booleanOption(method, given, 'required');
    return new Secret(PRIVATE, { kind: 'dotenv', filename }, { kind: 'dotenv', start, filename, required });
  }

  /**
   * The stored secret of that name, read when a step that needs it is about to run.
   *
   * @example
   * ```ts
   * await Secret.objects.create('huggingface', { HF_TOKEN: token });
   * image.runCommands('python download.py', { secrets: [Secret.fromName('huggingface')] });
   * ```
   * @throws {DefinitionError} `E_NAME`, `E_SECRET_KEY`; later `E_SECRET_NOT_FOUND`, `E_SECRET_MISSING_KEYS`.
   */
  static fromName(name: string, options?: SecretFromNameOptions): Secret {
    const method = 'Secret.fromName';
    const given = knownOptions(method, options, ['environment', 'requiredKeys']);
    const checked = checkObjectName(`${method}()`, 'a secret', name);
    const requiredKeys = Object.freeze(
      [...new Set(checkedNames(`${method}(): 'requiredKeys'`, given.requiredKeys ?? []))].sort(),
    );
    return new Secret(
      PRIVATE,
      { kind: 'name', name: checked, requiredKeys },
      { kind: 'stored', name: checked, requiredKeys, ...environmentOf(method, given) },
    );
  }

  /** Of a stored secret; undefined for others. */
  get name(): string | undefined {
    return this.#values.kind === 'stored' ? this.#values.name : undefined;
  }

  /**
   * Adds and replaces variables of a stored secret; null entries are dropped, and variables that are not named stay.
   *
   * @example
   * ```ts
   * await Secret.fromName('registry').update({ REGISTRY_PASSWORD: token });
   * ```
   * @throws {DefinitionError} `E_SECRET_NOT_FOUND`, `E_SECRET_KEY`, `E_SECRET_VALUE`; `E_SECRET_TYPE` for one without a name.
   */
  async update(values: Readonly<Record<string, string | null | undefined>>): Promise<void> {
    const { name, environment } = this.#stored('update');
    const entries = stringEntries('update()', objectOfStrings('update()', values));
    await (await secretStore()).update(name, entries, environment === undefined ? {} : { environment });
  }

  /**
   * Name and age of a stored secret.
   *
   * @example
   * ```ts
   * const { name } = await Secret.fromName('registry').info();
   * ```
   * @throws {DefinitionError} `E_SECRET_NOT_FOUND`; `E_SECRET_TYPE` for one without a name.
   */
  async info(): Promise<StoredObject> {
    const { name, environment } = this.#stored('info');
    return await (await secretStore()).info(name, environment === undefined ? {} : { environment });
  }

  #stored(method: string): Extract<Values, { kind: 'stored' }> {
    if (this.#values.kind !== 'stored') {
      throw new DefinitionError(`${method}() needs a secret of the store, such as Secret.fromName() gives`, {
        code: 'E_SECRET_TYPE',
      });
    }
    return this.#values;
  }

  /** Names of its variables; undefined when only whoever reads it knows them. */
  get keys(): readonly string[] | undefined {
    return 'keys' in this.#identity ? this.#identity.keys : undefined;
  }

  /** What a cache key sees. */
  get identity(): SecretIdentity {
    return this.#identity;
  }

  /** Tells this secret from others of the process. In no cache key. */
  get id(): string {
    return this.#id;
  }

  toString(): string {
    return `Secret(${canonicalJson(this.#identity)})`;
  }

  toJSON(): Json {
    return this.#identity as unknown as Json;
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  /** @internal Use {@link readSecret}. */
  static async read(secret: Secret, sources: SecretSources): Promise<SecretContents> {
    const source = secret.#values;
    switch (source.kind) {
      case 'known':
        return { values: source.values, warnings: [] };
      case 'environment':
        return { values: Secret.#fromVariables(source, sources.environment), warnings: [] };
      case 'stored': {
        const values = await sources.stored(source.name, source.environment);
        const missing = source.requiredKeys.filter((key) => !Object.hasOwn(values, key));
        if (missing.length > 0) {
          throw new DefinitionError(`the secret '${source.name}' has no ${missing.join(', ')}`, {
            code: 'E_SECRET_MISSING_KEYS',
            hint: `add it with Secret.fromName('${source.name}').update()`,
          });
        }
        return { values, warnings: [] };
      }
      case 'dotenv': {
        const file = await sources.dotenv(source.start, source.filename);
        if (file !== undefined) {
          return { values: parseDotenv(file.text, file.path, sources.environment), warnings: [] };
        }
        const message = `there is no '${source.filename}' at '${source.start}' or above`;
        if (source.required) {
          throw new DefinitionError(`Secret.fromDotenv(): ${message}`, { code: 'E_LOCAL_FILE_MISSING' });
        }
        return { values: {}, warnings: [{ code: 'W_DOTENV_MISSING', message }] };
      }
    }
  }

  /** @internal What a plan can say without reading a value. */
  static async warningsOf(secret: Secret, find: SecretSources['dotenv']): Promise<readonly SecretWarning[]> {
    const source = secret.#values;
    if (source.kind !== 'dotenv' || (await find(source.start, source.filename)) !== undefined) {
      return [];
    }
    return [
      {
        code: 'W_DOTENV_MISSING',
        message: `there is no '${source.filename}' at '${source.start}' or above`,
      },
    ];
  }

  static #fromVariables(
    source: Extract<Values, { kind: 'environment' }>,
    environment: SecretSources['environment'],
  ): Readonly<Record<string, string>> {
    const values: Record<string, string> = Object.create(null) as Record<string, string>;
    for (const [target, name] of Object.entries(source.variables)) {
      const value = variableOf(environment, name);
      if (value !== undefined) {
        values[target] = value;
      } else if (!source.optional) {
        present(environment, name, 'Secret.fromEnv()');
      }
    }
    return values;
  }
}

export interface SecretContents {
  readonly values: Readonly<Record<string, string>>;
  readonly warnings: readonly SecretWarning[];
}

/**
 * The values, for the process that runs the step.
 *
 * @throws {DefinitionError} `E_ENVIRON_MISSING`, `E_SECRET_NOT_FOUND`, `E_SECRET_MISSING_KEYS`, `E_LOCAL_FILE_MISSING`
 */
export async function readSecret(secret: Secret, sources: SecretSources): Promise<SecretContents> {
  return await Secret.read(secret, sources);
}

/** The same without what is worth saying. */
export async function secretValues(
  secret: Secret,
  sources: SecretSources,
): Promise<Readonly<Record<string, string>>> {
  return (await readSecret(secret, sources)).values;
}

async function createSecret(
  name: string,
  values: Readonly<Record<string, string | null | undefined>>,
  options?: CreateObjectOptions,
): Promise<void> {
  const method = 'Secret.objects.create';
  const checked = checkObjectName(`${method}()`, 'a secret', name);
  const entries = stringEntries(`${method}()`, objectOfStrings(`${method}()`, values));
  const normal = createOptions(method, options);
  await (await secretStore()).create(checked, entries, normal);
}

async function listSecrets(options?: ListObjectsOptions): Promise<readonly StoredObject[]> {
  const normal = listOptions('Secret.objects.list', options);
  return await (await secretStore()).list(normal);
}

async function deleteSecret(name: string, options?: DeleteObjectOptions): Promise<void> {
  const method = 'Secret.objects.delete';
  const checked = checkObjectName(`${method}()`, 'a secret', name);
  const normal = deleteOptions(method, options);
  await (await secretStore()).delete(checked, normal);
}

/** @throws {DefinitionError} `E_SECRET_VALUE` */
function objectOfStrings(where: string, values: unknown): Readonly<Record<string, unknown>> {
  if (values === null || typeof values !== 'object' || Array.isArray(values)) {
    throw new DefinitionError(`${where} takes an object of strings`, { code: 'E_SECRET_VALUE' });
  }
  return values as Readonly<Record<string, unknown>>;
}

function frozen(identity: SecretIdentity): SecretIdentity {
  for (const part of Object.values(identity)) {
    Object.freeze(part);
  }
  return Object.freeze({ ...identity });
}

/** Checks what is used as environment of a step or as a dictionary of secrets, and drops what is null. */
export function stringEntries(
  where: string,
  values: Readonly<Record<string, unknown>>,
): Readonly<Record<string, string>> {
  const kept: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined) {
      continue;
    }
    if (!VARIABLE_NAME.test(name)) {
      throw new DefinitionError(`${where}: '${name}' is not the name of a variable`, {
        code: 'E_SECRET_KEY',
      });
    }
    // The value is not in the message: it may be the secret.
    if (typeof value !== 'string') {
      throw new DefinitionError(`${where}: the value of '${name}' is a ${typeof value}, not a string`, {
        code: 'E_SECRET_VALUE',
      });
    }
    if (value.includes('\0')) {
      throw new DefinitionError(`${where}: the value of '${name}' holds a NUL character`, {
        code: 'E_SECRET_VALUE',
      });
    }
    kept[name] = value;
  }
  return Object.freeze(kept);
}

function checkedNames(where: string, names: unknown): string[] {
  if (!Array.isArray(names) || !names.every((name) => typeof name === 'string')) {
    throw new DefinitionError(`${where} takes an array of variable names`, { code: 'E_NOT_STRINGS' });
  }
  const bad = names.find((name) => !VARIABLE_NAME.test(name));
  if (bad !== undefined) {
    throw new DefinitionError(`${where}: '${bad}' is not the name of a variable`, { code: 'E_SECRET_KEY' });
  }
  return names as string[];
}

function present(
  environment: Readonly<Record<string, string | undefined>>,
  name: string,
  where: string,
): string {
  const value = variableOf(environment, name);
  if (value === undefined) {
    throw new DefinitionError(`${where}: the environment variable '${name}' is not set`, {
      code: 'E_ENVIRON_MISSING',
      hint: `export ${name} before the command, or store it with \`tsbuild secret create\` for Secret.fromName()`,
    });
  }
  return value;
}

/** Every object has a `constructor`, and no environment means that. */
function variableOf(
  environment: Readonly<Record<string, string | undefined>>,
  name: string,
): string | undefined {
  return Object.hasOwn(environment, name) ? environment[name] : undefined;
}
