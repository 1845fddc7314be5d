// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the shell expands them, not JavaScript.
/** Plans and graphs of the methods that install Python projects, private repositories and local packages. */
import { mkdir, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { Image } from '../../../../src/frontend/fluent/image.ts';
import type { ExecAction } from '../../../../src/graph/action.ts';
import { Secret } from '../../../../src/secret/secret.ts';
import { graphOf, lastLines, planOf, type Surroundings } from '../../../support/image-surroundings.ts';
import { temporaryTree } from '../../../support/temporary-tree.ts';

const base = Image.fromRegistry('base');
const code = (expected: string) => expect.objectContaining({ code: expected });
/** Calls that TypeScript would refuse. */
const loose = base as unknown as Record<string, (...args: unknown[]) => Image>;
const last = async (image: Image) => (await planOf(image)).layers.at(-1);
const hash = async (image: Image) => (await last(image))?.definitionHash;
const tokens = Secret.fromDict({ GITHUB_TOKEN: 'planted-github', GITLAB_TOKEN: 'planted-gitlab' });

/** Commands of the newest layer, as they would be executed. */
async function execs(image: Image, given: Surroundings = {}): Promise<readonly ExecAction[]> {
  const { operation } = (await graphOf(image, given)).tip.vertex;
  return operation.kind === 'build' ? operation.actions.filter((action) => action.kind === 'exec') : [];
}

describe('pipInstallFromPyproject', () => {
  const PROJECT = `[project]
name = "My_App"
dependencies = ["potato >=0.1.0", "banana >=1.2.0"]
[project.optional-dependencies]
dev = ["linting-tool >=0.0.0"]
test = ["pytest >=1.2.0", "banana >=1.2.0"]
all = ["my-app[dev, Test]"]
`;

  test('the sorted union of the project and its groups is installed (C46)', async () => {
    await using tree = await temporaryTree({ 'pyproject.toml': PROJECT });
    const file = join(tree.path, 'pyproject.toml');
    const flags = { extraIndexUrl: 'https://u:${T}@h', pre: true, extraOptions: ' -v ' };
    expect(await lastLines(base.pipInstallFromPyproject(file, ['dev', 'test'], flags))).toEqual([
      'FROM base',
      "RUN python -m pip install 'banana >=1.2.0' 'linting-tool >=0.0.0' 'potato >=0.1.0' 'pytest >=1.2.0' " +
        '--extra-index-url "https://u:${T}@h" --pre -v',
    ]);
    const plain = ["RUN python -m pip install 'banana >=1.2.0' 'potato >=0.1.0'"];
    expect((await lastLines(base.pipInstallFromPyproject(file))).slice(1)).toEqual(plain);
    expect((await lastLines(base.pipInstallFromPyproject(pathToFileURL(file), []))).slice(1)).toEqual(plain);
    expect(
      (await lastLines(base.pipInstallFromPyproject(file, { optionalDependencies: ['dev'] }))).slice(1),
    ).toEqual(["RUN python -m pip install 'banana >=1.2.0' 'linting-tool >=0.0.0' 'potato >=0.1.0'"]);
  });

  test('a group may name others of the project itself (C46)', async () => {
    await using tree = await temporaryTree({ 'pyproject.toml': PROJECT });
    const file = join(tree.path, 'pyproject.toml');
    expect(await lastLines(base.pipInstallFromPyproject(file, ['all']))).toEqual(
      await lastLines(base.pipInstallFromPyproject(file, ['TEST', 'dev'])),
    );
  });

  test('only the list is in the key, the file is not in the image (C46)', async () => {
    await using tree = await temporaryTree({ 'pyproject.toml': PROJECT });
    const file = join(tree.path, 'pyproject.toml');
    const image = base.pipInstallFromPyproject(file);
    const before = await last(image);
    expect([before?.contextFiles, before?.contextMount]).toEqual([{}, null]);
    expect([...(await graphOf(image)).localInputs]).toEqual([]);
    await writeFile(file, `# changed\n${PROJECT}\n[tool.x]\ny = 1\n`);
    expect(await hash(image)).toBe(before?.definitionHash);
    await writeFile(file, PROJECT.replace('>=0.1.0', '>=0.2.0'));
    expect(await hash(image)).not.toBe(before?.definitionHash);
  });

  test('plan and graph have the same command, whose variables are checked', async () => {
    await using tree = await temporaryTree({
      'pyproject.toml': '[project]\ndependencies = ["a @ https://${T}@h/a.whl"]\n',
    });
    const file = join(tree.path, 'pyproject.toml');
    const secrets = [Secret.fromDict({ T: 'planted' })];
    const image = base.pipInstallFromPyproject(file, { secrets });
    const line = 'python -m pip install "a @ https://${T}@h/a.whl"';
    expect((await lastLines(image)).at(-1)).toBe(`RUN ${line}`);
    const [exec] = await execs(image);
    expect([exec?.argv.at(-1), exec?.lend]).toEqual([line, ['pip']]);
    await expect(graphOf(base.pipInstallFromPyproject(file))).rejects.toThrow(code('E_UNDEFINED_VARIABLE'));
  });

  test('a project without any dependency adds no command', async () => {
    await using tree = await temporaryTree({ 'pyproject.toml': '[project]\ndependencies = []\n' });
    const image = base.pipInstallFromPyproject(join(tree.path, 'pyproject.toml')).runCommands('later');
    expect((await planOf(image)).layers[1]?.commands).toEqual(['FROM base']);
    const graph = await graphOf(image);
    expect(graph.layerVertices.map((vertices) => vertices.length)).toEqual([1, 0, 1]);
    expect(graph.history.map((entry) => entry.created_by)).toEqual(['base', 'RUN later']);
  });

  test.each([
    ['E_PYPROJECT_NO_DEPENDENCIES', '[project]\nname = "a"\n', undefined],
    ['E_PYPROJECT_NO_DEPENDENCIES', '[tool.poetry.dependencies]\na = "1"\n', /poetryInstallFromFile/],
    ['E_PYPROJECT_SYNTAX', '[project\n', undefined],
    ['E_PYPROJECT_SYNTAX', '[project]\ndependencies = "a"\n', undefined],
    ['E_PYPROJECT_SYNTAX', '[project]\ndependencies = ["--index-url=https://x"]\n', undefined],
    ['E_PYPROJECT_SYNTAX', '[project]\ndependencies = [1]\n', undefined],
    ['E_PYPROJECT_UNKNOWN_GROUP', PROJECT, /it has all, dev, test/],
  ])('%s for %j', async (expected, text, hint) => {
    await using tree = await temporaryTree({ 'pyproject.toml': text });
    const image = base.pipInstallFromPyproject(join(tree.path, 'pyproject.toml'), ['prod']);
    const error: unknown = await planOf(image).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: expected, ...(hint ? { hint: expect.stringMatching(hint) } : {}) });
    await expect(graphOf(image)).rejects.toThrow(code(expected));
  });

  test('a mistake in the file is shown with its line', async () => {
    await using tree = await temporaryTree({ 'pyproject.toml': '[project]\nname = \n' });
    const file = join(tree.path, 'pyproject.toml');
    await expect(planOf(base.pipInstallFromPyproject(file))).rejects.toMatchObject({
      code: 'E_PYPROJECT_SYNTAX',
      file,
      line: 2,
      excerpt: expect.stringContaining('name ='),
    });
  });

  test('a file that is not there', async () => {
    const image = base.pipInstallFromPyproject('/no/such/pyproject.toml');
    await expect(planOf(image)).rejects.toThrow(code('E_PYPROJECT_MISSING'));
    await expect(graphOf(image)).rejects.toThrow(code('E_PYPROJECT_MISSING'));
  });

  test('arguments are checked by the call', () => {
    const call = (...args: unknown[]) => loose.pipInstallFromPyproject?.(...args);
    expect(() => call('a', ['x'], { optionalDependencies: ['y'] })).toThrow(code('E_ARG_TYPE'));
    expect(() => call('a', 'dev')).toThrow(code('E_ARG_TYPE'));
    expect(() => call('a', [1])).toThrow(code('E_ARG_TYPE'));
    expect(() => call()).toThrow(code('E_ARG_TYPE'));
    expect(() => call('a', { optional_dependencies: [] })).toThrow(/spelled 'optionalDependencies'/);
    expect(() => call('a', [], { groups: [] })).toThrow(code('E_UNKNOWN_OPTION'));
  });

  test('its requirements are looked at by the lint', async () => {
    await using tree = await temporaryTree({
      'pyproject.toml': '[project]\ndependencies = ["a==1", "b>=2"]\n',
    });
    const image = base.pipInstallFromPyproject(join(tree.path, 'pyproject.toml'));
    expect((await planOf(image, {}, { lint: true })).diagnostics).toEqual([
      expect.objectContaining({ code: 'W_UNPINNED', message: expect.stringContaining('b>=2'), layer: 1 }),
    ]);
  });
});

