/**
 * The recipes: all of them plan; those that Debian and PyPI can provide are built by an unprivileged user and run. Servers of
 * other people are played by one of the test, giant packages by small ones.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request as forward, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Account, makeAccount } from '../support/account.ts';
import { commit, type GitServer, makeRepository, serveGitHttp } from '../support/git-server.ts';
import { lacks } from '../support/requires.ts';
import { installTsbuild, networkEnvironment, succeed, type Tsbuild } from '../support/tsbuild.ts';
import { zip } from '../support/zip.ts';

const RECIPES = join(import.meta.dirname, '../../examples/recipes');

/** What is run in the image, and what it says; or why the image is only planned. */
type Trial = readonly [command: readonly string[], says: string | RegExp] | string;

const python = (code: string) => ['python', '-c', code];
const shell = (text: string) => ['sh', '-ec', text];
const versions = (...modules: string[]) =>
  python(`import ${modules.join(', ')}; from importlib.metadata import version
print(*(version(name) for name in ${JSON.stringify(modules)}))`);
const NO_REGISTRY = 'its base is in a registry';

const TRIALS: Readonly<Record<string, Readonly<Record<string, Trial>>>> = {
  'getting-started.ts': {
    opening: [shell('cat /repo/README; echo $HALT_AND_CATCH_FIRE'), 'a repository\n0\n'],
    basic: [python('import requests, pydantic; print("ok")'), 'ok\n'],
    chained: [
      shell('command -v git; command -v curl; ls /root/src'),
      '/usr/bin/git\n/usr/bin/curl\n__pycache__\nnumbers_of_mine.py\ntests\n',
    ],
    ordered: [python('import app, six; print(app.NAME, six.__version__)'), 'app 1.16.0\n'],
  },
  'packages.ts': {
    one: [python('import requests; print("ok")'), 'ok\n'],
    dataScience: [python('import numpy; print(numpy.arange(4).sum())'), '6\n'],
    pinned: [versions('six', 'idna', 'packaging'), '1.16.0 3.10 25.0\n'],
    fromRequirements: [versions('packaging'), '25.0\n'],
    inlineOptions: [versions('packaging'), '25.0\n'],
    forOpenCv: [shell('dpkg -s libsm6 | grep Status'), 'Status: install ok installed\n'],
    forAudio: [python('import soundfile; print(soundfile.__libsndfile_version__ != "")'), 'True\n'],
    development: [['python', '-m', 'pytest', 'src/tests/', '-q'], /1 passed/],
    poetry: [
      python('import packaging; from my_package import main_module; print(main_module.process_data())'),
      'processed\n',
    ],
    pyproject: [versions('idna'), '3.10\n'],
    compiled: [
      shell(
        'python -c "from fast.compute import fast_compute as f; print(f(10))"; command -v gcc || echo gone',
      ),
      '45\ngone\n',
    ],
    own: [python('from my_package.main_module import process_data; print(process_data())'), 'processed\n'],
  },
  'local-files.ts': {
    added: [
      shell('cat /app/config/app.yaml /app/config.yaml; python -c "import my_module as m; print(m.greet())"'),
      'name: app\ngreeting: hello\nhello from my_module\n',
    ],
    copied: [shell('cat /app/list'), 'app.yaml\n'],
    filtered: [
      shell('find /app/src -type f | sort'),
      '/app/src/numbers_of_mine.py\n/app/src/tests/test_numbers.py\n',
    ],
    chosen: [
      shell('find /app/src -type f | sort'),
      '/app/src/numbers_of_mine.py\n/app/src/tests/test_numbers.py\n',
    ],
    configured: [
      python('from dotenv import dotenv_values as v; print(v(".env")["APP_MODE"])'),
      'production\n',
    ],
    application: [shell('cat /app/config.yaml; command -v file'), 'greeting: hello\n/usr/bin/file\n'],
    worker: [shell('cat /app/data/table.csv; command -v file'), 'a,b\n1,2\n/usr/bin/file\n'],
  },
  'commands.ts': {
    cloned: [['/root/repo/setup.sh'], 'set up\n'],
    downloaded: [shell('cat /models/model.bin'), 'weights\n'],
    fromSource: [['/usr/local/bin/answer'], '42\n'],
    sharedShell: [shell('answer; ls -A /tmp'), '42\n'],
    shellProfile: [shell('cat /root/.bashrc | tail -n 1'), 'export PATH=/custom/bin:$PATH\n'],
    environment: [
      ['sh', '-c', 'echo $HF_HOME; pwd; ls'],
      '/models/huggingface\n/models\nhuggingface\ntorch\n',
    ],
    forced: [versions('packaging'), /^\d+/],
  },
  'registries.ts': {
    torch: NO_REGISTRY,
    ubuntu: NO_REGISTRY,
    withPython: NO_REGISTRY,
    cuda: NO_REGISTRY,
    distribution: NO_REGISTRY,
    withGpu: 'it needs a GPU',
    privateEcr: NO_REGISTRY,
    conda: NO_REGISTRY,
    condaPinned: NO_REGISTRY,
    dockerfile: 'it holds no program',
    dockerfileWithMount: 'it holds no program',
  },
  'secrets.ts': {
    secure: [
      shell(
        'cat /app/README; python -c "import acme_private_package as p; print(p.WORD)"; env | grep -c TOKEN || true',
      ),
      'a private repository\nprivate\n0\n',
    ],
  },
  'functions.ts': {
    models: [
      shell('cat /models.txt; test -e /root/.cache || echo nothing else'),
      'segmind/small-sd: 8 bytes\nnothing else\n',
    ],
    analyze: 'its functions are called below',
  },
  'complete.ts': {
    machineLearning: [versions('numpy'), '1.26.4\n'],
    dataProcessing: [
      shell('psql --version; python -c "import psycopg2, sqlalchemy"'),
      /^psql \(PostgreSQL\) 15/,
    ],
    webScraping: [python('import bs4, lxml, selenium, requests as r; print(r.__version__)'), '2.31.0\n'],
    dataScience: [
      shell('echo $DATA_PATH; python -c "import numpy, six"; ls -d /opt/data'),
      '/opt/data\n/opt/data\n',
    ],
    service: [
      shell('ls /root/src; python -c "import pydantic_settings, httpx"'),
      '__pycache__\nnumbers_of_mine.py\ntests\n',
    ],
  },
};

