/**
 * A build service over HTTP, to show how tsbuild is embedded: one engine for all builds, the events of each build streamed to
 * whoever asked for it, cancelled when that one goes away.
 *
 *   POST /builds        a Dockerfile and files → lines of JSON: the build's id, what happens, the result
 *   DELETE /builds/ID   cancels
 *   GET /builds         ids of what is running
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type BuildEvent,
  DefinitionError,
  type Engine,
  EventStream,
  HostError,
  type Image,
  RemoteError,
  TsbuildError,
  UsageError,
} from 'tsbuild';
import { type BuildRequest, openContext, RequestError, readBuildRequest } from './build-request.ts';

export interface ServiceOptions {
  readonly engine: Engine;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly maxBodyBytes: number;
  /** More are answered with 429. */
  readonly maxBuilds: number;
}

export interface Service {
  readonly url: string;
  /** Cancels what is running and waits for it. The engine stays open. */
  close(): Promise<void>;
}

export async function startService(options: ServiceOptions): Promise<Service> {
  const builds = new Map<string, AbortController>();
  const working = new Set<Promise<void>>();
  const server = createServer((request, response) => {
    const answered = answer(request, response, options, builds).catch((error: unknown) => {
      hangUp(request);
      respondError(response, error);
    });
    working.add(answered);
    void answered.finally(() => working.delete(answered));
  });
  server.listen(options.port, options.host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${options.host}:${port}`,
    async close() {
      server.close();
      for (const build of builds.values()) {
        build.abort(new RequestError(503, 'CLOSING', 'the service is closing'));
      }
      await Promise.all(working);
      server.closeAllConnections();
    },
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: ServiceOptions,
  builds: Map<string, AbortController>,
): Promise<void> {
  const { pathname } = new URL(request.url ?? '/', 'http://service');
  const [, root, id, ...more] = pathname.split('/');
  if (root !== 'builds' || more.length > 0) {
    throw new RequestError(404, 'NOT_FOUND', `there is nothing at '${pathname}'`);
  }
  if (request.method === 'GET' && id === undefined) {
    respond(response, 200, { builds: [...builds.keys()] });
  } else if (request.method === 'DELETE' && id !== undefined) {
    const build = builds.get(id);
    if (build === undefined) {
      throw new RequestError(404, 'NO_SUCH_BUILD', `no build '${id}' is running`);
    }
    build.abort(new RequestError(409, 'CANCELLED', 'the build was cancelled'));
    response.writeHead(202).end();
  } else if (request.method === 'POST' && id === undefined) {
    if (builds.size >= options.maxBuilds) {
      response.setHeader('retry-after', '5');
      throw new RequestError(429, 'BUSY', `${builds.size} builds are running, and no more are taken`);
    }
    const buildId = randomUUID();
    const stop = new AbortController();
    builds.set(buildId, stop);
    // A response that closes before it was ended has lost its client.
    response.once('close', () => stop.abort(new RequestError(499, 'CLIENT_LEFT', 'the client went away')));
    try {
      await build(
        await readBuildRequest(request, options.maxBodyBytes),
        buildId,
        response,
        options.engine,
        stop,
      );
    } finally {
      builds.delete(buildId);
    }
  } else {
    response.setHeader('allow', id === undefined ? 'GET, POST' : 'DELETE');
    throw new RequestError(405, 'METHOD', `${request.method} does nothing here`);
  }
}

async function build(
  wanted: BuildRequest,
  id: string,
  response: ServerResponse,
  engine: Engine,
  { signal }: AbortController,
): Promise<void> {
  const context = await openContext(wanted);
  try {
    await buildImage(context.image, wanted, id, response, engine, signal);
  } finally {
    await context.remove();
  }
}

async function buildImage(
  image: Image,
  wanted: BuildRequest,
  id: string,
  response: ServerResponse,
  engine: Engine,
  signal: AbortSignal,
): Promise<void> {
  // Mistakes in the Dockerfile have a status of their own, which is over once the stream begins.
  const { error } = await engine.describeDockerfile(image, { question: 'outline', signal });
  if (error !== undefined) {
    throw error;
  }
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'x-build-id': id });
  await write(response, { build: id });
  const events = new EventStream();
  const building = engine
    .build([image], {
      signal,
      logger: events.push,
      ...(wanted.tag === undefined ? {} : { tags: [wanted.tag] }),
      ...(wanted.noCache ? { forceBuild: true } : {}),
    })
    .finally(() => events.end());
  // Waited for below; the client may leave while the stream is being written.
  building.catch(() => undefined);
  const labels = new Map<string, string>();
  for await (const event of events) {
    const line = lineOf(event, labels);
    if (line !== undefined) {
      await write(response, line);
    }
  }
  try {
    const [built] = await building;
    await write(response, { done: { digest: built?.digest, id: built?.id } });
  } catch (error) {
    await write(response, { error: facts(error) });
  }
  response.end();
}

/** What a client is told of an event. A real service would rather hand on fewer of them than more. */
function lineOf(event: BuildEvent, labels: Map<string, string>): object | undefined {
  switch (event.kind) {
    case 'plan':
      for (const { digest, label } of event.vertices) {
        labels.set(digest, label);
      }
      return { steps: event.vertices.map(({ label }) => label) };
    case 'vertex-started':
      return { started: labels.get(event.vertex) };
    case 'vertex-finished':
      return { finished: labels.get(event.vertex), outcome: event.outcome, durationMs: event.durationMs };
    case 'log':
      return { step: labels.get(event.vertex), stream: event.stream, text: event.text };
    case 'warning':
      return { warning: event.message, code: event.code };
    default:
      return undefined;
  }
}

/** Waits for a slow client; meanwhile the build goes on, and its events wait in a queue with a limit. */
async function write(response: ServerResponse, line: object): Promise<void> {
  if (response.closed || response.write(`${JSON.stringify(line)}\n`)) {
    return;
  }
  const left = new AbortController();
  const onClose = () => left.abort();
  response.once('close', onClose);
  await once(response, 'drain', { signal: left.signal }).catch(() => undefined);
  response.off('close', onClose);
}

function respondError(response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.closed) {
    response.destroy();
    return;
  }
  respond(response, statusOf(error), { error: facts(error) });
}

/** What a client still sends after it was refused is not read; it gets a moment to read the answer. */
function hangUp(request: IncomingMessage): void {
  if (!request.complete) {
    request.pause();
    setTimeout(() => request.destroy(), LINGER_MS).unref();
  }
}

const LINGER_MS = 1000;

function respond(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
}

/** By who has to act, which is what the class of an error says. */
function statusOf(error: unknown): number {
  if (error instanceof RequestError) {
    return error.status;
  }
  if (error instanceof DefinitionError || error instanceof UsageError) {
    return 422;
  }
  return error instanceof RemoteError ? 502 : error instanceof HostError ? 503 : 500;
}

/** Codes are for programs. What is no error of ours may hold anything, and stays here. */
function facts(error: unknown): object {
  if (error instanceof RequestError) {
    return { code: error.code, message: error.message };
  }
  if (error instanceof TsbuildError) {
    const { code, message, hint } = error;
    return { code, message, hint };
  }
  console.error(error);
  return { code: 'INTERNAL', message: 'the service failed' };
}
