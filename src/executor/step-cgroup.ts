/** The control group of one program: limits, what came of them, and its end with everything in it. */

import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { HostError } from '../errors.ts';
import type { ResourceLimits } from '../graph/action.ts';
import { type CgroupPlace, CONTROLLERS, type Controller, STEP_PREFIX } from './cgroup-place.ts';

const CPU_PERIOD_US = 100_000;
/** The kernel takes no smaller quota. */
const MIN_CPU_QUOTA_US = 1000;
/** What a killed run left is older than this; a group that is being made is not. */
const LEFT_BEHIND_MS = 60_000;
/** How long the kernel may take to end what was killed. */
const END_TIMEOUT_MS = 10_000;
const RETRY_MS = 5;

const WORDS: Readonly<Record<keyof ResourceLimits, Controller>> = {
  memoryBytes: 'memory',
  cpus: 'cpu',
  pids: 'pids',
};

/** Which of the limits cannot be kept there. */
export function unkeptLimits(limits: ResourceLimits, place: CgroupPlace | undefined): Controller[] {
  return Object.entries(WORDS)
    .filter(
      ([name, controller]) =>
        limits[name as keyof ResourceLimits] !== undefined && place?.directories[controller] === undefined,
    )
    .map(([, controller]) => controller);
}

export class StepCgroup {
  /** To be entered, all of them. */
  readonly directories: readonly string[];
  /** Shows a program its own limits, where there is one directory for all. */
  readonly view: string | undefined;
  readonly #memory: string | undefined;
  readonly #pids: string | undefined;
  readonly #version: 1 | 2;

  /**
   * @param ownTasks - Of the program that makes the sandbox, which lives in the group too.
   * @throws {HostError} `E_LIMITS`. Nothing stays behind then.
   */
  constructor({ version, directories }: CgroupPlace, limits: ResourceLimits, ownTasks: number) {
    const name = `${STEP_PREFIX}${randomBytes(6).toString('hex')}`;
    const made = new Map<string, string>();
    try {
      for (const [word, controller] of Object.entries(WORDS)) {
        const value = limits[word as keyof ResourceLimits];
        const parent = directories[controller];
        if (value === undefined || parent === undefined) {
          continue;
        }
        let directory = made.get(parent);
        if (directory === undefined) {
          sweep(parent);
          directory = join(parent, name);
          mkdirSync(directory);
          made.set(parent, directory);
        }
        limit(directory, version, controller, controller === 'pids' ? value + ownTasks : value);
      }
    } catch (cause) {
      for (const directory of made.values()) {
        rmdirSync(directory);
      }
      throw new HostError(`cannot limit a step: ${(cause as Error).message}`, {
        code: 'E_LIMITS',
        cause,
        hint: '`tsbuild doctor` shows which limits can be kept here',
      });
    }
    this.directories = [...made.values()];
    this.#version = version;
    this.#memory = limits.memoryBytes === undefined ? undefined : made.get(directories.memory ?? '');
    this.#pids = limits.pids === undefined ? undefined : made.get(directories.pids ?? '');
    this.view = version === 2 ? this.directories[0] : undefined;
  }

  /** Which limit something in the group ran into. */
  reached(): 'memory' | 'pids' | undefined {
    if (this.#memory !== undefined) {
      const file = this.#version === 2 ? 'memory.events' : 'memory.oom_control';
      if (counter(join(this.#memory, file), 'oom_kill') > 0) {
        return 'memory';
      }
    }
    return this.#pids !== undefined && counter(join(this.#pids, 'pids.events'), 'max') > 0
      ? 'pids'
      : undefined;
  }

  /** Ends all that is in it. */
  async remove(): Promise<void> {
    for (const directory of this.directories) {
      await removeGroup(directory);
    }
  }
}

function limit(directory: string, version: 1 | 2, controller: Controller, value: number): void {
  const write = (file: string, text: string) => writeFileSync(join(directory, file), text);
  const writeIfThere = (file: string, text: string) => {
    // Swap may not be counted on this machine; some kernels lack the rest.
    if (existsSync(join(directory, file))) {
      write(file, text);
    }
  };
  switch (controller) {
    case 'memory':
      // Otherwise a step would swap where it should end.
      if (version === 2) {
        write('memory.max', String(value));
        writeIfThere('memory.swap.max', '0');
        writeIfThere('memory.oom.group', '1');
      } else {
        write('memory.limit_in_bytes', String(value));
        writeIfThere('memory.memsw.limit_in_bytes', String(value));
      }
      break;
    case 'cpu': {
      const quota = Math.max(MIN_CPU_QUOTA_US, Math.round(value * CPU_PERIOD_US));
      if (version === 2) {
        write('cpu.max', `${quota} ${CPU_PERIOD_US}`);
      } else {
        write('cpu.cfs_period_us', String(CPU_PERIOD_US));
        write('cpu.cfs_quota_us', String(quota));
      }
      break;
    }
    case 'pids':
      write('pids.max', String(value));
  }
}

function counter(path: string, name: string): number {
  try {
    const [, count] = new RegExp(`^${name} (\\d+)$`, 'm').exec(readFileSync(path, 'utf8')) ?? [];
    return Number(count ?? 0);
  } catch {
    return 0;
  }
}

/** What runs that were killed have left: empty, for their steps died with them. */
function sweep(parent: string): void {
  for (const name of readdirSync(parent)) {
    const path = join(parent, name);
    try {
      if (name.startsWith(STEP_PREFIX) && Date.now() - statSync(path).ctimeMs > LEFT_BEHIND_MS) {
        rmdirSync(path);
      }
    } catch {
      // In use, or another's.
    }
  }
}

async function removeGroup(directory: string): Promise<void> {
  const deadline = Date.now() + END_TIMEOUT_MS;
  for (;;) {
    try {
      // A sandbox program may have made groups of its own.
      for (const entry of readdirSync(directory, { withFileTypes: true })) {
        if (entry.isDirectory()) {
          await removeGroup(join(directory, entry.name));
        }
      }
      rmdirSync(directory);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') {
        return;
      }
      if (code !== 'EBUSY' || Date.now() > deadline) {
        throw error;
      }
      killAll(directory);
      await delay(RETRY_MS);
    }
  }
}

/** `cgroup.kill` is of version 2, since Linux 5.14. */
function killAll(directory: string): void {
  const kill = join(directory, 'cgroup.kill');
  if (existsSync(kill)) {
    writeFileSync(kill, '1');
    return;
  }
  for (const pid of readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n')) {
    // 0 is one that we cannot see, and for kill(2) all of our own.
    if (Number(pid) > 0) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It has just ended.
      }
    }
  }
}

/** For `doctor`. */
export function keptLimits({ directories }: CgroupPlace): Controller[] {
  return CONTROLLERS.filter((name) => directories[name] !== undefined);
}
