/**
 * Replaces secret values in a stream of bytes, also where a value is cut between two chunks.
 *
 * Works on `latin1` strings, which hold bytes one to one, so that nothing is decoded twice or cut within a character.
 */

/** Shorter values are not masked: they occur by chance. */
const SHORTEST = 4;
const MASK = '***';

export class SecretMask {
  readonly #values: readonly string[];
  #held = '';

  constructor(secrets: readonly string[]) {
    const bytes = secrets.map((secret) => Buffer.from(secret, 'utf8').toString('latin1'));
    // Longest first, so that one that contains another wins.
    this.#values = [...new Set(bytes)]
      .filter((value) => value.length >= SHORTEST)
      .sort((left, right) => right.length - left.length);
  }

  /** What may be shown of the bytes so far; the beginning of a possible secret is held back. */
  push(chunk: string): string {
    if (this.#values.length === 0) {
      return chunk;
    }
    let rest = this.#held + chunk;
    let shown = '';
    for (;;) {
      let at = -1;
      let length = 0;
      for (const value of this.#values) {
        const found = rest.indexOf(value);
        if (found >= 0 && (at < 0 || found < at)) {
          at = found;
          length = value.length;
        }
      }
      if (at < 0) {
        break;
      }
      shown += rest.slice(0, at) + MASK;
      rest = rest.slice(at + length);
    }
    const keep = this.#longestPrefixAtEnd(rest);
    this.#held = rest.slice(rest.length - keep);
    return shown + rest.slice(0, rest.length - keep);
  }

  /** What was held back: it turned out to be no secret. */
  end(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }

  #longestPrefixAtEnd(text: string): number {
    let longest = 0;
    for (const value of this.#values) {
      for (let length = Math.min(value.length - 1, text.length); length > longest; length -= 1) {
        if (text.endsWith(value.slice(0, length))) {
          longest = length;
          break;
        }
      }
    }
    return longest;
  }
}

/** The same for a whole text. */
export function maskSecrets(text: string, secrets: readonly string[]): string {
  const mask = new SecretMask(secrets);
  const masked = mask.push(Buffer.from(text, 'utf8').toString('latin1')) + mask.end();
  return Buffer.from(masked, 'latin1').toString('utf8');
}
