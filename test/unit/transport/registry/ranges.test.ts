/** Large blobs over several connections, from registries that refuse, break and lie. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { BlobStore } from '../../../../src/content/blob-store.ts';
import { HostError } from '../../../../src/errors.ts';
import { describe as descriptorOf } from '../../../../src/image/manifest.ts';
import { OCI_LAYER_GZIP } from '../../../../src/oci/media-type.ts';
import { parseReference } from '../../../../src/oci/reference.ts';
import { RegistryClient, type RegistryClientOptions } from '../../../../src/transport/registry/client.ts';
import { fixedCredentials } from '../../../../src/transport/registry/credentials.ts';
import type { TransferProgress } from '../../../../src/transport/registry/pull.ts';
import { makeCompanyCa, serveTls } from '../../../support/company-ca.ts';
import {
  fail,
  type Misbehaviour,
  TestRegistry,
  type TestRegistryOptions,
} from '../../../support/registry.ts';

const PIECE = 64 * 1024;
const BLOB = Buffer.from(
  Array.from({ length: 30 * PIECE + 777 }, (_, index) => (index * 7919 + (index >> 8)) & 255),
);
const DESCRIPTOR = descriptorOf(BLOB, OCI_LAYER_GZIP);
/** Every connection is slow, and another one always helps. */
const EAGER = {
  pieceBytes: PIECE,
  fastBytesPerSecond: Number.POSITIVE_INFINITY,
  leastGain: Number.NEGATIVE_INFINITY,
};

