import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ArchiveFetch, createArchiveFetch } from '../../../src/debian/fetch.ts';

const CONTENT = Buffer.from(Array.from({ length: 200_000 }, (_, index) => (index * 7919) % 251));
const sha256 = createHash('sha256').update(CONTENT).digest('hex');

describe('createArchiveFetch', () => {
  let server: Server;
  let base: string;
  let directory: string;
  let fetch: ArchiveFetch;
  let requests: IncomingMessage[];
  let answer: (request: IncomingMessage, response: ServerResponse) => void;

  beforeEach(async () => {
    requests = [];
    answer = (_, response) => response.end(CONTENT);
    server = createServer((request, response) => {
      requests.push(request);
      answer(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    directory = mkdtempSync(`${tmpdir()}/tsbuild-fetch-`);
    fetch = createArchiveFetch({ backoffBaseMs: 1, attempts: 4 });
  });
  afterEach(async () => {
    await fetch.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    rmSync(directory, { recursive: true });
  });

  const file = (change = {}) => ({ url: `${base}/pool/a.deb`, sha256, sizeBytes: CONTENT.length, ...change });

  it('puts the file under its digest, and does not fetch it twice', async () => {
    const seen: number[] = [];
    const path = await fetch.file(file(), directory, { onBytes: (count) => seen.push(count) });
    expect(path).toBe(`${directory}/${sha256}`);
    expect(readFileSync(path).equals(CONTENT)).toBe(true);
    expect(seen.reduce((a, b) => a + b)).toBe(CONTENT.length);
    expect(await fetch.file(file(), directory)).toBe(path);
    expect(requests).toHaveLength(1);
  });

  it('goes on where a broken connection ended', async () => {
    const ranges: (string | undefined)[] = [];
    answer = (request, response) => {
      ranges.push(request.headers.range);
      const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
      const rest = CONTENT.subarray(start);
      if (start > 0) {
        response.statusCode = 206;
        response.setHeader('content-range', `bytes ${start}-${CONTENT.length - 1}/${CONTENT.length}`);
      }
      response.setHeader('content-length', rest.length);
      if (ranges.length < 3) {
        response.write(rest.subarray(0, 60_000), () => response.destroy());
      } else {
        response.end(rest);
      }
    };
    expect(readFileSync(await fetch.file(file(), directory)).equals(CONTENT)).toBe(true);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.slice(1).every((range) => range?.startsWith('bytes='))).toBe(true);
    expect(ranges).toHaveLength(3);
  });

  it('copes with a server that ignores the range', async () => {
    answer = (_, response) => {
      response.setHeader('content-length', CONTENT.length);
      if (requests.length === 1) {
        response.write(CONTENT.subarray(0, 50_000), () => response.destroy());
      } else {
        response.end(CONTENT);
      }
    };
    expect(readFileSync(await fetch.file(file(), directory)).equals(CONTENT)).toBe(true);
  });

  it('tries again when the server is busy, and gives up after the attempts it has', async () => {
    answer = (_, response) => {
      response.statusCode = requests.length < 3 ? 503 : 200;
      response.end(requests.length < 3 ? '' : CONTENT);
    };
    await fetch.file(file(), directory);
    expect(requests).toHaveLength(3);
    answer = (_, response) => {
      response.statusCode = 503;
      response.end();
    };
    requests.length = 0;
    await expect(fetch.text(`${base}/InRelease`, { maxBytes: 10 })).rejects.toThrow(
      expect.objectContaining({ code: 'E_ARCHIVE_FETCH', status: 503, attempts: 4 }),
    );
    expect(requests).toHaveLength(4);
  });

  it('does not try again what is not there', async () => {
    answer = (_, response) => {
      response.statusCode = 404;
      response.end();
    };
    await expect(fetch.file(file(), directory)).rejects.toThrow(
      expect.objectContaining({ code: 'E_ARCHIVE_FETCH', status: 404 }),
    );
    expect(requests).toHaveLength(1);
  });

  it.each([
    ['E_DIGEST_MISMATCH', { sha256: 'f'.repeat(64) }],
    ['E_SIZE_MISMATCH', { sizeBytes: CONTENT.length - 1 }],
  ])('keeps nothing after %s', async (code, change) => {
    await expect(fetch.file(file(change), directory)).rejects.toThrow(expect.objectContaining({ code }));
    expect(readdirSync(directory)).toEqual([]);
    expect(requests).toHaveLength(1);
  });

  it('ends a file that is too short with an error', async () => {
    await expect(fetch.file(file({ sizeBytes: CONTENT.length + 1 }), directory)).rejects.toThrow(
      expect.objectContaining({ code: 'E_ARCHIVE_FETCH' }),
    );
    expect(readdirSync(directory)).toEqual([]);
  });

  it('bounds a text', async () => {
    await expect(fetch.text(`${base}/InRelease`, { maxBytes: 1000 })).rejects.toThrow(
      expect.objectContaining({ code: 'E_SIZE_MISMATCH' }),
    );
  });

  it('follows redirects of http only', async () => {
    answer = (request, response) => {
      if (request.url === '/pool/a.deb') {
        response.writeHead(302, { location: '/elsewhere' });
        response.end();
      } else {
        response.end(CONTENT);
      }
    };
    await fetch.file(file(), directory);
    expect(requests.map((request) => request.url)).toEqual(['/pool/a.deb', '/elsewhere']);
    rmSync(`${directory}/${sha256}`);
    answer = (_, response) => {
      response.writeHead(302, { location: 'file:///etc/passwd' });
      response.end();
    };
    await expect(fetch.file(file(), directory)).rejects.toThrow(
      expect.objectContaining({ code: 'E_ARCHIVE_FETCH' }),
    );
  });

  it('stops when it is told to, and leaves nothing behind', async () => {
    writeFileSync(`${directory}/other`, '');
    const abort = new AbortController();
    const reason = new Error('enough');
    answer = (_, response) => {
      response.write(CONTENT.subarray(0, 1000));
      abort.abort(reason);
    };
    await expect(fetch.file(file(), directory, { signal: abort.signal })).rejects.toBe(reason);
    expect(readdirSync(directory)).toEqual(['other']);
  });
});
