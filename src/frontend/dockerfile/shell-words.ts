/**
 * Expansion of variables, quotes and escapes in the words of a Dockerfile, as the builder does it before an instruction
 * runs. A small part of what a shell does (POSIX, Shell Command Language, 2.2 and 2.6.2), plus `${name/pattern/text}`.
 *
 * One pass without going back: what it takes is in proportion to the word, its values and the depth of nesting.
 */
import { lazily } from '../../base/lazily.ts';
import { DefinitionError } from '../../errors.ts';
import { variableError } from './definition-place.ts';
import { checkExpandedLength, removePrefix, removeSuffix, replacePattern } from './shell-pattern.ts';
import { isSpace } from './white-space.ts';

/** What is set where the word stands; a Map is one. */
export interface Environment {
  get(name: string): string | undefined;
}

export interface ExpandOptions {
  /** Takes the meaning of the character after it. @defaultValue backslash */
  readonly escape?: '\\' | '`' | undefined;
  /** The text is the body of a heredoc: quotes are text. @defaultValue false */
  readonly heredoc?: boolean | undefined;
  /** Quotes mean what they mean, and stay. @defaultValue false */
  readonly keepQuotes?: boolean | undefined;
  /** Escapes mean what they mean, and stay. @defaultValue false */
  readonly keepEscapes?: boolean | undefined;
  /** An expansion of what is not set stays as it is written. @defaultValue false */
  readonly keepUnset?: boolean | undefined;
  /** Blanks after `<<` belong to its word, as they do where a heredoc is opened. @defaultValue false */
  readonly heredocOperators?: boolean | undefined;
}

export interface ExpandedWord {
  readonly text: string;
  /** Names that were set, each once, in order of appearance. */
  readonly matched: readonly string[];
  /** Names that were not set, each once, in order of appearance. */
  readonly unmatched: readonly string[];
}

export interface ExpandedWords {
  readonly words: readonly string[];
  /** Names that were not set, each once, in order of appearance. */
  readonly unmatched: readonly string[];
}

/** Words in words, as in `${a:-${b:-c}}`. More is no Dockerfile that somebody wrote. */
const DEEPEST = 100;

/**
 * Expands one word; white space in it stays.
 *
 * @throws {DefinitionError} `E_DOCKERFILE_VARIABLE`.
 */
export function expandWord(
  word: string,
  environment: Environment,
  options: ExpandOptions = {},
): ExpandedWord {
  return expand(word, environment, options, undefined);
}

/**
 * Expands and then splits at white space, so that one variable may hold several words. Quotes and escapes keep white space
 * together; words that come to nothing are left out.
 *
 * @throws {DefinitionError} `E_DOCKERFILE_VARIABLE`.
 */
export function expandWords(
  word: string,
  environment: Environment,
  options: ExpandOptions = {},
): ExpandedWords {
  const splitter = new Splitter();
  const { unmatched } = expand(word, environment, options, splitter);
  return { words: splitter.end(), unmatched };
}

function expand(
  word: string,
  environment: Environment,
  options: ExpandOptions,
  splitter: Splitter | undefined,
): ExpandedWord {
  const expansion = new Expansion(word, environment, options);
  try {
    const text = expansion.until(undefined, false, splitter);
    return { text, matched: [...expansion.matched], unmatched: [...expansion.unmatched] };
  } catch (error) {
    if (error instanceof DefinitionError) {
      throw variableError(`cannot expand '${shortened(word)}': ${error.message}`, {
        hint: error.hint,
        culprit: error.culprit ?? word,
      });
    }
    throw error;
  }
}

function shortened(word: string): string {
  return word.length > 200 ? `${word.slice(0, 200)}…` : word;
}

/** Collects words. What was quoted never splits. */
class Splitter {
  readonly #words: string[] = [];
  #parts: string[] = [];

  /** Text whose white space splits. */
  add(text: string): void {
    let from = 0;
    for (let at = 0; at < text.length; at += 1) {
      if (isSpace(text.charAt(at))) {
        this.#parts.push(text.slice(from, at));
        this.#flush();
        from = at + 1;
      }
    }
    this.#parts.push(text.slice(from));
  }

  /** Text that stays together. */
  addWhole(text: string): void {
    this.#parts.push(text);
  }

  end(): readonly string[] {
    this.#flush();
    return this.#words;
  }

