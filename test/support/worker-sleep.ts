/** Starts a step that sleeps, prints its own pid when the step runs, and waits to be killed. */
import { join } from 'node:path';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import { busyboxBase } from './busybox-root.ts';

const [storeDir = '', marker = ''] = process.argv.slice(2);
const { signal } = new AbortController();
const worker = await startWorker({
  storeDir,
  snapshotter: 'auto',
  hostTrust: { proxies: {}, mirrors: {} },
  signal,
});
const base = busyboxBase();
const common = { secrets: {}, lentEnv: {} };
await worker.call(
  'step',
  {
    ...common,
    layer: 'sleep-base' as LayerId,
    parents: [],
    actions: base.actions,
    inputs: [{ kind: 'none' }, { kind: 'files', files: base.files }],
    logPath: join(storeDir, 'logs/base.log'),
  },
  { signal },
);
const argv = ['/bin/sh', '-c', `echo up; sleep ${marker} & sleep ${marker}`];
await worker.call(
  'step',
  {
    ...common,
    layer: 'sleep' as LayerId,
    parents: ['sleep-base' as LayerId],
    actions: [
      {
        kind: 'exec',
        argv,
        env: [],
        cwd: '/',
        user: '',
        network: 'host',
        mounts: [],
        secretEnv: [],
        lend: [],
      },
    ],
    inputs: [{ kind: 'none' }],
    logPath: join(storeDir, 'logs/sleep.log'),
  },
  { signal, onEvent: () => console.log(process.pid) },
);
