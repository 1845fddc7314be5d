/**
 * Requests to one repository of one registry, as one account: scheme, authentication, redirects, repetition, errors.
 * An Authorization header goes to the origin that asked for it and to no other.
 */
import { delay, joinShared } from '../../base/abort.ts';
import { redactText, redactUrl } from '../../base/redact.ts';
import { backoffMs, parseRetryAfter } from '../../base/retry.ts';
import { RemoteError } from '../../errors.ts';
import {
  ConnectionError,
  discardBody,
  endBody,
  type HttpBody,
  type HttpClient,
  type HttpMethod,
  type HttpResponse,
  header,
  headerList,
} from '../../http/http-client.ts';
import { NOT_TLS } from '../../http/speaks-tls.ts';
import { apiHost, isLoopbackHost } from '../../oci/reference.ts';
import { Authenticator, type PlainSend, type Scopes } from './authenticator.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import type { CredentialSource } from './credentials.ts';
import { isRetryableStatus, registryError } from './registry-error.ts';
import { guardUrl } from './url-guard.ts';

/** Can be opened again for every repetition. */
export interface RequestBody {
  /** Absent where nobody knows yet: it is sent in chunks. */
  readonly size?: number;
  open(): HttpBody | Promise<HttpBody>;
}

export interface SessionRequest {
  readonly method: HttpMethod;
  /** A path below the registry's root, or a URL that {@link RegistrySession.follow} made. */
  readonly target: string | URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: RequestBody;
  readonly scopes: Scopes;
  /** Statuses that the caller deals with; all others become a RemoteError. */
  readonly accept: readonly number[];
  /** For messages: `cannot ${doing}: …`. */
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
  /** @defaultValue what the session was made with */
  readonly attempts?: number;
}

export interface SessionSettings {
  readonly http: HttpClient;
  readonly pings: PingCache;
  readonly credentials: CredentialSource;
  /** Tries of one request, the first included. */
  readonly attempts: number;
  readonly backoffBaseMs: number;
  readonly onWarning: (text: string) => void;
}

export interface Ping {
  /** The registry's root, with the scheme that it speaks. */
  readonly origin: URL;
  readonly challenges: readonly Challenge[];
}

/** What `/v2/` of each registry answered, by the candidates that were tried. */
export type PingCache = Map<string, Promise<Ping>>;

const MAX_REDIRECTS = 10;

export class RegistrySession {
  readonly #settings: SessionSettings;
  readonly #host: string;
  readonly #candidates: readonly URL[];
  readonly #repository: string;
  readonly #plainSend: PlainSend;
  readonly #strangers = new Map<string, Authenticator>();
  #ready: Promise<{ readonly origin: URL; readonly auth: Authenticator }> | undefined;

  /**
   * @param host - As the user names it; its credentials are used.
   * @param candidates - Roots to try in order; a later one only if the earlier does not speak TLS.
   */
  constructor(settings: SessionSettings, host: string, repository: string, candidates: readonly URL[]) {
    this.#settings = settings;
    this.#host = host;
    this.#repository = repository;
    this.#candidates = candidates;
    this.#plainSend = (request) =>
      this.#repeat(request.signal, this.#settings.attempts, () => this.#settings.http.send(request));
  }

  get repository(): string {
    return this.#repository;
  }

  /** For messages. */
  get host(): string {
    return this.#host;
  }

