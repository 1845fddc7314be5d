// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the shell expands them, not JavaScript.
/**
 * Python packages in a real Debian: pip with an index of the test, which wants to see a token, and pip, uv and Poetry with
 * small packages of PyPI. The base is assembled once.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import { StepError } from '../../src/errors.ts';
import type { BuiltImage } from '../../src/frontend/fluent/built-image.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import { Secret } from '../../src/secret/secret.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { commit, git, makeRepository, serveGitHttp } from '../support/git-server.ts';
import { lacks } from '../support/requires.ts';
import { networkEnvironment } from '../support/tsbuild.ts';
import { startWebServer, type WebServer } from '../support/web-server.ts';
import { zip } from '../support/zip.ts';

const base = Image.debianSlim({ source: 'archive' });
const T = '${PRIVATE_REGISTRY_TOKEN}';
const TOKEN = 'planted-token-4711';
/** For a machine that is busy with other things; alone it takes a tenth of it. */
const PATIENCE_MS = 10 * 60_000;
const PRIVATE_WHEEL = 'acme_private-1.0-py3-none-any.whl';

/** A pure wheel with one module, `VALUE` in it. */
function wheel(name: string, version: string, value: string): Buffer {
  const info = `${name}-${version}.dist-info`;
  return zip([
    { name: `${name}.py`, content: `VALUE = ${JSON.stringify(value)}\n` },
    { name: `${info}/METADATA`, content: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n` },
    {
      name: `${info}/WHEEL`,
      content: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    },
    {
      name: `${info}/RECORD`,
      content: `${name}.py,,\n${info}/METADATA,,\n${info}/WHEEL,,\n${info}/RECORD,,\n`,
    },
  ]);
}

async function sdist(name: string, version: string, value: string): Promise<Buffer> {
  const archive = pack();
  const top = `${name}-${version}`;
  const project = `[project]\nname = "${name}"\nversion = "${version}"\n[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n`;
  archive.entry({ name: `${top}/pyproject.toml` }, project);
  archive.entry({ name: `${top}/PKG-INFO` }, `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`);
  archive.entry({ name: `${top}/${name}.py` }, `VALUE = ${JSON.stringify(value)}\n`);
  archive.finalize();
  const parts: Buffer[] = [];
  for await (const part of archive) {
    parts.push(part as Buffer);
  }
  return gzipSync(Buffer.concat(parts));
}

describe.skipIf(lacks('root', 'bwrap', 'git'))('Python packages on Debian', { timeout: PATIENCE_MS }, () => {
  let dir: string;
  let engine: Engine;
  let index: WebServer;
  let events: BuildEvent[] = [];
  const at = (...parts: string[]) => join(dir, ...parts);
  const write = (name: string, content: string | Buffer) => {
    mkdirSync(dirname(at(name)), { recursive: true });
    writeFileSync(at(name), content);
    return at(name);
  };
  const build = async (image: Image) => (await engine.build([image]))[0];
  /** What Python prints in a container of the image. */
  const python = async (image: Image, program: string) => {
    const { exitCode, stdout, stderr } = await engine.run(image, ['python', '-c', program], {});
    return exitCode === 0 ? String(stdout).trim() : `${exitCode}: ${stderr}`;
  };
  const versions = (...names: string[]) =>
    `import importlib.metadata as m; print(*map(m.version, ${JSON.stringify(names)}))`;
  const log = () => events.flatMap((event) => (event.kind === 'log' ? [event.text] : [])).join('\n');

  const expectNothingOfTheToken = async (image: Image, built: BuiltImage | undefined) => {
    expect(log()).not.toContain(TOKEN);
    expect(JSON.stringify(built?.config)).not.toContain(TOKEN);
    const places = ['/usr', '/etc', '/root', '/var', '/tmp'];
    const found = await engine.run(image, ['grep', '-rlF', TOKEN, ...places], {});
    expect([found.exitCode, found.stdout]).toEqual([1, '']);
  };

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-python-'));
    const content = wheel('acme_private', '1.0', 'from the index');
    index = await startWebServer();
    // Below /public/ for everybody, else for who has the token.
    index.handle(({ url = '', headers }, response) => {
      if (!url.startsWith('/public/') && headers.authorization !== basic('token', TOKEN)) {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="index"' }).end();
      } else if (url.endsWith(`/${PRIVATE_WHEEL}`)) {
        response.end(content);
      } else if (url.endsWith('/simple/acme-private/')) {
        const link = `<!DOCTYPE html><a href="../../${PRIVATE_WHEEL}">${PRIVATE_WHEEL}</a>`;
        response.writeHead(200, { 'content-type': 'text/html' }).end(link);
      } else {
        response.writeHead(404).end();
      }
    });
    engine = await Engine.open({
      storeDir: at('store'),
      env: { PATH: process.env.PATH, HOME: process.env.HOME, ...networkEnvironment() },
      onEvent: (event) => events.push(event),
    });
    await build(base);
  }, PATIENCE_MS);
  beforeEach(() => {
    events = [];
  });
  afterAll(async () => {
    await engine.close();
    await index[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true, force: true });
  });

  test('a token in the address of an index reaches the index, and nothing else (C34) (C160)', async () => {
    const secrets = [Secret.fromDict({ PRIVATE_REGISTRY_TOKEN: TOKEN })];
    const url = `http://token:${T}@${new URL(index.origin).host}/simple/`;
    // The first index is one of the test too, so that PyPI is not asked for a name that is ours.
    const none = ['--index-url', `${index.origin}/public/none/`];
    const inline = base.pipInstall(...none, '--extra-index-url', url, 'acme-private', { secrets });
    const built = await build(inline);
    expect(await python(inline, 'import acme_private; print(acme_private.VALUE)')).toBe('from the index');
    const seen = index.requests.flatMap(({ headers }) => headers.authorization ?? []);
    expect(new Set(seen)).toEqual(new Set([basic('token', TOKEN)]));
    expect(log()).toContain('acme_private-1.0');
    expect(JSON.stringify(built?.config.history)).toContain(T);
    await expectNothingOfTheToken(inline, built);

    const option = base.pipInstall('acme-private', { indexUrl: url, secrets });
    expect(await python(option, versions('acme-private'))).toBe('1.0');
  });

  test('a variable that nothing defines: nothing is executed (C35)', async () => {
    const before = index.requests.length;
    const url = `http://token:${T}@${new URL(index.origin).host}/simple/`;
    const image = base.runCommands('touch /ran').pipInstall('--extra-index-url', url, 'acme-private');
    await expect(build(image)).rejects.toMatchObject({ code: 'E_UNDEFINED_VARIABLE' });
    expect(index.requests.length).toBe(before);
    expect(events.filter(({ kind }) => kind === 'vertex-started')).toEqual([]);
  });

  test('pip reads a requirements file that was copied before (C33)', async () => {
    const requirements = `--index-url ${index.origin}/public/simple/\nacme-private==1.0\n`;
    const image = base
      .workdir('/app')
      .copyLocalFile(write('requirements.txt', requirements), 'requirements.txt')
      .pipInstall('-r', 'requirements.txt');
    expect(await python(image, 'import acme_private; print(acme_private.VALUE)')).toBe('from the index');
  });

  test('a private repository is cloned with the token, of which nothing stays (C47)', async () => {
    const repository = makeRepository(at('git'), 'acme/tools');
    commit(repository, {
      'setup.py': "from setuptools import setup\nsetup(name='tools', version='1', py_modules=['tools'])\n",
      'tools.py': "VALUE = 'from git'\n",
    });
    git(repository, 'tag', 'v1');
    commit(repository, { 'tools.py': "VALUE = 'newer'\n" });
    await using server = await serveGitHttp(at('git'), { authorization: basic('me', TOKEN) });
    // Only an address that holds the token itself is led to the server of the test.
    const image = base.pipInstallPrivateRepos('github.com/acme/tools@v1', {
      gitUser: 'me',
      secrets: [Secret.fromDict({ GITHUB_TOKEN: TOKEN })],
      env: {
        GIT_CONFIG_COUNT: '1',
        GIT_CONFIG_KEY_0: `url.http://me:${TOKEN}@${new URL(server.origin).host}/.insteadOf`,
        GIT_CONFIG_VALUE_0: `https://me:${TOKEN}@github.com/`,
      },
    });
    const built = await build(image);
    expect(await python(image, 'import tools; print(tools.VALUE)')).toBe('from git');
    expect(server.requests.some(({ authorization }) => authorization === basic('me', TOKEN))).toBe(true);
    await expectNothingOfTheToken(image, built);
  });

  test('without the token of a host, its guard says so and nothing follows (C47)', async () => {
    const secrets = [Secret.fromDict({ OTHER_TOKEN: TOKEN })];
    const image = base.pipInstallPrivateRepos('github.com/acme/tools', { gitUser: 'me', secrets });
    const failure: unknown = await build(image).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(StepError);
    expect(failure).toMatchObject({ exitCode: 1, command: expect.stringContaining('[[ -v GITHUB_TOKEN ]]') });
    expect(log()).toContain('needs GITHUB_TOKEN, which its secrets do not give: dict OTHER_TOKEN');
    expect(log()).not.toContain('Reading package lists');
  });

  test('pip and uv install what a pyproject.toml and a call list (C40) (C46)', async () => {
    const file = write(
      'plain/pyproject.toml',
      '[project]\nname = "app"\ndependencies = ["six ==1.16.0"]\n[project.optional-dependencies]\ndev = ["iniconfig<2.1"]\n',
    );
    const image = base.pipInstallFromPyproject(file, ['dev']).uvPipInstall('pathspec==0.12.0');
    expect(await python(image, versions('six', 'iniconfig', 'pathspec'))).toBe('1.16.0 2.0.0 0.12.0');
  });

  test('uvSync() installs what the lock file says, into an environment that comes first (C44)', async () => {
    write('locked/pyproject.toml', UV_PROJECT);
    write('locked/uv.lock', UV_LOCK);
    const image = base.uvSync(at('locked'), { groups: ['serving'], extras: ['fast'] });
    const built = await build(image);
    expect(built?.config.config?.Env).toEqual([
      'PATH=/.uv/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ]);
    expect(await python(image, versions('six', 'iniconfig', 'pathspec'))).toBe('1.16.0 2.0.0 0.12.0');
    expect(await python(image, 'import sys; print(sys.prefix)')).toBe('/.uv/.venv');
    expect(await python(image, versions('app'))).toContain('PackageNotFoundError');

    // Without a lock file uv decides, when the step runs.
    write('free/pyproject.toml', UV_PROJECT);
    const free = await python(base.uvSync(at('free')), versions('six'));
    expect(free).toMatch(/^1\.(1[7-9]|[2-9]\d)\.\d+$/);
  });

  test('poetryInstallFromFile() installs what the lock file says, into the Python of the image (C48)', async () => {
    const file = write('poetry/pyproject.toml', POETRY_PROJECT);
    write('poetry/poetry.lock', POETRY_LOCK);
    const image = base.poetryInstallFromFile(file, { without: ['dev'] });
    expect(await python(image, versions('six'))).toBe('1.16.0');
    expect(await python(image, 'import six; print(six.__file__)')).toMatch(/^\/usr\/local\/lib\//);
    expect(await python(image, versions('iniconfig'))).toContain('PackageNotFoundError');
    // Its cache is lent, and does not end up in the layer.
    const home = await engine.listFiles(image, '/root');
    expect(home.filter((path) => path.includes('.cache'))).toEqual([]);
  });

  test('wheels, source archives, projects and packages of this machine (C52) (C53)', async () => {
    const paths = [
      write('dist/foo-1.0-py3-none-any.whl', wheel('foo', '1.0', 'wheel')),
      write('dist/bar-1.0.tar.gz', await sdist('bar', '1.0', 'sdist')),
    ];
    write(
      'old/setup.py',
      "from setuptools import setup\nsetup(name='old', version='2', py_modules=['old'])\n",
    );
    write('old/old.py', "VALUE = 'project'\n");
    write('mypkg/__init__.py', 'from .sub.x import VALUE\n');
    write('mypkg/sub/x.py', "VALUE = 'package'\n");
    write('mypkg/junk.pyc', 'junk');
    const image = base.addPythonPackages(paths, at('old'), at('mypkg'));
    expect(
      await python(image, 'import foo, bar, old, mypkg; print(*(m.VALUE for m in (foo, bar, old, mypkg)))'),
    ).toBe('wheel sdist project package');
    expect(await python(image, 'import mypkg; print(mypkg.__file__)')).toBe(
      '/usr/local/lib/python3.13/dist-packages/mypkg/__init__.py',
    );
    expect(await engine.exists(image, '/usr/local/lib/python3.13/dist-packages/mypkg/junk.pyc')).toBe(false);
    expect(await engine.exists(image, '/.pkgs')).toBe(false);
    // setuptools writes beside the sources; what it saw was not the user's own directory.
    expect(readdirSync(at('old')).sort()).toEqual(['old.py', 'setup.py']);

    events = [];
    await build(image);
    expect(log()).toBe('');
    write('mypkg/sub/x.py', "VALUE = 'edited'\n");
    expect(await python(image, 'import mypkg; print(mypkg.VALUE)')).toBe('edited');
  });
});

function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
}

const UV_PROJECT = `[project]
name = "app"
version = "1"
requires-python = ">=3.11"
dependencies = ["six>=1.15"]

[project.optional-dependencies]
fast = ["iniconfig>=1"]

[dependency-groups]
serving = ["pathspec>=0.10"]
`;

const FILES = 'https://files.pythonhosted.org/packages';
/** Made with `uv lock -P six==1.16.0 …`: older versions than uv would choose by itself. */
const UV_LOCK = `version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "app"
version = "1"
source = { virtual = "." }
dependencies = [
    { name = "six" },
]

[package.optional-dependencies]
fast = [
    { name = "iniconfig" },
]

[package.dev-dependencies]
serving = [
    { name = "pathspec" },
]

[package.metadata]
requires-dist = [
    { name = "iniconfig", marker = "extra == 'fast'", specifier = ">=1" },
    { name = "six", specifier = ">=1.15" },
]
provides-extras = ["fast"]

[package.metadata.requires-dev]
serving = [{ name = "pathspec", specifier = ">=0.10" }]

[[package]]
name = "iniconfig"
version = "2.0.0"
source = { registry = "https://pypi.org/simple" }
wheels = [
    { url = "${FILES}/ef/a6/62565a6e1cf69e10f5727360368e451d4b7f58beeac6173dc9db836a5b46/iniconfig-2.0.0-py3-none-any.whl", hash = "sha256:b6a85871a79d2e3b22d2d1b94ac2824226a63c6b741c88f7ae975f18b6778374" },
]

[[package]]
name = "pathspec"
version = "0.12.0"
source = { registry = "https://pypi.org/simple" }
wheels = [
    { url = "${FILES}/10/36/3e9aa229acdfd0be48bf447d4323fdfd54b217a128f2add6abdd2b1efa6f/pathspec-0.12.0-py3-none-any.whl", hash = "sha256:f1f8a7eab698c357945c85ed79715e014612b8584faebe209dca4558e2b09513" },
]

[[package]]
name = "six"
version = "1.16.0"
source = { registry = "https://pypi.org/simple" }
wheels = [
    { url = "${FILES}/d9/5a/e7c31adbe875f2abbb91bd84cf2dc52d792b5a01506781dbcf25c91daf11/six-1.16.0-py2.py3-none-any.whl", hash = "sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254" },
]
`;

const POETRY_PROJECT = `[tool.poetry]
name = "app"
version = "1"
description = ""
authors = []

[tool.poetry.dependencies]
python = ">=3.11"
six = ">=1.15"

[tool.poetry.group.dev.dependencies]
iniconfig = ">=1"

[[tool.poetry.source]]
name = "simple"
url = "https://pypi.org/simple/"
priority = "primary"
`;

/** Made with `poetry lock`, first with older versions. */
const POETRY_LOCK = `[[package]]
name = "iniconfig"
version = "2.0.0"
description = "brain-dead simple config-ini parsing"
optional = false
python-versions = ">=3.7"
groups = ["dev"]
files = [
    {file = "iniconfig-2.0.0-py3-none-any.whl", hash = "sha256:b6a85871a79d2e3b22d2d1b94ac2824226a63c6b741c88f7ae975f18b6778374"},
    {file = "iniconfig-2.0.0.tar.gz", hash = "sha256:2d91e135bf72d31a410b17c16da610a82cb55f6b0477d1a902134b24a455b8b3"},
]

[package.source]
type = "legacy"
url = "https://pypi.org/simple"
reference = "simple"

[[package]]
name = "six"
version = "1.16.0"
description = "Python 2 and 3 compatibility utilities"
optional = false
python-versions = ">=2.7, !=3.0.*, !=3.1.*, !=3.2.*"
groups = ["main"]
files = [
    {file = "six-1.16.0-py2.py3-none-any.whl", hash = "sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254"},
    {file = "six-1.16.0.tar.gz", hash = "sha256:1e61c37477a1626458e36f7b1d82aa5c9b094fa4802892072e49de9c60c4c926"},
]

[package.source]
type = "legacy"
url = "https://pypi.org/simple"
reference = "simple"

[metadata]
lock-version = "2.1"
python-versions = ">=3.11"
content-hash = "60f436d4eb56f3614e914730ac9c2eaacd81ceee37b05b2703702339497f2a35"
`;