const TOKENS = {
  GITHUB_TOKEN: 'token-of-git',
  PRIVATE_REGISTRY_TOKEN: 'token-of-index',
  HF_TOKEN: 'token-of-hub',
};

describe.skipIf(lacks('root', 'bwrap', 'newuidmap'))('recipes', () => {
  let directory: string;
  let installed: Tsbuild;
  let account: Account;
  let git: GitServer;
  let web: Server;
  const recipes = () => join(account.home, 'recipes');
  const setting = (env: Readonly<Record<string, string>> = {}) => ({
    tsbuild: installed,
    account,
    cwd: recipes(),
    env: { ...networkEnvironment(), TSBUILD_HOME: join(account.home, 'store'), TMPDIR: account.home, ...env },
  });
  const building = (file: string) =>
    setting({
      ...TOKENS,
      RECIPES_SMALL: '1',
      RECIPES_HOST: `http://127.0.0.1:${(web.address() as AddressInfo).port}`,
      TSBUILD_DEBIAN_SOURCE: 'archive',
      // Python 3.11 is bookworm's.
      ...(file === 'complete.ts' ? { TSBUILD_IMAGE_BUILDER_VERSION: '2025.06' } : {}),
    });

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-recipes-'));
    chmodSync(directory, 0o755);
    installed = installTsbuild(join(directory, 'package'));
    account = makeAccount({ subordinateIds: true });
    cpSync(RECIPES, recipes(), { recursive: true });
    mkdirSync(join(recipes(), 'src/__pycache__'));
    writeFileSync(join(recipes(), 'src/__pycache__/left.pyc'), '');
    git = await serveGitHttp(makeRepositories(join(directory, 'git')));
    web = await serveOthers(git.origin);
  });
  afterAll(async () => {
    // Files of subordinate ids can only be removed from within the namespace that made them.
    await succeed(['prune', '--all'], setting());
    account?.[Symbol.dispose]();
    web?.close();
    await git?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  test('are all tried', async () => {
    const files = readdirSync(RECIPES).filter((name) => name.endsWith('.ts') && name !== 'stand-ins.ts');
    expect(files.sort()).toEqual(Object.keys(TRIALS).sort());
  });

  test.each(Object.keys(TRIALS))('%s is planned, giant packages and all', async (file) => {
    const { stdout } = await succeed(['plan', file, '--json'], setting(TOKENS));
    const planned = Object.keys(JSON.parse(stdout) as object);
    expect(planned.sort()).toEqual(Object.keys(TRIALS[file] ?? {}).sort());
  });

  const built = Object.entries(TRIALS).flatMap(([file, trials]) =>
    Object.entries(trials).flatMap(([name, trial]) =>
      typeof trial === 'string' ? [] : [{ file, name, command: trial[0], says: trial[1] }],
    ),
  );
  test.each(built)('$file::$name', { timeout: 600_000 }, async ({ file, name, command, says }) => {
    const { stdout } = await succeed(['run', `${file}::${name}`, '--', ...command], building(file));
    expect(stdout).toEqual(typeof says === 'string' ? says : expect.stringMatching(says));
  });

  test.each([
    { name: 'dockerfile', path: '/app/config.yaml' },
    { name: 'dockerfileWithMount', path: '/app/numbers_of_mine.py' },
  ])('registries.ts::$name holds what it copies', async ({ name, path }) => {
    const tar = join(account.home, `${name}.tar`);
    const { stdout } = await succeed(
      ['build', `registries.ts::${name}`, '--output', `type=tar,dest=${tar}`, '--quiet'],
      building('registries.ts'),
    );
    expect(stdout).toMatch(/^sha256:/);
    const listing = execFileSync('tar', ['-tf', tar], { encoding: 'utf8' });
    expect(listing).toContain(path.slice(1));
  });

  test('functions run in their image', { timeout: 600_000 }, async () => {
    const analyzed = await succeed(
      ['run', 'functions.ts::analyze', '--', '["1.10", "1.9"]'],
      building('functions.ts'),
    );
    expect(JSON.parse(analyzed.stdout)).toEqual({ newest: '1.10', count: 2 });
    const debugged = await succeed(['run', 'functions.ts::debug'], building('functions.ts'));
    expect(debugged.stdout).toMatch(/^Python: 3\.[\s\S]*packaging[\s\S]*Debug complete/);
  });
});

