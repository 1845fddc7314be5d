/** `--output`, spelled as buildx spells it: comma-separated `name=value` fields with the quoting of RFC 4180. */
import { CsvFieldsError, csvFields } from '../base/csv-fields.ts';
import { nearName } from '../base/near-name.ts';
import type { OutputSpec } from './engine-api.ts';
import { BadValue } from './option.ts';

/** `image` only records the result under a name, which `--tag` does anyway; with `push=true` it is `registry`. */
const TYPES = ['oci', 'docker', 'registry', 'tar', 'local', 'image'] as const;
const COMPRESSIONS = ['zstd', 'gzip', 'uncompressed'] as const;
const FIELDS = [
  'type',
  'dest',
  'tar',
  'compression',
  'compression-level',
  'name',
  'push',
  'rewrite-timestamp',
] as const;

/** zstd's range; gzip's is smaller. */
const HIGHEST_LEVEL = { zstd: 22, gzip: 9, uncompressed: 0 } as const;

/**
 * @returns Undefined for `type=image` without a push, which asks for nothing beyond the build.
 * @throws {BadValue}
 */
export function parseOutput(text: string): OutputSpec | undefined {
  const fields = splitFields(text);
  const [only] = fields;
  if (fields.length === 1 && only !== undefined && !only.includes('=')) {
    // The short forms of buildx: a folder, or an archive of the root file system on standard output.
    return only === '-' ? { type: 'tar', dest: '-' } : { type: 'local', dest: notEmpty('dest', only) };
  }
  const given = new Map<string, string>();
  for (const field of fields) {
    const equals = field.indexOf('=');
    const name = (equals < 0 ? field : field.slice(0, equals)).trim().toLowerCase();
    if (!FIELDS.some((known) => known === name)) {
      const near = nearName(name, FIELDS);
      throw new BadValue(
        `unknown field '${name}'${near === undefined ? `, expected ${FIELDS.join(', ')}` : `, did you mean '${near}'?`}`,
      );
    }
    if (given.has(name)) {
      throw new BadValue(`field '${name}' is given twice`);
    }
    given.set(name, equals < 0 ? 'true' : field.slice(equals + 1));
  }
  return checked(given);
}

/** @throws {BadValue} */
export function splitFields(text: string): string[] {
  try {
    return csvFields(text);
  } catch (error) {
    throw error instanceof CsvFieldsError ? new BadValue(error.message) : error;
  }
}

function checked(given: ReadonlyMap<string, string>): OutputSpec | undefined {
  const typeText = given.get('type');
  if (typeText === undefined) {
    throw new BadValue(`type is missing, one of ${TYPES.join(', ')}`);
  }
  const type = oneOf('type', typeText, TYPES);
  const push = optional(given, 'push', toSwitch);
  if (type === 'image' && push !== true) {
    return undefined;
  }
  const dest = optional(given, 'dest', notEmpty);
  const tar = optional(given, 'tar', toSwitch);
  const compression = optional(given, 'compression', (name, text) => oneOf(name, text, COMPRESSIONS));
  const compressionLevel = optional(given, 'compression-level', toLevel);
  const spec: OutputSpec = {
    type: type === 'image' ? 'registry' : type,
    ...present('dest', dest),
    ...present('tar', tar),
    ...present('compression', compression),
    ...present('compressionLevel', compressionLevel),
    ...present('name', optional(given, 'name', notEmpty)),
    ...present('push', push),
    ...present('rewriteTimestamp', optional(given, 'rewrite-timestamp', toSwitch)),
  };
  checkTogether(spec);
  return spec;
}

function checkTogether(spec: OutputSpec): void {
  const { type, dest, tar, compression, compressionLevel } = spec;
  if (type === 'registry') {
    if (dest !== undefined) {
      throw new BadValue('type=registry has no dest: name the image with name= or --tag');
    }
  } else if (dest === undefined) {
    throw new BadValue(`type=${type} needs dest=, a path or '-' for standard output`);
  }
  if (tar === false && type !== 'oci') {
    throw new BadValue(`tar=false makes a directory of type=oci, not of type=${type}`);
  }
  if (dest === '-' && (type === 'local' || tar === false)) {
    throw new BadValue('a directory cannot be written to standard output');
  }
  if ((type === 'local' || type === 'tar') && compression !== undefined && compression !== 'uncompressed') {
    throw new BadValue(`type=${type} writes files, not layers: compression has no meaning`);
  }
  if (type === 'docker' && compression === 'zstd') {
    // Trap 34 of the design notes: podman refuses such an archive, and docker load never reads one.
    throw new BadValue('type=docker cannot be compressed with zstd: loaders do not read it');
  }
  if (compressionLevel !== undefined) {
    const highest = HIGHEST_LEVEL[compression ?? 'zstd'];
    if (compressionLevel > highest) {
      throw new BadValue(
        `compression-level=${compressionLevel} is above ${highest}, the highest of ${compression ?? 'zstd'}`,
      );
    }
  }
}

function optional<T>(
  given: ReadonlyMap<string, string>,
  name: string,
  parse: (name: string, text: string) => T,
): T | undefined {
  const text = given.get(name);
  return text === undefined ? undefined : parse(name, text);
}

function present<K extends string, T>(key: K, value: T | undefined): { readonly [P in K]?: T } {
  return value === undefined ? {} : ({ [key]: value } as { readonly [P in K]: T });
}

function oneOf<const W extends string>(name: string, text: string, words: readonly W[]): W {
  const found = words.find((word) => word === text.trim());
  if (found === undefined) {
    throw new BadValue(`${name}=${text} is not one of ${words.join(', ')}`);
  }
  return found;
}

function toSwitch(name: string, text: string): boolean {
  const word = oneOf(name, text, ['true', 'false', '1', '0']);
  return word === 'true' || word === '1';
}

function toLevel(name: string, text: string): number {
  if (!/^[0-9]{1,2}$/.test(text)) {
    throw new BadValue(`${name}=${text} is not a whole number from 0 on`);
  }
  return Number(text);
}

function notEmpty(name: string, text: string): string {
  if (text === '') {
    throw new BadValue(`${name}= is empty`);
  }
  return text;
}
