/** Contexts that are no directory: archives made by real programs, archives that no honest program makes, repositories. */

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import {
  ARCHIVE_LIMITS,
  type ArchiveForm,
  type ArchiveLimits,
  archiveForm,
  unpackContext,
} from '../../src/engine/context-archive.ts';
import { openRemoteContext, type RemoteContextOptions } from '../../src/engine/remote-context.ts';
import { RemoteSources } from '../../src/engine/remote-sources.ts';
import { isRemoteContext } from '../../src/frontend/dockerfile/context-argument.ts';
import { readSettings } from '../../src/settings.ts';
import type { EventDraft } from '../../src/solver/event.ts';
import { COMMIT_SECONDS, commit, makeRepository, serveGitHttp } from '../support/git-server.ts';
import { type RawEntry, rawTar } from '../support/raw-tar.ts';
import { type TemporaryStore, temporaryStore } from '../support/temporary-store.ts';
import { serveFile, startWebServer } from '../support/web-server.ts';

const FILE_SECONDS = 1_000_000_000;
const signal = new AbortController().signal;

let dir: string;
let temporary: TemporaryStore;
let events: EventDraft[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tsbuild-context-'));
  temporary = temporaryStore();
  events = [];
});
afterEach(() => {
  temporary[Symbol.dispose]();
  rmSync(dir, { recursive: true, force: true });
});

async function open(source: string | AsyncIterable<Uint8Array>, options: Partial<RemoteContextOptions> = {}) {
  const environment = { PATH: process.env.PATH };
  const sources = new RemoteSources({ store: temporary.store, settings: readSettings({}), environment });
  onTestFinished(() => sources.close());
  return await openRemoteContext(source, {
    sources,
    scratchDir: join(dir, 'scratch'),
    environment,
    signal,
    emit: (event) => {
      events.push(event);
    },
    ...options,
  });
}

/** In pieces, as pipes give it. */
function piped(bytes: Buffer | string, pieceBytes = 700): Readable {
  const all = Buffer.from(bytes);
  return Readable.from(
    (function* () {
      for (let at = 0; at < all.length; at += pieceBytes) {
        yield all.subarray(at, at + pieceBytes);
      }
    })(),
  );
}

/** A directory with one of each, as GNU tar archives it. */
function archive(...tarOptions: string[]): Buffer {
  const tree = join(dir, 'tree');
  if (!existsSync(tree)) {
    mkdirSync(join(tree, 'sub/empty'), { recursive: true });
    writeFileSync(join(tree, 'Dockerfile'), 'FROM scratch\n');
    writeFileSync(join(tree, 'sub/run'), 'x'.repeat(100_000));
    chmodSync(join(tree, 'sub/run'), 0o4751);
    symlinkSync('../Dockerfile', join(tree, 'sub/link'));
    linkSync(join(tree, 'Dockerfile'), join(tree, 'sub/zhard'));
    writeFileSync(join(tree, `sub/${'long'.repeat(50)}`), 'l');
    chmodSync(join(tree, 'sub'), 0o2750);
    for (const path of ['sub/run', 'Dockerfile', `sub/${'long'.repeat(50)}`, 'sub']) {
      utimesSync(join(tree, path), FILE_SECONDS, FILE_SECONDS);
    }
  }
  return execFileSync('tar', ['-C', tree, ...tarOptions, '--sort=name', '-cf', '-', '.'], {
    maxBuffer: 1 << 26,
  });
}

const compress = (program: string, bytes: Buffer, ...args: string[]) =>
  execFileSync(program, ['-c', ...args], {
    input: bytes,
    maxBuffer: 1 << 26,
    stdio: ['pipe', 'pipe', 'ignore'],
  });

