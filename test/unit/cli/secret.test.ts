// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the file's own syntax.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cli } from '../../support/cli.ts';

describe('secret', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-secret-cli-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('create takes variables from words, the environment, files and standard input; the nearest wins', async () => {
    writeFileSync(join(dir, '.env'), 'A=file\nB=file\nC="${HOST} file"\n');
    const { status, stdout, calls } = await cli(
      ['secret', 'create', 'db', 'A=x=y', 'HOST', '-', '--from-dotenv', '.env', '--environment', 'prod'],
      { cwd: dir, env: { HOST: 'h' }, stdin: 'B=stdin\nD=stdin\n' },
    );
    expect([status, stdout]).toEqual([0, 'created db\n']);
    expect(calls.objects).toEqual([['secret create', 'db', 'prod']]);
    expect(calls.secret).toEqual({ A: 'x=y', B: 'stdin', C: 'h file', D: 'stdin', HOST: 'h' });
  });

  it('create says what is wrong without a value', async () => {
    for (const [words, text] of [
      [['db'], 'nothing to store'],
      [['db', 'NOT_SET'], "no variable 'NOT_SET'"],
      [['db', 'A B=planted'], "'A B' is not the name of a variable"],
      [['a/b', 'A=planted'], "'a/b' cannot be the name of a secret"],
      [['db', '--from-dotenv', 'none'], "cannot read 'none': ENOENT"],
      [['db', 'A=planted', '--environment', '..'], "'..' cannot be the name of an environment"],
    ] as const) {
      const { status, stderr, calls } = await cli(['secret', 'create', ...words], { cwd: dir });
      expect(status, stderr).toBe(2);
      expect(stderr).toContain(text);
      expect(stderr).not.toContain('planted');
      expect(calls.secret).toBeUndefined();
    }
  });

  it('list shows names and ages, never values; delete takes several', async () => {
    expect((await cli(['secret', 'list'])).stdout).toMatch(/^NAME +CREATED\nhuggingface +\d+ days ago\n$/);
    expect((await cli(['secret', 'list', '-q', '--environment', 'x'])).calls.objects).toEqual([
      ['secret list', 'x'],
    ]);
    expect(JSON.parse((await cli(['secret', 'list', '--json'])).stdout)).toEqual([
      { name: 'huggingface', createdAt: '1970-01-01T00:00:00.000Z' },
    ]);
    const deleted = await cli(['secret', 'delete', 'a', 'b']);
    expect(deleted.stdout).toBe('deleted a\ndeleted b\n');
    expect(deleted.calls.objects).toEqual([
      ['secret delete', 'a', ''],
      ['secret delete', 'b', ''],
    ]);
  });
});

describe('volume', () => {
  it('create, list and delete', async () => {
    const created = await cli(['volume', 'create', 'a', 'b', '--environment', 'prod']);
    expect(created.calls.objects).toEqual([
      ['volume create', 'a', 'prod'],
      ['volume create', 'b', 'prod'],
    ]);
    expect((await cli(['volume', 'list', '-q'])).stdout).toBe('hf-cache\n');
    expect((await cli(['volume', 'delete', 'a'])).calls.objects).toEqual([['volume delete', 'a', '']]);
    expect((await cli(['volume', 'create', '..'])).status).toBe(2);
  });

  it('files: ls is harmless to a terminal, put and get name files from where the user is', async () => {
    const listed = await cli(['volume', 'ls', 'v', '/a']);
    expect(listed.stdout).not.toContain('\u001b');
    expect(listed.calls.objects).toEqual([['volume ls', 'Volume(v)', '/a']]);
    const put = await cli(['volume', 'put', 'v', 'file', '/to/'], { cwd: '/w' });
    expect(put.calls.objects).toEqual([['volume put', 'Volume(v)', '/w/file', '/to/']]);
    expect((await cli(['volume', 'get', 'v', '/a/b', '-'])).stderr).toContain('not standard output');
    const got = await cli(['volume', 'get', 'v', '/a/b'], { cwd: '/w' });
    expect([got.stdout, got.calls.objects]).toEqual(['b\n', [['volume get', 'Volume(v)', '/a/b', '/w/b']]]);
    const removed = await cli(['volume', 'rm', 'v', '/a', '/b']);
    expect(removed.stdout).toBe('removed /a\nremoved /b\n');
    expect((await cli(['volume', 'rm', 'v'])).status).toBe(2);
  });

  it('run mounts them', async () => {
    const { calls } = await cli(['run', 'web:1', '-v', 'cache:/c', '--volume', 'models:/m:ro']);
    const volumes = calls.ran?.options?.volumes ?? {};
    expect(Object.entries(volumes).map(([path, { name, readOnly }]) => [path, name, readOnly])).toEqual([
      ['/c', 'cache', false],
      ['/m', 'models', true],
    ]);
    expect(Object.values(volumes)[0]?.origin).toMatchObject({ createIfMissing: true });
    for (const wrong of ['cache', '/host:/c', 'cache:c', 'cache:/c:x', ':/c']) {
      expect((await cli(['run', 'web:1', '-v', wrong])).status, wrong).toBe(2);
    }
    expect((await cli(['run', 'web:1', '-v', 'a:/c', '-v', 'b:/c'])).status).toBe(2);
  });
});
