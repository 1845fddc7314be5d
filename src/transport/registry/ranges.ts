/**
 * One large blob over several connections: while the first one is read, pieces further on are asked for by range, kept in memory and
 * handed on in their turn. Only where the first one is slow: what limits a connection (the server, or distance) leaves the rest of a line unused.
 *
 * Nothing here makes a download fail. Whatever goes wrong with a further connection, the blob goes on with one, from where it is.
 */
import { delay } from '../../base/abort.ts';
import { backoffMs, triesOf } from '../../base/retry.ts';
import { RemoteError } from '../../errors.ts';
import { forEachPiece, type HttpResponse } from '../../http/http-client.ts';
import { giveBack } from '../../http/large-reads.ts';

export interface RangeSettings {
  /**
   * Asked for at once.
   *
   * @defaultValue 8 MiB: at 30 MB/s a round trip of 50 ms is a sixth of the time that one takes, and some of them are little memory
   */
  readonly pieceBytes: number;
  /**
   * For one blob.
   *
   * @defaultValue 4: object stores give one some 90 MB/s, and two cores unpack 370 MB/s of gzip
   */
  readonly connections: number;
  /**
   * What comes as fast is left alone.
   *
   * @defaultValue 100 MB/s: nearly a line of 1 Gbit/s, and more than servers that limit a connection give it
   */
  readonly fastBytesPerSecond: number;
  /**
   * One more connection brings an n-th more where each is as fast as the n before. So much of it must be seen.
   *
   * @defaultValue 0.25: rates vary, and of the two mistakes too few connections is the dearer one
   */
  readonly leastGain: number;
}

const DEFAULTS: RangeSettings = {
  pieceBytes: 8 * 1024 * 1024,
  connections: 4,
  fastBytesPerSecond: 100e6,
  leastGain: 0.25,
};

/** Four blobs come at once, over a connection each. With these, one of the eight to a server is left for all else. */
const HELPERS = 3;
/** That are not being written yet, of all blobs: twice as many as helpers, so that a fast one need not wait for a slow one. */
const PIECES_AHEAD = 6;

/** What the blobs of one client share. */
export class RangeLimits {
  readonly settings: RangeSettings;
  freeHelpers = HELPERS;
  freePieces = PIECES_AHEAD;
  /** Of all blobs, ever. */
  arrivedBytes = 0;

  constructor(settings: Partial<RangeSettings> = {}) {
    this.settings = { ...DEFAULTS, ...settings };
  }
}

export interface RangedBlob {
  /** Of the whole blob. */
  readonly size: number;
  /** Where the first connection begins. */
  readonly offset: number;
  /** Whether the server may be asked for ranges. */
  readonly ranges: boolean;
  /** Asks for the bytes from `start` to before `end`. @throws {RemoteError} unless the answer is of just these */
  ask(start: number, end: number, signal: AbortSignal): Promise<HttpResponse>;
  /** Called with everything, in order. The memory is free again when it is done. */
  write(bytes: Buffer): Promise<void>;
  /** Of one piece, as long as the connection breaks. */
  readonly maxTries: number;
  readonly backoffBaseMs: number;
  readonly signal: AbortSignal | undefined;
}

interface Piece {
  readonly start: number;
  /** Of its last byte, and one more. */
  end: number;
  /** Up to here it has arrived. */
  arrived: number;
  readonly waiting: Buffer[];
  /** The server is sending it. */
  answered: boolean;
  /** Nothing more comes. */
  done: boolean;
  /** Takes a helper's place, not that of the first connection. */
  readonly helper: boolean;
  /** Takes a place among the pieces ahead. */
  ahead: boolean;
  readonly stop: AbortController;
}

/** The bytes of one blob from one request on. {@link end} must be called. */
export class BlobRanges {
  readonly #limits: RangeLimits;
  readonly #blob: RangedBlob;
  /** Up to here it was written. */
  #offset: number;
  /** Where the next piece begins. */
  #next = 0;
  /** In order. The first connection is read up to where they begin. */
  readonly #pieces: Piece[] = [];
  readonly #fetches = new Set<Promise<void>>();
  /** The first connection ended where the pieces begin, and one of them may take its place. */
  #handedOver = false;
  #placeTaken = false;
  /** No more pieces are begun. */
  #stopped: boolean;
  /** How many connections there may be now. */
  #allowed = 1;
  /** How far ahead of the first connection the first piece begins. */
  #distance: number;
  #alone = startSample(0);
  #doneMs = performance.now();
  /** Since the newest connection began to bring something. */
  #together: { readonly sinceMs: number; bytes: number } | undefined;
  #unmeasured = false;
  /** Bytes a millisecond, with one connection less. */
  #rateBefore = 0;
  #wake = () => {};

