/** SIGKILL at random instants: the next build succeeds, the store is consistent, nothing is left. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { busyboxDefinition } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';

const ROOT = join(import.meta.dirname, '../..');
/** Of each isolation. */
const ROUNDS = 5;
const ISOLATIONS = ['privileged', 'subordinate-ids', 'single-id', 'chroot'] as const;
/** Linear congruential generator of Numerical Recipes: the instants are the same in every run. */
const random = ((state) => () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
})(20261121);

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('SIGKILL', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-kill-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test.each(ISOLATIONS)(
    `at ${ROUNDS} random instants of a build, isolation %s`,
    async (isolation) => {
      const store = join(dir, 'store');
      // Output, a few files, two branches of work, compression and an export: every kind of thing that can be half done.
      const definition = (round: number) =>
        busyboxDefinition(
          `runCommands('echo ${round}; dd if=/dev/urandom of=/blob bs=65536 count=64 2>/dev/null; ls -l /blob')` +
            `.runCommands('mkdir -p /tree; for i in 0 1 2 3 4 5 6 7 8 9; do echo ${round} > /tree/$i; done')` +
            `.runCommands('rm /blob; cat /tree/9')`,
        );
      const file = join(dir, 'image.ts');
      const args = [
        'build',
        file,
        '-t',
        'kill-test',
        '-o',
        `type=oci,dest=${join(dir, 'out.tar')}`,
        '--progress=plain',
        `--isolation=${isolation}`,
      ];
      let wholeMs = 0;
      for (let round = -1; round < ROUNDS; round += 1) {
        writeFileSync(file, definition(round));
        const start = performance.now();
        const child = run(args, store);
        if (round < 0) {
          expect(await ended(child)).toBe(0);
          wholeMs = performance.now() - start;
          continue;
        }
        const victim = Math.floor(random() * 3);
        const timer = setTimeout(
          () => process.kill(descendant(child.pid ?? 0, victim), 'SIGKILL'),
          random() * wholeMs,
        );
        await ended(child);
        clearTimeout(timer);
        await gone(store);
        expect(await ended(run(args, store)), `the build after kill ${round}`).toBe(0);
        check(store);
      }
    },
    600_000,
  );

  /** What every consistent store has. */
  function check(store: string): void {
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(store);
    const left = readdirSync(join(store, 'tmp'));
    expect(left).toEqual([]);
    for (const name of readdirSync(join(store, 'blobs', 'sha256'))) {
      const actual = createHash('sha256')
        .update(readFileSync(join(store, 'blobs', 'sha256', name)))
        .digest('hex');
      expect(actual).toBe(name);
    }
  }
});

function run(args: readonly string[], store: string): ChildProcess {
  return spawn(process.execPath, [join(ROOT, 'bin/tsbuild.js'), ...args], {
    env: { ...process.env, TSBUILD_HOME: store },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/** The process itself, the launcher, or what that started; where there is none yet, the last before. */
function descendant(pid: number, depth: number): number {
  let found = pid;
  for (let level = 0; level < depth; level += 1) {
    const children = readFileSync(`/proc/${found}/task/${found}/children`, 'utf8');
    found = Number(children.split(' ')[0] || found);
  }
  return found;
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once('exit', (code) => resolve(code)));
}

/** Waits until no process has the store in its command line, environment or mounts; the kernel ends them on its own. */
async function gone(store: string): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    const alive = readdirSync('/proc').filter(
      (pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid && mentions(pid, store),
    );
    if (alive.length === 0) {
      return;
    }
    expect(attempt, `processes that survived: ${alive.map(commandLine).join('; ')}`).toBeLessThan(200);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

function mentions(pid: string, store: string): boolean {
  try {
    return [`/proc/${pid}/environ`, `/proc/${pid}/cmdline`, `/proc/${pid}/mountinfo`].some((path) =>
      readFileSync(path, 'utf8').includes(store),
    );
  } catch {
    // It ended while we looked.
    return false;
  }
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return pid;
  }
}
