/**
 * Starts a step that sleeps and leaves daemons, prints its own pid when the step runs, and waits to be killed. SIGTERM cancels the
 * step. A step that ends is told, and the worker lives on.
 */

import { join } from 'node:path';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import { busyboxBase } from './busybox-root.ts';
import { execAction } from './exec-action.ts';

const [storeDir = '', marker = '', isolation = 'auto'] = process.argv.slice(2);
const { signal } = new AbortController();
const cancel = new AbortController();
process.on('SIGTERM', () => cancel.abort(new Error('cancelled')));
const worker = await startWorker({
  storeDir,
  snapshotter: 'auto',
  isolation: isolation as 'auto' | 'chroot',
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
const argv = [
  '/bin/sh',
  '-c',
  `(setsid sh -c "sleep ${marker} & sleep ${marker}" &); sleep ${marker} & echo up; sleep ${marker}`,
];
const step = worker.call(
  'step',
  {
    ...common,
    layer: 'sleep' as LayerId,
    parents: ['sleep-base' as LayerId],
    actions: [execAction(argv)],
    inputs: [{ kind: 'none' }],
    logPath: join(storeDir, 'logs/sleep.log'),
  },
  { signal: cancel.signal, onEvent: () => console.log(process.pid) },
);
await step.catch((error: Error) => console.log(error.message));
setInterval(() => {}, 60_000);
