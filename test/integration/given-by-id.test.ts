/** Secrets and agents that a build is given by id, and what a forced step does to its caches. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type GivenById, openGivenById } from '../../src/engine/given-by-id.ts';
import type { ExecAction, Mount } from '../../src/graph/action.ts';
import { buildSecretId } from '../../src/graph/secret-id.ts';
import { vertex } from '../../src/graph/vertex.ts';
import { parseBuildSecret } from '../../src/secret/build-secret.ts';
import { openGraphBuild } from '../support/graph-build.ts';
import { lacks } from '../support/requires.ts';

const exec = (script: string, more: Partial<ExecAction> = {}): ExecAction => ({
  kind: 'exec',
  argv: ['/bin/sh', '-c', script],
  env: [['PATH', '/bin']],
  cwd: '/',
  user: '',
  network: 'none',
  mounts: [],
  secretEnv: [],
  lend: [],
  ...more,
});

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('given by id', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-given-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const given = (secrets: readonly string[], environment: NodeJS.ProcessEnv = {}): GivenById =>
    openGivenById({ secrets: secrets.map(parseBuildSecret) }, { environment, cwd: dir });
  const secretMount = (id: string, required: boolean): Mount => ({
    kind: 'secret',
    secretId: buildSecretId(id),
    identity: JSON.stringify(id),
    target: `/run/secrets/${id}`,
    mode: 0o400,
    uid: 0,
    gid: 0,
    required,
  });
  const lines = (events: readonly { kind: string; text?: string }[]) =>
    events.flatMap((event) => (event.kind === 'log' ? [event.text] : []));

  test('a value is in no file, event or error, whatever bytes it has and however it is printed', async () => {
    const text = 'correct-horse-battery-9f31';
    const binary = Buffer.from([0x00, 0xc3, 0x28, 0xff, 0xfe, 0x80, 0x41, 0x42, 0x0d, 0x99, 0x98, 0x97]);
    const from = mkdtempSync(join(tmpdir(), 'tsbuild-values-'));
    writeFileSync(join(from, 'text'), `${text}\n`);
    writeFileSync(join(from, 'binary'), binary);
    let events: unknown[] = [];
    let thrown: Error | undefined;
    {
      await using build = openGraphBuild(join(dir, 'store'));
      events = build.events;
      const step = build.step(
        'shows them',
        build.base,
        exec(
          'cat /run/secrets/text /run/secrets/binary; cat /run/secrets/binary >&2; echo "$T,$E"; printf "correct-horse"; sleep 0.1; echo "-battery-9f31"; exit 3',
          {
            mounts: [secretMount('text', true), secretMount('binary', true)],
            secretEnv: [
              { name: 'T', secretId: buildSecretId('text'), identity: '"text"' },
              { name: 'E', secretId: buildSecretId('env'), identity: '"env"' },
            ],
          },
        ),
      );
      const secrets = given([`id=text,src=${from}/text`, `id=binary,src=${from}/binary`, 'id=env,env=V'], {
        V: text,
      });
      thrown = await build.solve([step], { given: secrets }).then(
        () => undefined,
        (error: Error) => error,
      );
    }
    rmSync(from, { recursive: true });
    expect(thrown).toMatchObject({ code: 'E_BUILD_FAILED' });
    expect(JSON.stringify(events)).toContain('***');
    const places: [string, Buffer][] = [
      ['events', Buffer.from(JSON.stringify(events))],
      ['error', Buffer.from(`${JSON.stringify({ ...thrown })}${thrown?.stack}`)],
      ...filesBelow(dir).map((path): [string, Buffer] => [path, readFileSync(path)]),
    ];
    for (const value of [text, binary, binary.toString('base64'), binary.toString('utf8')]) {
      expect(places.filter(([, bytes]) => bytes.includes(value)).map(([where]) => where)).toEqual([]);
    }
  });

  test('one that is required and missing says how to give it; one that is not is left out', async () => {
    await using build = openGraphBuild(join(dir, 'store'));
    const required = build.step('a', build.base, exec('true', { mounts: [secretMount('npm', true)] }));
    const variable = build.step(
      'b',
      build.base,
      exec('true', { secretEnv: [{ name: 'N', secretId: buildSecretId('npm'), identity: '' }] }),
    );
    for (const step of [required, variable]) {
      await expect(build.solve([step], { given: given([]) })).rejects.toMatchObject({
        name: 'DefinitionError',
        code: 'E_SECRET_MISSING',
        message: "a step requires the secret 'npm': it was not given to the build",
        hint: 'give it with --secret id=npm,src=FILE or --secret id=npm,env=VARIABLE',
      });
    }
    await expect(build.solve([required], { given: given(['id=npm,env=NPM']) })).rejects.toThrow(
      "the environment variable 'NPM' is not set",
    );
    const optional = build.step(
      'c',
      build.base,
      exec('ls /run/secrets 2>&1; echo "[${N-unset}]"', {
        mounts: [secretMount('npm', false)],
        secretEnv: [{ name: 'N', secretId: buildSecretId('npm'), identity: '', optional: true }],
      }),
    );
    await build.solve([optional], { given: given([]) });
    expect(lines(build.events)).toEqual(['ls: /run/secrets: No such file or directory', '[]']);
  });

  test('an id cannot reach a secret of another definition, and other ids are a mistake of ours', async () => {
    await using build = openGraphBuild(join(dir, 'store'));
    const step = build.step('a', build.base, exec('true', { mounts: [secretMount('secret-1', true)] }));
    await expect(build.solve([step])).rejects.toMatchObject({ code: 'E_SECRET_MISSING' });
  });

  test('the value is in no key: a step with another value is not run again', async () => {
    await using build = openGraphBuild(join(dir, 'store'));
    const step = build.step(
      'a',
      build.base,
      exec('cat /run/secrets/s | wc -c', { mounts: [secretMount('s', true)] }),
    );
    await build.solve([step], { given: given(['id=s,env=S'], { S: 'short' }) });
    await build.solve([step], { given: given(['id=s,env=S'], { S: 'much longer' }) });
    await build.solve([step], { given: given([]) });
    expect(lines(build.events)).toEqual(['5']);
  });

  test('an agent that is required and missing says how to give it', async () => {
    await using build = openGraphBuild(join(dir, 'store'));
    const ssh = (id: string, required: boolean): Mount => ({
      kind: 'ssh',
      id,
      target: '/run/agent',
      mode: 0o600,
      uid: 0,
      gid: 0,
      required,
    });
    for (const [id, hint] of [
      ['default', 'give it with --ssh default'],
      ['other', 'give it with --ssh other=PATH'],
    ] as const) {
      const step = build.step('a', build.base, exec('true', { mounts: [ssh(id, true)] }));
      await expect(build.solve([step])).rejects.toMatchObject({ code: 'E_SSH_MISSING', hint });
    }
    await build.solve([build.step('b', build.base, exec('ls /run', { mounts: [ssh('default', false)] }))]);
  });

  test('forced steps begin with empty caches, and share them within the build', async () => {
    await using build = openGraphBuild(join(dir, 'store'));
    const cache: Mount = { kind: 'cache', id: 'c', target: '/c', sharing: 'shared' };
    const other: Mount = { kind: 'cache', id: 'other', target: '/o', sharing: 'shared' };
    const first = build.step(
      'first',
      build.base,
      exec('ls /c /o; echo x > /c/first; echo x > /o/kept', { mounts: [cache, other] }),
    );
    const second = build.step(
      'second',
      first,
      exec('echo second; ls /c; echo x > /c/second', { mounts: [cache] }),
    );
    await build.solve([second]);
    expect(lines(build.events)).toEqual(['/c:', '', '/o:', 'second', 'first']);
    build.events.length = 0;
    await build.solve([second], { cacheMode: 'force' });
    expect(lines(build.events)).toEqual(['/c:', '', '/o:', 'second', 'first']);
    build.events.length = 0;
    // Only what the forced step itself mounts.
    const { operation, inputs, platform, label } = second;
    await build.solve([vertex(operation, inputs, { platform, label, force: true })]);
    expect(lines(build.events)).toEqual(['second']);
    const look = build.step('look', build.base, exec('ls /c /o', { mounts: [cache, other] }));
    build.events.length = 0;
    await build.solve([look]);
    expect(lines(build.events)).toEqual(['/c:', 'second', '', '/o:', 'kept']);
  });
});

function filesBelow(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name);
    return entry.isFile() && statSync(path, { throwIfNoEntry: false }) !== undefined ? [path] : [];
  });
}
