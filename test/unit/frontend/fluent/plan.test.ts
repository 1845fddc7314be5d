// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the shell expands them, not JavaScript.
import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Image } from '../../../../src/frontend/fluent/image.ts';
import { FilePatternMatcher } from '../../../../src/patterns/file-pattern-matcher.ts';
import { Secret } from '../../../../src/secret/secret.ts';
import { lastLines, planOf } from '../../../support/image-surroundings.ts';
import { temporaryTree } from '../../../support/temporary-tree.ts';

const base = Image.fromScratch();
const code = (expected: string) => expect.objectContaining({ code: expected });
const last = async (image: Image) => (await planOf(image)).layers.at(-1);
const codes = async (image: Image, lint = false) =>
  (await planOf(image, {}, { lint })).diagnostics.map((each) => each.code);

describe('bases', () => {
  test.each([
    ['a series (C1)', Image.debianSlim({ pythonVersion: '3.12' }), {}, 'FROM python:3.12-slim-trixie'],
    ['the series of the host', Image.debianSlim(), { hostPython: '3.11' }, 'FROM python:3.11-slim-trixie'],
    ['no python on the host', Image.debianSlim(), {}, 'FROM python:3.12-slim-trixie'],
    [
      'a series as text (C3)',
      Image.debianSlim({ pythonVersion: '3.13' }),
      {},
      'FROM python:3.13-slim-trixie',
    ],
    [
      'an exact version',
      Image.debianSlim({ pythonVersion: '3.12.10' }),
      {},
      'FROM python:3.12.10-slim-trixie',
    ],
    [
      'an older builder version',
      Image.debianSlim({ pythonVersion: '3.12', builderVersion: '2025.06' }),
      {},
      'FROM python:3.12-slim-bookworm',
    ],
    [
      'an image of a registry (C11)',
      Image.fromRegistry('pytorch/pytorch:2.0.0-cuda11.7-cudnn8-runtime'),
      {},
      'FROM pytorch/pytorch:2.0.0-cuda11.7-cudnn8-runtime',
    ],
    ['scratch (C25)', Image.fromScratch(), {}, 'FROM scratch'],
    ['a layout by tag', Image.fromOciLayout('/x', { tag: 'v1' }), {}, 'FROM oci-layout:v1'],
    ['the archive', Image.fromDebian(), {}, 'FROM debian-archive:trixie'],
    [
      'the archive of a day',
      Image.fromDebian({ suite: 'bookworm', snapshot: '20261015T000000Z', packages: ['git', 'curl', 'git'] }),
      {},
      'FROM debian-archive:bookworm@20261015T000000Z curl git',
    ],
  ])('%s', async (_, image, given, line) => {
    expect((await planOf(image, given)).layers[0]?.commands).toEqual([line]);
  });

  test('row 5: a slim Debian from the archive', async () => {
    const lines = [
      'FROM debian-archive:trixie python3 python3-pip python3-venv',
      'RUN ln -s python3 /usr/bin/python',
      'RUN rm -f /usr/lib/python3.13/EXTERNALLY-MANAGED',
      'RUN for info in /usr/lib/python3/dist-packages/*.dist-info; do touch "$info/RECORD"; done',
    ];
    expect(await lastLines(Image.debianSlim({ source: 'archive' }))).toEqual(lines);
    const byVariable = { env: { TSBUILD_DEBIAN_SOURCE: 'archive' }, hostPython: '3.11' };
    expect(await lastLines(Image.debianSlim(), byVariable)).toEqual(lines);
    expect(await lastLines(Image.debianSlim({ source: 'archive', toolchain: true }))).toEqual([
      ...lines,
      'RUN apt-get update && apt-get install -y build-essential gfortran',
    ]);
  });

  test('the archive has the Python of its suite only', async () => {
    const wrong = Image.debianSlim({ source: 'archive', pythonVersion: '3.12' });
    await expect(planOf(wrong)).rejects.toThrow(code('E_PYTHON_VERSION_UNSUPPORTED'));
    const older = Image.debianSlim({ source: 'archive', pythonVersion: '3.11' });
    await expect(planOf(older)).rejects.toMatchObject({
      code: 'E_PYTHON_VERSION_UNSUPPORTED',
      hint: expect.stringContaining('builder version 2025.06'),
    });
    await expect(
      planOf(Image.debianSlim({ source: 'archive', pythonVersion: '3.13' })),
    ).resolves.toBeDefined();
    const old = Image.debianSlim({ source: 'archive', builderVersion: '2025.06', pythonVersion: '3.11' });
    expect((await lastLines(old))[0]).toContain('debian-archive:bookworm');
  });

  test('Python versions: what somebody asked for must exist, what the host has may not', async () => {
    await expect(planOf(Image.debianSlim({ pythonVersion: '3.9' }))).rejects.toThrow(
      code('E_PYTHON_VERSION_UNSUPPORTED'),
    );
    const settings = { env: { TSBUILD_PYTHON_VERSION: '3.9' } };
    await expect(planOf(Image.debianSlim(), settings)).rejects.toThrow(code('E_PYTHON_VERSION_UNSUPPORTED'));
    const byVariable = { env: { TSBUILD_PYTHON_VERSION: '3.10' }, hostPython: '3.11' };
    expect(await lastLines(Image.debianSlim(), byVariable)).toEqual(['FROM python:3.10-slim-trixie']);
    const plan = await planOf(Image.debianSlim(), { hostPython: '3.9' });
    expect(plan.layers[0]?.commands).toEqual(['FROM python:3.12-slim-trixie']);
    expect(plan.diagnostics.map((each) => each.code)).toEqual(['W_PYTHON_FALLBACK']);
  });

  test('precedence of the builder version (C129)', async () => {
    const env = { TSBUILD_IMAGE_BUILDER_VERSION: '2025.06' };
    const pinned = Image.fromScratch({ builderVersion: 'PREVIEW' });
    expect((await planOf(base)).builderVersion).toBe('2026.10');
    expect((await planOf(base, { env })).builderVersion).toBe('2025.06');
    expect((await planOf(base, { env }, { builderVersion: '2026.10' })).builderVersion).toBe('2026.10');
    expect((await planOf(pinned, { env }, { builderVersion: '2026.10' })).builderVersion).toBe('PREVIEW');
    await expect(planOf(base, { env: { TSBUILD_IMAGE_BUILDER_VERSION: 'x' } })).rejects.toThrow(
      code('E_BUILDER_VERSION'),
    );
  });

  test('layer 0 has another hash under another builder version, whatever the base (C130)', async () => {
    const hashes = await Promise.all(
      (['2025.06', '2026.10'] as const).map(
        async (builderVersion) =>
          (await planOf(Image.fromRegistry('a', { builderVersion }))).layers[0]?.definitionHash,
      ),
    );
    expect(hashes[0]).not.toBe(hashes[1]);
  });

  test('credentials of a registry are in the plan by identity', async () => {
    const secret = Secret.fromDict({ REGISTRY_USERNAME: 'u', REGISTRY_PASSWORD: 'planted-value' });
    const plan = await planOf(Image.fromRegistry('a', { secret }));
    expect(plan.layers[0]?.registryAuth).toEqual({
      type: 'static',
      secret: { kind: 'dict', keys: ['REGISTRY_PASSWORD', 'REGISTRY_USERNAME'] },
    });
    expect(JSON.stringify(plan)).not.toContain('planted-value');
  });
});

