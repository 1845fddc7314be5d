/** `--output`, spelled as buildx spells it: comma-separated `name=value` fields with the quoting of RFC 4180. */
import { annotationField } from './annotation.ts';
import type { Annotation, OutputSpec } from './engine-api.ts';
import { BadValue } from './option.ts';
import {
  checkLevel,
  LAYER_FORMATS,
  nameAndValue,
  notEmpty,
  oneOf,
  optional,
  present,
  splitFields,
  toLevel,
  toSwitch,
  unknownField,
} from './spec-fields.ts';

const TYPES = ['oci', 'docker', 'registry', 'tar', 'local', 'image', 'cacheonly'] as const;
const FIELDS = [
  'type',
  'dest',
  'tar',
  'mode',
  'platform-split',
  'compression',
  'compression-level',
  'force-compression',
  'name',
  'push',
  'push-by-digest',
  'rewrite-timestamp',
  'source-date-epoch',
  'oci-mediatypes',
] as const;

/** What a field that buildx has means here: nothing to do, or a value that cannot be had. */
interface Foreign {
  /** The only value there is; absent: any, since there is nothing that it would apply to. */
  readonly only?: boolean;
  readonly why: string;
}

const FOREIGN: Readonly<Record<string, Foreign>> = {
  store: { only: true, why: 'every image that is built is in the store' },
  unpack: { why: 'layers are unpacked when something runs on them' },
  'name-canonical': { why: 'an image of the store is found by its digest anyway' },
  'prefer-nondist-layers': { only: true, why: 'layers keep the type that their base gave them' },
  'oci-artifact': { why: 'no attestations are made' },
  'attestation-prefix': { why: 'no attestations are made' },
  'attestation-inline': { only: false, why: 'no attestations are made' },
};
const REFUSED: Readonly<Record<string, string>> = {
  'dangling-name-prefix': 'a name of the store has no digest; an image without a name is found by its digest',
  'danging-name-empty-only':
    'a name of the store has no digest; an image without a name is found by its digest',
  'registry.insecure': 'plain HTTP is used for registries on this machine only',
};

/**
 * @returns Undefined for `type=cacheonly`, which asks for nothing beyond the build.
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
  const annotations: Annotation[] = [];
  for (const field of fields) {
    const [exact, value] = nameAndValue(field);
    const annotation = annotationField(exact, value);
    if (annotation !== undefined) {
      annotations.push(annotation);
      continue;
    }
    const name = exact.toLowerCase();
    if (given.has(name)) {
      throw new BadValue(`field '${name}' is given twice`);
    }
    checkName(name, value);
    given.set(name, value);
  }
  return checked(given, annotations);
}

function checkName(name: string, value: string): void {
  const refused = Object.hasOwn(REFUSED, name) ? REFUSED[name] : undefined;
  if (refused !== undefined) {
    throw new BadValue(`field '${name}' has no meaning here: ${refused}`);
  }
  const foreign = Object.hasOwn(FOREIGN, name) ? FOREIGN[name] : undefined;
  if (foreign !== undefined) {
    const { only, why } = foreign;
    if (only !== undefined && toSwitch(name, value) !== only) {
      throw new BadValue(`${name}=${value} cannot be had: ${why}`);
    }
    return;
  }
  if (!FIELDS.some((known) => known === name)) {
    throw unknownField(name, FIELDS, ' or annotation.KEY');
  }
}

function checked(
  given: ReadonlyMap<string, string>,
  annotations: readonly Annotation[],
): OutputSpec | undefined {
  const typeText = given.get('type');
  if (typeText === undefined) {
    throw new BadValue(`type is missing, one of ${TYPES.join(', ')}`);
  }
  const type = oneOf('type', typeText, TYPES);
  if (type === 'cacheonly') {
    return undefined;
  }
  const spec: OutputSpec = {
    type,
    ...present('dest', optional(given, 'dest', notEmpty)),
    ...present('tar', optional(given, 'tar', toSwitch)),
    ...present(
      'mode',
      optional(given, 'mode', (name, text) => oneOf(name, text, ['copy', 'delete'])),
    ),
    ...present('platformSplit', optional(given, 'platform-split', toSwitch)),
    ...present(
      'compression',
      optional(given, 'compression', (name, text) => oneOf(name, text, LAYER_FORMATS)),
    ),
    ...present('compressionLevel', optional(given, 'compression-level', toLevel)),
    ...present('forceCompression', optional(given, 'force-compression', toSwitch)),
    ...present('name', optional(given, 'name', notEmpty)),
    ...present('push', optional(given, 'push', toSwitch)),
    ...present('pushByDigest', optional(given, 'push-by-digest', toSwitch)),
    ...present('rewriteTimestamp', optional(given, 'rewrite-timestamp', toSwitch)),
    ...present('sourceDateEpoch', optional(given, 'source-date-epoch', toEpoch)),
    ...present('mediaTypes', optional(given, 'oci-mediatypes', toMediaTypes)),
    ...present('annotations', annotations.length === 0 ? undefined : annotations),
  };
  checkPlace(spec);
  checkLayers(spec);
  return spec;
}

/** Types that write files, not layers. */
const TREES: readonly OutputSpec['type'][] = ['local', 'tar'];

