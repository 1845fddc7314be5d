/** Builds graphs that a test makes by hand, with the engine's own parts. For what no frontend of this test needs to know. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SqliteCache } from '../../src/cache/sqlite-cache.ts';
import { BlobSources } from '../../src/engine/blob-sources.ts';
import type { GivenById } from '../../src/engine/given-by-id.ts';
import { openGivenById } from '../../src/engine/given-by-id.ts';
import { BuildInputs } from '../../src/engine/local-inputs.ts';
import { makeOps } from '../../src/engine/make-ops.ts';
import type { EngineParts } from '../../src/engine/parts.ts';
import { Registries } from '../../src/engine/registries.ts';
import { RemoteSources } from '../../src/engine/remote-sources.ts';
import { SecretFiles } from '../../src/engine/secret-files.ts';
import { secretSources } from '../../src/engine/secret-sources.ts';
import { Store } from '../../src/engine/store.ts';
import { Volumes } from '../../src/engine/volumes.ts';
import { type Action, ROOT_OWNER } from '../../src/graph/action.ts';
import { firstOutput, type Vertex, vertex } from '../../src/graph/vertex.ts';
import { LayerStore } from '../../src/layer/layer-store.ts';
import { readSettings } from '../../src/settings.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { type Solution, solve } from '../../src/solver/solve.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { Worker } from '../../src/worker/protocol.ts';
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
  const secrets = new SecretFiles({ storeDir: store.dir, environment: 'main', now: Date.now });
  const sources = secretSources(environment, secrets);
  const registries = new Registries({
    secretSources: sources,
    mirrors: [],
    offline: true,
    environment,
    onWarning: () => undefined,
  });
  let started: Promise<Worker> | undefined;
  const { signal } = new AbortController();
  const worker = () => {
    started ??= startWorker({
      storeDir,
      snapshotter: 'auto',
      hostTrust: { proxies: {}, mirrors: {} },
      signal,
    });
    return started;
  };
  const layers = new LayerStore({
    scratchFile: (name) => store.scratchFile(name),
    records: store.layers,
    blobs: store.blobs,
    worker,
    fetcher: new BlobSources(store.blobs, registries),
  });
  const cache = new SqliteCache({
    meta: store.meta,
    layers: store.layers,
    storeDir,
    layerDigest: async (layer) => (await (await worker()).call('treeDigest', { layer }, { signal })).digest,
    readsDigest: async (layers, reads) =>
      (await (await worker()).call('readsDigest', { layers, reads }, { signal })).digest,
  });
  const events: BuildEvent[] = [];
  const parts: EngineParts = {
    store,
    layers,
    cache,
    registries,
    secrets,
    secretSources: sources,
    volumes: new Volumes({ storeDir: store.dir, environment: 'main', worker, signal: undefined }),
    settings,
    environment,
    jobs: 2,
    worker,
    onEvent: (event) => events.push(event),
    now: Date.now,
  };
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
        cache,
        jobs: 2,
        signal,
        onEvent: (event) => events.push(event),
        now: Date.now,
        generation: randomUUID,
        cacheMode,
      }),
    [Symbol.asyncDispose]: async () => {
      await (await started)?.close();
      await registries.close();
      store.close();
    },
  };
}

function readBusybox(): Uint8Array {
  return readFileSync(busyboxPath());
}
