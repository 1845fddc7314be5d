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
}

export function glob(tokens: readonly GlobToken[]): Glob {
  let needs = '';
  let run = '';
  for (const token of tokens) {
    run = token.kind === 'char' ? run + token.char : '';
    needs = run.length > needs.length ? run : needs;
  }
  return Object.freeze({ tokens: Object.freeze(tokens), needs });
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
