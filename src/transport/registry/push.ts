/**
 * Images into a registry: blobs that it lacks, then manifests, children before the index, then tags.
 *
 * Source: distribution-spec v1.1, "Push". Uploads are monolithic (`POST`, then `PUT` with the whole body): all registries
 * take that, and a failed upload begins anew in a new session, since some refuse byte 0 in an old one. What is sent before its digest is known
 * goes as one chunk (`POST`, one `PATCH` of unknown length, and `PUT` with the digest when the image is pushed), as Docker pushes.
 */
import type { Readable } from 'node:stream';
import { delay } from '../../base/abort.ts';
import { forEachLimited, type Limiter } from '../../base/limiter.ts';
import { redactText, redactUrl } from '../../base/redact.ts';
import { backoffMs } from '../../base/retry.ts';
import { piecesOf } from '../../content/growing-file.ts';
import { IntegrityError, RemoteError } from '../../errors.ts';
import { discardBody, type HttpBody, type HttpResponse, header } from '../../http/http-client.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Digest } from '../../oci/digest.ts';
import { isForeignLayer } from '../../oci/media-type.ts';
import { pullScope, type TransferOptions, type TransferProgress } from './pull.ts';
import type { RegistrySession, RequestBody } from './session.ts';

/** A path, bytes, or a stream. Called again for every repetition. */
export type BlobOpener = (
  descriptor: Descriptor,
) => string | Buffer | Readable | Promise<string | Buffer | Readable>;

/** One image, or with `children` an index. */
export interface PushImage {
  readonly manifestDescriptor: Descriptor;
  readonly manifestBytes: Buffer;
  /** Config and layers; none for an index. */
  readonly blobs: readonly Descriptor[];
  readonly open: BlobOpener;
  /** Waited for before a blob that the registry lacks is opened: it may have to be fetched, with this same client. */
  readonly prepare?: (descriptor: Descriptor) => Promise<void>;
  /** What an index lists, itself images or indexes. */
  readonly children?: readonly PushImage[];
}

export interface PushOptions extends TransferOptions {
  /** Repositories of the same registry that may have some of the blobs, the likeliest first. */
  readonly mountFrom?: readonly string[];
  /** Blobs that the repository is known to have, from a manifest of it: nobody asks again. */
  readonly present?: ReadonlySet<Digest>;
  /** The upload into which a blob was sent already ({@link Push.sendAhead}); asked once for each that the repository lacks. */
  readonly ahead?: (digest: Digest) => Promise<URL | undefined> | undefined;
  /** Push the bytes of deprecated "foreign" layers too. @defaultValue false */
  readonly foreignLayers?: boolean;
}

export interface PushSettings {
  readonly session: RegistrySession;
  readonly limiter: Limiter;
  readonly concurrency: number;
  readonly attempts: number;
  readonly backoffBaseMs: number;
  readonly onWarning: (text: string) => void;
}

/** Many registries refuse manifests above this. */
const LARGE_MANIFEST_BYTES = 4 * 1024 * 1024;
/** Giving up an upload session is a courtesy that nobody waits long for. */
const CANCEL_TIMEOUT_MS = 2_000;
const UPLOAD_RETRY_CODES: ReadonlySet<string> = new Set([
  'BLOB_UPLOAD_INVALID',
  'BLOB_UPLOAD_UNKNOWN',
  'UNKNOWN',
]);

/** @returns the digest of the image or index */
export async function pushImage(
  settings: PushSettings,
  image: PushImage,
  tags: readonly string[],
  options: PushOptions,
): Promise<{ readonly digest: Digest }> {
  try {
    await new Push(settings, options).run(image, tags);
  } catch (error) {
    const lacksBlobs = error instanceof RemoteError && error.ociCodes.includes('MANIFEST_BLOB_UNKNOWN');
    if (!lacksBlobs || options.present === undefined) {
      throw error;
    }
    // The registry lost some since: look at each of them after all.
    const { present: _, ...others } = options;
    await new Push(settings, others).run(image, tags);
  }
  return { digest: image.manifestDescriptor.digest };
}

/** Sends bytes into an upload that waits for their digest. */
export function sendAhead(settings: PushSettings, open: () => HttpBody, signal: AbortSignal): Promise<URL> {
  return new Push(settings, {}).sendAhead(open, signal);
}

/** Gives up an upload that nobody is going to end. */
export function cancelUpload(settings: PushSettings, upload: URL): Promise<void> {
  return new Push(settings, {}).cancelUpload(upload);
}

class Push {
  readonly #settings: PushSettings;
  readonly #options: PushOptions;
  readonly #scopes: readonly string[];

