import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HttpClient } from '../../../src/http/http-client.ts';
import type { BuildEvent } from '../../../src/solver/event.ts';
import { fetchUv } from '../../../src/tools/uv.ts';
import { type ZipEntry, zip } from '../../support/zip.ts';

const wheelName = (version: string, machine = 'x86_64', libc = 'musllinux_1_1') =>
  `uv-${version}-py3-none-manylinux_2_17_${machine}.${libc}_${machine}.whl`;
const uvWheel = (version: string): Buffer =>
  zip([
    { name: `uv-${version}.dist-info/METADATA`, content: 'Name: uv' },
    { name: `uv-${version}.data/scripts/uv`, content: `#!uv ${version}` },
    { name: `uv-${version}.data/scripts/uvx`, content: `#!uvx ${version}` },
  ]);

let server: Server;
let http: HttpClient;
let directory: string;
let indexUrl: string;
/** What the index has: name of the file → its bytes. */
let files: Map<string, Buffer>;
/** What it says of a file where that is not the truth. */
let claimed: Map<string, string>;
/** Answers that fail before a good one comes. */
let failures: number[];
let requests: string[];
let asHtml: boolean;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tsbuild-uv-'));
  http = new HttpClient({ environment: {} });
  files = new Map();
  claimed = new Map();
  failures = [];
  requests = [];
  asHtml = false;
  server = createServer((request, response) => {
    const path = request.url ?? '';
    requests.push(path);
    const failure = failures.shift();
    const bytes = files.get(path.slice('/files/'.length));
    if (failure !== undefined) {
      response.writeHead(failure).end('no');
    } else if (path === '/simple/uv/') {
      const all = [...files].map(([name, content]) => ({
        filename: name,
        url: `../../files/${name}`,
        hashes: { sha256: claimed.get(name) ?? createHash('sha256').update(content).digest('hex') },
      }));
      if (asHtml) {
        response.setHeader('content-type', 'text/html');
        response.end(
          all
            .map((file) => `<a href="${file.url}#sha256=${file.hashes.sha256}">${file.filename}</a>`)
            .join('\n'),
        );
      } else {
        response.setHeader('content-type', 'application/vnd.pypi.simple.v1+json');
        response.end(JSON.stringify({ files: all }));
      }
    } else if (path.startsWith('/files/') && bytes !== undefined) {
      response.setHeader('content-length', bytes.length);
      response.end(bytes);
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  indexUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/simple`;
});

afterEach(async () => {
  await http.close();
  await new Promise((closed) => server.close(closed));
  await rm(directory, { recursive: true, force: true });
});

const events: BuildEvent[] = [];
function fetch(version = 'latest', architecture = 'amd64', signal = new AbortController().signal) {
  events.length = 0;
  return fetchUv({
    version,
    architecture,
    indexUrl,
    http,
    directory,
    signal,
    emit: (event) => events.push(event as BuildEvent),
  });
}

describe('fetchUv', () => {
  beforeEach(() => {
    for (const version of ['0.9.2', '0.10.0', '0.9.10']) {
      files.set(wheelName(version), uvWheel(version));
    }
  });

  it.each([true, false])('takes the newest release, by number (HTML: %s)', async (html) => {
    asHtml = html;
    const found = await fetch();
    expect(found).toEqual([
      { name: 'uv', path: join(directory, 'uv') },
      { name: 'uvx', path: join(directory, 'uvx') },
    ]);
    expect(await readFile(join(directory, 'uv'), 'utf8')).toBe('#!uv 0.10.0');
    expect((await stat(join(directory, 'uvx'))).mode & 0o777).toBe(0o755);
    expect(events.at(-1)).toMatchObject({
      kind: 'progress',
      state: 'done',
      doneBytes: files.get(wheelName('0.10.0'))?.length,
    });
  });

  it('takes the version that was asked for', async () => {
    await fetch('0.9.2');
    expect(await readFile(join(directory, 'uv'), 'utf8')).toBe('#!uv 0.9.2');
  });

  it('takes the static build of the architecture', async () => {
    files.set(wheelName('0.10.0', 'aarch64'), uvWheel('arm'));
    files.set('uv-0.11.0-py3-none-manylinux_2_17_aarch64.whl', uvWheel('glibc'));
    files.set('uv-0.11.0-py3-none-win_arm64.whl', uvWheel('windows'));
    files.set('uv-0.11.0rc1-py3-none-musllinux_1_1_aarch64.whl', uvWheel('candidate'));
    await fetch('latest', 'arm64');
    expect(await readFile(join(directory, 'uv'), 'utf8')).toBe('#!uv arm');
  });

  it.each(['1.0.0', '0.9', '', '../0.9.2'])('has no version %j', async (version) => {
    await expect(fetch(version)).rejects.toMatchObject({ code: 'E_PACKAGE_NOT_FOUND' });
    expect(requests).toEqual(['/simple/uv/']);
  });

  it('asks again when the index is out of breath, not when it says no', async () => {
    failures = [503, 429];
    await fetch();
    expect(requests.slice(0, 3)).toEqual(['/simple/uv/', '/simple/uv/', '/simple/uv/']);
    failures = [404];
    requests = [];
    await expect(fetch()).rejects.toMatchObject({ code: 'E_NETWORK', status: 404 });
    expect(requests).toHaveLength(1);
  });

  it('refuses a wheel that is not what the index says, and asks for it once', async () => {
    claimed.set(wheelName('0.10.0'), 'ab'.repeat(32));
    await expect(fetch()).rejects.toMatchObject({ code: 'E_DIGEST_MISMATCH', expected: 'ab'.repeat(32) });
    expect(requests).toHaveLength(2);
    expect(await readdir(directory)).toEqual(['uv.whl']);
  });

  it('ends with the reason when it is cancelled', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(fetch('latest', 'amd64', controller.signal)).rejects.toBe(reason);
    expect(requests).toEqual([]);
  });
});

describe('a hostile wheel', () => {
  const script = (name = 'uv', more: Partial<ZipEntry> = {}): ZipEntry => ({
    name: `uv-1.0.data/scripts/${name}`,
    content: '#!uv',
    ...more,
  });
  const whole = zip([script()]);

  it.each([
    ['is no zip', Buffer.from('not a zip')],
    ['is empty', Buffer.alloc(0)],
    ['is cut', whole.subarray(0, whole.length - 10)],
    ['holds no uv', zip([script('uvx')])],
    ['holds nothing', zip([])],
    ['holds two of one name', zip([script(), { ...script(), name: 'other.data/scripts/uv' }])],
    ['has an absolute path', zip([script(), { name: '/etc/passwd', content: 'root' }])],
    ['climbs out', zip([script(), { name: '../../uv-1.0.data/scripts/uv', content: 'x' }])],
    ['says that a file is smaller', zip([script('uv', { content: 'x'.repeat(1000), claimedSize: 10 })])],
    ['says that a file is larger', zip([script('uv', { claimedSize: 10_000 })])],
  ])('that %s is refused', async (_, bytes) => {
    files.set(wheelName('1.0'), bytes);
    await expect(fetch()).rejects.toMatchObject({ code: 'E_BAD_ARCHIVE' });
  });

  it('that expands beyond the limit is refused before it is unpacked', async () => {
    files.set(wheelName('1.0'), zip([script('uv', { claimedSize: 4_000_000_000 })]));
    await expect(fetch()).rejects.toMatchObject({ code: 'E_ARCHIVE_LIMIT' });
    expect(await readdir(directory)).toEqual(['uv.whl']);
  });

  it('with files of other names writes none of them', async () => {
    files.set(
      wheelName('1.0'),
      zip([script(), { name: 'uv.whl', content: 'x' }, script('uv2'), script('deep/uv')]),
    );
    await fetch();
    expect((await readdir(directory)).toSorted()).toEqual(['uv', 'uv.whl']);
    expect(await readFile(join(directory, 'uv'), 'utf8')).toBe('#!uv');
  });
});
