/**
 * Globs as a non-deterministic automaton that is simulated, never backtracked: matching costs at most
 * (length of the pattern) x (length of the path), whatever the pattern. Ignore files come from strangers' repositories,
 * and a pattern such as `*a*a*a*a*b` must not stop a build.
 */
import { DefinitionError } from '../errors.ts';

export type GlobToken =
  | { readonly kind: 'char'; readonly char: string }
  /** One character, but `/`. */
  | { readonly kind: 'one' }
  | {
      readonly kind: 'class';
      readonly negated: boolean;
      readonly ranges: readonly (readonly [low: number, high: number])[];
      readonly matchesSlash: boolean;
    }
  /** Any run without `/`. */
  | { readonly kind: 'run' }
  /** Anything at all. */
  | { readonly kind: 'all' }
  /** Nothing, or anything that ends in `/`. Always followed by `inDirectories`, its second state. */
  | { readonly kind: 'directories' }
  | { readonly kind: 'inDirectories' };

/** Counts automaton steps, so that a test can bound the work without a clock. */
export interface StepCounter {
  steps: number;
}

export interface Glob {
  readonly tokens: readonly GlobToken[];
  /** Text that everything that matches holds; most paths lack it, and are done without a step of the automaton. */
  readonly needs: string;
  /** The only text that matches, where there is nothing but plain characters. */
  readonly text: string | undefined;
}

export function glob(tokens: readonly GlobToken[]): Glob {
  let needs = '';
  let run = '';
  for (const token of tokens) {
    run = token.kind === 'char' ? run + token.char : '';
    needs = run.length > needs.length ? run : needs;
  }
  const text = tokens.every((token) => token.kind === 'char') ? needs : undefined;
  return Object.freeze({ tokens: Object.freeze(tokens), needs, text });
}

const NOWHERE: readonly boolean[] = Object.freeze([]);

/**
 * Where the pattern matches a prefix of `path` that is a whole path by itself: one boolean for every component, the last
 * for the path. One pass gives the answer for the path and for all of its parents. Empty when it matches nowhere.
 */
export function matchPrefixes(
  { tokens, needs }: Glob,
  path: string,
  counter?: StepCounter,
): readonly boolean[] {
  if (!path.includes(needs)) {
    return NOWHERE;
  }
  const answers: boolean[] = [];
  const accept = tokens.length;
  let current = new Uint8Array(accept + 1);
  let next = new Uint8Array(accept + 1);
  current[0] = 1;
  let any = true;
  for (const char of path) {
    if (any) {
      closeOverEmpty(tokens, current);
      if (char === '/') {
        answers.push(current[accept] === 1);
      }
      next.fill(0);
      any = false;
      for (let at = 0; at < accept; at += 1) {
        if (counter !== undefined) {
          counter.steps += 1;
        }
        if (current[at] === 1 && advance(tokens[at] as GlobToken, at, char, next)) {
          any = true;
        }
      }
      [current, next] = [next, current];
    } else if (char === '/') {
      answers.push(false);
    }
  }
  if (any) {
    closeOverEmpty(tokens, current);
  }
  answers.push(any && current[accept] === 1);
  return answers;
}

/** Whether the pattern matches the whole of `path`. */
export function matchWhole(pattern: Glob, path: string, counter?: StepCounter): boolean {
  if (pattern.text !== undefined) {
    return path === pattern.text;
  }
  return path.includes(pattern.needs) && statesAfter(pattern, path, counter)?.at(-1) === 1;
}

/** Whether some path below the directory could match. */
export function mayMatchBelow(pattern: Glob, directory: string): boolean {
  if (pattern.text !== undefined) {
    return pattern.text.startsWith(`${directory}/`);
  }
  // The last state alone would need the path to end here.
  return statesAfter(pattern, `${directory}/`)?.subarray(0, -1).includes(1) === true;
}

