import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseSshAgent } from '../../../src/secret/ssh-agent-spec.ts';
import { SshAgents } from '../../../src/secret/ssh-agents.ts';
import { lacks } from '../../support/requires.ts';

describe('parseSshAgent', () => {
  test.each([
    ['default', { id: 'default', paths: [], raw: false }],
    ['default=/run/agent', { id: 'default', paths: ['/run/agent'], raw: false }],
    ['a=k1,k2', { id: 'a', paths: ['k1', 'k2'], raw: false }],
    ['a=/s,raw=true', { id: 'a', paths: ['/s'], raw: true }],
    ['a=raw=0,/s', { id: 'a', paths: ['/s'], raw: false }],
  ])('%s', (text, expected) => {
    expect(parseSshAgent(text)).toEqual(expected);
  });

  test.each(['', '=x', 'a=', 'a=k1,,k2', 'a=raw=true', 'a=k1,k2,raw=1', 'a=/s,raw=maybe'])(
    "'%s' is refused",
    (text) => {
      expect(() => parseSshAgent(text)).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
    },
  );
});

describe.skipIf(lacks('ssh-agent'))('SshAgents', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-agents-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const open = (words: readonly string[], environment: NodeJS.ProcessEnv = {}) =>
    new SshAgents(words.map(parseSshAgent), {
      environment: { PATH: process.env.PATH, HOME: dir, ...environment },
      cwd: dir,
    });
  const makeKey = (name: string, passphrase = '') =>
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', passphrase, '-C', name, '-f', join(dir, name)]);
  const listed = (socket: string) =>
    execFileSync('ssh-add', ['-l'], { encoding: 'utf8', env: { ...process.env, SSH_AUTH_SOCK: socket } });

  test('key files are served by an agent of its own, which ends with it', async () => {
    makeKey('one');
    makeKey('two');
    let socket = '';
    {
      await using agents = open(['default=one,two']);
      const found = await agents.socketOf('default');
      socket = found?.path ?? '';
      expect(found?.raw).toBe(false);
      expect(await agents.socketOf('default')).toEqual(found);
      expect(listed(socket)).toMatch(/ one [\s\S]* two /);
      expect(statSync(dirname(socket)).mode & 0o777).toBe(0o700);
    }
    expect(existsSync(dirname(socket))).toBe(false);
  });

  test("the user's own agent, and one that is named", async () => {
    const path = join(dir, 'socket');
    const server = createServer().listen(path);
    await new Promise((resolve) => server.once('listening', resolve));
    await using agents = open(['default', 'b=socket', 'c=socket,raw=true'], { SSH_AUTH_SOCK: path });
    expect(await agents.socketOf('default')).toEqual({ path, raw: false });
    expect(await agents.socketOf('b')).toEqual({ path, raw: false });
    expect(await agents.socketOf('c')).toEqual({ path, raw: true });
    expect(await agents.socketOf('none')).toBeUndefined();
    server.close();
  });

  test.each([
    ['default', 'SSH_AUTH_SOCK is not set'],
    ['default=absent', "cannot use '"],
    ['default=file,raw=true', 'is no socket'],
  ])('%s cannot be had', async (word, message) => {
    writeFileSync(join(dir, 'file'), '');
    await using agents = open([word]);
    await expect(agents.socketOf('default')).rejects.toMatchObject({
      name: 'DefinitionError',
      code: 'E_SSH_MISSING',
      message: expect.stringContaining(message),
    });
  });

  test('what is no key, a key that others can read and one with a passphrase are refused, with the reason', async () => {
    writeFileSync(join(dir, 'nonsense'), 'nonsense', { mode: 0o600 });
    makeKey('open');
    chmodSync(join(dir, 'open'), 0o644);
    makeKey('closed', 'secret words');
    for (const name of ['nonsense', 'open', 'closed']) {
      await using agents = open([`a=${name}`]);
      await expect(agents.socketOf('a')).rejects.toMatchObject({
        name: 'HostError',
        code: 'E_SSH_KEY',
        message: expect.stringContaining(join(dir, name)),
      });
    }
  });

  test('without ssh-agent it says so', async () => {
    makeKey('one');
    await using agents = open(['a=one'], { PATH: dir });
    await expect(agents.socketOf('a')).rejects.toMatchObject({
      name: 'HostError',
      code: 'E_TOOL_MISSING',
      hint: 'sudo apt-get install openssh-client',
    });
  });
});
