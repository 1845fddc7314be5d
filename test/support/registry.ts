/**
 * A registry in this process: a real HTTP server that follows distribution-spec v1.1, is as strict as the strictest
 * servers we know, and can be told to misbehave. It has tests of its own (test/unit/support/registry.test.ts).
 */
import { createHash, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export interface SeenRequest {
  readonly method: string;
  /** With the query. */
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  bodyBytes: number;
}

export interface TestRegistryOptions {
  readonly auth?:
    | { readonly kind: 'none' }
    | { readonly kind: 'basic'; readonly users: Readonly<Record<string, string>> }
    | {
        readonly kind: 'bearer';
        readonly users: Readonly<Record<string, string>>;
        /** Whether the token server gives tokens for pulling without a login. @defaultValue true */
        readonly anonymousPull?: boolean;
        /** Refresh tokens that it knows. */
        readonly identityTokens?: readonly string[];
        /** @defaultValue the registry's own /token */
        readonly realm?: string;
        /** Answer with `access_token` and a zero `issued_at` instead of `token`. */
        readonly oauthNames?: boolean;
        /** Do not know POST, like servers before OAuth. */
        readonly getOnly?: boolean;
      };
  readonly relativeLocations?: boolean;
  /** Answer every mount with a session. */
  readonly refuseMounts?: boolean;
  readonly ignoreRange?: boolean;
  /** Where blobs are redirected to, `http://127.0.0.1:1234`. */
  readonly redirectBlobsTo?: string;
}

export type Serve = () => Promise<void>;
export type Misbehaviour = (
  request: IncomingMessage,
  response: ServerResponse,
  serve: Serve,
) => void | Promise<void>;

interface Fault {
  readonly method: string;
  readonly path: RegExp;
  left: number;
  readonly act: Misbehaviour;
}

interface Upload {
  readonly repository: string;
  bytes: Buffer;
  /** Changes with every answer: only the newest Location is good. */
  state: string;
}

interface Manifest {
  readonly bytes: Buffer;
  readonly mediaType: string;
}

class Repository {
  readonly blobs = new Set<string>();
  readonly manifests = new Map<string, Manifest>();
  readonly tags = new Map<string, string>();
}

export class TestRegistry {
  readonly requests: SeenRequest[] = [];
  readonly blobs = new Map<string, Buffer>();
  readonly repositories = new Map<string, Repository>();
  options: TestRegistryOptions;
  readonly #uploads = new Map<string, Upload>();
  readonly #tokens = new Map<string, { readonly scopes: ReadonlySet<string>; readonly account: string }>();
  readonly #sockets = new Set<Socket>();
  readonly #faults: Fault[] = [];
  readonly #server: Server;

  private constructor(options: TestRegistryOptions) {
    this.options = options;
    this.#server = createServer((request, response) => {
      this.#handle(request, response).catch((error: Error) => {
        response.destroy(error);
      });
    });
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(options: TestRegistryOptions = {}): Promise<TestRegistry> {
    const registry = new TestRegistry(options);
    await new Promise<void>((resolve) => registry.#server.listen(0, '127.0.0.1', resolve));
    return registry;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get origin(): string {
    return `http://${this.host}`;
  }

  /** Connections that are open now. */
  get openSockets(): number {
    return this.#sockets.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  /** The next `times` requests that match are answered by `act`, which may call `serve()` for the usual answer. */
  misbehave(method: string, path: RegExp, act: Misbehaviour, times = 1): void {
    this.#faults.push({ method, path, left: times, act });
  }

  /** Tokens that were given out are no longer taken. */
  expireTokens(): void {
    this.#tokens.clear();
  }

  count(method: string, path: RegExp): number {
    return this.requests.filter((request) => request.method === method && path.test(request.url)).length;
  }

  repository(name: string): Repository {
    let repository = this.repositories.get(name);
    if (repository === undefined) {
      repository = new Repository();
      this.repositories.set(name, repository);
    }
    return repository;
  }

  addBlob(repository: string, bytes: Buffer): { readonly digest: string; readonly size: number } {
    const digest = sha256(bytes);
    this.blobs.set(digest, bytes);
    this.repository(repository).blobs.add(digest);
    return { digest, size: bytes.length };
  }

  addManifest(repository: string, tag: string | undefined, bytes: Buffer, mediaType: string): string {
    const digest = sha256(bytes);
    this.repository(repository).manifests.set(digest, { bytes, mediaType });
    if (tag !== undefined) {
      this.repository(repository).tags.set(tag, digest);
    }
    return digest;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen: SeenRequest = {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      bodyBytes: 0,
    };
    this.requests.push(seen);
    const serve = () => this.#serve(request, response, seen);
    const fault = this.#faults.find(
      ({ method, path, left }) => left > 0 && method === seen.method && path.test(seen.url),
    );
    if (fault !== undefined) {
      fault.left -= 1;
      await fault.act(request, response, serve);
      return;
    }
    await serve();
  }

  async #serve(request: IncomingMessage, response: ServerResponse, seen: SeenRequest): Promise<void> {
    const url = new URL(request.url ?? '/', this.origin);
    if (url.pathname === '/token') {
      return this.#token(request, response, url, seen);
    }
    const route = parseRoute(url.pathname);
    const need =
      route === undefined || route.kind === 'root' ? [] : neededScopes(request.method ?? '', route.name);
    if (!this.#authorized(request, response, need)) {
      await drain(request, seen);
      return;
    }
    if (route === undefined) {
      return fail(response, 404, 'NAME_UNKNOWN', 'no such path');
    }
    switch (route.kind) {
      case 'root':
        response.writeHead(200, { 'docker-distribution-api-version': 'registry/2.0' }).end('{}');
        return;
      case 'manifests':
        return this.#manifests(request, response, route, seen);
      case 'blobs':
        return this.#blobs(request, response, route);
      case 'uploads':
        return this.#startUpload(request, response, route.name, url, seen);
      case 'upload':
        return this.#upload(request, response, route, url, seen);
      case 'tags':
        return this.#tags(response, route.name, url);
    }
  }

  async #manifests(
    request: IncomingMessage,
    response: ServerResponse,
    { name, reference }: { readonly name: string; readonly reference: string },
    seen: SeenRequest,
  ): Promise<void> {
    const repository = this.repository(name);
    if (request.method === 'GET' || request.method === 'HEAD') {
      const digest = reference.startsWith('sha256:') ? reference : repository.tags.get(reference);
      const manifest = digest === undefined ? undefined : repository.manifests.get(digest);
      if (manifest === undefined || digest === undefined) {
        return fail(response, 404, 'MANIFEST_UNKNOWN', 'manifest unknown');
      }
      response.writeHead(200, {
        'content-type': manifest.mediaType,
        'content-length': manifest.bytes.length,
        'docker-content-digest': digest,
      });
      response.end(request.method === 'HEAD' ? undefined : manifest.bytes);
      return;
    }
    if (request.method === 'PUT') {
      const bytes = await readAll(request, seen);
      const digest = sha256(bytes);
      const mediaType = request.headers['content-type'] ?? '';
      if (reference.startsWith('sha256:') && reference !== digest) {
        return fail(response, 400, 'DIGEST_INVALID', `the body has the digest ${digest}`);
      }
      const problem = this.#manifestProblem(repository, bytes, mediaType);
      if (problem !== undefined) {
        return fail(response, 400, problem.code, problem.message);
      }
      repository.manifests.set(digest, { bytes, mediaType });
      if (!reference.startsWith('sha256:')) {
        repository.tags.set(reference, digest);
      }
      response
        .writeHead(201, { location: `/v2/${name}/manifests/${digest}`, 'docker-content-digest': digest })
        .end();
      return;
    }
    fail(response, 405, 'UNSUPPORTED', 'method');
  }

  /** What it names must be here, as the spec lets a registry demand. */
  #manifestProblem(repository: Repository, bytes: Buffer, mediaType: string) {
    let json: { mediaType?: string; manifests?: { digest: string }[]; layers?: Layer[]; config?: Layer };
    try {
      json = JSON.parse(bytes.toString('utf8'));
    } catch {
      return { code: 'MANIFEST_INVALID', message: 'not JSON' };
    }
    if (json.mediaType !== undefined && json.mediaType !== mediaType) {
      return { code: 'MANIFEST_INVALID', message: 'media types differ' };
    }
    for (const child of json.manifests ?? []) {
      if (!repository.manifests.has(child.digest)) {
        return { code: 'MANIFEST_BLOB_UNKNOWN', message: `no manifest ${child.digest}` };
      }
    }
    for (const blob of [...(json.config ? [json.config] : []), ...(json.layers ?? [])]) {
      const stored = repository.blobs.has(blob.digest) ? this.blobs.get(blob.digest) : undefined;
      const foreign = blob.mediaType.includes('foreign') || blob.mediaType.includes('nondistributable');
      if (!foreign && stored?.length !== blob.size) {
        return { code: 'MANIFEST_BLOB_UNKNOWN', message: `no blob ${blob.digest} of ${blob.size} bytes` };
      }
    }
    return undefined;
  }

  #blobs(
    request: IncomingMessage,
    response: ServerResponse,
    { name, digest }: { name: string; digest: string },
  ): void {
    const bytes = this.repository(name).blobs.has(digest) ? this.blobs.get(digest) : undefined;
    if (bytes === undefined) {
      fail(response, 404, 'BLOB_UNKNOWN', 'blob unknown');
      return;
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      fail(response, 405, 'UNSUPPORTED', 'method');
      return;
    }
    if (request.method === 'GET' && this.options.redirectBlobsTo !== undefined) {
      const location = `${this.options.redirectBlobsTo}/v2/${name}/blobs/${digest}?X-Signature=signed-secret`;
      response.writeHead(307, { location }).end();
      return;
    }
    const range = this.options.ignoreRange
      ? undefined
      : /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const headers = {
      'content-type': 'application/octet-stream',
      'docker-content-digest': digest,
      'accept-ranges': 'bytes',
    };
    if (range) {
      const start = Number(range[1]);
      const end = range[2] === '' ? bytes.length - 1 : Math.min(Number(range[2]), bytes.length - 1);
      if (start > end) {
        response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
        return;
      }
      response.writeHead(206, {
        ...headers,
        'content-length': end - start + 1,
        'content-range': `bytes ${start}-${end}/${bytes.length}`,
      });
      response.end(request.method === 'HEAD' ? undefined : bytes.subarray(start, end + 1));
      return;
    }
    response.writeHead(200, { ...headers, 'content-length': bytes.length });
    response.end(request.method === 'HEAD' ? undefined : bytes);
  }

  async #startUpload(
    request: IncomingMessage,
    response: ServerResponse,
    name: string,
    url: URL,
    seen: SeenRequest,
  ): Promise<void> {
    if (request.method !== 'POST') {
      return fail(response, 405, 'UNSUPPORTED', 'method');
    }
    await drain(request, seen);
    const mount = url.searchParams.get('mount');
    const from = url.searchParams.get('from');
    if (
      mount !== null &&
      from !== null &&
      !this.options.refuseMounts &&
      this.repository(from).blobs.has(mount)
    ) {
      this.repository(name).blobs.add(mount);
      response
        .writeHead(201, { location: `/v2/${name}/blobs/${mount}`, 'docker-content-digest': mount })
        .end();
      return;
    }
    const id = randomUUID();
    const upload = { repository: name, bytes: Buffer.alloc(0), state: randomUUID() };
    this.#uploads.set(id, upload);
    response
      .writeHead(202, { location: this.#location(id, upload), 'docker-upload-uuid': id, range: '0-0' })
      .end();
  }

  async #upload(
    request: IncomingMessage,
    response: ServerResponse,
    { name, id }: { readonly name: string; readonly id: string },
    url: URL,
    seen: SeenRequest,
  ): Promise<void> {
    const upload = this.#uploads.get(id);
    if (
      upload === undefined ||
      upload.repository !== name ||
      upload.state !== url.searchParams.get('_state')
    ) {
      await drain(request, seen);
      return fail(response, 404, 'BLOB_UPLOAD_UNKNOWN', 'upload unknown');
    }
    const answer = (status: number) => {
      upload.state = randomUUID();
      response
        .writeHead(status, {
          location: this.#location(id, upload),
          range: `0-${Math.max(0, upload.bytes.length - 1)}`,
        })
        .end();
    };
    switch (request.method) {
      case 'GET':
        return answer(204);
      case 'DELETE':
        this.#uploads.delete(id);
        response.writeHead(204).end();
        return;
      case 'PATCH':
      case 'PUT': {
        const range = /^(\d+)-(\d+)$/.exec(request.headers['content-range'] ?? '');
        if (range && Number(range[1]) !== upload.bytes.length) {
          await drain(request, seen);
          return answer(416);
        }
        upload.bytes = Buffer.concat([upload.bytes, await readAll(request, seen)]);
        if (request.method === 'PATCH') {
          return answer(202);
        }
        const digest = url.searchParams.get('digest');
        if (digest !== sha256(upload.bytes)) {
          return fail(response, 400, 'DIGEST_INVALID', `the bytes have the digest ${sha256(upload.bytes)}`);
        }
        this.#uploads.delete(id);
        this.addBlob(name, upload.bytes);
        response
          .writeHead(201, { location: `/v2/${name}/blobs/${digest}`, 'docker-content-digest': digest })
          .end();
        return;
      }
      default:
        fail(response, 405, 'UNSUPPORTED', 'method');
    }
  }

  /** Upload sessions that were neither finished nor cancelled. */
  get openUploads(): number {
    return this.#uploads.size;
  }

  #location(id: string, upload: Upload): string {
    const path = `/v2/${upload.repository}/blobs/uploads/${id}?_state=${upload.state}`;
    return this.options.relativeLocations ? path : `${this.origin}${path}`;
  }

  #tags(response: ServerResponse, name: string, url: URL): void {
    const all = [...this.repository(name).tags.keys()].sort();
    const last = url.searchParams.get('last');
    const n = Number(url.searchParams.get('n') ?? all.length);
    const rest = last === null ? all : all.filter((tag) => tag > last);
    const tags = rest.slice(0, n);
    const link =
      rest.length > n ? { link: `</v2/${name}/tags/list?n=${n}&last=${tags.at(-1)}>; rel="next"` } : {};
    response
      .writeHead(200, { 'content-type': 'application/json', ...link })
      .end(JSON.stringify({ name, tags }));
  }

  #authorized(request: IncomingMessage, response: ServerResponse, need: readonly string[]): boolean {
    const { auth } = this.options;
    const given = request.headers.authorization ?? '';
    if (auth === undefined || auth.kind === 'none') {
      return true;
    }
    if (auth.kind === 'basic') {
      if (knownUser(auth.users, given) !== undefined) {
        return true;
      }
      response.setHeader('www-authenticate', 'Basic realm="test"');
      fail(response, 401, 'UNAUTHORIZED', 'authentication required');
      return false;
    }
    const token = this.#tokens.get(given.replace(/^Bearer /, ''));
    if (token !== undefined && need.every((scope) => token.scopes.has(scope))) {
      return true;
    }
    const realm = auth.realm ?? `${this.origin}/token`;
    const error =
      token === undefined ? (given === '' ? '' : ',error="invalid_token"') : ',error="insufficient_scope"';
    const scope = need.length === 0 ? '' : `,scope="${joinScopes(need)}"`;
    response.setHeader('www-authenticate', `Bearer realm="${realm}",service="test"${scope}${error}`);
    fail(response, 401, 'UNAUTHORIZED', 'authentication required');
    return false;
  }

  async #token(
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    seen: SeenRequest,
  ): Promise<void> {
    const { auth } = this.options;
    const body = (await readAll(request, seen)).toString('utf8');
    if (auth?.kind !== 'bearer') {
      return fail(response, 404, 'UNSUPPORTED', 'no tokens here');
    }
    let account: string | undefined;
    let asked = url.searchParams.getAll('scope');
    if (request.method === 'POST') {
      if (auth.getOnly) {
        return fail(response, 404, 'UNSUPPORTED', 'POST');
      }
      const form = new URLSearchParams(body);
      asked = (form.get('scope') ?? '').split(' ').filter((scope) => scope !== '');
      account = auth.identityTokens?.includes(form.get('refresh_token') ?? '') ? 'identity' : undefined;
      if (account === undefined) {
        return fail(response, 401, 'UNAUTHORIZED', 'unknown refresh token');
      }
    } else if (request.headers.authorization !== undefined) {
      account = knownUser(auth.users, request.headers.authorization);
      if (account === undefined) {
        return fail(response, 401, 'UNAUTHORIZED', 'incorrect username or password');
      }
    }
    const granted = new Set(
      asked
        .flatMap(splitScope)
        .filter(
          (scope) => account !== undefined || ((auth.anonymousPull ?? true) && scope.endsWith(':pull')),
        ),
    );
    const value = randomUUID();
    this.#tokens.set(value, { scopes: granted, account: account ?? '' });
    const names = auth.oauthNames
      ? { access_token: value, issued_at: '0001-01-01T00:00:00Z' }
      : { token: value, expires_in: 300 };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(names));
  }
}

