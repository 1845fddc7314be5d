/** Accounts without privileges that the tests make as root, with or without subordinate ids. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

export interface Account extends Disposable {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  /** First subordinate user id and how many there are; undefined without any. */
  readonly subordinate: { readonly first: number; readonly count: number } | undefined;
}

let count = 0;

/** Other tests may hold the lock of the password file for a moment. */
const LOCK_ATTEMPTS = 20;

export function makeAccount(options: { readonly subordinateIds: boolean }): Account {
  count += 1;
  const name = `tsb-test-${process.pid}-${count}`;
  // System accounts get no subordinate ids; others get them when /etc/subuid exists, as Debian's installer leaves it.
  administer('useradd', [
    '--create-home',
    '--shell',
    '/bin/sh',
    ...(options.subordinateIds ? [] : ['--system']),
    name,
  ]);
  if (options.subordinateIds && subordinateOf(name) === undefined) {
    administer('usermod', [
      '--add-subuids',
      '600100000-600165535',
      '--add-subgids',
      '600100000-600165535',
      name,
    ]);
  }
  const [, , uid = '', gid = '', , home = ''] = execFileSync('getent', ['passwd', name], { encoding: 'utf8' })
    .trim()
    .split(':');
  return {
    name,
    uid: Number(uid),
    gid: Number(gid),
    home,
    subordinate: subordinateOf(name),
    [Symbol.dispose]() {
      administer('userdel', [name]);
      execFileSync('rm', ['-rf', home]);
    },
  };
}

/** Processes of the account, those of its subordinate ids included. */
export function processesOf({ uid, subordinate }: Account): readonly string[] {
  const own = (id: number) =>
    id === uid ||
    (subordinate !== undefined && id >= subordinate.first && id < subordinate.first + subordinate.count);
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) {
      return [];
    }
    try {
      const ids = /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      return ids !== undefined && own(Number(ids)) ? [`${pid} ${line}`] : [];
    } catch {
      // It ended while we looked.
      return [];
    }
  });
}

function subordinateOf(name: string): Account['subordinate'] {
  const line = readFileSync('/etc/subuid', 'utf8')
    .split('\n')
    .find((each) => each.startsWith(`${name}:`));
  const [, first, amount] = line?.split(':') ?? [];
  return first === undefined ? undefined : { first: Number(first), count: Number(amount) };
}

function administer(program: string, args: readonly string[]): void {
  for (let attempt = 1; ; attempt += 1) {
    try {
      execFileSync(program, args, { stdio: 'pipe' });
      return;
    } catch (error) {
      if (attempt === LOCK_ATTEMPTS || !String(error).includes('lock')) {
        throw error;
      }
      execFileSync('sleep', ['0.2']);
    }
  }
}
