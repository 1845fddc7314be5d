/** What each isolation does in containers of others, as root there and as somebody else. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { HostCheck } from '../../src/executor/probe.ts';
import { PROFILE, runNested, type Surroundings } from '../support/nested.ts';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, type Stage, stage } from '../support/unprivileged-user.ts';

interface Tried {
  readonly isolation?: string;
  readonly idMode?: string;
  readonly snapshotter?: string;
  readonly notes?: readonly string[];
  readonly lines: readonly string[];
  readonly code?: string;
  readonly hint?: string;
}

interface Report {
  readonly results: Readonly<Record<string, Tried>>;
  readonly checks: Readonly<Record<string, HostCheck>>;
}

const ADMIN = ['CAP_SYS_ADMIN'];
const seccompFix = expect.stringContaining('--security-opt seccomp=unconfined');
const procFix = expect.stringContaining('systempaths=unconfined');
const refused = { code: 'E_ISOLATION', hint: seccompFix };
const masked = { code: 'E_ISOLATION', hint: procFix };
const root = ['bin', 'dev', 'etc', 'made', 'proc', 'root', 'run', 'sys', 'tmp', 'usr', 'var'];
/** What the step of the scenario says: it is root, knows itself, and gives files away. */
const ran = (self: unknown) => [
  '0',
  self,
  'in-shm',
  // Given away, or recorded to be.
  '7',
  'safe',
  `${root.join(' ')} `,
];
/** The launcher's child is 5 or so where a pid namespace begins with the step; 30 and more where it is the container's. */
const ownPids = expect.stringMatching(/^\d$/);
const othersPids = expect.stringMatching(/^\d{2,}$/);