interface Layer {
  readonly digest: string;
  readonly size: number;
  readonly mediaType: string;
}

export function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** An answer with the registry's kind of error body. */
export function fail(response: ServerResponse, status: number, code: string, message: string): void {
  const body = JSON.stringify({ errors: [{ code, message, detail: {} }] });
  response.writeHead(status, { 'content-type': 'application/json' }).end(body);
}

function parseRoute(path: string) {
  if (path === '/v2/' || path === '/v2') {
    return { kind: 'root' } as const;
  }
  const match = /^\/v2\/(.+)\/(?:(manifests|blobs)\/([^/]+)|blobs\/uploads\/([^/]*)|tags\/(list))$/.exec(
    path,
  );
  const name = match?.[1] ?? '';
  if (!/^[a-z0-9]+([._-]+[a-z0-9]+)*(\/[a-z0-9]+([._-]+[a-z0-9]+)*)*$/.test(name)) {
    return undefined;
  }
  if (match?.[5] !== undefined) {
    return { kind: 'tags', name } as const;
  }
  if (match?.[4] !== undefined) {
    return match[4] === ''
      ? ({ kind: 'uploads', name } as const)
      : ({ kind: 'upload', name, id: match[4] } as const);
  }
  const last = match?.[3] ?? '';
  return match?.[2] === 'manifests'
    ? ({ kind: 'manifests', name, reference: last } as const)
    : ({ kind: 'blobs', name, digest: last } as const);
}

