/** Run as some user with a store and a snapshotter: steps that give files away and become others, and the layers that came of them. */

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { TsbuildError } from '../../src/errors.ts';
import type { Action, ExecAction } from '../../src/graph/action.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { InputFile, StepParams, WorkerEvent } from '../../src/worker/protocol.ts';
import { busyboxBase } from './busybox-root.ts';
import { execAction } from './exec-action.ts';
import { RECORDER_CASES } from './recorder-cases.ts';

const [storeDir = '', snapshotter = 'auto', ownerKeeping] = process.argv.slice(2);
const signal = new AbortController().signal;
const worker = await startWorker({
  storeDir,
  snapshotter: snapshotter as 'auto' | 'overlay' | 'copy',
  ...(ownerKeeping === 'pretended' ? { ownerKeeping } : {}),
  hostTrust: { proxies: {}, mirrors: {} },
  signal,
});

async function step(layer: string, params: Partial<StepParams>) {
  const lines: string[] = [];
  const warnings: string[] = [];
  const onEvent = (event: WorkerEvent) => {
    if (event.kind === 'log') {
      lines.push(event.text);
    } else if (event.kind === 'warning') {
      warnings.push(event.code);
    }
  };
  const all: StepParams = {
    layer: layer as LayerId,
    parents: [],
    actions: [],
    inputs: [{ kind: 'none' }],
    secrets: {},
    logPath: join(storeDir, 'logs', `${layer}.log`),
    lentEnv: {},
    ...params,
  };
  try {
    await worker.call('step', all, { signal, onEvent });
    const { digest } = await worker.call('treeDigest', { layer: layer as LayerId }, { signal });
    return { lines, warnings, digest };
  } catch (error) {
    const { code, message } = error as TsbuildError;
    return { lines, warnings, error: { code, message } };
  }
}

function exec(script: string, more: Partial<ExecAction> = {}): Action {
  return execAction(['/bin/sh', '-ec', script], { network: 'none', ...more });
}

/** Programs of this machine with the libraries that they need. */
function programs(...names: string[]): InputFile[] {
  const paths = new Set<string>();
  for (const name of names) {
    const program = execFileSync('which', [name], { encoding: 'utf8' }).trim();
    const listed = execFileSync('ldd', [program], { encoding: 'utf8' });
    paths.add(program);
    for (const [, library = ''] of listed.matchAll(/(\/\S+) \(0x/g)) {
      paths.add(library);
    }
  }
  return [...paths].map((path) => ({
    path,
    kind: 'file',
    mode: 0o755,
    hostPath: execFileSync('readlink', ['-f', path], { encoding: 'utf8' }).trim(),
  }));
}

const base = busyboxBase();
const files = [...base.files, ...programs('setpriv', 'setfacl', 'getfacl', 'setcap', 'getcap')];
const results: Record<string, unknown> = { hello: worker.hello };
const names = Object.keys(RECORDER_CASES);
results.base = await step('base', {
  actions: base.actions,
  inputs: [{ kind: 'none' }, { kind: 'files', files }],
});
for (const name of names) {
  const { scripts, user = '', below, mounts, from } = RECORDER_CASES[name] ?? { scripts: [] };
  results[name] = await step(name, {
    parents: ['base', ...(below ?? [])] as LayerId[],
    inputs: [
      { kind: 'none' },
      ...(from === undefined ? [] : [{ kind: 'layers' as const, layers: ['base', from] as LayerId[] }]),
    ],
    actions: scripts.map((script) => exec(script, { user, ...(mounts === undefined ? {} : { mounts }) })),
  });
}
await worker.close();
console.log(JSON.stringify(results));
