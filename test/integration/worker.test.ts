/** One worker as root, as a user with subordinate ids and as one without, on both snapshot drivers. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, runJson, type Stage, stage } from '../support/unprivileged-user.ts';

interface Done {
  readonly lines: string[];
  readonly empty?: boolean;
  readonly existed?: boolean;
  readonly error?: Record<string, unknown>;
}

// biome-ignore lint/suspicious/noExplicitAny: the scenario's JSON, asserted on below.
type Results = Record<string, any> & Record<'facts' | 'status' | 'user', Done>;

const MODES = { root: 'root', 'with-ids': 'multi', 'without-ids': 'single' } as const;
const ISOLATIONS = { root: 'privileged', 'with-ids': 'subordinate-ids', 'without-ids': 'single-id' } as const;
const cases = [
  ...(['root', 'with-ids', 'without-ids'] as const).flatMap((user) =>
    (['overlay', 'copy'] as const).map((snapshotter) => ({ user, snapshotter, isolation: 'auto' })),
  ),
  { user: 'root', snapshotter: 'copy', isolation: 'chroot' },
  { user: 'without-ids', snapshotter: 'overlay', isolation: 'chroot' },
] as const;

describe.runIf(canMakeUsers() && !lacks('busybox')).each(cases)(
  'as $user, by $snapshotter, isolation $isolation',
  ({ user, snapshotter, isolation }) => {
    let where: Stage;
    let results: Results;
    beforeAll(async () => {
      where = stage(user);
      results = (await runJson(
        where,
        'test/support/worker-scenario.ts',
        join(where.dir, 'store'),
        snapshotter,
        isolation,
      )) as Results;
    }, 120_000);
    afterAll(() => where.remove());

    test('says what it is', () => {
      expect(results.hello).toMatchObject({
        isolation: isolation === 'auto' ? ISOLATIONS[user] : isolation,
        idMode: MODES[user],
        snapshotter,
      });
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

    test('runs as a user of the image', () => {
      expect(results.user.lines).toEqual([
        'stdout: 1000',
        'stdout: 1000 2000 2001',
        'stdout: /home/app',
        'stdout: hi',
      ]);
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

const CANCELLED = 'nobody, but cancelled';
// With a pid namespace the kernel ends what is in it.
const some = ['front', 'sandbox'] as const;
const all = ['front', 'launcher', 'worker', 'sandbox', CANCELLED] as const;
const killings = [
  { user: 'root', isolation: 'auto', victims: some },
  { user: 'with-ids', isolation: 'auto', victims: some },
  { user: 'without-ids', isolation: 'auto', victims: some },
  { user: 'root', isolation: 'chroot', victims: all },
  { user: 'with-ids', isolation: 'chroot', victims: all },
] as const;

describe.runIf(canMakeUsers() && !lacks('busybox')).each(killings)(
  'as $user, isolation $isolation',
  ({ user, isolation, victims }) => {
    let where: Stage;
    beforeAll(() => {
      where = stage(user);
    });
    afterAll(() => where?.remove());

    test.each<(typeof all)[number]>(victims)(
      'killed: %s. Whatever the step has started ends, and no mount is left',
      async (victim) => {
        const store = join(where.dir, 'store');
        const marker = String(700_000 + Math.floor(Math.random() * 99_999));
        const [program, argv] = where.command('test/support/worker-sleep.ts', store, marker, isolation);
        const child = spawn(program, argv, { cwd: where.dir, stdio: ['ignore', 'pipe', 'inherit'] });
        const closed = new Promise((resolve) => child.once('close', resolve));
        const said = linesOf(child.stdout);
        try {
          const front = Number(await said());
          const launcher = childrenOf(front)[0] ?? 0;
          const [first = 0] = childrenOf(launcher);
          // Between them is pid 1 of the worker's namespace, where that has one.
          const worker = isolation === 'chroot' ? first : (childrenOf(first)[0] ?? 0);
          const [sandbox = 0] = childrenOf(worker);
          // The program, what it started, and two of a daemon.
          await expect.poll(() => sleeping(marker)).toBe(4);
          if (victim === CANCELLED) {
            process.kill(front, 'SIGTERM');
          } else {
            process.kill({ front, launcher, worker, sandbox }[victim], 'SIGKILL');
          }
          await expect.poll(() => sleeping(marker), { timeout: 5000 }).toBe(0);
          if (victim === CANCELLED || victim === 'sandbox') {
            expect(await said()).toMatch(victim === CANCELLED ? /cancelled/ : /./);
            expect(readFileSync(`/proc/${worker}/mountinfo`, 'utf8')).not.toContain('-step/root');
          }
          if (victim !== 'front') {
            process.kill(front, 'SIGKILL');
          }
        } catch (error) {
          child.kill('SIGKILL');
          throw error;
        }
        await closed;
        await expect.poll(() => commandsWith(store), { timeout: 5000 }).toEqual([]);
        expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(where.dir);
      },
      20_000,
    );

    test('the next worker sweeps what is left', async () => {
      const [program, argv] = where.command(
        'test/support/worker-sleep.ts',
        join(where.dir, 'store'),
        '1',
        isolation,
      );
      const child = spawn(program, argv, { cwd: where.dir, stdio: ['ignore', 'pipe', 'inherit'] });
      const front = Number(await linesOf(child.stdout)());
      expect(
        readdirSync(join(where.dir, 'store/tmp')).filter((name) => !name.endsWith('.lock')),
      ).toHaveLength(1);
      process.kill(front, 'SIGKILL');
      await new Promise((resolve) => child.once('close', resolve));
    });
  },
);

function linesOf(stream: Readable): () => Promise<string> {
  const lines = createInterface(stream)[Symbol.asyncIterator]();
  return async () => String((await lines.next()).value);
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}

function sleeping(marker: string): number {
  return commandsWith(`sleep\0${marker}\0`).length;
}

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
