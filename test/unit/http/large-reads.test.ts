import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';
import { forEachPiece, HttpClient } from '../../../src/http/http-client.ts';
import { giveBack } from '../../../src/http/large-reads.ts';
import { makeCompanyCa, serveTls } from '../../support/company-ca.ts';

const BODY = randomBytes(9_000_000);
const OTHER = randomBytes(5_000_000);

let server: Server | undefined;
let client: HttpClient | undefined;
afterEach(async () => {
  await client?.close();
  client = undefined;
  server?.close();
});

async function serve(listener: Parameters<typeof createServer>[1]): Promise<URL> {
  server = createServer(listener as never);
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
}

/** The same server's URL, for the client that trusts it. */
async function behindTls({ port }: URL): Promise<URL> {
  const directory = mkdtempSync(join(tmpdir(), 'tsbuild-tls-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const ca = makeCompanyCa(directory);
  const listening = await serveTls(ca, Number(port));
  onTestFinished(() => listening[Symbol.asyncDispose]());
  client = new HttpClient({ environment: { SSL_CERT_FILE: ca.path } });
  return new URL(`https://localhost:${listening.port}/`);
}

async function receive(url: URL, take: (piece: Buffer) => Promise<unknown>): Promise<void> {
  client ??= new HttpClient();
  const response = await client.send({ method: 'GET', url, headers: {} });
  await forEachPiece(response.body, take);
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

describe('what is read of a connection', () => {
  for (const form of ['with a length', 'in chunks', 'through TLS'] as const) {
    it(`is the body, ${form}, also of two at once whose memory is used again`, async () => {
      const plain = await serve((request, response) => {
        const body = request.url === '/other' ? OTHER : BODY;
        response.writeHead(200, form === 'in chunks' ? {} : { 'content-length': body.length }).end(body);
      });
      const url = form === 'through TLS' ? await behindTls(plain) : plain;
      const one = async (path: string) => {
        const hash = createHash('sha256');
        await receive(new URL(path, url), async (piece) => {
          // Others are read meanwhile.
          await turn();
          hash.update(piece);
          giveBack(piece);
        });
        return hash.digest('hex');
      };
      for (let round = 0; round < 3; round += 1) {
        expect(await Promise.all([one('/'), one('/other')])).toEqual([sha256(BODY), sha256(OTHER)]);
      }
    });
  }

  it('stays what it is until it is given back', async () => {
    const url = await serve((_request, response) => void response.end(BODY));
    const pieces: Buffer[] = [];
    await receive(url, async (piece) => void pieces.push(piece));
    await receive(url, async (piece) => giveBack(piece));
    expect(sha256(Buffer.concat(pieces))).toBe(sha256(BODY));
  });
});

describe('forEachPiece', () => {
  it('throws what its taker throws, once that is done', async () => {
    const url = await serve((_request, response) => void response.end(BODY));
    const refusal = new Error('enough');
    let taken = 0;
    const receiving = receive(url, async () => {
      taken += 1;
      await turn();
      throw refusal;
    });
    await expect(receiving).rejects.toBe(refusal);
    expect(taken).toBe(1);
  });

  it('ends a body of which its taker wants no more', async () => {
    const url = await serve((_request, response) => void response.end(BODY));
    let taken = 0;
    await receive(url, async () => {
      taken += 1;
      return taken < 2;
    });
    expect(taken).toBe(2);
  });

  it('says that a body broke, when its taker is done', async () => {
    const url = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': BODY.length });
      response.write(BODY.subarray(0, 3_000_000), () => setTimeout(() => response.destroy(), 5));
    });
    let busy = 0;
    const receiving = receive(url, async () => {
      busy += 1;
      for (let turns = 0; turns < 50; turns += 1) {
        await turn();
      }
      busy -= 1;
    });
    await expect(receiving).rejects.toThrow();
    expect(busy).toBe(0);
  });
});
