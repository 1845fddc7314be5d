/** Questions on a terminal, and input from a pipe. */
import type { CliContext } from './context.ts';
import { Interrupted } from './exit-status.ts';

/** A password longer than this is a file that somebody piped in by mistake. */
const LONGEST_INPUT = 64 * 1024;

/** All of standard input. */
export async function readToEnd(context: CliContext): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunksOf(context)) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > LONGEST_INPUT) {
      break;
    }
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** One line, echoed by the terminal. */
export async function ask(context: CliContext, question: string): Promise<string> {
  context.stderr.write(question);
  let text = '';
  for await (const chunk of chunksOf(context)) {
    text += chunk.toString();
    if (text.includes('\n') || text.length > LONGEST_INPUT) {
      break;
    }
  }
  return (text.split('\n')[0] ?? '').replace(/\r$/, '');
}

/** One line that is not echoed. The terminal is put back whatever happens. */
export async function readSecret(context: CliContext, question: string): Promise<string> {
  context.stderr.write(question);
  context.stdin.setRawMode?.(true);
  let text = '';
  try {
    for await (const chunk of chunksOf(context)) {
      for (const character of chunk.toString()) {
        if (character === '\r' || character === '\n' || character === '\x04') {
          return text;
        }
        if (character === '\x03') {
          // In raw mode the terminal sends the character instead of the signal.
          throw new Interrupted('SIGINT');
        }
        if (character === '\x7f' || character === '\b') {
          text = text.slice(0, -1);
        } else if (text.length < LONGEST_INPUT) {
          text += character;
        }
      }
    }
    return text;
  } finally {
    context.stdin.setRawMode?.(false);
    context.stderr.write('\n');
  }
}

/** A line is read and the stream stays usable: a second question may follow. Ends with the reason of a cancellation. */
async function* chunksOf(context: CliContext): AsyncGenerator<Uint8Array | string> {
  const source = context.stdin.iterator?.({ destroyOnReturn: false }) ?? context.stdin;
  const iterator = source[Symbol.asyncIterator]();
  const { promise: cancelled, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(context.signal.reason);
  // Nobody may be waiting when it is rejected.
  cancelled.catch(() => undefined);
  context.signal.addEventListener('abort', onAbort, { once: true });
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), cancelled]);
      if (next.done === true) {
        return;
      }
      yield next.value;
    }
  } finally {
    context.signal.removeEventListener('abort', onAbort);
    // Not awaited after a cancellation: a read that never ends would hold us.
    const ending = iterator.return?.();
    if (!context.signal.aborted) {
      await ending;
    }
  }
}
