/** Options that are spelled as buildx spells them: comma-separated `name=value` fields with the quoting of RFC 4180. */
import { CsvFieldsError, csvFields } from '../base/csv-fields.ts';
import { nearName } from '../base/near-name.ts';
import { BadValue } from './option.ts';

/** How layers can be compressed, in buildx's words. */
export const COMPRESSIONS = ['zstd', 'gzip', 'uncompressed'] as const;
/** Of outputs: also with a table of contents. */
export const LAYER_FORMATS = [...COMPRESSIONS, 'estargz', 'zstd:chunked'] as const;

/** zstd's range; gzip's is smaller. */
const HIGHEST_LEVEL = { zstd: 22, 'zstd:chunked': 22, gzip: 9, estargz: 9, uncompressed: 0 } as const;

/**
 * The values of fields by name.
 *
 * @throws {BadValue} for a field that is not one of `names` or is given twice
 */
export function readFields(fields: readonly string[], names: readonly string[]): ReadonlyMap<string, string> {
  const given = new Map<string, string>();
  for (const field of fields) {
    const [exact, value] = nameAndValue(field);
    const name = exact.toLowerCase();
    if (!names.includes(name)) {
      throw unknownField(name, names);
    }
    if (given.has(name)) {
      throw new BadValue(`field '${name}' is given twice`);
    }
    given.set(name, value);
  }
  return given;
}

/** The name as it is written. A field without `=` is a switch that is on. */
export function nameAndValue(field: string): readonly [name: string, value: string] {
  const equals = field.indexOf('=');
  return equals < 0 ? [field.trim(), 'true'] : [field.slice(0, equals).trim(), field.slice(equals + 1)];
}

/** @param more - Said after the names there are. */
export function unknownField(name: string, names: readonly string[], more = ''): BadValue {
  const near = nearName(name, names);
  const known = near === undefined ? `, expected ${names.join(', ')}${more}` : `, did you mean '${near}'?`;
  return new BadValue(`unknown field '${name}'${known}`);
}

/** @throws {BadValue} */
export function splitFields(text: string): string[] {
  try {
    return csvFields(text);
  } catch (error) {
    throw error instanceof CsvFieldsError ? new BadValue(error.message) : error;
  }
}

/** A field read by `parse`, if it was given. */
export function optional<T>(
  given: ReadonlyMap<string, string>,
  name: string,
  parse: (name: string, text: string) => T,
): T | undefined {
  const text = given.get(name);
  return text === undefined ? undefined : parse(name, text);
}

/** A member for an object of options, which has none for what was not given. */
export function present<K extends string, T>(key: K, value: T | undefined): { readonly [P in K]?: T } {
  return value === undefined ? {} : ({ [key]: value } as { readonly [P in K]: T });
}

/** @throws {BadValue} */
export function oneOf<const W extends string>(name: string, text: string, words: readonly W[]): W {
  const found = words.find((word) => word === text.trim());
  if (found === undefined) {
    throw new BadValue(`${name}=${text} is not one of ${words.join(', ')}`);
  }
  return found;
}

/** @throws {BadValue} */
export function toSwitch(name: string, text: string): boolean {
  const word = oneOf(name, text, ['true', 'false', '1', '0']);
  return word === 'true' || word === '1';
}

/** @throws {BadValue} */
export function toLevel(name: string, text: string): number {
  if (!/^[0-9]{1,2}$/.test(text)) {
    throw new BadValue(`${name}=${text} is not a whole number from 0 on`);
  }
  return Number(text);
}

/** @throws {BadValue} */
export function notEmpty(name: string, text: string): string {
  if (text === '') {
    throw new BadValue(`${name}= is empty`);
  }
  return text;
}

/** @throws {BadValue} */
export function checkLevel(compression: (typeof LAYER_FORMATS)[number], level: number): void {
  const highest = HIGHEST_LEVEL[compression];
  if (level > highest) {
    throw new BadValue(`compression-level=${level} is above ${highest}, the highest of ${compression}`);
  }
}