describe('an archive', () => {
  test.each<[ArchiveForm, () => Buffer]>([
    ['tar', () => archive()],
    ['tar', () => archive('--format=pax')],
    ['tar', () => archive('--format=ustar', '--exclude=long*')],
    ['tar', () => archive('--format=v7', '--exclude=long*')],
    ['gzip', () => compress('gzip', archive())],
    ['bzip2', () => compress('bzip2', archive())],
    ['xz', () => compress('xz', archive())],
    ['zstd', () => compress('zstd', archive(), '-q')],
    // Several members, as parallel compressors write them.
    [
      'gzip',
      () => {
        const all = archive();
        return Buffer.concat([compress('gzip', all.subarray(0, 1000)), compress('gzip', all.subarray(1000))]);
      },
    ],
    [
      'zstd',
      () => {
        const all = archive();
        return Buffer.concat([
          compress('zstd', all.subarray(0, 1000), '-q'),
          compress('zstd', all.subarray(1000), '-q'),
        ]);
      },
    ],
  ])('%s on standard input becomes a directory', async (form, make) => {
    const bytes = make();
    expect(archiveForm(bytes)).toBe(form);
    const context = await open(piped(bytes));
    if (context.kind !== 'directory') {
      throw new Error(context.kind);
    }
    const { path } = context;
    expect(context.sourceEpochSeconds).toBe(FILE_SECONDS);
    expect(readFileSync(join(path, 'sub/run'), 'utf8')).toBe('x'.repeat(100_000));
    expect(statSync(join(path, 'sub/run')).mode & 0o7777).toBe(0o4751);
    expect(statSync(join(path, 'sub')).mode & 0o7777).toBe(0o2750);
    expect(statSync(join(path, 'sub')).mtimeMs).toBe(FILE_SECONDS * 1000);
    expect(statSync(join(path, 'Dockerfile')).mtimeMs).toBe(FILE_SECONDS * 1000);
    expect(readlinkSync(join(path, 'sub/link'))).toBe('../Dockerfile');
    expect(statSync(join(path, 'sub/zhard')).ino).toBe(statSync(join(path, 'Dockerfile')).ino);
    expect(readdirSync(join(path, 'sub/empty'))).toEqual([]);
    await context.close();
    expect(readdirSync(join(dir, 'scratch'))).toEqual([]);
  });

  test('of a web server', async () => {
    await using server = await startWebServer();
    const bytes = compress('gzip', archive());
    server.handle((request, response) =>
      serveFile(request, response, {
        body: bytes,
        ...(request.url === '/dated' ? { lastModified: 'Wed, 21 Oct 2015 07:28:00 GMT' } : {}),
      }),
    );
    const undated = await open(`${server.origin}/undated`);
    expect(undated).toMatchObject({ kind: 'directory', sourceEpochSeconds: FILE_SECONDS });
    const dated = await open(`${server.origin}/dated`);
    expect(dated).toMatchObject({ kind: 'directory', sourceEpochSeconds: 1_445_412_480 });
    expect(readdirSync((dated as { path: string }).path)).toEqual(['Dockerfile', 'sub']);
    await dated.close();
    await undated.close();
  });

  test('without the program that it needs says which', async () => {
    for (const program of ['bzip2', 'xz']) {
      await expect(
        open(piped(compress(program, archive())), { environment: { PATH: '/nowhere' } }),
      ).rejects.toMatchObject({ name: 'HostError', code: 'E_TOOL_MISSING' });
    }
  });

  test('that is cut or damaged is refused, and nothing stays', async () => {
    const whole = archive();
    for (const bytes of [
      whole.subarray(0, 60_000),
      compress('gzip', whole).subarray(0, 300),
      compress('xz', whole).subarray(0, 300),
      compress('bzip2', whole).subarray(0, 200),
      compress('zstd', whole, '-q').subarray(0, 300),
      Buffer.concat([Buffer.from([0x1f, 0x8b, 0x08]), Buffer.alloc(600, 7)]),
      Buffer.concat([Buffer.from('BZh9'), Buffer.alloc(600, 7)]),
      compress('gzip', Buffer.from('FROM scratch\n'.repeat(100))),
    ]) {
      await expect(open(piped(bytes))).rejects.toMatchObject({ code: 'E_BAD_ARCHIVE' });
    }
    expect(readdirSync(join(dir, 'scratch'))).toEqual([]);
  });

  test.each([0, 100, 5000, 60_000])('of which %i bytes come and no more can be cancelled', async (size) => {
    for (const bytes of [archive(), compress('gzip', archive()), compress('xz', archive())]) {
      const cancel = new AbortController();
      const stalled = (async function* () {
        yield bytes.subarray(0, size);
        // Asked for more, which never comes.
        cancel.abort(new Error('stop'));
        await new Promise(() => undefined);
      })();
      await expect(open(stalled, { signal: cancel.signal })).rejects.toThrow('stop');
      expect(readdirSync(join(dir, 'scratch'))).toEqual([]);
    }
  });

  test('that is cancelled leaves nothing', async () => {
    const cancel = new AbortController();
    const bytes = archive();
    const source = (async function* () {
      yield bytes.subarray(0, 5000);
      cancel.abort(new Error('stop'));
      yield bytes.subarray(5000);
    })();
    await expect(open(source, { signal: cancel.signal })).rejects.toThrow('stop');
    expect(readdirSync(join(dir, 'scratch'))).toEqual([]);
  });
});

