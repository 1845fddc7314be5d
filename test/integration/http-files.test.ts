/** Files of a real web server: what is asked of it, what is kept, and what is not believed. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { HttpFiles, type HttpFilesOptions } from '../../src/engine/http-files.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { EventDraft } from '../../src/solver/event.ts';
import { type TemporaryStore, temporaryStore } from '../support/temporary-store.ts';
import { serveFile, startWebServer, type WebServer } from '../support/web-server.ts';

const digestOf = (body: string | Buffer) =>
  `sha256:${createHash('sha256').update(body).digest('hex')}` as Digest;
const MODIFIED = 'Wed, 21 Oct 2015 07:28:00 GMT';
const MODIFIED_SECONDS = 1_445_412_480;

let server: WebServer;
let temporary: TemporaryStore;
let events: EventDraft[];

beforeEach(async () => {
  server = await startWebServer();
  temporary = temporaryStore();
  events = [];
  onTestFinished(async () => {
    temporary[Symbol.dispose]();
    await server[Symbol.asyncDispose]();
  });
});

const context = () => ({
  signal: new AbortController().signal,
  emit: (event: EventDraft) => {
    events.push(event);
  },
});

/** As another build has it: nothing is remembered but what is in the store. */
function open(options: Partial<HttpFilesOptions> & { readonly secret?: Record<string, string> } = {}) {
  const { blobs, sources } = temporary.store;
  const files = new HttpFiles({
    blobs,
    records: sources,
    offline: false,
    environment: {},
    secrets: async (name) => options.secret?.[name],
    ...options,
  });
  onTestFinished(() => files.close());
  return files;
}

const resolve = (path: string, checksum?: string, files = open()) =>
  files.resolve(
    { url: `${server.origin}${path}`, ...(checksum === undefined ? {} : { checksum }) },
    context(),
  );
const statuses = () => server.requests.map(({ url }) => url);

describe('resolve', () => {
  test('fetches once, and then asks whether it changed', async () => {
    server.handle((request, response) =>
      serveFile(request, response, { body: 'one', etag: '"1"', lastModified: MODIFIED }),
    );
    const first = await resolve('/dir/file.txt?sig=hidden');
    expect(first).toEqual({
      url: `${server.origin}/dir/file.txt?…`,
      digest: digestOf('one'),
      name: 'file.txt',
      mtimeSeconds: MODIFIED_SECONDS,
    });
    expect(await temporary.store.blobs.read(first.digest, 10)).toEqual(Buffer.from('one'));
    expect(await resolve('/dir/file.txt?sig=hidden')).toEqual(first);
    const [before, after] = server.requests;
    expect(before?.headers).not.toHaveProperty('if-none-match');
    expect(after?.headers).toMatchObject({ 'if-none-match': '"1"', 'if-modified-since': MODIFIED });
    expect(server.requests).toHaveLength(2);
    // Another query is another file.
    await resolve('/dir/file.txt?sig=other');
    expect(server.requests[2]?.headers).not.toHaveProperty('if-none-match');
    expect(events).toContainEqual(
      expect.objectContaining({ kind: 'progress', subject: 'file.txt', doneBytes: 3, state: 'done' }),
    );
  });

  test('with nothing but a date the date is sent', async () => {
    server.handle((request, response) =>
      serveFile(request, response, { body: 'one', lastModified: MODIFIED }),
    );
    await resolve('/f');
    expect(await resolve('/f')).toMatchObject({ digest: digestOf('one'), mtimeSeconds: MODIFIED_SECONDS });
    expect(server.requests[1]?.headers).toMatchObject({ 'if-modified-since': MODIFIED });
  });

  test('a file that changed is another', async () => {
    server.handle((request, response) => serveFile(request, response, { body: 'one', etag: '"1"' }));
    await resolve('/f');
    server.handle((request, response) => serveFile(request, response, { body: 'two', etag: '"2"' }));
    expect(await resolve('/f')).toMatchObject({ digest: digestOf('two'), mtimeSeconds: 0 });
    expect((await resolve('/f')).digest).toBe(digestOf('two'));
  });

  test('a new validator of the same bytes is the same file', async () => {
    server.handle((request, response) => serveFile(request, response, { body: 'one', etag: '"1"' }));
    const first = await resolve('/f');
    server.handle((request, response) => serveFile(request, response, { body: 'one', etag: '"2"' }));
    expect(await resolve('/f')).toEqual(first);
    await resolve('/f');
    expect(server.requests[2]?.headers['if-none-match']).toBe('"2"');
  });

  test('a server that does not compare its own tags is believed when they are equal', async () => {
    server.handle((_request, response) => {
      response.writeHead(200, { etag: '"1"' }).end('one');
    });
    const first = await resolve('/f');
    // Not read: it is what we have.
    server.handle((_request, response) => {
      response.writeHead(200, { etag: '"1"' }).end('other');
    });
    expect(await resolve('/f')).toEqual(first);
  });

  test('without validators the bytes are fetched again', async () => {
    server.handle((_request, response) => {
      response.end('one');
    });
    await resolve('/f');
    server.handle((_request, response) => {
      response.end('two');
    });
    expect((await resolve('/f')).digest).toBe(digestOf('two'));
  });

  test('is asked once in a build, also at the same time', async () => {
    server.handle((_request, response) => {
      response.end('one');
    });
    const files = open();
    const both = await Promise.all([resolve('/f', undefined, files), resolve('/f#x', undefined, files)]);
    await resolve('/f', undefined, files);
    expect(both[0]).toEqual(both[1]);
    expect(statuses()).toEqual(['/f']);
  });

  test.each([404, 401, 500, 206, 304])('an answer %i is an error', async (status) => {
    server.handle((_request, response) => {
      response.writeHead(status === 500 && server.requests.length > 1 ? 404 : status).end('no');
    });
    await expect(resolve('/f?token=hidden')).rejects.toMatchObject({
      code: 'E_FETCH',
      status: status === 500 ? 404 : status,
      message: expect.not.stringContaining('hidden'),
      ...(status === 401 ? { hint: expect.stringContaining('HTTP_AUTH_TOKEN_127.0.0.1') } : {}),
    });
  });

  test.each(['ftp://h/x', 'http://', 'x', 'http://[/x'])('%s is refused', async (url) => {
    await expect(open().resolve({ url }, context())).rejects.toMatchObject({ code: 'E_URL' });
  });
});

