/**
 * Run as some user with a store, a snapshotter and a file that says what a Debian base is made of and what is done to it. Prints
 * digests without times, and what the steps wrote.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AssemblyStep } from '../../src/debian/assembly.ts';
import type { TsbuildError } from '../../src/errors.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { StepParams, WorkerEvent } from '../../src/worker/protocol.ts';
import { execAction } from './exec-action.ts';

interface Plan {
  readonly packages: readonly { readonly sha256: string; readonly path: string }[];
  readonly steps: readonly AssemblyStep[];
  readonly scripts: readonly { readonly name: string; readonly script: string; readonly user?: string }[];
}

const [storeDir = '', snapshotter = 'auto', planFile = ''] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(planFile, 'utf8')) as Plan;
const signal = new AbortController().signal;
const worker = await startWorker({
  storeDir,
  snapshotter: snapshotter as 'auto' | 'overlay' | 'copy',
  hostTrust: { proxies: {}, mirrors: {} },
  signal,
});
const results: Record<string, unknown> = { hello: worker.hello };

async function making(layer: string, make: (onEvent: (event: WorkerEvent) => void) => Promise<unknown>) {
  const lines: string[] = [];
  const onEvent = (event: WorkerEvent) => {
    if (event.kind === 'log') {
      lines.push(event.text);
    }
  };
  try {
    await make(onEvent);
    const { digest } = await worker.call('treeDigest', { layer: layer as LayerId }, { signal });
    results[layer] = { digest, lines };
  } catch (error) {
    const { code, message } = error as TsbuildError;
    results[layer] = { error: { code, message }, lines };
  }
}

const logPath = (name: string) => join(storeDir, 'logs', `${name}.log`);
await making('base', (onEvent) =>
  worker.call(
    'assembleDebian',
    {
      layer: 'base' as LayerId,
      packages: plan.packages,
      steps: plan.steps,
      logPath: logPath('base'),
    },
    { signal, onEvent },
  ),
);
const parents = ['base'];
for (const { name, script, user = '' } of plan.scripts) {
  const params: StepParams = {
    layer: name as LayerId,
    parents: [...parents] as LayerId[],
    actions: [execAction(['/bin/sh', '-ec', script], { env: [['DEBIAN_FRONTEND', 'noninteractive']], user })],
    inputs: [{ kind: 'none' }],
    secrets: {},
    logPath: logPath(name),
    lentEnv: {},
  };
  await making(name, (onEvent) => worker.call('step', params, { signal, onEvent }));
  parents.push(name);
}
await worker.close();
console.log(JSON.stringify(results));
