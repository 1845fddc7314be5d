/**
 * A secret: named variables whose values never enter a plan, a key, a history or a text (A4.1 of the Image API).
 * What the rest of tsbuild sees is the identity; only {@link secretValues} gives the values, to whoever runs a step.
 */
import { canonicalJson, type Json } from '../base/canonical-json.ts';
import { DefinitionError } from '../errors.ts';

/** B2.3: kind and sorted variable names. */
export type SecretIdentity =
  | { readonly kind: 'dict'; readonly keys: readonly string[] }
  | { readonly kind: 'environ'; readonly keys: readonly string[] }
  | { readonly kind: 'env'; readonly keys: readonly string[] };

type Values =
  | { readonly kind: 'known'; readonly values: Readonly<Record<string, string>> }
  | {
      readonly kind: 'environment';
      /** Variable of the step to variable of the invoking process. */
      readonly variables: Readonly<Record<string, string>>;
      readonly optional: boolean;
    };

const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const PRIVATE: unique symbol = Symbol('tsbuild.secret');
let count = 0;

/** Immutable. Printing, inspecting or serialising it shows the identity. */
export class Secret {
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
    this.#identity = Object.freeze({ ...identity, keys: Object.freeze([...identity.keys]) });
    this.#values = values;
    Object.freeze(this);
  }

  /**
   * Values as they are now; entries that are null or undefined are dropped.
   *
   * @throws {DefinitionError} `E_SECRET_VALUE`, `E_SECRET_KEY`
   */
  static fromDict(values: Readonly<Record<string, string | null | undefined>>): Secret {
    if (values === null || typeof values !== 'object' || Array.isArray(values)) {
      throw new DefinitionError('Secret.fromDict() takes an object of strings', { code: 'E_SECRET_VALUE' });
    }
    const known = stringEntries('Secret.fromDict()', values);
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
   * @throws {DefinitionError} `E_SECRET_KEY`, `E_NOT_STRINGS`; later `E_ENVIRON_MISSING`, unless `optional`.
   */
  static fromEnv(
    variables: readonly string[] | Readonly<Record<string, string>>,
    options: { readonly optional?: boolean } = {},
  ): Secret {
    const pairs = Array.isArray(variables)
      ? checkedNames('Secret.fromEnv()', variables as readonly unknown[]).map((name) => [name, name] as const)
      : Object.entries(stringEntries('Secret.fromEnv()', variables as Readonly<Record<string, unknown>>));
    const map = Object.freeze(Object.fromEntries(pairs));
    return new Secret(
      PRIVATE,
      { kind: 'env', keys: Object.keys(map).sort() },
      { kind: 'environment', variables: map, optional: options.optional === true },
    );
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

  /** @internal Use {@link secretValues}. */
  static valuesOf(
    secret: Secret,
    environment: Readonly<Record<string, string | undefined>>,
  ): Readonly<Record<string, string>> {
    const source = secret.#values;
    if (source.kind === 'known') {
      return source.values;
    }
    const values: Record<string, string> = Object.create(null) as Record<string, string>;
    for (const [target, name] of Object.entries(source.variables)) {
      if (environment[name] !== undefined) {
        values[target] = environment[name];
      } else if (!source.optional) {
        present(environment, name, 'Secret.fromEnv()');
      }
    }
    return values;
  }
}

/**
 * The values, for the process that runs the step.
 *
 * @throws {DefinitionError} `E_ENVIRON_MISSING`
 */
export function secretValues(
  secret: Secret,
  environment: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> {
  return Secret.valuesOf(secret, environment);
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
  const value = environment[name];
  if (value === undefined) {
    throw new DefinitionError(`${where}: the environment variable '${name}' is not set`, {
      code: 'E_ENVIRON_MISSING',
    });
  }
  return value;
}
