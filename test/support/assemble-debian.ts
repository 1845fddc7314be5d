/**
 * Performs the steps of a Debian base as root with `unshare` and `chroot`, without the engine: for the bench, and for
 * tests of the steps themselves.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AssemblyStep, assemblySteps } from '../../src/debian/assembly.ts';
import type { DebianPlan } from '../../src/debian/resolve.ts';
import { native } from '../../src/native/addon.ts';

export interface AssembleOptions {
  /** Is made; must not exist. */
  readonly root: string;
  /** Where the packages of the plan are, each under its SHA-256. */
  readonly directory: string;
  readonly onStep?: (what: string, output: string) => void;
}

export async function assembleDebian(plan: DebianPlan, options: AssembleOptions): Promise<void> {
  mkdirSync(options.root, { mode: 0o755 });
  for (const step of assemblySteps(plan)) {
    await perform(step, options);
  }
}

async function perform(step: AssemblyStep, { root, directory, onStep }: AssembleOptions): Promise<void> {
  switch (step.kind) {
    case 'skeleton':
      for (const { kind, path, mode, content } of step.entries) {
        const target = `${root}/${path}`;
        if (kind === 'directory') {
          mkdirSync(target, { mode });
        } else if (kind === 'symlink') {
          symlinkSync(content, target);
        } else {
          writeFileSync(target, content, { mode });
        }
      }
      return;
    case 'unpack': {
      const packages = step.packages.map(({ sha256, mayDefer }) => ({
        path: `${directory}/${sha256}`,
        sha256,
        mayDefer,
      }));
      const { entryCount, deferred } = await native().unpackDebs({ root, packages });
      onStep?.(`unpack ${entryCount} entries`, `left to dpkg: ${deferred.join(' ')}`);
      return;
    }
    case 'exec': {
      const output = runInRoot(root, step.argv, step.env);
      onStep?.(step.description, output);
      return;
    }
    case 'clamp': {
      const time = `@${step.epochSeconds}`;
      const touch = ['-exec', 'touch', '--no-dereference', `--date=${time}`, '{}', '+'];
      const run = spawnSync('find', [root, '-newermt', time, ...touch], { encoding: 'utf8' });
      if (run.status !== 0) {
        throw new Error(`find ended with ${run.status}: ${run.stderr}`);
      }
      onStep?.('clamp times', '');
      return;
    }
  }
}

/** Runs a command in namespaces of its own, without a network; its output, or an error with it. */
export function runInRoot(
  root: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>> = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
): string {
  const mounts = 'mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; exec chroot "$0" "$@"';
  const namespaces = ['--mount', '--pid', '--fork', '--uts', '--ipc', '--net'];
  const run = spawnSync('unshare', [...namespaces, 'sh', '-euc', mounts, root, ...argv], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (run.status !== 0) {
    throw new Error(`'${argv[0]}' ended with ${run.status ?? run.signal}: ${run.stdout}${run.stderr}`);
  }
  return `${run.stdout}${run.stderr}`;
}
