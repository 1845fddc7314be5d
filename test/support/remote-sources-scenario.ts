/** Run as some user: builds from a web file and a repository with a real worker, twice, and prints what came of it. */
import { lstatSync, mkdtempSync, readdirSync, readlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SqliteCache } from '../../src/cache/sqlite-cache.ts';
import { BuildInputs } from '../../src/engine/local-inputs.ts';
import { makeOps } from '../../src/engine/make-ops.ts';
import type { EngineParts } from '../../src/engine/parts.ts';
import { Programs } from '../../src/engine/programs.ts';
import { RemoteSources } from '../../src/engine/remote-sources.ts';
import { Store } from '../../src/engine/store.ts';
import { parseGitUrl } from '../../src/frontend/dockerfile/git-url.ts';
import { type CopyAction, ROOT_OWNER } from '../../src/graph/action.ts';
import { type Edge, firstOutput, type Operation, vertex } from '../../src/graph/vertex.ts';
import { LayerStore } from '../../src/layer/layer-store.ts';
import { hostPlatform } from '../../src/oci/platform.ts';
import { readSettings } from '../../src/settings.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { solve } from '../../src/solver/solve.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { Worker } from '../../src/worker/protocol.ts';

const [storeDir = '', fileUrl = '', gitUrl = ''] = process.argv.slice(2);
const signal = new AbortController().signal;

const copy = (input: number, source: string, destination: string): CopyAction => ({
  kind: 'copy',
  input,
  source,
  destination,
  owner: ROOT_OWNER,
  modes: 'keep',
  times: 'keep',
});

async function build() {
  const store = Store.open(storeDir, Date.now);
  let started: Promise<Worker> | undefined;
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
    fetcher: { fetch: async () => undefined },
  });
  const cache = new SqliteCache({
    meta: store.meta,
    layers: store.layers,
    storeDir,
    layerDigest: async (layer: LayerId) =>
      (await (await worker()).call('treeDigest', { layer }, { signal })).digest,
    readsDigest: async (stack, reads) =>
      (await (await worker()).call('readsDigest', { layers: stack, reads }, { signal })).digest,
  });
  const parts = {
    store,
    layers,
    cache,
    settings: readSettings(process.env),
    environment: process.env,
    programs: new Programs({}, 'warn'),
    worker,
  } as unknown as EngineParts;
  const events: BuildEvent[] = [];
  await using sources = new RemoteSources(parts);
  try {
    const context = { signal, emit: () => undefined };
    const file = await sources.http.resolve({ url: fileUrl }, context);
    const repository = parseGitUrl(gitUrl);
    if (repository === undefined) {
      throw new Error(`not a repository: ${gitUrl}`);
    }
    const commit = await sources.git.resolve(repository, {}, context);
    const make = (operation: Operation, inputs: readonly Edge[], label: string) =>
      firstOutput(vertex(operation, inputs, { platform: hostPlatform(), label }));
    const inputs = [
      make({ kind: 'scratch' }, [], 'scratch'),
      make({ kind: 'source-http', ...file }, [], 'file'),
      make(commit, [], 'commit'),
    ];
    const actions = [copy(1, `/${file.name}`, '/file/'), copy(2, '/', '/repository/')];
    const tip = make({ kind: 'build', actions }, inputs, 'copy').vertex;
    const solution = await solve([tip], {
      ops: makeOps(parts, [], new BuildInputs(store.stats, Date.now), async () => sources, {
        secret: async () => ({ kind: 'missing', why: 'there is none' }),
        agent: async () => undefined,
      }),
      cache,
      jobs: 2,
      signal,
      onEvent: (event) => events.push(event),
      now: Date.now,
      generation: () => 'g',
      cacheMode: 'use',
    });
    const outcomes = events.flatMap((event) => (event.kind === 'vertex-finished' ? [event.outcome] : []));
    const result = solution.solved.get(tip.digest)?.result;
    const files =
      started === undefined || result?.kind !== 'rootfs' ? [] : await list(result.layers, await started);
    return { outcomes, workerStarted: started !== undefined, files };
  } finally {
    await (await started)?.close();
    store.close();
  }
}

/** Path, mode or target, and modification time in seconds of everything in the result. */
async function list(layers: readonly LayerId[], worker: Worker) {
  const destination = join(mkdtempSync(join(dirname(storeDir), 'out-')), 'tree');
  await worker.call(
    'exportTree',
    { trees: [{ layers, prefix: '' }], destination, form: 'directory', extraFiles: 'keep' },
    { signal },
  );
  return readdirSync(destination, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((path) => {
      const found = lstatSync(join(destination, path));
      const what = found.isSymbolicLink()
        ? `-> ${readlinkSync(join(destination, path))}`
        : (found.mode & 0o7777).toString(8);
      return [path, what, Math.floor(found.mtimeMs / 1000)];
    });
}

console.log(JSON.stringify([await build(), await build()]));
