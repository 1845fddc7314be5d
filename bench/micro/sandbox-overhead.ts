/**
 * What a step costs in each isolation and sandbox when its command does nothing: `true` on a base that is there, the ways in turn, so that
 * whatever else the machine does falls on all of them alike.
 *
 *   node bench/micro/sandbox-overhead.ts [ROUNDS] [ISOLATION:SANDBOX…]
 *
 * Prints the median and the spread of a step in the worker, its mounts and its commit included, and the ratio to the first way. By default
 * those of root; of a user: `chroot:auto subordinate-ids:bubblewrap single-id:bubblewrap …`. In `chroot` a step has a mount namespace
 * and little else, so that it is the plain one.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IsolationChoice } from '../../src/base/isolation.ts';
import type { WantedSandbox } from '../../src/executor/choose-sandbox.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { StepParams } from '../../src/worker/protocol.ts';
import { busyboxBase } from '../../test/support/busybox-root.ts';
import { execAction } from '../../test/support/exec-action.ts';

const [roundsGiven = '60', ...given] = process.argv.slice(2);
const rounds = Number(roundsGiven);
const ways =
  given.length > 0 ? given : ['chroot:auto', 'privileged:bubblewrap', 'privileged:runc', 'privileged:crun'];
const dir = mkdtempSync(join(process.env.TSBUILD_BENCH_DIR ?? tmpdir(), 'tsbuild-bench-'));
const { signal } = new AbortController();
const base = busyboxBase();

async function open(way: string) {
  const [isolation, sandbox] = way.split(':') as [IsolationChoice, WantedSandbox];
  const storeDir = join(dir, way.replace(':', '-'));
  const worker = await startWorker({
    storeDir,
    snapshotter: 'auto',
    hostTrust: { proxies: {}, mirrors: {} },
    isolation,
    sandbox,
    signal,
  });
  const step = async (name: string, more: Partial<StepParams>) => {
    const begin = performance.now();
    await worker.call(
      'step',
      {
        layer: name as LayerId,
        parents: ['base' as LayerId],
        actions: [],
        inputs: [{ kind: 'none' }],
        secrets: {},
        lentEnv: {},
        logPath: join(storeDir, 'logs', name),
        ...more,
      },
      { signal },
    );
    return performance.now() - begin;
  };
  await step('base', {
    parents: [],
    actions: base.actions,
    inputs: [{ kind: 'none' }, { kind: 'files', files: base.files }],
  });
  return { way, worker, step, timesMs: [] as number[] };
}

const benches = await Promise.all(ways.map(open));
try {
  for (let round = -3; round < rounds; round += 1) {
    for (const { step, timesMs } of benches) {
      const timeMs = await step(`round${round}`, {
        actions: [execAction(['true'])],
      });
      // The first ones warm up.
      if (round >= 0) {
        timesMs.push(timeMs);
      }
    }
  }
  console.log(`n=${rounds}`);
  const first = at(benches[0]?.timesMs ?? [], 0.5);
  for (const { way, timesMs } of benches) {
    const [low, median, high] = [0.05, 0.5, 0.95].map((share) => at(timesMs, share));
    console.log(
      `${way.padEnd(26)}  median ${median?.toFixed(1)} ms, 5 % to 95 %: ${low?.toFixed(1)} to ${high?.toFixed(1)} ms, ` +
        `${((median ?? Number.NaN) / first).toFixed(2)} times ${ways[0]}`,
    );
  }
} finally {
  await Promise.all(benches.map(({ worker }) => worker.close()));
  rmSync(dir, { recursive: true, force: true });
}

function at(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN;
}
