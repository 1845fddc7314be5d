import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createNetServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { describe, expect, it, onTestFinished } from 'vitest';
import { speaksNoTls } from '../../../src/http/speaks-tls.ts';
import { makeCompanyCa } from '../../support/company-ca.ts';

const environment = {};

async function portOf(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const rootOf = (port: number) => new URL(`https://127.0.0.1:${port}/`);

describe('speaksNoTls', () => {
  it('tells plain HTTP by what it answers to a greeting, and sends no request', async () => {
    const requests: unknown[] = [];
    const port = await portOf(createServer((request) => requests.push(request)));
    expect(await speaksNoTls(rootOf(port), { environment })).toBe(true);
    expect(requests).toEqual([]);
  });

  it('takes whoever hangs up for one that does not', async () => {
    const port = await portOf(createNetServer((socket) => socket.end()));
    expect(await speaksNoTls(rootOf(port), { environment })).toBe(true);
  });

  it('knows TLS by whatever certificate, since nothing is said to its owner', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tsbuild-tls-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const said: Buffer[] = [];
    const port = await portOf(
      createTlsServer(makeCompanyCa(directory).server, (socket) =>
        socket.on('data', (chunk) => said.push(chunk)),
      ),
    );
    expect(await speaksNoTls(rootOf(port), { environment })).toBe(false);
    expect(said).toEqual([]);
  });

  it('leaves a server that answers in TLS, though not well, to who checks it', async () => {
    // It has no certificate, so that every handshake fails by an alert.
    const port = await portOf(createTlsServer({}));
    expect(await speaksNoTls(rootOf(port), { environment })).toBe(false);
  });

  it('says nothing where nobody listens', async () => {
    const server = createNetServer();
    const port = await portOf(server);
    await new Promise((resolve) => server.close(resolve));
    expect(await speaksNoTls(rootOf(port), { environment })).toBe(false);
  });

  it('says nothing behind a proxy, which would be greeted instead', async () => {
    const sockets: Socket[] = [];
    const port = await portOf(createNetServer((socket) => sockets.push(socket.destroy())));
    const proxied = { https_proxy: `http://127.0.0.1:${port}` };
    expect(await speaksNoTls(new URL('https://registry.example/'), { environment: proxied })).toBe(false);
    expect(sockets).toEqual([]);
  });

  it('ends when it is told to', async () => {
    const port = await portOf(createNetServer(() => undefined));
    const controller = new AbortController();
    const answer = speaksNoTls(rootOf(port), { environment, signal: controller.signal });
    controller.abort();
    expect(await answer).toBe(false);
  });
});
