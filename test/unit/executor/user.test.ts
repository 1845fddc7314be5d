import { execFileSync } from 'node:child_process';
import { mkdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { lookupOwner, lookupUser, type StepUser } from '../../../src/executor/user.ts';
import { type Leaf, temporaryTree } from '../../support/temporary-tree.ts';

const PASSWD = [
  'root:x:0:0:root:/root:/bin/sh',
  'app:x:1000:1001:The App:/home/app:/bin/sh',
  'homeless:x:1002:1002:::/bin/sh',
  '2000:x:3000:3000::/home/digits:/bin/sh',
  'twice:x:1000:9::/elsewhere:/bin/sh',
  '',
].join('\n');
const GROUP = [
  'root:x:0:',
  'app:x:1001:app',
  'audio:x:29:other,app',
  'video:x:44:app,root',
  'again:x:44:app',
  '77:x:78:',
  '',
].join('\n');
const FILES = { 'etc/passwd': PASSWD, 'etc/group': GROUP };

async function lookup(wanted: string, leaves: Readonly<Record<string, Leaf>> = FILES): Promise<StepUser> {
  await using root = await temporaryTree(leaves);
  return lookupUser(root.path, wanted);
}

test.each<[string, string, StepUser]>([
  ['empty is root', '', { uid: 0, gid: 0, groups: [0, 44], home: '/root' }],
  ['a name', 'app', { uid: 1000, gid: 1001, groups: [1001, 29, 44], home: '/home/app' }],
  [
    'a number with an entry, the first',
    '1000',
    { uid: 1000, gid: 1001, groups: [1001, 29, 44], home: '/home/app' },
  ],
  ['a number without', '1234', { uid: 1234, gid: 0, groups: [0], home: '/' }],
  [
    'a name of digits before a number',
    '2000',
    { uid: 3000, gid: 3000, groups: [3000], home: '/home/digits' },
  ],
  ['no home', 'homeless', { uid: 1002, gid: 1002, groups: [1002], home: '/' }],
  ['a group by name, alone', 'app:audio', { uid: 1000, gid: 29, groups: [29], home: '/home/app' }],
  ['a group by number', 'app:5', { uid: 1000, gid: 5, groups: [5], home: '/home/app' }],
  ['a group whose name is digits', 'app:77', { uid: 1000, gid: 78, groups: [78], home: '/home/app' }],
  ['an empty group is as none', 'app:', { uid: 1000, gid: 1001, groups: [1001, 29, 44], home: '/home/app' }],
  ['a group of root', ':audio', { uid: 0, gid: 29, groups: [29], home: '/root' }],
  [
    'the largest number',
    '4294967294:4294967294',
    { uid: 2 ** 32 - 2, gid: 2 ** 32 - 2, groups: [2 ** 32 - 2], home: '/' },
  ],
])('%s', async (_what, wanted, expected) => {
  expect(await lookup(wanted)).toEqual(expected);
});

test.each([
  ['nobody of that name', 'ghost', "user 'ghost'"],
  ['no group of that name', 'app:ghosts', "group 'ghosts'"],
  ['the number that means unchanged', '4294967295', '4294967295'],
  ['a group number that means unchanged', '0:4294967295', '4294967295'],
  ['a number that is too large', '9999999999', '9999999999'],
  ['a longer one', '99999999999', "user '99999999999'"],
  ['a negative one', '-1', "user '-1'"],
  ['a path', '../app', "user '../app'"],
])('%s is refused', async (_what, wanted, part) => {
  await expect(lookup(wanted)).rejects.toMatchObject({
    name: 'DefinitionError',
    code: 'E_UNKNOWN_USER',
    message: expect.stringContaining(part),
  });
});

test('an image without the files has numbers, and no names but the empty one', async () => {
  const bare = { etc: null };
  expect(await lookup('', bare)).toEqual({ uid: 0, gid: 0, groups: [0], home: '/root' });
  expect(await lookup('12:34', {})).toEqual({ uid: 12, gid: 34, groups: [34], home: '/' });
  await expect(lookup('root', bare)).rejects.toMatchObject({ code: 'E_UNKNOWN_USER' });
});

test('lines that are no entries are passed over', async () => {
  const passwd = '\n#app\napp\napp:x\n:x:1:1::/:\napp:x:one:1::/:\napp:x:-1:1::/:\napp:x:5:6\n';
  expect(await lookup('app', { 'etc/passwd': passwd })).toEqual({ uid: 5, gid: 6, groups: [6], home: '/' });
});

test('ids of the files that mean unchanged or are too large are no entries', async () => {
  const files = {
    'etc/passwd': 'app:x:4294967295:0::/:\napp:x:0:4294967295::/:\napp:x:9999999999:0::/:\napp:x:7:8::/:\n',
    'etc/group': 'a:x:4294967295:app\nb:x:4294967296:app\nc:x:9:app\n',
  };
  expect(await lookup('app', files)).toEqual({ uid: 7, gid: 8, groups: [8, 9], home: '/' });
  await expect(lookup('app:a', files)).rejects.toMatchObject({ code: 'E_UNKNOWN_USER' });
});

test('links lead within the image and never out of it', async () => {
  const inside = {
    'etc/passwd': { link: '/usr/lib/passwd' },
    'etc/group': { link: '../../../../usr/lib/group' },
    'usr/lib/passwd': 'app:x:7:8::/a:\n',
    'usr/lib/group': 'more:x:9:app\n',
  };
  expect(await lookup('app', inside)).toEqual({ uid: 7, gid: 8, groups: [8, 9], home: '/a' });
  await using outside = await temporaryTree({ passwd: 'spy:x:7:8::/:\n' });
  await expect(lookup('spy', { 'etc/passwd': { link: join(outside.path, 'passwd') } })).rejects.toMatchObject(
    {
      code: 'E_UNKNOWN_USER',
    },
  );
  await expect(lookup('spy', { etc: { link: outside.path } })).rejects.toMatchObject({
    code: 'E_UNKNOWN_USER',
  });
});

test('a link to itself is said', async () => {
  await expect(lookup('app', { 'etc/passwd': { link: 'passwd' } })).rejects.toMatchObject({
    name: 'DefinitionError',
    message: expect.stringContaining('/etc/passwd'),
  });
});

test('a FIFO does not hang, a directory and a huge file are not read', async () => {
  await using root = await temporaryTree({ 'etc/group': 'app:x:1:\n' });
  execFileSync('mkfifo', [join(root.path, 'etc/passwd')]);
  expect(() => lookupUser(root.path, 'app')).toThrow(/unknown user/);
  expect(lookupUser(root.path, '5:app')).toMatchObject({ uid: 5, gid: 1 });
  await using directory = await temporaryTree({ etc: null });
  mkdirSync(join(directory.path, 'etc/passwd'));
  expect(() => lookupUser(directory.path, 'app')).toThrow(/unknown user/);
  await using huge = await temporaryTree({ 'etc/passwd': 'app:x:7:8::/:\n' });
  expect(lookupUser(huge.path, 'app').uid).toBe(7);
  truncateSync(join(huge.path, 'etc/passwd'), 1024 ** 4);
  expect(() => lookupUser(huge.path, 'app')).toThrow(/unknown user/);
});

test.each<[string, number, number]>([
  ['app', 1000, 1001],
  ['app:', 1000, 1001],
  ['app:audio', 1000, 29],
  ['app:77', 1000, 77],
  [':audio', 0, 29],
  ['1000', 1000, 1000],
  ['2000', 2000, 2000],
  ['2000:audio', 2000, 29],
  ['5:6', 5, 6],
])("files of '%s' belong to %d:%d", async (names, uid, gid) => {
  await using root = await temporaryTree(FILES);
  expect(lookupOwner(root.path, { kind: 'names', names })).toEqual({ uid, gid });
});

test.each(['nobody-here', 'app:nobody-here', '5:nobody-here', '4294967295', '5:4294967295'])(
  "nothing can belong to '%s'",
  async (names) => {
    await using root = await temporaryTree(FILES);
    expect(() => lookupOwner(root.path, { kind: 'names', names })).toThrow(
      expect.objectContaining({ code: 'E_UNKNOWN_USER' }),
    );
  },
);