describe('offline', () => {
  test('is what it was, or an error', async () => {
    server.handle((request, response) =>
      serveFile(request, response, { body: 'one', lastModified: MODIFIED }),
    );
    const first = await resolve('/f');
    expect(await resolve('/f', undefined, open({ offline: true }))).toEqual(first);
    await expect(resolve('/g', undefined, open({ offline: true }))).rejects.toMatchObject({
      code: 'E_OFFLINE',
    });
    expect(server.requests).toHaveLength(1);
    await temporary.store.blobs.delete(first.digest);
    const files = open({ offline: true });
    const again = await resolve('/f', undefined, files);
    await expect(files.contents(again, context())).rejects.toMatchObject({ code: 'E_OFFLINE' });
  });
});

describe('checksums', () => {
  test('nobody is asked until the bytes are needed', async () => {
    server.handle((request, response) =>
      serveFile(request, response, { body: 'one', lastModified: MODIFIED }),
    );
    const files = open();
    const file = await resolve('/f', digestOf('one'), files);
    expect(file).toMatchObject({ digest: digestOf('one'), mtimeSeconds: 0 });
    expect(server.requests).toHaveLength(0);
    const { path, mtimeSeconds } = await files.contents(file, context());
    expect(readFileSync(path, 'utf8')).toBe('one');
    expect(mtimeSeconds).toBe(MODIFIED_SECONDS);
    await files.contents(file, context());
    expect(server.requests).toHaveLength(1);
    // Known from now on, and its time too.
    const later = open({ offline: true });
    const known = await resolve('/f', digestOf('one'), later);
    expect(known.mtimeSeconds).toBe(MODIFIED_SECONDS);
    expect((await later.contents(known, context())).path).toBe(path);
  });

  test('other bytes are refused and do not stay', async () => {
    server.handle((_request, response) => {
      response.end('two');
    });
    const files = open();
    const file = await resolve('/f?sig=hidden', digestOf('one'), files);
    await expect(files.contents(file, context())).rejects.toMatchObject({
      name: 'IntegrityError',
      code: 'E_DIGEST_MISMATCH',
      expected: digestOf('one'),
      actual: digestOf('two'),
      source: `${server.origin}/f?…`,
    });
    expect(await temporary.store.blobs.has(digestOf('two'))).toBe(false);
    expect(server.requests).toHaveLength(1);
  });

  test.each(['md5:d41d8cd98f00b204e9800998ecf8427e', 'sha1:00', 'nothing', ''])(
    '%s is refused',
    async (text) => {
      await expect(resolve('/f', text)).rejects.toMatchObject({ code: 'E_CHECKSUM' });
      expect(server.requests).toHaveLength(0);
    },
  );
});

