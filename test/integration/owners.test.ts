/** Layers do not depend on who builds them: root, a user with subordinate ids, one without, on either snapshot driver. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, runJson, type Stage, stage } from '../support/unprivileged-user.ts';

interface Results {
  readonly mode: string;
  readonly made: Readonly<Record<string, unknown>> & { readonly listing: readonly string[] };
  readonly settled?: Readonly<Record<string, unknown>>;
  readonly warnings: readonly string[];
}

describe.runIf(canMakeUsers() && !lacks('busybox', 'bwrap', 'newuidmap'))('owners', () => {
  const stages: Stage[] = [];
  const runAs = async (user: 'root' | 'with-ids' | 'without-ids', snapshotter: string, mode = 'auto') => {
    const where = stage(user);
    stages.push(where);
    const words = [join(where.dir, 'store'), snapshotter, mode];
    return (await runJson(where, 'test/support/owners-scenario.ts', ...words)) as Results;
  };
  let root: Results;
  beforeAll(async () => {
    root = await runAs('root', 'overlay');
  });
  afterAll(() => {
    for (const where of stages) {
      where.remove();
    }
  });

  test('are those that were asked for, in the layers that root makes', () => {
    expect(root.mode).toBe('root');
    expect(root.warnings).toEqual([]);
    expect(root.made.reads).toMatch(/^[0-9a-f]{64}$/);
    expect(root.made.packages).toMatchInlineSnapshot(`
      [
        "-rwxr-sr-x 0/42 6 usr/lib/expiry",
        "drwxrwsr-x 0/8 0 usr/lib/mail/",
        "-rw-rw---- 10/8 1 usr/lib/mail/again",
        "hrw-rw---- 10/8 0 usr/lib/mail/box link to usr/lib/mail/again",
        "lrwxrwxrwx 10/8 0 usr/lib/mail/link -> box",
      ]
    `);
    expect(root.made.listing).toMatchInlineSnapshot(`
      [
        "drwxr-xr-x 0/0 0 copied/",
        "-rw-r--r-- 1000/1001 1 copied/again",
        "hrw-r--r-- 1000/1001 0 copied/f link to copied/again",
        "lrwxrwxrwx 1000/1001 0 copied/link -> f",
        "drwx------ 7/8 0 copied/sub/",
        "-rw-r--r-- 7/8 4 copied/sub/deep",
        "drwxr-xr-x 0/0 0 copied-dev/",
        "brw-rw---- 0/6 8,0 copied-dev/disk",
        "crw-rw-rw- 0/0 1,3 copied-dev/null",
        "drwxr-xr-x 0/0 0 etc/",
        "-rw------- 0/0 0 etc/.wh.shadow",
        "drwxr-xr-x 0/0 0 gone/",
        "-rw------- 0/0 0 gone/.wh..wh..opq",
        "drwxr-xr-x 0/0 0 home/",
        "drwxr-s--- 1000/1001 0 home/app/",
        "-rw-r--r-- 33/34 3 home/app/over",
        "drwx------ 7/8 0 home/app/sub/",
        "-rw-r--r-- 1000/1001 3 home/app/sub/new",
        "drwx--x--x 1000/1001 0 made/",
        "drwx--x--x 1000/1001 0 made/here/",
        "-rw-r--r-- 0/0 3 over",
      ]
    `);
  });

  test.each([
    ['with-ids', 'overlay', 'multi'],
    ['without-ids', 'overlay', 'single'],
    ['without-ids', 'copy', 'single'],
  ] as const)('%s, by %s: every digest is the same as root has', async (user, snapshotter, mode) => {
    const { made, warnings, mode: found } = await runAs(user, snapshotter);
    expect(found).toBe(mode);
    if (snapshotter === 'copy') {
      // It compares what is there, and names what is gone.
      const named = root.made.listing.map((line) => line.replace('gone/.wh..wh..opq', 'gone/.wh.inner'));
      const { top, topTree, ...same } = root.made;
      expect(made).toMatchObject({ ...same, listing: named });
    } else {
      expect(made).toEqual(root.made);
    }
    expect(new Set(warnings)).toEqual(new Set(['W_DEVICES_RECORDED']));
  });

  test.each([
    ['with-ids', 'multi'],
    ['root', 'root'],
  ] as const)(
    '%s: recorded ones become real when there are more ids, and nothing changes',
    async (user, later) => {
      const { mode, made, settled } = await runAs(user, 'overlay', 'settle');
      expect(mode).toBe('single');
      expect(made).toEqual(root.made);
      expect(settled).toMatchObject({
        mode: later,
        fewer: 'E_STORE_MAP',
        again: { isSettled: true, digests: root.made },
        whileInUse: expect.stringMatching(/^E_STORE_MAP: .*in use/),
        after: root.made,
        // Devices cannot be had in any namespace.
        devices: later === 'multi',
        made: false,
      });
      // Nothing of what /gone held is seen below its new self.
      expect(settled?.seen).toMatchInlineSnapshot(`
      [
        "/home/app 1000:1001 2750",
        "/home/app/again 1000:1001 644",
        "/home/app/f 1000:1001 644",
        "/home/app/link 1000:1001 777",
        "/home/app/over 33:34 644",
        "/home/app/sub 7:8 700",
        "/made/here 1000:1001 711",
        "/sudo 0:27 4755",
        "/copied/sub/deep 7:8 644",
      ]
    `);
    },
  );
});
