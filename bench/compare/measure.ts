/** One command as a whole process: how long, how much memory, and whether it worked. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import type { Command } from './peer.ts';

const SAMPLE_MS = 10;
const PAGE_BYTES = 4096;
/** Of what it said, for the error. */
const MAX_SAID_CHARS = 4000;
/** Twice what the slowest row takes: it hangs. */
const TIMEOUT_MS = 45_000;

/** It was ended from outside. */
export class Hung extends Error {}

/** Wall-clock seconds. @throws {Hung}; {Error} when it ends with anything but 0. */
export async function timeCommand(command: Command, timeoutMs = TIMEOUT_MS): Promise<number> {
  const start = performance.now();
  await runCommand(command, timeoutMs);
  return (performance.now() - start) / 1000;
}

/**
 * Most of the memory that the command, everything below it and `servers` with everything below those held at one time: the sum of what is
 * resident and not backed by files, sampled. In a run of its own, as sampling costs time.
 */
export async function peakMemory(command: Command, servers: readonly number[]): Promise<number> {
  let peak = 0;
  await runCommand(command, TIMEOUT_MS, (pid) => {
    const timer = setInterval(() => {
      peak = Math.max(peak, residentBytes([pid, ...servers]));
    }, SAMPLE_MS);
    return () => clearInterval(timer);
  });
  return peak;
}

async function runCommand(
  { argv, env }: Command,
  timeoutMs: number,
  watch?: (pid: number) => () => void,
): Promise<void> {
  const [program, ...args] = argv;
  const child = spawn(program, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const unwatch = child.pid === undefined ? undefined : watch?.(child.pid);
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString('utf8')).slice(-MAX_SAID_CHARS);
  });
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    // Those below it too: they work on, and hold its standard error open.
    for (const pid of child.pid === undefined ? [] : withDescendants([child.pid])) {
      killIfThere(pid);
    }
  }, timeoutMs);
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  clearTimeout(timer);
  unwatch?.();
  if (hung) {
    throw new Hung(`${argv.join(' ')} did not end in ${timeoutMs / 1000} s`);
  }
  if (status !== 0) {
    throw new Error(`${argv.join(' ')} ended with ${status}:\n${said}`);
  }
}

/** Anonymous memory (proc_pid_statm(5): resident without shared) of these processes and their descendants. */
function residentBytes(roots: readonly number[]): number {
  return withDescendants(roots).reduce((bytes, pid) => bytes + anonymousBytes(pid), 0);
}

function withDescendants(roots: readonly number[]): readonly number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (Number.isInteger(pid)) {
      const parent = parentOf(pid);
      children.set(parent, [...(children.get(parent) ?? []), pid]);
    }
  }
  const found = [...roots];
  // It grows while it is walked.
  for (const pid of found) {
    found.push(...(children.get(pid) ?? []));
  }
  return found;
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

function parentOf(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[1]);
  } catch {
    return -1;
  }
}

function anonymousBytes(pid: number): number {
  try {
    const [, resident = 0, shared = 0] = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ').map(Number);
    return (resident - shared) * PAGE_BYTES;
  } catch {
    return 0;
  }
}
