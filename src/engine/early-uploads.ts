/**
 * Blobs that are sent to where the image is pushed while they are written. Nothing is there under its digest before the push says so: a build
 * that fails gives the uploads up. Whatever goes wrong with one, the push sends the blob again.
 */
import { growsTo, piecesOf } from '../content/growing-file.ts';
import { type Digest, parseDigest } from '../oci/digest.ts';
import type { Reference } from '../oci/reference.ts';
import type { CompressResult } from '../worker/protocol.ts';
import { type Registries, repositoryOf } from './registries.ts';

/** What is smaller is sent at once when it is there. */
const LEAST_BYTES = 1 << 20;
/** Each holds a connection for as long as its blob is being written, and others need some. */
const MOST_AT_ONCE = 4;

export class EarlyUploads implements AsyncDisposable {
  readonly #registries: Registries;
  readonly #reference: Reference;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  #sending = 0;
  readonly #all = new Set<Promise<URL | undefined>>();
  readonly #byDigest = new Map<Digest, Promise<URL | undefined>>();

  constructor(registries: Registries, reference: Reference, signal: AbortSignal) {
    this.#registries = registries;
    this.#reference = reference;
    this.#signal = AbortSignal.any([signal, this.#abort.signal]);
  }

  /** Whether they are in the repository of a reference. */
  leadTo(reference: Reference): boolean {
    return repositoryOf(reference) === repositoryOf(this.#reference);
  }

  /** @param whole - Rejects when there is no such blob after all. */
  readonly begin = (path: string, whole: Promise<CompressResult>): void => {
    const sent = this.#send(path, whole).catch(() => undefined);
    this.#all.add(sent);
    whole.then(
      ({ digest }) => this.#byDigest.set(parseDigest(digest), sent),
      () => undefined,
    );
  };

  /** The upload that a blob went into, for whoever ends it by naming the digest. Once. */
  readonly take = (digest: Digest): Promise<URL | undefined> | undefined => {
    const sent = this.#byDigest.get(digest);
    if (sent !== undefined) {
      this.#byDigest.delete(digest);
      this.#all.delete(sent);
    }
    return sent;
  };

  async #send(path: string, whole: Promise<CompressResult>): Promise<URL | undefined> {
    if (!(await growsTo(path, LEAST_BYTES, whole, this.#signal)) || this.#sending >= MOST_AT_ONCE) {
      return undefined;
    }
    this.#sending += 1;
    try {
      const client = await this.#registries.clientFor(this.#reference);
      const open = () => piecesOf(path, this.#signal, whole);
      return await client.sendAhead(this.#reference, open, this.#signal);
    } finally {
      this.#sending -= 1;
    }
  }

  /** Gives up what nobody took. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    for (const sent of this.#all) {
      const upload = await sent;
      if (upload !== undefined) {
        await (await this.#registries.clientFor(this.#reference)).cancelUpload(this.#reference, upload);
      }
    }
  }
}
