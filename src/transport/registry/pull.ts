/** Manifests and blobs from a registry, by way of its mirrors. */

import { delay } from '../../base/abort.ts';
import { redactUrl } from '../../base/redact.ts';
import { backoffMs, triesOf } from '../../base/retry.ts';
import type { BlobStore } from '../../content/blob-store.ts';
import type { BlobWriter } from '../../content/blob-writer.ts';
import { HostError, IntegrityError, RemoteError } from '../../errors.ts';
import { discardBody, forEachPiece, type HttpResponse, header, readBody } from '../../http/http-client.ts';
import { giveBack } from '../../http/large-reads.ts';
import { describe } from '../../image/manifest.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { type Digest, isDigest } from '../../oci/digest.ts';
import { MAX_DOCUMENT_BYTES } from '../../oci/json-document.ts';
import { parseManifestDocument } from '../../oci/manifest.ts';
import { isForeignLayer, MANIFEST_ACCEPT } from '../../oci/media-type.ts';
import { BlobRanges, type RangeLimits } from './ranges.ts';
import { registryError } from './registry-error.ts';
import type { RegistrySession } from './session.ts';

export interface TransferProgress {
  readonly digest: Digest;
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly state: 'waiting' | 'exists' | 'mounted' | 'transfer' | 'done';
}

export interface TransferOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told the file that a blob's bytes are put into, in order, and `undefined` when what is in it was thrown away. */
  readonly onFile?: ((path: string | undefined) => void) | undefined;
  readonly onProgress?: ((event: TransferProgress) => void) | undefined;
}

/** One place that an image can be pulled from. */
export interface PullSource {
  readonly session: RegistrySession;
  /** `?ns=docker.io`, for a mirror that is asked under another name than the registry's; or empty. */
  readonly query: string;
}

export interface PullSettings {
  readonly backoffBaseMs: number;
  readonly ranges: RangeLimits;
}

