/**
 * Cuts a zstd stream at its frame boundaries. Node's decompressor drops whatever follows a frame in the same chunk, and
 * layers hold many frames (and skippable ones, which are left out here).
 *
 * Source: RFC 8878, section 3.1.
 */
import { IntegrityError } from '../errors.ts';

const MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a5;
const RAW_LIMIT = 1 << 20;

/** Yields chunks none of which holds bytes of two frames. @throws {IntegrityError} `E_BAD_ARCHIVE` */
export async function* splitZstdFrames(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const input = new Input(source);
  try {
    while (await input.more()) {
      const start = await input.exactly(4);
      const magic = start.readUInt32LE(0);
      if (magic >>> 4 === SKIPPABLE_MAGIC) {
        const size = (await input.exactly(4)).readUInt32LE(0);
        for await (const _skipped of input.through(size)) {
          // Dropped.
        }
        continue;
      }
      if (magic !== MAGIC) {
        throw malformed('something that is not a frame');
      }
      const descriptorByte = await input.exactly(1);
      const descriptor = descriptorByte.readUInt8(0);
      yield Buffer.concat([start, descriptorByte, await input.exactly(headerSize(descriptor))]);
      let last = false;
      while (!last) {
        const block = await input.exactly(3);
        yield block;
        const header = block.readUIntLE(0, 3);
        last = (header & 1) !== 0;
        const type = (header >> 1) & 3;
        if (type === 3) {
          throw malformed('a block of the reserved type');
        }
        // A run-length block stores one byte, whatever its size.
        yield* input.through(type === 1 ? 1 : header >> 3);
      }
      if ((descriptor & 0x04) !== 0) {
        yield await input.exactly(4);
      }
    }
  } finally {
    await input.close();
  }
}

class Input {
  readonly #source: AsyncIterator<Uint8Array>;
  #chunk: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** False at the end. */
  async more(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const next = await this.#source.next();
      if (next.done) {
        return false;
      }
      this.#chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
    }
    return true;
  }

  /** Whoever stops early leaves no file open. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }

  async exactly(size: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const part of this.through(size)) {
      parts.push(part);
    }
    return Buffer.concat(parts);
  }

  async *through(size: number): AsyncGenerator<Buffer> {
    let left = size;
    while (left > 0) {
      if (!(await this.more())) {
        throw malformed('it ends within a frame');
      }
      const part = this.#chunk.subarray(0, Math.min(left, RAW_LIMIT));
      this.#chunk = this.#chunk.subarray(part.length);
      left -= part.length;
      yield part;
    }
  }
}

function headerSize(descriptor: number): number {
  const singleSegment = (descriptor & 0x20) !== 0;
  const contentSize = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  const dictionaryId = [0, 1, 2, 4][descriptor & 3] ?? 0;
  return (singleSegment ? 0 : 1) + dictionaryId + contentSize;
}

function malformed(reason: string): IntegrityError {
  return new IntegrityError(`malformed zstd stream: ${reason}`, { code: 'E_BAD_ARCHIVE' });
}
