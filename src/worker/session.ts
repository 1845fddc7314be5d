/**
 * The worker's half of a request in which somebody sits before the program: what they type, the size of their terminal, and
 * what they want next.
 */
import { Readable } from 'node:stream';
import type { ProgramInput } from '../executor/program-input.ts';
import type { FailedStepAnswer, SessionMessage, TerminalSize, WorkerEvent } from './protocol.ts';

type ForProgram = Extract<SessionMessage, { readonly kind: 'input' | 'resize' }>;

interface ProgramEnds {
  /** Null is the end. */
  readonly feed: (chunk: Buffer | null) => void;
  readonly resize: (size: TerminalSize) => void;
}

export class Session {
  readonly #emit: (event: WorkerEvent) => void;
  #program: ProgramEnds | undefined;
  /** For a program that has not been started yet. One piece of input at most. */
  #early: ForProgram[] = [];
  #answers: FailedStepAnswer[] = [];
  #onAnswer: (() => void) | undefined;

  constructor(emit: (event: WorkerEvent) => void) {
    this.#emit = emit;
  }

  take(message: SessionMessage): void {
    switch (message.kind) {
      case 'input':
      case 'resize':
        if (this.#program === undefined) {
          this.#early.push(message);
        } else {
          handOn(this.#program, message);
        }
        break;
      case 'answer':
        // What comes from now on is for the next program.
        this.#program = undefined;
        this.#answers.push(message.answer);
        this.#onAnswer?.();
        break;
    }
  }

  /** For the next program. */
  input(terminal: TerminalSize | undefined): ProgramInput {
    const listeners: ((size: TerminalSize) => void)[] = [];
    // One piece at a time: the next one is sent when this one was taken, so that nothing piles up on the way.
    let owed = 0;
    let resized: TerminalSize | undefined;
    const bytes = new Readable({
      read: () => {
        for (; owed > 0; owed -= 1) {
          this.#emit({ kind: 'input-taken' });
        }
      },
    });
    const program: ProgramEnds = {
      feed: (chunk) => {
        if (!bytes.destroyed) {
          owed += chunk === null ? 0 : 1;
          bytes.push(chunk);
        }
      },
      resize: (size) => {
        resized = size;
        for (const listener of listeners) {
          listener(size);
        }
      },
    };
    this.#program = program;
    for (const message of this.#early.splice(0)) {
      handOn(program, message);
    }
    return {
      bytes,
      onResize: (listener) => {
        listeners.push(listener);
        if (resized !== undefined) {
          listener(resized);
        }
      },
      ...(terminal === undefined ? {} : { terminal }),
    };
  }

  /** What to do about the step that failed. Rejects with the signal's reason. */
  async answer(signal: AbortSignal): Promise<FailedStepAnswer> {
    for (;;) {
      const next = this.#answers.shift();
      if (next !== undefined) {
        return next;
      }
      await new Promise<void>((resolve, reject) => {
        const onAbort = () => reject(signal.reason);
        this.#onAnswer = () => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        };
        signal.throwIfAborted();
        signal.addEventListener('abort', onAbort, { once: true });
      });
    }
  }
}

function handOn(program: ProgramEnds, message: ForProgram): void {
  if (message.kind === 'resize') {
    program.resize(message);
  } else {
    program.feed(message.base64 === undefined ? null : Buffer.from(message.base64, 'base64'));
  }
}
