/** One HTTP exchange, without redirects, authentication or repetition: those are `session.ts`'s. */
import type { IncomingHttpHeaders } from 'node:http';
import { Readable } from 'node:stream';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { Dispatcher } from 'undici';
import { redactText, redactUrl } from '../base/redact.ts';
import { RemoteError } from '../errors.ts';
import { largeReads, ONE_PIECE } from './large-reads.ts';
import { proxyFor } from './proxy.ts';
import { speaksNoTls } from './speaks-tls.ts';
import { trustedCertificates } from './trust.ts';
import { loadUndici, type Undici } from './undici.ts';

export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** Of a generator each piece is sent before the next one is asked for. */
export type HttpBody = Buffer | Readable | AsyncGenerator<Buffer>;

export interface HttpRequest {
  readonly method: HttpMethod;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: HttpBody;
  readonly signal?: AbortSignal | undefined;
}

export interface HttpResponse {
  readonly method: HttpMethod;
  readonly url: URL;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Must be read to its end or destroyed. Rejects when the connection breaks or the signal is aborted. */
  readonly body: Readable;
}

export interface HttpClientOptions {
  readonly userAgent?: string | undefined;
  readonly environment?: NodeJS.ProcessEnv | undefined;
  /** To each server. @defaultValue 8: more is seldom faster, and gets clients throttled */
  readonly connections?: number | undefined;
  /** @defaultValue 30 s */
  readonly connectTimeoutMs?: number | undefined;
  /** Without a byte of the answer for so long, the connection counts as broken. @defaultValue 5 min */
  readonly idleTimeoutMs?: number | undefined;
}

const CONNECTIONS_PER_ORIGIN = 8;
/** Registries carry their state in upload URLs; a location of some kilobytes is real. */
const MAX_HEADER_BYTES = 64 * 1024;

/** The connection failed, or broke before the headers of an answer. `errno` is the code of the system or of undici. */
export class ConnectionError extends RemoteError {
  readonly errno: string;

  constructor(request: HttpRequest, cause: unknown) {
    const errno = errorCode(cause);
    const url = redactUrl(request.url);
    const certificate = isCertificateError(errno);
    super(`cannot ${request.method} ${url}: ${redactText((cause as Error).message || errno, 300)}`, {
      code: 'E_NETWORK',
      method: request.method,
      url,
      retryable: !certificate && errno !== 'ENOTFOUND',
      cause,
      hint: certificate
        ? "the server's certificate is not trusted; add its authority to the system's store"
        : undefined,
    });
    this.errno = errno;
  }
}

/** Pooled connections to any number of servers. undici is loaded by the first request. */
export class HttpClient {
  readonly #options: HttpClientOptions;
  readonly #dispatchers = new Map<string, Dispatcher>();
  #undici: Undici | undefined;
  #secureContext: SecureContext | undefined;

  constructor(options: HttpClientOptions = {}) {
    this.#options = options;
  }

