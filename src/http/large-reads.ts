/**
 * Connections that are read in pieces as large as they come, into memory that is used again. Node by itself takes new memory for every
 * 64 KiB, and collecting it takes longer than all else that is done with a large download.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { buildConnector } from 'undici';

/** Some of a core's second-level cache: what was read is hashed and written soon. */
const BLOCK_BYTES = 1024 * 1024;
/** With less than this left of a block, the next one is begun: many short reads cost more than the rest. */
const LEAST_READ_BYTES = 64 * 1024;
/** Kept for later, of all connections together. */
const SPARE_BLOCKS = 8;

/**
 * For streams: nothing more is asked for as long as there is a piece. Of two, Node would make a copy in one.
 */
export const ONE_PIECE = 1;

/** Memory that one connection is read into, from its beginning to its end. */
interface Block {
  readonly bytes: Buffer;
  filledBytes: number;
  /** What was handed out and not given back. */
  heldBytes: number;
  /** Nothing more is read into it. */
  full: boolean;
}

const blocks = new WeakMap<ArrayBufferLike, Block>();
const spare: Buffer[] = [];

/**
 * A connector as undici's own, whose connections read so.
 *
 * @param build - undici's `buildConnector`.
 */
export function largeReads(
  build: typeof buildConnector,
  options: buildConnector.BuildOptions,
): buildConnector.connector {
  return (target, callback) => {
    let block = newBlock();
    let socket: Socket | TLSSocket | undefined;
    const onread = {
      buffer: () => {
        if (block.bytes.length - block.filledBytes < LEAST_READ_BYTES) {
          block.full = true;
          reuse(block);
          block = newBlock();
        }
        return block.bytes.subarray(block.filledBytes);
      },
      callback: (length: number) => {
        const start = block.filledBytes;
        block.filledBytes += length;
        block.heldBytes += length;
        return socket?.push(block.bytes.subarray(start, block.filledBytes)) ?? true;
      },
    };
    // Of its own: what is read goes to this socket.
    const reading: object = { onread, readableHighWaterMark: ONE_PIECE };
    const connect = build({ ...options, ...reading });
    socket = connect(target, callback) as unknown as Socket;
    return socket;
  };
}

/**
 * Whoever is done with a piece of a body may say so, once; its memory is then used for another. What is never given back is collected, and
 * all else that lies in the same block with it.
 */
export function giveBack(piece: Buffer): void {
  const block = blocks.get(piece.buffer);
  if (block !== undefined) {
    block.heldBytes -= piece.length;
    reuse(block);
  }
}

function newBlock(): Block {
  const bytes = spare.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
  const block = { bytes, filledBytes: 0, heldBytes: 0, full: false };
  blocks.set(bytes.buffer, block);
  return block;
}

function reuse(block: Block): void {
  if (
    block.full &&
    block.heldBytes === 0 &&
    blocks.delete(block.bytes.buffer) &&
    spare.length < SPARE_BLOCKS
  ) {
    spare.push(block.bytes);
  }
}
