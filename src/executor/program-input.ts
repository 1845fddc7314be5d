/** What a program gets while it runs, in the form that `streams.rs` reads. */
import type { Readable, Writable } from 'node:stream';
import type { TerminalSize } from '../worker/protocol.ts';

export interface ProgramInput {
  /** Its standard streams are a pseudo-terminal of this size. Absent: its standard input is a pipe. */
  readonly terminal?: TerminalSize;
  /** Buffers. The end is the end of the pipe; on a terminal it is what a person types for it. */
  readonly bytes: Readable;
  /** Calls `listener` with each new size of the terminal. */
  readonly onResize: (listener: (size: TerminalSize) => void) => void;
}

/** Settings of the launcher. */
export function inputSettings(input: ProgramInput | undefined): Readonly<Record<string, string | undefined>> {
  const size = input?.terminal;
  return {
    input: input !== undefined && size === undefined ? 'pipe' : undefined,
    terminal: size === undefined ? undefined : `${cells(size.columns)}x${cells(size.rows)}`,
  };
}

/** @param pipe - The launcher's standard input. It may end before it has read everything. */
export function feedProgram({ bytes, terminal, onResize }: ProgramInput, pipe: Writable): void {
  pipe.on('error', () => bytes.destroy());
  bytes.on('error', () => pipe.end());
  if (terminal === undefined) {
    bytes.pipe(pipe);
    return;
  }
  bytes.on('data', (chunk: Buffer) => {
    if (!pipe.write(dataFrame(chunk))) {
      bytes.pause();
      pipe.once('drain', () => bytes.resume());
    }
  });
  bytes.on('end', () => pipe.end());
  onResize((size) => {
    if (pipe.writable) {
      pipe.write(sizeFrame(size));
    }
  });
}

function dataFrame(bytes: Buffer): Buffer {
  const header = Buffer.alloc(5);
  header.write('d');
  header.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([header, bytes]);
}

function sizeFrame({ columns, rows }: TerminalSize): Buffer {
  const frame = Buffer.alloc(5);
  frame.write('r');
  frame.writeUInt16BE(cells(columns), 1);
  frame.writeUInt16BE(cells(rows), 3);
  return frame;
}

/** What the kernel takes; a size comes from outside. */
function cells(count: number): number {
  return Number.isFinite(count) ? Math.min(Math.max(Math.trunc(count), 0), 0xffff) : 0;
}
