/** One event on each line, for programs. */
import type { OutputStream } from '../context.ts';
import type { ProgressRenderer } from './renderer.ts';

/** Legal in JSON and acted on by terminals, which is where such output often ends up. */
const LEGAL_CONTROL = /[\x7f-\x9f\u2028\u2029]/g;

export function jsonProgress(stream: OutputStream): ProgressRenderer {
  return {
    event: (event) => {
      const text = JSON.stringify(event).replace(
        LEGAL_CONTROL,
        (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
      );
      stream.write(`${text}\n`);
    },
    // Every line is an event; what else there is to say is in the exit status and the error.
    notice: () => undefined,
    close: () => undefined,
  };
}
