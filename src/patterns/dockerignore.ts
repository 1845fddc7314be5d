/**
 * The meaning of moby's `patternmatcher`, in its variant "the path or any of its parents" (B8.1 of the Image API).
 *
 * These differ on purpose, each of them a slip of moby's translation to regular expressions: `[*]` and `[?]` are the characters
 * themselves, as Go's `filepath.Match` says; so are `^`, `|`, `{` and `}` outside of brackets, and a letter after `\`. A
 * pattern that cannot be parsed is reported when it is read, not when the first path is matched, and `/../a` is `a`
 * after a `!` too.
 */
import {
  badPattern,
  cleanPath,
  DIRECTORIES,
  type Glob,
  type GlobToken,
  glob,
  literal,
  matchPrefixes,
  matchWhole,
  mayMatchBelow,
  readClass,
  type StepCounter,
} from './glob.ts';

export interface DockerignorePattern {
  /** As the user wrote it. */
  readonly text: string;
  /** Which of the lines, from 1. */
  readonly line: number;
  readonly includes: boolean;
  readonly glob: Glob;
  /** Without an inner `/` and without `**`: it can match at the root only. */
  readonly rootOnly: boolean;
}

export interface DockerignoreMatcher {
  readonly patterns: readonly DockerignorePattern[];
  matches(path: string, counter?: StepCounter): boolean;
  /** Whether everything below a matched directory is matched too. */
  readonly prunes: boolean;
  /**
   * The answer for `path` as a walk of a tree finds it, given that of the directory it is in (absent at the top). This is what
   * Docker's tools do with an ignore file, and it differs from {@link matches}: a pattern that was not consulted for a
   * directory, because it could not change the answer there, does not hold for what is below. `**\/*.tmp` and then `!n`
   * leaves `n/b.tmp` ignored.
   */
  descend(path: string, parent: Descent | undefined, counter?: StepCounter): Descent;
  /** Whether what is below the directory may be answered otherwise than the directory itself. */
  mayDifferBelow(directory: string, answer: Descent): boolean;
}

/** What the patterns say of a path on the way down. */
export interface Descent {
  readonly matched: boolean;
  /** The pattern that had the last word. */
  readonly decidedBy: DockerignorePattern | undefined;
  /** By pattern: whether it held for the path or for a directory above it. */
  readonly held: readonly boolean[];
}

/** @throws {DefinitionError} `E_BAD_PATTERN` */
export function dockerignoreMatcher(lines: readonly string[]): DockerignoreMatcher {
  return matcherOf(lines.map(parse).filter((each) => each !== undefined));
}

function matcherOf(patterns: readonly DockerignorePattern[]): DockerignoreMatcher {
  return Object.freeze({
    patterns,
    prunes: patterns.every((each) => !each.includes),
    matches(path: string, counter?: StepCounter): boolean {
      const cleaned = cleanPath(path);
      if (cleaned === '.') {
        return false;
      }
      let matched = false;
      for (const pattern of patterns) {
        // Only a pattern that could change the answer is consulted.
        if (pattern.includes === matched && matchPrefixes(pattern.glob, cleaned, counter).includes(true)) {
          matched = !pattern.includes;
        }
      }
      return matched;
    },
    descend(path: string, parent: Descent | undefined, counter?: StepCounter): Descent {
      let decidedBy: DockerignorePattern | undefined;
      let matched = false;
      const held = patterns.map((pattern, index) => {
        const holds =
          parent?.held[index] === true ||
          (pattern.includes === matched && matchWhole(pattern.glob, path, counter));
        if (holds && pattern.includes === matched) {
          matched = !pattern.includes;
          decidedBy = pattern;
        }
        return holds;
      });
      return { matched, decidedBy, held };
    },
    mayDifferBelow: (directory: string, { matched }: Descent) =>
      patterns.some((pattern) => pattern.includes === matched && mayMatchBelow(pattern.glob, directory)),
  });
}

/**
 * A matcher of one pattern that is no line of a file: `!` and white space are characters like any other.
 *
 * @throws {DefinitionError} `E_BAD_PATTERN`
 */
export function onePatternMatcher(pattern: string): DockerignoreMatcher {
  return matcherOf([
    { text: pattern, line: 1, includes: false, glob: glob(tokens(pattern, pattern)), rootOnly: false },
  ]);
}

function parse(text: string, index: number): DockerignorePattern | undefined {
  let rest = text.trim();
  if (rest === '') {
    return undefined;
  }
  const includes = rest.startsWith('!');
  if (includes) {
    rest = rest.slice(1).trim();
    if (rest === '') {
      throw badPattern(text, "'!' needs a pattern after it");
    }
  }
  // At the root there is nothing above.
  const cleaned = rest.startsWith('/')
    ? cleanPath(rest).replace(/^(\.\.(\/|$))+/, '') || '.'
    : cleanPath(rest);
  if (cleaned === '.') {
    return undefined;
  }
  return {
    text: text.trim(),
    line: index + 1,
    includes,
    glob: glob(tokens(cleaned, text)),
    rootOnly: !cleaned.includes('/') && !cleaned.includes('**'),
  };
}

function tokens(pattern: string, written: string): GlobToken[] {
  const chars = [...pattern];
  const result: GlobToken[] = [];
  for (let at = 0; at < chars.length; at += 1) {
    const char = chars[at] as string;
    if (char === '*' && chars[at + 1] === '*') {
      const first = at === 0;
      at += 1;
      if (chars[at + 1] === '/') {
        at += 1;
      } else if (first && !/[*?[\]\\]/.test(chars.slice(at + 1).join(''))) {
        // moby compares plain text after a leading `**` as a suffix, so that `**file` matches `afile` too.
        result.push({ kind: 'all' });
        continue;
      }
      if (at + 1 >= chars.length) {
        result.push({ kind: 'all' });
      } else {
        result.push(...DIRECTORIES);
      }
    } else if (char === '*') {
      result.push({ kind: 'run' });
    } else if (char === '?') {
      result.push({ kind: 'one' });
    } else if (char === '[') {
      const { token, close } = readClass(chars, at, true, (why) => badPattern(written, why));
      if (token.ranges.some(([low, high]) => high < low)) {
        throw badPattern(written, 'a range ends before it begins');
      }
      result.push(token);
      at = close;
    } else if (char === '\\') {
      at += 1;
      const escaped = chars[at];
      if (escaped === undefined) {
        throw badPattern(written, "'\\' at the end escapes nothing");
      }
      result.push(...literal(escaped));
    } else {
      result.push(...literal(char));
    }
  }
  return result;
}
