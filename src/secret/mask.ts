/**
 * Replaces secret values in a stream of bytes, also where a value is cut between two chunks.
 *
 * Works on `latin1` strings, which hold bytes one to one, so that nothing is decoded twice or cut within a character.
 */

/** Shorter values are not masked: they occur by chance. */
const SHORTEST = 4;
/** Of a line of a value of several: keys are quoted and printed line by line. */
const SHORTEST_LINE = 8;
const MASK = '***';

export class SecretMask {
  /** Longest first, so that one that contains another wins. */
  readonly #values: readonly string[];
  #held = '';

  /** @param secrets - Text, or bytes as they are. */
  constructor(secrets: readonly (string | Uint8Array)[]) {
    this.#values = [...new Set(secrets.flatMap(formsOf))].sort((left, right) => right.length - left.length);
  }

  /** What may be shown of the bytes so far; the beginning of a possible secret is held back. */
  push(chunk: string): string {
    return this.#values.length === 0 ? chunk : this.#mask(this.#held + chunk, false);
  }

  /** What was held back: it turned out to be no secret, or no longer one. */
  end(): string {
    return this.#mask(this.#held, true);
  }

  #mask(text: string, ended: boolean): string {
    const openFrom = (rest: string) => (ended ? 0 : this.#longestPrefixAtEnd(rest));
    let rest = text;
    let shown = '';
    /** Of the end of `rest`: how much may be the beginning of a value. */
    let open = openFrom(rest);
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
      // What begins before it and is not complete yet may be a longer value, whose rest must not be shown.
      if (at < 0 || (open > 0 && rest.length - open <= at)) {
        break;
      }
      shown += rest.slice(0, at) + MASK;
      rest = rest.slice(at + length);
      open = open <= rest.length ? open : openFrom(rest);
    }
    this.#held = rest.slice(rest.length - open);
    return shown + rest.slice(0, rest.length - open);
  }

  #longestPrefixAtEnd(text: string): number {
    let longest = 0;
    for (const value of this.#values) {
      const first = value[0] as string;
      const from = text.length - Math.min(value.length - 1, text.length);
      for (let at = text.indexOf(first, from); at >= 0; at = text.indexOf(first, at + 1)) {
        if (text.length - at <= longest) {
          break;
        }
        if (value.startsWith(text.slice(at))) {
          longest = text.length - at;
          break;
        }
      }
    }
    return longest;
  }
}

/** The value; without white space around it, as shells cut it; and its lines. As bytes. */
function formsOf(secret: string | Uint8Array): string[] {
  const bytes = (typeof secret === 'string' ? Buffer.from(secret, 'utf8') : Buffer.from(secret)).toString(
    'latin1',
  );
  const lines = bytes.split(/[\r\n]+/).map(trimmed);
  return [
    ...[bytes, trimmed(bytes)].filter((form) => form.length >= SHORTEST),
    ...(lines.length > 1 ? lines.filter((line) => line.length >= SHORTEST_LINE) : []),
  ];
}

/** Of bytes: what else Unicode calls white space may be a part of a character here. */
function trimmed(bytes: string): string {
  let start = 0;
  let end = bytes.length;
  while (start < end && isBlank(bytes.charCodeAt(start))) {
    start += 1;
  }
  while (end > start && isBlank(bytes.charCodeAt(end - 1))) {
    end -= 1;
  }
  return bytes.slice(start, end);
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}

/** The same for a whole text. */
export function maskSecrets(text: string, secrets: readonly (string | Uint8Array)[]): string {
  const mask = new SecretMask(secrets);
  const masked = mask.push(Buffer.from(text, 'utf8').toString('latin1')) + mask.end();
  return Buffer.from(masked, 'latin1').toString('utf8');
}
