/** Builds graphs that a test makes by hand, with the engine's own parts. For what no frontend of this test needs to know. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { assembleParts } from '../../src/engine/assemble-parts.ts';
import type { GivenById } from '../../src/engine/given-by-id.ts';
import { openGivenById } from '../../src/engine/given-by-id.ts';
import { BuildInputs } from '../../src/engine/local-inputs.ts';
import { makeOps } from '../../src/engine/make-ops.ts';
import { Programs } from '../../src/engine/programs.ts';
import { RemoteSources } from '../../src/engine/remote-sources.ts';
import { Store } from '../../src/engine/store.ts';
import { WorkerOnDemand } from '../../src/engine/worker-on-demand.ts';
import { type Action, ROOT_OWNER } from '../../src/graph/action.ts';
import { firstOutput, type Vertex, vertex } from '../../src/graph/vertex.ts';
import { readSettings } from '../../src/settings.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { type Solution, solve } from '../../src/solver/solve.ts';
import { busyboxPath } from './busybox.ts';

const PLATFORM = { os: 'linux', architecture: 'amd64' };

export interface GraphBuild extends AsyncDisposable {
  readonly events: BuildEvent[];
  /** An image whose `/bin/sh` is busybox. */
  readonly base: Vertex;
  /** A build vertex on another. */
  step(label: string, on: Vertex, ...actions: Action[]): Vertex;
  solve(
    tips: readonly Vertex[],
    options?: { readonly given?: GivenById; readonly cacheMode?: 'use' | 'force' },
  ): Promise<Solution>;
}

export function openGraphBuild(storeDir: string): GraphBuild {
  const environment = { PATH: process.env.PATH };
  const settings = readSettings(environment);
  const store = Store.open(storeDir, Date.now);
  const { signal } = new AbortController();
  const worker = new WorkerOnDemand({ storeDir, environment, settings, hostCa: 'never', signal });
  const events: BuildEvent[] = [];
  const parts = assembleParts({
    store,
    settings: { ...settings, offline: true },
    environment,
    programs: new Programs({}, 'warn'),
    worker: () => worker.get(),
    jobs: 2,
    onEvent: (event) => events.push(event),
    now: Date.now,
    signal,
  });
  const inputs = new BuildInputs(store.stats, Date.now);
  const step: GraphBuild['step'] = (label, on, ...actions) =>
    vertex({ kind: 'build', actions }, [firstOutput(on)], { platform: PLATFORM, label });
  const scratch = vertex({ kind: 'scratch' }, [], { platform: PLATFORM, label: 'scratch' });
  const busybox: Action = {
    kind: 'mkfile',
    path: '/bin/sh',
    mode: 0o755,
    owner: ROOT_OWNER,
    data: Buffer.from(readBusybox()).toString('base64'),
  };
  return {
    events,
    base: step('busybox', scratch, busybox),
    step,
    solve: (tips, { given = openGivenById({}, { environment: {}, cwd: '/' }), cacheMode = 'use' } = {}) =>
      solve(tips, {
        ops: makeOps(parts, [], inputs, async () => new RemoteSources(parts), given),
        cache: parts.cache,
        jobs: 2,
        signal,
        onEvent: (event) => events.push(event),
        now: Date.now,
        generation: randomUUID,
        cacheMode,
      }),
    [Symbol.asyncDispose]: async () => {
      await worker.close();
      await parts.registries.close();
      store.close();
    },
  };
}

function readBusybox(): Uint8Array {
  return readFileSync(busyboxPath());
}
