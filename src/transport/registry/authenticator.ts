/**
 * Answers one server's challenges with one account's credentials. Never used for another origin than the one that
 * challenged: a redirect to elsewhere gets an authenticator of its own, without credentials.
 *
 * Source: distribution-spec v1.1 leaves this out; docker's "Token Authentication Specification" and RFC 6749.
 */
import { joinShared } from '../../base/abort.ts';
import { RemoteError } from '../../errors.ts';
import { discardBody, type HttpResponse, header, readBody } from '../../http/http-client.ts';
import { isObject } from '../../oci/json-document.ts';
import type { Challenge } from './challenge.ts';
import type { Credentials } from './credentials.ts';
import { registryError } from './registry-error.ts';
import { guardUrl } from './url-guard.ts';

/** `repository:library/ubuntu:pull`, … The one that the request cannot do without comes first: some servers care. */
export type Scopes = readonly string[];

/** Sends a request of ours (not the caller's) with repetition on trouble, but without redirects and authentication. */
export type PlainSend = (request: {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  readonly signal?: AbortSignal | undefined;
}) => Promise<HttpResponse>;

type Mode =
  | { readonly kind: 'none' }
  | { readonly kind: 'basic' }
  | { readonly kind: 'bearer'; readonly realm: string; readonly service: string | undefined };

interface Token {
  readonly value: string;
  /** By our own monotonic clock. */
  readonly expiresAtMs: number;
}

const MAX_TOKEN_ANSWER_BYTES = 64 * 1024;
const MAX_TOKEN_REDIRECTS = 5;
/** What an answer without `expires_in` means. */
const DEFAULT_LIFETIME_S = 60;
/** A token is not used in its last tenth, so that it does not run out on the way. */
const USABLE_PART = 0.9;
/** The password grant's and refresh grant's name for us. */
const CLIENT_ID = 'tsbuild';

export class Authenticator {
  readonly #origin: URL;
  readonly #credentials: Credentials | undefined;
  readonly #send: PlainSend;
  readonly #tokens = new Map<string, Promise<Token>>();
  #mode: Mode = { kind: 'none' };

  constructor(origin: URL, credentials: Credentials | undefined, send: PlainSend) {
    this.#origin = origin;
    this.#credentials = credentials;
    this.#send = send;
  }

  get hasCredentials(): boolean {
    return this.#credentials !== undefined;
  }

  /**
   * Takes in the challenges of a 401. Bearer is preferred, since a password then goes to the token server only.
   *
   * @throws {RemoteError} `E_AUTH` when none of them is one that we can answer
   */
  learn(challenges: readonly Challenge[]): void {
    const bearer = challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters.realm);
    if (bearer !== undefined) {
      const { realm = '', service } = bearer.parameters;
      this.#mode = { kind: 'bearer', realm, service };
      return;
    }
    if (challenges.some(({ scheme }) => scheme === 'basic')) {
      this.#mode = { kind: 'basic' };
      return;
    }
    const offered = challenges.map(({ scheme }) => (scheme === 'bearer' ? 'Bearer without a realm' : scheme));
    throw new RemoteError(
      `cannot log in to ${this.#origin.host}: it asks for ${offered.slice(0, 10).join(', ') || 'nothing that we can read'}, and we know Basic and Bearer`,
      { code: 'E_AUTH', url: this.#origin.origin },
    );
  }

  /** The Authorization header for a request that needs `scopes`; undefined to send none. */
  async authorization(scopes: Scopes, signal?: AbortSignal): Promise<string | undefined> {
    const { username, password, registryToken } = this.#credentials ?? {};
    switch (this.#mode.kind) {
      case 'none':
        return undefined;
      case 'basic':
        return username === undefined ? undefined : basic(username, password ?? '');
      case 'bearer':
        return registryToken !== undefined
          ? `Bearer ${registryToken}`
          : `Bearer ${(await this.#token(this.#mode, scopes, signal)).value}`;
    }
  }

  /** The next {@link authorization} for these scopes asks for a new token. */
  forget(scopes: Scopes): void {
    this.#tokens.delete(tokenKey(scopes));
  }

