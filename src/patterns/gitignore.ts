/**
 * Git's meaning of ignore patterns (gitignore(5), "PATTERN FORMAT"): without an inner `/` at any depth, a leading `/`
 * anchors, a trailing `/` is for directories, the last match wins, and nothing below an excluded directory comes back.
 *
 * A malformed bracket, which git lets match nothing in silence, is an error here: somebody meant something by it.
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

interface GitignorePattern {
  readonly text: string;
  readonly includes: boolean;
  readonly directoryOnly: boolean;
  readonly glob: Glob;
}

export interface GitignoreMatcher {
  readonly patterns: readonly GitignorePattern[];
  /** `isDirectory` is about the path itself; what is above it is a directory anyway. */
  matches(path: string, isDirectory?: boolean, counter?: StepCounter): boolean;
}

/** @throws {DefinitionError} `E_BAD_PATTERN` */
export function gitignoreMatcher(lines: readonly string[]): GitignoreMatcher {
  const patterns = lines.map(parse).filter((each) => each !== undefined);
  return Object.freeze({
    patterns,
    matches(path: string, isDirectory = false, counter?: StepCounter): boolean {
      const cleaned = cleanPath(path);
      if (cleaned === '.') {
        return false;
      }
      // The verdict for the path and for each directory above it; what no pattern mentions has none.
      const verdicts: boolean[] = [];
      for (const pattern of patterns) {
        const hits = matchPrefixes(pattern.glob, cleaned, counter);
        for (const [depth, hit] of hits.entries()) {
          const directory = depth < hits.length - 1 || isDirectory;
          if (hit && (directory || !pattern.directoryOnly)) {
            verdicts[depth] = !pattern.includes;
          }
        }
      }
      return verdicts.includes(true);
    },
  });
}

function parse(line: string): GitignorePattern | undefined {
  let rest = stripTrailingBlanks(line.replace(/\r$/, ''));
  if (rest === '' || rest.startsWith('#')) {
    return undefined;
  }
  const includes = rest.startsWith('!');
  if (includes) {
    rest = rest.slice(1);
  }
  const directoryOnly = rest.endsWith('/');
  if (directoryOnly) {
    rest = rest.slice(0, -1);
  }
  const anchored = rest.includes('/');
  if (rest.startsWith('/')) {
    rest = rest.slice(1);
  }
  if (rest === '') {
    if (includes && !directoryOnly) {
      throw badPattern(line, "'!' needs a pattern after it");
    }
    return undefined;
  }
  const parsed = tokens(rest, line);
  return {
    text: line,
    includes,
    directoryOnly,
    glob: glob(anchored ? parsed : [...DIRECTORIES, ...parsed]),
  };
}

/** Blanks at the end do not count, unless a backslash stands before them. */
function stripTrailingBlanks(line: string): string {
  let end = line.length;
  while (end > 0 && (line[end - 1] === ' ' || line[end - 1] === '\t')) {
    let backslashes = 0;
    while (line[end - 2 - backslashes] === '\\') {
      backslashes += 1;
    }
    if (backslashes % 2 === 1) {
      break;
    }
    end -= 1;
  }
  return line.slice(0, end);
}

function tokens(pattern: string, written: string): GlobToken[] {
  const chars = [...pattern];
  const result: GlobToken[] = [];
  for (let at = 0; at < chars.length; at += 1) {
    const char = chars[at] as string;
    if (char === '*') {
      const start = at;
      while (chars[at + 1] === '*') {
        at += 1;
      }
      const wholeComponent =
        at - start === 1 &&
        (start === 0 || chars[start - 1] === '/') &&
        (at + 1 === chars.length || chars[at + 1] === '/');
      if (!wholeComponent) {
        result.push({ kind: 'run' });
      } else if (at + 1 === chars.length) {
        result.push({ kind: 'all' });
      } else {
        result.push(...DIRECTORIES);
        at += 1;
      }
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

const POSIX_CLASSES: Readonly<Record<string, readonly (readonly [number, number])[]>> = {
  alnum: [[48, 57], [65, 90], [97, 122]], // biome-ignore format: a table
  alpha: [[65, 90], [97, 122]], // biome-ignore format: a table
  blank: [[9, 9], [32, 32]], // biome-ignore format: a table
  cntrl: [[0, 31], [127, 127]], // biome-ignore format: a table
  digit: [[48, 57]],
  graph: [[33, 126]],
  lower: [[97, 122]],
  print: [[32, 126]],
  punct: [[33, 47], [58, 64], [91, 96], [123, 126]], // biome-ignore format: a table
  space: [[9, 13], [32, 32]], // biome-ignore format: a table
  upper: [[65, 90]],
  xdigit: [[48, 57], [65, 70], [97, 102]], // biome-ignore format: a table
};

/** wildmatch.c of git: `!` or `^` negates, a first `]` is a member, a last `-` too, `[:name:]` is a class. */
function readClass(chars: readonly string[], open: number, result: GlobToken[], written: string): number {
  let at = open + 1;
  const negated = chars[at] === '!' || chars[at] === '^';
  if (negated) {
    at += 1;
  }
  const ranges: (readonly [number, number])[] = [];
  const first = at;
  const member = (): number => {
    if (chars[at] === '\\') {
      at += 1;
    }
    const char = chars[at];
    if (char === undefined) {
      throw badPattern(written, "a '[' is not closed");
    }
    at += 1;
    return char.codePointAt(0) as number;
  };
  while (chars[at] !== ']' || at === first) {
    const named = chars[at] === '[' && chars[at + 1] === ':' ? posixClassAt(chars, at) : undefined;
    if (named !== undefined) {
      const known = POSIX_CLASSES[named];
      if (known === undefined) {
        throw badPattern(written, `there is no class '[:${named}:]'`);
      }
      ranges.push(...known);
      at += named.length + 4;
      continue;
    }
    const low = member();
    let high = low;
    if (chars[at] === '-' && chars[at + 1] !== ']' && chars[at + 1] !== undefined) {
      at += 1;
      high = member();
    }
    ranges.push([low, high]);
  }
  result.push({ kind: 'class', negated, ranges, matchesSlash: false });
  return at;
}

function posixClassAt(chars: readonly string[], at: number): string | undefined {
  const text = chars.slice(at + 2, at + 16).join('');
  const end = text.indexOf(':]');
  return end >= 0 && /^[a-z]+$/.test(text.slice(0, end)) ? text.slice(0, end) : undefined;
}
