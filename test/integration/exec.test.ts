/** Steps with every kind of mount, limit and device: as root, as a user with subordinate ids and as one without. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, runJson, type Stage, stage } from '../support/unprivileged-user.ts';

interface Done {
  readonly lines: string[];
  readonly warnings: string[];
  readonly empty?: boolean;
  readonly layer?: string[];
  readonly error?: Record<string, unknown>;
}

// biome-ignore lint/suspicious/noExplicitAny: the scenario's JSON, asserted on below.
type Results = Record<string, any> & Record<'order' | 'stubs' | 'seeded' | 'ssh' | 'device', Done>;

const cases = [
  { user: 'root', snapshotter: 'overlay', isolation: 'auto', sandbox: 'bubblewrap' },
  { user: 'root', snapshotter: 'copy', isolation: 'auto', sandbox: 'bubblewrap' },
  { user: 'with-ids', snapshotter: 'overlay', isolation: 'auto', sandbox: 'bubblewrap' },
  { user: 'without-ids', snapshotter: 'overlay', isolation: 'auto', sandbox: 'bubblewrap' },
  { user: 'root', snapshotter: 'overlay', isolation: 'auto', sandbox: 'runc' },
  { user: 'with-ids', snapshotter: 'overlay', isolation: 'auto', sandbox: 'runc' },
  { user: 'without-ids', snapshotter: 'overlay', isolation: 'auto', sandbox: 'crun' },
  { user: 'with-ids', snapshotter: 'overlay', isolation: 'chroot', sandbox: 'auto' },
] as const;
const SYS_ADMIN = 1n << 21n;

describe.runIf(canMakeUsers() && !lacks('busybox', 'bwrap', 'runc', 'crun', 'ssh-agent')).each(cases)(
  'as $user, by $snapshotter, isolation $isolation, sandbox $sandbox',
  ({ user, snapshotter, isolation, sandbox }) => {
    const single = user === 'without-ids';
    const owner = single ? '0:0' : '1000:1001';
    let where: Stage;
    let results: Results;
    const lines = (name: string): string[] => (results[name] as Done).lines;
    const error = (name: string) => (results[name] as Done).error;

    beforeAll(async () => {
      where = stage(user);
      results = (await runJson(
        where,
        'test/support/exec-scenario.ts',
        join(where.dir, 'store'),
        snapshotter,
        isolation,
        sandbox,
      )) as Results;
    }, 120_000);
    afterAll(() => where.remove());

    test('mounts are made parent first, within one another, and leave nothing', () => {
      expect(results.order).toMatchObject({
        lines: ['one', 'file', 'inner', 'touch: /m/x: Read-only file system', 'c', 'link', 'one'],
        empty: true,
        layer: [],
      });
      // The cache keeps what was put there, and the mountpoints.
      expect(lines('orderAgain')).toEqual(['kept', 'deep', 'f', 'g']);
      expect(results.overRun).toMatchObject({ lines: ['tsbuild', 'launcher'], empty: true });
      expect(lines('overEtc')).toEqual(['group', 'passwd', 'root:x:0:0:root:/root:/bin/sh']);
      expect(results.cwdInMount).toMatchObject({ lines: ['/m/sub', 'a'], empty: true });
    });

    test('mountpoints of every kind are in no layer and change no time', () => {
      expect(results.stubs).toMatchObject({
        lines: ['/old/c/x', '/old/t/x', '/old/b/x', '/old/f/x', '/old/s/x', '/old/a/x'],
        empty: true,
        layer: [],
      });
      expect(lines('times')).toEqual(['1000000000', '1000000000']);
    });

    test.each([
      ['targetRoot', 'E_MOUNT_TARGET'],
      ['targetProc', 'E_MOUNT_TARGET'],
      ['targetLent', 'E_MOUNT_TARGET'],
      ['withinFile', 'E_MOUNT_TARGET'],
      ['linkWithin', 'E_MOUNT_TARGET'],
    ])('%s is refused', (name, code) => {
      expect(error(name)).toMatchObject({ name: 'DefinitionError', code });
      expect(results.madeByLink).toBe(false);
    });

    test('a terminal belongs to the user of the program', () => {
      const said = results.terminal.filter((line: string) => line !== 'typed' && line !== '');
      expect(said).toEqual(['/dev/pts/0', `${single ? 0 : 1000} 620`, 'got typed']);
    });

    test('files that the definition holds are there, executable and not to be changed', () => {
      expect(lines('inline')).toEqual([
        'ran',
        '-rwxr-xr-x',
        expect.stringContaining('Read-only file system'),
      ]);
      expect(lines('inlineDirectly')).toEqual(['ran directly']);
    });

    test('a bound file, and trees that may be written to without effect', () => {
      expect(lines('bindFile').slice(0, 2)).toEqual(['sourced', 'root:x:0:0:root:/root:/bin/sh']);
      expect(lines('bindFile').filter((line) => line.includes('Read-only file system'))).toHaveLength(2);
      expect(results.bindWritable).toMatchObject({
        lines: ['link', 'two', 'b', 'n', 'passwd'],
        empty: true,
      });
      const untouched = ['/v:', 'b', 'passwd', 'sub', '', '/w:', 'link', 'one'];
      expect(lines('bindOwnCopies')).toEqual([...untouched, ...untouched]);
    });

    test('a source that is missing is named with its input', () => {
      expect(error('bindMissing')).toMatchObject({
        code: 'E_FILE_NOT_FOUND',
        message: "cannot mount '/nowhere' of stage builder on '/n': no such file or directory there",
      });
      expect(error('bindMissingFile')?.message).toContain('of local context');
      expect(error('seedMissing')?.message).toContain("'/nowhere' of stage builder");
      expect(error('seedFile')?.message).toContain('not a directory');
    });

    test.each(['escapeLayers', 'escapeFiles', 'escapeParent', 'escapeDots', 'seedEscape'])(
      '%s: no source leads out of its input',
      (name) => {
        expect(error(name)).toMatchObject({ code: 'E_FILE_NOT_FOUND' });
      },
    );

    test('a tmpfs is as large as it is asked to be', () => {
      expect(lines('tmpfsSize')).toEqual(['1024', String(1 << 20)]);
      expect(lines('shm')).toEqual(['2048', '1777']);
    });

    test('an empty cache begins with its seed, attributes and all; one that is not keeps what it has', () => {
      expect(lines('seeded')).toEqual([
        `/c/sub 755 ${owner}`,
        `/c/sub/a 4711 ${owner}`,
        '1000000000',
        `750 ${owner}`,
        '2',
        'a',
        '/etc/passwd',
      ]);
      expect(lines('seededAgain')).toEqual(['/c:', 'b', 'new', 'passwd', 'sub', '', '/c/sub:']);
      expect(lines('seededFiles')).toEqual(['one']);
      expect(lines('readOnly').at(-1)).toBe('touch: /c/x: Read-only file system');
      expect(lines('modes')).toEqual(['1777 1000:1001', '755 0:0']);
    });

    test('secrets are bytes, in memory, with the owner and mode that were asked for', () => {
      expect(lines('secretFile').slice(0, 4)).toEqual([
        ' 00 01 02 ff fe 0a 80',
        '400 0:0',
        '440 1000:1001',
        '1',
      ]);
      expect(lines('secretFile')[4]).toContain('Read-only file system');
      expect(lines('secretOptional')).toEqual(['ls: /run/secrets: No such file or directory']);
      expect(lines('secretVariables')).toEqual(['3', '[] [unset]', '4', '<***>', '1']);
      expect(error('secretNul')).toMatchObject({ code: 'E_SECRET_VALUE' });
      expect(error('otherOwner')?.code).toBeUndefined();
    });

    test('an agent lists and signs, and can be neither emptied nor locked', () => {
      expect(results.ssh).toMatchObject({
        lines: [
          '/run/buildkit/ssh_agent.0',
          'socket 600 0:0',
          'the key (ED25519)',
          'signed',
          'Failed to remove all identities.',
          'no lock',
          '1',
        ],
        layer: [],
      });
      expect(lines('sshUser')).toEqual(['the key (ED25519)', '1000']);
      if (!single) {
        expect(lines('sshOtherUser')).toEqual(['Error connecting to agent: Permission denied']);
      }
      expect(lines('sshAbsent')).toEqual(['unset', 'ls: /run/buildkit: No such file or directory']);
      expect(lines('sshRaw')).toEqual(['All identities removed.', 'The agent has no identities.']);
      expect(lines('sshDead')[0]).toMatch(/communication with agent failed|refused/);
    });

    test('names of the sandbox', () => {
      expect(lines('names')).toEqual(['me', 'me', '10.0.0.7 db', '127.0.0.1 localhost me', '10.0.0.7 db']);
      expect(results.names).toMatchObject({ empty: true });
    });

    test('limits, and those that this machine does not give', () => {
      expect(lines('ulimits')).toEqual(['100', '200', '0']);
      expect(error('ulimitTooHigh')).toMatchObject({ name: 'HostError', code: 'E_ULIMIT' });
      expect(error('ulimitUnknown')).toMatchObject({ code: 'E_ARG_TYPE' });
      expect(error('ulimitReversed')).toMatchObject({ code: 'E_ARG_TYPE' });
    });

    test('an insecure step has what the namespace has, and another has not', () => {
      const capabilities = (name: string) => BigInt(`0x${lines(name)[0]?.replace(/.*\s/, '')}`);
      expect(capabilities('secure') & SYS_ADMIN).toBe(0n);
      if (isolation === 'chroot') {
        // It would have the worker's.
        expect(error('insecure')).toMatchObject({ name: 'HostError', code: 'E_ISOLATION' });
        expect(results.hostPipes).toBe(false);
        return;
      }
      expect(capabilities('insecure') & SYS_ADMIN).toBe(SYS_ADMIN);
      expect(lines('secure')).not.toContain('mounted');
      expect(lines('insecure')).toContain('mounted');
      expect(Number(lines('secure').at(-2))).toBeGreaterThan(0);
      expect(lines('insecure').slice(-2)).toEqual(['0', 'A']);
      expect(results.hostPipes).toBe(false);
      const effective = (line = '') => BigInt(`0x${line.replace(/.*\s/, '')}`) & SYS_ADMIN;
      expect(lines('insecureUser')[0]).toBe('1000');
      expect(effective(lines('insecureUser')[1])).toBe(SYS_ADMIN);
      expect(effective(lines('secureUser')[0])).toBe(0n);
    });

    test('a device brings its node, files, variables and libraries, and leaves nothing', () => {
      expect(results.device).toMatchObject({
        lines: [
          '2',
          '1 0',
          'tool',
          'tool',
          '/run/tsbuild/devices/bin/tool',
          'ls: /usr/bin/tool: No such file or directory',
          'touch: /opt/driver/x: Read-only file system',
          'libfake.so.1',
          'libfake.so.999',
          'libfake.so.999',
          'library',
          'ls: /usr/lib/fake: No such file or directory',
          'ls: /dev/fakes: No such file or directory',
        ],
        warnings: [],
        layer: [],
      });
      expect(lines('deviceAll')).toEqual([
        '/dev/fake0',
        '/dev/fakes/one',
        '/mine:/run/tsbuild/devices/lib64',
      ]);
    });

    test('a device that is not there ends the step, or is a warning', () => {
      expect(error('deviceMissing')).toMatchObject({
        name: 'HostError',
        code: 'E_DEVICE_UNAVAILABLE',
        message: expect.stringContaining('vendor.example/net=0, vendor.example/net=1'),
      });
      expect(error('deviceHook')).toMatchObject({
        code: 'E_DEVICE_UNAVAILABLE',
        message: expect.stringContaining("'/opt/hook dance'"),
      });
      expect(error('deviceNodeMissing')).toMatchObject({
        code: 'E_DEVICE_UNAVAILABLE',
        message: expect.stringContaining('no-such-node'),
      });
      expect(results.deviceOptional).toMatchObject({
        lines: ['went on'],
        warnings: [expect.stringContaining('other=0'), expect.stringContaining('no-such-node')],
      });
    });

    test('a step gets the GPUs that it asks for, read-only tools with them, and leaves nothing of them', () => {
      expect(results.gpuAll).toEqual({
        lines: [
          '/dev/nvidia0 /dev/nvidia1 tool',
          'covered',
          'touch: /run/tsbuild/devices/bin/nvidia-smi: Read-only file system',
          '0,1 compute,utility',
        ],
        warnings: [],
        empty: true,
        layer: [],
      });
      expect(results.gpuType).toMatchObject({
        lines: expect.arrayContaining(['/dev/nvidia0 tool', 'covered', '0 compute,utility']),
        warnings: [expect.stringContaining('gets nvidia.com/gpu=0 (model unknown)')],
        layer: [],
      });
    });

    test('a request that cannot be met ends the layer before anything of it ran (C36)', () => {
      for (const name of ['gpuStrict', 'gpuTooMany', 'gpuLate']) {
        expect(results[name]).toMatchObject({
          lines: [],
          error: { name: 'HostError', code: 'E_GPU_UNAVAILABLE', message: expect.stringContaining('gpu=1') },
        });
      }
      expect(results.gpuIgnored).toMatchObject({
        lines: ['1'],
        warnings: [expect.stringContaining("the policy 'ignore'")],
      });
    });

    test('cache mounts are exported and imported with their owners', () => {
      expect(results.archive).toEqual(
        expect.arrayContaining([
          `-rw-r--r-- 0/0 new`,
          'lrwxrwxrwx 0/0 passwd -> /etc/passwd',
          `drwxr-xr-x ${owner.replace(':', '/')} sub/`,
        ]),
      );
      expect(results.archiveOwner).toBe(true);
      expect(lines('importedSeen')).toEqual([
        '/c 755 0:0',
        `/c/sub 755 ${owner}`,
        '/c/new 644 0:0',
        'b',
        'new',
        'passwd',
        'sub',
      ]);
      expect(results.importBad).toMatchObject({ code: 'E_BAD_ARCHIVE' });
      expect(results.importAbsent).toMatchObject({ code: 'E_IO' });
      expect(lines('importedStill')).toEqual(['b', 'new', 'passwd', 'sub']);
    });

    test('cache mounts are listed and removed by id, and not while they are in use', () => {
      expect(results.list).toEqual(
        expect.arrayContaining([
          ['order', 5, 1, false, true],
          ['modes', 0, 2, false, true],
        ]),
      );
      expect(results.exportUnknown).toMatchObject({ code: 'E_CACHE_MOUNT_NOT_FOUND' });
      expect(results.removeUnknown).toMatchObject({ code: 'E_CACHE_MOUNT_NOT_FOUND' });
      const inUse = { code: 'E_CACHE_MOUNT_IN_USE', message: "the cache mount 'busy' is in use" };
      expect(results.busy).toEqual([inUse, inUse, inUse, { removed: 0 }]);
      expect(results.detached).toEqual({ removed: 1 });
      expect(lines('afterDetach')).toEqual([]);
      expect(results.removed).toEqual({ removed: 3 });
      expect(results.busyLeft).toEqual([]);
      expect(results.listAfter).not.toEqual(expect.arrayContaining(['busy', 'seeded', 'modes']));
      expect(results.tmp).toEqual([]);
    });
  },
);