describe('a hostile archive', () => {
  async function unpack(entries: readonly RawEntry[], limits: Partial<ArchiveLimits> = {}) {
    const directory = join(dir, 'inside');
    mkdirSync(directory, { recursive: true });
    const unpacked = await unpackContext(piped(rawTar(entries)), {
      form: 'tar',
      directory,
      what: 'the test',
      signal,
      environment: {},
      limits: { ...ARCHIVE_LIMITS, ...limits },
    });
    return { directory, ...unpacked };
  }

  test.each<[string, RawEntry[]]>([
    ['a path above it', [{ name: '../out', content: 'x' }]],
    ['a path that goes up and down', [{ name: 'a/../../out', content: 'x' }]],
    ['a long path above it', [{ name: 'x', content: 'x', pax: { path: '../out' } }]],
    [
      'a file through a link',
      [
        { name: 'l', type: '2', link: '..' },
        { name: 'l/out', content: 'x' },
      ],
    ],
    [
      'a file through a link below',
      [
        { name: 'a/', type: '5' },
        { name: 'a/l', type: '2', link: '../..' },
        { name: 'a/l/out', content: 'x' },
      ],
    ],
    [
      'a directory through a link',
      [
        { name: 'l', type: '2', link: '..' },
        { name: 'l/out/', type: '5' },
      ],
    ],
    ['a link to a file outside', [{ name: 'h', type: '1', link: '../victim' }]],
    [
      'a link to a file through a link',
      [
        { name: 'l', type: '2', link: '..' },
        { name: 'h', type: '1', link: 'l/victim' },
      ],
    ],
    [
      'a link to a link',
      [
        { name: 'l', type: '2', link: '../victim' },
        { name: 'h', type: '1', link: 'l' },
      ],
    ],
    ['a link to nothing', [{ name: 'h', type: '1', link: 'none' }]],
    [
      'a file over a directory',
      [
        { name: 'a/b', content: 'x' },
        { name: 'a', content: 'x' },
      ],
    ],
    [
      'a link over a directory',
      [
        { name: 'a/b', content: 'x' },
        { name: 'a', type: '2', link: '..' },
      ],
    ],
    [
      'a file as directory',
      [
        { name: 'a', content: 'x' },
        { name: 'a/b', content: 'x' },
      ],
    ],
    ['a sparse file', [{ name: 's', type: 'S', content: 'x' }]],
    ['a path with a NUL', [{ name: 'x', content: 'x', pax: { path: 'a\0b' } }]],
    ['a size that is no number', [{ name: 'x', size: 'zzzzzzzzzzz' }]],
    ['a negative size', [{ name: 'x', size: Buffer.from(`${'ff'.repeat(11)}fe`, 'hex') }]],
  ])('with %s', async (_name, entries) => {
    writeFileSync(join(dir, 'victim'), 'mine');
    await expect(unpack(entries)).rejects.toMatchObject({ code: 'E_BAD_ARCHIVE' });
    expect(existsSync(join(dir, 'out'))).toBe(false);
    expect(statSync(join(dir, 'victim'))).toMatchObject({ nlink: 1, size: 4 });
  });

  test('a file after a link of its name replaces the link, not what it points to', async () => {
    writeFileSync(join(dir, 'victim'), 'mine');
    const { directory } = await unpack([
      { name: 'f', type: '2', link: '../victim' },
      { name: 'f', content: 'new' },
      { name: 'd', type: '2', link: '..' },
      { name: 'd/', type: '5', mode: 0o700 },
      { name: 'd/out', content: 'x' },
    ]);
    expect(readFileSync(join(dir, 'victim'), 'utf8')).toBe('mine');
    expect(lstatSync(join(directory, 'f')).isFile()).toBe(true);
    expect(lstatSync(join(directory, 'd')).isDirectory()).toBe(true);
    expect(existsSync(join(dir, 'out'))).toBe(false);
  });

  test('a directory that is named again is the same', async () => {
    const { directory } = await unpack([
      { name: 'a/', type: '5', mode: 0o700 },
      { name: './a/b', content: 'x' },
      { name: '/a/', type: '5', mode: 0o711 },
    ]);
    expect(statSync(join(directory, 'a')).mode & 0o777).toBe(0o711);
    expect(readdirSync(join(directory, 'a'))).toEqual(['b']);
  });

  test('devices and pipes are left out and named', async () => {
    const { directory, skipped, newestSeconds } = await unpack([
      { name: 'null', type: '3', device: [1, 3] },
      { name: 'disk', type: '4', device: [8, 0] },
      { name: 'pipe', type: '6' },
    ]);
    expect(readdirSync(directory)).toEqual([]);
    expect(skipped).toEqual(['null', 'disk', 'pipe']);
    expect(newestSeconds).toBeUndefined();
    const context = await open(piped(rawTar([{ name: 'pipe', type: '6' }])));
    expect(events).toContainEqual(expect.objectContaining({ kind: 'warning', code: 'W_CONTEXT' }));
    await context.close();
  });

  test('names that are not UTF-8 stay what they are', async () => {
    const name = Buffer.from([0x61, 0xff]);
    const { directory } = await unpack([{ name, content: 'x' }]);
    expect(readdirSync(directory, { encoding: 'buffer' })).toEqual([name]);
  });

  test('what its owner cannot read is made readable', async () => {
    const { directory } = await unpack([
      { name: 'a/', type: '5', mode: 0 },
      { name: 'a/b', content: 'x', mode: 0 },
    ]);
    expect(statSync(join(directory, 'a')).mode & 0o777).toBe(0o500);
    expect(statSync(join(directory, 'a/b')).mode & 0o777).toBe(0o400);
  });

  test('is no larger and no fuller than is good', async () => {
    const many = Array.from({ length: 5 }, (_, index) => ({ name: `f${index}`, content: 'x' }));
    await expect(unpack(many, { maxEntries: 4 })).rejects.toMatchObject({ code: 'E_ARCHIVE_LIMIT' });
    await expect(
      unpack([{ name: 'big', content: 'x'.repeat(10_000) }], { maxBytes: 5000 }),
    ).rejects.toMatchObject({ code: 'E_ARCHIVE_LIMIT' });
  });

  test('that is a bomb is stopped', async () => {
    const bomb = compress('gzip', rawTar([{ name: 'zeros', content: Buffer.alloc(8 << 20) }]), '-9');
    const directory = join(dir, 'inside');
    mkdirSync(directory);
    const limits = { ...ARCHIVE_LIMITS, freeBytes: 1 << 20, maxRatio: 100 };
    await expect(
      unpackContext(piped(bomb), {
        form: 'gzip',
        directory,
        what: 'the bomb',
        signal,
        environment: {},
        limits,
      }),
    ).rejects.toMatchObject({ code: 'E_ARCHIVE_LIMIT' });
  });
});

