/** The front's half of a program's input: a stream and a terminal of the caller's, handed on for as long as the program runs. */
import { Readable } from 'node:stream';
import type { InputParams, SessionMessage, TerminalSize, WorkerEvent } from './protocol.ts';
import { RawTerminal } from './raw-terminal.ts';

/** What `process.stdout` is on a terminal. */
export interface TerminalLike {
  /** @defaultValue 80 */
  readonly columns?: number | undefined;
  /** @defaultValue 24 */
  readonly rows?: number | undefined;
  on?(event: 'resize', listener: () => void): unknown;
  off?(event: 'resize', listener: () => void): unknown;
}

/** All of the input, or where it comes from as it comes. */
export type InputLike = string | Uint8Array | AsyncIterable<Uint8Array | string>;

export interface ProgramStreams {
  /**
   * What the program reads. A stream of Node's, such as `process.stdin`, is paused when the program has ended and can be read on.
   * @defaultValue closed
   */
  readonly stdin?: InputLike;
  /**
   * Gives the program a terminal of this size, which follows `resize` events: `process.stdout`, for example. Everything that
   * it writes is `stdout` then. A `stdin` that is a terminal itself, such as `process.stdin`, is in raw mode while the program
   * runs: every key is the program's, Ctrl-C too.
   * @defaultValue none
   */
  readonly terminal?: TerminalLike;
}

type Send = (message: SessionMessage) => void;

const DEFAULT_COLUMNS = 80;
const DEFAULT_ROWS = 24;
/** A message is a third longer. */
const PIECE_BYTES = 48 * 1024;

/** A terminal that does not know its size says 0. */
function sizeOf({ columns, rows }: TerminalLike): TerminalSize {
  return { columns: columns || DEFAULT_COLUMNS, rows: rows || DEFAULT_ROWS };
}

export function inputParams(terminal: TerminalLike | undefined): InputParams {
  return terminal === undefined ? {} : { terminal: sizeOf(terminal) };
}

/** What programs ask to know which terminal the user sits at. */
export function terminalVariables({ TERM = '', COLORTERM = '' }: NodeJS.ProcessEnv): [string, string][] {
  return [
    ['TERM', TERM === '' ? 'xterm' : TERM],
    ...(COLORTERM === '' ? [] : [['COLORTERM', COLORTERM] as [string, string]]),
  ];
}

/** Hands on what comes, one piece at a time, from {@link start} until it is stopped. */
export class InputPump {
  readonly #streams: ProgramStreams;
  readonly #waiting: Buffer[] = [];
  #send: Send = () => undefined;
  #source: Readable | undefined;
  #isOwn = false;
  #raw: RawTerminal | undefined;
  #hasEnded = false;
  /** A piece is on its way. */
  #isSending = false;
  #isStopped = false;

  constructor(streams: ProgramStreams) {
    this.#streams = streams;
  }

  start(send: Send): void {
    const { stdin, terminal } = this.#streams;
    this.#send = send;
    terminal?.on?.('resize', this.#onResize);
    if (stdin === undefined) {
      // A terminal that nobody types on is still one.
      if (terminal === undefined) {
        this.#onEnd();
      }
      return;
    }
    if (terminal !== undefined) {
      this.#raw = RawTerminal.of(stdin);
    }
    if (typeof stdin === 'string' || stdin instanceof Uint8Array) {
      this.#onData(stdin);
      this.#onEnd();
      return;
    }
    this.#isOwn = !(stdin instanceof Readable);
    this.#source = stdin instanceof Readable ? stdin : Readable.from(stdin);
    this.#source.on('end', this.#onEnd).on('error', this.#onEnd).on('data', this.#onData);
    if (this.#source.readableEnded || this.#source.destroyed) {
      this.#onEnd();
    } else {
      this.#source.resume();
    }
  }

  /** To be called with what the worker says. */
  hear(event: WorkerEvent): void {
    if (event.kind === 'input-taken') {
      this.#isSending = false;
      this.#goOn();
    }
  }

  /** The program has ended: nothing more is read. */
  stop(): void {
    if (this.#isStopped) {
      return;
    }
    this.#isStopped = true;
    this.#streams.terminal?.off?.('resize', this.#onResize);
    this.#raw?.restore();
    const source = this.#source;
    if (source === undefined) {
      return;
    }
    source.off('data', this.#onData).off('end', this.#onEnd);
    source.pause();
    if (this.#isOwn) {
      source.destroy();
    } else {
      source.off('error', this.#onEnd);
    }
  }

  readonly #onResize = () => {
    const { terminal } = this.#streams;
    if (terminal !== undefined) {
      this.#send({ kind: 'resize', ...sizeOf(terminal) });
    }
  };

  readonly #onData = (chunk: Uint8Array | string) => {
    const bytes = Buffer.from(chunk as string);
    for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
      this.#waiting.push(bytes.subarray(start, start + PIECE_BYTES));
    }
    this.#source?.pause();
    this.#goOn();
  };

  readonly #onEnd = () => {
    this.#hasEnded = true;
    this.#goOn();
  };

  #goOn(): void {
    if (this.#isSending || this.#isStopped) {
      return;
    }
    const next = this.#waiting.shift();
    if (next !== undefined) {
      this.#isSending = true;
      this.#send({ kind: 'input', base64: next.toString('base64') });
    } else if (this.#hasEnded) {
      this.stop();
      this.#send({ kind: 'input' });
    } else {
      this.#source?.resume();
    }
  }
}
