/**
 * Patterns in `${name#pattern}` and its relatives: `*`, `?` and the backslash that takes their meaning; brackets are
 * themselves. Source: POSIX, Shell Command Language, 2.13, without bracket expressions.
 *
 * Stars are matched by placing each piece between two of them as early as it goes, which never has to go back, so that
 * no pattern of a hostile file takes more than the product of one piece's length and the value's.
 */
import { variableError } from './definition-place.ts';

/** Comparisons that one match may take. Reached only by pieces of thousands of characters that nearly match everywhere. */
const MOST_COMPARISONS = 20_000_000;

/** Characters that one expansion may become: a kernel takes no argument beyond 128 KiB, a heredoc may be larger. */
const LONGEST = 8 * 1024 * 1024;

/** @throws {DefinitionError} `E_DOCKERFILE_VARIABLE` when what an expansion becomes is longer than anything can use. */
export function checkExpandedLength(length: number): void {
  if (length > LONGEST) {
    throw variableError(`it becomes longer than ${LONGEST} characters`);
  }
}

/** Any one character. */
const ANY = null;

type Piece = readonly (string | typeof ANY)[];

/** What stands between the stars, in order; one piece more than there are stars. */
type Pattern = readonly Piece[];

interface Match {
  readonly start: number;
  readonly end: number;
}

/** `${value#pattern}`, with `longest` `${value##pattern}`. */
export function removePrefix(value: string, pattern: string, longest: boolean): string {
  const characters = Array.from(value);
  const end = new Matcher(characters, compile(pattern)).endAt(0, longest);
  return end === undefined ? value : characters.slice(end).join('');
}

/** `${value%pattern}`, with `longest` `${value%%pattern}`. */
export function removeSuffix(value: string, pattern: string, longest: boolean): string {
  const characters = Array.from(value).reverse();
  // A suffix is a prefix seen in a mirror.
  const mirrored = compile(pattern)
    .map((piece) => piece.toReversed())
    .reverse();
  const end = new Matcher(characters, mirrored).endAt(0, longest);
  return end === undefined ? value : characters.slice(end).reverse().join('');
}

/** `${value/pattern/replacement}`, with `all` `${value//pattern/replacement}`; each match is the first and longest. */
export function replacePattern(value: string, pattern: string, replacement: string, all: boolean): string {
  const characters = Array.from(value);
  const matcher = new Matcher(characters, compile(pattern));
  const out: string[] = [];
  let copied = 0;
  let added = 0;
  let from = 0;
  let previousEnd = -1;
  while (from <= characters.length) {
    const match = matcher.next(from);
    if (match === undefined) {
      break;
    }
    // Nothing is not replaced again directly behind what was replaced just now.
    if (match.end > match.start || match.start !== previousEnd) {
      out.push(characters.slice(copied, match.start).join(''), replacement);
      added += replacement.length;
      checkExpandedLength(added);
      copied = match.end;
      previousEnd = match.end;
      if (!all) {
        break;
      }
    }
    from = match.end > match.start ? match.end : match.end + 1;
  }
  out.push(characters.slice(copied).join(''));
  return out.join('');
}

/** @throws {DefinitionError} `E_DOCKERFILE_VARIABLE` for a backslash before anything but `*`, `?`, `\`, `}` and `/`. */
function compile(pattern: string): Pattern {
  const pieces: (string | typeof ANY)[][] = [[]];
  const characters = Array.from(pattern);
  for (let at = 0; at < characters.length; at += 1) {
    const character = characters[at] as string;
    const piece = pieces.at(-1) as (string | typeof ANY)[];
    if (character === '*') {
      pieces.push([]);
    } else if (character === '?') {
      piece.push(ANY);
    } else if (character === '\\') {
      at += 1;
      const escaped = characters[at];
      if (escaped === undefined || !'*?\\}/'.includes(escaped)) {
        throw variableError(`the pattern '${pattern}' has a backslash before ${named(escaped)}`, {
          hint: 'a backslash in a pattern goes before *, ?, \\, } or /',
          culprit: escaped === undefined ? undefined : `\\${escaped}`,
        });
      }
      piece.push(escaped);
    } else {
      piece.push(character);
    }
  }
  return pieces;
}

function named(character: string | undefined): string {
  return character === undefined ? 'nothing' : `'${character}'`;
}

/** One pattern on one value; counts what it costs. */
class Matcher {
  readonly #characters: readonly string[];
  readonly #first: Piece;
  readonly #middle: readonly Piece[];
  /** Undefined: the pattern has no star. */
  readonly #last: Piece | undefined;
  #comparisons = 0;

  constructor(characters: readonly string[], pattern: Pattern) {
    this.#characters = characters;
    this.#first = pattern[0] ?? [];
    this.#middle = pattern.slice(1, -1);
    this.#last = pattern.length > 1 ? pattern.at(-1) : undefined;
  }

  /** Where the match that begins at `start` ends. */
  endAt(start: number, longest: boolean): number | undefined {
    return this.#isAt(this.#first, start) ? this.#endAfter(start + this.#first.length, longest) : undefined;
  }

  /** The first match from `from` on, as long as it goes. */
  next(from: number): Match | undefined {
    const start = this.#find(this.#first, from);
    if (start === undefined) {
      return undefined;
    }
    // Where the rest does not fit behind the earliest place it fits behind no later one either.
    const end = this.#endAfter(start + this.#first.length, true);
    return end === undefined ? undefined : { start, end };
  }

  #endAfter(afterFirst: number, longest: boolean): number | undefined {
    if (this.#last === undefined) {
      return afterFirst;
    }
    let at = afterFirst;
    for (const piece of this.#middle) {
      const found = this.#find(piece, at);
      if (found === undefined) {
        return undefined;
      }
      at = found + piece.length;
    }
    const found = longest ? this.#findLast(this.#last, at) : this.#find(this.#last, at);
    return found === undefined ? undefined : found + this.#last.length;
  }

  #find(piece: Piece, from: number): number | undefined {
    for (let at = from; at + piece.length <= this.#characters.length; at += 1) {
      if (this.#isAt(piece, at)) {
        return at;
      }
    }
    return undefined;
  }

  #findLast(piece: Piece, from: number): number | undefined {
    for (let at = this.#characters.length - piece.length; at >= from; at -= 1) {
      if (this.#isAt(piece, at)) {
        return at;
      }
    }
    return undefined;
  }

  #isAt(piece: Piece, start: number): boolean {
    if (start + piece.length > this.#characters.length) {
      return false;
    }
    for (let offset = 0; offset < piece.length; offset += 1) {
      this.#comparisons += 1;
      if (this.#comparisons > MOST_COMPARISONS) {
        throw variableError('a pattern takes too long to match: it nearly matches in too many places', {
          hint: 'shorten the pattern or the value',
        });
      }
      const wanted = piece[offset];
      if (wanted !== ANY && wanted !== this.#characters[start + offset]) {
        return false;
      }
    }
    return true;
  }
}
