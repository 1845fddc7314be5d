/** Real git against real servers of it: which commit is meant, what is fetched, and what a hostile repository cannot do. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import {
  GitRepositories,
  type GitRepositoriesOptions,
  type GitWishes,
} from '../../src/engine/git-repositories.ts';
import { gitDir } from '../../src/engine/store.ts';
import { parseGitUrl } from '../../src/frontend/dockerfile/git-url.ts';
import type { SourceGit } from '../../src/graph/vertex.ts';
import type { EventDraft } from '../../src/solver/event.ts';
import {
  COMMIT_SECONDS,
  commit,
  type GitHttpOptions,
  type GitServer,
  git,
  makeRepository,
  serveGitDaemon,
  serveGitHttp,
} from '../support/git-server.ts';
import { lacks } from '../support/requires.ts';
import { type TemporaryStore, temporaryStore } from '../support/temporary-store.ts';

const signal = new AbortController().signal;
const context = { signal, emit: (_event: EventDraft) => undefined };

describe.skipIf(lacks('git'))('git repositories', () => {
  let root: string;
  let temporary: TemporaryStore;
  let server: GitServer;
  /** Work tree of `/a.git`. */
  let repository: string;

  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'tsbuild-git-'));
    temporary = temporaryStore();
    server = await serveGitHttp(root);
    repository = makeRepository(root, 'a.git');
  });
  afterEach(async () => {
    temporary[Symbol.dispose]();
    await server[Symbol.asyncDispose]();
    rmSync(root, { recursive: true, force: true });
  });

  /** As another build has it. */
  function open(
    options: Partial<GitRepositoriesOptions> & { readonly secret?: Record<string, string> } = {},
  ): GitRepositories {
    const { store } = temporary;
    return new GitRepositories({
      storeDir: store.dir,
      records: store.sources,
      scratchFile: (name) => store.scratchFile(name),
      offline: false,
      environment: { PATH: process.env.PATH },
      secrets: async (name) => options.secret?.[name],
      ...options,
    });
  }

  const url = (rest = '', path = '/a.git', origin = server.origin) => `${origin}${path}${rest}`;
  async function resolve(text: string, wishes: GitWishes = {}, repositories = open()): Promise<SourceGit> {
    const source = parseGitUrl(text);
    if (source === undefined) {
      throw new Error(`not a repository: ${text}`);
    }
    return await repositories.resolve(source, wishes, context);
  }
  async function checkout(source: SourceGit, repositories = open()) {
    const directory = mkdtempSync(join(root, 'out-'));
    return await repositories.checkout(source, directory, context);
  }
  async function files(text: string, wishes: GitWishes = {}, repositories = open()): Promise<string[]> {
    const { path } = await checkout(await resolve(text, wishes, repositories), repositories);
    return listing(path);
  }
  function listing(path: string): string[] {
    return readdirSync(path, { recursive: true, encoding: 'utf8' })
      .filter((name) => !lstatSync(join(path, name)).isDirectory())
      .sort();
  }
  async function httpWith(options: GitHttpOptions): Promise<GitServer> {
    const other = await serveGitHttp(root, options);
    onTestFinished(() => other[Symbol.asyncDispose]());
    return other;
  }

  describe('resolve', () => {
    test('branches, tags, full names and the default', async () => {
      const first = commit(repository, { f: '1' });
      git(repository, 'tag', 'light');
      git(repository, 'tag', '--annotate', '--message=m', 'v1');
      git(repository, 'update-ref', 'refs/pull/7/head', first);
      const second = commit(repository, { f: '2' });
      git(repository, 'branch', 'both', first);
      git(repository, 'tag', 'both', second);
      const tagObject = git(repository, 'rev-parse', 'v1');
      expect(tagObject).not.toBe(first);
      const cases: [string, string, string][] = [
        ['', second, 'refs/heads/main'],
        ['#main', second, 'refs/heads/main'],
        ['#heads/main', second, 'refs/heads/main'],
        ['?branch=main', second, 'refs/heads/main'],
        ['#light', first, 'refs/tags/light'],
        ['#v1', first, 'refs/tags/v1'],
        ['?tag=v1', first, 'refs/tags/v1'],
        ['#refs/pull/7/head', first, 'refs/pull/7/head'],
        // As git-checkout(1) does.
        ['#both', first, 'refs/heads/both'],
        ['?tag=both', second, 'refs/tags/both'],
      ];
      for (const [rest, id, ref] of cases) {
        expect([rest, await resolve(url(rest))]).toEqual([
          rest,
          {
            kind: 'source-git',
            remote: url(),
            commit: id,
            ref,
            keepGitDir: false,
            submodules: true,
          },
        ]);
      }
      await expect(resolve(url('#nothing'))).rejects.toMatchObject({ code: 'E_GIT_NOT_FOUND' });
      await expect(resolve(url(`#${first.slice(0, 7)}`))).rejects.toMatchObject({
        code: 'E_GIT_NOT_FOUND',
        hint: expect.stringContaining('all of its digits'),
      });
    });

    test('a full commit asks nobody', async () => {
      const id = commit(repository, { f: '1' });
      expect(await resolve(url(`#${id}:sub`))).toEqual({
        kind: 'source-git',
        remote: url(),
        commit: id,
        subdir: 'sub',
        keepGitDir: false,
        submodules: true,
      });
      expect(await resolve(url(`?fetch-by-commit&checksum=${id}#main`))).toMatchObject({
        commit: id,
        ref: 'refs/heads/main',
      });
      expect(server.requests).toEqual([]);
    });

    test('a checksum is the beginning of the commit, or of its tag', async () => {
      const id = commit(repository, { f: '1' });
      git(repository, 'tag', '--annotate', '--message=m', 'v1');
      const tag = git(repository, 'rev-parse', 'v1');
      expect((await resolve(url(), { checksum: id.slice(0, 10).toUpperCase() })).commit).toBe(id);
      expect((await resolve(url(`?checksum=${id}`))).commit).toBe(id);
      expect((await resolve(url('#v1'), { checksum: tag })).commit).toBe(id);
      const other = `${id.startsWith('0') ? '1' : '0'}${id.slice(1)}`;
      for (const text of [url(), url(`#${id}`)]) {
        await expect(resolve(text, { checksum: other })).rejects.toMatchObject({
          name: 'IntegrityError',
          code: 'E_DIGEST_MISMATCH',
          expected: other,
          actual: id,
        });
      }
      await expect(resolve(url(`?checksum=${id}`), { checksum: other })).rejects.toMatchObject({
        code: 'E_GIT_URL',
      });
      await expect(resolve(url(), { checksum: 'sha256:00' })).rejects.toMatchObject({ code: 'E_GIT_URL' });
    });

    test('options beside the URL must not contradict it', async () => {
      const id = commit(repository, {});
      const text = url(`?keep-git-dir=false#${id}`);
      expect((await resolve(text, { keepGitDir: false })).keepGitDir).toBe(false);
      expect((await resolve(url(`#${id}`), { keepGitDir: true, mtime: 'commit' })).mtime).toBe('commit');
      expect((await resolve(url(`?mtime=checkout#${id}`), { mtime: 'commit' })).mtime).toBe('checkout');
      await expect(resolve(text, { keepGitDir: true })).rejects.toMatchObject({ code: 'E_GIT_URL' });
    });

    test('offline a branch is what it was', async () => {
      const id = commit(repository, { f: '1' });
      await resolve(url('#main'));
      const asked = server.requests.length;
      expect((await resolve(url('#main'), {}, open({ offline: true }))).commit).toBe(id);
      await expect(resolve(url(), {}, open({ offline: true }))).rejects.toMatchObject({ code: 'E_OFFLINE' });
      expect(server.requests).toHaveLength(asked);
    });

    test('a server that is not there, and one that is no repository', async () => {
      await expect(resolve('http://127.0.0.1:1/a.git')).rejects.toMatchObject({ code: 'E_GIT' });
      await expect(resolve(url('', '/none.git'))).rejects.toMatchObject({ code: 'E_GIT' });
    });

    test('without git it says so', async () => {
      await expect(resolve(url(), {}, open({ environment: { PATH: '/nowhere' } }))).rejects.toMatchObject({
        name: 'HostError',
        code: 'E_TOOL_MISSING',
      });
    });
  });

  describe('checkout', () => {
    test('files, modes and links; nothing of git', async () => {
      mkdirSync(join(repository, 'sub'));
      writeFileSync(join(repository, 'sub/run'), 'x');
      chmodSync(join(repository, 'sub/run'), 0o700);
      symlinkSync('../../etc/passwd', join(repository, 'sub/link'));
      commit(repository, { f: '1', '.gitattributes': '* text=auto\n' });
      const { path, commitSeconds } = await checkout(await resolve(url()));
      expect(listing(path)).toEqual(['.gitattributes', 'f', 'sub/link', 'sub/run']);
      expect(statSync(join(path, 'sub/run')).mode & 0o111).not.toBe(0);
      expect(statSync(join(path, 'f')).mode & 0o111).toBe(0);
      expect(readlinkSync(join(path, 'sub/link'))).toBe('../../etc/passwd');
      expect(commitSeconds).toBe(COMMIT_SECONDS);
    });

    test.each(['v2', 'old'])('a commit by its id, from a server that speaks %s', async (protocol) => {
      const other = await httpWith({ oldProtocol: protocol === 'old' });
      const first = commit(repository, { f: '1' });
      commit(repository, { f: '2' });
      const { path } = await checkout(await resolve(url(`#${first}`, '/a.git', other.origin)));
      expect(readFileSync(join(path, 'f'), 'utf8')).toBe('1');
    });

    test('from a server of mere files', async () => {
      commit(repository, { f: '1' });
      git(root, 'clone', '--quiet', '--bare', 'file://'.concat(repository), 'dumb.git');
      git(join(root, 'dumb.git'), 'update-server-info');
      const other = await httpWith({ dumb: true });
      expect(await files(url('', '/dumb.git', other.origin))).toEqual(['f']);
    });

    test("by git's own protocol", async () => {
      const first = commit(repository, { f: '1' });
      await using daemon = await serveGitDaemon(root);
      commit(repository, { g: '2' });
      expect(await files(url('', '/a.git', daemon.origin))).toEqual(['f', 'g']);
      expect(await files(url(`#${first}`, '/a.git', daemon.origin))).toEqual(['f']);
    });

    test('a branch that moved since it was looked up gives the commit that it was', async () => {
      const other = await httpWith({ oldProtocol: true });
      commit(repository, { f: '1' });
      const source = await resolve(url('#main', '/a.git', other.origin));
      commit(repository, { f: '2' });
      const { path } = await checkout(source);
      expect(readFileSync(join(path, 'f'), 'utf8')).toBe('1');
    });

    test('a commit that is gone', async () => {
      commit(repository, { f: '1' });
      const source = await resolve(url(`#${'0123456789'.repeat(4)}`));
      await expect(checkout(source)).rejects.toMatchObject({ code: 'E_GIT_NOT_FOUND' });
    });

    test('what is here is not fetched again, also offline', async () => {
      const id = commit(repository, { f: '1' });
      const source = await resolve(url(`#${id}`));
      await checkout(source);
      const asked = server.requests.length;
      await checkout(source);
      await checkout(source, open({ offline: true }));
      expect(server.requests).toHaveLength(asked);
      expect(readdirSync(gitDir(temporary.store.dir))).toHaveLength(1);
      const next = commit(repository, { f: '2' });
      await expect(checkout({ ...source, commit: next }, open({ offline: true }))).rejects.toMatchObject({
        code: 'E_OFFLINE',
      });
      await checkout({ ...source, commit: next });
      expect(readdirSync(gitDir(temporary.store.dir))).toHaveLength(1);
    });

    test('several at once', async () => {
      const ids = ['1', '2', '3', '4'].map((text) => commit(repository, { f: text }));
      const found = await Promise.all(
        ids.map(async (id) =>
          readFileSync(join((await checkout(await resolve(url(`#${id}`)))).path, 'f'), 'utf8'),
        ),
      );
      expect(found).toEqual(['1', '2', '3', '4']);
    });

    test('a damaged repository of the store that has no HEAD is made anew', async () => {
      const source = await resolve(url(`#${commit(repository, { f: '1' })}`));
      await checkout(source);
      const [name = ''] = readdirSync(gitDir(temporary.store.dir));
      rmSync(join(gitDir(temporary.store.dir), name, 'HEAD'));
      expect(listing((await checkout(source)).path)).toEqual(['f']);
    });

    test('a directory of it', async () => {
      symlinkSync('docs', join(repository, 'link'));
      commit(repository, { 'docs/a/f': '1', g: '2' });
      expect(await files(url('#main:docs'))).toEqual(['a/f']);
      expect(await files(url('?subdir=docs/a&keep-git-dir=true'))).toEqual(['f']);
      for (const subdir of ['none', 'g', 'link', 'link/a']) {
        await expect(files(url(`#main:${subdir}`))).rejects.toMatchObject({ code: 'E_GIT_NOT_FOUND' });
      }
    });

    test('times of the commit', async () => {
      symlinkSync('f', join(repository, 'l'));
      commit(repository, { f: '1', 'd/g': '2' });
      const { path } = await checkout(await resolve(url('?mtime=commit')));
      for (const name of ['', 'f', 'l', 'd', 'd/g']) {
        expect([name, lstatSync(join(path, name)).mtimeMs / 1000]).toEqual([name, COMMIT_SECONDS]);
      }
      const now = await checkout(await resolve(url('?mtime=checkout')));
      expect(lstatSync(join(now.path, 'f')).mtimeMs / 1000).toBeGreaterThan(COMMIT_SECONDS);
    });

    test('the time of a commit is known without its files', async () => {
      const id = commit(repository, { f: '1' });
      expect(await open().commitTime(await resolve(url()), context)).toBe(COMMIT_SECONDS);
      await expect(
        open({ offline: true }).commitTime(
          { ...(await resolve(url(`#${id}`))), remote: url('', '/b.git') },
          context,
        ),
      ).rejects.toMatchObject({ code: 'E_OFFLINE' });
    });

    test('names that are not UTF-8', async () => {
      const name = Buffer.from([0x61, 0xff]);
      writeFileSync(Buffer.concat([Buffer.from(`${repository}/`), name]), 'x');
      commit(repository, {});
      const { path } = await checkout(await resolve(url('?mtime=commit')));
      expect(readdirSync(path, { encoding: 'buffer' })).toEqual([name]);
    });

    test('a repository of SHA-256', async () => {
      const path = join(root, 'new.git');
      mkdirSync(path);
      git(path, 'init', '--quiet', '--object-format=sha256', '--initial-branch=main', '.');
      const id = commit(path, { f: '1' });
      expect(id).toHaveLength(64);
      expect(await files(url('', '/new.git'))).toEqual(['f']);
      expect(await files(url(`?keep-git-dir=true#${id}`, '/new.git'))).toContain('.git/HEAD');
    });
  });

  describe('.git', () => {
    test('stays when it is asked for, complete and without a trace of us', async () => {
      commit(repository, { f: '1' });
      const id = commit(repository, { f: '2' });
      git(repository, 'tag', '--annotate', '--message=m', 'v1');
      for (const [rest, described] of [
        ['#v1', 'v1'],
        ['#main', 'heads/main'],
        [`#${id}`, 'undefined'],
      ] as const) {
        const { path } = await checkout(await resolve(url(rest), { keepGitDir: true }));
        expect(git(path, 'rev-parse', 'HEAD')).toBe(id);
        expect(git(path, 'status', '--porcelain')).toBe('');
        expect(git(path, 'fsck', '--full')).toBe('');
        expect(git(path, 'config', 'remote.origin.url')).toBe(url());
        if (described === 'v1') {
          expect(git(path, 'describe')).toBe('v1');
        } else if (described === 'heads/main') {
          expect(git(path, 'describe', '--all')).toBe('heads/main');
        }
        expect(existsSync(join(path, '.git/objects/info/alternates'))).toBe(false);
        expect(spawnSync('grep', ['-rlaF', temporary.store.dir, '.git'], { cwd: path }).status).toBe(1);
      }
    });
  });

  describe('submodules', () => {
    /** Adds a submodule as a repository may: whatever the URL says. */
    function addSubmodule(path: string, to: string, id: string, more = ''): void {
      writeFileSync(
        join(repository, '.gitmodules'),
        `[submodule "s"]\n\tpath = ${path}\n\turl = ${to}\n${more}`,
      );
      git(repository, 'add', '.gitmodules');
      git(repository, 'update-index', '--add', '--cacheinfo', `160000,${id},${path}`);
      git(repository, 'commit', '--quiet', '--message=m');
    }

    test('are fetched unless they are not wanted, and theirs too', async () => {
      const inner = makeRepository(root, 'inner.git');
      const deep = commit(inner, { deep: '1' });
      const other = makeRepository(root, 'b.git');
      writeFileSync(join(other, '.gitmodules'), '[submodule "i"]\n\tpath = i\n\turl = ../inner.git\n');
      git(other, 'add', '.gitmodules');
      git(other, 'update-index', '--add', '--cacheinfo', `160000,${deep},i`);
      const id = commit2(other);
      commit(repository, { f: '1' });
      addSubmodule('lib/s', '../b.git', id);
      expect(await files(url())).toEqual(['.gitmodules', 'f', 'lib/s/.gitmodules', 'lib/s/i/deep']);
      expect(await files(url('?submodules=false'))).toEqual(['.gitmodules', 'f']);
      const { path } = await checkout(await resolve(url('?keep-git-dir=true')));
      expect(git(join(path, 'lib/s'), 'rev-parse', 'HEAD')).toBe(id);
    });

    test('of a commit that is not the newest, from a server that speaks the old protocol', async () => {
      const other = makeRepository(root, 'b.git');
      const id = commit(other, { s: '1' });
      commit(other, { s: '2' });
      commit(repository, { f: '1' });
      const old = await httpWith({ oldProtocol: true });
      addSubmodule('s', '../b.git', id);
      const { path } = await checkout(await resolve(url('', '/a.git', old.origin)));
      expect(readFileSync(join(path, 's/s'), 'utf8')).toBe('1');
    });

    test('by protocols that run programs or read this machine are refused', async () => {
      const mark = join(root, 'mark');
      const local = makeRepository(root, 'local');
      const id = commit(local, { secret: '1' });
      commit(repository, { f: '1' });
      for (const to of [`ext::touch ${mark}`, `file://${local}`, local, '-u./x', `fd::17/foo`]) {
        addSubmodule('s', to, id);
        await expect(files(url())).rejects.toMatchObject({ code: 'E_GIT' });
      }
      expect(existsSync(mark)).toBe(false);
    });

    test('run no command to update', async () => {
      const mark = join(root, 'mark');
      const id = commit(makeRepository(root, 'b.git'), { s: '1' });
      commit(repository, { f: '1' });
      addSubmodule('s', '../b.git', id, `\tupdate = !touch ${mark}\n`);
      await expect(files(url())).rejects.toMatchObject({ code: 'E_GIT' });
      expect(existsSync(mark)).toBe(false);
    });

    function commit2(path: string): string {
      git(path, 'commit', '--quiet', '--message=m');
      return git(path, 'rev-parse', 'HEAD');
    }
  });

  describe('a hostile repository', () => {
    /** Makes a commit of a tree that git itself would not write. */
    function commitTree(entries: string): string {
      const tree = execFileSync('git', ['mktree', '--missing'], {
        cwd: repository,
        input: entries,
        encoding: 'utf8',
      }).trim();
      const id = git(repository, 'commit-tree', '-m', 'm', tree);
      git(repository, 'update-ref', 'refs/heads/evil', id);
      return id;
    }
    const blob = (text: string) =>
      execFileSync('git', ['hash-object', '-w', '--stdin'], {
        cwd: repository,
        input: text,
        encoding: 'utf8',
      }).trim();

    test.each(['.git', '.GIT', 'git~1', '..'])('has no files at %s', async (name) => {
      commit(repository, { f: '1' });
      const inner = git(repository, 'rev-parse', 'HEAD^{tree}');
      // mktree refuses such names, so the object is made by hand.
      const raw = Buffer.concat([Buffer.from(`40000 ${name}\0`), Buffer.from(inner, 'hex')]);
      const tree = execFileSync('git', ['hash-object', '-t', 'tree', '-w', '--stdin', '--literally'], {
        cwd: repository,
        input: raw,
        encoding: 'utf8',
      }).trim();
      git(repository, 'update-ref', 'refs/heads/evil', git(repository, 'commit-tree', '-m', 'm', tree));
      await expect(files(url('#evil'))).rejects.toMatchObject({ code: 'E_GIT' });
    });

    test('writes through no link', async () => {
      const outside = join(root, 'outside');
      mkdirSync(outside);
      const inner = makeRepository(root, 'b.git');
      const id = commit(inner, { s: '1' });
      commit(repository, { f: '1' });
      const tree = git(repository, 'rev-parse', 'HEAD^{tree}');
      const module = execFileSync('git', ['mktree', '--missing'], {
        cwd: repository,
        input: `160000 commit ${id}\ts\n`,
        encoding: 'utf8',
      }).trim();
      const gitmodules = blob('[submodule "s"]\n\tpath = x/s\n\turl = ../b.git\n');
      // A link, and what git takes for the same name on some file systems, or on all.
      for (const [name, content] of [
        ['X', tree],
        ['x', tree],
        ['x', module],
      ]) {
        commitTree(
          `100644 blob ${gitmodules}\t.gitmodules\n120000 blob ${blob(outside)}\tx\n040000 tree ${content}\t${name}\n`,
        );
        // Whether it is refused or not.
        await files(url('#evil')).catch(() => undefined);
        expect(readdirSync(outside)).toEqual([]);
      }
    });

    test('runs no hooks and no filters', async () => {
      const mark = join(root, 'mark');
      mkdirSync(join(repository, '.githooks'));
      commit(repository, {
        '.gitattributes': '* filter=evil diff=evil\n*.bin filter=lfs\n',
        '.lfsconfig': `[lfs]\n\turl = ext::touch ${mark}\n`,
        '.gitconfig': `[filter "evil"]\n\tsmudge = touch ${mark}\n`,
        'hooks/post-checkout': `#!/bin/sh\ntouch ${mark}\n`,
        'a.bin': 'version https://git-lfs.github.com/spec/v1\n',
      });
      const home = join(root, 'home');
      mkdirSync(join(home, 'templates/hooks'), { recursive: true });
      writeFileSync(join(home, 'templates/hooks/post-checkout'), `#!/bin/sh\ntouch ${mark}\n`, {
        mode: 0o755,
      });
      writeFileSync(
        join(home, '.gitconfig'),
        `[init]\n\ttemplateDir = ${home}/templates\n[filter "evil"]\n\tsmudge = touch ${mark}\n\trequired = true\n`,
      );
      const repositories = open({
        environment: {
          PATH: process.env.PATH,
          HOME: home,
          XDG_CONFIG_HOME: home,
          GIT_CONFIG_GLOBAL: join(home, '.gitconfig'),
          GIT_TEMPLATE_DIR: join(home, 'templates'),
          GIT_DIR: '/nowhere',
          GIT_EXEC_PATH: '/nowhere',
          GIT_TRACE: join(root, 'trace'),
        },
      });
      expect(await files(url('?keep-git-dir=true'), {}, repositories)).toContain('a.bin');
      expect(existsSync(mark)).toBe(false);
      expect(existsSync(join(root, 'trace'))).toBe(false);
    });
  });

  describe('credentials', () => {
    const header = (user: string, password: string) =>
      `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    const host = () => new URL(server.origin).host;
    beforeEach(() => {
      commit(repository, { f: '1' });
    });

    test.each<[string, (at: string) => Record<string, string>, string]>([
      ['a token', () => ({ GIT_AUTH_TOKEN: 'tok\n' }), header('x-access-token', 'tok')],
      ['a header', () => ({ GIT_AUTH_HEADER: 'Bearer x' }), 'Bearer x'],
      [
        'those of the host first',
        (at) => ({ GIT_AUTH_HEADER: 'Bearer x', [`GIT_AUTH_TOKEN.${at}`]: 'tok' }),
        header('x-access-token', 'tok'),
      ],
    ])('%s', async (_name, secret, authorization) => {
      const private_ = await httpWith({ authorization });
      const text = url('', '/a.git', private_.origin);
      await expect(files(text)).rejects.toMatchObject({ code: 'E_GIT' });
      expect(await files(text, {}, open({ secret: secret(new URL(private_.origin).host) }))).toEqual(['f']);
    });

    test('of the URL; nothing of them stays or is shown', async () => {
      const private_ = await httpWith({ authorization: header('me', 'hunter2') });
      const text = url('?keep-git-dir=1', '/a.git', private_.origin.replace('//', '//me:hunter2@'));
      const repositories = open();
      const source = await resolve(text, {}, repositories);
      expect(JSON.stringify(source)).not.toContain('hunter2');
      const { path } = await checkout(source, repositories);
      const secrets = ['hunter2', header('me', 'hunter2').slice(6)];
      for (const place of [path, temporary.store.dir]) {
        for (const secret of secrets) {
          expect(spawnSync('grep', ['-raF', secret, place]).status).toBe(1);
        }
      }
      const wrong = await resolve(text.replace('hunter2', 'hunter3')).catch((error: unknown) => error);
      expect(wrong).toMatchObject({ code: 'E_GIT' });
      expect(String(wrong)).not.toMatch(/hunter3|bWU6/);
    });

    test('go to no other server', async () => {
      const away = await httpWith({ redirectTo: server.origin });
      const secret = { GIT_AUTH_TOKEN: 'tok' };
      const text = url('', '/a.git', away.origin);
      expect(await files(text)).toEqual(['f']);
      const seen = server.requests.length;
      await expect(resolve(text, {}, open({ secret }))).rejects.toMatchObject({ code: 'E_GIT' });
      expect(server.requests).toHaveLength(seen);
      expect(away.requests.at(-1)?.authorization).toBe(header('x-access-token', 'tok'));
      expect(host()).not.toBe(new URL(away.origin).host);
    });

    test('that are no header are refused', async () => {
      await expect(
        resolve(url(), {}, open({ secret: { GIT_AUTH_TOKEN: 'hunter2', GIT_AUTH_HEADER: 'a\nb' } })),
      ).rejects.toMatchObject({
        code: 'E_SECRET_VALUE',
      });
    });
  });

  test('ssh gets the agent of the build and nothing of the user', async () => {
    const bin = join(root, 'bin');
    mkdirSync(bin);
    writeFileSync(
      join(bin, 'ssh'),
      `#!/bin/sh\nprintf '%s\\n' "$@" "agent=$SSH_AUTH_SOCK" > ${join(root, 'ssh.txt')}\nexit 1\n`,
      { mode: 0o755 },
    );
    const environment = {
      PATH: `${bin}:${process.env.PATH}`,
      SSH_AUTH_SOCK: '/user/agent',
      GIT_SSH_COMMAND: 'false',
      SSH_ASKPASS: 'false',
    };
    const asked = async (options: Partial<GitRepositoriesOptions>) => {
      await expect(
        resolve('git@h.example:a/b.git', {}, open({ environment, ...options })),
      ).rejects.toMatchObject({
        code: 'E_GIT',
      });
      return readFileSync(join(root, 'ssh.txt'), 'utf8').split('\n');
    };
    const with_ = await asked({ sshAuthSock: async () => '/build/agent sock' });
    expect(with_).toEqual(
      expect.arrayContaining([
        'BatchMode=yes',
        'IdentityFile=none',
        'IdentityAgent="/build/agent sock"',
        `UserKnownHostsFile="${gitDir(temporary.store.dir)}/known_hosts" ~/.ssh/known_hosts`,
        'agent=/build/agent sock',
        'git@h.example',
      ]),
    );
    expect(await asked({})).toEqual(expect.arrayContaining(['IdentityAgent=none', 'agent=']));
  });

  test('a build that is cancelled stops git', async () => {
    const id = commit(repository, { f: '1' });
    const cancel = new AbortController();
    const hanging = createServer(() => cancel.abort(new Error('stop')));
    await new Promise<void>((done) => hanging.listen(0, '127.0.0.1', done));
    onTestFinished(() => void hanging.close());
    const { port } = hanging.address() as AddressInfo;
    const source = await resolve(`http://127.0.0.1:${port}/a.git#${id}`);
    const directory = mkdtempSync(join(root, 'out-'));
    await expect(
      open().checkout(source, directory, { signal: cancel.signal, emit: () => undefined }),
    ).rejects.toThrow('stop');
    hanging.closeAllConnections();
  });
});