describe('pipInstallPrivateRepos', () => {
  const guard = (token: string, given = 'dict GITHUB_TOKEN GITLAB_TOKEN') =>
    `RUN bash -c "[[ -v ${token} ]] || (echo 'pipInstallPrivateRepos() needs ${token}, which its secrets do not give: ${given}' && exit 1)"`;
  const git = 'RUN apt-get update && apt-get install -y git';

  test('a guard for each host, git, and one command for each repository (C47)', async () => {
    const image = base.pipInstallPrivateRepos(
      'gitlab.com/o/r#subdirectory=inner',
      ['github.com/o/r@1', 'github.com/o/q'],
      { gitUser: 'me', secrets: [tokens], indexUrl: 'https://i?x', pre: true, extraOptions: '--no-deps' },
    );
    const rest = "--index-url 'https://i?x' --pre --no-deps";
    expect(await lastLines(image)).toEqual([
      'FROM base',
      guard('GITHUB_TOKEN'),
      guard('GITLAB_TOKEN'),
      git,
      `RUN python3 -m pip install "git+https://me:$GITLAB_TOKEN@gitlab.com/o/r#subdirectory=inner" ${rest}`,
      `RUN python3 -m pip install "git+https://me:$GITHUB_TOKEN@github.com/o/r@1" ${rest}`,
      `RUN python3 -m pip install "git+https://me:$GITHUB_TOKEN@github.com/o/q" ${rest}`,
    ]);
    const one = base.pipInstallPrivateRepos('github.com/o/r@1', { gitUser: 'u', secrets: [tokens] });
    expect(await lastLines(one)).toEqual([
      'FROM base',
      guard('GITHUB_TOKEN'),
      git,
      'RUN python3 -m pip install "git+https://u:$GITHUB_TOKEN@github.com/o/r@1"',
    ]);
  });

  test('the token is in no plan and no graph, and each command has it (C47)', async () => {
    const image = base.pipInstallPrivateRepos('github.com/o/r', { gitUser: 'u', secrets: [tokens] });
    expect(JSON.stringify(await planOf(image))).not.toContain('planted');
    const graph = await graphOf(image);
    expect(JSON.stringify([graph.tip.vertex, graph.history])).not.toContain('planted');
    const commands = await execs(image);
    expect(commands.map(({ lend }) => lend)).toEqual([[], ['apt'], ['pip']]);
    expect(commands.map(({ secretEnv }) => secretEnv.map((each) => 'name' in each && each.name))).toEqual(
      Array.from({ length: 3 }, () => ['GITHUB_TOKEN', 'GITLAB_TOKEN']),
    );
  });

  test('users and references cannot leave their quotes', async () => {
    const image = base.pipInstallPrivateRepos('github.com/o/r@$(x)`y`"z', {
      gitUser: 'me@example.com"',
      secrets: [Secret.fromEnv(['A_TOKEN'])],
    });
    const lines = await lastLines(image);
    expect(lines[1]).toBe(guard('GITHUB_TOKEN', 'env A_TOKEN'));
    expect(lines.at(-1)).toBe(
      'RUN python3 -m pip install "git+https://me%40example.com%22:$GITHUB_TOKEN@github.com/o/r@\\$(x)\\`y\\`\\"z"',
    );
  });

  test('the user and the order of repositories are in the key', async () => {
    const make = (gitUser: string, ...repositories: string[]) =>
      hash(base.pipInstallPrivateRepos(repositories, { gitUser, secrets: [tokens] }));
    const before = await make('u', 'github.com/o/a', 'github.com/o/b');
    expect(await make('u', 'github.com/o/b', 'github.com/o/a')).not.toBe(before);
    expect(await make('v', 'github.com/o/a', 'github.com/o/b')).not.toBe(before);
  });

  test('arguments are checked by the call', () => {
    const call = (...args: unknown[]) => loose.pipInstallPrivateRepos?.(...args);
    const good = { gitUser: 'u', secrets: [tokens] };
    expect(() => call('github.com/o/r', { gitUser: 'u' })).toThrow(code('E_PRIVATE_REPO_NO_SECRET'));
    expect(() => call('github.com/o/r', { gitUser: 'u', secrets: [] })).toThrow(
      code('E_PRIVATE_REPO_NO_SECRET'),
    );
    expect(() => call('github.com/o/r', { secrets: [tokens] })).toThrow(code('E_ARG_TYPE'));
    const wrong = [
      'bitbucket.org/o/r',
      'https://github.com/o/r',
      'github.com',
      'github.com/',
      'github.com/a b',
    ];
    for (const each of wrong) {
      expect(() => call(each, good)).toThrow(code('E_PRIVATE_REPO_HOST'));
    }
    expect(() => call('bitbucket.org/o/r', 3, 'github.com/o/r', 'x', good)).toThrow(
      /not 'bitbucket.org\/o\/r', a value of type number, 'x'$/,
    );
    expect(() => call('github.com/o/r', { ...good, git_user: 'x' })).toThrow(/spelled 'gitUser'/);
    expect(() => call('github.com/o/r', { ...good, secrets: ['x'] })).toThrow(code('E_SECRET_TYPE'));
    expect(base.pipInstallPrivateRepos([], good)).toBe(base);
  });
});

