/** Ignore patterns as a value, in either syntax, given as lines or as the path of a file. */
import { absoluteLocalPath, type LocalPath, pathText } from '../base/local-path.ts';
import { definitionError, knownOptions } from '../base/options.ts';
import { DefinitionError, InternalError } from '../errors.ts';
import { type DockerignoreMatcher, dockerignoreMatcher } from './dockerignore.ts';
import { type GitignoreMatcher, gitignoreMatcher } from './gitignore.ts';
import { ignoreFileLines } from './ignore-file.ts';

export type IgnoreSyntax = 'dockerignore' | 'gitignore';

type Matcher =
  | { readonly syntax: 'dockerignore'; readonly matcher: DockerignoreMatcher }
  | { readonly syntax: 'gitignore'; readonly matcher: GitignoreMatcher };

type Source =
  | { readonly kind: 'lines'; readonly syntax: IgnoreSyntax; readonly lines: readonly string[] }
  | {
      readonly kind: 'file';
      readonly syntax: IgnoreSyntax;
      /** Absolute. */
      readonly hostPath: string;
      /** As it was written, for the recipe hash. */
      readonly given: string;
    };

// The public constructor takes patterns; the factories hand their source over in this variable instead of in an
// argument that users could see.
let handedOver: [Source, boolean] | undefined;

let readPatternFile: ((path: string) => string) | undefined;

/** The frontend reads no files itself; `local/pattern-file.ts` is introduced here. */
export function providePatternFileReader(reader: (path: string) => string): void {
  readPatternFile = reader;
}

/**
 * Which paths of a directory are meant: ignore patterns as a value (B8.3 of the Image API). Immutable. Patterns
 * are parsed at the first use, so that constructing never throws for their form.
 */
export class FilePatternMatcher {
  /** Everything that is not a Python source file. */
  static readonly NON_PYTHON_FILES: FilePatternMatcher = new FilePatternMatcher('**/*.py').negate();
  /** Matches nothing. */
  static readonly NOTHING: FilePatternMatcher = new FilePatternMatcher();

  readonly #source: Source;
  readonly #inverted: boolean;
  #parsed: Matcher | undefined;

  constructor(...patterns: (string | readonly string[])[]) {
    const [source, inverted] = handedOver ?? [linesSource('dockerignore', patterns), false];
    handedOver = undefined;
    this.#source = source;
    this.#inverted = inverted;
  }

  /**
   * With git's meaning of patterns (B8.2).
   *
   * @example
   * ```ts
   * image.addLocalDir('.', '/app', { ignore: FilePatternMatcher.gitignore('build/', '*.log', '!keep.log') });
   * ```
   */
  static gitignore(...patterns: (string | readonly string[])[]): FilePatternMatcher {
    return FilePatternMatcher.#make(linesSource('gitignore', patterns), false);
  }

  /**
   * Patterns of a file, one a line; lines that start with `#` are comments. Read at the first use, once.
   *
   * @param path - A relative one is below the working directory at the time of the call.
   * @example
   * ```ts
   * image.addLocalDir('.', '/app', { ignore: FilePatternMatcher.fromFile('.gitignore', { syntax: 'gitignore' }) });
   * ```
   * @throws {DefinitionError} `E_ARG_TYPE`, `E_UNKNOWN_OPTION`; when it is used `E_LOCAL_FILE_MISSING`, `E_BAD_PATTERN`.
   */
  static fromFile(path: LocalPath, options?: { readonly syntax?: IgnoreSyntax }): FilePatternMatcher {
    const method = 'FilePatternMatcher.fromFile';
    const { syntax = 'dockerignore' } = knownOptions(method, options, ['syntax']);
    if (syntax !== 'dockerignore' && syntax !== 'gitignore') {
      throw definitionError('E_ARG_TYPE', `${method}(): 'syntax' is 'dockerignore' or 'gitignore'`);
    }
    const hostPath = absoluteLocalPath(method, 'path', path);
    return FilePatternMatcher.#make({ kind: 'file', syntax, hostPath, given: pathText(path) }, false);
  }

