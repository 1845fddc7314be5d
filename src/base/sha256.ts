import { createHash } from 'node:crypto';

/** Hex SHA-256 of a text (as UTF-8) or of bytes that are already in memory. */
export function sha256Hex(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}
