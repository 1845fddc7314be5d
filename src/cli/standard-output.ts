/**
 * Standard output and error of this process. Node's own streams load sockets and terminals, which takes longer than a build of which
 * everything is known; files and pipes are written without them.
 */
import { fstatSync, writeSync } from 'node:fs';
import type { OutputStream } from './context.ts';

/** Of `/dev/null`, on every Linux. */
const NULL_DEVICE = 0x103;

/** A reader that closes our output (`| head`) does not fail the build; what is written later is dropped. */
const CLOSED = ['EPIPE', 'EIO'];

/**
 * @param stream - Makes Node's stream. It is asked for terminals, and where a reader is too slow.
 */
export function standardOutput(fd: 1 | 2, stream: () => NodeJS.WriteStream): OutputStream {
  let plain: boolean | undefined;
  let made: NodeJS.WriteStream | undefined;
  const isPlain = () => (plain ??= isPlainOutput(fd));
  const real = () => {
    if (made === undefined) {
      plain = false;
      made = stream();
      made.on('error', (error: NodeJS.ErrnoException) => {
        if (!CLOSED.includes(error.code ?? '')) {
          throw error;
        }
      });
    }
    return made;
  };
  return {
    write(chunk) {
      const rest = isPlain() ? writeAll(fd, Buffer.from(chunk as string)) : chunk;
      return rest === undefined ? true : real().write(rest);
    },
    get isTTY() {
      return isPlain() ? false : real().isTTY;
    },
    get columns() {
      return real().columns;
    },
    get rows() {
      return real().rows;
    },
    on: (event, listener) => real().on(event, listener),
    off: (event, listener) => real().off(event, listener),
  };
}

function isPlainOutput(fd: number): boolean {
  try {
    const found = fstatSync(fd);
    // What other programs give us as a pipe may be a pair of sockets.
    const isPipe = found.isFIFO() || found.isSocket();
    return found.isFile() || isPipe || (found.isCharacterDevice() && found.rdev === NULL_DEVICE);
  } catch {
    // Closed before we began: Node's stream knows what to do.
    return false;
  }
}

/** @returns What a reader that is slower than it lets us write did not take yet. */
function writeAll(fd: number, bytes: Buffer): Buffer | undefined {
  let rest = bytes;
  try {
    while (rest.length > 0) {
      rest = rest.subarray(writeSync(fd, rest));
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (code === 'EAGAIN') {
      return rest;
    }
    if (!CLOSED.includes(code)) {
      throw error;
    }
  }
  return undefined;
}
