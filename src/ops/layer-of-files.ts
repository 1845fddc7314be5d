/** Files that a source brings to this machine, as a layer that holds nothing else. */
import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HostError } from '../errors.ts';
import { type Action, type CopyAction, ROOT_OWNER } from '../graph/action.ts';
import type { Vertex } from '../graph/vertex.ts';
import type { LayerId, OpContext, Result } from '../solver/op.ts';
import type { StepInput } from '../worker/protocol.ts';
import { workerEvents } from '../worker/worker-events.ts';
import type { OpTools } from './op-context.ts';

/** Everything that was brought, as it lies there. */
export function copyAll(times: CopyAction['times']): Action {
  return {
    kind: 'copy',
    input: 1,
    source: '/',
    destination: '/',
    owner: ROOT_OWNER,
    modes: 'normalise',
    times,
  };
}

/**
 * @param actions - How they get into the layer, as input 1.
 * @param bring - Gets the files, below `directory` or wherever they are. The worker starts meanwhile.
 */
export async function layerOfFiles(
  options: OpTools & { readonly scratchDir: string },
  vertex: Vertex,
  actions: readonly Action[],
  context: OpContext,
  bring: (directory: string, context: OpContext) => Promise<StepInput>,
): Promise<Result> {
  const { signal, emit, resultId } = context;
  const directory = join(options.scratchDir, `files-${randomUUID()}`);
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new HostError(`cannot make '${directory}'`, { code: 'E_IO', path: directory, cause });
  }
  try {
    const starting = options.worker();
    starting.catch(() => undefined);
    const input = await bring(directory, {
      ...context,
      emit: (event) => emit(event.kind === 'progress' ? { ...event, vertex: vertex.digest } : event),
    });
    const layer = resultId as LayerId;
    await (await starting).call(
      'step',
      {
        layer,
        parents: [],
        actions,
        inputs: [{ kind: 'none' }, input],
        secrets: {},
        logPath: join(options.storeDir, 'logs', `${resultId}.log`),
        lentEnv: {},
      },
      { signal, onEvent: workerEvents(emit, vertex.digest) },
    );
    options.records.put(layer, [], true);
    return { kind: 'rootfs', layers: [layer] };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