describe('commands', () => {
  const T = 'https://token:${PRIVATE_REGISTRY_TOKEN}@h/simple/';
  const uv = '/.uv/uv pip install --python $(command -v python) --compile-bytecode';
  const copyUv = 'COPY --from=ghcr.io/astral-sh/uv:latest /uv /.uv/uv';
  test.each([
    [
      'pip: packages are sorted (C26)',
      base.pipInstall('requests', 'pydantic'),
      ['RUN python -m pip install pydantic requests'],
    ],
    ['row 27', base.pipInstall('x', ['z', 'y']), ['RUN python -m pip install x y z']],
    ['code point order', base.pipInstall('apple', 'Zope'), ['RUN python -m pip install Zope apple']],
    [
      'specifiers are quoted (C28)',
      base.uvPipInstall('torch<3', 'pandas==2.2.0'),
      [copyUv, `RUN ${uv} pandas==2.2.0 'torch<3'`],
    ],
    [
      'extras are quoted (C29)',
      base.pipInstall('diffusers[torch]'),
      ["RUN python -m pip install 'diffusers[torch]'"],
    ],
    [
      'flags of pip (C31)',
      base.pipInstall('numpy', 'scipy', {
        extraIndexUrl: 'https://xyz',
        findLinks: 'https://abc?q=123',
        pre: true,
      }),
      [
        "RUN python -m pip install numpy scipy --find-links 'https://abc?q=123' --extra-index-url https://xyz --pre",
      ],
    ],
    [
      'extra options come last, as they are (C32)',
      base.pipInstall('a', { extraOptions: ' --no-build-isolation ', indexUrl: 'https://i' }),
      ['RUN python -m pip install a --index-url https://i --no-build-isolation'],
    ],
    [
      'options of pip among the packages (C33)',
      base.pipInstall('-r', 'requirements.txt'),
      ['RUN python -m pip install -r requirements.txt'],
    ],
    [
      'a variable in an option of pip is left to the shell (C34)',
      base.pipInstall('--extra-index-url', T, 'pkg'),
      [`RUN python -m pip install pkg --extra-index-url "${T}"`],
    ],
    [
      'a variable in the address of an index too (C160)',
      base.pipInstall('p', { extraIndexUrl: T }),
      [`RUN python -m pip install p --extra-index-url "${T}"`],
    ],
    ['uv (C40)', base.uvPipInstall('pandas', 'numpy'), [copyUv, `RUN ${uv} numpy pandas`]],
    [
      'flags of uv (C41)',
      base.uvPipInstall('a', {
        extraIndexUrl: 'https://e',
        findLinks: 'https://f',
        pre: true,
        extraOptions: '-v',
        uvVersion: '0.7.2',
      }),
      [
        'COPY --from=ghcr.io/astral-sh/uv:0.7.2 /uv /.uv/uv',
        `RUN ${uv} --find-links https://f --extra-index-url https://e --prerelease allow -v a`,
      ],
    ],
    [
      'apt: packages in the order of the call (C54)',
      base.aptInstall('git', 'curl'),
      ['RUN apt-get update', 'RUN apt-get install -y git curl'],
    ],
    [
      'row 56',
      base.aptInstall('--purge', 'build-essential', 'cmake'),
      ['RUN apt-get update', 'RUN apt-get install -y --purge build-essential cmake'],
    ],
    [
      'apt lists removed',
      base.aptInstall('a', { cleanup: true }),
      ['RUN apt-get update', 'RUN apt-get install -y a', 'RUN rm -rf /var/lib/apt/lists/*'],
    ],
    ['aptRemove', base.aptRemove('b', 'a'), ['RUN apt-get remove -y b a', 'RUN apt-get autoremove -y']],
    [
      'aptRemove options',
      base.aptRemove('a', { purge: true, autoremove: false }),
      ['RUN apt-get remove -y --purge a'],
    ],
    [
      'a command as it is written (C57)',
      base.runCommands('apt-get autoremove -y && apt-get clean'),
      ['RUN apt-get autoremove -y && apt-get clean'],
    ],
    ['a line for every command', base.runCommands('a', 'b'), ['RUN a', 'RUN b']],
    ['one script', base.runCommands('cd x', 'pwd', { sharedShell: true }), ['RUN cd x\npwd']],
    ['installs of the project itself (C68)', base.runCommands('pip install -e .'), ['RUN pip install -e .']],
    [
      'an entrypoint (C18)',
      base.entrypoint(['/usr/bin/my_entrypoint.sh']),
      ['ENTRYPOINT ["/usr/bin/my_entrypoint.sh"]'],
    ],
    ['no entrypoint', base.entrypoint([]), ['ENTRYPOINT []']],
    ['cmd (C77)', base.cmd(['echo', 'hi "x"']), ['CMD ["echo", "hi \\"x\\""]']],
    ['shell (C77)', base.shell(['/bin/bash', '-c']), ['SHELL ["/bin/bash", "-c"]']],
    [
      'env: a line for every variable, in order (C71)',
      base.env({ MY_VAR: 'value', DEBUG: 'true' }),
      ['ENV MY_VAR=value', 'ENV DEBUG=true'],
    ],
    [
      'env: literal values (C75)',
      base.env({ A: "x y'z", P: '/a:$PATH' }),
      [`ENV A='x y'"'"'z'`, "ENV P='/a:$PATH'"],
    ],
    ['workdir', base.workdir('/app'), ['WORKDIR /app']],
    ['workdir quoted', base.workdir('/my app'), ["WORKDIR '/my app'"]],
  ])('%s', async (_, image, lines) => {
    expect(await lastLines(image)).toEqual(['FROM base', ...lines]);
  });

  test('state that is lost between commands is warned about', async () => {
    expect(await codes(base.runCommands('curl -sSL x | python3 -', 'export PATH=/x'))).toEqual([
      'W_EXPORT_LOST',
    ]);
    expect(await codes(base.runCommands('cd /tmp/x && mkdir build && cd build', 'cmake ..'))).toEqual([
      'W_CD_LOST',
    ]);
    expect(await codes(base.runCommands('make', 'cd /tmp'))).toEqual([]);
    expect(await codes(base.runCommands('cd /tmp', 'pwd', { sharedShell: true }))).toEqual([]);
    expect(await codes(base.runCommands('cd /tmp && make', 'export A=1; make', 'abcd x', 'x'))).toEqual([]);
  });

  test('rows 55, 56: apt (C55)', async () => {
    expect(await codes(base.aptInstall('--purge', 'cmake'))).toEqual(['W_APT_PURGE']);
    expect(await codes(base.aptInstall('--purge', 'cmake-'))).toEqual([]);
    const plan = await planOf(base.aptInstall('a', { forceBuild: true }).runCommands('x'));
    expect(plan.layers.map((layer) => layer.forceBuild)).toEqual([false, true, true]);
    expect(plan.diagnostics).toEqual([expect.objectContaining({ code: 'W_FORCE_BUILD_LEFT', layer: 1 })]);
  });

  test('lint (C145, C146)', async () => {
    expect(await codes(base.uvPipInstall('torch==2.1.0', 'a @ https://x/a.whl'), true)).toEqual([]);
    for (const unpinned of [
      'torch',
      'torch>=2',
      'torch[x]',
      'torch!=2.0',
      'torch; python_version == "3.12"',
    ]) {
      expect(await codes(base.uvPipInstall(unpinned), true)).toEqual(['W_UNPINNED']);
    }
    expect(await codes(base.uvPipInstall('torch>=2'), false)).toEqual([]);
    expect(await codes(base.pipInstall('torch==2.1.0'), true)).toEqual(['W_PIP_WHERE_UV']);
  });

  test('lint: files that change come after installs, unless the install reads them', async () => {
    await using tree = await temporaryTree({ 'src/a.py': '', 'r.txt': 'a==1' });
    const [src, file] = [join(tree.path, 'src'), join(tree.path, 'r.txt')];
    expect(await codes(base.copyLocalDir(src, '/src').uvPipInstall('a==1'), true)).toEqual(['W_ORDER']);
    expect(await codes(base.uvPipInstall('a==1').copyLocalDir(src, '/src'), true)).toEqual([]);
    expect(await codes(base.copyLocalFile(file, '/r.txt').uvPipInstall('-r', '/r.txt'), true)).toEqual([]);
  });

  test('layers are in the order of the calls (C141, C156)', async () => {
    const plan = await planOf(base.aptInstall('postgresql-client').uvPipInstall('psycopg'));
    expect(plan.layers.map((layer) => layer.method)).toEqual(['fromScratch', 'aptInstall', 'uvPipInstall']);
  });
});