describe('uvSync', () => {
  const PROJECT = '[project]\nname = "a"\nversion = "1"\ndependencies = ["six"]\n';
  const copies = [
    'COPY --from=ghcr.io/astral-sh/uv:latest /uv /.uv/uv',
    'COPY /.pyproject.toml /.uv/pyproject.toml',
  ];
  const sync = 'RUN /.uv/uv sync --project=/.uv --no-install-workspace --compile-bytecode';
  const path = 'ENV PATH=/.uv/.venv/bin:$PATH';

  test('what a lock file says is frozen, unless that is not wanted (C44)', async () => {
    await using tree = await temporaryTree({ 'a/pyproject.toml': PROJECT, 'a/uv.lock': 'version = 1\n' });
    const project = join(tree.path, 'a');
    const lock = 'COPY /.uv.lock /.uv/uv.lock';
    const lines = ['FROM base', ...copies, lock, `${sync} --frozen`, path];
    expect(await lastLines(base.uvSync(project))).toEqual(lines);
    expect(await lastLines(base.uvSync(pathToFileURL(`${project}/`)))).toEqual(lines);
    expect((await lastLines(base.uvSync(project, { frozen: false }))).slice(3)).toEqual([lock, sync, path]);
    expect(Object.keys((await last(base.uvSync(project)))?.contextFiles ?? {})).toEqual([
      '/.pyproject.toml',
      '/.uv.lock',
    ]);
    await rm(join(project, 'uv.lock'));
    expect(await lastLines(base.uvSync(project))).toEqual(['FROM base', ...copies, sync, path]);
  });

  test('groups, extras, more options, a version of uv (C44)', async () => {
    await using tree = await temporaryTree({ 'pyproject.toml': PROJECT, 'uv.lock': '' });
    const options = {
      groups: ['serving', 'a b'],
      extras: ['fast'],
      extraOptions: ' --no-dev ',
      uvVersion: '0.8.0',
    };
    const lines = await lastLines(base.uvSync(tree.path, options));
    expect(lines[1]).toBe('COPY --from=ghcr.io/astral-sh/uv:0.8.0 /uv /.uv/uv');
    expect(lines[4]).toBe(`${sync} --group=serving --group='a b' --extra=fast --no-dev --frozen`);
  });

  test('the directory is that of the process, if none is given (C44)', async () => {
    await using tree = await temporaryTree({ 'pyproject.toml': PROJECT });
    const cwd = process.cwd();
    process.chdir(tree.path);
    const images = [
      base.uvSync(),
      base.uvSync({ extras: [] }),
      base.uvSync('./'),
      base.uvSync(undefined, {}),
    ];
    process.chdir(cwd);
    for (const image of images) {
      expect(await lastLines(image)).toEqual(['FROM base', ...copies, sync, path]);
    }
  });

  test('the contents of both files are in the key, their place and time are not (C44)', async () => {
    await using tree = await temporaryTree({
      'a/pyproject.toml': PROJECT,
      'a/uv.lock': '1',
      'b/pyproject.toml': PROJECT,
      'b/uv.lock': '1',
    });
    const [a, b] = ['a', 'b'].map((name) => join(tree.path, name)) as [string, string];
    const before = await hash(base.uvSync(a));
    await utimes(join(a, 'uv.lock'), 1, 1);
    expect(await hash(base.uvSync(a))).toBe(before);
    expect(await hash(base.uvSync(b))).toBe(before);
    await writeFile(join(a, 'uv.lock'), '2');
    expect(await hash(base.uvSync(a))).not.toBe(before);
    await writeFile(join(b, 'pyproject.toml'), `${PROJECT}# x\n`);
    expect(await hash(base.uvSync(b))).not.toBe(before);
  });

  test('the graph does what the plan says, and PATH goes on from what it was (C44)', async () => {
    await using tree = await temporaryTree({ 'pyproject.toml': PROJECT, 'uv.lock': '1' });
    const image = base.uvSync(tree.path);
    const { tip, config, history } = await graphOf(image, { base: { Env: ['PATH=/opt/bin:/bin'] } });
    const actions = tip.vertex.operation.kind === 'build' ? tip.vertex.operation.actions : [];
    expect(actions.map((action) => (action.kind === 'copy' ? action.destination : action.kind))).toEqual([
      '/.uv/uv',
      '/.uv/pyproject.toml',
      '/.uv/uv.lock',
      'exec',
    ]);
    const [exec] = await execs(image);
    expect([`RUN ${exec?.argv.at(-1)}`, exec?.lend]).toEqual([`${sync} --frozen`, ['uv']]);
    expect(config.Env).toEqual(['PATH=/.uv/.venv/bin:/opt/bin:/bin']);
    expect(history.at(-1)?.created_by).toBe((await lastLines(image)).slice(1).join('\n'));
    const usual = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    expect((await graphOf(image)).config.Env).toEqual([`PATH=/.uv/.venv/bin:${usual}`]);
    const [later] = await execs(image.runCommands('x'));
    expect(later?.env).toEqual([['PATH', `/.uv/.venv/bin:${usual}`]]);
  });

  test('projects that cannot be installed are told before anything runs', async () => {
    await using tree = await temporaryTree({ 'pyproject.toml': `${PROJECT}[tool.uv.workspace]\n` });
    for (const take of [planOf, graphOf]) {
      await expect(take(base.uvSync(tree.path))).rejects.toThrow(code('E_UV_WORKSPACE'));
      await expect(take(base.uvSync(join(tree.path, 'none')))).rejects.toMatchObject({
        code: 'E_PYPROJECT_MISSING',
        message: expect.stringContaining(join(tree.path, 'none/pyproject.toml')),
      });
    }
    await writeFile(join(tree.path, 'pyproject.toml'), 'a = [');
    await expect(planOf(base.uvSync(tree.path))).rejects.toThrow(code('E_PYPROJECT_SYNTAX'));
  });

  test('arguments are checked by the call', () => {
    const call = (...args: unknown[]) => loose.uvSync?.(...args);
    for (const options of [
      { groups: 'dev' },
      { extras: [1] },
      { extras: 'x' },
      { frozen: 'yes' },
      { extraOptions: [] },
      { uvVersion: '0.1 --x' },
    ]) {
      expect(() => call('.', options)).toThrow(code('E_ARG_TYPE'));
    }
    expect(() => call(3)).toThrow(code('E_ARG_TYPE'));
    expect(() => call('.', { uv_version: '1' })).toThrow(/spelled 'uvVersion'/);
    expect(() => call({ projectDir: '.' })).toThrow(code('E_UNKNOWN_OPTION'));
  });
});

