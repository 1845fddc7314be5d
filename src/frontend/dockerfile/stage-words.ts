/** Expands the words of one instruction with the variables from before it, and reports variables that nobody set. */
import { nearName } from '../../base/near-name.ts';
import { CHECKS, type CheckName } from './check-rules.ts';
import type { Conversion } from './conversion.ts';
import { expandWord, expandWords } from './shell-words.ts';
import type { StageCommand } from './stage-graph.ts';
import type { StageState } from './stage-state.ts';

export class StageWords {
  readonly #conversion: Conversion;
  readonly #state: StageState;
  readonly #command: StageCommand;
  /** All values of an instruction but ARG come from before it. */
  readonly #before: ReadonlyMap<string, string>;

  constructor(conversion: Conversion, state: StageState, command: StageCommand) {
    this.#conversion = conversion;
    this.#state = state;
    this.#command = command;
    this.#before = new Map(state.environment);
  }

  expand(word: string): string {
    return this.#expandFrom(word, this.#before);
  }

  /** With what this instruction has set so far. */
  expandNow(word: string): string {
    return this.#expandFrom(word, this.#state.environment);
  }

  #expandFrom(word: string, environment: ReadonlyMap<string, string>): string {
    const { text, unmatched } = this.#conversion.expand(word, environment, this.#command.instruction);
    this.#report(unmatched);
    return text;
  }

  /** One word may become several, or none. */
  expandToWords(word: string): readonly string[] {
    const { directives } = this.#conversion.dockerfile;
    return expandWords(word, this.#before, { escape: directives.escape }).words;
  }

  /** Body of a COPY heredoc: quotes stay. */
  expandHeredoc(body: string): string {
    const { text, unmatched } = this.#conversion.expand(body, this.#before, this.#command.instruction, {
      heredoc: true,
    });
    this.#report(unmatched);
    return text;
  }

  /** The instruction for progress: what is set is expanded, everything else stays as it is. */
  shown(text: string, masked: ReadonlyMap<string, string> = new Map()): string {
    const [keyword = '', ...rest] = text.split(' ');
    const upper = [keyword.toUpperCase(), ...rest].join(' ');
    try {
      const { directives } = this.#conversion.dockerfile;
      const environment = new Map([...this.#before, ...masked]);
      return expandWord(upper, environment, {
        escape: directives.escape,
        keepQuotes: true,
        keepUnset: true,
      }).text;
    } catch {
      return upper;
    }
  }

  finding(rule: CheckName, message: string): void {
    const { location, skipChecks } = this.#command.instruction;
    this.#conversion.report.add({ rule, message, location }, skipChecks);
  }

  #report(unmatched: readonly string[]): void {
    const declared = new Set(this.#state.args.map(([name]) => name));
    for (const name of unmatched) {
      if (!declared.has(name)) {
        const near = nearName(name, [...this.#before.keys()]);
        const importable = this.#conversion.globalArgs.has(name) ? name : '';
        this.finding('UndefinedVar', CHECKS.UndefinedVar.message(name, near ?? '', importable));
      }
    }
  }
}