function checkPlace(spec: OutputSpec): void {
  const { type, dest, tar } = spec;
  if (type === 'registry' || type === 'image') {
    if (dest !== undefined) {
      throw new BadValue(`type=${type} has no dest: name the image with name= or --tag`);
    }
  } else if (dest === undefined) {
    throw new BadValue(`type=${type} needs dest=, a path or '-' for standard output`);
  } else if (spec.push === true || spec.pushByDigest === true) {
    throw new BadValue(`type=${type} is not pushed: use type=image or type=registry`);
  }
  if (tar === false && type !== 'oci') {
    throw new BadValue(`tar=false makes a directory of type=oci, not of type=${type}`);
  }
  if (dest === '-' && (type === 'local' || tar === false)) {
    throw new BadValue('a directory cannot be written to standard output');
  }
  if (spec.mode !== undefined && type !== 'local') {
    throw new BadValue(`mode=${spec.mode} is for type=local: nothing else adds to what is there`);
  }
  if (spec.platformSplit !== undefined && !TREES.includes(type)) {
    throw new BadValue(`platform-split is for type=local and type=tar, not for type=${type}`);
  }
}

function checkLayers(spec: OutputSpec): void {
  const { type, compression, compressionLevel, mediaTypes } = spec;
  const asked = compression !== undefined && compression !== 'uncompressed';
  if (TREES.includes(type) && (asked || spec.annotations !== undefined || mediaTypes !== undefined)) {
    throw new BadValue(
      `type=${type} writes files, not layers: compression, media types and annotations have no meaning`,
    );
  }
  if (type === 'docker' && compression === 'zstd') {
    // Trap 34 of the design notes: podman refuses such an archive, and docker load never reads one.
    throw new BadValue('type=docker cannot be compressed with zstd: loaders do not read it');
  }
  const table = compression === 'estargz' || compression === 'zstd:chunked';
  if (table && (type === 'docker' || mediaTypes === 'docker')) {
    const place = type === 'docker' ? 'type=docker' : 'oci-mediatypes=false';
    throw new BadValue(`compression=${compression} needs annotations, which ${place} has no place for`);
  }
  if (mediaTypes === 'docker' && type === 'oci') {
    throw new BadValue('oci-mediatypes=false makes no image of type=oci');
  }
  if (mediaTypes === 'docker' && compression === 'zstd') {
    throw new BadValue("compression=zstd has no type among Docker's: leave out oci-mediatypes=false");
  }
  if (mediaTypes === 'docker' && spec.annotations !== undefined) {
    throw new BadValue("Docker's media types have no place for annotations: leave out oci-mediatypes=false");
  }
  if (compressionLevel !== undefined) {
    const usual = type === 'docker' || mediaTypes === 'docker' ? 'gzip' : 'zstd';
    checkLevel(compression ?? usual, compressionLevel);
  }
}

function toMediaTypes(name: string, text: string): 'oci' | 'docker' {
  return toSwitch(name, text) ? 'oci' : 'docker';
}

function toEpoch(name: string, text: string): number {
  if (!/^[0-9]{1,12}$/.test(text)) {
    throw new BadValue(`${name}=${text} is not a number of seconds since 1970`);
  }
  return Number(text);
}
