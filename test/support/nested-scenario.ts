/**
 * Run in a container: what each isolation does there, and what `doctor` says of it. argv: a directory for stores, then the
 * isolations to be tried.
 */

import { join } from 'node:path';
import type { IsolationChoice } from '../../src/base/isolation.ts';
import type { TsbuildError } from '../../src/errors.ts';
import { probeHost } from '../../src/executor/probe.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import { busyboxBase } from './busybox-root.ts';
import { execAction } from './exec-action.ts';

const [home = '', ...isolations] = process.argv.slice(2);
const { signal } = new AbortController();
const SCRIPT = [
  'id -u > /made; cat /made; readlink /proc/self',
  'echo in-shm > /dev/shm/x; cat /dev/shm/x; : > /dev/null',
  'chown 7:7 /made 2>/dev/null && stat -c %u /made || echo no-chown',
  'touch /proc/sys/kernel/hostname 2>/dev/null && echo writable || echo safe',
  'ls / | tr "\\n" " "',
].join('; ');

async function tryIsolation(isolation: IsolationChoice): Promise<unknown> {
  const storeDir = join(home, `store-${isolation}`);
  const lines: string[] = [];
  try {
    const worker = await startWorker({
      storeDir,
      isolation,
      snapshotter: 'auto',
      hostTrust: { proxies: {}, mirrors: {} },
      signal,
    });
    try {
      const base = busyboxBase();
      const common = { secrets: {}, lentEnv: {}, logPath: join(storeDir, 'logs/step.log') };
      await worker.call(
        'step',
        {
          ...common,
          layer: 'base' as LayerId,
          parents: [],
          actions: base.actions,
          inputs: [{ kind: 'none' }, { kind: 'files', files: base.files }],
        },
        { signal },
      );
      await worker.call(
        'step',
        {
          ...common,
          layer: 'step' as LayerId,
          parents: ['base' as LayerId],
          actions: [execAction(['/bin/sh', '-c', SCRIPT])],
          inputs: [{ kind: 'none' }],
        },
        {
          signal,
          onEvent: (event) => {
            if (event.kind === 'log') {
              lines.push(event.text);
            }
          },
        },
      );
      const { isolation: found, idMode, snapshotter, notes } = worker.hello;
      return { isolation: found, idMode, snapshotter, notes, lines };
    } finally {
      await worker.close();
    }
  } catch (error) {
    const { code, message, hint, errno } = error as TsbuildError & { readonly errno?: string };
    return { code, message, hint, errno, lines };
  }
}

const results: Record<string, unknown> = {};
for (const isolation of isolations) {
  results[isolation] = await tryIsolation(isolation as IsolationChoice);
}
const checks = await probeHost({ env: { ...process.env, TSBUILD_HOME: join(home, 'store-doctor') } });
console.log(
  JSON.stringify({ results, checks: Object.fromEntries(checks.map((check) => [check.name, check])) }),
);
