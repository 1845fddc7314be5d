/** One event on each line, for programs. */
import type { OutputStream } from '../context.ts';
import { terminalJson } from '../terminal-text.ts';
import type { LineRenderer } from './renderer.ts';

export function jsonProgress(stream: OutputStream): LineRenderer {
  return {
    event: (event) => {
      stream.write(`${terminalJson(event)}\n`);
    },
    // Every line is an event; what else there is to say is in the exit status and the error.
    notice: () => undefined,
    close: () => undefined,
  };
}
