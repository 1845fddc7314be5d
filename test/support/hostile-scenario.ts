/** Run as some user with a store and the program of `hostile/attacks.c`: what hostile steps get, and what they leave. */

import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { ExecAction, Mount } from '../../src/graph/action.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { SeccompChoice, WorkerEvent } from '../../src/worker/protocol.ts';
import { busyboxBase } from './busybox-root.ts';
import { execAction } from './exec-action.ts';

const [storeDir = '', attacks = '', only = ''] = process.argv.slice(2);
const results: Record<string, unknown> = {};

// A service of the host's, as X11, D-Bus and containerd have them.
const name = `tsbuild-hostile-${process.pid}`;
let reached = 0;
const service = createServer((socket) => {
  reached += 1;
  socket.destroy();
}).listen(`\0${name}`);

const exec = (script: string, more: Partial<ExecAction> = {}): ExecAction =>
  execAction(['/bin/sh', '-c', script], more);

type RunStep = (title: string, action: ExecAction, cancelAt?: string) => Promise<string[]>;

/** A worker with a profile. Each step is on the base; what it printed, also if it failed. */
async function withWorker(seccomp: SeccompChoice, work: (step: RunStep) => Promise<void>): Promise<void> {
  const { signal } = new AbortController();
  const hostTrust = { proxies: {}, mirrors: {} };
  const worker = await startWorker({ storeDir, snapshotter: 'auto', hostTrust, seccomp, signal });
  results.idMode = worker.hello.idMode;
  const { actions, files } = busyboxBase();
  const program = { path: '/bin/attacks', kind: 'file', mode: 0o755, hostPath: attacks } as const;
  const shared = {
    inputs: [{ kind: 'none' }, { kind: 'files', files: [...files, program] }] as const,
    secrets: {},
    lentEnv: {},
  };
  const base = 'base' as LayerId;
  const logPath = join(storeDir, 'logs', 'step.log');
  await worker.call('step', { ...shared, layer: base, parents: [], actions, logPath }, { signal });
  await work(async (title, action, cancelAt) => {
    const lines: string[] = [];
    const own = new AbortController();
    const onEvent = (event: WorkerEvent) => {
      if (event.kind === 'log') {
        lines.push(event.text);
        if (event.text === cancelAt) {
          own.abort();
        }
      }
    };
    const step = { ...shared, layer: title as LayerId, parents: [base], actions: [action], logPath };
    await worker.call('step', step, { signal: own.signal, onEvent }).catch(() => lines.push('FAILED'));
    return lines;
  });
  await worker.close();
}

const attack = exec(`/bin/attacks ${name} ${process.pid} 2>&1`);

await withWorker({ kind: 'default' }, async (step) => {
  results.attacks = await step('attacks', attack);
  if (only !== 'attacks') {
    results.alone = await step('alone', { ...attack, network: 'none' });
    await races(step);
    await crowd(step);
    results.setUserId = await step(
      'set-user-id',
      exec('cp /bin/busybox /evil && chmod 4755 /evil && stat -c %a /evil'),
    );
  }
});
if (only !== 'attacks') {
  await withWorker({ kind: 'unconfined' }, async (step) => {
    results.unconfined = await step('unconfined', attack);
  });
  const path = '/profile.json';
  const text = JSON.stringify({
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 122 }],
  });
  await withWorker({ kind: 'file', path, text }, async (step) => {
    results.ownProfile = await step('own-profile', exec('mkdir /d 2>&1; touch /f && echo made'));
    results.insecure = await step('insecure', exec('mkdir /d && echo made', { security: 'insecure' }));
  });
}
results.modes = ['snapshots', 'mounts', 'tmp', 'logs'].map(
  (part) => statSync(join(storeDir, part)).mode & 0o777,
);
results.reached = reached;
console.log(JSON.stringify(results));
service.close();

/**
 * One step swaps a directory of a cache for a link, as fast as it can, while others have something mounted in it. The link leads where
 * bubblewrap sees the host for as long as it mounts.
 */
async function races(step: RunStep): Promise<void> {
  const victim = join(storeDir, '../victim');
  mkdirSync(victim, { mode: 0o755 });
  const mounts: Mount[] = [{ kind: 'cache', id: 'common', target: '/c', sharing: 'shared' }];
  await step('planted', exec(`mkdir -p /c/a; ln -s /oldroot${victim} /c/b`, { mounts }));
  const swapping = step('swapping', exec('/bin/attacks swap /c/a /c/b /c/stop', { mounts }));
  const races: string[] = [];
  for (let race = 0; race < 10; race += 1) {
    const inside: Mount =
      race % 2 === 0
        ? { kind: 'tmpfs', target: '/c/a/x' }
        : { kind: 'inline', target: '/c/a/f', mode: 0o644, data: '' };
    races.push(...(await step(`race-${race}`, exec('echo MOUNTED', { mounts: [...mounts, inside] }))));
  }
  await step('stop', exec('touch /c/stop', { mounts }));
  await swapping;
  // While nobody is at it: what is mounted within is there, and as it was wanted.
  const inside: Mount[] = [
    { kind: 'tmpfs', target: '/c/a/t', sizeBytes: 1 << 20 },
    { kind: 'inline', target: '/c/a/t/g', mode: 0o644, data: Buffer.from('deep').toString('base64') },
    { kind: 'inline', target: '/c/a/f', mode: 0o644, data: Buffer.from('file').toString('base64') },
  ];
  results.within = await step(
    'within',
    exec(
      'rm -f /c/b /c/a/x 2>/dev/null; cat /c/a/f /c/a/t/g; touch /c/a/t/new && df -k /c/a/t | tail -n 1 | tr -s " " | cut -d" " -f2; echo x 2>&1 > /c/a/f; echo x > /c/kept && echo kept',
      {
        mounts: [...mounts, ...inside],
      },
    ),
  );
  results.victim = readdirSync(victim);
  results.races = races;
}

/** Many that end for nobody, in sessions of their own, and the step is cancelled. */
async function crowd(step: RunStep): Promise<void> {
  const mark = `9${process.pid}`;
  const script = `trap "" TERM INT HUP; for i in $(seq 100); do setsid sleep ${mark} & done; echo ready; wait`;
  results.crowd = await step('crowd', exec(script), 'ready');
  results.leftOfCrowd = readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8') === `sleep\0${mark}\0`;
    } catch {
      return false;
    }
  });
}