describe('definition hash', () => {
  const hash = async (image: Image) => (await last(image))?.definitionHash;

  test('forceBuild is not in it (C39)', async () => {
    expect(await hash(base.pipInstall('a', { forceBuild: false }))).toBe(await hash(base.pipInstall('a')));
    expect(await hash(base.pipInstall('a', { forceBuild: true }))).toBe(await hash(base.pipInstall('a')));
  });

  test('rows 63, 118: values of secrets are not, names are', async () => {
    const with_ = (secret: Secret) => hash(base.runCommands('a', { secrets: [secret] }));
    const first = await with_(Secret.fromDict({ TOKEN: 'planted-one' }));
    expect(await with_(Secret.fromDict({ TOKEN: 'planted-two' }))).toBe(first);
    expect(await with_(Secret.fromDict({ OTHER: 'planted-one' }))).not.toBe(first);
    expect(await with_(Secret.fromEnv(['TOKEN']))).not.toBe(first);
  });

  test('values of env are (C154)', async () => {
    const with_ = (value: string) => hash(base.runCommands('a', { env: { A: value } }));
    expect(await with_('1')).not.toBe(await with_('2'));
  });

  test('timeout is not, sharedShell is', async () => {
    expect(await hash(base.runCommands('a', { timeout: 3 }))).toBe(await hash(base.runCommands('a')));
    expect(await hash(base.runCommands('a\nb', { sharedShell: true }))).not.toBe(
      await hash(base.runCommands('a\nb')),
    );
  });

  test('what is below is not in it', async () => {
    expect(await hash(base.aptInstall('x').pipInstall('a'))).toBe(await hash(base.pipInstall('a')));
  });
});