  /** @throws {RemoteError} @throws `signal.reason` */
  async send(request: SessionRequest): Promise<HttpResponse> {
    const { origin, auth } = await this.#connect(request);
    const attempts = request.attempts ?? this.#settings.attempts;
    return this.#repeat(
      request.signal,
      attempts,
      async (attempt) => {
        const response = await this.#exchange(request, origin, auth);
        if (request.accept.includes(response.status)) {
          return response;
        }
        throw this.#explain(await registryError(response, request.doing, attempt), response, auth);
      },
      request.accept,
    );
  }

  /** Finds out how the registry is reached, which every request waits for. */
  async greet(signal: AbortSignal | undefined): Promise<void> {
    await this.#connect({ signal });
  }

  /** Where an answer's `Location` or `Link` leads, if we may go there. */
  async follow(response: HttpResponse, location: string, what: string): Promise<URL> {
    const { origin } = await this.#connect({});
    return guardUrl(location, response.url, origin, what);
  }

  /** The same for a URL that a manifest holds. */
  async guard(url: string, what: string): Promise<URL> {
    const { origin } = await this.#connect({});
    return guardUrl(url, origin, origin, what);
  }

  #connect(request: {
    readonly signal?: AbortSignal | undefined;
  }): Promise<{ origin: URL; auth: Authenticator }> {
    return joinShared(() => {
      if (this.#ready === undefined) {
        const ready = this.#start(request.signal);
        this.#ready = ready;
        ready.catch(() => {
          this.#ready = undefined;
        });
      }
      return this.#ready;
    }, request.signal);
  }

  async #start(signal: AbortSignal | undefined): Promise<{ origin: URL; auth: Authenticator }> {
    const [ping, credentials] = await Promise.all([
      this.#ping(signal),
      this.#settings.credentials.lookup(this.#host, this.#repository, signal),
    ]);
    const auth = new Authenticator(ping.origin, credentials, this.#plainSend);
    if (ping.challenges.length > 0) {
      auth.learn(ping.challenges);
    }
    return { origin: ping.origin, auth };
  }

  #ping(signal: AbortSignal | undefined): Promise<Ping> {
    const key = this.#candidates.map((url) => url.origin).join(' ');
    return joinShared(() => {
      let ping = this.#settings.pings.get(key);
      if (ping === undefined) {
        ping = this.#pingCandidates(signal);
        this.#settings.pings.set(key, ping);
        ping.catch(() => this.#settings.pings.delete(key));
      }
      return ping;
    }, signal);
  }

  async #pingCandidates(signal: AbortSignal | undefined): Promise<Ping> {
    for (const [index, root] of this.#candidates.entries()) {
      const last = index === this.#candidates.length - 1;
      const url = new URL('/v2/', root);
      if (!last && (await this.#settings.http.speaksNoTls(root, signal))) {
        continue;
      }
      try {
        const response = await this.#repeat(signal, last ? this.#settings.attempts : 1, () =>
          this.#settings.http.send({ method: 'GET', url, headers: {}, signal }),
        );
        const challenges =
          response.status === 401 ? parseChallenges(headerList(response.headers, 'www-authenticate')) : [];
        if (response.status >= 500 || response.status === 429) {
          throw await registryError(response, `reach the registry ${this.#host}`, this.#settings.attempts);
        }
        await discardBody(response);
        if (response.status === 401 && challenges.length === 0) {
          throw new RemoteError(`cannot log in to ${this.#host}: it answers 401 and does not say how`, {
            code: 'E_AUTH',
            url: redactUrl(url),
            status: 401,
          });
        }
        return { origin: root, challenges };
      } catch (error) {
        if (last || !(error instanceof ConnectionError) || !saysNoTls(error, root)) {
          throw error;
        }
      }
    }
    throw new RemoteError(`no address for the registry ${this.#host}`, { code: 'E_NETWORK' });
  }

  /** One try: authentication and redirects, but no repetition because of trouble. */
  async #exchange(request: SessionRequest, origin: URL, auth: Authenticator): Promise<HttpResponse> {
    let url = typeof request.target === 'string' ? new URL(request.target, origin) : request.target;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
      const response = await this.#authenticated(request, url, origin, auth);
      const location = header(response.headers, 'location');
      if (!isRedirect(request.method, response.status) || location === undefined) {
        return response;
      }
      await discardBody(response);
      url = guardUrl(location, url, origin, 'the place of what we asked for');
    }
    throw new RemoteError(`cannot ${request.doing}: more than ${MAX_REDIRECTS} redirects`, {
      code: 'E_REGISTRY',
      method: request.method,
      url: redactUrl(url),
    });
  }

  async #authenticated(
    request: SessionRequest,
    url: URL,
    origin: URL,
    own: Authenticator,
  ): Promise<HttpResponse> {
    const home = url.origin === origin.origin;
    const auth = home ? own : this.#stranger(url);
    // A stranger is asked without a scope of ours unless it wants one.
    let scopes: Scopes = home ? request.scopes : [];
    let widened = false;
    let renewed = false;
    for (;;) {
      const authorization = await auth.authorization(scopes, request.signal);
      const body = await request.body?.open();
      let response: HttpResponse;
      try {
        response = await this.#settings.http.send({
          method: request.method,
          url,
          headers: {
            ...request.headers,
            ...(request.body?.size === undefined ? {} : { 'content-length': String(request.body.size) }),
            ...(authorization === undefined ? {} : { authorization }),
          },
          ...(body === undefined ? {} : { body }),
          signal: request.signal,
        });
      } finally {
        // Without this a file that was half sent stays open.
        endBody(body);
      }
      this.#showWarnings(response);
      if (response.status !== 401) {
        return response;
      }
      const challenges = parseChallenges(headerList(response.headers, 'www-authenticate'));
      const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
      const wanted = (bearer?.parameters.scope ?? '').split(' ').filter((scope) => scope !== '');
      const missing = wanted.filter((scope) => !scopes.includes(scope));
      if (challenges.length > 0 && missing.length > 0 && !widened) {
        // insufficient_scope, or a server that challenges only here.
        widened = true;
        scopes = [...missing, ...scopes];
      } else if (challenges.length > 0 && !renewed) {
        renewed = true;
        if (authorization?.startsWith('Basic ') || (authorization === undefined && !bearer)) {
          // The same password again would be refused again.
          const canAnswer = authorization === undefined && auth.hasCredentials;
          if (!canAnswer) {
            return response;
          }
        }
        auth.forget(scopes);
      } else {
        return response;
      }
      await discardBody(response);
      auth.learn(challenges);
    }
  }

  #stranger(url: URL): Authenticator {
    let auth = this.#strangers.get(url.origin);
    if (auth === undefined) {
      auth = new Authenticator(new URL(url.origin), undefined, this.#plainSend);
      this.#strangers.set(url.origin, auth);
    }
    return auth;
  }

  /** Repeats what may go better the next time: broken connections, and answers that say so. */
  async #repeat<T extends HttpResponse>(
    signal: AbortSignal | undefined,
    attempts: number,
    task: (attempt: number) => Promise<T>,
    accept: readonly number[] = [],
  ): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      let waitMs: number | undefined;
      try {
        const response = await task(attempt);
        if (attempt >= attempts || !isRetryableStatus(response.status) || accept.includes(response.status)) {
          return response;
        }
        waitMs = parseRetryAfter(header(response.headers, 'retry-after'), Date.now());
        await discardBody(response);
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof RemoteError) || !error.retryable || attempt >= attempts) {
          throw error;
        }
        waitMs = retryAfterOf(error);
      }
      await delay(waitMs ?? backoffMs(attempt, Math.random(), this.#settings.backoffBaseMs), signal);
    }
  }

  /** Adds what only the session knows: whether there were credentials. */
  #explain(error: RemoteError, response: HttpResponse, auth: Authenticator): RemoteError {
    retryAfters.set(error, parseRetryAfter(header(response.headers, 'retry-after'), Date.now()));
    if (error.code !== 'E_AUTH') {
      return error;
    }
    return new RemoteError(error.message, {
      code: 'E_AUTH',
      method: error.method,
      url: error.url,
      status: error.status,
      ociCodes: error.ociCodes,
      attempts: error.attempts,
      hint: auth.hasCredentials
        ? `the credentials for ${this.#host} are wrong, or do not give access to '${this.#repository}'; check the name too`
        : `log in with \`tsbuild login ${this.#host}\` if '${this.#repository}' is private; check the name too`,
    });
  }

  /** Source: distribution-spec v1.1, "Warnings". */
  #showWarnings(response: HttpResponse): void {
    for (const value of headerList(response.headers, 'warning')) {
      const text = /^299 - "((?:[^"\\]|\\.)*)"/.exec(value)?.[1];
      if (text !== undefined) {
        this.#settings.onWarning(`${this.#host} says: ${redactText(text, 500)}`);
      }
    }
  }
}

/** Roots to try for a host: https, and plain http only for this machine or where the user allowed it. */
export function rootsOf(host: string, insecureHosts: readonly string[]): readonly URL[] {
  const name = apiHost(host);
  const plain = isLoopbackHost(host) || insecureHosts.includes(host);
  return plain ? [new URL(`https://${name}/`), new URL(`http://${name}/`)] : [new URL(`https://${name}/`)];
}

/** How long the server of a failed request asked us to wait; kept beside the error, it is no fact for users. */
const retryAfters = new WeakMap<RemoteError, number | undefined>();

function retryAfterOf(error: RemoteError): number | undefined {
  return retryAfters.get(error);
}

/** 303 and friends change the method of a POST; what we send with a body may only move as it is. */
function isRedirect(method: HttpMethod, status: number): boolean {
  if (method === 'GET' || method === 'HEAD') {
    return [301, 302, 303, 307, 308].includes(status);
  }
  return status === 307 || status === 308;
}

/** Nobody listening at port 443 leaves port 80. */
function saysNoTls({ errno }: ConnectionError, root: URL): boolean {
  return errno === 'ECONNREFUSED' ? root.port === '' : NOT_TLS.includes(errno);
}
