import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient, type HttpClientOptions, headerList, readBody } from '../../../src/http/http-client.ts';
import { type CompanyCa, makeCompanyCa } from '../../support/company-ca.ts';

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

let directory: string;
let ca: CompanyCa;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tsbuild-http-'));
  ca = makeCompanyCa(directory);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function listen(server: Server): Promise<{ readonly port: number; readonly sockets: Set<Socket> }> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) {
      socket.destroy();
    }
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}

function client(options: HttpClientOptions = {}): HttpClient {
  const made = new HttpClient({ environment: {}, ...options });
  onTestFinished(() => made.close());
  return made;
}

async function get(http: HttpClient, url: string, signal?: AbortSignal): Promise<string> {
  const response = await http.send({ method: 'GET', url: new URL(url), headers: {}, signal });
  return `${response.status} ${(await readBody(response, 1e6)).bytes.toString()}`;
}

/** What a proxy was asked, and it does that. */
async function proxy(secure: boolean, answer?: number) {
  const asked: string[] = [];
  const login = ({ headers }: IncomingMessage) => headers['proxy-authorization'] ?? 'nobody';
  const onRequest: Answer = (request, response) => {
    asked.push(`${request.method} ${request.url} for ${request.headers.host} by ${login(request)}`);
    response.end('by the proxy');
  };
  const server = secure ? createHttpsServer(ca.server, onRequest) : createHttpServer(onRequest);
  server.on('connect', (request: IncomingMessage, socket: Socket) => {
    asked.push(`${request.method} ${request.url} by ${login(request)}`);
    if (answer !== undefined) {
      socket.end(`HTTP/1.1 ${answer} No\r\n\r\n`);
      return;
    }
    const port = Number(request.url?.split(':').at(-1));
    const inner = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      inner.pipe(socket).pipe(inner);
    });
    inner.on('error', () => socket.destroy());
    socket.on('error', () => inner.destroy());
  });
  return { port: (await listen(server)).port, asked };
}

const ANNA = `Basic ${Buffer.from('anna:se:cret').toString('base64')}`;