describe('local files', () => {
  test('content counts, the time and place of a requirements file do not (C45)', async () => {
    await using tree = await temporaryTree({ 'requirements.txt': 'a==1\n', 'else/other.txt': 'a==1\n' });
    const file = join(tree.path, 'requirements.txt');
    const before = await last(base.pipInstallFromRequirements(file, { pre: true }));
    expect(before?.commands).toEqual([
      'FROM base',
      'COPY /.requirements.txt /.requirements.txt',
      'RUN python -m pip install -r /.requirements.txt --pre',
    ]);
    expect(Object.keys(before?.contextFiles ?? {})).toEqual(['/.requirements.txt']);
    expect(before?.contextFiles['/.requirements.txt']).toMatchObject({ size: 5, mode: 0o644 });
    await utimes(file, 1, 1);
    const options = { pre: true };
    const elsewhere = base.pipInstallFromRequirements(join(tree.path, 'else/other.txt'), options);
    expect((await last(elsewhere))?.definitionHash).toBe(before?.definitionHash);
    expect((await last(base.pipInstallFromRequirements(file, options)))?.definitionHash).toBe(
      before?.definitionHash,
    );
    await writeFile(file, 'a==2\n');
    const after = await last(base.pipInstallFromRequirements(file, options));
    expect(after?.definitionHash).not.toBe(before?.definitionHash);
  });

  test('rows 42, 43: requirement files for uv keep their names apart', async () => {
    await using tree = await temporaryTree({ 'a/r.txt': 'x', 'b/r.txt': 'y' });
    const [a, b] = ['a/r.txt', 'b/r.txt'].map((name) => join(tree.path, name)) as [string, string];
    const lines = await lastLines(base.uvPipInstallFromRequirements([a, b]));
    expect(lines.slice(2)).toEqual([
      'COPY /.0_r.txt /.uv/0/r.txt',
      'COPY /.1_r.txt /.uv/1/r.txt',
      'RUN /.uv/uv pip install --python $(command -v python) --compile-bytecode --requirements /.uv/0/r.txt --requirements /.uv/1/r.txt',
    ]);
    const layer = await last(base.uvPipInstall('z', { requirements: [a] }));
    expect(layer?.commands.at(-1)).toMatch(/--requirements \/\.uv\/0\/r\.txt z$/);
    expect(Object.keys(layer?.contextFiles ?? {})).toEqual(['/.0_r.txt']);
  });

  test('a requirements file must not name other local files', async () => {
    await using tree = await temporaryTree({
      good: 'git+https://x/y\nhttps://x/z.whl\n-i https://x\n',
      bad: '-r x.txt\n',
    });
    await expect(planOf(base.pipInstallFromRequirements(join(tree.path, 'good')))).resolves.toBeDefined();
    await expect(planOf(base.uvPipInstallFromRequirements(join(tree.path, 'bad')))).rejects.toThrow(
      code('E_REQUIREMENTS_NESTED'),
    );
  });

  test('missing inputs are told when they are needed', async () => {
    await using tree = await temporaryTree({ file: 'x' });
    const none = join(tree.path, 'none');
    for (const image of [
      base.pipInstallFromRequirements(none),
      base.addLocalFile(none, '/x'),
      base.copyLocalFile(none, '/x'),
    ]) {
      await expect(planOf(image)).rejects.toThrow(code('E_LOCAL_FILE_MISSING'));
    }
    await expect(planOf(base.addLocalDir(none, '/x'))).rejects.toThrow(code('E_LOCAL_DIR_MISSING'));
    await expect(planOf(base.copyLocalDir(join(tree.path, 'file'), '/x'))).rejects.toThrow(
      code('E_LOCAL_NOT_DIR'),
    );
  });

  test('a pending mount adds no layer (C78)', async () => {
    await using tree = await temporaryTree({ 'config/a': '1', 'config/b/c': '2' });
    const plan = await planOf(base.addLocalDir(join(tree.path, 'config'), '/app/config/'));
    expect(plan.layers).toHaveLength(1);
    expect(plan.mounts.map(({ kind, files }) => [kind, Object.keys(files)])).toEqual([
      ['dir', ['/app/config/a', '/app/config/b/c']],
    ]);
  });

  test('copy: true adds one, and later steps are allowed (C84)', async () => {
    await using tree = await temporaryTree({ 'a.txt': '1' });
    const image = base.addLocalFile(join(tree.path, 'a.txt'), '/app/', { copy: true }).runCommands('x');
    const layer = (await planOf(image)).layers[1];
    expect(layer?.commands).toEqual(['FROM base', 'COPY . /']);
    expect(Object.keys(layer?.contextMount?.files ?? {})).toEqual(['/app/a.txt']);
  });

  test('copyLocalFile (C91)', async () => {
    await using tree = await temporaryTree({ 'config.yaml': '1', 'my file': '2', 'dir/x': '3' });
    const layer = await last(base.copyLocalFile(join(tree.path, 'config.yaml'), '/app/config.yaml'));
    expect(layer?.commands).toEqual(['FROM base', 'COPY /config.yaml /app/config.yaml']);
    const later = await planOf(base.copyLocalFile(join(tree.path, 'config.yaml'), '/x').runCommands('x'));
    expect(later.layers).toHaveLength(3);
    expect(Object.keys(layer?.contextFiles ?? {})).toEqual(['/config.yaml']);
    expect(await lastLines(base.copyLocalFile(join(tree.path, 'my file'), '/a b'))).toEqual([
      'FROM base',
      'COPY ["/my file", "/a b"]',
    ]);
    const directory = await last(base.copyLocalFile(join(tree.path, 'dir'), '/app'));
    expect(directory?.commands).toEqual(['FROM base', 'COPY . /app']);
    expect(Object.keys(directory?.contextMount?.files ?? {})).toEqual(['/x']);
  });

  test('the default destination is the same path', async () => {
    await using tree = await temporaryTree({ 'requirements.txt': '1', 'conf/a.yml': '2' });
    const cwd = process.cwd();
    process.chdir(tree.path);
    try {
      expect(await lastLines(base.copyLocalFile('requirements.txt'))).toContain(
        'COPY /requirements.txt ./requirements.txt',
      );
      expect(await lastLines(base.copyLocalFile('conf//a.yml'))).toContain('COPY /a.yml ./conf/a.yml');
      expect(await lastLines(base.copyLocalDir('conf/'))).toContain('COPY . ./conf');
      expect(await lastLines(base.copyLocalDir('.'))).toContain('COPY . .');
    } finally {
      process.chdir(cwd);
    }
  });

  const files = async (image: Image) => Object.keys((await last(image))?.contextMount?.files ?? {});

  test('what is selected (C95) (C96) (C97) (C98) (C99) (C100)', async () => {
    await using tree = await temporaryTree({
      'a/b.pyc': '',
      'a/__pycache__/x': '',
      'a/m.py': '',
      'data.txt': '',
      'sub/notes.txt': '',
      '.gitignore': '',
      'node_modules/x/y': '',
      '.git/config': '',
      'a/node_modules/z': '',
      'a/.git/config': '',
    });
    const { path } = tree;
    expect(await files(base.copyLocalDir(path, '/x', { condition: (name) => name.endsWith('.py') }))).toEqual(
      ['/a/m.py'],
    );
    const ignore = ['*.pyc', '__pycache__', '.git', 'node_modules'];
    expect(await files(base.copyLocalDir(path, '/x', { ignore }))).toEqual([
      '/.gitignore',
      '/a/m.py',
      '/data.txt',
      '/sub/notes.txt',
    ]);
    const docker = base.addLocalDir(path, '/x', {
      copy: true,
      ignore: ['*.txt', 'a', '.git', 'node_modules'],
    });
    expect(await files(docker)).toEqual(['/x/.gitignore', '/x/sub/notes.txt']);
    const only = new FilePatternMatcher('**/*.py').negate();
    expect(await files(base.addLocalDir(path, '/x', { copy: true, ignore: only }))).toEqual(['/x/a/m.py']);
    expect(await codes(base.copyLocalDir(path, '/app'))).toEqual(['W_COPY_UNFILTERED']);
    expect(await codes(base.copyLocalDir(path, '/app', { ignore }))).toEqual([]);
    const root = base.addLocalDir(path, '/x', { copy: true, ignore: ['*.py', '**/.git', '**/node_modules'] });
    expect(await codes(root)).toEqual(['W_IGNORE_ROOT_ONLY']);
    await expect(planOf(base.addLocalDir(path, '/x', { ignore: ['['] }))).rejects.toThrow(
      code('E_BAD_PATTERN'),
    );
  });

  test('a whole plan is as it was', async () => {
    await using tree = await temporaryTree({
      'src/app.py': 'print(1)\n',
      'src/run': { text: '#!/bin/sh\n', mode: 0o700 },
    });
    const image = Image.debianSlim({ source: 'archive' })
      .aptInstall('git')
      .uvPipInstall('numpy==2.1.0', { secrets: [Secret.fromDict({ T: 'x' })], env: { A: '1' } })
      .env({ HALT: '0' })
      .workdir('/app')
      .copyLocalDir(join(tree.path, 'src'), '.')
      .entrypoint(['python', 'app.py'])
      .addLocalFile(join(tree.path, 'src/app.py'), '/later.py');
    const golden = new URL('../../../golden/plans/hello.json', import.meta.url).pathname;
    const text = `${JSON.stringify(await planOf(image), null, 2)}\n`;
    expect(text).not.toContain(tree.path);
    await expect(text).toMatchFileSnapshot(golden);
  });
});
