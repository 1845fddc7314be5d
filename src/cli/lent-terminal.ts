/** The user's terminal, lent to a program for a while: what the program leaves switched is switched back. */
import type { OutputStream } from './context.ts';
import { TerminalModes } from './terminal-modes.ts';

export class LentTerminal {
  readonly #output: OutputStream;
  readonly #modes = new TerminalModes();

  constructor(output: OutputStream) {
    this.#output = output;
    // Also where the process is ended without waiting for anybody.
    process.once('exit', this.takeBack);
  }

  /** What the program writes, as it is. */
  write(chunk: Buffer): void {
    this.#modes.see(chunk);
    this.#output.write(chunk);
  }

  readonly takeBack = (): void => {
    process.off('exit', this.takeBack);
    const undo = this.#modes.undo();
    if (undo !== '') {
      this.#output.write(undo);
    }
  };
}
