/** `--cache-from` and `--cache-to`, spelled as buildx spells them. */

import { nearName } from '../base/near-name.ts';
import { isDigest } from '../oci/digest.ts';
import { parseReference } from '../oci/reference.ts';
import type { CacheSource, CacheTarget } from './engine-api.ts';
import { BadValue } from './option.ts';
import {
  COMPRESSIONS,
  checkLevel,
  notEmpty,
  oneOf,
  optional,
  present,
  readFields,
  splitFields,
  toLevel,
  toSwitch,
} from './spec-fields.ts';

const SOURCE_TYPES = ['registry', 'local'] as const;
const TARGET_TYPES = ['registry', 'local', 'inline'] as const;
/** Of buildx, kept where only it or its services can read them. */
const OTHER_TYPES = ['gha', 's3', 'azblob'];

const SOURCE_FIELDS = { registry: ['ref'], local: ['src', 'tag', 'digest'] } as const;
const WRITING = [
  'mode',
  'compression',
  'compression-level',
  'force-compression',
  'oci-mediatypes',
  'image-manifest',
  'ignore-error',
] as const;
const TARGET_FIELDS = {
  registry: ['ref', ...WRITING],
  local: ['dest', 'tag', ...WRITING],
  inline: ['mode'],
} as const;

/**
 * @param text - `type=registry,ref=IMAGE`, `type=local,src=DIR`, or a reference alone, which is of a registry.
 * @throws {BadValue}
 */
export function parseCacheSource(text: string): CacheSource {
  const { type, given } = read(text, SOURCE_TYPES, SOURCE_FIELDS);
  switch (type) {
    case 'registry':
      return { type, ref: toReference('ref', needed(given, type, 'ref')) };
    case 'local': {
      const digest = optional(given, 'digest', (name, value) => {
        if (!isDigest(value)) {
          throw new BadValue(`${name}=${value} is not sha256: and 64 hex digits`);
        }
        return value;
      });
      return {
        type,
        src: needed(given, type, 'src'),
        ...present('tag', optional(given, 'tag', notEmpty)),
        ...present('digest', digest),
      };
    }
  }
}

/**
 * @param text - `type=registry,ref=IMAGE`, `type=local,dest=DIR`, `type=inline`, or a reference alone, which is of a
 *   registry.
 * @throws {BadValue}
 */
export function parseCacheTarget(text: string): CacheTarget {
  const { type, given } = read(text, TARGET_TYPES, TARGET_FIELDS);
  const mode = optional(given, 'mode', (name, value) => oneOf(name, value, ['min', 'max']));
  if (type === 'inline') {
    if (mode === 'max') {
      throw new BadValue(
        'type=inline has the layers of the image and no others: mode=max needs another type',
      );
    }
    return { type };
  }
  for (const name of ['oci-mediatypes', 'image-manifest']) {
    if (optional(given, name, toSwitch) === false) {
      throw new BadValue(`${name}=false is not possible: a cache is an OCI image manifest`);
    }
  }
  const compression = optional(given, 'compression', (name, value) => oneOf(name, value, COMPRESSIONS));
  const compressionLevel = optional(given, 'compression-level', toLevel);
  if (compressionLevel !== undefined) {
    checkLevel(compression ?? 'zstd', compressionLevel);
  }
  const options = {
    ...present('mode', mode),
    ...present('compression', compression),
    ...present('compressionLevel', compressionLevel),
    ...present('forceCompression', optional(given, 'force-compression', toSwitch)),
    ...present('ignoreError', optional(given, 'ignore-error', toSwitch)),
  };
  return type === 'registry'
    ? { type, ref: toReference('ref', needed(given, type, 'ref')), ...options }
    : {
        type,
        dest: needed(given, type, 'dest'),
        ...present('tag', optional(given, 'tag', notEmpty)),
        ...options,
      };
}

function read<const T extends string>(
  text: string,
  types: readonly T[],
  fieldsOf: Readonly<Record<T, readonly string[]>>,
): { readonly type: T; readonly given: ReadonlyMap<string, string> } {
  const fields = splitFields(text);
  const [only] = fields;
  if (fields.length === 1 && only !== undefined && !only.includes('=')) {
    const type = oneOf('type', 'registry', types);
    return { type, given: new Map([['ref', notEmpty('ref', only)]]) };
  }
  const all = [...new Set(Object.values<readonly string[]>(fieldsOf).flat())];
  const given = readFields(fields, ['type', ...all]);
  const typeText = given.get('type')?.trim();
  if (typeText === undefined) {
    throw new BadValue(`type is missing, one of ${types.join(', ')}`);
  }
  if (OTHER_TYPES.includes(typeText)) {
    throw new BadValue(
      `type=${typeText} is a service that tsbuild does not speak to: use ${types.join(', ')}`,
    );
  }
  const type = types.find((each) => each === typeText);
  if (type === undefined) {
    const near = nearName(typeText, types);
    throw new BadValue(
      `type=${typeText} is not one of ${types.join(', ')}${near === undefined ? '' : `, did you mean '${near}'?`}`,
    );
  }
  for (const name of given.keys()) {
    if (name !== 'type' && !fieldsOf[type].includes(name)) {
      throw new BadValue(`type=${type} has no ${name}, only ${fieldsOf[type].join(', ')}`);
    }
  }
  return { type, given };
}

function needed(given: ReadonlyMap<string, string>, type: string, name: string): string {
  const value = given.get(name);
  if (value === undefined) {
    throw new BadValue(`type=${type} needs ${name}=`);
  }
  return notEmpty(name, value);
}

function toReference(name: string, text: string): string {
  try {
    parseReference(text);
  } catch (error) {
    throw new BadValue(`${name}=${text}: ${(error as Error).message}`);
  }
  return text;
}
