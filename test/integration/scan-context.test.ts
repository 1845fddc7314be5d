import { execFileSync } from 'node:child_process';
import { chmod, mkdir, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listingOf } from '../../src/base/listing.ts';
import { sha256Hex } from '../../src/base/sha256.ts';
import type { ContextSelection } from '../../src/frontend/dockerfile/context-input.ts';
import { findIgnoreFile } from '../../src/local/find-ignore-file.ts';
import type { ContextTools } from '../../src/local/found-context.ts';
import { ScannedContext } from '../../src/local/scan-context.ts';
import { type NativeTreeIndex, native } from '../../src/native/addon.ts';
import { MemoryScanStore } from '../support/memory-scan-store.ts';
import { MemoryStatCache } from '../support/plain-scan.ts';
import { temporaryTree } from '../support/temporary-tree.ts';
import { canMakeUsers, runJson, stage } from '../support/unprivileged-user.ts';

const HOUR_NS = 3_600_000_000_000n;
/** Long after the files were written, so that their times are settled. */
const later = () => BigInt(Date.now()) * 1_000_000n + HOUR_NS;
const code = (expected: string) => expect.objectContaining({ code: expected });

/** With it, contexts are indexed. */
let scans: MemoryScanStore | undefined;

const MODES = ['listed', 'indexed'] as const;
function scansOf(mode: (typeof MODES)[number]): void {
  beforeEach(() => {
    scans = mode === 'indexed' ? new MemoryScanStore() : undefined;
  });
  afterEach(() => {
    scans?.[Symbol.dispose]();
    scans = undefined;
  });
}

/** The addon, and what it was asked. */
class Watched {
  readonly listed: string[] = [];
  readonly opened: string[] = [];
  /** By whichever way. */
  filesRead = 0;
  readonly tools: ContextTools;

  constructor(statCache = new MemoryStatCache()) {
    const real = native();
    this.tools = {
      statCache,
      now: later,
      ...(scans === undefined ? {} : { scans }),
      native: {
        CancelToken: real.CancelToken,
        walkTree: async (...asked) => {
          const walk = await real.walkTree(...asked);
          const { fingerprint, names, newestNs } = walk;
          return {
            fingerprint,
            names,
            newestNs,
            index: async (...more) => this.#counting(await walk.index(...more)),
          };
        },
        scanDirectories: (root, directories, cancel) => {
          this.listed.push(...directories.map((path) => path.toString()));
          return real.scanDirectories(root, directories, cancel);
        },
        hashFiles: (paths, cancel) => {
          this.opened.push(...paths.map((path) => path.toString()));
          this.filesRead += paths.length;
          return real.hashFiles(paths, cancel);
        },
      },
    };
  }

  #counting(index: NativeTreeIndex): NativeTreeIndex {
    const hash: NativeTreeIndex['hash'] = async (...asked) => {
      const hashed = await index.hash(...asked);
      this.filesRead += hashed.filesRead;
      return hashed;
    };
    return new Proxy(index, {
      get: (target, name) => {
        const member = name === 'hash' ? hash : target[name as keyof NativeTreeIndex];
        return typeof member === 'function' ? member.bind(target) : member;
      },
    });
  }
}

const copy = (source: string, more: Partial<NonNullable<ContextSelection['select']>> = {}) => ({
  source,
  select: { wildcards: true, parents: false, exclude: [], ...more },
});

const scan = (directory: string, ignore?: string, { tools } = new Watched()) =>
  ScannedContext.scan(
    {
      name: 'context',
      directory,
      ignore: ignore === undefined ? undefined : { name: join(directory, '.dockerignore'), text: ignore },
    },
    tools,
  );

async function summary(directory: string, ignore: string | undefined, ...selections: ContextSelection[]) {
  const watched = new Watched();
  const files = await (await scan(directory, ignore, watched)).files(selections, watched.tools);
  expect(files.listing).toBe(listingOf(Object.entries(files.summary)));
  return files.summary;
}

