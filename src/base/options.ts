/** The bag of options that a method takes last (A0.3 of the Image API): which names it may hold, and of what type. */
import { DefinitionError, type ErrorCode } from '../errors.ts';

export type Options = Readonly<Record<string, unknown>>;

/** Made by `{}` or `Object.create(null)`; arrays, class instances and URLs are values. */
export function isPlainObject(value: unknown): value is Options {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    return false;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/**
 * Rejects names that the method does not have.
 *
 * @throws {DefinitionError} `E_UNKNOWN_OPTION`; `E_ARG_TYPE` when it is not an object.
 */
export function knownOptions(method: string, options: unknown, known: readonly string[]): Options {
  if (options === undefined) {
    return {};
  }
  if (!isPlainObject(options)) {
    throw definitionError('E_ARG_TYPE', `${method}(): options must be one plain object`);
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) {
      const camel = name.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
      throw definitionError(
        'E_UNKNOWN_OPTION',
        known.includes(camel)
          ? `${method}() has no option '${name}'; it is spelled '${camel}'`
          : `${method}() has no option '${name}'`,
        known.length === 0 ? undefined : `its options are ${[...known].sort().join(', ')}`,
      );
    }
  }
  return options;
}

/** The options of a method whose values may be left out: a bag in the place of the value is the options (A0.3). */
export function optionsInPlace(
  placed: unknown,
  given: unknown,
): { readonly placed: unknown; readonly given: unknown } {
  return given === undefined && isPlainObject(placed)
    ? { placed: undefined, given: placed }
    : { placed, given };
}

export function booleanOption(method: string, options: Options, name: string, otherwise = false): boolean {
  const value = options[name];
  if (value === undefined) {
    return otherwise;
  }
  if (typeof value !== 'boolean') {
    throw definitionError(
      'E_ARG_TYPE',
      `${method}(): '${name}' must be true or false, not ${describe(value)}`,
    );
  }
  return value;
}

export function stringOption(method: string, options: Options, name: string): string | undefined {
  const value = options[name];
  if (value === undefined) {
    return undefined;
  }
  if (typeof value !== 'string') {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' must be a string, not ${describe(value)}`);
  }
  return value;
}

/** The kind of a value, never the value: it may be a secret or huge. */
export function describe(value: unknown): string {
  if (value === null) {
    return 'null';
  }
  if (Array.isArray(value)) {
    return 'an array';
  }
  return typeof value === 'object' ? 'an object' : `a value of type ${typeof value}`;
}

export function definitionError(code: ErrorCode, message: string, hint?: string): DefinitionError {
  return new DefinitionError(message, { code, hint });
}
