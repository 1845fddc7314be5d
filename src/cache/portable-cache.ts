/**
 * Cache records as a document that travels: docs/reference/cache-format.md. What is read comes from strangers and is
 * checked whole before anything of it is used.
 *
 * The document holds neither keys nor names of layers. A key follows from what it covers, and a layer is named by its
 * content, so a document cannot claim to be what it is not.
 */
import { canonicalJson, type Json } from '../base/canonical-json.ts';
import { IntegrityError } from '../errors.ts';
import { type Digest, parseDigest } from '../oci/digest.ts';
import { isObject, parseJsonObject } from '../oci/json-document.ts';
import { cacheKey, resultIdOf } from '../solver/cache-key.ts';
import type { KeyField } from '../solver/op.ts';

export const CACHE_CONFIG = 'application/vnd.tsbuild.cache.config.v1+json';
/** The member of an image's config that holds the records of an inline cache. */
export const INLINE_MEMBER = 'dev.tsbuild.cache.v1';

/** Stands at the beginning of a site for the name of the definition. */
export const DEFINITION_PLACE = '@';

const VERSION = 1;
/** Fields serve explanations only: a step with more than this goes without. */
const MAX_FIELDS_CHARACTERS = 64 * 1024;
/** Of all fields together. */
const MAX_ALL_FIELDS_CHARACTERS = 8 * 1024 * 1024;
const MAX_RECORDS = 50_000;
const MAX_LAYERS = 100_000;
const MAX_INPUTS = 4096;
/** More than any kernel stacks. */
const MAX_DEPTH = 1024;
/** Layers of all results together, once the stacks are written out. */
const MAX_STACKED_LAYERS = 2_000_000;
const MAX_SITE_CHARACTERS = 4096;
const MAX_JSON_DEPTH = 64;
const HEX = /^[a-f0-9]{64}$/;
const CONTENT = /^[a-z0-9:+._-]{1,128}$/;
const IMAGE_ID = /^im-[0-9A-Za-z]{22}$/;
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/;

export interface PortableCache {
  /** Of the blobs, in the order in which the manifest has them. */
  readonly diffIds: readonly Digest[];
  readonly layers: readonly PortableLayer[];
  readonly records: readonly PortableRecord[];
  /** When images were first built: the same image is then the same bytes wherever it is built again. */
  readonly images: readonly { readonly id: string; readonly created: string }[];
}

/** A blob on top of another layer. */
export interface PortableLayer {
  /** Index of the blob. */
  readonly blob: number;
  /** Index of the layer below. */
  readonly parent?: number;
  /** Digest of what the layer holds but for times. */
  readonly content?: string;
}

export interface PortableRecord {
  readonly fieldsDigest: string;
  /** Result ids of the inputs. */
  readonly inputs: readonly string[];
  readonly result: PortableResult;
  readonly durationMs: number;
  /** Which step made it, with {@link DEFINITION_PLACE} for the definition. Only with `fields`. */
  readonly site?: string;
  readonly fields?: readonly KeyField[];
}

export type PortableResult =
  /** The topmost layer of the stack; none for an empty root filesystem. */
  | { readonly kind: 'rootfs'; readonly top?: number }
  | { readonly kind: 'files'; readonly contentDigest: string };

/** The document of an artifact. Equal records give equal bytes. */
export function encodeCache(cache: PortableCache): Buffer {
  return Buffer.from(canonicalJson({ ...encodeRecords(cache), diffIds: cache.diffIds }), 'utf8');
}

/** What goes into an image's config: its own diffIds and layers serve. Explanations are left to bigger caches. */
export function encodeInline(cache: Omit<PortableCache, 'diffIds'>): Json {
  const records = cache.records.map(({ site: _site, fields: _fields, ...record }) => record);
  return JSON.parse(canonicalJson(encodeRecords({ ...cache, records }))) as Json;
}

/** The member, as a config's other members stand beside it; nothing for an image without. */
export function inlineMember(member: unknown): Readonly<Record<string, unknown>> | undefined {
  return member === undefined ? undefined : { [INLINE_MEMBER]: member };
}

