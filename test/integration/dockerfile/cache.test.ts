/** What runs again and what does not when a Dockerfile is built once more. */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startDockerRegistry } from '../../support/docker-registry.ts';
import { lacks } from '../../support/requires.ts';
import { installTsbuild } from '../../support/tsbuild.ts';
import { ranSteps, SHELL_STAGE, Workbench } from '../../support/workbench.ts';

const PROGRAMS = [
  'bwrap',
  'newuidmap',
  'newgidmap',
  'sh',
  'node',
  'git',
  'tar',
  'gzip',
  'ssh-agent',
  'python3',
];
const MACHINE = process.arch === 'arm64' ? 'arm64' : 'x64';

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'docker-registry'))('the cache of Dockerfiles', () => {
  let bench: Workbench;
  beforeAll(() => {
    bench = new Workbench();
  });
  afterAll(() => {
    expect(bench.leftovers()).toEqual([]);
    bench[Symbol.dispose]();
  });

  /** Short names of the steps that ran: `RUN one`. */
  async function steps(args: readonly string[]): Promise<readonly string[]> {
    const ran = await bench.build(args);
    expect(ran.status, ran.stderr).toBe(0);
    return ranSteps(ran).map((name) => name.replace(/^\[.*?\] /, ''));
  }

  test('a build of which everything is known starts nothing and asks nobody', async () => {
    const context = bench.context('noop', {
      Dockerfile: `${SHELL_STAGE}FROM sh
ARG A=1
COPY --chmod=600 a b /d/
RUN --mount=type=cache,target=/c --mount=type=bind,target=/ctx --mount=type=secret,id=s,required cat /ctx/a > /e
RUN <<EOT
echo heredoc
EOT
COPY --link --from=other . /other/
WORKDIR /w
LABEL l=$A
CMD ["sh"]
`,
      a: 'a',
      b: 'b',
    });
    bench.write({ 'noop-other/o': 'o', secret: 'value' });
    const args = [
      '--build-context',
      `other=${bench.at('noop-other')}`,
      '--secret',
      `id=s,src=${bench.at('secret')}`,
      context,
    ];
    const installed = installTsbuild(bench.at('package'));
    const first = await bench.build(args, { tsbuild: installed });
    expect(first.status, first.stderr).toBe(0);

    // Whatever is started now leaves a mark, and there is no network.
    const mark = bench.at('started');
    const marker = { text: `#!/bin/sh\necho "$0" >> ${mark}\nexit 99\n`, mode: 0o755 };
    bench.write(Object.fromEntries(PROGRAMS.map((name) => [`traps/${name}`, marker])));
    bench.write({ [`package/native/dist/tsbuild-launcher.linux-${MACHINE}`]: marker });
    const crippled = {
      tsbuild: installed,
      before: ['/usr/bin/unshare', '-n'],
      env: { PATH: bench.at('traps') },
    };
    const second = await bench.build(args, crippled);
    expect(second.status, second.stderr).toBe(0);
    expect(second.stdout).toBe(first.stdout);
    expect(existsSync(mark) ? readFileSync(mark, 'utf8') : '').toBe('');
    expect(ranSteps(second)).toEqual([]);

    // The traps see what they are for.
    writeFileSync(join(context, 'a'), 'changed');
    expect((await bench.build(args, crippled)).status).toBe(3);
    expect(readFileSync(mark, 'utf8')).toContain('launcher');
  });

  test('of another stage what is copied counts, and nothing else of it', async () => {
    const dockerfile = (mode: string) => `${SHELL_STAGE}FROM sh AS build
COPY src /src
RUN mkdir -p /out/d && cat /src/version > /log && cat /src/code | tr a-z A-Z > /out/app \
  && echo lib > /out/d/lib && chmod ${mode} /out/d/lib && ln -s app /out/link
FROM sh
COPY --from=build /out/app /out/l* /
RUN echo after > /after
COPY --from=build /out/d /d
RUN --mount=type=bind,from=build,source=/out/d,target=/m cat /m/lib > /lib
`;
    const context = bench.context('selected', {
      Dockerfile: dockerfile('644'),
      'src/version': '1',
      'src/code': 'code',
    });
    await steps([context]);
    writeFileSync(join(context, 'src/version'), '2');
    expect((await steps([context])).map((name) => name.split(' ', 2).join(' '))).toEqual([
      'COPY src',
      'RUN mkdir',
    ]);
    writeFileSync(join(context, 'Dockerfile'), dockerfile('600'));
    expect((await steps([context])).map((name) => name.split(' ', 3).join(' '))).toEqual([
      'RUN mkdir -p',
      'COPY --from=build /out/d',
      'RUN --mount=type=bind,from=build,source=/out/d,target=/m cat',
    ]);
    writeFileSync(join(context, 'src/code'), 'other');
    const image = await bench.image([context]);
    expect(image.read('app')).toBe('OTHER');
    expect(ranSteps(image.ran).join()).toContain('COPY --from=build /out/app');
  });

  test('of a context the bytes, names and modes count, and what does not run does not matter', async () => {
    const context = bench.context('touch', {
      Dockerfile: `${SHELL_STAGE}FROM sh
COPY a /a
RUN echo one > /one
COPY dir /dir
RUN echo two > /two
LABEL x=1
CMD ["x"]
`,
      a: 'a',
      'dir/b': 'b',
      unrelated: 'u',
    });
    await steps([context]);
    utimesSync(join(context, 'a'), 1, 1);
    chownSync(join(context, 'dir/b'), 12, 34);
    writeFileSync(join(context, 'unrelated'), 'other');
    const file = join(context, 'Dockerfile');
    const text = readFileSync(file, 'utf8');
    writeFileSync(
      file,
      `# A comment.\n${text.replace('LABEL x=1\nCMD ["x"]', 'CMD ["y"]\nEXPOSE 80\nLABEL x=2')}`,
    );
    expect(await steps([context])).toEqual([]);
    chmodSync(join(context, 'dir/b'), 0o600);
    expect(await steps([context])).toEqual(['COPY dir /dir', 'RUN echo two > /two']);
    writeFileSync(join(context, 'a'), 'A');
    expect(await steps([context])).toEqual([
      'COPY a /a',
      'RUN echo one > /one',
      'COPY dir /dir',
      'RUN echo two > /two',
    ]);
    // What was once is still known.
    writeFileSync(join(context, 'a'), 'a');
    chmodSync(join(context, 'dir/b'), 0o644);
    expect(await steps([context])).toEqual([]);
  });

  test('a step that gives what it gave before does not make the next ones run', async () => {
    const context = bench.context('content', {
      Dockerfile: `${SHELL_STAGE}FROM sh AS build
RUN --mount=source=script,target=/script sh /script > /out
RUN echo next > /next
FROM sh
COPY --from=build /out /out
RUN echo last > /last
`,
      script: '# One comment.\necho same\n',
    });
    await steps([context]);
    writeFileSync(join(context, 'script'), '# Another comment.\necho same\n');
    const again = 'RUN --mount=source=script,target=/script sh /script > /out';
    expect(await steps([context])).toEqual([again]);
    writeFileSync(join(context, 'script'), 'echo other\n');
    expect(await steps([context])).toEqual([
      again,
      'RUN echo next > /next',
      'COPY --from=build /out /out',
      'RUN echo last > /last',
    ]);
  });

  test('--no-cache, --no-cache-filter and the content that follows', async () => {
    // Each run gives another content; the COPY and the RUN after it must see the new one.
    const context = bench.context('filter', {
      Dockerfile: `${SHELL_STAGE}FROM sh AS s1
RUN cat /proc/sys/kernel/random/uuid > /id
FROM sh AS s2
RUN echo other > /other
FROM sh
COPY --from=s1 /id /id
COPY --from=s2 /other /other
COPY cached /cached
RUN cat /id > /seen
`,
      cached: 'c',
    });
    const first = await bench.image([context]);
    const filtered = await bench.image(['--no-cache-filter=s1', context]);
    expect(filtered.read('id')).not.toBe(first.read('id'));
    expect(filtered.read('seen')).toBe(filtered.read('id'));
    expect(ranSteps(filtered.ran).filter((name) => name.includes('other > /other'))).toEqual([]);
    // That is now what the cache knows.
    const again = await bench.image([context]);
    expect(ranSteps(again.ran)).toEqual([]);
    expect(again.read('seen')).toBe(filtered.read('id'));
    const anew = await bench.image(['--no-cache', context]);
    expect(anew.read('seen')).toBe(anew.read('id'));
    expect(anew.read('id')).not.toBe(again.read('id'));
    expect(ranSteps(anew.ran).some((name) => name.includes('RUN echo other'))).toBe(true);
    const unknown = await bench.build(['--no-cache-filter=nothing', context]);
    expect(unknown.status, unknown.stderr).toBe(0);
  });

  test('--pull asks what the tag means now', async () => {
    await using registry = await startDockerRegistry();
    const reference = `${registry.host}/base:1`;
    const push = async (text: string) => {
      mkdirSync(bench.at('pulled'), { recursive: true });
      writeFileSync(bench.at('pulled/f'), text);
      await bench.image(['-f', '-', '-t', reference, '--push', 'pulled'], {
        stdin: 'FROM scratch\nCOPY f /f\n',
      });
    };
    // From a store of its own, so that the image is not local to the build that pulls it.
    const build = async (...args: readonly string[]) =>
      await bench.image([...args, '-f', '-', 'pulled'], {
        stdin: `FROM ${reference}\nLABEL a=b\n`,
        env: { TSBUILD_HOME: bench.at('puller') },
      });
    await push('old');
    expect((await build()).read('f')).toBe('old');
    await push('new');
    expect((await build()).read('f')).toBe('old');
    expect((await build('--pull')).read('f')).toBe('new');
  });

  test('two builds at once share what they do', async () => {
    const context = bench.context('twice', {
      Dockerfile: `${SHELL_STAGE}FROM sh\nCOPY f /f\nRUN cat /f /f > /ff\nRUN cat /ff /ff > /fff\n`,
      f: 'twice',
    });
    const ran = await Promise.all([
      bench.build([context]),
      bench.build([context]),
      bench.build(['--no-cache', context]),
    ]);
    expect(ran.map(({ status, stderr }) => (status === 0 ? 0 : stderr))).toEqual([0, 0, 0]);
    expect(new Set(ran.map(({ stdout }) => stdout)).size).toBeLessThanOrEqual(2);
    expect(await steps([context])).toEqual([]);
  });
});
