/** Who a step runs as: a name or numbers, looked up in the image's own files. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DefinitionError } from '../errors.ts';
import type { Owner } from '../graph/action.ts';
import { resolveInTree } from '../snapshot/resolve.ts';

export interface StepUser {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups; the own one is among them, as runc has it. */
  readonly groups: readonly number[];
  readonly home: string;
}

/** Larger ones are not what they claim to be. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;
const NUMBER = /^\d{1,10}$/;
/** To the kernel the last one means "unchanged": who has it would stay root. */
const ID_LIMIT = 0xffffffff;

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/**
 * `user`, `user:group`, numbers or names; empty is root. As Docker: without a group the user's own and those that list
 * it; with one, that alone. A number needs no entry.
 *
 * @throws {DefinitionError} `E_UNKNOWN_USER`
 */
export function lookupUser(root: string, wanted: string): StepUser {
  const [userPart = '', groupPart] = wanted.split(':', 2);
  const user = userPart === '' ? '0' : userPart;
  const passwd = readTable(root, '/etc/passwd').flatMap(passwdEntry);
  // A name may consist of digits; a number is what most mean by it, and Docker tries the name first.
  const entry =
    passwd.find(({ name }) => name === user) ??
    (NUMBER.test(user) ? passwd.find(({ uid }) => uid === Number(user)) : undefined);
  if (entry === undefined && !NUMBER.test(user)) {
    throw unknown('user', user, '/etc/passwd');
  }
  const uid = entry?.uid ?? checkId(user);
  const home = entry?.home || (uid === 0 ? '/root' : '/');
  const groups = readTable(root, '/etc/group').flatMap(groupEntry);
  if (groupPart !== undefined && groupPart !== '') {
    const group = groups.find(({ name }) => name === groupPart);
    if (group === undefined && !NUMBER.test(groupPart)) {
      throw unknown('group', groupPart, '/etc/group');
    }
    const gid = group?.gid ?? checkId(groupPart);
    return { uid, gid, groups: [gid], home };
  }
  const gid = entry?.gid ?? 0;
  const supplementary =
    entry === undefined
      ? []
      : groups.filter(({ members }) => members.includes(entry.name)).map((group) => group.gid);
  return { uid, gid, groups: [...new Set([gid, ...supplementary])], home };
}

export interface OwnerIds {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Ids of an action's owner. A bare number is its own group; a bare name has the user's primary group. `keep` gives 0:0 to
 * what has no source.
 *
 * @throws {DefinitionError} `E_UNKNOWN_USER`
 */
export function lookupOwner(root: string, owner: Owner): OwnerIds {
  switch (owner.kind) {
    case 'keep':
      return { uid: 0, gid: 0 };
    case 'ids':
      return { uid: owner.uid, gid: owner.gid };
    case 'names':
      return ownerOfNames(root, owner.names);
  }
}

/** Digits are numbers here, whatever the image calls its users. */
function ownerOfNames(root: string, names: string): OwnerIds {
  const [user = '', group = ''] = names.split(':', 2);
  const found = lookupUser(root, NUMBER.test(user) ? `0:${group}` : names);
  const uid = NUMBER.test(user) ? checkId(user) : found.uid;
  if (NUMBER.test(group)) {
    return { uid, gid: checkId(group) };
  }
  return { uid, gid: group === '' && NUMBER.test(user) ? uid : found.gid };
}

function readTable(root: string, path: string): string[] {
  const { path: real, stat } = resolveInTree(root, path);
  if (stat === undefined || !stat.isFile() || statSync(join(root, real)).size > MAX_FILE_BYTES) {
    return [];
  }
  return readFileSync(join(root, real), 'utf8').split('\n');
}

function passwdEntry(line: string): PasswdEntry[] {
  const [name, , uid, gid, , home = ''] = line.split(':');
  return name && uid && gid && isId(uid) && isId(gid)
    ? [{ name, uid: Number(uid), gid: Number(gid), home }]
    : [];
}

function groupEntry(line: string): GroupEntry[] {
  const [name, , gid, members = ''] = line.split(':');
  return name && gid && isId(gid)
    ? [{ name, gid: Number(gid), members: members.split(',').filter(Boolean) }]
    : [];
}

function isId(text: string): boolean {
  return NUMBER.test(text) && Number(text) < ID_LIMIT;
}

function checkId(text: string): number {
  if (!isId(text)) {
    throw new DefinitionError(`no such user or group id: ${text}`, { code: 'E_UNKNOWN_USER' });
  }
  return Number(text);
}

function unknown(kind: string, name: string, file: string): DefinitionError {
  return new DefinitionError(`unknown ${kind} '${name}': the image's ${file} does not have it`, {
    code: 'E_UNKNOWN_USER',
  });
}
