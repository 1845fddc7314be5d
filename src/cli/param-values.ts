/** `--param NAME=VALUE` and a definition's `params` → the values that its functions receive. */
import { nearName } from '../base/near-name.ts';
import { type DefinitionError, UsageError } from '../errors.ts';
import type { ParamDeclaration, ParamValue } from '../frontend/fluent/definition-params.ts';
import { failed } from './definition-failed.ts';
import { BadValue } from './option.ts';

/** One `--param` as it was typed. */
export interface GivenParam {
  readonly name: string;
  /** Absent: the name alone, which turns a switch on. */
  readonly text?: string;
}

/** Names that can be typed without quotes, and that a function can take apart. */
const NAME = /^[A-Za-z_][A-Za-z0-9_-]*$/;
const TYPES = ['string', 'number', 'boolean'];

/** @throws {BadValue} when it is not NAME=VALUE. */
export function parseParam(typed: string): GivenParam {
  const equals = typed.indexOf('=');
  const name = equals < 0 ? typed : typed.slice(0, equals);
  if (!NAME.test(name)) {
    throw new BadValue(`'${typed}' is not NAME=VALUE`);
  }
  return equals < 0 ? { name } : { name, text: typed.slice(equals + 1) };
}

/**
 * @param declared - The export `params`; undefined without one.
 * @param shown - The definition as messages name it.
 * @throws {UsageError} `E_PARAM_UNKNOWN`, `E_PARAM_VALUE`.
 * @throws {DefinitionError} `E_DEFINITION_LOAD` when `declared` says nothing that can be understood.
 */
export function paramValues(
  declared: unknown,
  given: readonly GivenParam[],
  shown: string,
): Readonly<Record<string, ParamValue>> {
  const declarations = readDeclarations(declared, shown);
  const values = new Map([...declarations].map(([name, each]) => [name, each.default]));
  for (const { name, text } of given) {
    const declaration = declarations.get(name);
    if (declaration === undefined) {
      throw unknownParam(name, declarations, shown);
    }
    values.set(name, read(name, text, declaration));
  }
  return Object.freeze(Object.fromEntries(values));
}

function readDeclarations(declared: unknown, shown: string): ReadonlyMap<string, ParamDeclaration> {
  const result = new Map<string, ParamDeclaration>();
  if (declared === undefined) {
    return result;
  }
  if (typeof declared !== 'object' || declared === null || Array.isArray(declared)) {
    throw failed(
      `the export 'params' of '${shown}' is not an object of names and defaults`,
      undefined,
      EXAMPLE,
    );
  }
  for (const [name, value] of Object.entries(declared) as [string, unknown][]) {
    if (!NAME.test(name)) {
      throw badDeclaration(name, shown, 'its name needs letters, digits, - and _');
    }
    result.set(name, declaration(name, value, shown));
  }
  return result;
}

const EXAMPLE = "such as: export const params = { python: '3.12', debug: false }";

function declaration(name: string, value: unknown, shown: string): ParamDeclaration {
  if (isValue(value)) {
    return { default: value };
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw badDeclaration(name, shown, 'its default must be a string, a number or a boolean');
  }
  const { default: initial, values, help, ...more } = value as Record<string, unknown>;
  const [unknown] = Object.keys(more);
  if (unknown !== undefined) {
    throw badDeclaration(name, shown, `'${unknown}' is none of default, values, help`);
  }
  if (!isValue(initial)) {
    throw badDeclaration(name, shown, "its 'default' must be a string, a number or a boolean");
  }
  if (help !== undefined && typeof help !== 'string') {
    throw badDeclaration(name, shown, "its 'help' must be a string");
  }
  if (values === undefined) {
    return { default: initial, ...(help === undefined ? {} : { help }) };
  }
  if (!Array.isArray(values) || !values.every((each) => typeof each === typeof initial)) {
    throw badDeclaration(name, shown, "its 'values' must be an array of what the default is");
  }
  if (!values.includes(initial)) {
    throw badDeclaration(name, shown, "its default is none of its 'values'");
  }
  return { default: initial, values: values as ParamValue[], ...(help === undefined ? {} : { help }) };
}

function isValue(value: unknown): value is ParamValue {
  return TYPES.includes(typeof value) && !Number.isNaN(value);
}

function read(name: string, text: string | undefined, { default: initial, values, help }: ParamDeclaration) {
  const fail = (expected: string): UsageError =>
    new UsageError(
      text === undefined
        ? `--param '${name}' has no value; it takes ${expected}`
        : `--param ${name}: '${text}' is not ${expected}`,
      { code: 'E_PARAM_VALUE', hint: help === undefined ? undefined : `${name}: ${help}` },
    );
  const value = typedAs(initial, text);
  if (value === undefined) {
    throw fail(values === undefined ? EXPECTED[typeof initial as keyof typeof EXPECTED] : oneOf(values));
  }
  if (values !== undefined && !values.includes(value)) {
    throw fail(oneOf(values));
  }
  return value;
}

const EXPECTED = { string: 'a text', number: 'a number', boolean: 'true or false' } as const;

function typedAs(initial: ParamValue, text: string | undefined): ParamValue | undefined {
  switch (typeof initial) {
    case 'string':
      return text;
    case 'number': {
      const number = Number(text);
      return text === undefined || text.trim() === '' || !Number.isFinite(number) ? undefined : number;
    }
    default:
      return text === undefined || text === 'true' ? true : text === 'false' ? false : undefined;
  }
}

function oneOf(values: readonly ParamValue[]): string {
  return `one of ${values.join(', ')}`;
}

function unknownParam(
  name: string,
  declarations: ReadonlyMap<string, ParamDeclaration>,
  shown: string,
): UsageError {
  const names = [...declarations.keys()];
  const near = nearName(name, names);
  const accepted = [...declarations].map(([each, { default: initial, help }]) => {
    const about = help === undefined ? '' : ` (${help})`;
    return `${each}=${initial}${about}`;
  });
  return new UsageError(
    names.length === 0
      ? `'${shown}' takes no parameters, and --param ${name} gives one`
      : `'${shown}' has no parameter '${name}'; it takes ${accepted.join(', ')}`,
    {
      code: 'E_PARAM_UNKNOWN',
      hint:
        near !== undefined
          ? `did you mean '${near}'?`
          : names.length === 0
            ? `a definition names them: ${EXAMPLE.slice('such as: '.length)}`
            : undefined,
    },
  );
}

function badDeclaration(name: string, shown: string, why: string): DefinitionError {
  return failed(`the parameter '${name}' of '${shown}' cannot be used: ${why}`, undefined, EXAMPLE);
}
