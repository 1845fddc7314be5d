/** What a command is: its operands, its options, its examples, and what it does. */
import type { CliContext } from './context.ts';
import type { Completion, OptionTable, Values } from './option.ts';

export interface Operand {
  /** In capitals, as help shows it. */
  readonly name: string;
  readonly summary: string;
  readonly required: boolean;
  readonly repeatable?: boolean;
  readonly completion: Completion;
}

export interface Example {
  /** What the command is for, a capital and no final period. */
  readonly purpose: string;
  readonly command: string;
}

export interface Invocation<O extends OptionTable> {
  readonly options: Values<O>;
  readonly operands: readonly string[];
  /** What came after `--`, when the command takes it; absent without `--`. */
  readonly rest?: readonly string[];
}

export interface Command<O extends OptionTable = OptionTable> {
  readonly operands: readonly Operand[];
  /** What follows `--`; absent when the command takes nothing there. */
  readonly rest?: { readonly name: string; readonly summary: string };
  readonly options: O;
  /** Flags of other tools that people bring, without dashes, and what to do instead: the hint of the error. */
  readonly foreignFlags?: Readonly<Record<string, string>>;
  /** Whole sentences. Paragraphs are separated by an empty line. */
  readonly detail: string;
  readonly examples: readonly Example[];
  /** @returns The exit status; nothing is 0. */
  run(invocation: Invocation<O>, context: CliContext): Promise<number | undefined>;
}

/** Keeps the types of the options that the command declares. */
export function command<const O extends OptionTable>(definition: Command<O>): Command<O> {
  return definition;
}

/** A command's place in the table: enough for the list of commands, so that only the one that runs is loaded. */
export interface CommandEntry {
  /** `build`, `image list`. */
  readonly name: string;
  /** One line, a capital and no final period. */
  readonly summary: string;
  load(): Promise<Command>;
}
