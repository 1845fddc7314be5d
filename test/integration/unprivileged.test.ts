/** The command in the hands of an ordinary user: with subordinate ids everything works, without them what needs one id. */
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Account, makeAccount, processesOf } from '../support/account.ts';
import { busyboxDefinition } from '../support/busybox.ts';
import { readImage, validateLayout } from '../support/layout-validation.ts';
import { tool, umociUnpack } from '../support/other-tools.ts';
import { lacks } from '../support/requires.ts';
import { listTree } from '../support/tree-listing.ts';
import { installTsbuild, type Ran, run, succeed, type Tsbuild } from '../support/tsbuild.ts';

const OWNERS = busyboxDefinition(
  `runCommands('mkdir -p /srv/app && echo one > /srv/app/one && chown -R 1000:1001 /srv && chmod 4750 /srv/app/one',
    'echo two > /two && chown 65534:65534 /two && ln /two /also-two && mkfifo /pipe', 'id -u > /me')
  .runCommands('rm -r /srv/app && mkdir /srv/app && echo new > /srv/app/new && chown 33:33 /srv/app/new', 'touch -d @1000000000 /srv/app/new')
  .cmd(['/bin/sh', '-c', 'stat -c %u:%g:%a /two /srv/app/new /srv /me; cat /me'])`,
);
const OWNERS_OUTPUT = '65534:65534:644\n33:33:644\n1000:1001:755\n0:0:644\n0\n';
const ROOT_ONLY = busyboxDefinition(
  `runCommands('mkdir /a && echo one > /a/one && chown 0:0 /a/one && chmod 600 /a/one', 'rm -f /nothing')
  .runCommands('mv /a/one /a/two && id -u > /me').workdir('/a').cmd(['/bin/sh', '-c', 'cat /a/two /me'])`,
);

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'newuidmap', 'umoci', 'getfattr'))(
  'an ordinary user',
  () => {
    let directory: string;
    let installed: Tsbuild;
    const at = (...parts: string[]) => join(directory, ...parts);

    beforeAll(() => {
      directory = mkdtempSync(join(tmpdir(), 'tsbuild-user-'));
      chmodSync(directory, 0o755);
      installed = installTsbuild(at('package'));
      writeFileSync(at('owners.ts'), OWNERS);
      writeFileSync(at('root-only.ts'), ROOT_ONLY);
      writeFileSync(at('cached'), 'kept\n');
    });
    afterAll(() => rmSync(directory, { recursive: true, force: true }));

    /** Runs the command as an account whose store is in its home, or as root. */
    const runner = (account: Account | undefined, home: string) => ({
      setting: {
        tsbuild: installed,
        cwd: home,
        env: { TSBUILD_HOME: join(home, 'store'), HOME: home, TMPDIR: home },
        ...(account === undefined ? {} : { account }),
      },
      ok(...args: string[]): Promise<Ran> {
        return succeed(args, this.setting);
      },
      any(...args: string[]): Promise<Ran> {
        return run(args, this.setting);
      },
    });

    /** No process, no mount, nothing unfinished. */
    function expectNothingLeft(account: Account): void {
      expect(processesOf(account)).toEqual([]);
      expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(account.home);
      expect(readdirSync(join(account.home, 'store/tmp'))).toEqual([]);
      expect(readdirSync(account.home).filter((name) => !/^(store|out.*|\..*)$/.test(name))).toEqual([]);
    }

    describe('with subordinate ids', () => {
      let account: Account;
      beforeAll(() => {
        account = makeAccount({ subordinateIds: true });
      });
      afterAll(() => account?.[Symbol.dispose]());
      afterEach(() => expectNothingLeft(account));

      test('builds, runs and exports files of other owners; the layers are those that root builds', async () => {
        const mine = runner(account, account.home);
        const layout = join(account.home, 'out');
        const args = (dest: string) => [
          'build',
          at('owners.ts'),
          '-t',
          'owners',
          '-o',
          `type=oci,dest=${dest},tar=false,compression=gzip,rewrite-timestamp=true`,
        ];
        const epoch = { SOURCE_DATE_EPOCH: '1700000000' };
        await succeed(args(layout), { ...mine.setting, env: { ...mine.setting.env, ...epoch } });
        expect((await mine.ok('run', '-q', 'owners')).stdout).toBe(OWNERS_OUTPUT);
        await validateLayout(layout);

        const roots = runner(undefined, at('root'));
        await succeed(args(at('root-out')), {
          ...roots.setting,
          cwd: directory,
          env: { ...roots.setting.env, TMPDIR: directory, ...epoch },
        });
        expect(readImage(layout).config.rootfs.diff_ids).toEqual(
          readImage(at('root-out')).config.rootfs.diff_ids,
        );
        expect(readImage(layout).digest).toBe(readImage(at('root-out')).digest);
        const tree = listTree(umociUnpack(layout, 'owners', at('bundle'))).join('\n');
        expect(tree).toContain('srv/app/new 10:644 33:33 1000000000');
        expect(tree).toMatch(/^two 10:644 65534:65534 .* same as also-two$/m);
      });

      test('an exported directory belongs to the user, whoever owns the files in the image', async () => {
        const mine = runner(account, account.home);
        const tree = join(account.home, 'tree');
        await mine.ok('build', at('owners.ts'), '-q', '-o', `type=local,dest=${tree}`);
        const owner = statSync(account.home).uid;
        const found = readdirSync(tree, { recursive: true, encoding: 'utf8' });
        expect(found).toContain('srv/app/new');
        expect(
          found.map((name) => [name, lstatSync(join(tree, name)).uid]).filter(([, uid]) => uid !== owner),
        ).toEqual([]);
        rmSync(tree, { recursive: true });
      });

      test('a base with other owners is unpacked for them as for root', async () => {
        const mine = runner(account, account.home);
        const definition = join(account.home, '.based.ts');
        writeFileSync(
          definition,
          `import { Image } from 'tsbuild';\nexport default Image.fromOciLayout('${account.home}/out').runCommands('chown 5:6 /two');\n`,
        );
        const { stdout } = await mine.ok(
          'run',
          '-q',
          definition,
          '--',
          '/bin/sh',
          '-c',
          'stat -c %u:%g /two /srv',
        );
        expect(stdout).toBe('5:6\n1000:1001\n');
      });

      test('steps and containers run as any user of the image', async () => {
        const mine = runner(account, account.home);
        const { stdout } = await mine.ok(
          'run',
          '-q',
          '--user',
          '1234:55',
          'owners',
          '--',
          '/bin/sh',
          '-c',
          'id -u; id -g',
        );
        expect(stdout).toBe('1234\n55\n');
      });

      test('type=tar and type=docker hold the owners', async () => {
        const mine = runner(account, account.home);
        const tree = join(account.home, 'out.tar');
        await mine.ok(
          'build',
          at('owners.ts'),
          '-o',
          `type=tar,dest=${tree}`,
          '-o',
          `type=docker,dest=${account.home}/out-docker.tar`,
        );
        expect(tool('tar', ['--numeric-owner', '-tvf', tree])).toMatch(/33\/33 +4 .*srv\/app\/new/);
      });

      test('cache mounts are imported, listed, exported and removed, owners and all', async () => {
        const mine = runner(account, account.home);
        const archive = join(account.home, '.cache.tar');
        tool('tar', ['-C', directory, '--owner=33', '--group=34', '-cf', archive, 'cached']);
        chmodSync(archive, 0o644);
        await mine.ok('cache-mount', 'import', '/root/.npm', archive, '-q');
        const ids = async () => (await mine.ok('cache-mount', 'list', '-q')).stdout.split('\n');
        expect(await ids()).toContain('/root/.npm');
        expect((await mine.ok('cache-mount', 'list')).stdout).toMatch(/^\/root\/\.npm +5B +1 +/m);
        const exported = join(account.home, 'out-cache.tar.gz');
        await mine.ok('cache-mount', 'export', '/root/.npm', exported, '-q');
        expect(tool('tar', ['--numeric-owner', '-tvzf', exported])).toMatch(/33\/34 +5 .*cached/);
        expect(statSync(exported).uid).toBe(statSync(account.home).uid);
        await mine.ok('cache-mount', 'rm', '/root/.npm');
        expect(await ids()).not.toContain('/root/.npm');
        const again = await mine.any('cache-mount', 'rm', '/root/.npm');
        expect([again.status, again.stderr]).toEqual([
          2,
          expect.stringContaining("there is no cache mount '/root/.npm'"),
        ]);
      });

      test.each(['SIGINT', 'SIGKILL'] as const)(
        '%s in the middle of a step leaves nothing',
        async (signal) => {
          const mine = runner(account, account.home);
          const definition = join(account.home, '.endless.ts');
          writeFileSync(
            definition,
            busyboxDefinition(
              "runCommands('(sleep 300 &) ; setsid sleep 300 & echo begun-$((40 + 2)); sleep 300')",
            ),
          );
          const { status, stderr } = await run(['build', definition, '--progress=plain'], {
            ...mine.setting,
            signalAt: { text: 'begun-42', signal },
          });
          expect(status, stderr).toBe(signal === 'SIGINT' ? 130 : null);
          await expect.poll(() => processesOf(account), { timeout: 10_000 }).toEqual([]);
          // What SIGKILL left in tmp/ goes with the next command that builds.
          await mine.ok('run', '-q', 'owners');
        },
      );

      test('prune --all empties a store that rm could not', async () => {
        const mine = runner(account, account.home);
        await mine.ok('prune', '--all');
        const store = join(account.home, 'store');
        expect(readdirSync(join(store, 'snapshots'))).toEqual([]);
        expect(tool('find', [join(store, 'blobs'), '-type', 'f'])).toBe('');
        expect((await mine.ok('image', 'list', '-q')).stdout).toBe('');
        // Nothing of a subordinate id is left: the user can remove the rest without help.
        expect(tool('find', [store, '!', '-user', account.name])).toBe('');
        tool('setpriv', [
          `--reuid=${account.uid}`,
          `--regid=${account.gid}`,
          '--clear-groups',
          'rm',
          '-r',
          join(store, 'snapshots'),
        ]);
        tool('setpriv', [
          `--reuid=${account.uid}`,
          `--regid=${account.gid}`,
          '--clear-groups',
          'mkdir',
          join(store, 'snapshots'),
        ]);
      });

      test('clean --all empties a store that nobody else uses; volumes stay until they are named', async () => {
        const mine = runner(account, account.home);
        const store = join(account.home, 'store');
        await mine.ok('build', at('owners.ts'), '-t', 'owners');
        await mine.ok('volume', 'create', 'kept');
        const script = 'chown 5:5 /v; echo ready >&2; sleep 600';
        const inUse = Promise.withResolvers<Ran>();
        await run(['run', '-q', '--volume', 'kept:/v', 'owners', '--', '/bin/sh', '-c', script], {
          ...mine.setting,
          at: { text: 'ready', act: () => mine.any('clean', '--all').then(inUse.resolve, inUse.reject) },
          signalWhen: { happens: inUse.promise, signal: 'SIGTERM' },
        });
        const refused = await inUse.promise;
        expect(refused.status).toBe(2);
        expect(refused.stderr).toContain('E_STORE_IN_USE');
        await mine.ok('image', 'inspect', 'owners');

        const planned = JSON.parse((await mine.ok('clean', '--all', '--dry-run', '--json')).stdout);
        expect(planned.freedBytes).toBeGreaterThan(0);
        await mine.ok('image', 'inspect', 'owners');
        const { stdout } = await mine.ok('clean', '--all');
        expect(stdout).toMatch(/^images 1 /m);
        expect(stdout).toMatch(/^freed [1-9]/m);
        const files = ['-mindepth', '1', '-type', 'f', '-size', '+0', '!', '-name', 'meta.db*'];
        const left = () =>
          tool('find', [store, ...files, '-printf', '%P\n'])
            .trim()
            .split('\n')
            .sort();
        expect(left()).toEqual(['idmap.json', 'index.json', 'oci-layout']);
        expect(tool('stat', ['-c', '%u', join(store, 'volumes/main/kept')])).not.toBe(String(account.uid));
        await mine.ok('build', at('owners.ts'), '-t', 'owners');
        expect(
          (await mine.any('build', at('owners.ts'), '--isolation', 'single-id', '--ignore-cache')).stderr,
        ).toContain('E_STORE_MAP');

        await mine.ok('clean', '--all', '--volumes', '--yes');
        expect(left()).toEqual(['index.json', 'oci-layout']);
        expect(tool('find', [store, '!', '-user', account.name])).toBe('');
        // Nobody's ids are in it any more.
        await mine.ok('build', at('root-only.ts'), '--isolation', 'single-id');
        await mine.ok('clean', '--all', '--isolation', 'single-id');
      });

      test('doctor finds nothing wrong', async () => {
        const { stdout, status } = await runner(account, account.home).any('doctor');
        expect(status, stdout).toBe(0);
        expect(stdout).toMatch(/ok +subordinate ids/);
      });
    });

    describe('without subordinate ids', () => {
      let account: Account;
      beforeAll(() => {
        account = makeAccount({ subordinateIds: false });
        expect(account.subordinate).toBeUndefined();
      });
      afterAll(() => account?.[Symbol.dispose]());
      afterEach(() => expectNothingLeft(account));

      test('steps that are root alone build and run, with the layers that root builds', async () => {
        const mine = runner(account, account.home);
        const epoch = { SOURCE_DATE_EPOCH: '1700000000' };
        const args = (dest: string) => [
          'build',
          at('root-only.ts'),
          '-t',
          'alone',
          '-o',
          `type=oci,dest=${dest},tar=false,rewrite-timestamp=true`,
        ];
        await succeed(args(join(account.home, 'out')), {
          ...mine.setting,
          env: { ...mine.setting.env, ...epoch },
        });
        expect((await mine.ok('run', '-q', 'alone')).stdout).toBe('one\n0\n');
        await validateLayout(join(account.home, 'out'));
        const roots = runner(undefined, at('root'));
        await succeed(args(at('alone-root')), {
          ...roots.setting,
          cwd: directory,
          env: { ...roots.setting.env, TMPDIR: directory, ...epoch },
        });
        expect(readImage(join(account.home, 'out')).digest).toBe(readImage(at('alone-root')).digest);
      });

      test('steps that give files away build and run, with the layers that root builds', async () => {
        const epoch = { SOURCE_DATE_EPOCH: '1700000000' };
        const build = async (account: Account | undefined, home: string) => {
          const { setting } = runner(account, home);
          const output = `type=oci,dest=${home}/out-owners,tar=false,rewrite-timestamp=true`;
          await succeed(['build', at('owners.ts'), '-t', 'owners', '-o', output], {
            ...setting,
            env: { ...setting.env, ...epoch },
          });
          return readImage(join(home, 'out-owners')).digest;
        };
        mkdirSync(at('root/owners'), { recursive: true });
        expect(await build(account, account.home)).toBe(await build(undefined, at('root/owners')));
        const { stdout } = await runner(account, account.home).ok('run', '-q', 'owners');
        expect(stdout).toBe(OWNERS_OUTPUT);
      });

      test('a base with files of other owners is built on, with the layers that root builds', async () => {
        const build = async (account: Account | undefined, home: string) => {
          const definition = join(home, '.based.ts');
          writeFileSync(
            definition,
            `import { Image } from 'tsbuild';
export default Image.fromOciLayout('${at('root-out')}')
  .addLocalFile('${at('cached')}', '/srv/app/', { copy: true })
  .runCommands('echo more >> /srv/app/new; echo in > /srv/app/in', 'cat /two');
`,
          );
          const setting = { ...runner(account, home).setting, cwd: home };
          await succeed(
            ['build', definition, '-o', `type=oci,dest=${home}/out-based,tar=false,rewrite-timestamp=true`],
            { ...setting, env: { ...setting.env, SOURCE_DATE_EPOCH: '1700000000' } },
          );
          return readImage(join(home, 'out-based')).config.rootfs.diff_ids;
        };
        mkdirSync(at('root/home'), { recursive: true });
        expect(await build(account, account.home)).toEqual(await build(undefined, at('root/home')));
      });

      test('a cache mount has one owner, and its import says so', async () => {
        const mine = runner(account, account.home);
        const archive = join(account.home, '.cache.tar');
        tool('tar', ['-C', directory, '--owner=33', '--group=34', '-cf', archive, 'cached']);
        chmodSync(archive, 0o644);
        const { stderr } = await mine.ok('cache-mount', 'import', '/root/.npm', archive, '--progress=plain');
        expect(stderr).toContain('W_OWNERS_FLATTENED');
        await mine.ok('cache-mount', 'export', '/root/.npm', join(account.home, 'out.tar'), '-q');
        expect(tool('tar', ['--numeric-owner', '-tvf', join(account.home, 'out.tar')])).toMatch(/ 0\/0 /);
      });

      test('a container runs as another user', async () => {
        const script = 'id -u; touch /tmp-1234 && stat -c %u:%g /tmp-1234';
        const words = ['run', '-q', '--user', '1234', 'alone', '--', '/bin/sh', '-c', script];
        expect((await runner(account, account.home).ok(...words)).stdout).toBe('1234\n1234:0\n');
      });

      test('doctor says the command, and that builds work without', async () => {
        const { stdout, status } = await runner(account, account.home).any('doctor');
        expect(status, stdout).toBe(0);
        expect(stdout).toMatch(/missing +subordinate ids/);
        expect(stdout).toMatch(
          new RegExp(`fix: .*usermod --add-subuids [0-9-]+ --add-subgids [0-9-]+ ${account.name}`),
        );
        expect(stdout).toMatch(/missing +limits .*cannot be divided: it belongs to somebody else/);
        expect(stdout).toMatch(/fix: start it with `systemd-run --user --scope/);
      });
    });
  },
);