describe('poetryInstallFromFile', () => {
  const install = 'RUN cd /tmp/poetry && poetry config virtualenvs.create false && poetry install --no-root';
  const lock = 'COPY /.poetry.lock /tmp/poetry/poetry.lock';
  const project = 'COPY /.pyproject.toml /tmp/poetry/pyproject.toml';
  const poetry = 'RUN python -m pip install poetry';

  test('the lock file beside the project, or another one (C48)', async () => {
    await using tree = await temporaryTree({
      'pyproject.toml': 'p',
      'poetry.lock': 'l',
      'x/other.lock': 'o',
    });
    const at = (name: string) => join(tree.path, name);
    const lines = ['FROM base', poetry, lock, project, `${install} --compile`];
    const beside = base.poetryInstallFromFile(at('pyproject.toml'));
    expect(await lastLines(beside)).toEqual(lines);
    const named = base.poetryInstallFromFile(at('pyproject.toml'), at('poetry.lock'));
    expect(await lastLines(named)).toEqual(lines);
    expect(await hash(named)).toBe(await hash(beside));
    const other = { poetryLockFile: pathToFileURL(at('x/other.lock')) };
    expect(await hash(base.poetryInstallFromFile(at('pyproject.toml'), other))).not.toBe(await hash(beside));
    expect(Object.keys((await last(beside))?.contextFiles ?? {})).toEqual([
      '/.poetry.lock',
      '/.pyproject.toml',
    ]);
    await writeFile(at('poetry.lock'), 'changed');
    expect(await hash(named)).not.toBe(await hash(base.poetryInstallFromFile(at('pyproject.toml'), other)));
  });

  test('options of the command (C48)', async () => {
    await using tree = await temporaryTree({ 'pyproject.toml': 'p', 'poetry.lock': 'l' });
    const file = join(tree.path, 'pyproject.toml');
    const options = { with: ['a', 'b'], without: ['c'], only: ['d e'], poetryVersion: '2.1.4' };
    expect(await lastLines(base.poetryInstallFromFile(file, undefined, options))).toEqual([
      'FROM base',
      'RUN python -m pip install poetry==2.1.4',
      lock,
      project,
      `${install} --with a,b --without c --only 'd e' --compile`,
    ]);
    const inImage = { poetryVersion: null, oldInstaller: true, with: [] };
    expect(await lastLines(base.poetryInstallFromFile(file, inImage))).toEqual([
      'FROM base',
      'RUN poetry config experimental.new-installer false',
      lock,
      project,
      `${install} --compile`,
    ]);
    const commands = await execs(base.poetryInstallFromFile(file));
    expect(commands.map((exec) => [`RUN ${exec.argv.at(-1)}`, exec.lend])).toEqual([
      [poetry, ['pip']],
      [`${install} --compile`, ['pip', 'poetry']],
    ]);
  });

  test('ignoreLockfile stands over a named lock file (C49)', async () => {
    await using tree = await temporaryTree({ 'pyproject.toml': 'p', 'poetry.lock': 'l' });
    const file = join(tree.path, 'pyproject.toml');
    for (const image of [
      base.poetryInstallFromFile(file, { ignoreLockfile: true }),
      base.poetryInstallFromFile(file, join(tree.path, 'none.lock'), { ignoreLockfile: true }),
    ]) {
      const layer = await last(image);
      expect(layer?.commands).toEqual(['FROM base', poetry, project, `${install} --compile`]);
      expect(Object.keys(layer?.contextFiles ?? {})).toEqual(['/.pyproject.toml']);
    }
  });

  test('a lock file that is not there (C50)', async () => {
    await using tree = await temporaryTree({ 'pyproject.toml': 'p' });
    const file = join(tree.path, 'pyproject.toml');
    for (const take of [planOf, graphOf]) {
      for (const image of [
        base.poetryInstallFromFile(file),
        base.poetryInstallFromFile(file, join(tree.path, 'other.lock')),
      ]) {
        await expect(take(image)).rejects.toMatchObject({
          code: 'E_POETRY_LOCK_MISSING',
          hint: expect.stringContaining('ignoreLockfile: true'),
        });
      }
      const none = base.poetryInstallFromFile(join(tree.path, 'none.toml'), { ignoreLockfile: true });
      await expect(take(none)).rejects.toThrow(code('E_PYPROJECT_MISSING'));
    }
  });

  test('arguments are checked by the call', () => {
    const call = (...args: unknown[]) => loose.poetryInstallFromFile?.(...args);
    for (const options of [
      { with: 'a' },
      { without: [1] },
      { only: {} },
      { poetryVersion: 2 },
      { poetryVersion: '' },
      { poetryVersion: '1; x' },
      { ignoreLockfile: 1 },
      { oldInstaller: 'no' },
      { poetryLockFile: 3 },
    ]) {
      expect(() => call('a', undefined, options)).toThrow(code('E_ARG_TYPE'));
    }
    expect(() => call('a', 'b', { poetryLockFile: 'c' })).toThrow(/given twice/);
    expect(() => call('a', { ignore_lockfile: true })).toThrow(/spelled 'ignoreLockfile'/);
    expect(() => call()).toThrow(code('E_ARG_TYPE'));
  });
});

