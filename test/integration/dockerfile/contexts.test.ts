/** Where the files and the text of a Dockerfile may come from: each kind of context, built by the command. */
import { execFileSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startDockerRegistry } from '../../support/docker-registry.ts';
import { commit, git, makeRepository, serveGitDaemon, serveGitHttp } from '../../support/git-server.ts';
import { readImage } from '../../support/layout-validation.ts';
import { lacks } from '../../support/requires.ts';
import { serveFile, startWebServer } from '../../support/web-server.ts';
import { Workbench } from '../../support/workbench.ts';

const COPY_ALL = 'FROM scratch\nCOPY . /\n';

describe.skipIf(lacks('root', 'bwrap', 'git', 'docker-registry'))('the context of a build', () => {
  let bench: Workbench;
  const names = async (args: readonly string[], setting = {}) =>
    (await bench.image(args, setting)).layers.flat().filter((name) => !name.endsWith('/'));
  const tarOf = (directory: string) =>
    execFileSync('tar', ['-C', bench.at(directory), '-cf', '-', '.'], { maxBuffer: 2 ** 26 });

  beforeAll(() => {
    bench = new Workbench();
  });
  afterAll(() => {
    expect(bench.leftovers()).toEqual([]);
    bench[Symbol.dispose]();
  });

  test('is a directory; the Dockerfile may lie elsewhere and brings its own ignore file', async () => {
    bench.write({
      'dir/Dockerfile': COPY_ALL,
      'dir/.dockerignore': 'Dockerfile\n.dockerignore\nskipped\n',
      'dir/kept': 'k',
      'dir/skipped': 's',
      'elsewhere/My.Dockerfile': COPY_ALL,
      'elsewhere/My.Dockerfile.dockerignore': '*\n!skipped\n',
      'lower/dockerfile': COPY_ALL,
    });
    expect(await names(['dir'])).toEqual(['kept']);
    expect(await names(['-f', 'elsewhere/My.Dockerfile', 'dir'])).toEqual(['skipped']);
    expect(await names(['lower'])).toEqual(['dockerfile']);
    const inText = { stdin: 'FROM scratch\nCOPY kept /piped\n' };
    expect(await names(['-f', '-', 'dir'], inText)).toEqual(['piped']);
    // The text is that of standard input, but the ignore file of the context still counts.
    expect(await names(['-f', '-', 'dir'], { stdin: COPY_ALL })).toEqual(['kept']);
  });

  test('is an archive on standard input, also compressed, or nothing but a Dockerfile', async () => {
    bench.write({
      'piped/Dockerfile': COPY_ALL,
      'piped/a/b': 'x',
      'piped/a/Other': 'FROM scratch\nCOPY a/b /o\n',
    });
    const tar = tarOf('piped');
    expect((await names(['-'], { stdin: tar })).sort()).toEqual(['Dockerfile', 'a/Other', 'a/b']);
    expect((await names(['-'], { stdin: gzipSync(tar) })).length).toBe(3);
    expect(await names(['-f', 'a/Other', '-'], { stdin: tar })).toEqual(['o']);
    const alone = await bench.image(['-'], { stdin: 'FROM scratch\nLABEL a=b\n' });
    expect(alone.config.config?.Labels).toEqual({ a: 'b' });
    const copies = await bench.build(['-'], { stdin: COPY_ALL });
    expect(copies).toMatchObject({ status: 2, stderr: expect.stringContaining('E_') });
    expect(copies.stderr).toContain('> 2 | COPY . /');
    for (const [stdin, status] of [
      ['', 2],
      // Bytes that are not what they say.
      [gzipSync(tar).subarray(0, 100), 5],
    ] as const) {
      const ran = await bench.build(['-'], { stdin });
      expect(ran.stderr).not.toContain('E_INTERNAL');
      expect(ran.status, ran.stderr).toBe(status);
    }
    expect(await bench.build(['-f', '-', '-'])).toMatchObject({ status: 2 });
    expect(await bench.build(['-f', '../../etc/passwd', '-'], { stdin: tar })).toMatchObject({ status: 2 });
  });

  test('is a git repository at a commit, by HTTP and by the daemon', async () => {
    const repository = makeRepository(bench.at('git'), 'it');
    commit(repository, {
      Dockerfile: COPY_ALL,
      'sub/Dockerfile': 'FROM scratch\nCOPY f /sub-file\n',
      'sub/f': '1',
    });
    git(repository, 'tag', 'v1');
    commit(repository, { more: '' });
    await using http = await serveGitHttp(bench.at('git'));
    await using daemon = await serveGitDaemon(bench.at('git'));
    const url = `${http.origin}/it/.git`;
    expect((await names([url])).sort()).toEqual(['Dockerfile', 'more', 'sub/Dockerfile', 'sub/f']);
    expect(await names([`${url}#v1:sub`])).toEqual(['sub-file']);
    expect((await names([`${daemon.origin}/it/.git#v1`])).sort()).toEqual([
      'Dockerfile',
      'sub/Dockerfile',
      'sub/f',
    ]);
    const gone = await bench.build([`${url}#no-such-branch`]);
    expect(gone.stderr).toContain('no-such-branch');
    expect([2, 4]).toContain(gone.status);
    // Nothing leads out of the repository.
    expect((await names([`${url}#v1:../../sub/../..`])).sort()).toEqual([
      'Dockerfile',
      'sub/Dockerfile',
      'sub/f',
    ]);
  });

  test('is an archive or a Dockerfile of a web server', async () => {
    bench.write({ 'web/Dockerfile': COPY_ALL, 'web/w': 'w' });
    const files: Record<string, Buffer | string> = {
      '/context.tar.gz': gzipSync(tarOf('web')),
      '/Dockerfile': 'FROM scratch\nLABEL from=web\n',
    };
    await using server = await startWebServer();
    server.handle((request, response) => {
      const body = files[request.url ?? ''];
      if (body === undefined) {
        response.writeHead(404).end();
      } else {
        serveFile(request, response, { body, etag: `"${request.url}"` });
      }
    });
    expect((await names([`${server.origin}/context.tar.gz`])).sort()).toEqual(['Dockerfile', 'w']);
    const text = await bench.image([`${server.origin}/Dockerfile`]);
    expect(text.config.config?.Labels).toEqual({ from: 'web' });
    expect(await bench.build([`${server.origin}/missing`])).toMatchObject({ status: 4 });
  });

  test('that is no directory is refused', async () => {
    bench.write({ 'file.txt': 'x', 'no-dockerfile/x': 'x' });
    for (const [args, code] of [
      [['no-such-directory', '-f', 'dir/Dockerfile'], 'E_USAGE'],
      [['no-dockerfile'], 'E_LOCAL_FILE_MISSING'],
      [['-f', 'no-dockerfile/missing', 'dir'], 'E_LOCAL_FILE_MISSING'],
      [['-f', 'no-dockerfile', 'dir'], 'E_LOCAL_FILE_MISSING'],
    ] as const) {
      const ran = await bench.build(args);
      expect(ran.stderr).toContain(code);
      expect(ran.status).toBe(2);
    }
  });

  describe('with further contexts', () => {
    const stage = (kind: string, value: string, dockerfile: string, more: readonly string[] = []) =>
      names(['--build-context', `${kind}=${value}`, ...more, '-f', '-', 'main'], { stdin: dockerfile });

    beforeAll(() => {
      bench.write({
        'main/m': 'main',
        'other/o': 'o',
        'other/no': 'n',
        'other/.dockerignore': 'no\n.dockerignore\n',
      });
    });

    test('a directory, with its own ignore file, in the place of stages and images', async () => {
      const from = 'FROM scratch\nCOPY --from=ctx . /\n';
      expect(await stage('ctx', 'other', from)).toEqual(['o']);
      expect(await stage('CTX', './other', from)).toEqual(['o']);
      // The name of an image that nobody can pull.
      expect(
        await stage('registry.invalid/x:1', bench.at('other'), from.replace('ctx', 'registry.invalid/x:1')),
      ).toEqual(['o']);
      expect(await stage('registry.invalid/b', 'other', 'FROM registry.invalid/b\nCOPY m /\n')).toEqual([
        'o',
        'm',
      ]);
    });

    test('an image, a layout, an archive, a stage', async () => {
      await using registry = await startDockerRegistry();
      bench.write({ 'base/Dockerfile': 'FROM scratch\nCOPY b /\nENV FROM_BASE=1\n', 'base/b': 'b' });
      const reference = `${registry.host}/base:1`;
      const layouts = [
        '-o',
        `type=oci,dest=${bench.at('layout')},tar=false`,
        '-o',
        `type=oci,dest=${bench.at('layout.tar')}`,
      ];
      await bench.image(['-t', reference, '--push', ...layouts, 'base']);
      const { digest } = readImage(bench.at('layout'));
      const uses = 'FROM ctx\nCOPY --from=ctx b /copied\nCOPY m /\n';
      const values = [
        `docker-image://${reference}`,
        `docker-image://${reference}@${digest}`,
        `oci-layout://${bench.at('layout')}:1`,
        `oci-layout://${bench.at('layout')}@${digest}`,
        `oci-layout://${bench.at('layout.tar')}`,
      ];
      for (const value of values) {
        const image = await bench.image(['--build-context', `ctx=${value}`, '-f', '-', 'main'], {
          stdin: uses,
        });
        expect(image.layers.flat(), value).toEqual(['b', 'copied', 'm']);
        expect(image.config.config?.Env, value).toContain('FROM_BASE=1');
      }
      const target = 'FROM scratch AS made\nCOPY m /made\nFROM scratch\nCOPY --from=ctx /made /\n';
      expect(await stage('ctx', 'target:made', target)).toEqual(['made']);
      const unknown = await bench.build(['--build-context', 'ctx=target:mad', '-f', '-', 'main'], {
        stdin: target,
      });
      expect(unknown).toMatchObject({ status: 2, stderr: expect.stringContaining('made') });
    });

    test('a repository, an archive of a web server', async () => {
      const repository = makeRepository(bench.at('git'), 'named');
      commit(repository, { 'd/in-git': 'g' });
      await using http = await serveGitHttp(bench.at('git'));
      const from = 'FROM scratch\nCOPY --from=ctx . /\n';
      expect(await stage('ctx', `${http.origin}/named/.git#main:d`, from)).toEqual(['in-git']);
      await using server = await startWebServer();
      server.handle((request, response) =>
        serveFile(request, response, { body: tarOf('other'), etag: '"t"' }),
      );
      // What lies elsewhere has no ignore file.
      expect((await stage('ctx', `${server.origin}/ctx.tar`, from)).sort()).toEqual([
        '.dockerignore',
        'no',
        'o',
      ]);
    });

    test('that mean nothing is an error before anything is built', async () => {
      for (const [value, code] of [
        ['ctx=no-such-directory', 'E_'],
        ['ctx=ftp://h/x', 'E_USAGE'],
        ['ctx', 'E_USAGE'],
        [`ctx=oci-layout://${bench.at('main')}:1`, 'E_'],
      ] as const) {
        const ran = await bench.build(['--build-context', value, '-f', '-', 'main'], {
          stdin: 'FROM scratch\nCOPY m /\nCOPY --from=ctx m /n\n',
        });
        expect(ran.stderr, value).toContain(code);
        expect(ran.status, `${value}: ${ran.stderr}`).toBe(2);
        expect(ran.stderr, value).not.toContain('[1/');
      }
    });
  });
});
