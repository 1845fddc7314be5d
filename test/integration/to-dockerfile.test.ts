// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the shell expands them, not JavaScript.
/** An image and the Dockerfile that it prints: both are built, and the files and configurations are compared. */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sha256Hex } from '../../src/base/sha256.ts';
import { Engine } from '../../src/engine.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import { Mount } from '../../src/frontend/fluent/mount.ts';
import type { DockerfileExport } from '../../src/frontend/fluent/to-dockerfile.ts';
import { Secret } from '../../src/secret/secret.ts';
import { busyboxImage, busyboxPath } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';
import { Workbench } from '../support/workbench.ts';

const SECRET = 'value-of-the-secret';

describe.skipIf(lacks('root', 'bwrap', 'busybox'))('toDockerfile', () => {
  let bench: Workbench;
  let engine: Engine;
  let number = 0;

  beforeAll(async () => {
    bench = new Workbench();
    engine = await Engine.open({
      storeDir: bench.at('store'),
      env: { PATH: process.env.PATH, HOME: bench.directory, GIVEN_TOKEN: SECRET },
    });
    bench.write({
      'src/a.py': 'a',
      'src/run': { text: 'run', mode: 0o700 },
      'src/deep/b.txt': 'b',
      'src/empty': null,
      'src/left.log': '',
      'src/link': { link: 'deep' },
      'conf.yml': 'conf',
      'my file': 'blank',
      'mod/m.py': 'm',
      'nothing/at/all': null,
    });
    execFileSync('cp', [busyboxPath(), bench.at('src/busybox')]);
  });
  afterAll(async () => {
    await engine?.[Symbol.asyncDispose]();
    bench?.[Symbol.dispose]();
  });

  /** The context as the export lists it; what is listed is what the file holds. */
  function materialise({ context }: DockerfileExport): string {
    number += 1;
    const directory = bench.at(`context-${number}`);
    mkdirSync(directory, { mode: 0o755 });
    for (const [path, { localPath, sha256, mode, link }] of Object.entries(context)) {
      const to = join(directory, path);
      mkdirSync(path.endsWith('/') ? to : dirname(to), { recursive: true, mode: 0o755 });
      if (link !== undefined) {
        symlinkSync(link, to);
      } else if (localPath !== undefined) {
        expect(sha256Hex(readFileSync(localPath))).toBe(sha256);
        copyFileSync(localPath, to);
        chmodSync(to, mode);
      } else {
        chmodSync(to, mode);
      }
    }
    return directory;
  }

  async function treeOf(image: Image): Promise<readonly string[]> {
    number += 1;
    const [tar, directory] = [bench.at(`tree-${number}.tar`), bench.at(`tree-${number}`)];
    await engine.exportTo(image, tar, { format: 'rootfs-tar' });
    mkdirSync(directory);
    execFileSync('tar', ['-xpf', tar, '-C', directory, '--numeric-owner']);
    const script = "find . -mindepth 1 -printf '%y %m %U:%G %P %l\\n'; find . -type f -exec sha256sum {} +";
    return execFileSync('sh', ['-c', script], { cwd: directory, encoding: 'utf8' }).split('\n').sort();
  }

  /**
   * Which variable was set first is no difference, and the working directory is `/` where nothing says so. `ArgsEscaped` is what
   * Docker's frontend writes for Windows.
   */
  const configOf = async (image: Image) => {
    const [built] = await engine.build([image]);
    const config: Record<string, unknown> = { WorkingDir: '/', ...built?.config.config };
    const { ArgsEscaped: _, Env: env, ...rest } = config;
    return { ...rest, Env: [...((env as string[] | undefined) ?? [])].sort() };
  };

  /** @param whole - What the Dockerfile means, with pending files as a layer. */
  async function same(image: Image, whole = image): Promise<DockerfileExport> {
    const exported = await engine.toDockerfile(image);
    expect(JSON.stringify(exported)).not.toContain(SECRET);
    const rebuilt = Image.fromDockerfile(
      { text: exported.text },
      {
        contextDir: materialise(exported),
        ignore: [],
        buildContexts: exported.buildContexts,
        buildSecrets: exported.secrets.map((id) => `id=${id},env=GIVEN_TOKEN`),
      },
    );
    expect(await treeOf(rebuilt), exported.text).toEqual(await treeOf(image));
    expect(await configOf(rebuilt), exported.text).toEqual(await configOf(whole));
    return exported;
  }

  test('a command without a shell that gets variables', async () => {
    const base = busyboxImage().runCommands('ln -s sh /bin/busybox; busybox --install -s /bin');
    await same(base.runCommands('["/bin/sh", "-c", "echo $A > /env"]', { env: { A: 'a b' } }));
  });

  test('secrets are ids, one for each variable of each secret', async () => {
    const image = busyboxImage()
      .runCommands('echo ${#TOKEN} > /a', { secrets: [Secret.fromDict({ TOKEN: SECRET })] })
      .runCommands('echo ${#TOKEN} > /b', { secrets: [Secret.fromDict({ TOKEN: SECRET })] });
    const { secrets, text } = await same(image);
    expect(secrets).toEqual(['TOKEN', 'TOKEN.2']);
    expect(text).toContain('RUN --mount=type=secret,id=TOKEN.2,env=TOKEN echo ${#TOKEN} > /b');
  });

  test('the forms of commands', async () => {
    await same(
      busyboxImage()
        .runCommands(
          'echo one > /one',
          'cd /bin',
          'pwd > /pwd',
          'echo "<<EOF" > /heredoc',
          '# only a comment',
        )
        .runCommands('x=1', 'echo $x > /x', { sharedShell: true })
        .runCommands('["/bin/sh", "-c", "echo exec > /exec"]')
        .runCommands('for i in 1 2\ndo\n  echo $i >> /lines\ndone\n', 'cat > /doc <<EOF\n  in $HOME\nEOF')
        .runCommands('echo "$A/${#TOKEN}" > /env', {
          env: { A: `it's "$B" \\` },
          secrets: [Secret.fromDict({ TOKEN: SECRET })],
        })
        .runCommands('echo "[$A$TOKEN]" >> /env'),
    );
  });

  test('configuration: values are literal, and the order of ENTRYPOINT and CMD counts', async () => {
    await same(
      busyboxImage()
        .env({ QUOTES: `it's "$PATH" \\ \`x\``, EMPTY: '', BLANK: 'a b' })
        .workdir('/w')
        .workdir('sub dir')
        .shell(['/bin/sh', '-ec'])
        .runCommands('pwd > here; echo $- >> here; echo "$QUOTES" >> here')
        .cmd(['kept', 'a "b"'])
        .entrypoint(['/bin/sh', '-c']),
    );
    await same(busyboxImage().cmd(['gone']).dockerfileCommands('LABEL a=b').entrypoint(['x']));
    await same(busyboxImage().entrypoint([]).cmd([]));
  });

  test('local files: layers at the same places, with the same modes', async () => {
    const image = busyboxImage()
      .workdir('/w')
      .copyLocalFile(bench.at('conf.yml'), '/etc/app/conf.yml')
      .copyLocalFile(bench.at('conf.yml'), 'relative/')
      .copyLocalFile(bench.at('my file'), '/a b')
      .copyLocalDir(bench.at('src'), '/app', { ignore: ['*.log', 'busybox'] })
      .copyLocalDir(bench.at('src'), '.', { condition: (path) => path.endsWith('.py') })
      .copyLocalDir(bench.at('nothing'), '/none', { ignore: ['at'] })
      .addLocalDir(bench.at('src'), '/opt/x', { copy: true, ignore: ['busybox', 'run'] })
      .addLocalFile(bench.at('conf.yml'), '/opt/y/', { copy: true })
      .env({ PYTHONPATH: '/lib' })
      .addLocalPythonSource('m', { copy: true, searchPaths: [bench.at('mod')] });
    const { context } = await same(image);
    expect(context['tsbuild/7/link']).toEqual({ sha256: sha256Hex('deep'), mode: 0o777, link: 'deep' });
    expect(context['tsbuild/7/run']).toMatchObject({ mode: 0o755, localPath: bench.at('src/run') });
  });

  test('pending files become a last layer, Python finds its modules', async () => {
    const base = busyboxImage();
    const image = base
      .addLocalDir(bench.at('src'), '/late', { ignore: ['busybox'] })
      .addLocalPythonSource('m', { searchPaths: [bench.at('mod')] });
    const { text } = await same(image, base.env({ PYTHONPATH: '/root' }));
    expect(text).toContain('ENV PYTHONPATH=/root${PYTHONPATH:+:$PYTHONPATH}');
    expect((await engine.toDockerfile(base)).text).not.toContain('PYTHONPATH');
  });

  test('lines of Dockerfiles: stages, contexts, build args, mounts', async () => {
    const contextDir = bench.at('src');
    const image = busyboxImage()
      .runCommands('echo first > /first')
      .dockerfileCommands(
        [
          'FROM base AS made',
          'ARG WHO=nobody',
          'ARG KEPT="is kept"',
          'RUN --mount=type=bind,source=deep,target=/mnt cat /mnt/b.txt > /bound; echo "$WHO $KEPT" > /who',
          'FROM scratch AS other',
          'COPY --from=made /who /from-made',
          'FROM base',
          'COPY --from=made /bound /who /got/',
          'COPY --from=2 /from-made /got/',
          'COPY *.py ../deep/ /copied/',
          'COPY /given /given',
          'COPY --parents deep/b.txt ./run /parents/',
          'COPY <<EOF /inline',
          'heredoc',
          'EOF',
          'ADD a.py /added',
          'RUN --mount=from=made,source=/bound,target=/m cat /m > /again',
          'USER 7',
          'LABEL a="b c"',
        ],
        {
          contextDir,
          ignore: ['*.log'],
          buildArgs: { WHO: "it's me" },
          contextFiles: { '/given': bench.at('conf.yml') },
          env: { ONLY: 'here' },
        },
      )
      .dockerfileCommands('FROM base AS made', 'USER 0', 'RUN echo two > /two', 'FROM made', 'ENV LAST=1')
      .runCommands('echo end > /end');
    const { notes } = await same(image);
    expect(notes).toEqual([]);
    const mounted = busyboxImage().dockerfileCommands('COPY ctx /ctx', {
      contextMount: Mount.fromLocalDir(bench.at('src/deep'), { remotePath: '/ctx' }),
    });
    await same(mounted);
  });

  test('a Dockerfile as the base: target, labels, build args, and what follows', async () => {
    bench.write({
      'src/app.Dockerfile': [
        '# escape=`',
        'ARG BASE=scratch',
        'FROM ${BASE} AS shell',
        'COPY busybox /bin/sh',
        'ENV PATH=/bin `',
        '    B=\\back',
        'CMD ["from", "the", "file"]',
        'FROM shell AS wanted',
        'ARG V',
        'COPY deep /deep/',
        'RUN echo "$V $STEP" > /v',
        'FROM shell',
        'RUN exit 1',
      ].join('\n'),
    });
    const options = {
      contextDir: bench.at('src'),
      target: 'wanted',
      labels: { 'a.b': `it's $x` },
      buildArgs: { V: 'v 1' },
      env: { STEP: 'step' },
    };
    const base = Image.fromDockerfile(bench.at('src/app.Dockerfile'), options);
    await same(base);
    const { text } = await same(base.runCommands('echo more > /more').entrypoint(['/bin/sh']));
    expect(text).toContain('# escape=`');
    await expect(engine.toDockerfile(base.dockerfileCommands('RUN true'))).rejects.toMatchObject({
      code: 'E_NO_DOCKERFILE',
    });
  });

  test('an OCI layout as the base is a named context', async () => {
    const layout = bench.at('layout');
    await engine.exportTo(busyboxImage().cmd(['x']), layout, { format: 'oci-layout', tag: 'v1' });
    const image = Image.fromOciLayout(layout, { tag: 'v1' })
      .runCommands('echo 1 > /1')
      .entrypoint(['/bin/sh']);
    const { buildContexts } = await same(image);
    expect(buildContexts).toEqual({ 'tsbuild-base': `oci-layout://${layout}:v1` });
  });

  test('local packages of Python are mounted for their step', async () => {
    bench.write({
      'packages/mine/__init__.py': "name = 'mine'\n",
      // Says where packages go, which is all that the step asks.
      'bin/python': { text: '#!/bin/sh\necho /site-packages\n', mode: 0o755 },
    });
    const image = busyboxImage()
      .copyLocalFile(bench.at('bin/python'), '/bin/python')
      .addPythonPackages(bench.at('packages/mine'));
    expect((await engine.readFile(image, '/site-packages/mine/__init__.py')).toString()).toContain('mine');
    const { text } = await same(image);
    expect(text).toMatch(/^RUN --mount=type=bind,source=tsbuild\/\d+\/\S+,target=\S+,rw /m);
  });

  test('what no Dockerfile can say is an error, what it leaves out is noted', async () => {
    const refused = async (image: Image) =>
      await engine.toDockerfile(image).then(
        () => undefined,
        (error: { code?: string }) => error.code,
      );
    const base = busyboxImage();
    expect(await refused(base.env({ A: 'two\nlines' }))).toBe('E_NO_DOCKERFILE');
    expect(await refused(base.dockerfileCommands('ARG A', { buildArgs: { A: 'two\nlines' } }))).toBe(
      'E_NO_DOCKERFILE',
    );
    expect(await refused(base.copyLocalFile(bench.at('conf.yml'), '/price in $'))).toBe('E_NO_DOCKERFILE');
    expect(await refused(Image.fromDockerfile(undefined, { context: 'https://x.invalid/y.git' }))).toBe(
      'E_NO_DOCKERFILE',
    );
    expect(await refused(base.copyLocalFile(bench.at('gone'), '/x'))).toBe('E_LOCAL_FILE_MISSING');
    const debian = Image.debianSlim({ source: 'archive' }).aptInstall('git').runCommands('x', { timeout: 5 });
    const { text, notes } = await engine.toDockerfile(debian);
    expect(notes).toHaveLength(2);
    expect(text.split('\n')).toEqual(
      expect.arrayContaining([
        'FROM debian:trixie-slim AS tsbuild-0',
        'RUN apt-get update && apt-get install -y python3 python3-pip python3-venv',
        'RUN ln -s python3 /usr/bin/python',
        "RUN export DEBIAN_FRONTEND='noninteractive'; apt-get install -y git",
      ]),
    );
    const python = await engine.toDockerfile(
      Image.fromRegistry('debian:13', {
        addPython: '3.12',
        setupDockerfileCommands: ['RUN true', 'USER root'],
      }),
    );
    expect(python.notes).toHaveLength(1);
    expect(python.text).toContain('FROM debian:13 AS tsbuild-0\n');
    expect(python.text).toMatch(/^FROM tsbuild-0 AS tsbuild-0-stage-0\nRUN true\nUSER root$/m);
    expect(python.text).toContain('COPY --from=python:3.12-slim /usr/local/ /usr/local/\n');
    const named = await engine.toDockerfile(
      base.runCommands('x', {
        secrets: [Secret.fromName('s', { requiredKeys: ['KEY'] }), Secret.fromDotenv()],
      }),
    );
    expect(named.secrets).toEqual(['KEY']);
    expect(named.notes).toHaveLength(1);
    const uv = await engine.toDockerfile(Image.debianSlim({ pythonVersion: '3.12' }).uvPipInstall('x[y]'));
    expect(uv.text).toContain('FROM python:3.12-slim-trixie AS tsbuild-0\n');
    expect(uv.text).toContain('COPY --from=ghcr.io/astral-sh/uv:latest /uv /.uv/uv\n');
    expect(uv.text).toMatch(/^RUN \/\.uv\/uv pip install .* 'x\[y\]'$/m);
  });

  test('no value becomes an instruction of its own', async () => {
    const base = busyboxImage();
    const value = 'x\nEOF\nUSER evil';
    const env = { A: value };
    const { text } = await engine.toDockerfile(base.runCommands('echo "$A"', { env }));
    expect(text.split('\n').at(-2)).toBe('EOF2');
    const cut = await engine.toDockerfile(base.runCommands('cat <<x\nEOF\r\nUSER evil\nx'));
    expect(cut.text.split('\n').at(-2)).toBe('EOF2');
    await same(base.runCommands('echo "$A" > /value', { env }));
    for (const each of [
      base.workdir(`/${value}`),
      base.dockerfileCommands('RUN true', { env }),
      base.dockerfileCommands(['RUN <<EOF', 'true', 'EOF'], { env }),
      Image.fromDockerfile({ text: 'FROM scratch' }, { labels: { A: value } }),
    ]) {
      await expect(engine.toDockerfile(each)).rejects.toMatchObject({ code: 'E_NO_DOCKERFILE' });
    }
  });

  test('every name of a file is in the context', async () => {
    bench.write({ 'odd/other': '' });
    writeFileSync(bench.at('odd/__proto__'), 'x');
    const image = Image.fromDockerfile(
      { text: 'FROM scratch\nCOPY . /' },
      { contextDir: bench.at('odd'), ignore: [] },
    );
    const { context } = await engine.toDockerfile(image);
    expect(Object.keys(context)).toEqual(['__proto__', 'other']);
  });

  test('the command prints it', async () => {
    bench.write({
      'd/image.ts': [
        "import { Image } from 'tsbuild';",
        "export default Image.fromScratch().copyLocalFile('conf.yml', '/etc/conf.yml').cmd(['x']);",
      ].join('\n'),
    });
    const ran = await bench.run(['plan', '--dockerfile', 'd/image.ts']);
    expect(ran.stderr).toBe('');
    expect(ran.stdout).toContain('FROM scratch AS tsbuild-0\n');
    expect(ran.stdout).toContain('COPY tsbuild/1/conf.yml /etc/conf.yml\n');
    expect(ran.stdout).toContain(`# tsbuild/1/conf.yml: 0644 ${bench.at('conf.yml')}\n`);
    const json = await bench.run(['plan', '--dockerfile', '--json', 'd/image.ts']);
    expect(JSON.parse(json.stdout).default.context['tsbuild/1/conf.yml']).toMatchObject({ mode: 0o644 });
  });
});