  async #token(mode: Mode & { kind: 'bearer' }, scopes: Scopes, signal?: AbortSignal): Promise<Token> {
    const key = tokenKey(scopes);
    return joinShared(async () => {
      const known = this.#tokens.get(key);
      if (known !== undefined) {
        const token = await known;
        if (token.expiresAtMs > performance.now()) {
          return token;
        }
      }
      // One request for all who wait.
      let asked = this.#tokens.get(key);
      if (asked === undefined || asked === known) {
        asked = this.#request(mode, scopes, signal);
        this.#tokens.set(key, asked);
        const mine = asked;
        asked.catch(() => {
          if (this.#tokens.get(key) === mine) {
            this.#tokens.delete(key);
          }
        });
      }
      return asked;
    }, signal);
  }

  async #request(mode: Mode & { kind: 'bearer' }, scopes: Scopes, signal?: AbortSignal): Promise<Token> {
    const realm = guardUrl(mode.realm, this.#origin, this.#origin, 'a token server');
    const { username, password, identityToken } = this.#credentials ?? {};
    if (identityToken !== undefined) {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        client_id: CLIENT_ID,
        refresh_token: identityToken,
        ...(mode.service === undefined ? {} : { service: mode.service }),
        ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
      });
      const response = await this.#send({
        method: 'POST',
        url: realm,
        headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
        body: Buffer.from(form.toString()),
        signal,
      });
      // Servers from before OAuth know GET only.
      if (response.status !== 404 && response.status !== 405) {
        return this.#parse(response);
      }
      await discardBody(response);
    }
    const url = new URL(realm);
    if (mode.service !== undefined) {
      url.searchParams.set('service', mode.service);
    }
    for (const scope of scopes) {
      url.searchParams.append('scope', scope);
    }
    const secret = password ?? identityToken;
    const account = username ?? (identityToken === undefined ? undefined : '<token>');
    const login = account === undefined || secret === undefined ? undefined : basic(account, secret);
    return this.#parse(await this.#get(url, login, signal));
  }

  async #get(first: URL, login: string | undefined, signal: AbortSignal | undefined): Promise<HttpResponse> {
    let url = first;
    for (let redirects = 0; redirects <= MAX_TOKEN_REDIRECTS; redirects += 1) {
      const own = login !== undefined && url.origin === first.origin;
      const response = await this.#send({
        method: 'GET',
        url,
        headers: { accept: 'application/json', ...(own ? { authorization: login } : {}) },
        signal,
      });
      const location = header(response.headers, 'location');
      if (response.status < 300 || response.status >= 400 || location === undefined) {
        return response;
      }
      await discardBody(response);
      url = guardUrl(location, url, this.#origin, 'a token server');
    }
    throw new RemoteError(`the token server of ${this.#origin.host} redirects without end`, {
      code: 'E_AUTH',
      url: this.#origin.origin,
    });
  }

  async #parse(response: HttpResponse): Promise<Token> {
    if (response.status !== 200) {
      const error = await registryError(response, `get a token for ${this.#origin.host}`);
      if (response.status === 400 || response.status === 401 || response.status === 403) {
        throw new RemoteError(
          `${error.message}${this.hasCredentials ? ': the credentials are refused' : ''}`,
          {
            code: 'E_AUTH',
            method: error.method,
            url: error.url,
            status: error.status,
            ociCodes: error.ociCodes,
            hint: this.hasCredentials
              ? `check user name and password: tsbuild login ${this.#origin.host}`
              : `log in first: tsbuild login ${this.#origin.host}`,
          },
        );
      }
      throw error;
    }
    const { bytes, truncated } = await readBody(response, MAX_TOKEN_ANSWER_BYTES);
    let answer: unknown;
    try {
      answer = truncated ? undefined : JSON.parse(bytes.toString('utf8'));
    } catch {
      answer = undefined;
    }
    const value = isObject(answer) ? (answer.token ?? answer.access_token) : undefined;
    if (!isObject(answer) || typeof value !== 'string' || !/^[\x21-\x7e]+$/.test(value)) {
      throw new RemoteError(`the token server of ${this.#origin.host} answered without a token`, {
        code: 'E_AUTH',
        url: this.#origin.origin,
        status: response.status,
      });
    }
    const { expires_in: expiresIn } = answer;
    const lifetimeS = typeof expiresIn === 'number' && expiresIn > 0 ? expiresIn : DEFAULT_LIFETIME_S;
    // `issued_at` is by a clock that may differ from ours, so it does not count.
    return { value, expiresAtMs: performance.now() + lifetimeS * 1000 * USABLE_PART };
  }
}

function tokenKey(scopes: Scopes): string {
  return [...scopes].sort().join('\n');
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}
