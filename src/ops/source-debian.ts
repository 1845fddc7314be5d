/** A root filesystem assembled from Debian's signed archive. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { RemoteError } from '../errors.ts';
import type { Vertex } from '../graph/vertex.ts';
import type { EventDraft } from '../solver/event.ts';
import type { LayerId, Op, OpContext, Result } from '../solver/op.ts';
import { workerEvents } from '../worker/worker-events.ts';
import type { OpTools } from './op-context.ts';
import { operationOf } from './operation-of.ts';

export interface SourceDebianOptions extends OpTools {
  readonly offline: boolean;
  /** Where the archive is read from, if not from its own servers. In no key. */
  readonly mirrorOf: (vertex: Vertex) => string | undefined;
}

export function sourceDebianOp(options: SourceDebianOptions): Op {
  return {
    version: 1,
    cacheKeyFields: (vertex) => {
      const { suite, snapshot, components, packages, architecture } = operationOf(vertex, 'source-debian');
      return [
        { name: 'suite', value: suite },
        { name: 'snapshot', value: snapshot ?? null },
        { name: 'components', value: components },
        { name: 'packages', value: packages },
        { name: 'architecture', value: architecture },
      ];
    },
    execute: (vertex, _inputs, context) => assemble(options, vertex, context),
  };
}

async function assemble(options: SourceDebianOptions, vertex: Vertex, context: OpContext): Promise<Result> {
  const { suite, snapshot, components, packages, architecture } = operationOf(vertex, 'source-debian');
  const { signal, emit, resultId } = context;
  // Packages are configured by programs of their own.
  await options.ensureExecutable(vertex.platform, [], context);
  if (options.offline) {
    throw new RemoteError(`a base of Debian '${suite}' has to be fetched, and the network is forbidden`, {
      code: 'E_OFFLINE',
      hint: 'build once without --offline',
    });
  }
  // Most builds find their base in the cache; those need none of this.
  const [{ createArchiveFetch }, { downloadPackages, resolveDebian }, { assemblySteps }] = await Promise.all([
    import('../debian/fetch.ts'),
    import('../debian/resolve.ts'),
    import('../debian/assembly.ts'),
  ]);
  const directory = join(options.storeDir, 'archives', 'debian');
  await mkdir(directory, { recursive: true });
  const progress = (event: Omit<Extract<EventDraft, { kind: 'progress' }>, 'kind' | 'vertex'>) =>
    emit({ kind: 'progress', vertex: vertex.digest, ...event });
  const fetch = createArchiveFetch();
  try {
    // The worker takes as long to start as the release file takes to come.
    const starting = options.worker();
    starting.catch(() => undefined);
    const mirror = options.mirrorOf(vertex);
    const plan = await resolveDebian(
      {
        suite,
        components,
        packages,
        architecture,
        ...(mirror === undefined ? {} : { mirror }),
        ...(snapshot === undefined ? {} : { snapshot }),
      },
      {
        fetch,
        directory,
        signal,
        onProgress: (event) =>
          event.kind === 'release'
            ? progress({
                id: 'release',
                activity: 'resolve',
                subject: suite,
                doneBytes: 0,
                state: 'running',
              })
            : progress({
                id: event.kind,
                activity: 'download',
                subject: `${event.kind} of ${suite}`,
                doneBytes: event.doneBytes,
                totalBytes: event.totalBytes,
                state: event.doneBytes >= event.totalBytes ? 'done' : 'running',
              }),
      },
    );
    progress({ id: 'release', activity: 'resolve', subject: suite, doneBytes: 0, state: 'done' });
    const paths = await downloadPackages(plan, {
      fetch,
      directory,
      signal,
      onProgress: (event) =>
        event.kind !== 'release' &&
        progress({
          id: 'packages',
          activity: 'download',
          subject: `${plan.packages.length} packages of ${suite}`,
          doneBytes: event.doneBytes,
          totalBytes: event.totalBytes,
          state: event.doneBytes >= event.totalBytes ? 'done' : 'running',
        }),
    });
    const worker = await starting;
    const layer = resultId as LayerId;
    await worker.call(
      'assembleDebian',
      {
        layer,
        packages: plan.packages.map(({ sha256 }, index) => ({ path: paths[index] ?? '', sha256 })),
        steps: assemblySteps(plan),
        logPath: join(options.storeDir, 'logs', `${resultId}.log`),
      },
      { signal, onEvent: workerEvents(emit, vertex.digest) },
    );
    options.records.put(layer, [], true);
    return { kind: 'rootfs', layers: [layer] };
  } finally {
    await fetch.close();
  }
}
