/**
 * Patterns of Go's `filepath.Match`, one component of a path at a time: `*`, `?`, `[…]` and `\`. None of them crosses a
 * `/`. Matched by the automaton of `glob.ts`, so never slower than pattern times name.
 *
 * Source: documentation of Go's package `path/filepath`, "Match".
 */
import { DefinitionError } from '../errors.ts';
import { type GlobToken, glob, literal, matchWhole, readClass, type StepCounter } from './glob.ts';

export type GoComponent =
  /** Without a wildcard: the name that is meant, escapes removed. */
  | { readonly kind: 'literal'; readonly name: string }
  | { readonly kind: 'pattern'; matches(name: string, counter?: StepCounter): boolean };

/** @throws {DefinitionError} `E_BAD_PATTERN` */
export function goComponent(text: string): GoComponent {
  const tokens = goTokens(text);
  if (tokens.every((token) => token.kind === 'char')) {
    return { kind: 'literal', name: tokens.map(({ char }) => char).join('') };
  }
  const compiled = glob(tokens);
  return { kind: 'pattern', matches: (name, counter) => matchWhole(compiled, name, counter) };
}

/** Whether Go would look for names that match, instead of for the name itself. */
export function hasWildcard(text: string): boolean {
  return /[*?[]/.test(text.replace(/\\./gsu, ''));
}

function goTokens(text: string): GlobToken[] {
  const chars = [...text];
  const tokens: GlobToken[] = [];
  const bad = (why: string) =>
    new DefinitionError(`cannot parse the pattern '${text}': ${why}`, {
      code: 'E_BAD_PATTERN',
      hint: "write '[[]' for the character '[', and '\\' before a character that is meant as it is",
    });
  for (let at = 0; at < chars.length; at += 1) {
    const char = chars[at] as string;
    if (char === '*') {
      // A second one adds nothing.
      if (tokens.at(-1)?.kind !== 'run') {
        tokens.push({ kind: 'run' });
      }
    } else if (char === '?') {
      tokens.push({ kind: 'one' });
    } else if (char === '[') {
      const { token, close } = readClass(chars, at, false, bad);
      tokens.push(token);
      at = close;
    } else if (char === '\\') {
      at += 1;
      const escaped = chars[at];
      if (escaped === undefined) {
        throw bad("'\\' at the end escapes nothing");
      }
      tokens.push(...literal(escaped));
    } else {
      tokens.push(...literal(char));
    }
  }
  return tokens;
}
