import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Interrupted } from '../../../src/cli/exit-status.ts';
import {
  DefinitionError,
  HostError,
  IntegrityError,
  InternalError,
  RemoteError,
  StepError,
} from '../../../src/errors.ts';
import { cli } from '../../support/cli.ts';
import { APT, at, smallBuild, smallPlan } from '../../support/events.ts';
import { digestOf } from '../../support/fake-engine.ts';

let directory: string;
let one: string;
let two: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tsbuild-cli-'));
  const fake = new URL('../../support/fake-engine.ts', import.meta.url).pathname;
  one = join(directory, 'one.ts');
  two = join(directory, 'two.ts');
  await writeFile(one, `import { FakeImage } from '${fake}';\nexport default new FakeImage('one');\n`);
  await writeFile(
    two,
    `import { FakeImage } from '${fake}';\nexport const web = new FakeImage('web');\nexport const job = new FakeImage('job');\nexport const again = web;\nexport const other = 3;\n`,
  );
});

afterAll(() => rm(directory, { recursive: true, force: true }));

describe('tsbuild build', () => {
  it('prints the digest alone, and passes on what was asked for', async () => {
    const { status, stdout, calls } = await cli([
      'build',
      one,
      '-t',
      'web:1',
      '-o',
      'type=oci,dest=x.tar',
      '--push',
      '--pull',
      '-j2',
      '--host-ca=never',
      '--rewrite-timestamp',
    ]);
    expect(status).toBe(0);
    expect(stdout).toBe(`${digestOf('1')}\n`);
    expect(calls.opened).toMatchObject({ jobs: 2, hostCa: 'never' });
    expect(calls.built?.options).toMatchObject({
      tags: ['web:1'],
      pull: true,
      definitions: [`${one}::default`],
      outputs: [
        { type: 'oci', dest: 'x.tar', rewriteTimestamp: true },
        { type: 'registry', push: true, rewriteTimestamp: true },
      ],
    });
    expect(calls.disposed).toBe(1);
  });

  it('builds every exported image once, or the ones that were named', async () => {
    const all = await cli(['build', two]);
    expect(all.stdout.split('\n').map((line) => line.split(' ')[0])).toEqual(['again', 'job', '']);
    expect(all.calls.built?.images).toHaveLength(2);
    const named = await cli(['build', `${two}::job`]);
    expect(named.calls.built?.options?.definitions).toEqual([`${two}::job`]);
  });

  it('leaves to the environment and the configuration files what was not typed', async () => {
    const env = { TSBUILD_FORCE_BUILD: '1' };
    const silent = await cli(['build', one], { env });
    expect(silent.calls.opened).toEqual({ env, signal: expect.anything(), onEvent: expect.anything() });
    for (const name of ['forceBuild', 'ignoreCache', 'platform']) {
      expect(silent.calls.built?.options).not.toHaveProperty(name);
    }
    const typed = await cli(['build', one, '--no-cache', '--ignore-cache', '--offline']);
    expect(typed.calls.opened).toMatchObject({ offline: true });
    expect(typed.calls.built?.options).toMatchObject({ forceBuild: true, ignoreCache: true });
  });

  it('writes the files that scripts read', async () => {
    await cli(['build', one, '-t', 'a:1', '-t', 'b:2', '--iidfile', 'id', '--metadata-file', 'm.json'], {
      cwd: directory,
    });
    expect(await readFile(join(directory, 'id'), 'utf8')).toBe(digestOf('c'));
    expect(JSON.parse(await readFile(join(directory, 'm.json'), 'utf8'))).toEqual({
      'containerimage.config.digest': digestOf('c'),
      'containerimage.descriptor': expect.objectContaining({ digest: digestOf('1'), size: 500 }),
      'containerimage.digest': digestOf('1'),
      'image.name': 'a:1,b:2',
    });
    await cli(['build', two, '--metadata-file', 'm.json'], { cwd: directory });
    expect(Object.keys(JSON.parse(await readFile(join(directory, 'm.json'), 'utf8')))).toEqual([
      'again',
      'job',
    ]);
  });

  it('keeps standard output for the archive when one goes there', async () => {
    const { stdout } = await cli(['build', one, '-o', '-']);
    expect(stdout).toBe('');
  });

  it.each([
    [['two', '-t', 'x'], '--tag needs one image'],
    [['two', '-o', 'dir'], '--output needs one image'],
    [['two', '--iidfile', 'x'], '--iidfile needs one image'],
    [['one', '--push'], 'nothing says where to push'],
    [['one', '-o', '-', '-o', 'type=oci,dest=-'], 'two outputs'],
  ])('refuses %j', async ([file = '', ...flags], reason) => {
    const { status, stderr } = await cli(['build', join(directory, `${file}.ts`), ...flags]);
    expect(status).toBe(2);
    expect(stderr).toContain(reason);
  });

  it('refuses to write an archive to a terminal', async () => {
    const { status, stderr } = await cli(['build', one, '-o', '-'], { stdoutIsTty: true });
    expect(status).toBe(2);
    expect(stderr).toContain('the terminal');
  });

  it('prints warnings about the definition once', async () => {
    const diagnostics = [
      { code: 'W_UNPINNED', message: "'numpy' has no version", layer: 2 },
      { code: 'W_X', message: 'seen' },
    ];
    const { stderr } = await cli(['build', two, '-q'], {
      diagnostics,
      events: [at(0, { kind: 'warning', code: 'W_X', message: 'seen' })],
    });
    expect(stderr).toBe("warning (layer 3): 'numpy' has no version (W_UNPINNED)\n");
  });

  it('explains what was not cached', async () => {
    const { stderr } = await cli(['build', one, '--explain', '-q'], {
      events: [
        smallPlan,
        at(1, {
          kind: 'vertex-finished',
          vertex: APT,
          outcome: 'done',
          durationMs: 5,
          miss: { reason: 'changed', differences: [{ field: 'env.A', before: '1', after: '2\u001b[2J' }] },
        }),
      ],
    });
    expect(stderr).toBe('explain: aptInstall git: changed since it last ran\n  env.A: 1 -> 2\n');
  });
});