  constructor(limits: RangeLimits, blob: RangedBlob) {
    this.#limits = limits;
    this.#blob = blob;
    this.#offset = blob.offset;
    this.#stopped = !blob.ranges || limits.settings.connections < 2;
    // Where the second connection has to be made first, that takes some round trips.
    this.#distance = 2 * limits.settings.pieceBytes;
  }

  /** Whether anything but the first connection was read. */
  get several(): boolean {
    return this.#handedOver;
  }

  /**
   * Writes what came on the first connection.
   *
   * @returns `false` when the rest comes by {@link rest}.
   */
  async take(bytes: Buffer): Promise<boolean> {
    this.#alone.waitedMs += performance.now() - this.#doneMs;
    this.#alone.bytes += bytes.length;
    this.#count(bytes.length);
    const own = this.#ownPart(bytes.length);
    await this.#blob.write(bytes.subarray(0, own));
    this.#offset += own;
    this.#doneMs = performance.now();
    return !this.#handedOver;
  }

  /** Writes what comes on the other connections, as far as it comes. */
  async rest(): Promise<void> {
    this.#fill();
    for (let piece = this.#pieces[0]; piece !== undefined; piece = this.#pieces[0]) {
      this.#blob.signal?.throwIfAborted();
      this.#leaveAhead(piece);
      const bytes = piece.waiting.shift();
      if (bytes !== undefined) {
        await this.#blob.write(bytes);
        this.#offset += bytes.length;
        giveBack(bytes);
      } else if (piece.done) {
        this.#pieces.shift();
        this.#fill();
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  /** Ends all requests. */
  async end(): Promise<void> {
    this.#stopped = true;
    this.#drop(0);
    await Promise.all(this.#fetches);
  }

  /** Of so many bytes of the first connection, those before the first piece. */
  #ownPart(length: number): number {
    const [first] = this.#pieces;
    const end = this.#offset + length;
    if (first === undefined) {
      this.#beginWhereSlow(end);
    } else if (end >= first.start && first.answered) {
      this.#handedOver = true;
      return first.start - this.#offset;
    } else if (end >= first.start) {
      // It would have to wait: later, when the connection was made, or further on.
      this.#distance *= 2;
      this.#drop(0);
    }
    return length;
  }

  #beginWhereSlow(offset: number): void {
    const { pieceBytes, fastBytesPerSecond } = this.#limits.settings;
    const { sinceMs, waitedMs, bytes, allBytesBefore } = this.#alone;
    // Time in which we were busy ourselves does not count: more connections would not shorten it.
    const slow = waitedMs * fastBytesPerSecond > pieceBytes * 1000;
    if (!slow && bytes < pieceBytes) {
      return;
    }
    this.#alone = startSample(this.#limits.arrivedBytes);
    const passedMs = performance.now() - sinceMs;
    const allBytes = this.#limits.arrivedBytes - allBytesBefore;
    if (
      !slow ||
      this.#stopped ||
      // Other blobs use the line, or all of us the processors.
      allBytes * 1000 > passedMs * fastBytesPerSecond ||
      this.#blob.size - offset < this.#distance + 2 * pieceBytes
    ) {
      return;
    }
    this.#next = offset + this.#distance;
    this.#rateBefore = bytes / passedMs;
    this.#allow(2);
  }

  #allow(connections: number): void {
    this.#allowed = connections;
    this.#unmeasured = true;
    this.#fill();
  }

  /** As many pieces as there may be connections. */
  #fill(): void {
    while (
      !this.#stopped &&
      this.#next < this.#blob.size &&
      this.#connections() < this.#allowed &&
      this.#begin()
    ) {
      // Another one fits.
    }
  }