describe('a Dockerfile', () => {
  test('on standard input is one without files', async () => {
    for (const text of ['FROM scratch\n', `# é${'x'.repeat(5000)}\nFROM scratch`, 'x']) {
      const context = await open(piped(text));
      expect(context).toMatchObject({ kind: 'dockerfile', text });
      await context.close();
    }
    expect(readdirSync(join(dir, 'scratch'))).toEqual([]);
  });

  test('of a web server too', async () => {
    await using server = await startWebServer();
    server.handle((request, response) =>
      serveFile(request, response, { body: 'FROM scratch\n', lastModified: 'Wed, 21 Oct 2015 07:28:00 GMT' }),
    );
    expect(await open(`${server.origin}/Dockerfile`)).toMatchObject({
      kind: 'dockerfile',
      text: 'FROM scratch\n',
      sourceEpochSeconds: 1_445_412_480,
    });
  });

  test.each([
    ['nothing', ''],
    ['bytes that mean nothing', Buffer.concat([Buffer.from('\x7fELF'), Buffer.alloc(600)])],
    ['endless text', Buffer.alloc(17 << 20, 'a')],
  ])('is not %s', async (_name, bytes) => {
    await expect(open(piped(bytes, 1 << 20))).rejects.toMatchObject({ code: 'E_CONTEXT' });
    expect(readdirSync(join(dir, 'scratch'))).toEqual([]);
  });
});

