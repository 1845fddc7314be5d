/** One event on each line, for programs. */
import type { OutputStream } from '../context.ts';
import { terminalJson } from '../terminal-text.ts';
import type { ProgressRenderer } from './renderer.ts';

export function jsonProgress(stream: OutputStream): ProgressRenderer {
  return {
    event: (event) => {
      stream.write(`${terminalJson(event)}\n`);
    },
    // Every line is an event; what else there is to say is in the exit status and the error.
    notice: () => undefined,
    close: () => undefined,
  };
}
