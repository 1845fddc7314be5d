/** A content digest, `algorithm:encoded`. Source: OCI image-spec v1.1, `descriptor.md`, section "Digests". */
import { IntegrityError } from '../errors.ts';

declare const digestBrand: unique symbol;

/** `sha256:` and 64 lower-case hex digits. The only algorithm that we accept: registries need no other. */
export type Digest = string & { readonly [digestBrand]: true };

const SHA256_DIGEST = /^sha256:[a-f0-9]{64}$/;

export function isDigest(text: string): text is Digest {
  return SHA256_DIGEST.test(text);
}

/** @throws {IntegrityError} `E_BAD_MANIFEST` when `text` is not a sha256 digest. */
export function parseDigest(text: unknown): Digest {
  if (typeof text !== 'string' || !isDigest(text)) {
    throw new IntegrityError(`not a sha256 digest: '${String(text).slice(0, 80)}'`, {
      code: 'E_BAD_MANIFEST',
    });
  }
  return text;
}

/** The hex part, which is the blob's file name in an OCI image layout. */
export function encodedPart(digest: Digest): string {
  return digest.slice('sha256:'.length);
}

/** Makes a digest of 64 hex digits that a hash function just returned. */
export function sha256Digest(hex: string): Digest {
  return parseDigest(`sha256:${hex}`);
}
