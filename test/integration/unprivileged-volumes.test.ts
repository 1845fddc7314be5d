/** Volumes and secrets in the hands of an ordinary user: files of subordinate ids are used, listed, taken out and deleted. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Account, makeAccount, processesOf } from '../support/account.ts';
import { busyboxDefinition, busyboxPath } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';
import { installTsbuild, run, succeed, type Tsbuild } from '../support/tsbuild.ts';

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'newuidmap'))(
  'an ordinary user with subordinate ids',
  () => {
    let directory: string;
    let tsbuild: Tsbuild;
    let account: Account;
    const store = (...parts: string[]) => join(account.home, 'store', ...parts);
    const setting = (env: Record<string, string> = {}, stdin = '') => ({
      tsbuild,
      account,
      cwd: account.home,
      stdin,
      env: { TSBUILD_HOME: store(), HOME: account.home, TMPDIR: account.home, ...env },
    });
    const ok = (args: readonly string[], env?: Record<string, string>, stdin?: string) =>
      succeed(args, setting(env, stdin));

    beforeAll(() => {
      directory = mkdtempSync(join(tmpdir(), 'tsbuild-user-volumes-'));
      chmodSync(directory, 0o755);
      tsbuild = installTsbuild(join(directory, 'package'));
      account = makeAccount({ subordinateIds: true });
    });
    afterAll(() => {
      account?.[Symbol.dispose]();
      rmSync(directory, { recursive: true, force: true });
    });

    test('uses, lists, gets and deletes what belongs to others in its volumes (C109) (C120)', async () => {
      const definition = join(directory, 'image.ts');
      writeFileSync(
        definition,
        busyboxDefinition(
          `runCommands('mkdir -m 700 /v/own && echo data > /v/own/file && chmod 600 /v/own/file && chown -R 1000:1001 /v/own',
          { volumes: { '/v': Volume.fromName('v', { createIfMissing: true }) } })`,
        ).replace('import { Image }', 'import { Image, Volume }'),
      );
      await ok(['build', definition, '--progress=plain']);
      const owned = lstatSync(store('volumes/main/v/own'));
      expect(owned.uid).toBe((account.subordinate?.first ?? 0) + 999);
      expect((await ok(['volume', 'ls', 'v'])).stdout).toBe('/own/\n/own/file\n');
      await ok(['volume', 'get', 'v', '/own/file', 'got']);
      const got = statSync(join(account.home, 'got'));
      expect([got.uid, got.gid]).toEqual([account.uid, account.gid]);
      expect(readFileSync(join(account.home, 'got'), 'utf8')).toBe('data\n');
      await ok(['volume', 'put', 'v', 'got', '/own/more/']);
      const shown = await ok([
        'run',
        definition,
        '--volume',
        'v:/v:ro',
        '--',
        '/bin/sh',
        '-c',
        'stat -c %u /v/own /v/own/more/got',
      ]);
      expect(shown.stdout).toBe('1000\n0\n');
      expect((await ok(['du'])).stdout).toMatch(/^volumes +1 +10B +0B$/m);
      await ok(['prune', '--all']);
      await ok(['volume', 'rm', 'v', '/own/file']);
      expect((await ok(['volume', 'ls', 'v'])).stdout).toBe('/own/\n/own/more/\n/own/more/got\n');
      await ok(['volume', 'delete', 'v']);
      expect(readdirSync(store('volumes/main'))).toEqual([]);
      const missing = await run(['volume', 'delete', 'v'], setting());
      expect([missing.status, missing.stderr.includes('E_OBJECT_NOT_FOUND')]).toEqual([2, true]);
      expect(processesOf(account)).toEqual([]);
      expect(readdirSync(store('tmp'))).toEqual([]);
    });

    test('a volume without a name goes with the process, whoever owns what is in it', async () => {
      const program = (last: string) => {
        const path = join(tsbuild.directory, 'ephemeral.mjs');
        writeFileSync(
          path,
          [
            "import { existsSync } from 'node:fs';",
            "import { Image, Volume } from './dist/index.js';",
            `const image = Image.fromScratch().addLocalFile('${busyboxPath()}', '/bin/sh', { copy: true }).env({ PATH: '/bin' });`,
            'const volume = Volume.ephemeral();',
            "const script = 'mkdir -m 700 /v/a && touch /v/a/b && chown -R 33:33 /v/a';",
            "await image.run(['/bin/sh', '-c', script], { volumes: { '/v': volume } });",
            'console.log(existsSync(volume.path));',
            last,
          ].join('\n'),
        );
        const { env, cwd } = setting();
        const { uid, gid } = account;
        const options = { cwd, uid, gid, env: { PATH: process.env.PATH, ...env }, encoding: 'utf8' } as const;
        return execFileSync(tsbuild.node, [path], options);
      };
      expect(program('')).toBe('true\n');
      expect(readdirSync(store('tmp'))).toEqual([]);
      expect(program('await volume.close(); console.log(existsSync(volume.path));')).toBe('true\nfalse\n');
      // Whoever comes next removes what a process left that ended in the middle.
      expect(program('process.exit(0);')).toBe('true\n');
      expect(readdirSync(store('tmp')).some((name) => name.startsWith('ephemeral-'))).toBe(true);
      await ok(['volume', 'list']);
      expect(readdirSync(store('tmp'))).toEqual([]);
    });

    test('secrets: only the user reads them, and the command never prints one', async () => {
      const created = await ok(
        ['secret', 'create', 'planted', 'FROM_ENV', '-'],
        { FROM_ENV: 'value-of-the-environment' },
        'FROM_STDIN="value of standard input"\n',
      );
      expect(created.stdout).toBe('created planted\n');
      const file = store('secrets/main/planted.json');
      expect([statSync(file).uid, statSync(file).mode & 0o777]).toEqual([account.uid, 0o600]);
      const again = await run(['secret', 'create', 'planted', 'A=another-value'], setting());
      expect([again.status, again.stderr.includes('E_SECRET_EXISTS')]).toEqual([2, true]);
      expect(again.stderr).not.toContain('another-value');
      chmodSync(file, 0o644);
      const open = await run(['secret', 'list'], setting());
      expect([open.status, open.stderr.includes('E_SECRET_STORE_MODE')]).toEqual([3, true]);
      await ok(['secret', 'delete', 'planted']);
      expect(existsSync(file)).toBe(false);
    });
  },
);