let directory: string;
let store: BlobStore;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tsbuild-ranges-'));
  store = new BlobStore(join(directory, 'store'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function start(options: TestRegistryOptions = {}): Promise<TestRegistry> {
  const registry = await TestRegistry.start(options);
  onTestFinished(() => registry.close());
  registry.addBlob('team/app', BLOB);
  return registry;
}

function connect(options: RegistryClientOptions = {}): RegistryClient {
  const client = new RegistryClient({ backoffBaseMs: 2, ranges: EAGER, ...options });
  onTestFinished(() => client.close());
  return client;
}

const reference = ({ host }: TestRegistry) => parseReference(`${host}/team/app:v1`);

interface Range {
  readonly start: number;
  /** Without it; `undefined` to the end. */
  readonly end: number | undefined;
}

function rangeOf({ headers }: { readonly headers: IncomingMessage['headers'] }): Range | undefined {
  const match = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '');
  return match === null
    ? undefined
    : { start: Number(match[1]), end: match[2] === '' ? undefined : Number(match[2]) + 1 };
}

/** What blobs were asked for by, in order. */
function asked(registry: TestRegistry): readonly (Range | undefined)[] {
  return registry.requests.filter(({ url }) => url.includes('/blobs/')).map(rangeOf);
}

function pieces(registry: TestRegistry): readonly number[] {
  return asked(registry).flatMap((range) => (range?.end === undefined ? [] : [range.start]));
}

/**
 * The first request brings two pieces and the rest only when pieces were asked for twice: then the first of these has arrived. Requests of
 * pieces are answered by `act`.
 *
 * @param end - Where it goes silent, so that only others can bring the rest. @defaultValue never
 * @returns Whether the client closed it before that.
 */
function holdUpFirst(
  registry: TestRegistry,
  act: (range: Range, ...parameters: Parameters<Misbehaviour>) => void | Promise<void> = (
    _range,
    _request,
    _response,
    serve,
  ) => serve(),
  { after = 2, end = BLOB.length, repository = 'team/app' } = {},
): Promise<boolean> {
  const closed = Promise.withResolvers<boolean>();
  let held: (() => void) | undefined;
  let seen = 0;
  const misbehave: Misbehaviour = async (request, response, serve) => {
    const range = rangeOf(request);
    if (range?.end !== undefined) {
      seen += 1;
      if (seen === after) {
        held?.();
      }
      await act(range, request, response, serve);
    } else if (held === undefined) {
      const offset = range?.start ?? 0;
      const contentRange = `bytes ${offset}-${BLOB.length - 1}/${BLOB.length}`;
      response.writeHead(range === undefined ? 200 : 206, {
        'content-length': BLOB.length - offset,
        ...(range === undefined ? {} : { 'content-range': contentRange }),
      });
      response.on('close', () => closed.resolve(!response.writableFinished));
      response.write(BLOB.subarray(offset, offset + 2 * PIECE));
      held = () => {
        response.write(BLOB.subarray(offset + 2 * PIECE, end));
        if (end === BLOB.length) {
          response.end();
        }
      };
    } else {
      await serve();
    }
  };
  registry.misbehave('GET', new RegExp(`/v2/${repository}/blobs/`), misbehave, 999);
  return closed.promise;
}

/** Answers with other bytes, or another header, than were asked for. */
function answer(response: ServerResponse, contentRange: string, bytes: Buffer): void {
  response.writeHead(206, { 'content-range': contentRange, 'content-length': bytes.length }).end(bytes);
}

async function expectWhole(blobs = store): Promise<void> {
  await blobs.verify(DESCRIPTOR.digest);
}

describe('several connections', () => {
  it('bring each byte once, in order', async () => {
    const registry = await start();
    const closed = holdUpFirst(registry, undefined, { end: 10 * PIECE });
    const progress: TransferProgress[] = [];
    await connect().fetchBlob(reference(registry), DESCRIPTOR, store, {
      onProgress: (event) => progress.push(event),
    });
    await expectWhole();
    expect(asked(registry)[0]).toBeUndefined();
    const ranges = asked(registry)
      .flatMap((range) => (range === undefined ? [] : [range]))
      .toSorted((a, b) => a.start - b.start);
    for (const [index, { end }] of ranges.entries()) {
      expect(end).toBe(ranges[index + 1]?.start ?? BLOB.length);
    }
    expect(ranges[0]?.start).toBeLessThanOrEqual(4 * PIECE);
    expect(await closed).toBe(true);
    const done = progress.map(({ doneBytes }) => doneBytes);
    expect(done).toEqual(done.toSorted((a, b) => a - b));
    expect(progress.at(-1)).toMatchObject({ state: 'done', doneBytes: BLOB.length });
  });

  it('are not made where the first one is fast', async () => {
    const registry = await start();
    const ranges = { ...EAGER, fastBytesPerSecond: 0 };
    await connect({ ranges }).fetchBlob(reference(registry), DESCRIPTOR, store);
    await expectWhole();
    expect(asked(registry)).toEqual([undefined]);
  });

  it('are not made where little is left', async () => {
    const registry = await start();
    await connect({ ranges: { ...EAGER, pieceBytes: BLOB.length / 4 } }).fetchBlob(
      reference(registry),
      DESCRIPTOR,
      store,
    );
    await expectWhole();
    expect(asked(registry)).toEqual([undefined]);
  });

  it('are not made by default for what comes at once', async () => {
    const registry = await start();
    await connect({ ranges: { pieceBytes: PIECE, fastBytesPerSecond: 1e5 } }).fetchBlob(
      reference(registry),
      DESCRIPTOR,
      store,
    );
    expect(asked(registry)).toEqual([undefined]);
  });

  // Three helpers, and what takes the place of each first connection.
  it.each([
    [1, 4],
    [2, 5],
  ])('for %i blobs are at most %i', async (blobs, limit) => {
    const registry = await start();
    let open = 0;
    let most = 0;
    const repositories = Array.from({ length: blobs }, (_, index) => `team/${index}`);
    for (const repository of repositories) {
      registry.addBlob(repository, BLOB);
      const slowly: Misbehaviour = async (_request, _response, serve) => {
        open += 1;
        most = Math.max(most, open);
        await new Promise((resolve) => setTimeout(resolve, 5));
        open -= 1;
        await serve();
      };
      holdUpFirst(registry, (_range, ...parameters) => slowly(...parameters), { repository });
    }
    const client = connect();
    await Promise.all(
      repositories.map((repository) =>
        client.fetchBlob(
          parseReference(`${registry.host}/${repository}:v1`),
          DESCRIPTOR,
          new BlobStore(join(directory, repository)),
        ),
      ),
    );
    expect(most).toBeGreaterThan(2);
    expect(most).toBeLessThanOrEqual(limit);
  });

  it('end where they bring nothing', async () => {
    const registry = await start();
    holdUpFirst(registry);
    const ranges = { ...EAGER, leastGain: Number.POSITIVE_INFINITY };
    await connect({ ranges }).fetchBlob(reference(registry), DESCRIPTOR, store);
    await expectWhole();
    // What was begun is used: the last request goes on behind it.
    const ends = asked(registry).flatMap((range) => range?.end ?? []);
    expect(asked(registry).at(-1)).toEqual({ start: Math.max(...ends), end: undefined });
    expect(pieces(registry).length).toBeLessThanOrEqual(7);
  });

  it('go on with a partial download', async () => {
    const registry = await start();
    const writer = await store.openWrite({ expected: DESCRIPTOR });
    await writer.write(BLOB.subarray(0, 100_001));
    await writer.abort({ keep: true });
    holdUpFirst(registry);
    await connect().fetchBlob(reference(registry), DESCRIPTOR, store);
    await expectWhole();
    expect(asked(registry)[0]).toEqual({ start: 100_001, end: undefined });
    expect(pieces(registry).length).toBeGreaterThan(10);
  });

  it('go where the first one was redirected, with nothing of ours', async () => {
    const storage = await start();
    const users = { anna: 'se:cret' };
    const registry = await start({ auth: { kind: 'basic', users }, redirectBlobsTo: storage.origin });
    holdUpFirst(storage);
    const credentials = fixedCredentials(registry.host, { username: 'anna', password: 'se:cret' });
    await connect({ credentials }).fetchBlob(reference(registry), DESCRIPTOR, store);
    await expectWhole();
    expect(pieces(storage).length).toBeGreaterThan(10);
    expect(storage.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
    expect(asked(registry)).toEqual([undefined]);
  });

  it('ask the registry again when a signed place expired', async () => {
    const [registry, storage] = [await start(), await start()];
    let signed = 0;
    registry.misbehave(
      'GET',
      /blobs/,
      (request, response) => {
        signed += 1;
        response.writeHead(307, { location: `${storage.origin}${request.url}?signature=${signed}` }).end();
      },
      999,
    );
    let refused = 0;
    holdUpFirst(storage, ({ start: from }, request, response, serve) => {
      if (from > 10 * PIECE && request.url?.endsWith('=1')) {
        refused += 1;
        fail(response, 403, 'DENIED', 'Request has expired');
        return;
      }
      return serve();
    });
    await connect().fetchBlob(reference(registry), DESCRIPTOR, store);
    await expectWhole();
    expect(refused).toBeGreaterThan(0);
    // Each connection may find out by itself.
    expect(signed).toBeLessThanOrEqual(5);
    expect(asked(storage).filter((range) => range?.end === undefined)).toHaveLength(1);
  });

  it('renew a token that expired', async () => {
    const registry = await start({ auth: { kind: 'bearer', users: {} } });
    let expired = false;
    holdUpFirst(registry, ({ start: from }, _request, _response, serve) => {
      if (from > 10 * PIECE && !expired) {
        expired = true;
        registry.expireTokens();
      }
      return serve();
    });
    await connect().fetchBlob(reference(registry), DESCRIPTOR, store);
    await expectWhole();
    expect(registry.count('GET', /^\/token/)).toBeGreaterThan(1);
    expect(asked(registry).filter((range) => range?.end === undefined)).toHaveLength(1);
  });

  it('bring foreign layers from where they are', async () => {
    const [registry, elsewhere] = [await start(), await start()];
    holdUpFirst(elsewhere);
    const foreign = {
      ...DESCRIPTOR,
      mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
      urls: [`${elsewhere.origin}/v2/team/app/blobs/${DESCRIPTOR.digest}`],
    };
    await connect().fetchBlob(reference(registry), foreign, store);
    await expectWhole();
    expect(pieces(elsewhere).length).toBeGreaterThan(10);
    expect(asked(registry)).toEqual([]);
  });

  it('are encrypted as the first one is', async () => {
    const registry = await start();
    holdUpFirst(registry);
    const ca = makeCompanyCa(directory);
    await using listening = await serveTls(ca, Number(new URL(registry.origin).port));
    const client = connect({ environment: { SSL_CERT_FILE: ca.path } });
    await client.fetchBlob(parseReference(`localhost:${listening.port}/team/app:v1`), DESCRIPTOR, store);
    await expectWhole();
    expect(pieces(registry).length).toBeGreaterThan(10);
  });

  it('know no length where the server says none', async () => {
    const registry = await start();
    holdUpFirst(registry, ({ start: from, end }, _request, response) =>
      answer(response, `bytes ${from}-${Number(end) - 1}/*`, BLOB.subarray(from, end)),
    );
    await connect().fetchBlob(reference(registry), DESCRIPTOR, store);
    await expectWhole();
    expect(pieces(registry).length).toBeGreaterThan(10);
  });
});

type Act = (range: Range, request: IncomingMessage, response: ServerResponse) => void;

const refusals: Readonly<Record<string, Act>> = {
  'does not know Range': (_range, _request, response) =>
    void response.writeHead(200, { 'content-length': BLOB.length }).end(BLOB),
  'has no such bytes': (_range, _request, response) => void response.writeHead(416).end(),
  'is asked too often': (_range, _request, response) => {
    response.setHeader('Retry-After', '60');
    fail(response, 429, 'TOOMANYREQUESTS', 'slow down');
  },
  'is busy': (_range, _request, response) => fail(response, 503, 'UNAVAILABLE', 'later'),
  'forbids it': (_range, _request, response) => fail(response, 403, 'DENIED', 'no'),
  'sends other bytes than asked for': ({ start: from, end }, _request, response) =>
    answer(response, `bytes ${from + 1}-${end}/${BLOB.length}`, BLOB.subarray(from + 1, Number(end) + 1)),
  'sends fewer': ({ start: from, end }, _request, response) =>
    answer(response, `bytes ${from}-${Number(end) - 2}/${BLOB.length}`, BLOB.subarray(from, Number(end) - 1)),
  'sends of another blob': ({ start: from, end }, _request, response) =>
    answer(response, `bytes ${from}-${Number(end) - 1}/${BLOB.length + 1}`, BLOB.subarray(from, end)),
  'does not say which bytes': ({ start: from, end }, _request, response) =>
    void response.writeHead(206).end(BLOB.subarray(from, end)),
  'encodes them': ({ start: from, end }, _request, response) => {
    response.setHeader('content-encoding', 'gzip');
    answer(response, `bytes ${from}-${Number(end) - 1}/${BLOB.length}`, BLOB.subarray(from, end));
  },
};

describe.each(Object.entries(refusals))('a registry that %s', (_name, refuse) => {
  it('from the beginning, is read over the first connection', async () => {
    const registry = await start();
    holdUpFirst(registry, refuse, { after: 1 });
    await connect().fetchBlob(reference(registry), DESCRIPTOR, store);
    await expectWhole();
    expect(asked(registry).filter((range) => range?.end === undefined)).toEqual([undefined]);
    // Once, or twice where an expired signature could be the reason; and again where the first connection had come so far before the answer.
    expect(pieces(registry).length).toBeLessThanOrEqual(4);
  });

  it('later, is read over one connection from there on', async () => {
    const registry = await start();
    const from = 12 * PIECE;
    holdUpFirst(registry, (range, request, response, serve) =>
      // Those behind it are there.
      range.start >= from && range.start < from + PIECE ? refuse(range, request, response) : serve(),
    );
    await connect().fetchBlob(reference(registry), DESCRIPTOR, store);
    await expectWhole();
    const [first, rest, ...others] = asked(registry).filter((range) => range?.end === undefined);
    expect([first, others]).toEqual([undefined, []]);
    expect(rest?.start).toBeGreaterThanOrEqual(from);
    expect(rest?.start).toBeLessThan(from + PIECE);
  });
});

it('a piece that broke goes on where it broke', async () => {
  const registry = await start();
  let broken: Range | undefined;
  holdUpFirst(registry, (range, _request, response, serve) => {
    if (range.start < 12 * PIECE || broken !== undefined) {
      return serve();
    }
    broken = range;
    const { start: from, end = 0 } = range;
    response.writeHead(206, {
      'content-range': `bytes ${from}-${end - 1}/${BLOB.length}`,
      'content-length': end - from,
    });
    response.write(BLOB.subarray(from, from + 40_000), () => setTimeout(() => response.destroy(), 20));
  });
  await connect().fetchBlob(reference(registry), DESCRIPTOR, store);
  await expectWhole();
  const again = asked(registry).find((range) => range?.end === broken?.end && range?.start !== broken?.start);
  expect(again?.start).toBe((broken?.start ?? 0) + 40_000);
  expect(asked(registry).filter((range) => range?.end === undefined)).toHaveLength(1);
});

it('a server error costs a repetition', async () => {
  const registry = await start();
  let failed = false;
  holdUpFirst(registry, (range, _request, response, serve) => {
    if (range.start < 12 * PIECE || failed) {
      return serve();
    }
    failed = true;
    fail(response, 502, 'UNKNOWN', 'bad gateway');
  });
  await connect().fetchBlob(reference(registry), DESCRIPTOR, store);
  await expectWhole();
  expect(failed).toBe(true);
  expect(asked(registry).filter((range) => range?.end === undefined)).toEqual([undefined]);
});

it('a piece that always breaks is left to one connection', async () => {
  const registry = await start();
  holdUpFirst(registry, (range, request, _response, serve) =>
    range.start < 12 * PIECE ? serve() : void request.socket.destroy(),
  );
  await connect().fetchBlob(reference(registry), DESCRIPTOR, store);
  await expectWhole();
  const open = asked(registry).filter((range) => range?.end === undefined);
  expect(open).toEqual([undefined, { start: expect.any(Number), end: undefined }]);
});

it('a server that sends more than it said is cut off', async () => {
  const registry = await start();
  holdUpFirst(registry, ({ start: from, end }, _request, response) => {
    response.writeHead(206, { 'content-range': `bytes ${from}-${Number(end) - 1}/${BLOB.length}` });
    response.end(Buffer.concat([BLOB.subarray(from, end), Buffer.alloc(1000, 'more')]));
  });
  await connect().fetchBlob(reference(registry), DESCRIPTOR, store);
  await expectWhole();
});

it('wrong bytes in one piece cost a new download over one connection', async () => {
  const registry = await start();
  const files: (string | undefined)[] = [];
  holdUpFirst(registry, ({ start: from, end }, _request, response) =>
    answer(
      response,
      `bytes ${from}-${Number(end) - 1}/${BLOB.length}`,
      from > 10 * PIECE ? Buffer.alloc(Number(end) - from) : BLOB.subarray(from, end),
    ),
  );
  await connect().fetchBlob(reference(registry), DESCRIPTOR, store, { onFile: (path) => files.push(path) });
  await expectWhole();
  expect(files).toEqual([expect.any(String), undefined]);
  expect(asked(registry).filter((range) => range?.end === undefined)).toEqual([undefined, undefined]);
});

it('a first connection that breaks while pieces wait is made again', async () => {
  const registry = await start();
  let answered = 0;
  let broke = false;
  registry.misbehave(
    'GET',
    /blobs/,
    async (request, response, serve) => {
      if (rangeOf(request)?.end !== undefined) {
        answered += 1;
        await serve();
      } else if (broke) {
        await serve();
      } else {
        broke = true;
        response.writeHead(200, { 'content-length': BLOB.length });
        response.write(BLOB.subarray(0, 2 * PIECE));
        await expect.poll(() => answered).toBeGreaterThan(1);
        response.destroy();
      }
    },
    999,
  );
  await connect().fetchBlob(reference(registry), DESCRIPTOR, store);
  await expectWhole();
});

it('a mirror that breaks off leaves what it sent to the next source', async () => {
  const [mirror, registry] = [await start(), await start()];
  let sent = 0;
  mirror.misbehave(
    'GET',
    /blobs/,
    async (request, response, serve) => {
      const range = rangeOf(request);
      if (range?.end !== undefined && range.start < 12 * PIECE) {
        sent += 1;
        return serve();
      }
      if (range !== undefined) {
        request.socket.destroy();
        return;
      }
      response.writeHead(200, { 'content-length': BLOB.length });
      response.write(BLOB.subarray(0, 2 * PIECE));
      await expect.poll(() => sent).toBeGreaterThan(1);
      response.end(BLOB.subarray(2 * PIECE));
    },
    999,
  );
  const mirrors = [{ host: registry.host, url: mirror.origin }];
  await connect({ mirrors }).fetchBlob(reference(registry), DESCRIPTOR, store);
  await expectWhole();
  expect(asked(registry)[0]?.start).toBeGreaterThanOrEqual(12 * PIECE);
});

it('a cancelled download ends all requests and keeps what is in order', async () => {
  for (const later of [false, true]) {
    const registry = await start();
    const abort = new AbortController();
    let silent = 0;
    const reached = new Promise<void>((resolve) => {
      holdUpFirst(registry, ({ start: from }, _request, _response, serve) => {
        if (later && from < 12 * PIECE) {
          return serve();
        }
        // Answered never.
        silent += 1;
        if (silent === (later ? 3 : 1)) {
          resolve();
        }
      });
    });
    const blobs = new BlobStore(join(directory, `cancelled-${later}`));
    let done = 0;
    const client = connect();
    const fetched = client.fetchBlob(reference(registry), DESCRIPTOR, blobs, {
      signal: abort.signal,
      onProgress: ({ doneBytes }) => {
        done = doneBytes;
      },
    });
    fetched.catch(() => {});
    await reached;
    if (later) {
      await expect.poll(() => done).toBeGreaterThanOrEqual(12 * PIECE);
    }
    abort.abort(new Error('enough'));
    await expect(fetched).rejects.toThrow('enough');
    await client.close();
    await expect.poll(() => registry.openSockets).toBe(0);
    const writer = await blobs.openWrite({ expected: DESCRIPTOR });
    expect(writer.offset).toBe(done);
    const kept = await readFile(writer.path);
    expect(kept.equals(BLOB.subarray(0, done))).toBe(true);
    await writer.abort();
  }
});

it('a full disk ends all at once', async () => {
  for (const [room, answered] of [
    [3 * PIECE, 0],
    [15 * PIECE, 16 * PIECE],
  ] as const) {
    const registry = await start();
    const blobs = new BlobStore(join(directory, `full-${room}`));
    const openWrite = blobs.openWrite.bind(blobs);
    blobs.openWrite = async (options) => {
      const writer = await openWrite(options);
      const write = writer.write.bind(writer);
      writer.write = async (chunk) => {
        if (writer.offset + chunk.byteLength > room) {
          throw new HostError('cannot write a blob', { code: 'E_DISK_FULL', errno: 'ENOSPC' });
        }
        await write(chunk);
      };
      return writer;
    };
    holdUpFirst(
      registry,
      ({ start: from }, _request, _response, serve) => {
        if (from < answered) {
          return serve();
        }
        // Answered never.
      },
      { after: answered === 0 ? 1 : 2 },
    );
    const client = connect();
    await expect(client.fetchBlob(reference(registry), DESCRIPTOR, blobs)).rejects.toMatchObject({
      code: 'E_DISK_FULL',
    });
    const requests = registry.requests.length;
    await client.close();
    await expect.poll(() => registry.openSockets).toBe(0);
    expect(registry.requests).toHaveLength(requests);
  }
});

it('a piece that is not there in time is no reason to wait', async () => {
  const registry = await start();
  const waiting: (() => void)[] = [];
  holdUpFirst(
    registry,
    async (_range, _request, _response, serve) => {
      await new Promise<void>((resolve) => waiting.push(resolve));
      await serve();
    },
    { after: 1 },
  );
  await connect().fetchBlob(reference(registry), DESCRIPTOR, store);
  await expectWhole();
  for (const resolve of waiting) {
    resolve();
  }
});
