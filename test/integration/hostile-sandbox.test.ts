/**
 * Programs that mean harm, in the sandbox of every kind of user: `test/support/hostile/attacks.c` tries one thing after the other and says
 * what came of it. Names that end in `stays` are what honest programs do and must go on to work.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, runJson, type Stage, stage } from '../support/unprivileged-user.ts';

interface Results {
  readonly idMode: string;
  /** `NAME ok` or `NAME ERRNO`. */
  readonly attacks: readonly string[];
  readonly alone: readonly string[];
  readonly unconfined: readonly string[];
  readonly ownProfile: readonly string[];
  readonly insecure: readonly string[];
  readonly within: readonly string[];
  readonly races: readonly string[];
  readonly victim: readonly string[];
  readonly crowd: readonly string[];
  readonly leftOfCrowd: readonly string[];
  readonly setUserId: readonly string[];
  readonly modes: readonly number[];
  readonly reached: number;
}

/** What was got, and what was said by the attacks that look for more than one thing. */
const succeeded = (lines: readonly string[]) => lines.filter((line) => !/ E[A-Z0-9]+$/.test(line));
const answer = (lines: readonly string[], name: string) =>
  lines.find((line) => line.startsWith(`${name} `))?.slice(name.length + 1);

const STAYS = ['unshare_files', 'chroot', 'personality', 'netlink', 'trace_child', 'own_abstract_socket']
  .map((name) => `${name}_stays ok`)
  .concat(process.arch === 'x64' ? ['modify_ldt_32_stays ok'] : [])
  .sort();

/** Where programs have another way if they are told so. */
const ANSWERS: Readonly<Record<string, string>> = {
  do_clone3: 'ENOSYS',
  io_uring: 'ENOSYS',
  keyctl_session: 'ENOSYS',
  future_call: 'ENOSYS',
  vsock: 'EAFNOSUPPORT',
  unshare_user: 'EPERM',
  do_mount: 'EPERM',
  do_bpf: 'EPERM',
  abstract_socket: 'EPERM',
  overwrite_launcher: 'EROFS',
  ...(process.arch === 'x64' ? { mount32: 'EPERM', keyctl32: 'ENOSYS', getpid_x32: 'ENOSYS' } : {}),
};

const described = describe.runIf(canMakeUsers() && !lacks('busybox', 'bwrap', 'cc'));
let build: string;
let attacks: string;

beforeAll(() => {
  build = mkdtempSync(join(tmpdir(), 'tsbuild-attacks-'));
  chmodSync(build, 0o755);
  attacks = join(build, 'attacks');
  const source = join(import.meta.dirname, '../support/hostile/attacks.c');
  execFileSync('cc', ['-O1', '-Wall', '-Werror', '-static', '-o', attacks, source]);
});
afterAll(() => rmSync(build, { recursive: true, force: true }));

described.each(['root', 'with-ids', 'without-ids'] as const)('a hostile step of a user: %s', (user) => {
  let where: Stage;
  let results: Results;

  beforeAll(async () => {
    where = stage(user);
    const scenario = 'test/support/hostile-scenario.ts';
    results = (await runJson(where, scenario, join(where.dir, 'store'), attacks)) as Results;
  }, 120_000);
  afterAll(() => where.remove());

  test('gets nothing that it should not, with the network of the host or with none', () => {
    expect(results.idMode).toBe({ root: 'root', 'with-ids': 'multi', 'without-ids': 'single' }[user]);
    for (const lines of [results.attacks, results.alone]) {
      expect(succeeded(lines).sort()).toEqual(STAYS);
    }
    expect(results.reached).toBe(0);
  });

  test('is answered as programs understand it', () => {
    const answers = Object.keys(ANSWERS).map((name) => [name, answer(results.attacks, name)]);
    expect(Object.fromEntries(answers)).toEqual(ANSWERS);
  });

  test('gets what its own user gets with --seccomp unconfined, and still no process and no socket outside', () => {
    const got = succeeded(results.unconfined);
    // A ring would go past the recorder of owners.
    const ring = user === 'without-ids' ? [] : ['io_uring ok'];
    expect(got).toEqual(expect.arrayContaining(['unshare_user ok', 'keyctl_session ok', ...ring]));
    expect(answer(results.unconfined, 'abstract_socket')).toBe('EPERM');
    expect(
      got.filter((line) => /^(.*init.*|.*outside|.*device|writable.*|descriptors|do_mount) /.test(line)),
    ).toEqual([]);
  });

  test("has the profile of the user's instead, and an insecure one none", () => {
    expect(results.ownProfile).toEqual([expect.stringContaining('Disk quota exceeded'), 'made']);
    expect(results.insecure).toEqual(['made']);
  });

  test('makes nothing on the host by moving links under mountpoints of other steps', () => {
    expect(results.victim).toEqual([]);
    expect(results.races).toHaveLength(10);
    expect(results.within).toEqual(['filedeep1024', expect.stringContaining('Read-only'), 'kept']);
  });

  test('leaves no process, however many there are and whatever they ignore', () => {
    expect(results.crowd).toEqual(['ready', 'FAILED']);
    expect(results.leftOfCrowd).toEqual([]);
  });

  test('makes set-user-ID programs that nobody else on the machine can reach', () => {
    expect(results.setUserId).toEqual(['4755']);
    expect(results.modes).toEqual([0o700, 0o700, 0o700, 0o700]);
  });
});

/** In a container that masks /proc there is no pid namespace to be had, and the step sees the processes of its user. */
described('a hostile step without a pid namespace', () => {
  test('sends no signal to the processes that it sees, and reads nothing of them', async () => {
    const where = stage('without-ids');
    try {
      const masked: Stage = {
        ...where,
        command: (file, ...words) => {
          const [program, argv] = where.command(file, ...words);
          return [
            'unshare',
            [
              '-m',
              'sh',
              '-c',
              'mount --bind /dev/null /proc/timer_list && exec "$@"',
              'sh',
              program,
              ...argv,
            ],
          ];
        },
      };
      const scenario = 'test/support/hostile-scenario.ts';
      const store = join(where.dir, 'store');
      const { attacks: lines } = (await runJson(masked, scenario, store, attacks, 'attacks')) as Results;
      // It is there, and not its own.
      expect(answer(lines, 'signal_outside')).toBe('EPERM');
      expect(succeeded(lines).sort()).toEqual(STAYS);
    } finally {
      where.remove();
    }
  }, 60_000);
});