  #connections(): number {
    return this.#fetches.size + (this.#handedOver ? 0 : 1);
  }

  #begin(): boolean {
    const limits = this.#limits;
    const helper = !this.#handedOver || this.#placeTaken;
    // What is written as it arrives takes no memory. So a blob goes on whatever others have.
    const ahead = !this.#handedOver || this.#pieces.length > 0;
    if ((helper && limits.freeHelpers === 0) || (ahead && limits.freePieces === 0)) {
      return false;
    }
    const start = this.#next;
    const end = Math.min(start + limits.settings.pieceBytes, this.#blob.size);
    const piece: Piece = {
      start,
      end,
      arrived: start,
      waiting: [],
      answered: false,
      done: false,
      helper,
      ahead,
      stop: new AbortController(),
    };
    limits.freeHelpers -= helper ? 1 : 0;
    limits.freePieces -= ahead ? 1 : 0;
    this.#placeTaken ||= !helper;
    this.#next = end;
    this.#pieces.push(piece);
    const fetch = this.#fetch(piece).finally(() => {
      this.#fetches.delete(fetch);
      limits.freeHelpers += helper ? 1 : 0;
      this.#placeTaken &&= helper;
      piece.done = true;
      this.#fill();
      this.#wake();
    });
    this.#fetches.add(fetch);
    return true;
  }

  /** Never fails. */
  async #fetch(piece: Piece): Promise<void> {
    const { signal, maxTries, backoffBaseMs } = this.#blob;
    const stop = signal === undefined ? piece.stop.signal : AbortSignal.any([signal, piece.stop.signal]);
    for (let tries = 0; ; ) {
      const before = piece.arrived;
      try {
        await this.#receive(piece, stop);
        return;
      } catch (error) {
        if (stop.aborted || piece.arrived === piece.end) {
          return;
        }
        tries = triesOf(tries, piece.arrived - before);
        if (!isBreak(error) || tries >= maxTries) {
          this.#giveUp(piece);
          return;
        }
      }
      await delay(backoffMs(tries, Math.random(), backoffBaseMs), stop).catch(() => {});
    }
  }

  async #receive(piece: Piece, stop: AbortSignal): Promise<void> {
    stop.throwIfAborted();
    const { body } = await this.#blob.ask(piece.arrived, piece.end, stop);
    try {
      piece.answered = true;
      if (this.#unmeasured && this.#connections() === this.#allowed) {
        this.#unmeasured = false;
        this.#together = { sinceMs: performance.now(), bytes: 0 };
      }
      await forEachPiece(body, async (bytes) => {
        stop.throwIfAborted();
        this.#count(bytes.length);
        // What is too much is cut off, so that it is in nobody else's place.
        const wanted = bytes.subarray(0, piece.end - piece.arrived);
        piece.arrived += wanted.length;
        append(piece.waiting, wanted);
        this.#wake();
        return wanted.length === bytes.length;
      });
    } finally {
      body.destroy();
    }
    if (piece.arrived < piece.end) {
      throw new Error('the answer ended early');
    }
  }

  /** With a piece that cannot be had, others end too: servers that refuse one mean all. */
  #giveUp(piece: Piece): void {
    this.#stopped = true;
    if (this.#handedOver) {
      piece.end = piece.arrived;
      this.#drop(this.#pieces.indexOf(piece) + 1);
    } else {
      this.#drop(0);
    }
  }

  /** Lets go of the pieces from one on. */
  #drop(index: number): void {
    for (const piece of this.#pieces.splice(index)) {
      this.#leaveAhead(piece);
      piece.stop.abort();
      piece.waiting.splice(0).forEach(giveBack);
    }
    if (!this.#handedOver) {
      this.#allowed = 1;
      this.#together = undefined;
    }
  }

  #leaveAhead(piece: Piece): void {
    this.#limits.freePieces += piece.ahead ? 1 : 0;
    piece.ahead = false;
  }

  #count(bytes: number): void {
    this.#limits.arrivedBytes += bytes;
    const { pieceBytes, connections, leastGain } = this.#limits.settings;
    const sample = this.#together;
    if (sample === undefined) {
      return;
    }
    sample.bytes += bytes;
    if (sample.bytes < this.#allowed * pieceBytes) {
      return;
    }
    this.#together = undefined;
    const rate = sample.bytes / (performance.now() - sample.sinceMs);
    if (rate >= this.#rateBefore * (1 + leastGain / (this.#allowed - 1))) {
      this.#rateBefore = rate;
      if (this.#allowed < connections) {
        this.#allow(this.#allowed + 1);
      }
    } else if (this.#allowed === 2) {
      // The line is full: one request for all the rest costs the fewest round trips.
      this.#stopped = true;
    }
  }
}

function startSample(allBytesBefore: number) {
  return { sinceMs: performance.now(), waitedMs: 0, bytes: 0, allBytesBefore };
}

/** Said to whoever asks too much: 429 by registries, 503 by object stores. */
const BUSY_STATUSES: readonly (number | undefined)[] = [429, 503];

/** The same may go well in a moment, and one connection less would not help. */
function isBreak(error: unknown): boolean {
  return !(error instanceof RemoteError) || (error.retryable && !BUSY_STATUSES.includes(error.status));
}

/** What lies behind the last one in memory is made one with it: encrypted connections are read in pieces of 16 KiB. */
function append(chunks: Buffer[], bytes: Buffer): void {
  const last = chunks.at(-1);
  if (last?.buffer === bytes.buffer && last.byteOffset + last.length === bytes.byteOffset) {
    chunks[chunks.length - 1] = Buffer.from(last.buffer, last.byteOffset, last.length + bytes.length);
  } else {
    chunks.push(bytes);
  }
}
