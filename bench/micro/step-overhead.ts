/**
 * What a step costs in the worker besides its program: `true` twenty times in a chain, base there already. It leaves out
 * key, look-up and record, which bench/build/step-overhead.ts has; so their difference is the solver's and the store's part.
 *
 *   node bench/micro/step-overhead.ts
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { StepParams } from '../../src/worker/protocol.ts';
import { busyboxBase } from '../../test/support/busybox-root.ts';
import { execAction } from '../../test/support/exec-action.ts';

const STEPS = 20;
const ROUNDS = 3;
const storeDir = mkdtempSync(join(tmpdir(), 'tsbuild-bench-'));
const { signal } = new AbortController();
const started = performance.now();
const worker = await startWorker({
  storeDir,
  snapshotter: 'auto',
  hostTrust: { proxies: {}, mirrors: {} },
  signal,
});
console.log(`worker start ${(performance.now() - started).toFixed(1)} ms, mode ${worker.hello.idMode}`);
const base = busyboxBase();
const step = async (
  name: string,
  parents: readonly LayerId[],
  more: Partial<StepParams>,
): Promise<LayerId> => {
  const layer = name as LayerId;
  await worker.call(
    'step',
    {
      layer,
      parents,
      actions: [],
      inputs: [{ kind: 'none' }],
      secrets: {},
      lentEnv: {},
      logPath: join(storeDir, 'logs', name),
      ...more,
    },
    { signal },
  );
  return layer;
};
try {
  const first = await step('base', [], {
    actions: base.actions,
    inputs: [{ kind: 'none' }, { kind: 'files', files: base.files }],
  });
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const layers = [first];
    for (let number = 0; number < STEPS; number += 1) {
      const begin = performance.now();
      layers.push(
        await step(`r${round}-${number}`, [...layers], {
          actions: [execAction(['true'])],
        }),
      );
      times.push(performance.now() - begin);
    }
  }
  times.sort((a, b) => a - b);
  const at = (share: number) => (times[Math.floor(times.length * share)] ?? 0).toFixed(1);
  console.log(
    `step 'true' x ${times.length}: median ${at(0.5)} ms, p10 ${at(0.1)}, p90 ${at(0.9)}, worst ${at(0.999)}`,
  );
} finally {
  await worker.close();
  rmSync(storeDir, { recursive: true, force: true });
}