describe.each(MODES)('a context that is %s', (mode) => {
  scansOf(mode);

  test('gives what is selected, with modes as they are, and the links on the way', async () => {
    await using tree = await temporaryTree({
      'src/run': { text: 'x', mode: 0o6711 },
      'src/deep/file': { text: 'y', mode: 0o600 },
      'src/deep/link': { link: '../nowhere' },
      'src/empty': null,
      other: 'other',
      way: { link: 'src' },
      file: { link: 'way/run' },
    });
    await chmod(join(tree.path, 'src/deep'), 0o700);
    expect(await summary(tree.path, undefined, copy('way'))).toEqual({
      '/src/': '0755',
      '/src/deep/': '0700',
      '/src/deep/file': `0600 ${sha256Hex('y')}`,
      '/src/deep/link': '-> ../nowhere',
      '/src/empty/': '0755',
      '/src/run': `6711 ${sha256Hex('x')}`,
      '/way': '-> src',
    });
    expect(await summary(tree.path, undefined, copy('file'), copy('other'))).toEqual({
      '/file': '-> way/run',
      '/other': `0644 ${sha256Hex('other')}`,
      '/src/run': `6711 ${sha256Hex('x')}`,
      '/way': '-> src',
    });
    expect(await summary(tree.path, undefined, copy('*.zip'))).toEqual({});
    expect(await summary(tree.path, undefined, { source: 'src/run' })).toEqual({
      '/src/run': `6711 ${sha256Hex('x')}`,
    });
  });

  test('the worker gets places, times to the nanosecond, and what the files were', async () => {
    await using tree = await temporaryTree({ 'd/f': 'x', 'd/l': { link: 'f' } });
    execFileSync('touch', [
      '-h',
      '-d',
      '2001-02-03 04:05:06.123456789Z',
      join(tree.path, 'd/f'),
      join(tree.path, 'd/l'),
    ]);
    const watched = new Watched();
    const { files } = await (await scan(tree.path, undefined, watched)).files([copy('d')], watched.tools);
    const mtimeNs = '981173106123456789';
    expect(files).toEqual([
      {
        path: '/d',
        kind: 'directory',
        hostPath: join(tree.path, 'd'),
        mode: 0o755,
        mtimeNs: expect.stringMatching(/^\d+$/),
      },
      {
        path: '/d/f',
        kind: 'file',
        hostPath: join(tree.path, 'd/f'),
        mode: 0o644,
        mtimeNs,
        expect: { sizeBytes: 1, mtimeNs, ctimeNs: expect.stringMatching(/^\d+$/) },
      },
      { path: '/d/l', kind: 'symlink', link: 'f', mode: 0o777, mtimeNs },
    ]);
  });

  test('the digest is of paths, kinds, modes, links and contents, not of times or places', async () => {
    const digest = async (directory: string, ...selections: ContextSelection[]) => {
      const watched = new Watched();
      return (await (await scan(directory, undefined, watched)).files(selections, watched.tools))
        .contentDigest;
    };
    const leaves = { 'a/x': '1', b: '2', l: { link: 'b' } };
    await using one = await temporaryTree(leaves);
    await using other = await temporaryTree(leaves);
    await chmod(other.path, 0o700);
    await utimes(join(other.path, 'b'), 1, 1);
    await writeFile(join(other.path, 'unselected'), '3');
    const all = copy('.', { exclude: ['unselected'] });
    const expected = await digest(one.path, all);
    expect(await digest(other.path, all)).toBe(expected);

    const seen = new Set([expected]);
    const changed = async (change: Promise<unknown>) => {
      await change;
      seen.add(await digest(other.path, all));
    };
    await changed(chmod(join(other.path, 'b'), 0o600));
    await changed(chmod(join(other.path, 'a'), 0o711));
    await changed(writeFile(join(other.path, 'b'), '3'));
    await changed(rename(join(other.path, 'b'), join(other.path, 'c')));
    await changed(mkdir(join(other.path, 'empty')));
    await changed(rm(join(other.path, 'l')));
    await changed(symlink('c', join(other.path, 'l')));
    await changed(
      rm(join(other.path, 'empty'), { recursive: true }).then(() => writeFile(join(other.path, 'empty'), '')),
    );
    expect(seen.size).toBe(9);
  });

  test('opens only what is selected, each once, and nothing that its stat tells', async () => {
    await using tree = await temporaryTree({ 'a/x': '1', 'a/y': '2', b: '3', 'c/z': '4' });
    const statCache = new MemoryStatCache();
    const first = new Watched(statCache);
    const context = await scan(tree.path, undefined, first);
    expect(first.filesRead).toBe(0);
    const both = await Promise.all([
      context.files([copy('a')], first.tools),
      context.files([copy('a/x'), copy('b')], first.tools),
    ]);
    expect(first.filesRead).toBe(3);
    if (mode === 'listed') {
      expect(first.opened.sort()).toEqual(['a/x', 'a/y', 'b'].map((path) => join(tree.path, path)));
      expect(first.listed).toEqual(['', 'a', 'c']);
    }

    const second = new Watched(statCache);
    const again = await scan(tree.path, undefined, second);
    expect((await again.files([copy('a')], second.tools)).contentDigest).toBe(both[0].contentDigest);
    expect(second.filesRead).toBe(0);
  });

  test('many directories, which several threads list, are all there and in order', async () => {
    const leaves = Object.fromEntries(
      Array.from({ length: 150 }, (_, number) => [`d${number}/e${number % 7}/f`, `${number}`]),
    );
    await using tree = await temporaryTree(leaves);
    const expected = (await native().scanTree(tree.path)).map(({ path }) => `/${path}`);
    const watched = new Watched();
    const { files } = await (await scan(tree.path, undefined, watched)).files([copy('.')], watched.tools);
    expect(files.map(({ path }) => path).sort()).toEqual(expected.sort());
    expect(files.find(({ path }) => path === '/d149/e2/f')?.expect?.sizeBytes).toBe(3);

    const asked = Array.from({ length: 150 }, (_, number) => Buffer.from(`d${number}`));
    const listings = JSON.parse(await native().scanDirectories(tree.path, asked)) as [string][][];
    expect(listings.map((rows) => rows.map(([name]) => name))).toEqual(
      asked.map((_, number) => [`e${number % 7}`]),
    );
    await expect(native().scanDirectories(tree.path, [...asked, Buffer.from('d1/e1/f')])).rejects.toThrow(
      'd1/e1/f',
    );
  });

  test('does not look into what the ignore file hides', async () => {
    await using tree = await temporaryTree({
      'node_modules/p/index.js': '1',
      'pkg/node_modules/q/index.js': '2',
      'docs/a/b/c.md': '3',
      'docs/x/y.md': '4',
      'docs/z.md': '5',
      'src/a.ts': '6',
    });
    const watched = new Watched();
    const context = await scan(tree.path, '**/node_modules\ndocs\n!docs/a/b\n', watched);
    // `docs/x` cannot hold anything of `docs/a/b`.
    expect(watched.listed).toEqual(['', 'docs', 'pkg', 'src', 'docs/a', 'docs/a/b']);
    const { files } = await context.files([copy('.')], watched.tools);
    expect(files.map(({ path }) => path)).toEqual([
      '/docs',
      '/docs/a',
      '/docs/a/b',
      '/docs/a/b/c.md',
      '/pkg',
      '/src',
      '/src/a.ts',
    ]);
  });

  test('the ignore file and the Dockerfile are files like any other', async () => {
    await using tree = await temporaryTree({ Dockerfile: 'FROM scratch', '.dockerignore': 'x', x: '' });
    expect(Object.keys(await summary(tree.path, 'x', copy('.')))).toEqual(['/.dockerignore', '/Dockerfile']);
    expect(await summary(tree.path, '*', copy('.'))).toEqual({});
  });

  test('sockets are empty files, pipes are not carried', async () => {
    await using tree = await temporaryTree({ 'd/f': 'x' });
    execFileSync('mkfifo', [join(tree.path, 'd/pipe')]);
    const server = createServer().listen(join(tree.path, 'd/s'));
    try {
      await new Promise((resolve) => server.once('listening', resolve));
      await chmod(join(tree.path, 'd/s'), 0o755);
      const watched = new Watched();
      const context = await scan(tree.path, undefined, watched);
      const { files, summary: keys, leftOut } = await context.files([copy('d')], watched.tools);
      expect(keys['/d/s']).toBe(`0755 ${sha256Hex('')}`);
      expect(files.find(({ path }) => path === '/d/s')).toEqual({
        path: '/d/s',
        kind: 'file',
        mode: 0o755,
        mtimeNs: expect.any(String),
      });
      expect(leftOut).toEqual(['/d/pipe']);
      expect(watched.filesRead).toBe(1);
      await expect(context.files([copy('d/pipe')], watched.tools)).rejects.toThrow(
        code('E_LOCAL_FILE_MISSING'),
      );
    } finally {
      server.close();
    }
  });

  test('names that are not text matter only where they are selected', async () => {
    await using tree = await temporaryTree({ 'd/f': 'x' });
    const bytes = (path: string, ...more: number[]) =>
      Buffer.concat([Buffer.from(join(tree.path, path)), Buffer.from(more)]);
    await writeFile(bytes('d/n', 0xff), 'y');
    await symlink(Buffer.from([0xfe]), join(tree.path, 'link'));
    expect(Object.keys(await summary(tree.path, undefined, copy('d/f')))).toEqual(['/d/f']);
    expect(Object.keys(await summary(tree.path, 'd/n?', copy('d')))).toEqual(['/d/', '/d/f']);
    await expect(summary(tree.path, undefined, copy('d'))).rejects.toThrow(code('E_LAYER_UNREPRESENTABLE'));
    await expect(summary(tree.path, undefined, copy('.', { exclude: ['d'] }))).rejects.toThrow(
      code('E_LAYER_UNREPRESENTABLE'),
    );
  });

  test('a link to it may name it; a file or nothing is told apart', async () => {
    await using tree = await temporaryTree({ 'ctx/a': '1', to: { link: 'ctx' }, file: 'x' });
    expect(Object.keys(await summary(join(tree.path, 'to'), undefined, copy('.')))).toEqual(['/a']);
    await expect(scan(join(tree.path, 'file'))).rejects.toThrow(code('E_LOCAL_NOT_DIR'));
    await expect(scan(join(tree.path, 'none'))).rejects.toThrow(code('E_LOCAL_DIR_MISSING'));
    await expect(scan(join(tree.path, 'ctx'), '!')).rejects.toThrow(code('E_BAD_PATTERN'));
  });

  test('an aborted build rejects with its reason', async () => {
    await using tree = await temporaryTree({ a: '1' });
    const reason = new Error('enough');
    const watched = new Watched();
    const tools = { ...watched.tools, signal: AbortSignal.abort(reason) };
    await expect(
      ScannedContext.scan({ name: 'context', directory: tree.path, ignore: undefined }, tools),
    ).rejects.toBe(reason);
    const context = await scan(tree.path, undefined, watched);
    await expect(context.files([copy('a')], tools)).rejects.toBe(reason);
    // What was cancelled leaves nothing behind that others would wait for.
    expect((await context.files([copy('a')], watched.tools)).files).toHaveLength(1);
  });
});

