/** Reads the JSON documents of an image, all of which come from strangers. */
import { IntegrityError } from '../errors.ts';
import type { Descriptor } from './descriptor.ts';
import { parseDigest } from './digest.ts';
import type { Platform } from './platform.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** Manifests, indexes and configs above this are not read. Registries usually refuse manifests above 4 MiB. */
export const MAX_DOCUMENT_BYTES = 32 * 1024 * 1024;

/** @throws {IntegrityError} `E_BAD_MANIFEST` when it is too big, not UTF-8, not JSON or not an object. */
export function parseJsonObject(bytes: Uint8Array, what: string): JsonObject {
  if (bytes.byteLength > MAX_DOCUMENT_BYTES) {
    throw malformed(what, `it has ${bytes.byteLength} bytes, more than ${MAX_DOCUMENT_BYTES}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw malformed(what, 'it is not JSON in UTF-8', cause);
  }
  if (!isObject(value)) {
    throw malformed(what, 'it is not a JSON object');
  }
  // Go compares member names without case, we do not: `Layers` beside `layers` would be two images in one.
  const seen = new Set<string>();
  for (const key of Object.keys(value)) {
    const folded = key.toLowerCase();
    if (seen.has(folded)) {
      throw malformed(what, `it has the member '${key.slice(0, 50)}' in two spellings`);
    }
    seen.add(folded);
  }
  return value;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A map of strings; null and undefined are none. */
export function stringMap(value: unknown, what: string): Readonly<Record<string, string>> | undefined {
  if (value === undefined || value === null) {
    return undefined;
  }
  if (!isObject(value) || !Object.values(value).every((entry) => typeof entry === 'string')) {
    throw malformed(what, 'it is not a map of strings');
  }
  return value as Record<string, string>;
}

/** A list of strings; null and undefined are none. */
export function stringList(value: unknown, what: string): readonly string[] | undefined {
  if (value === undefined || value === null) {
    return undefined;
  }
  if (!Array.isArray(value) || !value.every((entry) => typeof entry === 'string')) {
    throw malformed(what, 'it is not a list of strings');
  }
  return value;
}

/** @throws {IntegrityError} `E_BAD_MANIFEST` */
export function parseDescriptor(value: unknown, what: string): Descriptor {
  if (!isObject(value)) {
    throw malformed(what, 'it is not a descriptor');
  }
  const { mediaType, size, artifactType } = value;
  if (typeof mediaType !== 'string' || mediaType.length === 0 || mediaType.length > 255) {
    throw malformed(what, 'mediaType is not a media type');
  }
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw malformed(what, 'size is not a number of bytes');
  }
  if (artifactType !== undefined && typeof artifactType !== 'string') {
    throw malformed(what, 'artifactType is not a string');
  }
  const urls = stringList(value.urls, `${what}.urls`);
  const annotations = stringMap(value.annotations, `${what}.annotations`);
  const platform = parsePlatformObject(value.platform, `${what}.platform`);
  return {
    mediaType,
    digest: parseDigest(value.digest),
    size,
    ...(urls === undefined ? {} : { urls }),
    ...(annotations === undefined ? {} : { annotations }),
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(platform === undefined ? {} : { platform }),
  };
}

export function malformed(what: string, reason: string, cause?: unknown): IntegrityError {
  return new IntegrityError(`malformed ${what}: ${reason}`, { code: 'E_BAD_MANIFEST', cause });
}

function parsePlatformObject(value: unknown, what: string): Platform | undefined {
  if (value === undefined || value === null) {
    return undefined;
  }
  if (!isObject(value)) {
    throw malformed(what, 'it is not a platform');
  }
  const { os, architecture, variant } = value;
  const osVersion = value['os.version'];
  if (typeof os !== 'string' || typeof architecture !== 'string') {
    throw malformed(what, 'os and architecture must be strings');
  }
  for (const optional of [variant, osVersion]) {
    if (optional !== undefined && typeof optional !== 'string') {
      throw malformed(what, 'variant and os.version must be strings');
    }
  }
  const osFeatures = stringList(value['os.features'], `${what}.os.features`);
  return {
    os,
    architecture,
    ...(typeof variant === 'string' && variant !== '' ? { variant } : {}),
    ...(typeof osVersion === 'string' ? { 'os.version': osVersion } : {}),
    ...(osFeatures === undefined ? {} : { 'os.features': osFeatures }),
  };
}