describe('addPythonPackages', () => {
  const mount = 'RUN --mount=type=bind,source=/.pkgs,target=/.pkgs,rw';
  const purelib = `d="$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" && mkdir -p "$d" && cp -R`;

  test('archives and projects go to pip in the order of the call, packages to where pip would put them (C52) (C53)', async () => {
    await using tree = await temporaryTree({
      'z-1.0-py3-none-any.whl': 'wheel',
      'b-1.tar.gz': 'sdist',
      'c-1.zip': 'zip',
      'new/pyproject.toml': '',
      'my old/setup.py': '',
      'my old/pkg/__init__.py': '',
      'cfg/setup.cfg': '',
      'mypkg/__init__.py': '1',
      'mypkg/sub/x.py': '2',
    });
    const at = (name: string) => join(tree.path, name);
    const image = base.addPythonPackages(
      at('z-1.0-py3-none-any.whl'),
      at('mypkg'),
      [pathToFileURL(at('b-1.tar.gz')), at('c-1.zip'), at('new')],
      at('my old'),
      at('cfg'),
      { extraOptions: ' --no-deps ' },
    );
    const layer = await last(image);
    expect(layer?.commands).toEqual([
      'FROM base',
      `${mount} python -m pip install /.pkgs/0/z-1.0-py3-none-any.whl /.pkgs/2/b-1.tar.gz /.pkgs/3/c-1.zip ` +
        "/.pkgs/4/new '/.pkgs/5/my old' /.pkgs/6/cfg --no-deps",
      `${mount} ${purelib} /.pkgs/1/mypkg "$d/"`,
    ]);
    expect(Object.keys(layer?.contextMount?.files ?? {}).sort()).toEqual([
      '/.pkgs/0/z-1.0-py3-none-any.whl',
      '/.pkgs/1/mypkg/__init__.py',
      '/.pkgs/1/mypkg/sub/x.py',
      '/.pkgs/2/b-1.tar.gz',
      '/.pkgs/3/c-1.zip',
      '/.pkgs/4/new/pyproject.toml',
      '/.pkgs/5/my old/pkg/__init__.py',
      '/.pkgs/5/my old/setup.py',
      '/.pkgs/6/cfg/setup.cfg',
    ]);
    expect((await graphOf(image)).history.at(-1)?.created_by).toBe(layer?.commands.slice(1).join('\n'));
  });

  test('the files are mounted, writable, and nothing is copied (C52)', async () => {
    await using tree = await temporaryTree({ 'a-1-py3-none-any.whl': 'x', 'p/__init__.py': '' });
    const image = base.addPythonPackages(join(tree.path, 'a-1-py3-none-any.whl'), join(tree.path, 'p'));
    const graph = await graphOf(image);
    const commands = await execs(image);
    expect(commands.map(({ mounts, lend }) => [mounts, lend])).toEqual([
      [[{ kind: 'bind', input: 1, source: '/.pkgs/0', target: '/.pkgs/0', readOnly: false }], ['pip']],
      [[{ kind: 'bind', input: 2, source: '/.pkgs/1', target: '/.pkgs/1', readOnly: false }], []],
    ]);
    expect(graph.tip.vertex.inputs.slice(1).map(({ vertex }) => vertex.operation)).toEqual(
      [...graph.localInputs.keys()].map((input) => ({ kind: 'source-local', input })),
    );
    expect(commands[0]?.argv.at(-1)).toBe('python -m pip install /.pkgs/0/a-1-py3-none-any.whl');
  });

  test('contents are in the key, their place is not; caches are left out unless ignore says otherwise', async () => {
    const leaves = {
      'p/__init__.py': '1',
      'p/__pycache__/a.cpython-313.pyc': '',
      'p/b.pyc': '',
      'p/.git/config': '',
      'p/sub/.venv/x': '',
      'p/node_modules/y/z': '',
    };
    await using one = await temporaryTree(leaves);
    await using other = await temporaryTree(leaves);
    const image = base.addPythonPackages(join(one.path, 'p'));
    const before = await last(image);
    expect(Object.keys(before?.contextMount?.files ?? {})).toEqual(['/.pkgs/0/p/__init__.py']);
    expect(await hash(base.addPythonPackages(join(other.path, 'p')))).toBe(before?.definitionHash);
    await writeFile(join(one.path, 'p/b.pyc'), 'changed');
    expect(await hash(image)).toBe(before?.definitionHash);
    await writeFile(join(one.path, 'p/__init__.py'), '2');
    expect(await hash(image)).not.toBe(before?.definitionHash);
    const ignore = ['**/node_modules', '**/.git', '**/.venv', '**/__pycache__'];
    const chosen = await last(base.addPythonPackages(join(one.path, 'p'), { ignore }));
    expect(Object.keys(chosen?.contextMount?.files ?? {})).toEqual([
      '/.pkgs/0/p/__init__.py',
      '/.pkgs/0/p/b.pyc',
    ]);
  });

  test('anything else is refused before anything runs', async () => {
    await using tree = await temporaryTree({
      'a.tar': '',
      'empty/README': '',
      'deep/src/__init__.py': '',
      'not-a-name/__init__.py': '',
    });
    await mkdir(join(tree.path, 'x.whl'));
    for (const name of ['a.tar', 'empty', 'deep', 'not-a-name', 'x.whl']) {
      const image = base.addPythonPackages(join(tree.path, name));
      await expect(planOf(image)).rejects.toThrow(code('E_NOT_A_PYTHON_PACKAGE'));
      await expect(graphOf(image)).rejects.toThrow(code('E_NOT_A_PYTHON_PACKAGE'));
    }
    const missing = base.addPythonPackages(join(tree.path, 'none.whl'));
    await expect(planOf(missing)).rejects.toThrow(code('E_LOCAL_FILE_MISSING'));
  });

  test('arguments are checked by the call', () => {
    const call = (...args: unknown[]) => loose.addPythonPackages?.(...args);
    expect(() => call(3)).toThrow(code('E_NOT_STRINGS'));
    expect(() => call([['a']])).toThrow(code('E_NOT_STRINGS'));
    expect(() => call({ ignore: [] }, 'a')).toThrow(code('E_NOT_STRINGS'));
    expect(() => call('')).toThrow(code('E_ARG_TYPE'));
    expect(() => call('a', { ignore: 'x' })).toThrow(code('E_ARG_TYPE'));
    expect(() => call('a', { extra_options: 'x' })).toThrow(/spelled 'extraOptions'/);
    expect(() => call({ what: 1 })).toThrow(code('E_UNKNOWN_OPTION'));
    expect(base.addPythonPackages()).toBe(base);
    expect(base.addPythonPackages([], {})).toBe(base);
    expect(base.addLocalFile('/a', '/a').addPythonPackages()).toBeDefined();
  });
});

test('all take the options of a step, and are in the recipe by what was written', async () => {
  const makers = {
    pipInstallFromPyproject: (options: object) => base.pipInstallFromPyproject('p.toml', options),
    pipInstallPrivateRepos: (options: object) =>
      base.pipInstallPrivateRepos('github.com/o/r', { gitUser: 'u', secrets: [tokens], ...options }),
    uvSync: (options: object) => base.uvSync('.', options),
    poetryInstallFromFile: (options: object) => base.poetryInstallFromFile('p.toml', options),
    addPythonPackages: (options: object) => base.addPythonPackages('x.whl', options),
  };
  for (const [method, make] of Object.entries(makers)) {
    expect([method, make({ forceBuild: true }).forceBuild]).toEqual([method, true]);
    expect(make({ env: { A: '1' } }).recipeHash).not.toBe(make({}).recipeHash);
    expect(make({}).recipeHash).toBe(make({}).recipeHash);
    expect(() => make({ env: { 'A-B': '1' } })).toThrow(code('E_SECRET_KEY'));
    expect(() => make({ forceBuild: 1 })).toThrow(code('E_ARG_TYPE'));
    expect(() => make({ gpu: 'not a gpu' })).toThrow(code('E_GPU_FORMAT'));
  }
});
