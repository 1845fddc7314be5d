/** Secrets of Dockerfiles and credentials of their sources: the step or the server gets them, nothing else ever holds them. */
import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commit, makeRepository, serveGitHttp } from '../../support/git-server.ts';
import { lacks } from '../../support/requires.ts';
import type { Ran } from '../../support/tsbuild.ts';
import { serveFile, startWebServer } from '../../support/web-server.ts';
import { SHELL_STAGE, Workbench } from '../../support/workbench.ts';

/** Only the test knows it, so that it can be nowhere by chance. */
const secret = () => `s3cr3t/${randomBytes(12).toString('hex')}+`;

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'git'))('the value of a secret', () => {
  let bench: Workbench;
  const ran: Ran[] = [];
  const values: string[] = [];
  const value = () => {
    const made = secret();
    values.push(made);
    return made;
  };

  beforeAll(() => {
    bench = new Workbench();
  });
  afterAll(() => bench[Symbol.dispose]());

  test('of files and variables reaches the step, however that shows it', async () => {
    const file = value();
    const variable = value();
    const lines = `${value()}\n${value()}`;
    values.push(...lines.split('\n'));
    const context = bench.context('steps', {
      Dockerfile: `${SHELL_STAGE}FROM sh
RUN --mount=type=secret,id=f --mount=type=secret,id=l,target=/l --mount=type=secret,id=v,env=V <<EOT
cat /run/secrets/f /l; echo "$V"; cat /l | while read line; do echo "> $line"; done
printf %s "$V" | sha256sum | cut -c1-64 > /v; sha256sum /run/secrets/f | cut -c1-64 > /f
printf "%s" "$V" | head -c 10; sleep 0.1; printf "%s" "$V" | tail -c +11; echo; env; ls -la /run/secrets
EOT
CMD ["x"]
`,
    });
    // Secrets lie outside the directory that is searched.
    using outside = new Workbench();
    outside.write({ f: file, l: lines });
    const args = [
      '--secret',
      `id=f,src=${outside.at('f')}`,
      '--secret',
      `type=file,id=l,source=${outside.at('l')}`,
      '--secret',
      'type=env,id=v,env=MY_V',
      '--cache-to',
      `type=local,dest=${bench.at('exported')},mode=max`,
      '--metadata-file',
      bench.at('metadata.json'),
    ];
    const env = { MY_V: variable };
    const image = await bench.image([...args, context], { env });
    ran.push(image.ran);
    const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
    expect(image.read('f').trim()).toBe(sha256(file));
    expect(image.read('v').trim()).toBe(sha256(variable));
    // Steps that fail with them in their hands; events as JSON; explanations; the same again with other values.
    for (const [text, more] of [
      ['cat /run/secrets/f >&2; exit 3', []],
      ['exec "/no/$V"', ['--progress=json']],
      ['eval "$V"', ['--explain']],
    ] as const) {
      const failed = await bench.build([...args, ...more, '-f', '-', context], {
        env,
        stdin: `${SHELL_STAGE}RUN --mount=type=secret,id=f --mount=type=secret,id=v,env=V ${text}\n`,
      });
      expect(failed.status, failed.stderr).toBe(1);
      ran.push(failed);
    }
    const outline = await bench.build([...args, '--call=outline,format=json', context], { env });
    ran.push(outline);
  });

  test('of a web server and of a repository is sent to them alone', async () => {
    const token = value();
    const header = value();
    const repository = makeRepository(bench.at('git'), 'r');
    commit(repository, { f: 'from git' });
    const password = value();
    const inUrl = `Basic ${Buffer.from(`user:${password}`).toString('base64')}`;
    const basic = Buffer.from(`x-access-token:${token}`).toString('base64');
    values.push(basic);
    await using git = await serveGitHttp(bench.at('git'), { authorization: `Basic ${basic}` });
    await using web = await startWebServer();
    web.handle((request, response) => {
      const { authorization } = request.headers;
      if (![header, `Bearer ${header}`, inUrl].includes(authorization ?? '')) {
        response.writeHead(401).end(`you sent ${request.headers.authorization}`);
      } else {
        serveFile(request, response, { body: 'from web', etag: '"w"' });
      }
    });
    const host = new URL(web.origin).host;
    const stdin = `FROM scratch\nADD ${git.origin}/r/.git /git/\nADD ${web.origin}/file /web/\n`;
    const good = ['--secret', 'id=GIT_AUTH_TOKEN,env=G', '--secret', 'id=HTTP_AUTH_TOKEN_127.0.0.1,env=H'];
    const image = await bench.image(
      [...good, '--cache-to', `type=local,dest=${bench.at('exported-2')}`, '-'],
      {
        stdin,
        env: { G: token, H: header },
      },
    );
    ran.push(image.ran);
    expect([image.read('git/f'), image.read('web/file')]).toEqual(['from git', 'from web']);
    // A wrong one is refused by the server, which sends it back.
    const wrong = value();
    for (const env of [
      { G: wrong, H: header },
      { G: token, H: wrong },
    ]) {
      const refused = await bench.build([...good, '--no-cache', '-'], {
        stdin: `${stdin}LABEL a=${ran.length}\n`,
        env,
      });
      ran.push(refused);
      expect([0, 4]).toContain(refused.status);
    }
    const withPassword = `http://user:${encodeURIComponent(password)}@${host}/in-url`;
    const known = await bench.image(['--metadata-file', bench.at('metadata-2.json'), '-'], {
      stdin: `FROM scratch\nADD ${withPassword} /\n`,
    });
    expect(known.read('in-url')).toBe('from web');
    ran.push(known.ran);
    const url = await bench.build(['-'], {
      stdin: `FROM scratch\nADD http://user:${encodeURIComponent(wrong)}@${host}/other /\n`,
    });
    expect(url.status).toBe(4);
    ran.push(url);
  });

  test('is afterwards in no output, no file of the store, no export', () => {
    expect(values.length).toBeGreaterThan(8);
    for (const each of values) {
      const texts = [each, encodeURIComponent(each), JSON.stringify(each).slice(1, -1)];
      for (const text of texts) {
        expect(ran.filter(({ stdout, stderr }) => `${stdout}${stderr}`.includes(text))).toEqual([]);
      }
      expect(bench.filesWith(each)).toEqual([]);
    }
  });

  test('and the search finds what is there', async () => {
    const planted = secret();
    ran.push(await bench.build(['-'], { stdin: `FROM scratch\nLABEL planted=${planted}\n` }));
    expect(bench.filesWith(planted)).not.toEqual([]);
  });
});
