/** JSON messages, each after its length as four big-endian bytes. */
import { InternalError } from '../errors.ts';
import { MAX_MESSAGE_BYTES } from './protocol.ts';

const HEADER_BYTES = 4;

/** @throws {InternalError} when the message is longer than may be. */
export function encodeFrame(message: unknown): Buffer {
  const text = JSON.stringify(message);
  const length = Buffer.byteLength(text);
  if (length > MAX_MESSAGE_BYTES) {
    throw new InternalError(`a message of ${length} bytes`);
  }
  const frame = Buffer.allocUnsafe(HEADER_BYTES + length);
  frame.writeUInt32BE(length, 0);
  frame.write(text, HEADER_BYTES, 'utf8');
  return frame;
}

/** Cuts a stream of bytes into messages. */
export class FrameReader {
  #chunks: Buffer[] = [];
  #bytes = 0;

  /** @throws {InternalError} when what comes is not ours. */
  push(chunk: Buffer): unknown[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    const messages: unknown[] = [];
    for (;;) {
      if (this.#bytes < HEADER_BYTES) {
        return messages;
      }
      const first = this.#chunks[0] as Buffer;
      const head = first.length >= HEADER_BYTES ? first : this.#join();
      const length = head.readUInt32BE(0);
      if (length > MAX_MESSAGE_BYTES) {
        throw new InternalError(`a message of ${length} bytes`);
      }
      if (this.#bytes < HEADER_BYTES + length) {
        return messages;
      }
      const all = this.#join();
      messages.push(parse(all.toString('utf8', HEADER_BYTES, HEADER_BYTES + length)));
      this.#bytes -= HEADER_BYTES + length;
      this.#chunks = this.#bytes > 0 ? [all.subarray(HEADER_BYTES + length)] : [];
    }
  }

  #join(): Buffer {
    const all = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
    this.#chunks = [all];
    return all;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new InternalError(`a message of ${text.length} characters that is not JSON`, { cause });
  }
}
