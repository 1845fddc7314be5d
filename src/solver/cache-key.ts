/** Cache keys: a hash of a versioned, explicit list of fields and of the inputs' result ids. See docs/reference/cache-keys.md. */
import { canonicalJson } from '../base/canonical-json.ts';
import { sha256Hex } from '../base/sha256.ts';
import type { Vertex } from '../graph/vertex.ts';
import type { KeyField } from './op.ts';

/** Raise it to make every key new. */
const KEY_VERSION = 1;

/** Digest of what a vertex is, apart from what it works on. 64 hex digits. */
export function fieldsDigest(vertex: Vertex, opVersion: number, fields: readonly KeyField[]): string {
  const { os, architecture, variant } = vertex.platform;
  return sha256Hex(
    canonicalJson({
      v: KEY_VERSION,
      kind: vertex.operation.kind,
      op: opVersion,
      platform: [os, architecture, variant ?? ''],
      outputs: vertex.inputs.map((edge) => edge.output),
      fields: fields.map(({ name, value }) => [name, value]),
    }),
  );
}

export function cacheKey(fields: string, inputs: readonly string[]): string {
  return sha256Hex(canonicalJson({ v: KEY_VERSION, fields, inputs }));
}

/**
 * The id of what an ordinary run of `key` results in: the same on every machine. A forced run adds a random `generation`,
 * so that everything built on it gets new keys too (Image API, B4.2).
 */
export function resultIdOf(key: string, generation = ''): string {
  return sha256Hex(canonicalJson({ v: KEY_VERSION, result: key, generation }));
}
