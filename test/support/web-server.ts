/** A web server in this process, which remembers what it was asked and answers as the test says. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export interface WebServer extends AsyncDisposable {
  /** `http://127.0.0.1:1234`. */
  readonly origin: string;
  readonly requests: readonly IncomingMessage[];
  /** How the next requests are answered. */
  handle(answer: (request: IncomingMessage, response: ServerResponse) => void): void;
}

export async function startWebServer(): Promise<WebServer> {
  const requests: IncomingMessage[] = [];
  const sockets = new Set<Socket>();
  let answer = (_request: IncomingMessage, response: ServerResponse) => {
    response.writeHead(404).end();
  };
  const server = createServer((request, response) => {
    requests.push(request);
    answer(request, response);
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    handle: (next) => {
      answer = next;
    },
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) {
          socket.destroy();
        }
      }),
  };
}

export interface ServedFile {
  readonly body: string | Buffer;
  readonly etag?: string;
  readonly lastModified?: string;
}

/** Answers as servers of files do: with validators, and 304 to who sends them back. */
export function serveFile(request: IncomingMessage, response: ServerResponse, file: ServedFile): void {
  const headers = {
    ...(file.etag === undefined ? {} : { etag: file.etag }),
    ...(file.lastModified === undefined ? {} : { 'last-modified': file.lastModified }),
  };
  const unchanged =
    request.headers['if-none-match'] === undefined
      ? file.lastModified !== undefined && request.headers['if-modified-since'] === file.lastModified
      : request.headers['if-none-match'] === file.etag;
  if (unchanged) {
    response.writeHead(304, headers).end();
  } else {
    response.writeHead(200, { ...headers, 'content-length': Buffer.byteLength(file.body) }).end(file.body);
  }
}
