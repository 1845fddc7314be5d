/** One worker as root, as a user with subordinate ids and as one without, on both snapshot drivers. */
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, runJson, type Stage, stage, type TestUser } from '../support/unprivileged-user.ts';

interface Done {
  readonly lines: string[];
  readonly empty?: boolean;
  readonly existed?: boolean;
  readonly error?: Record<string, unknown>;
}

// biome-ignore lint/suspicious/noExplicitAny: the scenario's JSON, asserted on below.
type Results = Record<string, any> & Record<'facts' | 'status' | 'user', Done>;

const MODES = { root: 'root', 'with-ids': 'multi', 'without-ids': 'single' } as const;
const cases = (['root', 'with-ids', 'without-ids'] as const).flatMap((user) =>
  (['overlay', 'copy'] as const).map((snapshotter) => ({ user, snapshotter })),
);

describe.runIf(canMakeUsers() && !lacks('busybox')).each(cases)(
  'as $user, by $snapshotter',
  ({ user, snapshotter }) => {
    let where: Stage;
    let results: Results;
    beforeAll(async () => {
      where = stage(user);
      results = (await runJson(
        where,
        'test/support/worker-scenario.ts',
        join(where.dir, 'store'),
        snapshotter,
      )) as Results;
    }, 120_000);
    afterAll(() => where.remove());

    test('says what it is', () => {
      expect(results.hello).toMatchObject({ idMode: MODES[user], snapshotter });
    });

    test('a step that writes nothing leaves nothing', () => {
      expect(results.nothing).toMatchObject({ existed: false, empty: true });
      expect(results.nothingFiles).toEqual([]);
      expect(results.again).toMatchObject({ existed: true });
      expect(results.cacheEmpty).toEqual([]);
      expect(results.tmpfs).toEqual({ lines: ['stdout: 1'], existed: false, empty: true });
    });

    test('sees its own environment and what is lent', () => {
      // The two streams come in no order between them.
      expect(
        results.facts.lines.toSorted(
          (a, b) => Number(a.startsWith('stderr')) - Number(b.startsWith('stderr')),
        ),
      ).toEqual([
        'stdout: 0',
        'stdout: 0022',
        'stdout: build',
        'stdout: /made/here',
        'stdout: /root',
        'stdout: yes 1 mine /run/tsbuild/ca-certificates.crt',
        'stdout: /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        'stdout: /proc/self/fd',
        'stdout: x',
        expect.stringMatching(/^stdout: CapBnd:\s+00000000a80425fb$/),
        'stdout: ro',
        'stdout: -----BEGIN CERTIFICATE-----',
        'stdout: 0',
        'stderr: e',
      ]);
    });

    test('runs as a user of the image, or says what is missing', () => {
      if (user === 'without-ids') {
        expect(results.user.error).toMatchObject({
          name: 'HostError',
          code: 'E_SUBUID_MISSING',
          hint: expect.stringContaining('usermod --add-subuids'),
        });
      } else {
        expect(results.user.lines).toEqual([
          'stdout: 1000',
          'stdout: 1000 2000 2001',
          'stdout: /home/app',
          'stdout: hi',
        ]);
      }
    });

    test('tells status, signal, time limit, cancellation and a missing program apart', () => {
      expect(results.status.error).toMatchObject({
        code: 'E_BUILD_FAILED',
        reason: 'exit',
        exitCode: 7,
        logTail: 'out\nlast',
      });
      expect(results.signal.error).toMatchObject({ code: 'E_BUILD_SIGNAL', signal: 'SIGSEGV' });
      expect(results.timeout.error).toMatchObject({ code: 'E_BUILD_TIMEOUT', reason: 'timeout' });
      expect(results.notFound.error).toMatchObject({ code: 'E_STEP_NOT_STARTED', reason: 'not-started' });
      expect(results.notExecutable.error).toMatchObject({ code: 'E_STEP_NOT_STARTED' });
      expect(results.cancelled.error).toMatchObject({ name: 'Error', message: 'stop' });
      expect(results.missing.error).toMatchObject({ code: 'E_FILE_NOT_FOUND' });
    });

    test('a daemon that a step leaves is gone', () => {
      expect(results.daemon).toMatchObject({ existed: false, empty: false });
    });

    test('without network there is only lo, and it is up', () => {
      expect(results.noNetwork.lines).toEqual(['stdout: 1', 'stdout: 1']);
    });

    test('secrets are masked and gone in the next step', () => {
      expect(results.secret.lines).toEqual([
        'stdout: hunte',
        'stdout: ***-***one',
        'stdout: unset',
        'stdout: ls: /run/secrets: No such file or directory',
      ]);
      expect(results.secretLog).toContain('***-***one');
      expect(results.secretLog).not.toContain('hunter2');
    });

    test('caches, binds and copies', () => {
      expect(results.cacheRead.lines).toEqual(['stdout: kept']);
      expect(results.bind.lines).toEqual([
        'stdout: root:x:0:0:root:/root:/bin/sh',
        'stdout: touch: /other/x: Read-only file system',
      ]);
      expect(results.copyFrom.lines.filter((line: string) => line.includes('passwd'))).toHaveLength(2);
      expect(results.opaque.lines).toEqual(['stdout: 0']);
      expect(results.exists).toEqual([{ exists: true }, { exists: false }]);
      expect(Buffer.from(results.read.base64, 'base64').toString()).toContain('app:x:1000');
    });

    test('output is complete in the log', () => {
      expect(results.big).toBe(246_890);
      expect(results.bigLog).toBe(3005);
    });

    test('leaves nothing in tmp', () => {
      expect(results.tmp).toEqual([]);
    });
  },
);

describe.runIf(canMakeUsers() && !lacks('busybox')).each(['root', 'with-ids', 'without-ids'] as TestUser[])(
  'as %s',
  (user) => {
    test('SIGKILL of the front kills everything and leaves no mount', async () => {
      const where = stage(user);
      try {
        const marker = String(700_000 + Math.floor(Math.random() * 99_999));
        mkdirSync(join(where.dir, 'x'), { recursive: true });
        const [program, argv] = where.command(
          'test/support/worker-sleep.ts',
          join(where.dir, 'store'),
          marker,
        );
        const child = spawn(program, argv, { cwd: where.dir, stdio: ['ignore', 'pipe', 'inherit'] });
        const front = Number(
          await new Promise<string>((resolve) =>
            child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString())),
          ),
        );
        expect(commandsWith(marker).length).toBeGreaterThan(0);
        process.kill(front, 'SIGKILL');
        await new Promise((resolve) => child.once('close', resolve));
        await expect
          .poll(() => commandsWith(where.dir).concat(commandsWith(marker)), { timeout: 5000 })
          .toEqual([]);
        expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(where.dir);
        // The next worker sweeps what is left.
        const results = (await runJson(
          where,
          'test/support/worker-scenario.ts',
          join(where.dir, 'store'),
          'auto',
        )) as Results;
        expect(results.tmp).toEqual([]);
      } finally {
        where.remove();
      }
    }, 60_000);
  },
);

/** Command lines of living processes that hold the text; not ours. */
function commandsWith(text: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, 'utf8')];
      } catch {
        return [];
      }
    })
    .filter((line) => line.includes(text));
}