describe('contents', () => {
  test('that were removed are fetched again, if they are still the same', async () => {
    server.handle((request, response) => serveFile(request, response, { body: 'one', etag: '"1"' }));
    const { digest } = await resolve('/f');
    await temporary.store.blobs.delete(digest);
    const files = open();
    const file = await resolve('/f', undefined, files);
    expect(await temporary.store.blobs.has(digest)).toBe(false);
    expect(readFileSync((await files.contents(file, context())).path, 'utf8')).toBe('one');
    await temporary.store.blobs.delete(digest);
    server.handle((request, response) => serveFile(request, response, { body: 'two', etag: '"2"' }));
    await expect(files.contents(file, context())).rejects.toMatchObject({ code: 'E_DIGEST_MISMATCH' });
  });

  test('a body that is cut is asked for again, and nothing of it stays', async () => {
    server.handle((_request, response) => {
      if (server.requests.length > 1) {
        response.end('all of it');
        return;
      }
      response.writeHead(200, { 'content-length': 100 });
      response.write('some', () => response.destroy());
    });
    expect((await resolve('/f')).digest).toBe(digestOf('all of it'));
    expect(await temporary.store.blobs.has(digestOf('some'))).toBe(false);
    expect(server.requests).toHaveLength(2);
  });

  test('a body that never ends is not taken', async () => {
    server.handle((_request, response) => {
      const chunk = Buffer.alloc(4096);
      const more = () => {
        while (!response.destroyed && response.write(chunk)) {
          // Until the other side has enough.
        }
      };
      response.on('drain', more);
      more();
    });
    await expect(resolve('/f', undefined, open({ maxBytes: 100_000 }))).rejects.toMatchObject({
      code: 'E_SIZE_MISMATCH',
    });
  });

  test('a build that is cancelled leaves nothing', async () => {
    const cancel = new AbortController();
    server.handle((_request, response) => {
      response.writeHead(200, { 'content-length': 10 });
      response.write('some', () => cancel.abort(new Error('stop')));
    });
    const files = open();
    await expect(
      files.resolve({ url: `${server.origin}/f` }, { signal: cancel.signal, emit: () => undefined }),
    ).rejects.toThrow('stop');
    expect((await temporary.store.blobs.list().next()).done).toBe(true);
    expect(readdirSync(join(temporary.store.dir, 'tmp')).filter((name) => name.startsWith('blob-'))).toEqual(
      [],
    );
  });
});

describe('credentials', () => {
  const host = '127.0.0.1';
  const authorizations = () => server.requests.map(({ headers }) => headers.authorization);
  beforeEach(() => {
    server.handle((_request, response) => {
      response.end('one');
    });
  });

  test.each<[string, Record<string, string>, string | undefined]>([
    ['a token', { [`HTTP_AUTH_TOKEN_${host}`]: 'tok\n' }, 'Bearer tok'],
    ['a header', { [`HTTP_AUTH_HEADER_${host}`]: 'Basic abc' }, 'Basic abc'],
    ['both', { [`HTTP_AUTH_HEADER_${host}`]: 'Basic abc', [`HTTP_AUTH_TOKEN_${host}`]: 'tok' }, 'Bearer tok'],
    ['those of another host', { 'HTTP_AUTH_TOKEN_h.example': 'tok' }, undefined],
  ])('%s of the build', async (_name, secret, expected) => {
    await resolve('/f', undefined, open({ secret }));
    expect(authorizations()).toEqual([expected]);
  });

  test('a secret that is no header is refused without being shown', async () => {
    const secret = { [`HTTP_AUTH_TOKEN_${host}`]: 'hunter2\r\nx: y' };
    await expect(resolve('/f', undefined, open({ secret }))).rejects.toMatchObject({
      code: 'E_SECRET_VALUE',
      message: expect.not.stringContaining('hunter2'),
    });
    expect(server.requests).toHaveLength(0);
  });

  test('of the URL are sent, and are neither shown nor kept', async () => {
    const url = server.origin.replace('//', '//me:hunter2@');
    const file = await open().resolve({ url: `${url}/f` }, context());
    expect(authorizations()).toEqual([`Basic ${Buffer.from('me:hunter2').toString('base64')}`]);
    expect(JSON.stringify([file, events])).not.toContain('hunter2');
    expect(JSON.stringify(temporary.store.meta.db.prepare('SELECT * FROM http_files').all())).not.toMatch(
      /hunter2|127/,
    );
  });

  test('follow a redirect on the same server, and to no other', async () => {
    await using other = await startWebServer();
    other.handle((_request, response) => {
      response.end('elsewhere');
    });
    server.handle((request, response) => {
      const location = request.url === '/f' ? '/g' : `${other.origin}/h`;
      response.writeHead(request.url === '/f' ? 302 : 307, { location }).end();
    });
    const secret = { [`HTTP_AUTH_TOKEN_${host}`]: 'tok' };
    expect(await resolve('/f', undefined, open({ secret }))).toMatchObject({
      name: 'f',
      digest: digestOf('elsewhere'),
    });
    expect(authorizations()).toEqual(['Bearer tok', 'Bearer tok']);
    expect(other.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  test.each([
    ['file:///etc/passwd', 'E_REFUSED_URL'],
    ['http://169.254.169.254/latest', 'E_REFUSED_URL'],
    ['http://me:pw@127.0.0.1/', 'E_REFUSED_URL'],
    ['/loop', 'E_FETCH'],
  ])('a redirect to %s is refused', async (location, code) => {
    server.handle((_request, response) => {
      response.writeHead(302, { location }).end();
    });
    await expect(resolve('/f')).rejects.toMatchObject({ code });
  });
});
