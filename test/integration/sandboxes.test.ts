/** bubblewrap, runc and crun keep the same promises; where they differ is said here. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, runJson, type Stage, stage } from '../support/unprivileged-user.ts';
import { SHELL_STAGE, Workbench } from '../support/workbench.ts';

interface Ran {
  readonly lines: readonly string[];
  readonly error?: { readonly code: string; readonly message: string; readonly hint?: string };
  readonly notes: readonly string[];
}

type Results = Readonly<Record<string, Readonly<Record<string, Ran>>>>;

const SANDBOXES = ['bubblewrap', 'runc', 'crun'] as const;
/** Those that Docker gives. */
const CAP_SYS_ADMIN = 1n << 21n;
const DEFAULT_SET = '00000000a80425fb';

describe
  .runIf(canMakeUsers() && !lacks('busybox', 'bwrap', 'runc', 'crun', 'newuidmap'))
  .each(['root', 'with-ids'] as const)('sandboxes, as %s', (user) => {
  let where: Stage;
  let results: Results;

  beforeAll(async () => {
    where = stage(user);
    const store = join(where.dir, 'store');
    results = (await runJson(
      where,
      'test/support/sandbox-scenario.ts',
      store,
      ...SANDBOXES,
      'auto',
    )) as Results;
  }, 120_000);
  afterAll(() => where.remove());

  describe.each(SANDBOXES)('%s', (sandbox) => {
    const ran = (name: string) => results[sandbox]?.[name] as Ran;
    const lines = (name: string) => ran(name).lines;
    const plain = sandbox === 'bubblewrap';

    test('set-user-ID programs have their effect, or the error says where they would', () => {
      if (plain) {
        expect(ran('setUserId').error).toMatchObject({
          code: 'E_BUILD_FAILED',
          hint: expect.stringContaining('--sandbox runc'),
        });
      } else {
        expect(ran('setUserId')).toMatchObject({ lines: ['0', '0'] });
      }
    });

    test('root has the default capabilities, another user none', () => {
      const caps = (held: string) => [
        'CapInh: 0000000000000000',
        `CapPrm: ${held}`,
        `CapEff: ${held}`,
        `CapBnd: ${DEFAULT_SET}`,
        'CapAmb: 0000000000000000',
      ];
      expect(lines('privileges')).toEqual([`NoNewPrivs: ${plain ? 1 : 0}`, ...caps(DEFAULT_SET)]);
      expect(lines('privilegesOfUser')).toEqual(['Groups: 1000 2000 2001 ', ...caps('0000000000000000')]);
    });

    test('pid 1 has given up what it needed to mount before the step begins', () => {
      const sets = lines('privilegesOfSupervisor').map((line) => BigInt(`0x${line.split(/\s+/)[1]}`));
      expect(sets).toHaveLength(5);
      expect(sets.filter((set) => (set & CAP_SYS_ADMIN) !== 0n)).toEqual([]);
    });

    test('without a network there is still a loopback device that is up', () => {
      expect(lines('loopback')).toEqual(['1', '1', '1']);
    });

    test('only its own devices can be opened, and descriptors of ours are closed', () => {
      expect(lines('devices')).toEqual([
        'core',
        'fd',
        'full',
        'null',
        'ptmx',
        'pts',
        'random',
        'shm',
        'stderr',
        'stdin',
        'stdout',
        'tty',
        'urandom',
        'zero',
        '755 directory',
        '1777 directory',
        '755 directory',
        '2',
        'in',
        '/proc/self/fd',
        'pts/ptmx',
      ]);
      expect(lines('descriptors')).toEqual(['4', 'closed']);
    });

    test('control groups and the kernel are out of reach', () => {
      expect(lines('groups')).toEqual(results.bubblewrap?.groups?.lines);
      expect(lines('groups').join()).not.toContain('MADE');
      expect(lines('kernel').slice(0, 2)).toEqual(['0', '0']);
      expect(lines('kernel').join()).not.toContain('CHANGED');
      expect(lines('kernel')).toContain("mkdir: can't create directory '/sys/x': Read-only file system");
    });

    test('name, processes, directory, umask and environment are the same everywhere', () => {
      expect(lines('names')).toEqual([
        'build',
        '/run/tsbuild/launcher step ',
        '/',
        '0022',
        'SHLVL=1',
        'HOME=/root',
        'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        'PWD=/',
      ]);
    });

    test('says how the step ended, and loses no output', () => {
      expect(ran('status').error?.message).toBe('the step ended with status 7');
      expect(ran('signal').error?.message).toBe('the step was ended by SIGSEGV');
      expect(ran('missing').error).toMatchObject({ code: 'E_STEP_NOT_STARTED' });
      expect(ran('timeout').error).toMatchObject({ code: 'E_BUILD_TIMEOUT' });
      expect(results[sandbox]?.many).toEqual([4000, 'line 3999 of a lot of output']);
    });

    test('nothing is left of a step: over, cancelled at any instant, or without its runtime', () => {
      const all = results[sandbox] as Readonly<Record<string, unknown>>;
      expect(ran('left').lines).toEqual(['over']);
      expect(all.daemons).toBe(0);
      expect(all.cancelled).toEqual(Array.from({ length: 7 }, () => 'enough'));
      expect(all.afterCancel).toBe(0);
      if (!plain) {
        expect(all.killed).toMatchObject({
          code: 'E_SANDBOX_MISSING',
          message: `${sandbox} failed: SIGKILL`,
        });
        expect(all.afterKill).toBe(0);
      }
      expect(all.leftovers).toEqual([]);
    });

    test('the log says so when it is not bubblewrap', () => {
      expect(ran('status').notes).toEqual(plain ? [] : [`the sandbox is ${sandbox}: it was asked for`]);
    });
  });

  test('left to itself, a step runs in runc when bubblewrap cannot give what it needs', () => {
    const { plain, sudo, sudoAsRoot, insecure } = results.auto ?? {};
    expect(plain).toEqual({ lines: ['NoNewPrivs: 1'], notes: [] });
    expect(sudo).toEqual({
      lines: ['NoNewPrivs: 0'],
      notes: ["the sandbox is runc: user 'app' may become root by /usr/bin/sudo"],
    });
    expect(sudoAsRoot).toEqual({ lines: ['NoNewPrivs: 1'], notes: [] });
    expect(insecure).toEqual({
      lines: ['NoNewPrivs: 0'],
      notes: ['the sandbox is runc: the step is insecure'],
    });
  });
});

