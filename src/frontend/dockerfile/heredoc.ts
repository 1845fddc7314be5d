/** How heredocs are opened in a line: `[fd]<<[-]NAME`. */
import { DefinitionError } from '../../errors.ts';
import { expandWords } from './shell-words.ts';
import { isBlank, trimStart } from './white-space.ts';

/** What the opening says; the body follows in later lines. */
export interface HeredocOpening {
  readonly name: string;
  readonly expand: boolean;
  readonly chomp: boolean;
  readonly fileDescriptor: number;
}

const OPENING = /^(\d*)<<(-?)/;

const NOTHING_SET = new Map<string, string>();

/**
 * The heredocs that the arguments of an instruction open, in order. A line whose quotes or expansions cannot be understood opens none: it is the
 * shell's to complain. Heredocs always take the backslash as escape, whatever the file says.
 */
export function heredocsOf(line: string): readonly HeredocOpening[] {
  if (!line.includes('<<')) {
    return [];
  }
  const words = unlessWrong(
    () =>
      expandWords(line, NOTHING_SET, {
        keepQuotes: true,
        keepEscapes: true,
        keepUnset: true,
        heredocOperators: true,
      }).words,
  );
  return (words ?? []).map(parseHeredocWord).filter((opening) => opening !== undefined);
}

/**
 * What `word` opens, if it is nothing but the opening of a heredoc: a RUN of that alone runs the body.
 */
export function parseHeredocWord(word: string): HeredocOpening | undefined {
  const match = OPENING.exec(word);
  if (match === null || word.includes('<', match[0].length)) {
    return undefined;
  }
  const [opening, digits = '', dash] = match;
  const rest = trimStart(word.slice(opening.length));
  const words = unlessWrong(() => expandWords(rest, NOTHING_SET, { keepUnset: true }).words);
  const [name] = words ?? [];
  if (name === undefined || words?.length !== 1) {
    return undefined;
  }
  const quoted = expandWords(rest, NOTHING_SET, { keepUnset: true, keepQuotes: true }).words;
  return {
    name,
    // Quotes that went away were quotes; those that are left belong to the name.
    expand: countQuotes(name) === countQuotes(quoted.join('')),
    chomp: dash === '-',
    fileDescriptor: Math.min(Number(digits), Number.MAX_SAFE_INTEGER),
  };
}

/** The body without the tabs that lines begin with. */
export function chomp(body: string): string {
  return body.replace(/^\t+/gm, '');
}

/**
 * The words of a COPY or ADD, at blanks; an opening of a heredoc is one word with its quotes and the blanks after `<<`.
 */
export function splitAtHeredocs(text: string): readonly string[] {
  const words: string[] = [];
  let at = 0;
  while (at < text.length) {
    if (isBlank(text.charAt(at))) {
      at += 1;
      continue;
    }
    const end = wordEnd(text, at);
    words.push(text.slice(at, end));
    at = end;
  }
  return words;
}

function wordEnd(text: string, start: number): number {
  let at = start;
  while (isDigit(text.charAt(at))) {
    at += 1;
  }
  if (text.slice(at, at + 2) !== '<<') {
    return blankOrEnd(text, start);
  }
  at += text.charAt(at + 2) === '-' ? 3 : 2;
  while (at < text.length && isBlank(text.charAt(at))) {
    at += 1;
  }
  let quote = '';
  for (; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === '\\' && quote !== "'") {
      at += 1;
    } else if (quote !== '') {
      quote = character === quote ? '' : quote;
    } else if (character === "'" || character === '"') {
      quote = character;
    } else if (isBlank(character)) {
      break;
    }
  }
  // A quote without a partner quotes nothing.
  return quote === '' ? Math.min(at, text.length) : blankOrEnd(text, start);
}

function blankOrEnd(text: string, start: number): number {
  let at = start;
  while (at < text.length && !isBlank(text.charAt(at))) {
    at += 1;
  }
  return at;
}

function isDigit(character: string): boolean {
  return character >= '0' && character <= '9';
}

function countQuotes(text: string): number {
  return text.split(/['"]/).length - 1;
}

function unlessWrong<Result>(action: () => Result): Result | undefined {
  try {
    return action();
  } catch (error) {
    if (error instanceof DefinitionError) {
      return undefined;
    }
    throw error;
  }
}