  constructor(settings: PushSettings, options: PushOptions) {
    this.#settings = settings;
    this.#options = options;
    this.#scopes = [`repository:${settings.session.repository}:pull,push`];
  }

  async run(image: PushImage, tags: readonly string[]): Promise<void> {
    const { digest } = image.manifestDescriptor;
    // At once: each is a trip to the registry.
    const [known, ...tagged] = await Promise.all(
      [digest, ...tags].map((tagOrDigest) => this.#hasManifest(tagOrDigest, digest)),
    );
    const missingTags = tags.filter((_, index) => !tagged[index]);
    if (tags.length > 0 && missingTags.length === 0) {
      this.#reportAll(image);
      return;
    }
    if (missingTags.length < tags.length || known === true) {
      this.#reportAll(image);
    } else {
      await forEachLimited(
        uniqueBlobs(image, this.#options.foreignLayers ?? false),
        this.#settings.concurrency,
        async ({ descriptor, open, prepare }, signal) => {
          const { limiter } = this.#settings;
          const place = await limiter.run(() => this.#findBlob(descriptor, signal), signal);
          if (place === 'there' || (await this.#endAhead(descriptor, place, signal))) {
            return;
          }
          // Not while we hold one of the client's turns: fetching takes one as well.
          await prepare?.(descriptor);
          await limiter.run(() => this.#pushBlob(descriptor, open, place, signal), signal);
        },
        this.#options.signal,
      );
      await this.#pushManifests(image);
    }
    for (const tag of missingTags) {
      await this.#putManifest(image, tag);
    }
  }

  async sendAhead(open: () => HttpBody, signal: AbortSignal): Promise<URL> {
    const { session } = this.#settings;
    const doing = `push a layer to ${session.host}/${session.repository}`;
    const upload = await this.#startUpload(doing, signal);
    try {
      const response = await session.send({
        method: 'PATCH',
        target: upload,
        headers: { 'content-type': 'application/octet-stream' },
        body: { open },
        scopes: this.#scopes,
        accept: [202, 204],
        doing,
        signal,
        attempts: 1,
      });
      await discardBody(response);
      return await this.#location(response);
    } catch (error) {
      await this.cancelUpload(upload);
      throw error;
    }
  }

  /**
   * Ends the upload into which a blob was sent ahead.
   *
   * @param unused - A session that was opened for the blob.
   * @returns False: the blob is to be sent.
   */
  async #endAhead(descriptor: Descriptor, unused: URL | undefined, signal: AbortSignal): Promise<boolean> {
    const upload = await this.#options.ahead?.(descriptor.digest);
    if (upload === undefined) {
      return false;
    }
    try {
      await this.#endUpload(upload, descriptor, { size: 0, open: () => Buffer.alloc(0) }, signal);
    } catch {
      signal.throwIfAborted();
      await this.cancelUpload(upload);
      return false;
    }
    if (unused !== undefined) {
      await this.cancelUpload(unused);
    }
    this.#report(descriptor, 'done', descriptor.size);
    return true;
  }

  /** Children before the index that names them: registries check that they are there. */
  async #pushManifests(image: PushImage, done = new Set<Digest>()): Promise<void> {
    const { digest } = image.manifestDescriptor;
    if (done.has(digest)) {
      return;
    }
    done.add(digest);
    for (const child of image.children ?? []) {
      await this.#pushManifests(child, done);
    }
    await this.#putManifest(image, digest);
  }

  async #hasManifest(tagOrDigest: string, digest: Digest): Promise<boolean> {
    const { session } = this.#settings;
    const response = await session.send({
      method: 'HEAD',
      target: `/v2/${session.repository}/manifests/${tagOrDigest}`,
      headers: {
        accept: [
          'application/vnd.oci.image.index.v1+json',
          'application/vnd.oci.image.manifest.v1+json',
          'application/vnd.docker.distribution.manifest.list.v2+json',
          'application/vnd.docker.distribution.manifest.v2+json',
        ].join(', '),
      },
      scopes: this.#scopes,
      accept: [200, 400, 403, 404, 405],
      doing: `push to ${session.host}/${session.repository}`,
      signal: this.#options.signal,
    });
    await discardBody(response);
    return response.status === 200 && header(response.headers, 'docker-content-digest') === digest;
  }

  async #putManifest(image: PushImage, tagOrDigest: string): Promise<void> {
    const { session, onWarning } = this.#settings;
    const { manifestBytes, manifestDescriptor } = image;
    if (manifestBytes.byteLength > LARGE_MANIFEST_BYTES) {
      onWarning(
        `the manifest has ${manifestBytes.byteLength} bytes; many registries refuse more than ${LARGE_MANIFEST_BYTES}`,
      );
    }
    const response = await session.send({
      method: 'PUT',
      target: `/v2/${session.repository}/manifests/${tagOrDigest}`,
      headers: { 'content-type': manifestDescriptor.mediaType },
      body: { size: manifestBytes.byteLength, open: () => manifestBytes },
      scopes: this.#scopes,
      accept: [201, 200, 202],
      doing: `push the manifest to ${session.host}/${session.repository}${tagOrDigest.includes(':') ? '@' : ':'}${tagOrDigest}`,
      signal: this.#options.signal,
    });
    await discardBody(response);
    this.#checkDigest(response, manifestDescriptor.digest);
  }

  /** @returns 'there', the location of a session that a refused mount opened, or undefined for neither */
  async #findBlob(descriptor: Descriptor, signal: AbortSignal): Promise<URL | 'there' | undefined> {
    this.#report(descriptor, 'waiting', 0);
    if (this.#options.present?.has(descriptor.digest) === true || (await this.#hasBlob(descriptor, signal))) {
      this.#report(descriptor, 'exists', descriptor.size);
      return 'there';
    }
    const location = await this.#mount(descriptor, signal);
    if (location === 'mounted') {
      this.#report(descriptor, 'mounted', descriptor.size);
      return 'there';
    }
    return location;
  }

