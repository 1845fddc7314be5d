/** Limits of steps: by the control groups of this machine, and by version 2 as an ordinary user in a kernel that was booted for it. */
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, runJson, type Stage, stage } from '../support/unprivileged-user.ts';

// biome-ignore lint/suspicious/noExplicitAny: the scenarios' JSON, asserted on below.
type Results = Record<string, any>;

const MEMORY = { code: 'E_BUILD_MEMORY', reason: 'memory', hint: expect.stringContaining('--memory') };
const QUOTA = { 1: '50000', 2: '50000 100000' };

function expectLimits(results: Results, version: 1 | 2): void {
  expect(results).toMatchObject({
    version,
    // Two processes are ours.
    shown: [QUOTA[version], String(64 * 1024 ** 2), '12'],
    step: MEMORY,
    container: MEMORY,
    processes: { code: 'E_BUILD_FAILED', hint: expect.stringContaining('10 processes') },
    daemon: 'passed',
    key: { same: true, cached: true },
    warnings: [],
  });
  expect({ moved: results.moved, left: results.left }).toEqual({ moved: [], left: [] });
}

function expectNone(results: Results): void {
  expect(results).toEqual({
    ran: 'ran',
    warnings: [
      expect.stringMatching(/^no limit of memory, pids is kept: .*somebody else.*systemd-run --user --scope/),
    ],
    required: { code: 'E_LIMITS', hint: expect.stringContaining('systemd-run') },
  });
}

describe.runIf(canMakeUsers() && !lacks('busybox', 'bwrap'))('limits', () => {
  const stages: Stage[] = [];
  const staged = (user: 'root' | 'without-ids') => {
    const where = stage(user);
    stages.push(where);
    return where;
  };
  afterAll(() => {
    for (const where of stages) {
      where.remove();
    }
  });

  test.skipIf(lacks('cgroups'))(
    'are kept by the control groups of this machine',
    { timeout: 60_000 },
    async () => {
      const where = staged('root');
      const results = (await runJson(
        where,
        'test/support/limits-scenario.ts',
        join(where.dir, 'store'),
      )) as Results;
      expectLimits(results, results.version);
    },
  );

  test('without a control group of the user they are warned about once, or required', {
    timeout: 60_000,
  }, async () => {
    const where = staged('without-ids');
    expectNone(
      (await runJson(where, 'test/support/limits-without-scenario.ts', join(where.dir, 'store'))) as Results,
    );
  });

  describe.skipIf(lacks('user-mode-linux'))(
    'of an ordinary user to whom a group of version 2 was given',
    () => {
      let scripts: string;
      const found = (name: string) => {
        const out = readFileSync(join(scripts, `${name}.sh.out`), 'utf8');
        if (out === '') {
          throw new Error(readFileSync(join(scripts, `${name}.sh.err`), 'utf8'));
        }
        return JSON.parse(out.trim().split('\n').at(-1) ?? '') as Results;
      };

      beforeAll(async () => {
        const where = staged('without-ids');
        scripts = join(where.dir, 'scripts');
        mkdirSync(scripts);
        const script = (file: string, before = '') => {
          const [program, argv] = where.command(file, '/mnt/home/store');
          return `${before}exec ${[program, ...argv].map((word) => `'${word}'`).join(' ')}\n`;
        };
        writeFileSync(join(scripts, '1-alone.sh'), script('test/support/limits-scenario.ts'));
        writeFileSync(
          join(scripts, '2-stranger.sh'),
          script('test/support/limits-without-scenario.ts', 'setsid sleep 1000 &\n'),
        );
        const init = join(where.dir, 'init');
        writeFileSync(init, readFileSync(join(import.meta.dirname, '../support/cgroup2-machine.sh')));
        chmodSync(init, 0o755);
        const words = [
          'mem=1G',
          'root=/dev/root',
          'rootfstype=hostfs',
          'rootflags=/',
          'rw',
          'con=null',
          'con0=null,null',
          `init=${init}`,
          `TSBUILD_UID=${statSync(where.dir).uid}`,
          `TSBUILD_SCRIPTS=${scripts}`,
        ];
        // It ends with an error when it halts.
        await promisify(execFile)('linux.uml', words, { timeout: 100_000 }).catch(() => undefined);
      }, 110_000);

      test('they are kept in groups below it, into whose leaf all that lived in it has moved meanwhile', () => {
        expectLimits(found('1-alone'), 2);
        expect(readFileSync(join(scripts, '1-alone.sh.groups'), 'utf8')).toBe('');
      });

      test('a group in which a stranger lives is left as it is', () => {
        const results = found('2-stranger');
        expect(results).toMatchObject({ ran: 'ran', required: { code: 'E_LIMITS' } });
        expect(results.warnings).toEqual([
          expect.stringMatching(/^no limit of memory, pids is kept: .*other programs live in it/),
        ]);
        expect(readFileSync(join(scripts, '2-stranger.sh.groups'), 'utf8')).toBe('');
      });
    },
  );
});