describe('errors', () => {
  it.each([
    [new StepError('s', { code: 'E_BUILD_FAILED', argv: ['x'], reason: 'exit', logTail: 'tail' }), 1],
    [new HostError('h', { code: 'E_IO' }), 3],
    [new RemoteError('r', { code: 'E_NETWORK' }), 4],
    [new IntegrityError('i', { code: 'E_BLOB_DAMAGED' }), 5],
    [new InternalError('x'), 70],
    [new TypeError('x is not a function'), 70],
    [Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC', syscall: 'write' }), 3],
    [new Interrupted('SIGINT'), 130],
    [new Interrupted('SIGTERM'), 143],
  ])('%s ends with %d', async (failure, status) => {
    const result = await cli(['build', one], { failure });
    expect(result.status).toBe(status);
    expect(result.stdout).toBe('');
    expect(result.calls.disposed).toBe(1);
  });

  it('shows a step that failed, its own output last', async () => {
    const { stderr } = await cli(['build', one], {
      events: smallBuild,
      failure: new StepError("'aptInstall git' ended with status 100", {
        code: 'E_BUILD_FAILED',
        argv: ['apt-get', 'install', 'git'],
        reason: 'exit',
        exitCode: 100,
        logTail: 'E: Unable to locate package git\u001b[2J\n',
        logPath: '/store/logs/1.log',
      }),
    });
    await expect(stderr).toMatchFileSnapshot('../../golden/cli/error-step.txt');
  });

  it.each([
    [
      'remote',
      new RemoteError("cannot push 'r.example/web:1': the registry says no", {
        code: 'E_AUTH',
        method: 'PUT',
        url: 'https://r.example/v2/web/manifests/1',
        status: 401,
        ociCodes: ['UNAUTHORIZED'],
        attempts: 2,
        hint: "log in with 'tsbuild login r.example'",
      }),
    ],
    [
      'dockerfile',
      new DefinitionError('COPY has no flag --form', {
        code: 'E_DOCKERFILE_FLAG',
        hint: 'did you mean --from?',
        file: 'images/Dockerfile',
        line: 2,
        column: 6,
        excerpt: '  1 | FROM a\x1b[2J\n> 2 | COPY --form=x a b\n    |      ^',
      }),
    ],
    [
      'integrity',
      new IntegrityError('a layer has the wrong digest', {
        code: 'E_DIGEST_MISMATCH',
        expected: digestOf('a'),
        actual: digestOf('b'),
        source: 'https://r.example/v2/web/blobs/x',
      }),
    ],
  ])('shows what a %s error carries', async (name, failure) => {
    const { stderr } = await cli(['build', one, '-q'], { failure });
    await expect(stderr).toMatchFileSnapshot(`../../golden/cli/error-${name}.txt`);
  });

  it('names the command that was meant', async () => {
    const { status, stderr } = await cli(['biuld']);
    expect(status).toBe(2);
    expect(stderr).toBe("error: unknown command 'biuld'\nhint: did you mean 'build'?\n(E_USAGE)\n");
  });
});

describe('the other commands', () => {
  it('runs a definition or a stored image, and ends as the command ended', async () => {
    const first = await cli(
      ['run', one, '-e', 'A=1', '-e', 'HOMELESS', '-e', 'B', '-w', '/x', '--', 'ls', '-l'],
      {
        env: { B: 'two' },
        runOutput: [
          ['stdout', 'out'],
          ['stderr', 'err'],
        ],
        exitCode: 7,
      },
    );
    expect(first.status).toBe(7);
    expect(first.stdout).toBe('out');
    expect(first.stderr).toContain('err');
    expect(first.calls.ran).toMatchObject({
      image: { label: 'one' },
      command: ['ls', '-l'],
      options: { env: { A: '1', B: 'two' }, workdir: '/x', definition: `${one}::default` },
    });
    const second = await cli(['run', 'web:1'], { runSignal: 'SIGKILL' });
    expect(second.status).toBe(137);
    expect(second.calls.ran).toMatchObject({ image: 'web:1', command: undefined });
    const third = await cli(['run', two]);
    expect(third.stderr).toContain('exports 2 images: again, job');
  });

  it('calls a function of an app, and prints what it returned', async () => {
    const fake = new URL('../../support/fake-engine.ts', import.meta.url).pathname;
    const write = async (name: string, text: string) => {
      const path = join(directory, name);
      await writeFile(path, `import { FakeApp, FakeFunction, FakeImage } from '${fake}';\n${text}`);
      return path;
    };
    const app = await write(
      'app.ts',
      "const image = new FakeImage('of app');\nexport const f = new FakeFunction('f', image);\nexport const app = new FakeApp([f, new FakeFunction('g', image)]);\nexport { image };\n",
    );
    const first = await cli(['run', app, '-e', 'A=1', '--timeout', '5s', '--', '3', 'text', '{"a":[1]}'], {
      returns: { b: 2 },
      runOutput: [['stdout', 'printed\n']],
    });
    expect(first.status).toBe(0);
    expect(first.stdout).toBe('{\n  "b": 2\n}\n');
    expect(first.calls.called).toMatchObject({
      name: 'f',
      values: [3, 'text', { a: [1] }],
      options: { env: { A: '1' }, timeoutMs: 5000, definition: `${app}::f` },
    });
    for (const [returns, text] of [
      ['plain', 'plain\n'],
      [undefined, ''],
      [null, 'null\n'],
      [10n, '10n\n'],
      [new Map([[1, 2]]), 'Map(1) { 1 => 2 }\n'],
    ] as const) {
      expect((await cli(['run', `${app}::f`], { returns })).stdout).toBe(text);
    }
    expect((await cli(['run', `${app}::image`])).calls.ran).toMatchObject({ image: { label: 'of app' } });
    const hidden = await write(
      'hidden.ts',
      "export default new FakeApp([new FakeFunction('only', new FakeImage('x'))]);\n",
    );
    expect((await cli(['run', hidden])).calls.called).toMatchObject({ name: 'only', values: [] });
    const several = await cli(['run', `${app}::app`]);
    expect(several.status).toBe(2);
    expect(several.stderr).toContain('exports 2 functions: app.f, app.g');
    const built = await cli(['build', hidden]);
    expect(built.calls.built?.images).toMatchObject([{ label: 'x' }]);
    expect((await cli(['build', app])).calls.built?.images).toMatchObject([{ label: 'of app' }]);
  });

  it('plans', async () => {
    const text = await cli(['plan', one]);
    await expect(text.stdout).toMatchFileSnapshot('../../golden/cli/plan.txt');
    const json = await cli(['plan', two, '--json']);
    expect(Object.keys(JSON.parse(json.stdout))).toEqual(['again', 'job']);
  });

  it('takes its progress from TSBUILD_LOGLEVEL, unless it is told', async () => {
    const events = [{ kind: 'warning', timeMs: 0, code: 'W_GPU_TYPE', message: 'another type' }] as const;
    const quiet = { events, env: { TSBUILD_LOGLEVEL: 'quiet' } };
    expect((await cli(['build', one, '--progress=json'], quiet)).stderr).toContain('"code":"W_GPU_TYPE"');
    expect((await cli(['build', one], { events })).stderr).toContain('another type');
    expect((await cli(['build', one], quiet)).stderr).not.toContain('another type');
    const wrong = await cli(['build', one], { env: { TSBUILD_LOGLEVEL: 'loud' } });
    expect([wrong.status, wrong.stderr]).toEqual([2, expect.stringContaining('quiet, info, debug')]);
  });

  it('exports', async () => {
    const two = await cli(['export', 'a:1', '-o', 'type=oci,dest=a.tar', '-o', 'a-root']);
    expect(two.calls.exported).toEqual([
      ['a:1', { type: 'oci', dest: 'a.tar' }],
      ['a:1', { type: 'local', dest: 'a-root' }],
    ]);
    expect(two.stdout).toBe(`${digestOf('e')}\n`.repeat(2));
    expect((await cli(['export', 'a:1', '-o', 'type=tar,dest=-'])).stdout).toBe('');
    const nowhere = await cli(['export', 'a:1']);
    expect(nowhere.status).toBe(2);
    expect(nowhere.stderr).toContain('nothing says where to write the image');
  });

  it('pushes, pulls, tags, lists and removes', async () => {
    expect((await cli(['push', 'a:1'])).calls.pushed).toEqual(['a:1', 'a:1']);
    const push = await cli(['push', 'a:1', 'r.example/a:1']);
    expect(push.calls.pushed).toEqual(['a:1', 'r.example/a:1']);
    expect(push.stdout).toBe(`${digestOf('d')}\n`);
    expect((await cli(['pull', 'debian:13'])).stdout).toBe(`${digestOf('a')}\n`);
    expect((await cli(['tag', 'a', 'b', 'c'])).calls.tagged).toEqual([
      ['a', 'b'],
      ['a', 'c'],
    ]);
    const list = (await cli(['image', 'list'])).stdout;
    expect(list.split('\n')[1]).toMatch(
      /^web:1 +0123456789ab|^web:1 +im-0123456789ab +linux\/amd64 +45\.6MB /,
    );
    expect((await cli(['image', 'list', '-q'])).stdout).toBe('im-0123456789abcdef\n');
    expect(JSON.parse((await cli(['image', 'inspect', 'a', 'b'])).stdout)).toHaveLength(2);
    expect((await cli(['image', 'rm', 'a'])).stdout).toBe('untagged a\ndeleted im-1\n');
  });

  it('cleans when it is told to, and asks a person', async () => {
    const clean = await cli(['clean', '--all', '--volumes', '--dry-run']);
    expect(clean.stdout).toBe('layers 3 2.0kB\nwould free 2.0kB\n');
    expect(clean.calls.cleaned).toEqual({ volumes: true, dryRun: true });
    const without = await cli(['clean']);
    expect(without.status).toBe(2);
    expect(without.stderr).toContain('tsbuild prune');
    expect(without.calls.cleaned).toBeUndefined();
    const answered = (stdin: string, ...more: string[]) =>
      cli(['clean', '--all', ...more], { stdin, stdinIsTty: true });
    expect((await answered('n\n')).calls.cleaned).toBeUndefined();
    expect((await answered('y\n')).calls.cleaned).toEqual({ volumes: false, dryRun: false });
    expect((await answered('', '--yes')).calls.cleaned).toBeDefined();
  });

  it('counts and prunes', async () => {
    await expect((await cli(['du'])).stdout).toMatchFileSnapshot('../../golden/cli/du.txt');
    const prune = await cli([
      'prune',
      '-a',
      '--older-than',
      '7d',
      '--keep-bytes=20GB',
      '--kind',
      'layers',
      '--dry-run',
    ]);
    expect(prune.stdout).toBe('layers abc 1.0kB\nwould free 1.0kB\n');
    expect(prune.calls.pruned).toEqual({
      all: true,
      dryRun: true,
      olderThanMs: 604_800_000,
      keepBytes: 20_000_000_000,
      kinds: ['layers'],
    });
  });

  it('examines the machine', async () => {
    const checks = [
      { name: 'user namespace', ok: true, detail: 'uid 0 in a new namespace' },
      {
        name: 'subuid',
        ok: false,
        detail: 'no range for user',
        fix: 'usermod --add-subuids 100000-165535 user',
      },
      { name: 'gpu', ok: false, detail: 'none found', required: false },
    ];
    const doctor = await cli(['doctor'], { checks });
    expect(doctor.status).toBe(3);
    await expect(doctor.stdout).toMatchFileSnapshot('../../golden/cli/doctor.txt');
    expect(
      (await cli(['doctor'], { checks: [checks[0], checks[2]].filter((check) => check !== undefined) }))
        .status,
    ).toBe(0);
  });

  it('logs in without the password on the command line', async () => {
    const { status, calls, stdout, stderr } = await cli(
      ['login', 'r.example', '-u', 'me', '--password-stdin'],
      {
        stdin: 'hunter2\n',
      },
    );
    expect(status).toBe(0);
    expect(calls.saved).toEqual(['r.example', { username: 'me', password: 'hunter2' }]);
    expect(stdout + stderr).not.toContain('hunter2');
    expect((await cli(['login', 'r.example'])).status).toBe(2);
    expect((await cli(['login', '-u', 'me', '--password-stdin'], { stdin: '\n' })).status).toBe(2);
    expect((await cli(['logout'])).stderr).toBe('logged out of docker.io\n');
  });

  it('says its version', async () => {
    expect((await cli(['--version'])).stdout).toMatch(/^tsbuild \d+\.\d+\.\d+\n$/);
  });

  it('does nothing when it was cancelled before it began', async () => {
    const { status, calls } = await cli(['build', one], {
      signal: AbortSignal.abort(new Interrupted('SIGINT')),
    });
    expect(status).toBe(130);
    expect(calls.opened).toBeUndefined();
  });
});