describe.skipIf(lacks('busybox', 'bwrap', 'runc', 'newuidmap', 'setcap', 'podman') || !canMakeUsers())(
  'in a container',
  () => {
    let asRoot: Stage;
    let asUser: Stage;
    let user: { readonly uid: number; readonly gid: number };
    beforeAll(() => {
      expect(existsSync(PROFILE), 'the profile that podman brings').toBe(true);
      asRoot = stage('root');
      chmodSync(asRoot.dir, 0o755);
      asUser = stage('with-ids');
      const id = (kind: string) =>
        Number(execFileSync('stat', ['-c', kind, asUser.dir], { encoding: 'utf8' }));
      user = { uid: id('%u'), gid: id('%u') };
    });
    afterAll(() => {
      asRoot?.remove();
      asUser?.remove();
    });

    let count = 0;
    async function report(
      who: 'root' | 'user',
      surroundings: Omit<Surroundings, 'writable' | 'env' | 'user'>,
      isolations: readonly string[],
      setting: { readonly path?: string; readonly home?: string } = {},
    ): Promise<Report> {
      const where = who === 'root' ? asRoot : asUser;
      count += 1;
      const home = setting.home ?? join(where.dir, `home-${count}`);
      const [program, argv] = where.command('test/support/nested-scenario.ts', home, ...isolations);
      const words = [program, ...argv];
      const { status, stdout, stderr } = await runNested(
        // The container is the user's from the beginning.
        who === 'root' ? words : words.slice(words.indexOf('--') + 1),
        {
          ...surroundings,
          ...(who === 'root' ? {} : { user }),
          writable: where.dir,
          env: {
            PATH: `${setting.path === undefined ? '' : `${setting.path}:`}${process.env.PATH}`,
            HOME: where.dir,
            TMPDIR: where.dir,
          },
        },
      );
      expect(status, stderr).toBe(0);
      return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Report;
    }

    test.each(['root', 'user'] as const)(
      "with Docker's filter, as %s, it is said what is missing",
      async (who) => {
        const { results, checks } = await report(who, { seccomp: 'docker' }, [
          'auto',
          'privileged',
          'subordinate-ids',
          'single-id',
          'chroot',
        ]);
        expect(results).toMatchObject({
          auto: { code: 'E_USERNS', hint: seccompFix },
          privileged: {
            code: 'E_ISOLATION',
            hint: expect.stringContaining(who === 'root' ? '--cap-add SYS_ADMIN' : '--isolation auto'),
          },
          'subordinate-ids': refused,
          'single-id': refused,
          chroot: refused,
        });
        expect(checks.isolation).toMatchObject({ ok: false, required: true, fix: seccompFix });
        expect(checks.chroot).toMatchObject({ ok: false, fix: seccompFix });
      },
    );

    test("with podman's filter root has all its ids, and a masked /proc costs the pid namespace", async () => {
      const { results, checks } = await report('root', { seccomp: 'podman' }, ['auto', 'subordinate-ids']);
      expect(results).toMatchObject({
        auto: {
          isolation: 'chroot',
          idMode: 'multi',
          snapshotter: 'overlay',
          lines: ran(othersPids),
          notes: expect.arrayContaining([procFix]),
        },
        'subordinate-ids': masked,
      });
      expect(checks.isolation).toMatchObject({ ok: true, detail: expect.stringMatching(/^chroot .*masks/) });
      expect(checks['subordinate ids']).toMatchObject({ ok: false, fix: procFix });
      expect(checks.chroot).toMatchObject({ ok: true });
    });

    test('nor a mask: a pid namespace, and layers that are copied on an overlay', async () => {
      const overlay = join(asRoot.dir, 'overlay');
      const { results } = await report('root', { unmasked: true, overlay }, ['auto', 'single-id'], {
        home: overlay,
      });
      expect(results).toMatchObject({
        auto: {
          isolation: 'subordinate-ids',
          idMode: 'multi',
          snapshotter: 'copy',
          lines: ran(ownPids),
          notes: expect.arrayContaining([expect.stringContaining('layers are copied')]),
        },
        'single-id': { isolation: 'single-id', lines: ran(ownPids) },
      });
    });

    test('a user needs file capabilities on newuidmap for more than one id', async () => {
      const { results, checks } = await report('user', { unmasked: true }, ['auto', 'subordinate-ids']);
      expect(results).toMatchObject({
        auto: { isolation: 'single-id', lines: ran(ownPids) },
        'subordinate-ids': { code: 'E_ISOLATION' },
      });
      expect(checks['subordinate ids']).toMatchObject({
        ok: false,
        fix: expect.stringContaining('setcap cap_setuid=ep'),
      });
      const path = join(asUser.dir, 'bin');
      execFileSync('mkdir', [path]);
      for (const [name, capability] of [
        ['newuidmap', 'cap_setuid=ep'],
        ['newgidmap', 'cap_setgid=ep'],
      ] as const) {
        execFileSync('install', ['-m', '755', `/usr/bin/${name}`, join(path, name)]);
        execFileSync('setcap', [capability, join(path, name)]);
      }
      const mended = await report('user', { unmasked: true }, ['auto'], { path });
      expect(mended.results).toMatchObject({
        auto: { isolation: 'subordinate-ids', lines: ran(ownPids) },
      });
      const bound = await report('user', { unmasked: true, noNewPrivileges: true }, ['auto'], { path });
      expect(bound.results).toMatchObject({ auto: { isolation: 'single-id' } });
      expect(bound.checks['subordinate ids']).toMatchObject({
        fix: expect.stringContaining('allowPrivilegeEscalation'),
      });
    });

    test("with CAP_SYS_ADMIN, Docker's filter still forbids what bubblewrap does", async () => {
      const { results, checks } = await report('root', { seccomp: 'docker', capabilities: ADMIN }, [
        'auto',
        'privileged',
      ]);
      expect(results).toMatchObject({
        auto: {
          isolation: 'chroot',
          idMode: 'root',
          lines: ran(othersPids),
          notes: [expect.stringContaining('pivot_root')],
        },
        privileged: { code: 'E_SANDBOX_MISSING', hint: expect.stringContaining('--isolation chroot') },
      });
      expect(checks.isolation).toMatchObject({
        ok: true,
        detail: expect.stringMatching(/^chroot .*pivot_root/),
      });
      expect(checks.bubblewrap).toMatchObject({ ok: false, required: false });
    });

    test('the same where root of the container is nobody outside', async () => {
      const FIRST_ID = 700_000_000;
      execFileSync('chown', ['-R', String(FIRST_ID), asRoot.dir]);
      try {
        const { results } = await report(
          'root',
          { seccomp: 'docker', capabilities: ADMIN, firstId: FIRST_ID },
          ['auto'],
        );
        expect(results).toMatchObject({
          auto: { isolation: 'chroot', idMode: 'multi', snapshotter: 'overlay', lines: ran(othersPids) },
        });
      } finally {
        execFileSync('chown', ['-R', '0', asRoot.dir]);
      }
    });

    test('trees are bound read-only on kernels before 5.12 too', async () => {
      const { results } = await report('root', { seccomp: 'old-kernel', capabilities: ADMIN }, ['chroot']);
      expect(results).toMatchObject({ chroot: { isolation: 'chroot', lines: ran(othersPids) } });
    });
  },
);