export interface FetchedDocument {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

const MAX_TRIES = 5;

/** The descriptor that a tag or digest has now, by HEAD; undefined when the answer does not say all of it. */
export async function headManifest(
  source: PullSource,
  tagOrDigest: string,
  options: { readonly signal?: AbortSignal | undefined; readonly attempts?: number },
): Promise<Descriptor | undefined> {
  const { session } = source;
  const response = await session.send({
    method: 'HEAD',
    target: `/v2/${session.repository}/manifests/${tagOrDigest}${source.query}`,
    headers: { accept: MANIFEST_ACCEPT },
    scopes: [pullScope(session.repository)],
    // The body of a GET says why; a HEAD has none.
    accept: [200, 400, 401, 403, 404, 405, 406],
    doing: `look up ${session.host}/${session.repository}:${tagOrDigest}`,
    ...options,
  });
  await discardBody(response);
  const digest = header(response.headers, 'docker-content-digest');
  const size = Number(header(response.headers, 'content-length') ?? Number.NaN);
  const mediaType = contentType(response);
  if (
    response.status !== 200 ||
    digest === undefined ||
    !isDigest(digest) ||
    !Number.isSafeInteger(size) ||
    mediaType === ''
  ) {
    return undefined;
  }
  return { mediaType, digest, size };
}

/**
 * Fetches a manifest or index. By digest, its bytes must have that digest; by tag, the digest that the server names.
 *
 * @throws {IntegrityError} `E_DIGEST_MISMATCH`, `E_BAD_MANIFEST`
 * @throws {RemoteError}
 */
export async function getManifest(
  source: PullSource,
  tagOrDigest: string,
  options: { readonly signal?: AbortSignal | undefined; readonly attempts?: number },
): Promise<FetchedDocument> {
  const { session } = source;
  const doing = `pull ${session.host}/${session.repository}${isDigest(tagOrDigest) ? '@' : ':'}${tagOrDigest}`;
  const response = await session.send({
    method: 'GET',
    target: `/v2/${session.repository}/manifests/${tagOrDigest}${source.query}`,
    headers: { accept: MANIFEST_ACCEPT },
    scopes: [pullScope(session.repository)],
    accept: [200],
    doing,
    ...options,
  });
  refuseEncoding(response, doing);
  const { bytes, truncated } = await readBounded(response, MAX_DOCUMENT_BYTES, options.signal);
  if (truncated) {
    throw new IntegrityError(`cannot ${doing}: the manifest is larger than ${MAX_DOCUMENT_BYTES} bytes`, {
      code: 'E_BAD_MANIFEST',
      source: redactUrl(response.url),
    });
  }
  const named = header(response.headers, 'docker-content-digest');
  const expected = isDigest(tagOrDigest) ? tagOrDigest : named;
  const mediaType = contentType(response);
  const { digest } = describe(bytes, mediaType);
  if (expected !== undefined && expected !== digest) {
    throw new IntegrityError(
      `cannot ${doing}: the manifest has the digest ${digest} instead of ${expected.slice(0, 100)}`,
      {
        code: 'E_DIGEST_MISMATCH',
        expected: expected.slice(0, 100),
        actual: digest,
        source: redactUrl(response.url),
      },
    );
  }
  const document = parseManifestDocument(bytes, mediaType);
  const type = document.kind === 'index' ? document.index.mediaType : document.manifest.mediaType;
  return { descriptor: { mediaType: type, digest, size: bytes.byteLength }, bytes };
}

/** A blob of a few megabytes at most, such as a config, digest checked. */
export async function getSmallBlob(
  source: PullSource,
  descriptor: Descriptor,
  options: { readonly signal?: AbortSignal | undefined; readonly attempts?: number },
): Promise<Buffer> {
  const { session } = source;
  const doing = `pull ${session.host}/${session.repository}@${descriptor.digest}`;
  if (descriptor.size > MAX_DOCUMENT_BYTES) {
    throw new IntegrityError(`cannot ${doing}: a config of ${descriptor.size} bytes`, {
      code: 'E_BAD_MANIFEST',
    });
  }
  for (let attempt = 1; ; attempt += 1) {
    try {
      const response = await session.send({
        method: 'GET',
        target: `/v2/${session.repository}/blobs/${descriptor.digest}${source.query}`,
        scopes: [pullScope(session.repository)],
        accept: [200],
        doing,
        ...options,
      });
      refuseEncoding(response, doing);
      const { bytes, truncated } = await readBounded(response, descriptor.size, options.signal);
      const { digest } = describe(bytes, descriptor.mediaType);
      if (truncated || digest !== descriptor.digest) {
        throw new IntegrityError(`cannot ${doing}: the bytes have another digest`, {
          code: 'E_DIGEST_MISMATCH',
          expected: descriptor.digest,
          actual: truncated ? `more than ${descriptor.size} bytes` : digest,
          source: redactUrl(response.url),
        });
      }
      return bytes;
    } catch (error) {
      options.signal?.throwIfAborted();
      if (attempt >= (options.attempts ?? 2) || !(error instanceof RemoteError && error.retryable)) {
        throw error;
      }
    }
  }
}

/**
 * Brings one blob into the store, going on where an earlier try ended, also one of another process. Sources are tried
 * in order; what one of them sent is used by the next.
 *
 * @throws {RemoteError} @throws {IntegrityError} `E_DIGEST_MISMATCH`, `E_SIZE_MISMATCH` — of the last source
 */
export async function fetchBlob(
  sources: readonly PullSource[],
  descriptor: Descriptor,
  store: BlobStore,
  settings: PullSettings,
  options: TransferOptions,
): Promise<void> {
  const { digest, size } = descriptor;
  const report = (state: TransferProgress['state'], doneBytes: number) =>
    options.onProgress?.({ digest, doneBytes, totalBytes: size, state });
  if ((await store.stat(digest))?.size === size) {
    report('exists', size);
    return;
  }
  const writer = await store.openWrite({ expected: { digest, size } });
  const restart = async () => {
    options.onFile?.(undefined);
    await writer.restart();
  };
  let keep = true;
  try {
    options.onFile?.(writer.path);
    report('transfer', writer.offset);
    let lastError: unknown;
    for (const [index, source] of sources.entries()) {
      const last = index === sources.length - 1;
      try {
        await fetchFrom(
          source,
          descriptor,
          { writer, restart },
          last ? MAX_TRIES : 1,
          settings,
          options,
          report,
        );
        report('done', size);
        return;
      } catch (error) {
        options.signal?.throwIfAborted();
        // The disk is full for every source.
        if (error instanceof HostError) {
          throw error;
        }
        if (error instanceof IntegrityError) {
          await restart();
        }
        lastError = error;
      }
    }
    throw lastError;
  } catch (error) {
    keep = !(error instanceof IntegrityError);
    throw error;
  } finally {
    await writer.abort({ keep });
  }
}

interface BlobFile {
  readonly writer: BlobWriter;
  /** Throws away what was written, and says so. */
  restart(): Promise<void>;
}

async function fetchFrom(
  source: PullSource,
  descriptor: Descriptor,
  file: BlobFile,
  maxTries: number,
  settings: PullSettings,
  options: TransferOptions,
  report: (state: TransferProgress['state'], doneBytes: number) => void,
): Promise<void> {
  const { writer, restart } = file;
  let tries = 0;
  let restarted = false;
  let several = false;
  for (;;) {
    const before = writer.offset;
    const resumed = before > 0;
    try {
      if (writer.offset < descriptor.size || descriptor.size === 0) {
        const added = await transfer(
          source,
          descriptor,
          file,
          { ranges: !several && !restarted, maxTries },
          settings,
          options,
          report,
        );
        several ||= added;
        if (writer.offset < descriptor.size) {
          continue;
        }
      }
      await writer.commit();
      return;
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof IntegrityError && (resumed || several) && !restarted) {
        // The bytes of an earlier try, or one of several ranges, may be the wrong ones.
        restarted = true;
        await restart();
        continue;
      }
      tries = triesOf(tries, writer.offset - before);
      if (!(error instanceof RemoteError && error.retryable) || tries >= maxTries) {
        throw error;
      }
      await delay(backoffMs(tries, Math.random(), settings.backoffBaseMs), options.signal);
    }
  }
}