  #flush(): void {
    const word = this.#parts.join('');
    if (word !== '') {
      this.#words.push(word);
    }
    this.#parts = [];
  }
}

/** A place in the word that is being expanded, and what was met on the way. */
class Expansion {
  readonly matched = new Set<string>();
  readonly unmatched = new Set<string>();
  readonly #characters: readonly string[];
  readonly #environment: Environment;
  readonly #options: ExpandOptions;
  readonly #escape: string;
  #at = 0;
  #depth = 0;
  #length = 0;

  constructor(word: string, environment: Environment, options: ExpandOptions) {
    this.#characters = Array.from(word);
    this.#environment = environment;
    this.#options = options;
    this.#escape = options.escape ?? '\\';
  }

  /**
   * Expands up to `stop`, which is consumed; without one up to the end.
   *
   * @param keepEscapes - Of patterns, which have a use of their own for them.
   */
  until(stop: string | undefined, keepEscapes: boolean, splitter?: Splitter): string {
    const keep = keepEscapes || this.#options.keepEscapes === true;
    const out: string[] = [];
    for (;;) {
      const character = this.#peek();
      if (character === undefined) {
        if (stop !== undefined) {
          throw variableError(`it ends where '${stop}' is expected`);
        }
        return out.join('');
      }
      if (character === stop) {
        this.#at += 1;
        return out.join('');
      }
      if (character === '$') {
        const value = this.#dollar();
        out.push(value);
        splitter?.add(value);
      } else if ((character === "'" || character === '"') && this.#options.heredoc !== true) {
        const quoted = character === "'" ? this.#singleQuoted() : this.#doubleQuoted(keep);
        out.push(quoted);
        splitter?.addWhole(quoted);
      } else if (character === this.#escape) {
        const escaped = this.#escaped(keep);
        out.push(escaped);
        splitter?.addWhole(escaped);
      } else if (character === '<' && this.#options.heredocOperators === true) {
        const operator = this.#heredocOperator();
        out.push(operator);
        splitter?.addWhole(operator);
      } else {
        this.#at += 1;
        out.push(character);
        splitter?.add(character);
      }
    }
  }

