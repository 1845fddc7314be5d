/** Validates what was typed. Looks at nothing but the words: not at the machine, not at the environment. */

import { nearName } from '../base/near-name.ts';
import { UsageError } from '../errors.ts';
import type { Command, CommandEntry, Invocation } from './command.ts';
import { BadValue, type Option, type OptionTable, type Values } from './option.ts';

export type CommandChoice =
  | { readonly kind: 'run'; readonly entry: CommandEntry; readonly words: readonly string[] }
  /** `names` is empty for the whole program, `image` for a group. */
  | { readonly kind: 'help'; readonly names: readonly string[] }
  | { readonly kind: 'version' };

/**
 * Finds the command at the front of `argv`.
 * @throws {UsageError} `E_USAGE`
 */
export function chooseCommand(argv: readonly string[], table: readonly CommandEntry[]): CommandChoice {
  const [first, second] = argv;
  if (first === undefined || first === '--help' || first === '-h') {
    return { kind: 'help', names: [] };
  }
  if (first === '--version' || first === '-V') {
    return { kind: 'version' };
  }
  if (first === 'help') {
    return { kind: 'help', names: argv.slice(1).filter((word) => word !== '--help' && word !== '-h') };
  }
  if (first.startsWith('-')) {
    throw usage(`unknown flag '${first}' before the command`, "see 'tsbuild --help'");
  }
  const direct = table.find((entry) => entry.name === first);
  if (direct !== undefined) {
    return { kind: 'run', entry: direct, words: argv.slice(1) };
  }
  const group = table.filter((entry) => entry.name.startsWith(`${first} `));
  if (group.length > 0) {
    if (second === undefined || second === '--help' || second === '-h') {
      return { kind: 'help', names: [first] };
    }
    const entry = group.find((candidate) => candidate.name === `${first} ${second}`);
    if (entry !== undefined) {
      return { kind: 'run', entry, words: argv.slice(2) };
    }
    throw unknownCommand(
      `${first} ${second}`,
      group.map((candidate) => candidate.name),
    );
  }
  throw unknownCommand(first, [
    ...new Set([...table.map((entry) => entry.name.split(' ')[0] ?? ''), 'help']),
  ]);
}

/** @throws {UsageError} `E_USAGE` */
export function unknownCommand(typed: string, names: readonly string[]): UsageError {
  const near = nearName(typed, names);
  return usage(
    `unknown command '${typed}'`,
    near === undefined ? "see 'tsbuild --help'" : `did you mean '${near}'?`,
  );
}

/**
 * Reads the words after the command's name.
 * @returns `help` when help was asked for, whatever else was typed before it.
 * @throws {UsageError} `E_USAGE`
 */
export function parseWords<O extends OptionTable>(
  name: string,
  command: Command<O>,
  words: readonly string[],
): Invocation<O> | 'help' {
  const reader = new WordReader(name, command.options, command.foreignFlags ?? {});
  const operands: string[] = [];
  let rest: readonly string[] | undefined;
  let index = 0;
  while (index < words.length) {
    const word = words[index] as string;
    index += 1;
    if (word === '--') {
      if (command.rest === undefined) {
        operands.push(...words.slice(index));
      } else {
        rest = words.slice(index);
      }
      break;
    }
    if (word === '--help' || word === '-h') {
      return 'help';
    }
    if (word.startsWith('--')) {
      index += reader.long(word.slice(2), words[index]);
    } else if (word.startsWith('-') && word !== '-') {
      index += reader.short(word.slice(1), words[index]);
    } else {
      operands.push(word);
    }
  }
  checkOperands(name, command, operands, rest);
  return {
    options: reader.values as Values<O>,
    operands,
    ...(rest === undefined ? {} : { rest }),
  };
}

class WordReader {
  readonly values: Record<string, unknown> = {};
  readonly #command: string;
  readonly #options: readonly (readonly [key: string, option: Option<unknown>])[];
  readonly #foreign: NonNullable<Command['foreignFlags']>;

  constructor(command: string, table: OptionTable, foreign: NonNullable<Command['foreignFlags']>) {
    this.#command = command;
    this.#foreign = foreign;
    this.#options = Object.entries(table);
    for (const [key, option] of this.#options) {
      this.values[key] = option.initial;
    }
  }