describe('an HTTP client', () => {
  it('opens so many connections to a server and no more', async () => {
    let most = 0;
    const { port, sockets } = await listen(
      createHttpServer((_request, response) => {
        most = Math.max(most, sockets.size);
        setTimeout(() => response.end(), 5);
      }),
    );
    const http = client({ connections: 3 });
    await Promise.all(Array.from({ length: 20 }, () => get(http, `http://127.0.0.1:${port}/`)));
    expect(most).toBe(3);
  });

  it('sends path and query, and no login of the URL', async () => {
    const { port } = await listen(
      createHttpServer(({ url, headers }, response) => response.end(`${url} ${headers.authorization}`)),
    );
    const answer = await get(client(), `http://anna:secret@127.0.0.1:${port}/a%2Fb?c=d`);
    expect(answer).toBe('200 /a%2Fb?c=d undefined');
  });

  it('gives each value of a header that comes several times', async () => {
    const { port } = await listen(
      createHttpServer((_request, response) => {
        response.setHeader('WWW-Authenticate', ['Basic realm="a, b"', 'Bearer realm="c"']);
        response.end();
      }),
    );
    const { headers, body } = await client().send({
      method: 'GET',
      url: new URL(`http://127.0.0.1:${port}/`),
      headers: {},
    });
    body.resume();
    expect(headerList(headers, 'www-authenticate')).toEqual(['Basic realm="a, b"', 'Bearer realm="c"']);
  });

  it('waits for a reader that is slower than that', async () => {
    const { port } = await listen(createHttpServer((_request, response) => response.end('x'.repeat(1e6))));
    const { body } = await client({ idleTimeoutMs: 30 }).send({
      method: 'GET',
      url: new URL(`http://127.0.0.1:${port}/`),
      headers: {},
    });
    await sleep(100);
    let size = 0;
    for await (const chunk of body) {
      size += (chunk as Buffer).length;
    }
    expect(size).toBe(1e6);
  });

  it('rejects with the reason of its signal, before an answer and within it', async () => {
    const { port, sockets } = await listen(createHttpServer((_request, response) => response.write('half')));
    const http = client();
    const reason = new Error('enough');
    const early = new AbortController();
    const sent = get(http, `http://127.0.0.1:${port}/`, early.signal);
    early.abort(reason);
    await expect(sent).rejects.toBe(reason);
    const late = new AbortController();
    const { body } = await http.send({
      method: 'GET',
      url: new URL(`http://127.0.0.1:${port}/`),
      headers: {},
      signal: late.signal,
    });
    const read = body.toArray();
    late.abort(reason);
    await expect(read).rejects.toBe(reason);
    await expect.poll(() => sockets.size).toBe(0);
  });

  it('ends what is under way when it is closed', async () => {
    const { port, sockets } = await listen(createHttpServer(() => {}));
    const http = client({ connections: 1 });
    const sent = [get(http, `http://127.0.0.1:${port}/`), get(http, `http://127.0.0.1:${port}/`)];
    const ending = Promise.allSettled(sent);
    await expect.poll(() => sockets.size).toBe(1);
    await http.close();
    const ended = await ending;
    for (const { status, ...outcome } of ended) {
      expect([status, outcome]).toMatchObject(['rejected', { reason: { code: 'E_NETWORK' } }]);
    }
    await expect.poll(() => sockets.size).toBe(0);
  });

  describe('that sends', () => {
    const put = (http: HttpClient, port: number, body: Buffer | Readable, size: number) =>
      http.send({
        method: 'PUT',
        url: new URL(`http://127.0.0.1:${port}/`),
        headers: { 'content-length': String(size) },
        body,
      });

    it('bytes and streams sends all of them', async () => {
      const { port } = await listen(
        createHttpServer(async (request, response) => {
          response.end(`${request.headers['content-length']} ${(await request.toArray()).join('')}`);
        }),
      );
      const http = client();
      for (const body of [Buffer.from('bytes'), Readable.from([Buffer.from('by'), Buffer.from('tes')])]) {
        const response = await put(http, port, body, 5);
        expect((await readBody(response, 100)).bytes.toString()).toBe('5 bytes');
      }
    });

    it('a stream that fails fails with it', async () => {
      const { port, sockets } = await listen(createHttpServer(() => {}));
      const broken = new Readable({
        read() {
          this.destroy(new Error('the disk is gone'));
        },
      });
      await expect(put(client(), port, broken, 10)).rejects.toThrow('the disk is gone');
      await expect.poll(() => sockets.size).toBe(0);
    });
  });

  describe('behind a proxy', () => {
    const behind = (port: number, scheme = 'http') => ({
      environment: {
        http_proxy: `${scheme}://anna:se%3Acret@127.0.0.1:${port}`,
        https_proxy: `${scheme}://anna:se%3Acret@127.0.0.1:${port}`,
        SSL_CERT_FILE: ca.path,
      },
    });

    it.each([
      ['http', false],
      ['https', true],
    ] as const)('that speaks %s has a tunnel for http too', async (scheme, secure) => {
      const { port, asked } = await proxy(secure);
      const { port: far } = await listen(createHttpServer((_request, response) => response.end('from afar')));
      const http = client(behind(port, scheme));
      expect(await get(http, `http://far.example:${far}/a?b`)).toBe('200 from afar');
      expect(asked).toEqual([`CONNECT far.example:${far} by ${ANNA}`]);
    });

    it.each([
      ['http', false],
      ['https', true],
    ] as const)(
      'that speaks %s has a tunnel for the others, and checks who is at its end',
      async (scheme, secure) => {
        const { port, asked } = await proxy(secure);
        const { port: far } = await listen(
          createHttpsServer(ca.server, (request, response) =>
            response.end(`from afar, ${request.headers['proxy-authorization'] ?? 'to nobody'}`),
          ),
        );
        const http = client(behind(port, scheme));
        // A name that our proxy does not look up; the certificate is another's.
        await expect(get(http, `https://far.example:${far}/`)).rejects.toMatchObject({
          errno: 'ERR_TLS_CERT_ALTNAME_INVALID',
          retryable: false,
        });
        expect(asked).toEqual([`CONNECT far.example:${far} by ${ANNA}`]);
      },
    );
  });

  it('trusts whom SSL_CERT_FILE names, and nobody whom it does not know', async () => {
    const { port } = await listen(createHttpsServer(ca.server, (_request, response) => response.end('safe')));
    const trusting = client({ environment: { SSL_CERT_FILE: ca.path } });
    expect(await get(trusting, `https://localhost:${port}/`)).toBe('200 safe');
    expect(await get(trusting, `https://127.0.0.1:${port}/`)).toBe('200 safe');
    await expect(get(client(), `https://localhost:${port}/`)).rejects.toMatchObject({
      code: 'E_NETWORK',
      retryable: false,
    });
  });
});
