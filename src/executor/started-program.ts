/** A program that the worker starts, with pipes; see {@link native}'s `spawnProgram` for why not by `node:child_process`. */
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { HostError } from '../errors.ts';
import { native } from '../native/addon.ts';
import { fromNative } from '../native/error.ts';

/**
 * Under its numbers from 0 on: nothing, a pipe that we read or write, one that we read once somebody asks for the stream and whose end
 * nobody waits for, or a descriptor of ours.
 */
export type ProgramStream = 'null' | 'read' | 'write' | 'read-if-asked' | number;

export interface ProgramEnd {
  readonly status?: number;
  readonly signal?: NodeJS.Signals;
}

export interface StartedProgram {
  /** Our end of the pipe under that number. */
  stream(number: number): Socket;
  /** It has ended; others may still have its pipes. */
  readonly ended: Promise<ProgramEnd>;
  /** It has ended, and nobody has a pipe that we read. */
  readonly closed: Promise<ProgramEnd>;
  kill(): void;
}

/** @throws An error whose `code` is the kernel's reason, when it cannot be started. */
export function startProgram(
  argv: readonly string[],
  environment: Readonly<Record<string, string>>,
  streams: readonly ProgramStream[],
): StartedProgram {
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const kinds = streams.map((stream) => (stream === 'read-if-asked' ? 'read' : stream));
  const { pid, ends } = spawn(argv, variables, kinds);
  const open = (number: number) =>
    new Socket({
      fd: ends[number] as number,
      readable: kinds[number] === 'read',
      writable: kinds[number] === 'write',
    });
  // A socket reads from the moment that it is made.
  const sockets = ends.map((fd, number) =>
    fd === -1 || streams[number] === 'read-if-asked' ? undefined : open(number),
  );
  let isEnded = false;
  let isClosed = false;
  const ended = native()
    .programEnd(pid)
    .then((end) => {
      isEnded = true;
      return end;
    });
  const read = sockets.filter((_, number) => streams[number] === 'read');
  const allRead = Promise.all(read.map((socket) => new Promise((resolve) => socket?.once('close', resolve))));
  const closed = Promise.all([ended, allRead]).then(([end]) => {
    isClosed = true;
    for (const [number, fd] of ends.entries()) {
      const socket = sockets[number];
      if (socket !== undefined) {
        socket.destroy();
      } else if (fd !== -1) {
        closeSync(fd);
      }
    }
    return end;
  });
  return {
    stream: (number) => {
      // Whoever asks too late hears nothing.
      sockets[number] ??= isClosed ? new Socket() : open(number);
      return sockets[number];
    },
    ended,
    closed,
    kill: () => {
      if (!isEnded) {
        process.kill(pid, 'SIGKILL');
      }
    },
  };
}

function spawn(...given: Parameters<ReturnType<typeof native>['spawnProgram']>) {
  try {
    return native().spawnProgram(...given);
  } catch (cause) {
    const error = fromNative(cause, 'a program');
    throw Object.assign(new Error(error.message, { cause }), {
      code: error instanceof HostError ? error.errno : undefined,
    });
  }
}
