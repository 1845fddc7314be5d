/** A program of a container on this process's own streams, with or without a terminal, to its exit status. */
import { constants } from 'node:os';
import { UsageError } from '../errors.ts';
import type { CliContext } from './context.ts';
import type { RunOptions, RunResult } from './engine-api.ts';
import { LentTerminal } from './lent-terminal.ts';

export interface WantedStreams {
  readonly interactive: boolean;
  readonly tty: boolean;
}

/** @throws {UsageError} `E_NO_TERMINAL` */
export function refuseWithoutTerminal({ interactive, tty }: WantedStreams, { stdin }: CliContext): void {
  if (interactive && tty && stdin.isTTY !== true) {
    throw new UsageError('-it needs a terminal, and standard input is none', {
      code: 'E_NO_TERMINAL',
      hint: 'leave out -t: `-i` alone hands standard input on',
    });
  }
}

/** @param run - Called with the options that join the program to the streams. */
export async function runOnStreams(
  { interactive, tty }: WantedStreams,
  { stdin, stdout, stderr }: CliContext,
  endProgress: () => void,
  run: (streams: Partial<RunOptions>) => Promise<RunResult>,
): Promise<number> {
  const terminal = tty ? new LentTerminal(stdout) : undefined;
  try {
    const { exitCode, signal } = await run({
      ...(interactive ? { stdin } : {}),
      ...(tty ? { terminal: stdout } : {}),
      onStart: () => {
        // A program that reads the terminal has it from the start.
        if (interactive && tty) {
          endProgress();
        }
      },
      onOutput: (stream, chunk) => {
        // From the first byte on the terminal is the command's.
        endProgress();
        if (terminal === undefined) {
          (stream === 'stdout' ? stdout : stderr).write(chunk);
        } else {
          terminal.write(chunk);
        }
      },
    });
    return signal === undefined ? exitCode : 128 + signalNumber(signal);
  } finally {
    terminal?.takeBack();
  }
}

function signalNumber(name: string): number {
  return (constants.signals as Readonly<Record<string, number>>)[name] ?? 0;
}
