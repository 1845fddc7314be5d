/** Run as some user with a store and the program of `hostile/attacks.c`: what a hostile step gets, with each profile. */
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Action, ExecAction } from '../../src/graph/action.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { SeccompChoice, WorkerEvent } from '../../src/worker/protocol.ts';
import { busyboxBase } from './busybox-root.ts';

const [storeDir = '', attacks = ''] = process.argv.slice(2);
const signal = new AbortController().signal;
const results: Record<string, unknown> = {};

// A service of the host's, as X11, D-Bus and containerd have them.
const name = `tsbuild-hostile-${process.pid}`;
let reached = 0;
const service = createServer((socket) => {
  reached += 1;
  socket.destroy();
}).listen(`\0${name}`);

const exec = (script: string, more: Partial<ExecAction> = {}): ExecAction => ({
  kind: 'exec',
  argv: ['/bin/sh', '-c', script],
  env: [],
  cwd: '/',
  user: '',
  network: 'host',
  mounts: [],
  secretEnv: [],
  lend: [],
  ...more,
});

async function steps(
  seccomp: SeccompChoice,
  wanted: readonly (readonly [string, ExecAction])[],
): Promise<void> {
  const worker = await startWorker({
    storeDir,
    snapshotter: 'auto',
    hostTrust: { proxies: {}, mirrors: {} },
    seccomp,
    signal,
  });
  results.idMode = worker.hello.idMode;
  const layers: LayerId[] = [];
  const step = async (layer: LayerId, actions: readonly Action[]) => {
    const lines: string[] = [];
    const onEvent = (event: WorkerEvent) => {
      if (event.kind === 'log') {
        lines.push(event.text);
      }
    };
    const image = {
      kind: 'files',
      files: [...base.files, { path: '/bin/attacks', kind: 'file', mode: 0o755, hostPath: attacks }],
    } as const;
    await worker.call(
      'step',
      {
        layer,
        parents: [...layers],
        actions,
        inputs: [{ kind: 'none' }, image],
        secrets: {},
        logPath: join(storeDir, 'logs', `${layer}.log`),
        lentEnv: {},
      },
      { signal, onEvent },
    );
    return lines;
  };
  const base = busyboxBase();
  await step('base' as LayerId, base.actions);
  layers.push('base' as LayerId);
  for (const [title, action] of wanted) {
    results[title] = await step(title as LayerId, [action]);
  }
  await worker.close();
}

const attack = exec(`/bin/attacks ${name} 2>&1`);
await steps({ kind: 'default' }, [
  ['steps', attack],
  ['reached', exec('true')],
]);
results.reached = reached;
console.log(JSON.stringify(results));
service.close();