/**
 * One request, and those that {@link BlobRanges} adds to it. Ends when the blob is complete, or when others were added and are no more; throws
 * a retryable error when the connection broke before.
 *
 * @returns Whether others were added.
 */
async function transfer(
  source: PullSource,
  descriptor: Descriptor,
  { writer, restart }: BlobFile,
  { ranges, maxTries }: { readonly ranges: boolean; readonly maxTries: number },
  settings: PullSettings,
  options: TransferOptions,
  report: (state: TransferProgress['state'], doneBytes: number) => void,
): Promise<boolean> {
  const { session } = source;
  const doing = `pull ${session.host}/${session.repository}@${descriptor.digest}`;
  const start = writer.offset;
  const response = await session.send({
    method: 'GET',
    target: await blobTarget(source, descriptor),
    headers: start > 0 ? { range: `bytes=${start}-` } : {},
    scopes: [pullScope(session.repository)],
    accept: [200, 206, 416],
    doing,
    signal: options.signal,
    attempts: maxTries,
  });
  let skip = 0;
  let blob: BlobRanges | undefined;
  try {
    refuseEncoding(response, doing);
    if (response.status === 416) {
      if (start > 0) {
        await restart();
      }
      const error = await registryError(response, doing);
      throw new RemoteError(error.message, {
        code: 'E_REGISTRY',
        status: 416,
        url: error.url,
        method: 'GET',
        retryable: start > 0,
      });
    }
    if (response.status === 206) {
      checkContentRange(response, start, undefined, descriptor.size, doing);
    } else {
      // The server does not know Range, or does not want it: what we have comes again.
      skip = start;
      checkContentLength(response, descriptor, doing);
    }
    const reading = new BlobRanges(settings.ranges, {
      size: descriptor.size,
      offset: start,
      ranges: ranges && skip === 0 && header(response.headers, 'accept-ranges') !== 'none',
      ask: askingForRanges(source, descriptor, response.url, doing),
      write: async (bytes) => {
        await writer.write(bytes);
        report('transfer', writer.offset);
      },
      maxTries,
      backoffBaseMs: settings.backoffBaseMs,
      signal: options.signal,
    });
    blob = reading;
    await forEachPiece(response.body, async (piece) => {
      options.signal?.throwIfAborted();
      const fresh = skip >= piece.length ? undefined : piece.subarray(skip);
      skip = Math.max(0, skip - piece.length);
      const more = fresh === undefined || (await reading.take(fresh));
      giveBack(piece);
      return more;
    });
    if (reading.several) {
      await reading.rest();
      return true;
    }
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof RemoteError || error instanceof IntegrityError || error instanceof HostError) {
      throw error;
    }
    throw cutOff(response, doing, writer.offset, descriptor.size, error);
  } finally {
    response.body.destroy();
    await blob?.end();
  }
  if (writer.offset < descriptor.size) {
    throw cutOff(response, doing, writer.offset, descriptor.size);
  }
  return false;
}

/** How a place says that it gives nothing any more: signed URLs expire. */
const GONE_STATUSES = [400, 401, 403, 404, 410];

