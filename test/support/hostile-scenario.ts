/** Run as some user with a store and the program of `hostile/attacks.c`: what a hostile step gets, with each profile. */
import { mkdirSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Action, ExecAction, Mount } from '../../src/graph/action.ts';
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

async function withWorker(
  seccomp: SeccompChoice,
  work: (step: (title: string, action: ExecAction) => Promise<void>) => Promise<void>,
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
  await work(async (title, action) => {
    results[title] = await step(title as LayerId, [action]);
  });
  await worker.close();
}

/** A cache that others have too; a link in it leads to what bubblewrap sees of the host, and to a directory of the host's by its path. */
const victim = join(storeDir, '../victim');
mkdirSync(victim, { mode: 0o755 });
const cache: Mount = { kind: 'cache', id: 'common', target: '/c', sharing: 'shared' };
const RACES = 12;

await withWorker({ kind: 'default' }, async (step) => {
  await step('attacks', exec(`/bin/attacks ${name} 2>&1`));
  await step(
    'planted',
    exec(`mkdir -p /c/a; ln -s /oldroot${victim} /c/b; ln -s ${victim} /c/d`, { mounts: [cache] }),
  );
  const swapping = step('swapping', exec('/bin/attacks swap /c/a /c/b /c/stop', { mounts: [cache] }));
  let mounted = 0;
  for (let race = 0; race < RACES; race += 1) {
    const inside: Mount =
      race % 2 === 0
        ? { kind: 'tmpfs', target: '/c/a/x' }
        : { kind: 'inline', target: '/c/a/f', mode: 0o644, data: '' };
    await step(`race-${race}`, exec('true', { mounts: [cache, inside] })).then(
      () => {
        mounted += 1;
      },
      () => undefined,
    );
  }
  await step('stop', exec('touch /c/stop', { mounts: [cache] }));
  await swapping;
  results.mounted = mounted;
});
results.victim = readdirSync(victim);
results.reached = reached;
console.log(JSON.stringify(results));
service.close();
