/**
 * Files of web servers, in the blob store. Before the graph is made, {@link HttpFiles.resolve} finds out which bytes a URL
 * stands for, so that vertices are named by content; the bytes themselves are fetched at the latest when a step reads them.
 */
import { redactUrl } from '../base/redact.ts';
import { SingleFlight } from '../base/single-flight.ts';
import type { BlobStore } from '../content/blob-store.ts';
import type { HttpFileRecord, SourceRecords } from '../content/source-records.ts';
import { DefinitionError, IntegrityError, InternalError, RemoteError } from '../errors.ts';
import { httpFileName, isHttpUrl, parseChecksum } from '../frontend/dockerfile/http-url.ts';
import type { SourceHttp } from '../graph/vertex.ts';
import { discardBody, type HttpClient, type HttpResponse, header } from '../http/http-client.ts';
import { withRetries } from '../http/retry.ts';
import type { Digest } from '../oci/digest.ts';
import type { HttpFileContents } from '../ops/op-context.ts';
import type { Emit } from '../solver/event.ts';
import { guardUrl } from '../transport/registry/url-guard.ts';
import { type AuthSecrets, httpAuthorization } from './source-auth.ts';

export interface HttpFilesOptions {
  readonly blobs: BlobStore;
  readonly records: SourceRecords;
  readonly offline: boolean;
  readonly environment: NodeJS.ProcessEnv;
  readonly secrets: AuthSecrets;
  /** @defaultValue {@link MAX_FILE_BYTES} */
  readonly maxBytes?: number;
}

export interface HttpFileRequest {
  /** As the user wrote it; may hold credentials. */
  readonly url: string;
  /** The value of `--checksum`. */
  readonly checksum?: string;
}

export interface HttpFile {
  /** For display: without credentials and query. */
  readonly url: string;
  readonly digest: Digest;
  readonly name: string;
  /** Seconds since the epoch, from Last-Modified; 0 when it is not known. */
  readonly mtimeSeconds: number;
}

export interface SourceContext {
  readonly signal: AbortSignal;
  readonly emit: Emit;
}

/** Larger than any file that belongs into an image; a server that sends more is broken or means harm. */
export const MAX_FILE_BYTES = 256 * 1024 ** 3;
/** Browsers follow twenty; more than this is a loop. */
const MAX_REDIRECTS = 10;
const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];
const NOT_MODIFIED = 304;
/** Validators are kept and sent again; longer ones are an attack on the store. */
const MAX_VALIDATOR_LENGTH = 1024;

export class HttpFiles implements HttpFileContents {
  readonly #options: HttpFilesOptions;
  #client: Promise<HttpClient> | undefined;
  /** What this build found out already: a file that is named twice is one file. */
  readonly #resolved = new Map<string, HttpFile>();
  readonly #resolving = new SingleFlight<string, HttpFile>();
  readonly #fetching = new SingleFlight<Digest, void>();
  /** Where bytes that are not in the store come from. */
  readonly #sources = new Map<Digest, URL>();

  constructor(options: HttpFilesOptions) {
    this.#options = options;
  }

  /**
   * Finds out which bytes a URL stands for. Asks the server whether the file changed since it was last fetched, and fetches
   * it if so; nobody is asked when a checksum is given.
   *
   * @throws {DefinitionError} `E_URL`, `E_CHECKSUM`, `E_SECRET_VALUE`.
   * @throws {RemoteError} `E_FETCH`, `E_NETWORK`, `E_REFUSED_URL`, `E_OFFLINE`. @throws {IntegrityError} `E_SIZE_MISMATCH`.
   */
  async resolve({ url: text, checksum }: HttpFileRequest, context: SourceContext): Promise<HttpFile> {
    const url = parseUrl(text);
    if (checksum !== undefined) {
      const digest = parseChecksum(checksum);
      const known = this.#options.records.httpFile(keyOf(url));
      this.#sources.set(digest, url);
      return describe(url, digest, known?.digest === digest ? known.mtimeSeconds : 0);
    }
    const known = this.#resolved.get(url.href);
    if (known !== undefined) {
      return known;
    }
    const file = await this.#resolving.run(url.href, context.signal, () => this.#ask(url, context));
    this.#resolved.set(url.href, file);
    this.#sources.set(file.digest, url);
    return file;
  }

