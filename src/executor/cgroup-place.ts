/**
 * Where control groups of steps can be made, found by trying. Asked by the front, and only when somebody wants a limit: in its pid
 * namespace the processes of the group that we live in have numbers.
 *
 * Version 2: the group must be ours to divide (delegated by systemd, or a container's), and a group that hands controllers to others may
 * hold no process itself (cgroup-v2.rst, "No Internal Process Constraint"). So those of our own family (this process, what started it,
 * what it started) move into a leaf below it. A group with strangers in it is left alone; then one above it serves, if it is ours and hands
 * controllers on already. Version 1: each controller has a hierarchy of its own, without that rule.
 */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';

export const CONTROLLERS = ['memory', 'cpu', 'pids'] as const;
export type Controller = (typeof CONTROLLERS)[number];

export interface CgroupPlace {
  readonly version: 1 | 2;
  /** Directory in which groups can be made, by controller; the same for all with version 2. What cannot be limited is absent. */
  readonly directories: Readonly<Partial<Record<Controller, string>>>;
  /** Why some are absent; empty when none is. */
  readonly reason: string;
}

export interface FoundPlace {
  readonly place: CgroupPlace;
  /** Puts processes that were moved back where they were. */
  restore(): void;
}

/** What has systemd give a group of its own to a command. */
export const DELEGATION_FIX = 'start it with `systemd-run --user --scope -p Delegate=yes tsbuild …`';

/** Of every group of a step. */
export const STEP_PREFIX = 'tsbuild-step-';
const LEAF = 'tsbuild-leaf';
/** How often those are moved that were born while others were. */
const MOVES = 10;

export interface CgroupSources {
  /** @defaultValue /proc/self/mountinfo */
  readonly mountinfo: string;
  /** @defaultValue /proc/self/cgroup */
  readonly membership: string;
}

export function findCgroupPlace(sources: CgroupSources = ownSources()): FoundPlace {
  const mounts = cgroupMounts(sources.mountinfo);
  const own = memberships(sources.membership);
  const unified = mounts.find(({ kind }) => kind === 'cgroup2');
  const path = unified === undefined ? undefined : within(unified, own.get(''));
  const second = unified === undefined || path === undefined ? undefined : findUnified(unified.point, path);
  if (second !== undefined && Object.keys(second.place.directories).length > 0) {
    return second;
  }
  const first = findFirst(mounts, own);
  if (Object.keys(first.directories).length > 0 || second === undefined) {
    return { place: first, restore: () => undefined };
  }
  return second;
}

function ownSources(): CgroupSources {
  const read = (path: string) => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return '';
    }
  };
  return { mountinfo: read('/proc/self/mountinfo'), membership: read('/proc/self/cgroup') };
}

interface CgroupMount {
  readonly kind: 'cgroup' | 'cgroup2';
  readonly root: string;
  readonly point: string;
  /** Of version 1. */
  readonly controllers: readonly string[];
}

/** Source: proc_pid_mountinfo(5). */
function cgroupMounts(text: string): CgroupMount[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root = '', point = ''] = before.split(' ');
    const [kind, , options = ''] = after.split(' ');
    return kind === 'cgroup' || kind === 'cgroup2'
      ? [{ kind, root: unescaped(root), point: unescaped(point), controllers: options.split(',') }]
      : [];
  });
}

