/**
 * A flag is one object. Parsing, help, docs/reference/cli.md and the completions are all made from it, so that none of
 * them can tell another story.
 */

/** What the shell offers for a value: fixed words, or something that it looks up itself. */
export type Completion = readonly string[] | 'file' | 'directory' | 'nothing';

export interface OptionText {
  /** Without the dashes. */
  readonly long: string;
  /** One letter, without the dash. */
  readonly short?: string;
  /** One line for the help, a capital and no final period. */
  readonly summary: string;
  /** Whole sentences for the reference. */
  readonly detail: string;
  /** What holds when the flag is not given, as a person would say it. */
  readonly defaultText?: string;
  /** The environment variable that means the same. */
  readonly environment?: string;
}

export interface Option<T> extends OptionText {
  /** Absent: the flag takes no value. */
  readonly valueName?: string;
  readonly completion: Completion;
  /** The only values there are, when they are few. */
  readonly words?: readonly string[];
  readonly repeatable: boolean;
  /** `--no-NAME` is accepted. */
  readonly negatable: boolean;
  /** The value when the flag is not given. */
  readonly initial: T;
  /**
   * The value after the flag was given once more with `text`; `true` or `false` for a flag without a value.
   * @throws {BadValue} when `text` is not acceptable; the parser adds which flag it was.
   */
  fold(previous: T, text: string): T;
}

export type OptionTable = Readonly<Record<string, Option<unknown>>>;

/** What a command gets to see of its options. */
export type Values<O extends OptionTable> = {
  readonly [K in keyof O]: O[K] extends Option<infer T> ? T : never;
};

/** Thrown by a value's parser: what was expected. The parser makes a UsageError of it. */
export class BadValue extends Error {
  readonly accepted: readonly string[];

  constructor(message: string, accepted: readonly string[] = []) {
    super(message);
    this.accepted = accepted;
  }
}

/** On or off. */
export function flag(text: OptionText & { readonly negatable?: boolean }): Option<boolean> {
  const { negatable = false, ...rest } = text;
  return {
    ...rest,
    completion: 'nothing',
    repeatable: false,
    negatable,
    initial: false,
    fold: (_previous, value) => parseSwitch(value),
  };
}

interface ValueText<T> extends OptionText {
  readonly valueName: string;
  readonly completion?: Completion;
  readonly parse: (text: string) => T;
}

/** At most one value; when it is given again the last one counts, as scripts that append to a command expect. */
export function value<T>(text: ValueText<T>): Option<T | undefined> {
  const { parse, completion = 'nothing', ...rest } = text;
  return {
    ...rest,
    completion,
    repeatable: false,
    negatable: false,
    initial: undefined,
    fold: (_previous, given) => parse(given),
  };
}

/** Any number of values, in the order in which they were given. */
export function list<T>(text: ValueText<T>): Option<readonly T[]> {
  const { parse, completion = 'nothing', ...rest } = text;
  return {
    ...rest,
    completion,
    repeatable: true,
    negatable: false,
    initial: [],
    fold: (previous, given) => [...previous, parse(given)],
  };
}

/** One of a few words. */
export function choice<const W extends string>(
  text: OptionText & { readonly valueName: string; readonly words: readonly W[] },
): Option<W | undefined> {
  const { words, ...rest } = text;
  const option = value({
    ...rest,
    completion: words,
    parse: (given) => {
      const found = words.find((word) => word === given);
      if (found === undefined) {
        throw new BadValue(`'${given}' is not one of ${words.join(', ')}`, words);
      }
      return found;
    },
  });
  return { ...option, words };
}

/** Text that is taken as it is, but not empty. */
export function nonEmpty(given: string): string {
  if (given === '') {
    throw new BadValue('the value is empty');
  }
  return given;
}

/** A whole number from `least` on. */
export function wholeNumber(least: number): (given: string) => number {
  return (given) => {
    const number = Number(given);
    if (!/^-?[0-9]+$/.test(given) || !Number.isSafeInteger(number) || number < least) {
      throw new BadValue(`'${given}' is not a whole number from ${least} on`);
    }
    return number;
  };
}

function parseSwitch(given: string): boolean {
  if (given === 'true' || given === '1') {
    return true;
  }
  if (given === 'false' || given === '0') {
    return false;
  }
  throw new BadValue(`'${given}' is neither true nor false`, ['true', 'false']);
}
