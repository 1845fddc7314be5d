/** Errors to exit statuses; the statuses are public (docs/reference/cli.md). */
import { TsbuildError } from '../errors.ts';

/** Why the build was cancelled, when a signal did it. It travels as `signal.reason` through everything. */
export class Interrupted extends Error {
  readonly signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP';

  constructor(signal: Interrupted['signal']) {
    super(`cancelled by ${signal}`);
    this.name = 'AbortError';
    this.signal = signal;
  }
}

/** 128 and the signal's number, as shells have it. */
export const SIGNAL_STATUS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

export const EXIT_STATUSES: readonly (readonly [status: number, meaning: string])[] = [
  [0, 'Success.'],
  [1, 'A step ran and failed. `tsbuild run` ends with the status of the command that it ran.'],
  [2, 'The definition or the command line is wrong.'],
  [3, 'This machine lacks something: user namespaces, disk space, a program.'],
  [4, 'A registry or the network failed.'],
  [5, 'Bytes are not what their digest or signature says.'],
  [70, 'A bug in tsbuild.'],
  [129, 'Cancelled by SIGHUP.'],
  [130, 'Cancelled by SIGINT (Ctrl-C).'],
  [143, 'Cancelled by SIGTERM.'],
];

export function exitStatus(error: unknown): number {
  if (error instanceof Interrupted) {
    return SIGNAL_STATUS[error.signal];
  }
  if (error instanceof TsbuildError) {
    return error.exitStatus;
  }
  // A system call that failed where nobody added to it is the machine's matter, not a broken invariant of ours.
  return isSystemError(error) ? 3 : 70;
}

export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && typeof error.syscall === 'string';
}