function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** Path of our group, by controller; of version 2 under the empty name. Source: cgroups(7). */
function memberships(text: string): Map<string, string> {
  return new Map(
    text.split('\n').flatMap((line) => {
      const [, names, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
      return names === undefined || path === undefined
        ? []
        : names.split(',').map((name): [string, string] => [name, path]);
    }),
  );
}

/** Our group's directory; undefined when it is not in what is mounted. */
function within({ root, point }: CgroupMount, path: string | undefined): string | undefined {
  if (path === undefined || path.startsWith('/..')) {
    return undefined;
  }
  if (path === root || path === '/') {
    return path === root ? point : undefined;
  }
  if (root === '/') {
    return join(point, path);
  }
  return path.startsWith(`${root}/`) ? join(point, path.slice(root.length)) : undefined;
}

function findFirst(mounts: readonly CgroupMount[], own: ReadonlyMap<string, string>): CgroupPlace {
  const directories: Partial<Record<Controller, string>> = {};
  const reasons = new Set<string>();
  for (const controller of CONTROLLERS) {
    const mount = mounts.find(
      ({ kind, controllers }) => kind === 'cgroup' && controllers.includes(controller),
    );
    const directory = mount === undefined ? undefined : within(mount, own.get(controller));
    if (directory === undefined) {
      reasons.add(`no control groups for ${controller} are mounted`);
      continue;
    }
    try {
      probe(directory, () => undefined);
      directories[controller] = directory;
    } catch (error) {
      reasons.add(cannotDivide(directory, error));
    }
  }
  return { version: 1, directories, reason: [...reasons].join('; ') };
}

function findUnified(top: string, start: string): FoundPlace {
  const reasons: string[] = [];
  let best: FoundPlace | undefined;
  // A run that was killed has left itself in the leaf.
  const first = basename(start) === LEAF ? dirname(start) : start;
  for (let group = first; ; group = dirname(group)) {
    try {
      const found = tryGroup(group, group === first);
      const count = Object.keys(found.place.directories).length;
      if (count > Object.keys(best?.place.directories ?? {}).length) {
        best?.restore();
        best = found;
      } else {
        found.restore();
      }
      if (count === CONTROLLERS.length) {
        break;
      }
      reasons.push(found.place.reason);
    } catch (error) {
      reasons.push(cannotDivide(group, error));
    }
    if (group === top || !group.startsWith(`${top}/`)) {
      break;
    }
  }
  const reason = reasons[0] ?? '';
  return best ?? { place: { version: 2, directories: {}, reason }, restore: () => undefined };
}

function cannotDivide(group: string, error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const why =
    code === 'EACCES' || code === 'EPERM'
      ? 'it belongs to somebody else'
      : code === 'EROFS'
        ? 'it is mounted read-only'
        : message;
  return `the control group '${group}' cannot be divided: ${why}`;
}

/** @throws when no group can be made in it. */
function tryGroup(group: string, mayMove: boolean): FoundPlace {
  const available = words(join(group, 'cgroup.controllers'));
  const wanted = CONTROLLERS.filter((name) => available.includes(name));
  let undo: () => void = () => undefined;
  const usable = probe(group, (made) => {
    // Who may not write this may not put a process below it either.
    accessSync(join(group, 'cgroup.procs'), constants.W_OK);
    const subtree = join(group, 'cgroup.subtree_control');
    const missing = wanted.filter((name) => !words(subtree).includes(name));
    const isRoot = !existsSync(join(group, 'cgroup.type'));
    const isInhabited = !isRoot && words(join(group, 'cgroup.procs')).length > 0;
    const moved = isInhabited && mayMove && moveFamily(group);
    // Some controllers the kernel would hand on all the same, and then let no process into what is below.
    if (isInhabited && !moved) {
      throw new Error('other programs live in it');
    }
    const enabled = missing.filter((name) => tryWrite(subtree, `+${name}`));
    undo = () => {
      if (moved && isIdle(group)) {
        for (const name of enabled) {
          tryWrite(subtree, `-${name}`);
        }
        moveBack(group);
      }
    };
    return words(join(made, 'cgroup.controllers'));
  });
  const got = wanted.filter((name) => usable.includes(name));
  const absent = CONTROLLERS.filter((name) => !got.includes(name));
  return {
    place: {
      version: 2,
      directories: Object.fromEntries(got.map((name) => [name, group])),
      reason:
        absent.length === 0
          ? ''
          : `the control group '${group}' does not have the controllers ${absent.join(', ')}`,
    },
    restore: undo,
  };
}

/** Makes a group and removes it. */
function probe<T>(group: string, look: (made: string) => T): T {
  const made = join(group, `tsbuild-probe-${process.pid}`);
  mkdirSync(made);
  try {
    return look(made);
  } finally {
    rmdirSync(made);
  }
}

/** @returns Whether all that live in the group were ours and have moved into its leaf. */
function moveFamily(group: string): boolean {
  const procs = join(group, 'cgroup.procs');
  const family = familyOf(process.pid);
  const strangers = () => words(procs).filter((pid) => !family(Number(pid)));
  if (words(procs).length === 0 || strangers().length > 0) {
    return false;
  }
  const leaf = join(group, LEAF);
  mkdirSync(leaf, { recursive: true });
  for (let round = 0; round < MOVES && words(procs).length > 0; round += 1) {
    for (const pid of words(procs)) {
      tryWrite(join(leaf, 'cgroup.procs'), pid);
    }
  }
  return true;
}

function moveBack(group: string): void {
  for (const pid of words(join(group, LEAF, 'cgroup.procs'))) {
    tryWrite(join(group, 'cgroup.procs'), pid);
  }
  try {
    rmdirSync(join(group, LEAF));
  } catch {
    // Somebody else lives there by now.
  }
}

/** Whether no other run has steps here. */
function isIdle(group: string): boolean {
  try {
    return !readdirSync(group).some((name) => name.startsWith(STEP_PREFIX));
  } catch {
    return false;
  }
}

/** This process, those that it comes from, and those that come from it. A process of another pid namespace, which has the number 0, is none. */
function familyOf(self: number): (pid: number) => boolean {
  const lineage = (pid: number): number[] => {
    const line: number[] = [];
    for (let each: number | undefined = pid; each !== undefined && each > 0 && !line.includes(each); ) {
      line.push(each);
      each = parentOf(each);
    }
    return line;
  };
  const ancestors = lineage(self);
  return (pid) => pid > 0 && (ancestors.includes(pid) || lineage(pid).includes(self));
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, in parentheses, may hold anything.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}

function words(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split(/\s+/)
      .filter((word) => word !== '');
  } catch {
    return [];
  }
}

function tryWrite(path: string, text: string): boolean {
  try {
    writeFileSync(path, text);
    return true;
  } catch {
    return false;
  }
}