/** Asks where the first answer came from, which spares the registry a redirect for each piece. */
function askingForRanges(
  source: PullSource,
  descriptor: Descriptor,
  firstPlace: URL,
  doing: string,
): (start: number, end: number, signal: AbortSignal) => Promise<HttpResponse> {
  const { session } = source;
  let place = firstPlace;
  return async (start, end, signal) => {
    const ask = (target: string | URL, accept: readonly number[]) =>
      session.send({
        method: 'GET',
        target,
        headers: { range: `bytes=${start}-${end - 1}` },
        scopes: [pullScope(session.repository)],
        accept,
        doing,
        signal,
        attempts: 1,
      });
    let response = await ask(place, [206, ...GONE_STATUSES]);
    if (response.status !== 206) {
      await discardBody(response);
      response = await ask(await blobTarget(source, descriptor), [206]);
      place = response.url;
    }
    try {
      refuseEncoding(response, doing);
      checkContentRange(response, start, end, descriptor.size, doing);
    } catch (error) {
      response.body.destroy();
      throw error;
    }
    return response;
  };
}

/** `urls` count for layers that registries do not keep, and for no others: a manifest could send us anywhere. */
async function blobTarget(source: PullSource, descriptor: Descriptor): Promise<string | URL> {
  const { session } = source;
  const [url] = descriptor.urls ?? [];
  if (url !== undefined && isForeignLayer(descriptor.mediaType)) {
    return session.guard(url, 'the place of a foreign layer');
  }
  return `/v2/${session.repository}/blobs/${descriptor.digest}${source.query}`;
}

/** @param end - `undefined` for what was asked to the end, of which a part is fine too. */
function checkContentRange(
  response: HttpResponse,
  start: number,
  end: number | undefined,
  size: number,
  doing: string,
): void {
  const value = header(response.headers, 'content-range') ?? '';
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/.exec(value.trim());
  const totalFits = match?.[3] === '*' || Number(match?.[3]) === size;
  const endFits = end === undefined ? Number(match?.[2]) < size : Number(match?.[2]) === end - 1;
  if (match === null || Number(match[1]) !== start || !endFits || !totalFits) {
    throw new RemoteError(
      `cannot ${doing}: asked for the bytes from ${start}${end === undefined ? '' : ` to ${end - 1}`} of ${size}, the server sent '${value.slice(0, 80)}'`,
      { code: 'E_REGISTRY', status: 206, method: 'GET', url: redactUrl(response.url) },
    );
  }
}

function checkContentLength(response: HttpResponse, descriptor: Descriptor, doing: string): void {
  const length = header(response.headers, 'content-length');
  if (length !== undefined && Number(length) !== descriptor.size) {
    throw new IntegrityError(
      `cannot ${doing}: the server has ${length.slice(0, 20)} bytes instead of ${descriptor.size}`,
      {
        code: 'E_SIZE_MISMATCH',
        expected: String(descriptor.size),
        actual: length.slice(0, 20),
        source: redactUrl(response.url),
      },
    );
  }
}

/** We asked for bytes as they are. A proxy that compresses them anyway changes what the digest is of. */
function refuseEncoding(response: HttpResponse, doing: string): void {
  const encoding = header(response.headers, 'content-encoding');
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    response.body.destroy();
    throw new RemoteError(
      `cannot ${doing}: the answer is encoded as '${encoding.slice(0, 40)}', which we did not ask for`,
      {
        code: 'E_REGISTRY',
        method: response.method,
        url: redactUrl(response.url),
        status: response.status,
        hint: 'a proxy on the way compresses answers; exclude the registry from it',
      },
    );
  }
}

async function readBounded(response: HttpResponse, maxBytes: number, signal: AbortSignal | undefined) {
  try {
    return await readBody(response, maxBytes);
  } catch (error) {
    signal?.throwIfAborted();
    throw cutOff(response, 'read the answer', 0, maxBytes, error);
  }
}

function cutOff(
  response: HttpResponse,
  doing: string,
  done: number,
  size: number,
  cause?: unknown,
): RemoteError {
  const url = redactUrl(response.url);
  return new RemoteError(`cannot ${doing}: the connection to ${url} broke at ${done} of ${size} bytes`, {
    code: 'E_NETWORK',
    method: response.method,
    url,
    status: response.status,
    retryable: true,
    cause,
  });
}

/** Without parameters such as a character set. */
function contentType(response: HttpResponse): string {
  return (header(response.headers, 'content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

export function pullScope(repository: string): string {
  return `repository:${repository}:pull`;
}
