/** `--output`, spelled as buildx spells it: comma-separated `name=value` fields with the quoting of RFC 4180. */
import type { OutputSpec } from './engine-api.ts';
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

/** `image` only records the result under a name, which `--tag` does anyway; with `push=true` it is `registry`. */
const TYPES = ['oci', 'docker', 'registry', 'tar', 'local', 'image'] as const;
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
  return checked(readFields(fields, FIELDS));
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
    checkLevel(compression ?? 'zstd', compressionLevel);
  }
}