function neededScopes(method: string, name: string): readonly string[] {
  const reading = method === 'GET' || method === 'HEAD';
  return reading ? [`repository:${name}:pull`] : [`repository:${name}:push`];
}

/** `repository:a:pull,push` → one scope for each action. */
function splitScope(scope: string): readonly string[] {
  const at = scope.lastIndexOf(':');
  return scope
    .slice(at + 1)
    .split(',')
    .map((action) => `${scope.slice(0, at)}:${action}`);
}

function joinScopes(scopes: readonly string[]): string {
  return scopes.map((scope) => scope.replace(/:push$/, ':pull,push')).join(' ');
}

function knownUser(users: Readonly<Record<string, string>>, header: string): string | undefined {
  const text = Buffer.from(header.replace(/^Basic /, ''), 'base64').toString('utf8');
  const colon = text.indexOf(':');
  const name = text.slice(0, colon);
  return Object.hasOwn(users, name) && users[name] === text.slice(colon + 1) ? name : undefined;
}

async function readAll(request: IncomingMessage, seen: SeenRequest): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) {
    chunks.push(chunk as Buffer);
    seen.bodyBytes += (chunk as Buffer).length;
  }
  return Buffer.concat(chunks);
}

async function drain(request: IncomingMessage, seen: SeenRequest): Promise<void> {
  await readAll(request, seen);
}
