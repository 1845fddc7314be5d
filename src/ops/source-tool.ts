/** Tools that the engine brings, as a layer that holds nothing else. */
import type { SourceTool, Vertex } from '../graph/vertex.ts';
import type { Op, OpContext, Result } from '../solver/op.ts';
import { copyAll, layerOfFiles } from './layer-of-files.ts';
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
      if (options.image !== undefined) {
        return await options.image(vertex, context.signal);
      }
      return await layerOfFiles(options, vertex, [copyAll('epoch')], context, async (directory, bringing) => {
        const binaries = await options.fetch(operationOf(vertex, 'source-tool'), directory, bringing);
        return {
          kind: 'files',
          files: binaries.map(({ name, path }) => ({
            path: `/${name}`,
            kind: 'file',
            hostPath: path,
            mode: 0o755,
          })),
        };
      });
    },
  };
}