  async #pushBlob(
    descriptor: Descriptor,
    open: BlobOpener,
    opened: URL | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { attempts, backoffBaseMs } = this.#settings;
    let location = opened;
    for (let attempt = 1; ; attempt += 1) {
      try {
        const { session } = this.#settings;
        const doing = `push ${descriptor.digest} to ${session.host}/${session.repository}`;
        location ??= await this.#startUpload(doing, signal);
        await this.#upload(location, descriptor, open, signal);
        this.#report(descriptor, 'done', descriptor.size);
        return;
      } catch (error) {
        signal.throwIfAborted();
        const again = error instanceof RemoteError && isWorthAnotherSession(error);
        if (location !== undefined) {
          await this.cancelUpload(location);
        }
        if (!again || attempt >= attempts) {
          throw error;
        }
        // Never from byte 0 in the old session: some registries keep what they got.
        location = undefined;
        await delay(backoffMs(attempt, Math.random(), backoffBaseMs), signal);
        // The whole body may have arrived, and only the answer was lost.
        if (await this.#hasBlob(descriptor, signal)) {
          this.#report(descriptor, 'done', descriptor.size);
          return;
        }
        this.#report(descriptor, 'transfer', 0);
      }
    }
  }

  async #hasBlob(descriptor: Descriptor, signal: AbortSignal): Promise<boolean> {
    const { session } = this.#settings;
    const response = await session.send({
      method: 'HEAD',
      target: `/v2/${session.repository}/blobs/${descriptor.digest}`,
      scopes: this.#scopes,
      // Where looking is forbidden, writing may still be allowed.
      accept: [200, 400, 403, 404, 405],
      doing: `push to ${session.host}/${session.repository}`,
      signal,
    });
    await discardBody(response);
    return response.status === 200;
  }

  /** @returns 'mounted', the location of a session that a refused mount opened, or undefined for neither */
  async #mount(descriptor: Descriptor, signal: AbortSignal): Promise<URL | 'mounted' | undefined> {
    const { session } = this.#settings;
    const candidates = (this.#options.mountFrom ?? []).filter((from) => from !== session.repository);
    for (const from of candidates) {
      const query = new URLSearchParams({ mount: descriptor.digest, from });
      let response: HttpResponse;
      try {
        response = await session.send({
          method: 'POST',
          target: `/v2/${session.repository}/blobs/uploads/?${query}`,
          body: { size: 0, open: () => Buffer.alloc(0) },
          scopes: [...this.#scopes, pullScope(from)],
          accept: [201, 202, 400, 401, 403, 404, 405],
          doing: `mount a blob of ${from} in ${session.host}/${session.repository}`,
          signal,
        });
      } catch (error) {
        signal.throwIfAborted();
        // A token server may refuse the source's scope. The upload says whether it is more than that.
        if (error instanceof RemoteError && error.code === 'E_AUTH') {
          continue;
        }
        throw error;
      }
      await discardBody(response);
      if (response.status === 201) {
        this.#checkDigest(response, descriptor.digest);
        return 'mounted';
      }
      if (response.status === 202) {
        // Refused, but the session is open: another POST would leave it behind.
        return this.#location(response);
      }
    }
    return undefined;
  }

  async #startUpload(doing: string, signal: AbortSignal): Promise<URL> {
    const { session } = this.#settings;
    const response = await session.send({
      method: 'POST',
      target: `/v2/${session.repository}/blobs/uploads/`,
      body: { size: 0, open: () => Buffer.alloc(0) },
      scopes: this.#scopes,
      accept: [202],
      doing,
      signal,
    });
    await discardBody(response);
    return this.#location(response);
  }

  async #upload(location: URL, descriptor: Descriptor, open: BlobOpener, signal: AbortSignal): Promise<void> {
    const body = {
      size: descriptor.size,
      open: async () => this.#counted(descriptor, await open(descriptor), signal),
    };
    await this.#endUpload(location, descriptor, body, signal);
  }

  /** With the last bytes of the blob, or all of them. */
  async #endUpload(
    location: URL,
    descriptor: Descriptor,
    body: RequestBody,
    signal: AbortSignal,
  ): Promise<void> {
    const { session } = this.#settings;
    const target = new URL(location);
    // The query is the session's state: digest goes beside it.
    target.searchParams.set('digest', descriptor.digest);
    const response = await session.send({
      method: 'PUT',
      target,
      headers: { 'content-type': 'application/octet-stream' },
      body,
      scopes: this.#scopes,
      accept: [201, 204],
      doing: `push ${descriptor.digest} to ${session.host}/${session.repository}`,
      signal,
      // Repetition needs a new session, which is the caller's to open.
      attempts: 1,
    });
    await discardBody(response);
    this.#checkDigest(response, descriptor.digest);
  }

  /** The body, telling progress as it is taken. */
  #counted(descriptor: Descriptor, content: string | Buffer | Readable, signal: AbortSignal): HttpBody {
    this.#report(descriptor, 'transfer', 0);
    if (Buffer.isBuffer(content)) {
      return content;
    }
    return this.#counting(descriptor, typeof content === 'string' ? piecesOf(content, signal) : content);
  }

  async *#counting(descriptor: Descriptor, pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    let done = 0;
    for await (const piece of pieces) {
      yield piece;
      done += piece.length;
      this.#report(descriptor, 'transfer', Math.min(done, descriptor.size));
    }
  }

  async cancelUpload(location: URL): Promise<void> {
    try {
      const response = await this.#settings.session.send({
        method: 'DELETE',
        target: location,
        scopes: this.#scopes,
        accept: [200, 202, 204, 400, 401, 403, 404, 405, 500, 503],
        doing: 'cancel an upload',
        signal: AbortSignal.timeout(CANCEL_TIMEOUT_MS),
        attempts: 1,
      });
      response.body.destroy();
    } catch {
      // The registry forgets the session by itself.
    }
  }

  async #location(response: HttpResponse): Promise<URL> {
    const { session } = this.#settings;
    const location = header(response.headers, 'location');
    if (location === undefined) {
      throw new RemoteError(`${session.host} opened an upload and does not say where`, {
        code: 'E_REGISTRY',
        url: redactUrl(response.url),
        status: response.status,
        method: response.method,
      });
    }
    return session.follow(response, location, 'the place of an upload');
  }

  #checkDigest(response: HttpResponse, digest: Digest): void {
    const stored = header(response.headers, 'docker-content-digest');
    if (stored !== undefined && stored !== digest) {
      throw new IntegrityError(
        `${this.#settings.session.host} stored ${redactText(stored, 100)} instead of ${digest}`,
        {
          code: 'E_DIGEST_MISMATCH',
          expected: digest,
          actual: redactText(stored, 100),
          source: redactUrl(response.url),
        },
      );
    }
  }

  #report(descriptor: Descriptor, state: TransferProgress['state'], doneBytes: number): void {
    this.#options.onProgress?.({ digest: descriptor.digest, doneBytes, totalBytes: descriptor.size, state });
  }

  #reportAll(image: PushImage): void {
    for (const { descriptor } of uniqueBlobs(image, this.#options.foreignLayers ?? false)) {
      this.#report(descriptor, 'exists', descriptor.size);
    }
  }
}

/** Blobs that several images share are pushed once. */
function uniqueBlobs(image: PushImage, foreignLayers: boolean) {
  const found = new Map<
    Digest,
    {
      readonly descriptor: Descriptor;
      readonly open: BlobOpener;
      readonly prepare: PushImage['prepare'];
    }
  >();
  const collect = (at: PushImage) => {
    for (const descriptor of at.blobs) {
      if ((foreignLayers || !isForeignLayer(descriptor.mediaType)) && !found.has(descriptor.digest)) {
        found.set(descriptor.digest, { descriptor, open: at.open, prepare: at.prepare });
      }
    }
    for (const child of at.children ?? []) {
      collect(child);
    }
  };
  collect(image);
  return [...found.values()];
}

function isWorthAnotherSession(error: RemoteError): boolean {
  return (
    error.retryable ||
    error.status === 404 ||
    error.status === 416 ||
    error.ociCodes.some((code) => UPLOAD_RETRY_CODES.has(code))
  );
}