/** @throws {IntegrityError} `E_BAD_CACHE` @param blobs - How many the manifest has. */
export function parseCache(bytes: Uint8Array, blobs: number): PortableCache {
  const json = parseJsonObject(bytes, 'cache');
  const diffIds = list(json.diffIds, 'diffIds', MAX_LAYERS).map(parseDigest);
  if (diffIds.length !== blobs) {
    throw bad(`the manifest has ${blobs} layers, and the cache names ${diffIds.length}`);
  }
  return parseRecords(json, diffIds);
}

/** @throws {IntegrityError} `E_BAD_CACHE` @param member - Of {@link INLINE_MEMBER}. */
export function parseInline(member: unknown, diffIds: readonly Digest[]): PortableCache {
  if (!isObject(member)) {
    throw bad('it is not an object');
  }
  return parseRecords(member, diffIds);
}

/** The key that a record is found by. */
export function keyOf({ fieldsDigest, inputs }: Pick<PortableRecord, 'fieldsDigest' | 'inputs'>): string {
  return cacheKey(fieldsDigest, inputs);
}

/** The id of what an ordinary run of the record's step results in, on every machine. */
export function portableResultId(record: Pick<PortableRecord, 'fieldsDigest' | 'inputs'>): string {
  return resultIdOf(keyOf(record));
}

function encodeRecords({ layers, records, images }: Omit<PortableCache, 'diffIds'>): object {
  let left = MAX_ALL_FIELDS_CHARACTERS;
  return {
    version: VERSION,
    layers,
    records: records.map(({ site, fields, ...record }) => {
      const characters = fields === undefined ? 0 : canonicalJson(fields.map(({ value }) => value)).length;
      if (fields === undefined || characters > Math.min(MAX_FIELDS_CHARACTERS, left)) {
        return record;
      }
      left -= characters;
      return { ...record, site, fields: fields.map(({ name, value }) => [name, value]) };
    }),
    images,
  };
}

function parseRecords(json: Readonly<Record<string, unknown>>, diffIds: readonly Digest[]): PortableCache {
  if (json.version !== VERSION) {
    throw new IntegrityError(
      `the cache has the version ${shown(json.version)}; this tsbuild reads ${VERSION}`,
      {
        code: 'E_BAD_CACHE',
        hint: 'export it anew with this version, or upgrade',
      },
    );
  }
  const depths: number[] = [];
  const layers = list(json.layers, 'layers', MAX_LAYERS).map((value, index) =>
    parseLayer(value, index, diffIds.length, depths),
  );
  const keys = new Set<string>();
  let stacked = 0;
  const records = list(json.records, 'records', MAX_RECORDS).map((value, index) => {
    const record = parseRecord(value, `records[${index}]`, layers.length);
    const key = keyOf(record);
    if (keys.has(key)) {
      throw bad(`records[${index}] is there twice`);
    }
    keys.add(key);
    stacked += record.result.kind === 'rootfs' ? (depths[record.result.top ?? -1] ?? 0) : 0;
    if (stacked > MAX_STACKED_LAYERS) {
      throw bad(`its results have more than ${MAX_STACKED_LAYERS} layers`);
    }
    return record;
  });
  return { diffIds, layers, records, images: parseImages(json.images) };
}

function parseLayer(value: unknown, index: number, blobs: number, depths: number[]): PortableLayer {
  const what = `layers[${index}]`;
  if (!isObject(value)) {
    throw bad(`${what} is not an object`);
  }
  const blob = indexBelow(value.blob, blobs, `${what}.blob`);
  // Only what comes before: there can be no circle.
  const parent = value.parent === undefined ? undefined : indexBelow(value.parent, index, `${what}.parent`);
  const depth = (parent === undefined ? 0 : (depths[parent] ?? 0)) + 1;
  if (depth > MAX_DEPTH) {
    throw bad(`${what} stands on more than ${MAX_DEPTH} layers`);
  }
  depths.push(depth);
  const { content } = value;
  if (content !== undefined && (typeof content !== 'string' || !CONTENT.test(content))) {
    throw bad(`${what}.content is not a digest`);
  }
  return {
    blob,
    ...(parent === undefined ? {} : { parent }),
    ...(content === undefined ? {} : { content }),
  };
}

