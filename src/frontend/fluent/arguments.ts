/** The one rule for arguments of the Image API (A0.3): positional values first, one plain-object options bag last. */
import {
  definitionError,
  describe,
  isPlainObject,
  knownOptions,
  type Options,
  optionsInPlace,
} from '../../base/options.ts';

export {
  booleanOption,
  definitionError,
  describe,
  isPlainObject,
  knownOptions,
  type Options,
  optionsInPlace,
  stringOption,
} from '../../base/options.ts';

/** A string, or one level of array of strings. */
export type StrArg = string | readonly string[];

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
  const call = optionsInPlace(placed, given);
  const options = knownOptions(method, call.given, [...known, name]);
  if (call.placed !== undefined && options[name] !== undefined) {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' is given twice`);
  }
  return { value: call.placed === undefined ? options[name] : call.placed, options };
}

/** @throws {DefinitionError} `E_ARG_TYPE` */
export function choiceOption<T extends string>(
  method: string,
  options: Options,
  name: string,
  values: readonly T[],
): T | undefined {
  const value = options[name];
  const found = values.find((each) => each === value);
  if (value !== undefined && found === undefined) {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' can be ${values.join(', ')}`);
  }
  return found;
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