/** The repositories that recipes clone. @returns The directory to serve. */
function makeRepositories(root: string): string {
  const setUp = '#!/bin/sh\necho set up\n';
  commit(makeRepository(root, 'github.com/org/repo'), { README: 'a repository\n', 'setup.sh': setUp });
  commit(makeRepository(root, 'github.com/example/lib.git'), {
    'answer.c': '#include <stdio.h>\nint main(void) { return puts("42") < 0; }\n',
    Makefile: 'answer: answer.c\n\ninstall: answer\n\tinstall answer /usr/local/bin\n',
  });
  commit(makeRepository(root, 'github.com/private/repo.git'), { README: 'a private repository\n' });
  return root;
}

/** Everything that is not in Debian or on PyPI; what is private wants its token. */
async function serveOthers(gitOrigin: string): Promise<Server> {
  const wheel = 'acme_private_package-1.0-py3-none-any.whl';
  const files: Readonly<Record<string, string | Buffer>> = {
    '/example.com/model.bin': 'weights\n',
    '/pypi.private.com/simple/acme-private-package/': `<a href="${wheel}">${wheel}</a>`,
    [`/pypi.private.com/simple/acme-private-package/${wheel}`]: zip([
      { name: 'acme_private_package.py', content: 'WORD = "private"\n' },
      {
        name: 'acme_private_package-1.0.dist-info/METADATA',
        content: 'Metadata-Version: 2.1\nName: acme-private-package\nVersion: 1.0\n',
      },
      {
        name: 'acme_private_package-1.0.dist-info/WHEEL',
        content: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
      },
      { name: 'acme_private_package-1.0.dist-info/RECORD', content: '' },
    ]),
  };
  const tokens = [
    { path: '/github.com/private/', login: `git:${TOKENS.GITHUB_TOKEN}` },
    { path: '/pypi.private.com/', login: `token:${TOKENS.PRIVATE_REGISTRY_TOKEN}` },
  ];
  const server = createServer((request, response) => {
    const url = request.url ?? '/';
    const guard = tokens.find(({ path }) => url.startsWith(path));
    const { authorization } = request.headers;
    if (guard !== undefined && authorization !== `Basic ${Buffer.from(guard.login).toString('base64')}`) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end();
    } else if (files[url] !== undefined) {
      response.writeHead(200, url.endsWith('/') ? { 'content-type': 'text/html' } : {}).end(files[url]);
    } else if (url.startsWith('/github.com/')) {
      const { method = 'GET', headers } = request;
      const onward = forward(`${gitOrigin}${url}`, { method, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      });
      request.pipe(onward);
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