describe('a repository', () => {
  test('is checked out, with plain modes and the time of its commit', async () => {
    const before = process.umask(0o077);
    onTestFinished(() => {
      process.umask(before);
    });
    await using server = await serveGitHttp(dir);
    const repository = makeRepository(dir, 'a.git');
    mkdirSync(join(repository, 'docs'));
    writeFileSync(join(repository, 'docs/run'), 'x', { mode: 0o755 });
    chmodSync(join(repository, 'docs/run'), 0o755);
    commit(repository, { 'docs/Dockerfile': 'FROM scratch\n', 'docs/d/f': '' });
    const context = await open(`${server.origin}/a.git#main:docs`, { commitTimes: true });
    if (context.kind !== 'directory') {
      throw new Error(context.kind);
    }
    expect(context.sourceEpochSeconds).toBe(COMMIT_SECONDS);
    expect(
      ['', 'Dockerfile', 'run', 'd', 'd/f'].map((name) => {
        const { mode, mtimeMs } = statSync(join(context.path, name));
        return [name, (mode & 0o777).toString(8), mtimeMs / 1000];
      }),
    ).toEqual([
      ['', '755', COMMIT_SECONDS],
      ['Dockerfile', '644', COMMIT_SECONDS],
      ['run', '755', COMMIT_SECONDS],
      ['d', '755', COMMIT_SECONDS],
      ['d/f', '644', COMMIT_SECONDS],
    ]);
    await context.close();
    const whole = await open(`${server.origin}/a.git`, { keepGitDir: true });
    expect(readdirSync((whole as { path: string }).path)).toContain('.git');
    await whole.close();
    expect(readdirSync(join(dir, 'scratch'))).toEqual([]);
  });

  test('that is none is an error, and leaves nothing', async () => {
    await using server = await serveGitHttp(dir);
    await expect(open(`${server.origin}/none.git`)).rejects.toMatchObject({ code: 'E_GIT' });
    expect(readdirSync(join(dir, 'scratch'))).toEqual([]);
  });
});

test('arguments that are no directory are told by their looks', async () => {
  for (const argument of [
    '-',
    'https://h/x.tar.gz',
    'https://h/x.git',
    'git@h:x',
    'github.com/a/b',
    'ssh://h/x',
  ]) {
    expect(isRemoteContext(argument)).toBe(true);
  }
  for (const argument of ['.', '', 'dir', '/abs', './github.com/a', 'a.git', 'file:///x.git']) {
    expect(isRemoteContext(argument)).toBe(false);
  }
  await expect(open('dir')).rejects.toMatchObject({ code: 'E_CONTEXT' });
});