  /**
   * The opposite answer for every path. Of an empty matcher that is everything.
   *
   * @example
   * ```ts
   * image.addLocalDir('.', '/app', { ignore: new FilePatternMatcher('docs', '*.md').negate() });
   * ```
   */
  negate(): FilePatternMatcher {
    return FilePatternMatcher.#make(this.#source, !this.#inverted);
  }

  /**
   * @param path - Relative to the directory that is looked at, `/`-separated.
   * @example
   * ```ts
   * new FilePatternMatcher('lib', '!lib/keep.py').matches('lib/a.py'); // true
   * ```
   * @throws {DefinitionError} `E_BAD_PATTERN` when a pattern cannot be parsed.
   */
  matches(path: string, isDirectory = false): boolean {
    const { syntax, matcher } = this.#matcher();
    const matched = syntax === 'gitignore' ? matcher.matches(path, isDirectory) : matcher.matches(path);
    return matched !== this.#inverted;
  }

  /**
   * Whether a directory that matches need not be descended: nothing below it can be answered otherwise.
   *
   * @internal
   */
  canPruneDirectories(): boolean {
    const { syntax, matcher } = this.#matcher();
    return !this.#inverted && (syntax === 'gitignore' || matcher.prunes);
  }

  /**
   * Patterns that can only match at the root because nobody wrote `**`; for `W_IGNORE_ROOT_ONLY`.
   *
   * @internal
   */
  rootOnlyPatterns(): readonly string[] {
    const { syntax, matcher } = this.#matcher();
    if (syntax === 'gitignore' || this.#inverted) {
      return [];
    }
    return matcher.patterns.filter((each) => each.rootOnly && !each.includes).map((each) => each.text);
  }

  /**
   * A matcher of one of {@link rootOnlyPatterns} alone.
   *
   * @internal
   */
  onlyPattern(pattern: string): FilePatternMatcher {
    return FilePatternMatcher.#make(linesSource(this.#source.syntax, [pattern]), false);
  }

  /**
   * What a recipe hash sees.
   *
   * @internal
   */
  describe(): { readonly [field: string]: string | boolean | readonly string[] } {
    const source = this.#source;
    const what = source.kind === 'lines' ? { patterns: source.lines } : { file: source.given };
    return { syntax: source.syntax, inverted: this.#inverted, ...what };
  }

  /**
   * Tells matchers of one process apart: two files may be named alike from two working directories.
   *
   * @internal
   */
  identity(): { readonly [field: string]: string | boolean | readonly string[] } {
    const source = this.#source;
    return { ...this.describe(), ...(source.kind === 'file' ? { hostPath: source.hostPath } : {}) };
  }

  static #make(source: Source, inverted: boolean): FilePatternMatcher {
    handedOver = [source, inverted];
    return new FilePatternMatcher();
  }

  #matcher(): Matcher {
    this.#parsed ??= parse(this.#source);
    return this.#parsed;
  }
}

function linesSource(syntax: IgnoreSyntax, patterns: readonly unknown[]): Source {
  const lines = patterns.flat();
  if (!lines.every((line) => typeof line === 'string')) {
    throw new DefinitionError('ignore patterns must be strings', { code: 'E_NOT_STRINGS' });
  }
  return { kind: 'lines', syntax, lines };
}

function parse(source: Source): Matcher {
  const lines = source.kind === 'lines' ? source.lines : linesOfFile(source.hostPath);
  return source.syntax === 'gitignore'
    ? { syntax: 'gitignore', matcher: gitignoreMatcher(lines) }
    : { syntax: 'dockerignore', matcher: dockerignoreMatcher(lines) };
}

function linesOfFile(path: string): string[] {
  if (readPatternFile === undefined) {
    throw new InternalError('nobody provided a reader for pattern files');
  }
  return ignoreFileLines(readPatternFile(path));
}
