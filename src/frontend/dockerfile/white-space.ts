/** White space as the reference implementation counts it, which is not quite what JavaScript does. */

/** Unicode's White_Space, as Go's `unicode.IsSpace`. JavaScript's `\s` has U+FEFF besides and lacks U+0085. */
const SPACE = /[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** @param character - One character. */
export function isSpace(character: string): boolean {
  return SPACE.test(character);
}

/** Blanks that separate the words of an instruction. */
export function isBlank(character: string): boolean {
  return (
    character === ' ' || character === '\t' || character === '\v' || character === '\f' || character === '\r'
  );
}

export function trimStart(text: string): string {
  let start = 0;
  while (start < text.length && isSpace(text.charAt(start))) {
    start += 1;
  }
  return text.slice(start);
}

export function trim(text: string): string {
  let end = text.length;
  while (end > 0 && isSpace(text.charAt(end - 1))) {
    end -= 1;
  }
  return trimStart(text.slice(0, end));
}

/** The words between blanks; quotes mean nothing. */
export function splitBlanks(text: string): string[] {
  return text === '' ? [] : text.split(/[\t\v\f\r ]+/);
}

/** The first word and, if there are blanks after it, what follows them. */
export function cutWord(text: string): [word: string, rest: string | undefined] {
  const match = /[\t\v\f\r ]+/.exec(text);
  return match === null
    ? [text, undefined]
    : [text.slice(0, match.index), text.slice(match.index + match[0].length)];
}