describe.each(MODES)('a source that is not there, of a context that is %s', (mode) => {
  scansOf(mode);

  const failure = async (directory: string, ignore: string | undefined, source: string) => {
    try {
      await summary(directory, ignore, copy(source));
    } catch (error) {
      return error as { code: string; message: string; hint: string };
    }
    throw new Error('nothing failed');
  };

  test('names the context and a near name', async () => {
    await using tree = await temporaryTree({ 'src/package.json': '1' });
    expect(await failure(tree.path, undefined, 'src/pakage.json')).toMatchObject({
      code: 'E_COPY_SOURCE_MISSING',
      message: `there is no 'src/pakage.json' in the build context '${tree.path}'`,
      hint: "did you mean 'src/package.json'?",
    });
    expect((await failure(tree.path, undefined, 'zzz')).hint).toContain('paths below');
  });

  test('names a named context by its name', async () => {
    await using tree = await temporaryTree({ a: '1' });
    const watched = new Watched();
    const context = await ScannedContext.scan(
      { name: 'lib', directory: tree.path, ignore: undefined },
      watched.tools,
    );
    await expect(context.files([copy('b')], watched.tools)).rejects.toThrow(
      expect.objectContaining({ message: `there is no 'b' in the context 'lib' ('${tree.path}')` }),
    );
  });

  test('says which line of which ignore file hides it', async () => {
    await using tree = await temporaryTree({ 'docs/a.md': '1', to: { link: 'docs/a.md' } });
    const ignore = '# notes\n\n*.txt\ndocs\n';
    for (const source of ['docs/a.md', 'to']) {
      expect(await failure(tree.path, ignore, source)).toMatchObject({
        code: 'E_COPY_SOURCE_MISSING',
        message: `there is no '${source}' in the build context '${tree.path}': line 4 of '${tree.path}/.dockerignore' hides it: 'docs'`,
        hint: expect.stringContaining("write '!docs"),
      });
    }
    // What is not on the disk is not hidden.
    expect((await failure(tree.path, ignore, 'none.txt')).message).not.toContain('line');
  });

  test('links in a circle', async () => {
    await using tree = await temporaryTree({ a: { link: 'b' }, b: { link: 'a' } });
    expect(await failure(tree.path, undefined, 'a')).toMatchObject({
      code: 'E_COPY_SOURCE_MISSING',
      message: expect.stringContaining('circle'),
    });
  });
});