/** Undefined: nothing that begins with the text matches. */
function statesAfter({ tokens }: Glob, text: string, counter?: StepCounter): Uint8Array | undefined {
  let current = new Uint8Array(tokens.length + 1);
  let next = new Uint8Array(tokens.length + 1);
  current[0] = 1;
  closeOverEmpty(tokens, current);
  for (const char of text) {
    next.fill(0);
    let any = false;
    for (let at = 0; at < tokens.length; at += 1) {
      if (counter !== undefined) {
        counter.steps += 1;
      }
      if (current[at] === 1 && advance(tokens[at] as GlobToken, at, char, next)) {
        any = true;
      }
    }
    if (!any) {
      return undefined;
    }
    closeOverEmpty(tokens, next);
    [current, next] = [next, current];
  }
  return current;
}

function closeOverEmpty(tokens: readonly GlobToken[], states: Uint8Array): void {
  // Empty moves only lead forward, so that one sweep finds them all.
  for (const [at, token] of tokens.entries()) {
    if (states[at] === 1) {
      if (token.kind === 'run' || token.kind === 'all') {
        states[at + 1] = 1;
      } else if (token.kind === 'directories') {
        states[at + 1] = 1;
        states[at + 2] = 1;
      }
    }
  }
}

function advance(token: GlobToken, at: number, char: string, next: Uint8Array): boolean {
  switch (token.kind) {
    case 'char':
      return token.char === char && mark(next, at + 1);
    case 'one':
      return char !== '/' && mark(next, at + 1);
    case 'class':
      return inClass(token, char) && mark(next, at + 1);
    case 'run':
      return char !== '/' && mark(next, at);
    case 'all':
      return mark(next, at);
    case 'inDirectories':
      if (char === '/') {
        mark(next, at + 1);
      }
      return mark(next, at);
    case 'directories':
      return false;
  }
}

function mark(states: Uint8Array, at: number): true {
  states[at] = 1;
  return true;
}

function inClass(token: Extract<GlobToken, { kind: 'class' }>, char: string): boolean {
  if (char === '/' && !token.matchesSlash) {
    return false;
  }
  const code = char.codePointAt(0) as number;
  return token.ranges.some(([low, high]) => low <= code && code <= high) !== token.negated;
}

export const DIRECTORIES: readonly GlobToken[] = [{ kind: 'directories' }, { kind: 'inDirectories' }];

export function literal(text: string): GlobToken[] {
  return [...text].map((char) => ({ kind: 'char', char }));
}

/**
 * Go's `filepath.Match`: `[` `^`? (char | char `-` char)+ `]`, where `\` escapes and `-`, `]` must be escaped.
 *
 * @param bad - Makes the error.
 */
export function readClass(
  chars: readonly string[],
  open: number,
  matchesSlash: boolean,
  bad: (why: string) => Error,
): { readonly token: Extract<GlobToken, { kind: 'class' }>; readonly close: number } {
  let at = open + 1;
  const negated = chars[at] === '^';
  if (negated) {
    at += 1;
  }
  const ranges: [number, number][] = [];
  const member = (): number => {
    let char = chars[at];
    if (char === undefined || char === '-' || char === ']') {
      throw bad("a '[' is not closed, or holds an unescaped '-' or ']'");
    }
    if (char === '\\') {
      at += 1;
      char = chars[at];
      if (char === undefined) {
        throw bad("a '[' is not closed");
      }
    }
    at += 1;
    return char.codePointAt(0) as number;
  };
  while (chars[at] !== ']' || ranges.length === 0) {
    const low = member();
    let high = low;
    if (chars[at] === '-') {
      at += 1;
      high = member();
    }
    ranges.push([low, high]);
  }
  return { token: { kind: 'class', negated, ranges, matchesSlash }, close: at };
}

export function badPattern(pattern: string, why: string): DefinitionError {
  return new DefinitionError(`cannot parse the ignore pattern '${pattern}': ${why}`, {
    code: 'E_BAD_PATTERN',
  });
}

/** A component that is empty, `.` or `..`. */
const NEEDS_CLEANING = /(^|\/)\.{0,2}(\/|$)/;

/** POSIX path clean-up: no `.`, no `//`, `..` resolved as far as possible, no trailing `/`. The empty path is `.`. */
export function cleanPath(path: string): string {
  if (!NEEDS_CLEANING.test(path)) {
    return path;
  }
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') {
      continue;
    }
    if (part === '..' && parts.length > 0 && parts.at(-1) !== '..') {
      parts.pop();
    } else {
      parts.push(part);
    }
  }
  return parts.length === 0 ? '.' : parts.join('/');
}