  #peek(): string | undefined {
    return this.#characters[this.#at];
  }

  #next(): string | undefined {
    const character = this.#characters[this.#at];
    this.#at += 1;
    return character;
  }

  /** The escape takes the meaning of any character; at the end of the word it vanishes. */
  #escaped(keep: boolean): string {
    const sign = this.#next() ?? '';
    const character = this.#next() ?? '';
    return keep ? sign + character : character;
  }

  #heredocOperator(): string {
    this.#at += 1;
    if (this.#peek() !== '<') {
      return '<';
    }
    const start = this.#at - 1;
    this.#at += 1;
    while (this.#peek() === ' ' || this.#peek() === '\t' || this.#peek() === '\r') {
      this.#at += 1;
    }
    return this.#written(start);
  }

  /** Nothing has a meaning between single quotes. */
  #singleQuoted(): string {
    const start = this.#at;
    const end = this.#characters.indexOf("'", start + 1);
    if (end < 0) {
      throw variableError("a ' has no partner", { hint: "write \\' for the character itself" });
    }
    this.#at = end + 1;
    return this.#options.keepQuotes === true
      ? this.#written(start)
      : this.#characters.slice(start + 1, end).join('');
  }

  /** Between double quotes the escape protects `"`, `$` and itself; before anything else it is itself. */
  #doubleQuoted(keepEscapes: boolean): string {
    const out: string[] = [];
    this.#at += 1;
    for (;;) {
      const character = this.#peek();
      if (character === undefined) {
        throw variableError('a " has no partner', { hint: 'write \\" for the character itself' });
      }
      if (character === '$') {
        out.push(this.#dollar());
        continue;
      }
      this.#at += 1;
      if (character === '"') {
        const text = out.join('');
        return this.#options.keepQuotes === true ? `"${text}"` : text;
      }
      const after = this.#peek();
      if (character === this.#escape && (after === '"' || after === '$' || after === this.#escape)) {
        this.#at += 1;
        out.push(keepEscapes ? character + after : after);
      } else {
        out.push(character);
      }
    }
  }

  #dollar(): string {
    const start = this.#at;
    this.#at += 1;
    const value = this.#peek() === '{' ? this.#braces(start) : this.#plain(start);
    this.#length += value.length;
    checkExpandedLength(this.#length);
    return value;
  }

  #plain(start: number): string {
    const name = this.#name();
    if (name === '') {
      return '$';
    }
    const value = this.#value(name);
    return value === undefined && this.#options.keepUnset === true ? this.#written(start) : (value ?? '');
  }

  #braces(start: number): string {
    this.#at += 1;
    const name = this.#name();
    const operator = this.#next();
    if (operator === undefined) {
      throw variableError(`'}' is missing after '${this.#written(start)}'`);
    }
    if (name === '') {
      throw this.#bad(start, "a name is expected after '${'");
    }
    if (operator === '}') {
      const value = this.#value(name);
      return value === undefined && this.#options.keepUnset === true ? this.#written(start) : (value ?? '');
    }
    this.#depth += 1;
    if (this.#depth > DEEPEST) {
      throw variableError(`words are nested more than ${DEEPEST} deep`);
    }
    const value = this.#modified(start, name, operator);
    this.#depth -= 1;
    return value;
  }

  #modified(start: number, name: string, first: string): string {
    if (first === '/') {
      return this.#replaced(start, name);
    }
    const colon = first === ':';
    const operator = colon ? this.#next() : first;
    const known = operator !== undefined && (colon ? '-+?' : '-+?#%').includes(operator);
    if (!known) {
      throw this.#bad(start, `'${colon ? `:${operator ?? ''}` : first}' is no modifier`);
    }
    const isPattern = operator === '#' || operator === '%';
    const longest = isPattern && this.#peek() === operator;
    if (longest) {
      this.#at += 1;
    }
    const word = this.until('}', isPattern);
    const value = this.#value(name);
    if (value === undefined && this.#options.keepUnset === true) {
      return this.#written(start);
    }
    const isSet = value !== undefined && !(colon && value === '');
    switch (operator) {
      case '-':
        return isSet ? value : word;
      case '+':
        return isSet ? word : '';
      case '?':
        if (!isSet) {
          const state = value === undefined ? 'is not set' : 'is empty';
          throw variableError(word === '' ? `${name} ${state}` : `${name}: ${word}`, {
            hint: `give ${name} a value before this instruction`,
            culprit: this.#written(start),
          });
        }
        return value;
      case '#':
        return removePrefix(value ?? '', word, longest);
      default:
        return removeSuffix(value ?? '', word, longest);
    }
  }

  #replaced(start: number, name: string): string {
    const all = this.#peek() === '/';
    if (all) {
      this.#at += 1;
    }
    const pattern = this.until('/', true);
    const replacement = this.until('}', true);
    const value = this.#value(name);
    if (value === undefined && this.#options.keepUnset === true) {
      return this.#written(start);
    }
    return replacePattern(value ?? '', pattern, replacement, all);
  }

  /** A name, or one of the parameters that a shell has and a Dockerfile never sets, such as `$1` and `$@`. */
  #name(): string {
    const first = this.#peek();
    if (first !== undefined && '@*#?-$!'.includes(first)) {
      this.#at += 1;
      return first;
    }
    const start = this.#at;
    const allowed = first !== undefined && DIGIT().test(first) ? DIGIT() : NAME();
    for (let next = this.#peek(); next !== undefined && allowed.test(next); next = this.#peek()) {
      this.#at += 1;
    }
    return this.#written(start);
  }

  #value(name: string): string | undefined {
    const value = this.#environment.get(name);
    (value === undefined ? this.unmatched : this.matched).add(name);
    return value;
  }

  #written(start: number): string {
    return this.#characters.slice(start, this.#at).join('');
  }

  #bad(start: number, why: string): DefinitionError {
    const end = Math.min(this.#characters.length, start + 40);
    const written = this.#characters.slice(start, end).join('');
    return variableError(`${why} in '${written}'`, {
      hint: 'known are ${v:-word}, ${v-word}, ${v:+word}, ${v+word}, ${v:?text}, ${v?text}, ${v#pattern}, ${v##pattern}, ${v%pattern}, ${v%%pattern}, ${v/pattern/text} and ${v//pattern/text}',
      culprit: this.#characters.slice(start, this.#at).join(''),
    });
  }
}

const DIGIT = lazily(() => /^\p{Nd}$/u);
const NAME = lazily(() => /^[\p{L}\p{Nd}_]$/u);
