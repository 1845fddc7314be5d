import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { lookupUser } from '../../../src/executor/user.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tsbuild-user-'));
  mkdirSync(join(root, 'etc'));
  writeFileSync(
    join(root, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n77:x:1077:1077::/digits:\n\n# odd\nbroken:x:no:0\nhomeless:x:5:5::\n',
  );
  writeFileSync(
    join(root, 'etc/group'),
    'root:x:0:app\napp:x:1001:app\nextra:x:2000:app,other\ntwice:x:2000:app\nmore:x:2001:root\nnobody:x:\n',
  );
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe('lookupUser', () => {
  test.each([
    ['', { uid: 0, gid: 0, groups: [2001], home: '/root' }],
    ['root', { uid: 0, gid: 0, groups: [2001], home: '/root' }],
    ['app', { uid: 1000, gid: 1001, groups: [0, 2000], home: '/home/app' }],
    ['1000', { uid: 1000, gid: 1001, groups: [0, 2000], home: '/home/app' }],
    ['app:extra', { uid: 1000, gid: 2000, groups: [], home: '/home/app' }],
    ['app:9', { uid: 1000, gid: 9, groups: [], home: '/home/app' }],
    ['app:', { uid: 1000, gid: 1001, groups: [0, 2000], home: '/home/app' }],
    [':extra', { uid: 0, gid: 2000, groups: [], home: '/root' }],
    ['12345', { uid: 12345, gid: 0, groups: [], home: '/' }],
    ['12345:678', { uid: 12345, gid: 678, groups: [], home: '/' }],
    // A name of digits comes before the number.
    ['77', { uid: 1077, gid: 1077, groups: [], home: '/digits' }],
    ['homeless', { uid: 5, gid: 5, groups: [], home: '/' }],
  ])("'%s'", (wanted, expected) => {
    expect(lookupUser(root, wanted)).toEqual(expected);
  });

  test.each(['nobody', 'broken', 'app:none', '4294967295', '1:4294967295', '-1', '0x0', '9999999999'])(
    "'%s' does not exist",
    (wanted) => {
      expect(() => lookupUser(root, wanted)).toThrow(expect.objectContaining({ code: 'E_UNKNOWN_USER' }));
    },
  );

  test('without files numbers work, names do not', () => {
    rmSync(join(root, 'etc'), { recursive: true });
    expect(lookupUser(root, '')).toEqual({ uid: 0, gid: 0, groups: [], home: '/root' });
    expect(lookupUser(root, '5:6')).toEqual({ uid: 5, gid: 6, groups: [], home: '/' });
    expect(() => lookupUser(root, 'root')).toThrow(expect.objectContaining({ code: 'E_UNKNOWN_USER' }));
  });

  test('a file in the place of /etc is no list of users', () => {
    rmSync(join(root, 'etc'), { recursive: true });
    writeFileSync(join(root, 'etc'), '');
    expect(lookupUser(root, '7')).toMatchObject({ uid: 7, gid: 0 });
  });

  test('a link leads within the image, not out of it', () => {
    rmSync(join(root, 'etc/passwd'));
    writeFileSync(join(root, 'users'), 'inner:x:42:42::/inner:\n');
    symlinkSync('/users', join(root, 'etc/passwd'));
    expect(lookupUser(root, 'inner').uid).toBe(42);
    rmSync(join(root, 'etc/passwd'));
    const outside = `${root}.outside`;
    writeFileSync(outside, 'outer:x:43:43::/outer:\n');
    symlinkSync(`../../../../../..${outside}`, join(root, 'etc/passwd'));
    expect(() => lookupUser(root, 'outer')).toThrow(expect.objectContaining({ code: 'E_UNKNOWN_USER' }));
    rmSync(outside);
  });

  test('what is no file of a sensible size is not read', () => {
    truncateSync(join(root, 'etc/passwd'), 1e9);
    expect(() => lookupUser(root, 'app')).toThrow(expect.objectContaining({ code: 'E_UNKNOWN_USER' }));
    rmSync(join(root, 'etc/passwd'));
    mkdirSync(join(root, 'etc/passwd'));
    expect(lookupUser(root, '7')).toMatchObject({ uid: 7, gid: 0 });
  });
});
