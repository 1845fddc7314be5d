import * as fs from 'node:fs/promises';
import { IntegrityError, InternalError } from '../errors.ts';
import type { HashedFile } from '../native/addon.ts';
import { fromNative } from '../native/error.ts';
import { type Digest, sha256Digest } from '../oci/digest.ts';

/** Exports may be hard links to blobs: nobody should change one in place by mistake. */
export const BLOB_MODE = 0o444;

export interface BlobWriterState {
  readonly file: HashedFile;
  /** The file, which this process owns. */
  readonly path: string;
  /** What the file is renamed to when it is kept for later. */
  readonly partial: string;
  /** Bytes that are there, and hashed. */
  readonly offset: number;
  readonly expected: { readonly digest: Digest; readonly size: number } | undefined;
  readonly target: (digest: Digest) => string;
}

/** What comes in small pieces is written so many at a time: each write is a trip to another thread. */
const BATCH_BYTES = 1024 * 1024;
/** A piece of so many is written as it is: copying it takes longer than the trip. */
const DIRECT_BYTES = 256 * 1024;

/**
 * Streams one blob to disk, hashing on the way. Made by `BlobStore.openWrite`; ends with `commit()` or `abort()`.
 *
 * Both are done on another thread. While one batch is written the next one is gathered, so that a source is not held up by the disk. A
 * write that failed is told by the next call.
 */
export class BlobWriter {
  readonly #state: BlobWriterState;
  /** With what is gathered. */
  #offset: number;
  #batch: Buffer | undefined;
  #gathered = 0;
  /** Another buffer to gather in, when it was written. */
  #spare: Buffer | undefined;
  #writing: Promise<void> = Promise.resolve();
  #open = true;

  constructor(state: BlobWriterState) {
    this.#state = state;
    this.#offset = state.offset;
  }

  /** Bytes that are there already: where the source has to go on. */
  get offset(): number {
    return this.#offset;
  }

  /** Where the bytes are until {@link commit} renames the file. */
  get path(): string {
    return this.#state.path;
  }

  /** Of the bytes that are there. */
  async digest(): Promise<Digest> {
    await this.#flush();
    return sha256Digest(this.#state.file.sha256());
  }

  /**
   * The memory of `chunk` is the caller's again when this is done.
   *
   * @throws {IntegrityError} `E_SIZE_MISMATCH` as soon as there are more bytes than expected.
   */
  async write(chunk: Uint8Array): Promise<void> {
    if (!this.#open) {
      throw new InternalError('write to a blob writer that was closed');
    }
    const { expected } = this.#state;
    if (expected !== undefined && this.#offset + chunk.byteLength > expected.size) {
      throw new IntegrityError(`blob ${expected.digest} has more than the expected ${expected.size} bytes`, {
        code: 'E_SIZE_MISMATCH',
        expected: String(expected.size),
        actual: `more than ${expected.size}`,
      });
    }
    if (chunk.byteLength >= DIRECT_BYTES) {
      await this.#handOver();
      this.#offset += chunk.byteLength;
      this.#start(chunk);
      await this.#writing;
      return;
    }
    for (let taken = 0; taken < chunk.byteLength; ) {
      this.#batch ??= this.#spare ?? Buffer.allocUnsafeSlow(this.#batchBytes());
      this.#spare = undefined;
      const piece = chunk.subarray(taken, taken + this.#batch.byteLength - this.#gathered);
      this.#batch.set(piece, this.#gathered);
      this.#gathered += piece.byteLength;
      this.#offset += piece.byteLength;
      taken += piece.byteLength;
      if (this.#gathered === this.#batch.byteLength) {
        await this.#handOver();
      }
    }
  }

  #batchBytes(): number {
    const { expected } = this.#state;
    return expected === undefined ? BATCH_BYTES : Math.min(BATCH_BYTES, expected.size - this.#offset);
  }

  /** Waits for the batch before, and begins to write this one. */
  async #handOver(): Promise<void> {
    await this.#writing;
    const batch = this.#batch;
    if (batch === undefined) {
      return;
    }
    const bytes = batch.subarray(0, this.#gathered);
    this.#batch = undefined;
    this.#gathered = 0;
    this.#start(bytes, () => {
      this.#spare = batch.byteLength === BATCH_BYTES ? batch : undefined;
    });
  }

  /** After what was written before. */
  #start(bytes: Uint8Array, onDone?: () => void): void {
    this.#writing = this.#writing
      .then(() => this.#state.file.append(bytes))
      .then(onDone, (error: unknown) => {
        throw fromNative(error, 'cannot write a blob');
      });
    // It is told by whoever waits for it.
    this.#writing.catch(() => {});
  }

  /** Everything is in the file. */
  async #flush(): Promise<void> {
    await this.#handOver();
    await this.#writing;
  }

  /** Throws away what was written so far. */
  async restart(): Promise<void> {
    await this.#writing.catch(() => {});
    this.#writing = Promise.resolve();
    this.#gathered = 0;
    await this.#state.file.restart().catch((error: unknown) => {
      throw fromNative(error, 'cannot throw away what was downloaded');
    });
    this.#offset = 0;
  }

  /**
   * Checks size and digest and renames the file into place. When they are wrong the writer stays open: `restart()` or
   * `abort()` follows.
   *
   * @throws {IntegrityError} `E_SIZE_MISMATCH`, `E_DIGEST_MISMATCH`
   */
  async commit(): Promise<{ readonly digest: Digest; readonly size: number }> {
    const { expected, path, target } = this.#state;
    if (expected !== undefined && this.#offset !== expected.size) {
      throw new IntegrityError(
        `blob ${expected.digest} has ${this.#offset} bytes instead of ${expected.size}`,
        {
          code: 'E_SIZE_MISMATCH',
          expected: String(expected.size),
          actual: String(this.#offset),
        },
      );
    }
    const digest = await this.digest();
    if (expected !== undefined && digest !== expected.digest) {
      throw new IntegrityError(`bytes have the digest ${digest} instead of ${expected.digest}`, {
        code: 'E_DIGEST_MISMATCH',
        expected: expected.digest,
        actual: digest,
      });
    }
    this.#open = false;
    this.#state.file.close();
    await fs.chmod(path, BLOB_MODE);
    await fs.rename(path, target(digest));
    return { digest, size: this.#offset };
  }

  /**
   * Ends without a blob. With `keep`, what was written stays as a partial file that a later `openWrite` goes on with.
   * Does nothing after `commit()`.
   */
  async abort(options: { readonly keep?: boolean } = {}): Promise<void> {
    if (!this.#open) {
      return;
    }
    this.#open = false;
    const { expected, path, partial } = this.#state;
    const written = await this.#flush().then(
      () => true,
      () => false,
    );
    this.#state.file.close();
    if (options.keep && written && expected !== undefined && this.#offset > 0) {
      await fs.rename(path, partial);
    } else {
      await fs.rm(path, { force: true });
    }
  }
}
