/** The user's terminal, handing on every key as it is, and put back as it was. */
import { native } from '../native/addon.ts';
import type { InputLike } from './program-streams.ts';

interface TerminalInput {
  readonly isTTY?: boolean;
  readonly fd?: number;
  setRawMode?(raw: boolean): unknown;
  on?(event: 'error', listener: () => void): unknown;
}

export class RawTerminal {
  readonly #input: TerminalInput;

  /** Undefined when it is no terminal. */
  static of(input: InputLike): RawTerminal | undefined {
    const terminal = input as TerminalInput;
    return terminal.isTTY === true && terminal.setRawMode !== undefined
      ? new RawTerminal(terminal)
      : undefined;
  }

  private constructor(input: TerminalInput) {
    this.#input = input;
    // Also where the process is ended without waiting for anybody.
    process.once('exit', this.restore);
    // A terminal that is closed says so here, even when it is put back; its signal ends us anyway.
    input.on?.('error', ignore);
    input.setRawMode?.(true);
    if (input.fd !== undefined) {
      native().writeAsIs(input.fd);
    }
  }

  /** Can be called again. */
  readonly restore = (): void => {
    process.off('exit', this.restore);
    this.#input.setRawMode?.(false);
  };
}

function ignore(): void {}
