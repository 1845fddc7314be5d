/** Tools that the engine brings, as a layer that holds nothing else. */
import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HostError } from '../errors.ts';
import { ROOT_OWNER } from '../graph/action.ts';
import type { SourceTool, Vertex } from '../graph/vertex.ts';
import type { LayerId, Op, OpContext, Result } from '../solver/op.ts';
import type { InputFile } from '../worker/protocol.ts';
import { workerEvents } from '../worker/worker-events.ts';
import type { OpTools } from './op-context.ts';
import { operationOf } from './operation-of.ts';

/** Puts the executables of a tool somewhere below `directory`. */
export type ToolFetcher = (
  tool: SourceTool,
  directory: string,
  context: OpContext,
) => Promise<readonly { readonly name: string; readonly path: string }[]>;

export interface SourceToolOptions extends OpTools {
  readonly scratchDir: string;
  readonly fetch: ToolFetcher;
  /** Takes the tool's own image instead. */
  readonly image?: (vertex: Vertex, signal: AbortSignal) => Promise<Result>;
}

export function sourceToolOp(options: SourceToolOptions): Op {
  return {
    version: 1,
    cacheKeyFields: (vertex) => {
      const { tool, version, architecture } = operationOf(vertex, 'source-tool');
      return [
        { name: 'tool', value: tool },
        { name: 'version', value: version },
        { name: 'architecture', value: architecture },
      ];
    },
    execute: async (vertex, _inputs, context): Promise<Result> => {
      const { signal, emit, resultId } = context;
      if (options.image !== undefined) {
        return await options.image(vertex, signal);
      }
      const directory = join(options.scratchDir, `tool-${randomUUID()}`);
      try {
        await mkdir(directory, { recursive: true });
      } catch (cause) {
        throw new HostError(`cannot make '${directory}'`, { code: 'E_IO', path: directory, cause });
      }
      try {
        const [binaries, worker] = await Promise.all([
          options.fetch(operationOf(vertex, 'source-tool'), directory, {
            ...context,
            emit: (event) => emit(event.kind === 'progress' ? { ...event, vertex: vertex.digest } : event),
          }),
          options.worker(),
        ]);
        const layer = resultId as LayerId;
        const files: InputFile[] = binaries.map(({ name, path }) => ({
          path: `/${name}`,
          kind: 'file',
          hostPath: path,
          mode: 0o755,
        }));
        await worker.call(
          'step',
          {
            layer,
            parents: [],
            actions: [
              {
                kind: 'copy',
                input: 1,
                source: '/',
                destination: '/',
                owner: ROOT_OWNER,
                modes: 'normalise',
                times: 'epoch',
              },
            ],
            inputs: [{ kind: 'none' }, { kind: 'files', files }],
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
    },
  };
}