describe('which ignore file', () => {
  test('the one of the Dockerfile, even if it is empty, then that of the context', async () => {
    await using tree = await temporaryTree({ '.dockerignore': 'of the context', 'sub/app.dockerfile': '' });
    const dockerfile = join(tree.path, 'sub/app.dockerfile');
    expect(await findIgnoreFile(tree.path, dockerfile)).toEqual({
      name: join(tree.path, '.dockerignore'),
      text: 'of the context',
    });
    await writeFile(`${dockerfile}.dockerignore`, '');
    expect(await findIgnoreFile(tree.path, dockerfile)).toEqual({
      name: `${dockerfile}.dockerignore`,
      text: '',
    });
    expect(await findIgnoreFile(tree.path)).toMatchObject({ text: 'of the context' });
    expect(await findIgnoreFile(join(tree.path, 'sub'))).toBeUndefined();
  });

  test('in the other order one beside the Dockerfile comes in between, and only those inside of the context count (C101)', async () => {
    await using tree = await temporaryTree({
      'ctx/.dockerignore': 'top',
      'ctx/sub/.dockerignore': 'beside',
      'ctx/sub/D.dockerignore': 'named',
      'ctx-2/.dockerignore': 'other',
      'ctx-2/D.dockerignore': 'other',
    });
    const context = join(tree.path, 'ctx');
    const nearest = async (dockerfile?: string) => {
      const path = dockerfile === undefined ? undefined : join(tree.path, dockerfile);
      const found = await findIgnoreFile(context, path, 'nearest');
      return found !== undefined && 'text' in found ? found.text : undefined;
    };
    expect(await nearest('ctx/sub/D')).toBe('named');
    expect(await nearest('ctx/sub/Other')).toBe('beside');
    expect(await nearest('ctx/Other')).toBe('top');
    expect(await nearest('ctx-2/D')).toBe('top');
    expect(await nearest()).toBe('top');
  });

  test('something else than a file is refused', async () => {
    await using tree = await temporaryTree({ '.dockerignore': null });
    await expect(findIgnoreFile(tree.path)).rejects.toThrow(code('E_LOCAL_FILE_MISSING'));
  });
});

test.skipIf(!canMakeUsers())(
  'what an ordinary user may not read matters only where it is selected (C157)',
  async () => {
    const where = stage('without-ids');
    try {
      const context = join(where.dir, 'context');
      execFileSync('sh', [
        '-c',
        `mkdir -p ${context}/open ${context}/closed/in ${context}/hidden
       echo 1 > ${context}/open/a; echo 2 > ${context}/open/secret; echo 3 > ${context}/closed/in/b
       chmod 0 ${context}/open/secret ${context}/closed ${context}/hidden; chmod 755 ${context} ${context}/open`,
      ]);
      const file = 'test/support/scan-context-scenario.ts';
      const ask = (...sources: string[]) => runJson(where, file, context, 'hidden', ...sources);
      expect(await ask('open/a', 'op*/a')).toEqual([['/open/a'], ['/open/a']]);
      expect(await ask('open')).toEqual(['E_IO']);
      expect(await ask('.', 'closed', 'closed/in/b')).toEqual(['E_IO', 'E_IO', 'E_IO']);
      expect(await ask('hidden')).toEqual(['E_COPY_SOURCE_MISSING']);
    } finally {
      where.remove();
    }
  },
);
