/** The one rule for arguments of the Image API (A0.3): positional values first, one plain-object options bag last. */
import { DefinitionError, type ErrorCode } from '../../errors.ts';

/** A string, or one level of array of strings. */
export type StrArg = string | readonly string[];

export type Options = Readonly<Record<string, unknown>>;

export function definitionError(code: ErrorCode, message: string, hint?: string): DefinitionError {
  return new DefinitionError(message, { code, hint });
}

/** Made by `{}` or `Object.create(null)`; arrays, class instances and URLs are values. */
export function isPlainObject(value: unknown): value is Options {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    return false;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Takes the options bag off the end. A trailing `undefined` is ignored. */
export function splitOptions(args: readonly unknown[]): { values: readonly unknown[]; options: Options } {
  const values = [...args];
  if (values.at(-1) === undefined) {
    values.pop();
  }
  const last = values.at(-1);
  if (isPlainObject(last)) {
    values.pop();
    return { values, options: last };
  }
  return { values, options: {} };
}

/** @throws {DefinitionError} `E_NOT_STRINGS` */
export function flattenStrings(method: string, values: readonly unknown[]): string[] {
  const flat: string[] = [];
  for (const value of values) {
    for (const each of Array.isArray(value) ? (value as unknown[]) : [value]) {
      if (typeof each !== 'string') {
        throw definitionError(
          'E_NOT_STRINGS',
          `${method}() takes strings or arrays of strings, not ${describe(each)}`,
          isPlainObject(each) ? 'options go last, in one object' : undefined,
        );
      }
      flat.push(each);
    }
  }
  return flat;
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

/**
 * A value that stands in its place or among the options, which may take that place (A0.3).
 *
 * @throws {DefinitionError} `E_ARG_TYPE` when it is given twice, and what {@link knownOptions} throws.
 */
export function placedOrNamed(
  method: string,
  name: string,
  placed: unknown,
  given: unknown,
  known: readonly string[],
): { readonly value: unknown; readonly options: Options } {
  const bagFirst = given === undefined && isPlainObject(placed);
  const options = knownOptions(method, bagFirst ? placed : given, [...known, name]);
  const inPlace = bagFirst ? undefined : placed;
  if (inPlace !== undefined && options[name] !== undefined) {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' is given twice`);
  }
  return { value: inPlace ?? options[name], options };
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

export function stringArray(method: string, name: string, value: unknown): readonly string[] {
  if (!Array.isArray(value) || !value.every((each) => typeof each === 'string')) {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' must be an array of strings`);
  }
  return Object.freeze([...(value as string[])]);
}

export function requiredString(method: string, name: string, value: unknown): string {
  if (typeof value !== 'string' || value === '') {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' must be a string that is not empty`);
  }
  if (value.includes('\0')) {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' holds a NUL character`);
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
