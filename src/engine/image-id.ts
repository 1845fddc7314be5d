/** Ids of images: `im-` and 22 base-62 characters. Source: Image API, B4.2. */
import { canonicalJson, type Json } from '../base/canonical-json.ts';
import { sha256Hex } from '../base/sha256.ts';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const CHARACTERS = 22;
const ID_VERSION = 1;

/**
 * Derived from the image that it extends, what the call's steps resulted in and what it changed in the configuration: equal
 * recipes with equal inputs have equal ids on every machine. A forced result has an id of its own, and so has its image.
 */
export function imageId(
  parent: string,
  layer: { readonly results: readonly string[]; readonly config: Json },
): string {
  let rest = BigInt(`0x${sha256Hex(canonicalJson({ v: ID_VERSION, parent, ...layer }))}`);
  let text = '';
  for (let index = 0; index < CHARACTERS; index += 1) {
    text += ALPHABET[Number(rest % 62n)];
    rest /= 62n;
  }
  return `im-${text}`;
}
