/** A file that somebody writes from its beginning to its end, read meanwhile. */
import { open, stat } from 'node:fs/promises';
import { delay } from '../base/abort.ts';

const LOOK_AGAIN_MS = 5;
/** A multiple of what sockets take before they ask for patience. */
const PIECE_BYTES = 256 * 1024;

/** Waits until so many bytes are there. False: it was whole, or given up, before. */
export async function growsTo(
  path: string,
  bytes: number,
  whole: Promise<unknown>,
  signal: AbortSignal,
): Promise<boolean> {
  const state = watched(whole);
  while (!state.isOver) {
    const size = await stat(path).then(
      (found) => found.size,
      () => 0,
    );
    if (size >= bytes) {
      return true;
    }
    await delay(LOOK_AGAIN_MS, signal);
  }
  return false;
}

/**
 * Its bytes, until it is whole. Large pieces share their memory, since collecting it takes as long as sending what is in it: whoever asks for the
 * next one is done with it. Writing one to a socket, and waiting for `drain` when told to, is enough.
 *
 * @param whole - @defaultValue it is
 * @throws what `whole` rejects with: then what was read is no beginning of anything.
 */
export async function* piecesOf(
  path: string,
  signal: AbortSignal | undefined,
  whole: Promise<unknown> | undefined = undefined,
): AsyncGenerator<Buffer> {
  const state = whole === undefined ? { isOver: true } : watched(whole);
  await using file = await open(path, 'r');
  let buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
  for (;;) {
    // In this order: what is written before the end is read after it was seen.
    const { isOver } = state;
    const { bytesRead } = await file.read(buffer);
    if (bytesRead > 0) {
      yield buffer.subarray(0, bytesRead);
      if (bytesRead < PIECE_BYTES) {
        // A small one may wait in the socket without anybody being told.
        buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
      }
    } else if (isOver) {
      await whole;
      return;
    } else {
      await delay(LOOK_AGAIN_MS, signal);
    }
  }
}

function watched(whole: Promise<unknown>): { readonly isOver: boolean } {
  const state = { isOver: false };
  const end = () => {
    state.isOver = true;
  };
  whole.then(end, end);
  return state;
}