  /** @returns How many of the following words were used. */
  long(text: string, next: string | undefined): 0 | 1 {
    const equals = text.indexOf('=');
    const typed = equals < 0 ? text : text.slice(0, equals);
    const attached = equals < 0 ? undefined : text.slice(equals + 1);
    const found = this.#options.find(([, option]) => option.long === typed);
    if (found !== undefined) {
      return this.#take(found, `--${typed}`, attached, next);
    }
    const negated = this.#options.find(([, option]) => option.negatable && `no-${option.long}` === typed);
    if (negated !== undefined && attached === undefined) {
      this.#fold(negated, `--${typed}`, 'false');
      return 0;
    }
    throw this.#unknown(`--${typed}`);
  }

  /** `-q`, `-t x`, `-tx`, `-t=x`, `-qt x`. @returns How many of the following words were used. */
  short(letters: string, next: string | undefined): 0 | 1 {
    for (let position = 0; position < letters.length; position += 1) {
      const letter = letters[position] as string;
      const found = this.#options.find(([, option]) => option.short === letter);
      if (found === undefined) {
        throw this.#unknown(`-${letter}`);
      }
      const tail = letters.slice(position + 1);
      if (found[1].valueName !== undefined || tail.startsWith('=')) {
        const attached = tail === '' ? undefined : tail.replace(/^=/, '');
        return this.#take(found, `-${letter}`, attached, next);
      }
      this.#fold(found, `-${letter}`, 'true');
    }
    return 0;
  }

  #take(
    found: readonly [string, Option<unknown>],
    typed: string,
    attached: string | undefined,
    next: string | undefined,
  ): 0 | 1 {
    const option = found[1];
    if (option.valueName === undefined) {
      this.#fold(found, typed, attached ?? 'true');
      return 0;
    }
    if (attached !== undefined) {
      this.#fold(found, typed, attached);
      return 0;
    }
    // A word that looks like a flag is more often a forgotten value than a value.
    if (next === undefined || (next.startsWith('-') && next !== '-')) {
      throw usage(
        `${typed} needs a value`,
        `write ${typed}${typed.startsWith('--') ? '=' : ' '}${option.valueName}`,
      );
    }
    this.#fold(found, typed, next);
    return 1;
  }

  #fold([key, option]: readonly [string, Option<unknown>], typed: string, text: string): void {
    try {
      this.values[key] = option.fold(this.values[key], text);
    } catch (error) {
      if (!(error instanceof BadValue)) {
        throw error;
      }
      const near = nearName(text, error.accepted);
      throw usage(
        `bad value for ${typed}: ${error.message}`,
        near === undefined ? `see 'tsbuild ${this.#command} --help'` : `did you mean '${near}'?`,
      );
    }
  }

  #unknown(typed: string): UsageError {
    const longs = this.#options.map(([, option]) => `--${option.long}`);
    const name = typed.slice(2);
    const foreign = Object.hasOwn(this.#foreign, name) ? this.#foreign[name] : undefined;
    const near = typed.startsWith('--') ? nearName(typed, [...longs, '--help']) : undefined;
    const hint =
      foreign ?? (near === undefined ? `see 'tsbuild ${this.#command} --help'` : `did you mean '${near}'?`);
    return usage(`unknown flag '${typed}' for 'tsbuild ${this.#command}'`, hint);
  }
}

function checkOperands(
  name: string,
  command: Pick<Command, 'operands' | 'rest'>,
  operands: readonly string[],
  rest: readonly string[] | undefined,
): void {
  const missing = command.operands.filter((operand) => operand.required)[operands.length];
  if (missing !== undefined) {
    throw usage(
      `'tsbuild ${name}' needs ${missing.name}: ${lowerFirst(missing.summary)}`,
      `see 'tsbuild ${name} --help'`,
    );
  }
  const unbounded = command.operands.some((operand) => operand.repeatable === true);
  if (!unbounded && operands.length > command.operands.length) {
    const extra = operands[command.operands.length] ?? '';
    throw usage(
      `'tsbuild ${name}' has no use for '${extra}'`,
      command.rest === undefined
        ? `see 'tsbuild ${name} --help'`
        : `a ${command.rest.name.toLowerCase()} goes after '--'`,
    );
  }
  if (rest !== undefined && rest.length === 0) {
    throw usage(`nothing follows '--'`, `see 'tsbuild ${name} --help'`);
  }
}

function usage(message: string, hint: string): UsageError {
  return new UsageError(message, { code: 'E_USAGE', hint });
}

function lowerFirst(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1);
}
