/**
 * TSBUILD_APT_MIRROR for the apt of steps (Image API, A5.2). apt names what it has listed after the server that it asked, and
 * keeps that in the layer; so its sources stay as they are, and a proxy on this machine answers for `deb.debian.org/debian` from the
 * mirror. What else that server has, such as `debian-security`, comes from itself.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { HttpClient } from '../http/http-client.ts';

export interface AptMirror {
  /** For `Acquire::http::Proxy::deb.debian.org`. */
  readonly proxy: string;
  close(): Promise<void>;
}

const SERVER = 'deb.debian.org';
const ARCHIVE = '/debian/';
const ASKED = ['range', 'if-range', 'if-modified-since', 'cache-control'];
const ANSWERED = [
  'content-length',
  'content-range',
  'content-type',
  'accept-ranges',
  'last-modified',
  'etag',
  'location',
];

/** @param mirror - URL of what is below `/debian`. It listens on the loopback only, and fetches nothing but from these two. */
export async function startAptMirror(mirror: string, environment: NodeJS.ProcessEnv): Promise<AptMirror> {
  const http = new HttpClient({ environment });
  const server = createServer((request, response) => {
    answer(http, mirror, request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  // Nobody's program is kept alive by it.
  server.unref();
  const { port } = server.address() as AddressInfo;
  return {
    proxy: `http://127.0.0.1:${port}`,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await http.close();
    },
  };
}

async function answer(
  http: HttpClient,
  mirror: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { method, url = '' } = request;
  const asked = URL.canParse(url) ? new URL(url) : undefined;
  if (asked?.host !== SERVER || asked.protocol !== 'http:' || (method !== 'GET' && method !== 'HEAD')) {
    response.writeHead(403).end();
    return;
  }
  const abort = new AbortController();
  response.once('close', () => abort.abort());
  const headers = ASKED.flatMap((name) => {
    const value = request.headers[name];
    return typeof value === 'string' ? [[name, value]] : [];
  });
  const found = await http
    .send({
      method,
      url: atMirror(asked, mirror),
      headers: Object.fromEntries(headers) as Record<string, string>,
      signal: abort.signal,
    })
    .catch((error: Error) => error);
  if (found instanceof Error) {
    response.writeHead(502, { 'content-type': 'text/plain' }).end(`${found.message}\n`);
    return;
  }
  response.writeHead(
    found.status,
    Object.fromEntries(
      ANSWERED.flatMap((name) => (found.headers[name] === undefined ? [] : [[name, found.headers[name]]])),
    ),
  );
  await pipeline(found.body, response);
}

function atMirror(asked: URL, mirror: string): URL {
  return asked.pathname.startsWith(ARCHIVE)
    ? new URL(`${mirror.replace(/\/+$/, '')}/${asked.pathname.slice(ARCHIVE.length)}${asked.search}`)
    : asked;
}