  /**
   * The bytes of a file that was resolved, fetched if they are not in the store.
   *
   * @throws {IntegrityError} `E_DIGEST_MISMATCH` when the server has other bytes. @throws as {@link resolve}.
   */
  async contents(
    { digest, mtimeSeconds }: Pick<SourceHttp, 'digest' | 'mtimeSeconds'>,
    context: SourceContext,
  ): Promise<{ readonly path: string; readonly mtimeSeconds: number }> {
    const { blobs, records } = this.#options;
    const url = this.#sources.get(digest);
    if (!(await blobs.has(digest))) {
      if (url === undefined) {
        throw new InternalError(`the graph names a web file that nobody resolved: ${digest}`);
      }
      this.#forbidOffline(url);
      await this.#fetching.run(digest, context.signal, async () => {
        await this.#fetch(url, undefined, digest, context);
      });
    }
    const record = url === undefined ? undefined : records.httpFile(keyOf(url));
    return {
      path: blobs.path(digest),
      mtimeSeconds: record?.digest === digest ? record.mtimeSeconds : mtimeSeconds,
    };
  }

  async close(): Promise<void> {
    await (await this.#client)?.close();
  }

  async #ask(url: URL, context: SourceContext): Promise<HttpFile> {
    const record = this.#options.records.httpFile(keyOf(url));
    if (record !== undefined && this.#options.offline) {
      return describe(url, record.digest, record.mtimeSeconds);
    }
    this.#forbidOffline(url);
    const { digest, mtimeSeconds } = await this.#fetch(url, record, undefined, context);
    return describe(url, digest, mtimeSeconds);
  }

  #forbidOffline(url: URL): void {
    if (this.#options.offline) {
      throw new RemoteError(`${redactUrl(url)} has to be fetched, and the network is forbidden`, {
        code: 'E_OFFLINE',
        url: redactUrl(url),
        hint: 'build once without --offline',
      });
    }
  }

  /** The file as it is now: `record` when it did not change, otherwise its bytes are put into the store. */
  async #fetch(
    url: URL,
    record: HttpFileRecord | undefined,
    expected: Digest | undefined,
    context: SourceContext,
  ): Promise<HttpFileRecord> {
    return await withRetries(context.signal, async () => {
      const response = await this.#send(url, record, context.signal);
      const { etag, lastModified } = validators(response);
      if (record !== undefined) {
        // Some servers give tags and do not compare them.
        const same = response.status === 200 && etag !== undefined && etag === record.etag;
        if (response.status === NOT_MODIFIED || same) {
          response.body.destroy();
          const now = { ...record, ...(etag === undefined ? {} : { etag }) };
          this.#options.records.putHttpFile(keyOf(url), now);
          return now;
        }
      }
      if (response.status < 200 || response.status > 299 || response.status === 206) {
        await discardBody(response);
        throw refused(url, response);
      }
      const digest = await this.#store(url, response, expected, context);
      const fetched: HttpFileRecord = {
        ...(etag === undefined ? {} : { etag }),
        ...(lastModified === undefined ? {} : { lastModified }),
        digest,
        mtimeSeconds: secondsOf(lastModified),
      };
      this.#options.records.putHttpFile(keyOf(url), fetched);
      return fetched;
    });
  }

  /** Sends the request and follows redirects. Authorization goes to the server that the user named, and no further. */
  async #send(url: URL, record: HttpFileRecord | undefined, signal: AbortSignal): Promise<HttpResponse> {
    const client = await this.#connect();
    const authorization = await httpAuthorization(url, this.#options.secrets);
    const conditions = {
      ...(record?.etag === undefined ? {} : { 'if-none-match': record.etag }),
      ...(record?.lastModified === undefined ? {} : { 'if-modified-since': record.lastModified }),
    };
    let at = new URL(url);
    at.username = '';
    at.password = '';
    const asked = at;
    let trusted = true;
    for (let hops = 0; hops <= MAX_REDIRECTS; hops += 1) {
      trusted &&= at.origin === asked.origin;
      const response = await client.send({
        method: 'GET',
        url: at,
        headers: {
          ...conditions,
          ...(trusted && authorization !== undefined ? { authorization } : {}),
        },
        signal,
      });
      const location = header(response.headers, 'location');
      if (!REDIRECTS.includes(response.status) || location === undefined) {
        return response;
      }
      await discardBody(response);
      at = guardUrl(location, at, asked, 'a redirect');
    }
    throw new RemoteError(`${redactUrl(asked)} leads through more than ${MAX_REDIRECTS} redirects`, {
      code: 'E_FETCH',
      url: redactUrl(asked),
    });
  }

  async #store(
    url: URL,
    response: HttpResponse,
    expected: Digest | undefined,
    { emit }: SourceContext,
  ): Promise<Digest> {
    const { blobs, maxBytes = MAX_FILE_BYTES } = this.#options;
    const shown = redactUrl(url);
    const length = Number(header(response.headers, 'content-length') ?? Number.NaN);
    const report = (doneBytes: number, state: 'running' | 'done' | 'failed') =>
      emit({
        kind: 'progress',
        id: `download ${shown}`,
        activity: 'download',
        subject: httpFileName(url.href),
        doneBytes,
        ...(Number.isSafeInteger(length) ? { totalBytes: length } : {}),
        state,
      });
    const writer = await blobs.openWrite();
    try {
      for await (const chunk of bodyOf(response, shown)) {
        if (writer.offset + chunk.length > maxBytes) {
          throw new IntegrityError(`${shown} is larger than ${maxBytes} bytes`, {
            code: 'E_SIZE_MISMATCH',
            source: shown,
          });
        }
        await writer.write(chunk);
        report(writer.offset, 'running');
      }
      if (Number.isSafeInteger(length) && writer.offset !== length) {
        throw broken(shown, `it ended after ${writer.offset} of ${length} bytes`);
      }
      const actual = await writer.digest();
      // Only what should be there becomes a blob.
      if (expected !== undefined && actual !== expected) {
        throw new IntegrityError(`${shown} has the digest ${actual} instead of ${expected}`, {
          code: 'E_DIGEST_MISMATCH',
          expected,
          actual,
          source: shown,
          hint: 'the file changed; if that is right, change its checksum or build again',
        });
      }
      const { digest } = await writer.commit();
      report(writer.offset, 'done');
      return digest;
    } catch (error) {
      await writer.abort();
      report(writer.offset, 'failed');
      throw error;
    } finally {
      response.body.destroy();
    }
  }

  #connect(): Promise<HttpClient> {
    this.#client ??= import('../http/http-client.ts').then(
      ({ HttpClient }) => new HttpClient({ environment: this.#options.environment }),
    );
    return this.#client;
  }
}