function parseRecord(value: unknown, what: string, layers: number): PortableRecord {
  if (!isObject(value)) {
    throw bad(`${what} is not an object`);
  }
  const { durationMs, site } = value;
  if (typeof durationMs !== 'number' || !Number.isFinite(durationMs) || durationMs < 0) {
    throw bad(`${what}.durationMs is not a duration`);
  }
  if (site !== undefined && (typeof site !== 'string' || site.length > MAX_SITE_CHARACTERS)) {
    throw bad(`${what}.site is not a text, or too long`);
  }
  return {
    fieldsDigest: hex(value.fieldsDigest, `${what}.fieldsDigest`),
    inputs: list(value.inputs, `${what}.inputs`, MAX_INPUTS).map((id) => hex(id, `${what}.inputs`)),
    result: parseResult(value.result, `${what}.result`, layers),
    durationMs,
    ...(value.fields === undefined ? {} : { fields: parseFields(value.fields, `${what}.fields`) }),
    ...(value.fields === undefined || site === undefined ? {} : { site }),
  };
}

function parseResult(value: unknown, what: string, layers: number): PortableResult {
  if (isObject(value) && value.kind === 'files') {
    const { contentDigest } = value;
    if (typeof contentDigest !== 'string' || !CONTENT.test(contentDigest)) {
      throw bad(`${what}.contentDigest is not a digest`);
    }
    return { kind: 'files', contentDigest };
  }
  if (!isObject(value) || value.kind !== 'rootfs') {
    throw bad(`${what} is neither a root filesystem nor files`);
  }
  return {
    kind: 'rootfs',
    ...(value.top === undefined ? {} : { top: indexBelow(value.top, layers, `${what}.top`) }),
  };
}

function parseFields(value: unknown, what: string): readonly KeyField[] {
  return list(value, what, MAX_INPUTS).map((entry) => {
    if (!Array.isArray(entry) || entry.length !== 2 || typeof entry[0] !== 'string') {
      throw bad(`${what} is not a list of names and values`);
    }
    checkDepth(entry[1], what, 0);
    return { name: entry[0], value: entry[1] as Json };
  });
}

/** Explanations walk through values, one call for each level. */
function checkDepth(value: unknown, what: string, depth: number): void {
  if (depth > MAX_JSON_DEPTH) {
    throw bad(`${what} nests deeper than ${MAX_JSON_DEPTH}`);
  }
  if (value !== null && typeof value === 'object') {
    for (const member of Object.values(value)) {
      checkDepth(member, what, depth + 1);
    }
  }
}

function parseImages(value: unknown): PortableCache['images'] {
  return list(value ?? [], 'images', MAX_RECORDS).map((entry) => {
    const { id, created } = isObject(entry) ? entry : {};
    if (typeof id !== 'string' || !IMAGE_ID.test(id)) {
      throw bad('images: the id is not one');
    }
    if (typeof created !== 'string' || !RFC3339.test(created)) {
      throw bad('images: created is not a time');
    }
    return { id, created };
  });
}

function list(value: unknown, what: string, most: number): readonly unknown[] {
  if (!Array.isArray(value) || value.length > most) {
    throw bad(`${what} is not a list, or too long`);
  }
  return value;
}

function indexBelow(value: unknown, end: number, what: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value >= end) {
    throw bad(`${what} is ${shown(value)}, not a number from 0 to ${end - 1}`);
  }
  return value;
}

function hex(value: unknown, what: string): string {
  if (typeof value !== 'string' || !HEX.test(value)) {
    throw bad(`${what} is not 64 hex digits`);
  }
  return value;
}

function shown(value: unknown): string {
  return String(JSON.stringify(value)).slice(0, 40);
}

function bad(reason: string): IntegrityError {
  return new IntegrityError(`malformed cache: ${reason}`, { code: 'E_BAD_CACHE' });
}