describe.skipIf(lacks('busybox', 'bwrap', 'runc', 'crun', 'root'))('--sandbox', () => {
  let bench: Workbench;
  /** Set-user-ID programs are without effect where this is 1. */
  const SAYS = 'RUN echo said $(grep NoNewPrivs /proc/self/status)\n';

  beforeAll(() => {
    bench = new Workbench();
    bench.context('app', { Dockerfile: `${SHELL_STAGE}FROM sh\n${SAYS}` });
    bench.context('sleep', { Dockerfile: `${SHELL_STAGE}FROM sh\nRUN echo up; sleep 6543217\n` });
  });
  afterAll(() => bench[Symbol.dispose]());

  test('is in no key, and stands over TSBUILD_SANDBOX, which stands over auto', async () => {
    const said = async (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
      (await bench.build(['--no-cache', ...args, 'app'], { env })).stderr.match(/said NoNewPrivs: (\d)/)?.[1];
    expect(await said([])).toBe('1');
    expect(await said([], { TSBUILD_SANDBOX: 'runc' })).toBe('0');
    expect(await said(['--sandbox=bubblewrap'], { TSBUILD_SANDBOX: 'runc' })).toBe('1');
    expect(await said(['--sandbox', 'crun'])).toBe('0');
    const again = await bench.build(['--sandbox=runc', 'app']);
    expect([again.status, again.stderr]).toEqual([0, expect.not.stringContaining('DONE')]);
    expect(bench.leftovers()).toEqual([]);
  });

  /** For `before`: as if they were not installed. */
  const hiding = (...programs: readonly string[]) => [
    'unshare',
    '--mount',
    'sh',
    '-c',
    `for p in ${programs.join(' ')}; do mount --bind /dev/null $(command -v $p); done; exec "$@"`,
    'sh',
  ];

  test('goes for containers too', async () => {
    await bench.build(['-t', 'app:1', 'app']);
    const ran = await bench.run([
      'run',
      '--sandbox=crun',
      'app:1',
      '--',
      'sh',
      '-c',
      'cat /proc/self/status',
    ]);
    expect(ran.stdout).toContain('NoNewPrivs:\t0');
  });

  test('of what there is not is refused, with what mends it', async () => {
    expect(await bench.build(['--sandbox=docker', 'app'])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("'docker'"),
    });
    expect(await bench.build(['app'], { env: { TSBUILD_SANDBOX: 'docker' } })).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('it can be auto, bubblewrap, runc, crun'),
    });
    const without = hiding('runc', 'crun');
    const forced = await bench.build(['--no-cache', '--sandbox=crun', 'app'], { before: without });
    expect(forced.status).toBe(3);
    expect(forced.stderr).toMatch(/crun is not installed.*sudo apt-get install crun.*E_SANDBOX_MISSING/s);
    // What needs one goes on without: bubblewrap gives an insecure step nearly all.
    bench.context('insecure', {
      Dockerfile: `${SHELL_STAGE}FROM sh\n${SAYS.replace('RUN', 'RUN --security=insecure')}`,
    });
    const auto = await bench.build(['--allow=security.insecure', 'insecure'], { before: without });
    expect([auto.status, auto.stderr]).toEqual([0, expect.stringContaining('said NoNewPrivs: 1')]);
    const other = await bench.build(['--no-cache', 'app'], { before: hiding('bwrap') });
    expect([other.status, other.stderr]).toEqual([0, expect.stringContaining('said NoNewPrivs: 0')]);
  });

  test.each(['runc', 'crun'])('nothing of %s outlives a front that is killed', async (sandbox) => {
    const killed = await bench.build([`--sandbox=${sandbox}`, 'sleep'], {
      signalAt: { text: ' up\n', signal: 'SIGKILL' },
    });
    expect(killed.status).not.toBe(0);
    await expect.poll(() => bench.processes(), { timeout: 10_000 }).toEqual([]);
    expect((await bench.build(['app'])).status).toBe(0);
    expect(bench.leftovers()).toEqual([]);
  });
});