function parseUrl(text: string): URL {
  if (!isHttpUrl(text) || !URL.canParse(text)) {
    throw new DefinitionError(`'${redactUrl(text)}' is not the URL of a web file`, { code: 'E_URL' });
  }
  const url = new URL(text);
  url.hash = '';
  return url;
}

/** What the record is found by: who asks does not matter. */
function keyOf(url: URL): string {
  const key = new URL(url);
  key.username = '';
  key.password = '';
  return key.href;
}

function describe(url: URL, digest: Digest, mtimeSeconds: number): HttpFile {
  return Object.freeze({ url: redactUrl(url), digest, name: httpFileName(url.href), mtimeSeconds });
}

function validators({ headers }: HttpResponse): {
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
} {
  const bounded = (name: string) => {
    const value = header(headers, name);
    return value === undefined || value === '' || value.length > MAX_VALIDATOR_LENGTH ? undefined : value;
  };
  return { etag: bounded('etag'), lastModified: bounded('last-modified') };
}

function secondsOf(lastModified: string | undefined): number {
  const ms = lastModified === undefined ? Number.NaN : Date.parse(lastModified);
  return Number.isNaN(ms) || ms < 0 ? 0 : Math.floor(ms / 1000);
}

async function* bodyOf(response: HttpResponse, shown: string): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of response.body) {
      yield chunk as Buffer;
    }
  } catch (cause) {
    throw broken(shown, (cause as Error).message, cause);
  }
}

function broken(shown: string, reason: string, cause?: unknown): RemoteError {
  return new RemoteError(`cannot fetch ${shown}: ${reason}`, {
    code: 'E_NETWORK',
    method: 'GET',
    url: shown,
    retryable: true,
    cause,
  });
}

function refused(url: URL, { status }: HttpResponse): RemoteError {
  const shown = redactUrl(url);
  return new RemoteError(`cannot fetch ${shown}: ${url.host} answered ${status}`, {
    code: 'E_FETCH',
    method: 'GET',
    url: shown,
    status,
    retryable: status >= 500 || status === 429 || status === 408,
    hint:
      status === 401 || status === 403
        ? `give the build a secret named HTTP_AUTH_TOKEN_${url.hostname} or HTTP_AUTH_HEADER_${url.hostname}`
        : undefined,
  });
}
