/** An instruction's text taken apart into flags and arguments, before anything is expanded. */
import { instructionError } from './definition-place.ts';
import { cutWord, isSpace, trim, trimStart } from './white-space.ts';

/** `KEYWORD --flag … arguments`. */
export interface InstructionWords {
  readonly keyword: string;
  /** The leading words that begin with `--`, without quotes and escapes, and without a `--` that ends them. */
  readonly flags: readonly string[];
  /** What follows, as written. */
  readonly rest: string;
}

export function splitInstruction(text: string, escapeCharacter: string): InstructionWords {
  const [keyword, afterKeyword = ''] = cutWord(trim(text));
  const { flags, end } = leadingFlags(afterKeyword, escapeCharacter);
  return { keyword, flags, rest: trim(afterKeyword.slice(end)) };
}

function leadingFlags(text: string, escapeCharacter: string): { flags: readonly string[]; end: number } {
  const flags: string[] = [];
  let at = 0;
  for (;;) {
    while (at < text.length && isSpace(text.charAt(at))) {
      at += 1;
    }
    if (!text.startsWith('--', at)) {
      return { flags, end: at };
    }
    const [word, end] = flagWord(text, at, escapeCharacter);
    at = end;
    if (word === '--') {
      return { flags, end };
    }
    flags.push(word);
  }
}

/** One word in which quotes and escapes keep white space together and vanish. */
function flagWord(text: string, start: number, escapeCharacter: string): [word: string, end: number] {
  const out: string[] = [];
  let quote = '';
  let at = start;
  for (; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === escapeCharacter) {
      at += 1;
      out.push(text.charAt(at));
    } else if (quote !== '') {
      if (character === quote) {
        quote = '';
      } else {
        out.push(character);
      }
    } else if (character === '"' || character === "'") {
      quote = character;
    } else if (isSpace(character)) {
      break;
    } else {
      out.push(character);
    }
  }
  return [out.join(''), Math.min(at, text.length)];
}

/** Words at white space that is neither quoted nor escaped; quotes and escapes stay. */
export function quotedWords(text: string, escapeCharacter: string): readonly string[] {
  const words: string[] = [];
  let word: string[] = [];
  let quote = '';
  let isOpen = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (quote === '' && isSpace(character)) {
      if (isOpen) {
        words.push(word.join(''));
      }
      word = [];
      isOpen = false;
      continue;
    }
    isOpen = true;
    if (character === escapeCharacter && quote !== "'") {
      at += 1;
      // At the end it escapes nothing and is left out.
      if (at < text.length) {
        word.push(character, text.charAt(at));
      }
      continue;
    }
    if (quote !== '') {
      quote = character === quote ? '' : quote;
    } else if (character === '"' || character === "'") {
      quote = character;
    }
    word.push(character);
  }
  if (word.length > 0) {
    words.push(word.join(''));
  }
  return words;
}

/**
 * The strings of a JSON array.
 *
 * @returns Undefined for what is no JSON array: that is text for a shell, however much it looks like one.
 * @throws {DefinitionError} `E_DOCKERFILE_INSTRUCTION` for an array that holds something else than strings.
 */
export function jsonStrings(text: string): readonly string[] | undefined {
  const start = trimStart(text);
  if (!start.startsWith('[')) {
    return undefined;
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(start);
  } catch {
    return undefined;
  }
  if (!Array.isArray(parsed)) {
    return undefined;
  }
  return parsed.map((each) => {
    if (typeof each !== 'string') {
      throw instructionError('a JSON array here must hold nothing but strings', {
        hint: `put quotes around ${JSON.stringify(each)}`,
        culprit: start.slice(0, 20),
      });
    }
    // Halves of surrogate pairs are no text.
    return each.toWellFormed();
  });
}
