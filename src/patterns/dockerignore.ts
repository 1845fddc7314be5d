/**
 * The meaning of moby's `patternmatcher`, in its variant "the path or any of its parents" (B8.1 of the Image API).
 *
 * Two things differ on purpose. `[*]` and `[?]` are the characters themselves, as Go's `filepath.Match` says; moby's
 * translation to a regular expression breaks them. And a range with its ends exchanged is reported when the
 * pattern is read instead of when the first path is matched.
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
  type StepCounter,
} from './glob.ts';

export interface DockerignorePattern {
  /** As the user wrote it. */
  readonly text: string;
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
}

/** @throws {DefinitionError} `E_BAD_PATTERN` */
export function dockerignoreMatcher(lines: readonly string[]): DockerignoreMatcher {
  const patterns = lines.map(parse).filter((each) => each !== undefined);
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
  });
}

function parse(text: string): DockerignorePattern | undefined {
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
  const cleaned = cleanPath(rest);
  if (cleaned === '.') {
    return undefined;
  }
  return {
    text: text.trim(),
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
      at = readClass(chars, at, result, written);
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

/** Go's `filepath.Match`: `[` `^`? (char | char `-` char)+ `]`, where `\` escapes and `-`, `]` must be escaped. */
function readClass(chars: readonly string[], open: number, result: GlobToken[], written: string): number {
  let at = open + 1;
  const negated = chars[at] === '^';
  if (negated) {
    at += 1;
  }
  const ranges: [number, number][] = [];
  const member = (): number => {
    let char = chars[at];
    if (char === undefined || char === '-' || char === ']') {
      throw badPattern(written, "a '[' is not closed, or holds an unescaped '-' or ']'");
    }
    if (char === '\\') {
      at += 1;
      char = chars[at];
      if (char === undefined) {
        throw badPattern(written, "a '[' is not closed");
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
    if (high < low) {
      throw badPattern(written, 'a range ends before it begins');
    }
    ranges.push([low, high]);
  }
  result.push({ kind: 'class', negated, ranges, matchesSlash: true });
  return at;
}
