/** `--cache-to` and `--cache-from` in the hands of root and of ordinary users, who share a cache. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Account, makeAccount } from '../support/account.ts';
import { busyboxDefinition } from '../support/busybox.ts';
import { startDockerRegistry } from '../support/docker-registry.ts';
import { lacks } from '../support/requires.ts';
import { installTsbuild, run, succeed, type Tsbuild } from '../support/tsbuild.ts';

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'newuidmap', 'docker-registry'))(
  'the cache options',
  () => {
    let directory: string;
    let installed: Tsbuild;
    let withIds: Account;
    let withoutIds: Account;
    const at = (...parts: string[]) => join(directory, ...parts);

    beforeAll(() => {
      directory = mkdtempSync(join(tmpdir(), 'tsbuild-cache-command-'));
      chmodSync(directory, 0o755);
      installed = installTsbuild(at('package'));
      withIds = makeAccount({ subordinateIds: true });
      withoutIds = makeAccount({ subordinateIds: false });
      writeFileSync(at('owners.ts'), definition('chown 12:34 /one'));
      writeFileSync(at('plain.ts'), definition('true'));
    });
    afterAll(() => {
      withIds?.[Symbol.dispose]();
      withoutIds?.[Symbol.dispose]();
      rmSync(directory, { recursive: true, force: true });
    });

    const definition = (command: string) =>
      busyboxDefinition(
        `runCommands('echo one > /one && ${command}').runCommands('cat /one > /two')
  .cmd(['/bin/sh', '-c', 'cat /two; stat -c %u:%g /one'])`,
      );
    const setting = (name: string, account?: Account) => {
      const home = account?.home ?? at(name);
      if (account === undefined) {
        mkdirSync(home, { recursive: true });
      }
      return {
        tsbuild: installed,
        cwd: home,
        env: { TSBUILD_HOME: join(home, `store-${name}`), HOME: home, TMPDIR: home },
        ...(account === undefined ? {} : { account }),
      };
    };

    test('what root built serves a user, and the other way round, by registry and by directory', async () => {
      await using registry = await startDockerRegistry();
      const ref = `type=registry,ref=${registry.host}/cache:1`;
      const build = (file: string, more: readonly string[]) => [
        'build',
        at(file),
        '--progress=json',
        ...more,
      ];
      const started = (stderr: string) => stderr.split('"kind":"vertex-started"').length - 1;
      const roots = await succeed(
        build('owners.ts', [
          '--cache-to',
          `${ref},mode=max`,
          '--cache-to',
          `type=local,dest=${at('shared')}`,
        ]),
        setting('root'),
      );
      expect(started(roots.stderr)).toBeGreaterThan(3);
      for (const [name, from] of [
        ['by-registry', ref],
        ['by-reference', `${registry.host}/cache:1`],
        ['by-directory', `type=local,src=${at('shared')}`],
      ] as const) {
        const mine = await succeed(build('owners.ts', ['--cache-from', from]), setting(name, withIds));
        expect(started(mine.stderr), mine.stderr).toBe(0);
        expect(mine.stdout).toBe(roots.stdout);
        const output = await succeed(['run', '-q', at('owners.ts')], setting(name, withIds));
        expect(output.stdout).toBe('one\n12:34\n');
      }
      const users = `type=local,dest=${join(withIds.home, 'cache')}`;
      const first = await succeed(build('plain.ts', ['--cache-to', users]), setting('writes', withIds));
      chmodSync(withIds.home, 0o755);
      const from = ['--cache-from', users.replace('dest=', 'src=')];
      for (const who of [setting('reads'), setting('reads', withoutIds)]) {
        const second = await succeed(build('plain.ts', from), who);
        expect(started(second.stderr), second.stderr).toBe(0);
        expect(second.stdout).toBe(first.stdout);
        expect((await succeed(['run', '-q', at('plain.ts')], who)).stdout).toBe('one\n0:0\n');
      }
    });

    test('BUILDKIT_INLINE_CACHE of a Dockerfile makes the image its own cache', async () => {
      await using registry = await startDockerRegistry();
      const ref = `${registry.host}/inline:1`;
      mkdirSync(at('context'));
      writeFileSync(at('context', 'Dockerfile'), 'FROM scratch\nCOPY Dockerfile /file\n');
      const build = (...more: string[]) => ['build', at('context'), '--progress=json', '-t', ref, ...more];
      const first = await succeed(
        build('--build-arg', 'BUILDKIT_INLINE_CACHE=1', '--push'),
        setting('inline'),
      );
      expect(first.stderr).not.toContain('"kind":"warning"');
      const again = await succeed(build('--cache-from', ref), setting('inline-again'));
      expect(again.stderr).not.toContain('"kind":"vertex-started"');
    });

    test('says what is wrong with an option, and what a cache lacks', async () => {
      const wrong = await run(['build', at('plain.ts'), '--cache-to', 'type=local,dset=x'], setting('wrong'));
      expect([wrong.status, wrong.stderr]).toEqual([2, expect.stringContaining("did you mean 'dest'?")]);
      const missing = await run(
        ['build', at('plain.ts'), '--cache-from', `type=local,src=${at('nowhere')}`],
        setting('missing'),
      );
      expect([missing.status, missing.stderr]).toEqual([0, expect.stringContaining('cannot use the cache')]);
      expect(readdirSync(directory)).not.toContain('nowhere');
    });
  },
);
