/** SHA-256 of what is in memory, by whoever does it soonest. */
import { createHash } from 'node:crypto';

export interface Sha256 {
  /** As UTF-8; lone surrogates are U+FFFD. */
  sha256OfText(text: string): string;
  sha256OfBytes(bytes: Uint8Array): string;
}

/** Of nothing. */
export const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

const NODES: Sha256 = {
  sha256OfText: (text) => createHash('sha256').update(text).digest('hex'),
  sha256OfBytes: (bytes) => createHash('sha256').update(bytes).digest('hex'),
};

let provider: () => Sha256 | undefined = () => undefined;
let chosen: Sha256 | undefined;

/**
 * Names another implementation, which is asked for when the first hash is wanted. Loading Node's takes longer than all that a build
 * of which everything is known hashes.
 *
 * @param provide - Undefined where it cannot be had.
 */
export function provideSha256(provide: () => Sha256 | undefined): void {
  provider = provide;
  chosen = undefined;
}

/** Hex SHA-256 of a text (as UTF-8) or of bytes that are already in memory. */
export function sha256Hex(data: string | Uint8Array): string {
  chosen ??= provider() ?? NODES;
  return typeof data === 'string' ? chosen.sha256OfText(data) : chosen.sha256OfBytes(data);
}