  /** @throws {ConnectionError} @throws `signal.reason` */
  async send(request: HttpRequest): Promise<HttpResponse> {
    request.signal?.throwIfAborted();
    this.#undici ??= loadUndici();
    const dispatcher = this.#dispatcherFor(request.url, this.#undici);
    try {
      const { statusCode, headers, body } = await this.#undici.request.call(dispatcher, {
        origin: request.url.origin,
        path: `${request.url.pathname}${request.url.search}`,
        method: request.method,
        highWaterMark: ONE_PIECE,
        headers: {
          'user-agent': this.#options.userAgent ?? 'tsbuild',
          // A body that a proxy compressed has another digest.
          'accept-encoding': 'identity',
          ...request.headers,
        },
        // Its types do not know of generators, which it takes.
        ...(request.body === undefined ? {} : { body: request.body as Buffer | Readable }),
        ...(request.signal === undefined ? {} : { signal: request.signal }),
      });
      // Destroying a body before its end is an error to undici; readers get theirs from the iteration.
      body.on('error', () => {});
      return { method: request.method, url: request.url, status: statusCode, headers, body };
    } catch (cause) {
      request.signal?.throwIfAborted();
      throw new ConnectionError(request, cause);
    }
  }

  /** See {@link speaksNoTls}. Never where no greeting can tell, such as through a proxy. */
  speaksNoTls(url: URL, signal?: AbortSignal): Promise<boolean> {
    return speaksNoTls(url, { environment: this.#options.environment, signal });
  }

  /** Ends all connections, also those in use. */
  async close(): Promise<void> {
    const dispatchers = [...this.#dispatchers.values()];
    this.#dispatchers.clear();
    await Promise.allSettled(dispatchers.map((dispatcher) => dispatcher.destroy()));
  }

  #dispatcherFor(url: URL, undici: Undici): Dispatcher {
    const proxy = proxyFor(url, this.#options.environment);
    const key = `${url.protocol} ${proxy ?? ''}`;
    let dispatcher = this.#dispatchers.get(key);
    if (dispatcher === undefined) {
      const secure = url.protocol === 'https:' || proxy?.startsWith('https:') === true;
      dispatcher = this.#connect(secure, proxy, undici);
      this.#dispatchers.set(key, dispatcher);
    }
    return dispatcher;
  }

  #connect(
    secure: boolean,
    proxy: string | undefined,
    { Agent, proxyAgent, buildConnector }: Undici,
  ): Dispatcher {
    const timeout = this.#options.connectTimeoutMs ?? 30_000;
    const idle = this.#options.idleTimeoutMs ?? 300_000;
    // One context for all connections: reading some hundred certificates for each of them takes longer than the handshake.
    if (secure) {
      this.#secureContext ??= createSecureContext({ ca: trustedCertificates(this.#options.environment) });
    }
    const tls = {
      timeout,
      ...(this.#secureContext === undefined ? {} : { secureContext: this.#secureContext }),
    };
    const common = {
      connections: this.#options.connections ?? CONNECTIONS_PER_ORIGIN,
      headersTimeout: idle,
      bodyTimeout: idle,
      maxHeaderSize: MAX_HEADER_BYTES,
    };
    return proxy === undefined
      ? new Agent({ ...common, connect: largeReads(buildConnector, tls) })
      : new (proxyAgent())({ ...common, uri: proxy, connect: tls, requestTls: tls, proxyTls: tls });
  }
}

/** Lets go of what a body is read from, however much of it was sent. */
export function endBody(body: HttpBody | undefined): void {
  if (body instanceof Readable) {
    body.destroy();
  } else if (body !== undefined && !Buffer.isBuffer(body)) {
    body.return(undefined).catch(() => undefined);
  }
}

/** Throws the rest of an answer away; a large rest costs its connection rather than the time to read it. */
export async function discardBody(response: HttpResponse): Promise<void> {
  const maxBytes = 64 * 1024;
  let size = 0;
  try {
    for await (const chunk of response.body) {
      size += (chunk as Buffer).length;
      if (size > maxBytes) {
        break;
      }
    }
  } catch {
    // Nobody wanted these bytes.
  } finally {
    response.body.destroy();
  }
}

/**
 * Hands on each piece of a body as it came, one after the other. Iterating over a stream makes one piece of all that wait, which copies them.
 *
 * @param take - Ends the body, before its end, with `false`.
 * @throws what `take` throws, or why the body broke; `take` is done then.
 */
export async function forEachPiece(body: Readable, take: (piece: Buffer) => Promise<unknown>): Promise<void> {
  let taking: Promise<unknown> = Promise.resolve();
  try {
    await new Promise<void>((resolve, reject) => {
      body.on('data', (piece: Buffer) => {
        body.pause();
        taking = take(piece);
        taking.then((more) => {
          if (more === false) {
            resolve();
            body.destroy();
          } else {
            body.resume();
          }
        }, reject);
      });
      body.once('end', resolve);
      body.once('error', reject);
      body.once('close', () => reject(new Error('the body was closed')));
    });
  } finally {
    // A stream that is paused ends all the same once it is empty.
    await taking;
  }
}

/** At most `maxBytes` of an answer; `truncated` when there was more. */
export async function readBody(
  response: HttpResponse,
  maxBytes: number,
): Promise<{ readonly bytes: Buffer; readonly truncated: boolean }> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response.body) {
      chunks.push(chunk as Buffer);
      size += (chunk as Buffer).length;
      if (size > maxBytes) {
        break;
      }
    }
  } finally {
    response.body.destroy();
  }
  return { bytes: Buffer.concat(chunks).subarray(0, maxBytes), truncated: size > maxBytes };
}

/** The last value of a header that should come once. */
export function header(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.at(-1) : value;
}

/** All values of a header. */
export function headerList(headers: IncomingHttpHeaders, name: string): readonly string[] {
  const value = headers[name];
  return value === undefined ? [] : Array.isArray(value) ? value : [value];
}

export function errorCode(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as NodeJS.ErrnoException;
    if (typeof code === 'string') {
      return code;
    }
    if (at instanceof AggregateError && at.errors.length > 0) {
      return errorCode(at.errors[0]);
    }
  }
  return 'UNKNOWN';
}

function isCertificateError(errno: string): boolean {
  return (
    /CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY|DECRYPT)|ERR_TLS_/.test(errno) &&
    errno !== 'ERR_TLS_HANDSHAKE_TIMEOUT'
  );
}
