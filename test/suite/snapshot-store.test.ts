/** The contract of `snapshot/driver.ts`, for both drivers, in each of the ways to have user ids. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, runJson, type Stage, stage } from '../support/unprivileged-user.ts';

// biome-ignore lint/suspicious/noExplicitAny: the JSON of test/support/snapshot-contract.ts, asserted on below.
type Results = Record<string, any>;

const NEW = { existed: false, empty: false };
const NOTHING = { existed: false, empty: true };
const ETC = ['etc/', 'etc/hosts H', 'etc/link -> /run/elsewhere'];
const BASE = ['alias -> dir', 'dir/', 'dir/a A', 'dir/b B', 'dir/sub/', 'dir/sub/deep D', ...ETC, 'run/'];

const cases = (['root', 'with-ids', 'without-ids'] as const).flatMap((user) =>
  (['overlay', 'copy'] as const).map((driver) => ({ user, driver })),
);

describe.skipIf(!canMakeUsers() || lacks('getfattr')).each(cases)('$driver, as $user', ({ user, driver }) => {
  let where: Stage;
  let results: Results;
  beforeAll(async () => {
    where = stage(user);
    const store = join(where.dir, 'store');
    results = (await runJson(where, 'test/support/snapshot-contract.ts', store, driver)) as Results;
  });
  afterAll(() => where?.remove());

  test('what is changed is the layer, and layers below stay as they are', () => {
    expect(results.base).toEqual(NEW);
    expect(results.baseFiles).toEqual(BASE);
    expect(results.baseAfter).toEqual([BASE, [0, 0, 0]]);
  });

  test('a step that changes nothing leaves nothing', () => {
    expect(results.empty).toEqual([NOTHING, NOTHING, NOTHING]);
    expect(results.emptyFiles).toEqual([[], [], []]);
  });

  test("the root directory's mode is a change as well, and stays otherwise", () => {
    expect(results.rootMode).toEqual([0o751, NEW, 0o700]);
  });

  test('mountpoints are there while they are used, where links of the image lead', () => {
    expect(results.targets).toEqual([
      '/dir /dir directory',
      '/etc/hosts /etc/hosts file',
      '/etc/resolv.conf /etc/resolv.conf file',
      '/new/deep/directory /new/deep/directory directory',
      '/new/deep/file /new/deep/file file',
      '/etc/link/file /run/elsewhere/file file',
      '/alias/through /dir/through directory',
    ]);
    expect(results.rootAfterMountpoints).toEqual(BASE);
  });

  test('mountpoints leave nothing, not even other times', () => {
    expect(results.mountpoints).toEqual(NOTHING);
    expect(results.mountpointFiles).toEqual([[], [0, 0, 0]]);
  });

  test('what a step writes beside mountpoints is all that is kept', () => {
    expect(results.mountpointsUsed).toEqual(NEW);
    expect(results.mountpointsUsedFiles).toEqual([
      'dir/',
      'dir/sub/',
      'dir/sub/more M',
      'etc/',
      'etc/other O',
    ]);
    expect(results.mountpointsTwice).toEqual(NEW);
    expect(results.mountpointsTwiceFiles).toEqual(['one one', 'two two']);
  });

  test('a mountpoint below what this very step has removed leaves it removed', () => {
    expect(results.hiddenTargets).toBe('directory');
    expect(results.mountpointsHidden).toEqual(NEW);
    expect(results.mountpointsHiddenFiles).toEqual(['dir whiteout']);
  });

  test('something else in the place of a mountpoint is said; a use that fails leaves nothing', () => {
    expect(results.mountpointErrors).toEqual([
      {
        name: 'DefinitionError',
        code: 'E_MOUNT_TARGET',
        message: expect.stringContaining("'/etc': a file is needed"),
      },
      {
        name: 'DefinitionError',
        code: 'E_MOUNT_TARGET',
        message: expect.stringContaining("'/etc/hosts': a directory is needed"),
      },
      { name: 'RangeError', message: 'the step failed' },
    ]);
    expect(results.mountpointsFail).toEqual(NOTHING);
    expect(results.mountpointsFailFiles).toEqual([]);
  });

  test('what is removed is a whiteout where it was below, and nothing where it was not', () => {
    expect(results.whiteouts).toEqual({
      ...NEW,
      files: ['alias whiteout', 'dir/', 'dir/a whiteout', 'etc whiteout'],
      merged: ['dir/', 'dir/b B', 'dir/sub/', 'dir/sub/deep D', 'run/'],
    });
    expect(results.back).toEqual(NEW);
    expect(results.backMerged).toEqual([
      'dir/',
      'dir/a A again',
      'dir/b B',
      'dir/sub/',
      'dir/sub/deep D',
      'etc/',
      'etc/new N',
      'run/',
    ]);
  });

  test('a directory that was made again hides what was below', () => {
    expect(results.opaque.merged).toEqual(['alias -> dir', 'dir/', 'dir/c C', ...ETC, 'run/']);
    expect(results.opaqueEmpty.merged).toEqual(['alias -> dir', 'dir/', ...ETC, 'run/']);
    // The kernel makes it opaque; who compares afterwards cannot tell that from the removal of all that was in it.
    const hidden = ['dir/a whiteout', 'dir/b whiteout', 'dir/sub whiteout'];
    expect(results.opaque.files).toEqual(
      driver === 'overlay' ? ['dir/ opaque', 'dir/c C'] : ['dir/', ...hidden.toSpliced(2, 0, 'dir/c C')],
    );
    expect(results.opaqueEmpty.files).toEqual(driver === 'overlay' ? ['dir/ opaque'] : ['dir/', ...hidden]);
  });

  test('a file in the place of a directory, and the other way round', () => {
    expect(results.kinds.merged).toEqual([
      'alias -> etc',
      'dir now a file',
      'etc/',
      'etc/hosts/',
      'etc/link -> /run/elsewhere',
      'run/',
    ]);
  });

  test('a file that is moved, one that only changes its mode, one of two names', () => {
    expect(results.renamed.files).toEqual(['dir/', 'dir/a whiteout', 'etc/', 'etc/z A']);
    expect(results.renamed.merged).toEqual(
      BASE.filter((line) => line !== 'dir/a A').toSpliced(-1, 0, 'etc/z A'),
    );
    expect(results.mode).toEqual({ ...NEW, files: ['dir/', 'dir/a A'], merged: BASE });
    expect(results.modeMerged).toBe(0o600);
    expect(results.links).toEqual([2, true]);
  });

  test('what is written to the changes themselves counts too', () => {
    expect(results.changesSeen).toEqual(['direct X']);
    expect(results.changesFiles).toEqual(['direct X', 'later Y']);
  });

  test('a layer is there after the commit and not before; the second commit of it changes nothing', () => {
    expect(results.same).toEqual({
      before: false,
      one: NEW,
      two: { existed: true, empty: false },
      files: ['who first'],
    });
  });

  test('of several commits at once one makes the layer, as a whole', () => {
    expect(results.race).toEqual({ made: 1, contents: 1, files: 3 });
  });

  test('a name that is no layer id goes nowhere', () => {
    expect(results.badLayer).toMatchObject({ name: 'InternalError' });
    expect(results.escaped).toBe(false);
  });

  test('discard forgets everything, mounted or not, once and twice', () => {
    expect(results.discard).toEqual({ during: 4, files: [], mounts: 0 });
  });

  test('a missing layer is said, and nothing stays behind', () => {
    const missing = { name: 'HostError', code: 'E_SNAPSHOT_MISSING' };
    expect(results.missing).toEqual([expect.objectContaining(missing), expect.objectContaining(missing)]);
    expect(results.missingScratch).toEqual([]);
  });

  test('more layers than the kernel stacks', () => {
    if (driver === 'overlay') {
      expect(results.many).toMatchObject({ name: 'DefinitionError', code: 'E_TOO_MANY_LAYERS' });
    } else {
      expect(results.manyFiles).toEqual(BASE);
    }
  });

  test('layers are named bottom first; a view of none is empty', () => {
    expect(results.order).toEqual(['now a file', ['c']]);
    expect(results.emptyView).toEqual([]);
  });

  test('nothing is left when the store is closed', () => {
    expect(results.left).toEqual([[], 0]);
  });

  test('owners that are recorded stay with what is copied up, and go with what is removed', () => {
    expect(results.owners).toEqual({
      given: [NEW, NEW, NEW, NOTHING],
      views: [true, false],
      layers: [
        ['drwxr-xr-x 7/7 given/', 'drwxr-xr-x 7/7 given/deep/'],
        ['drwxr-xr-x 7/7 given/', 'drwxr-xr-x 7/7 given/deep/', '-rw-r--r-- 0/0 given/deep/f'],
        ['-rw-r--r-- 0/0 given'],
      ],
      files: [true, true, false, false],
    });
  });

  test('records that are damaged are no owners', () => {
    const damaged = {
      name: 'IntegrityError',
      code: 'E_SNAPSHOT_DAMAGED',
      message: expect.stringContaining('given/owners'),
    };
    expect(results.damaged).toEqual([damaged, damaged]);
  });
});
