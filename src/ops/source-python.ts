/** A relocatable CPython, as a layer that holds nothing else: its archive, checked and unpacked. */
import type { SourcePython } from '../graph/vertex.ts';
import type { Op, OpContext } from '../solver/op.ts';
import { layerOfFiles } from './layer-of-files.ts';
import type { OpTools } from './op-context.ts';
import { operationOf } from './operation-of.ts';

/** Where the archive lies on this machine; its bytes have the digest that the source names. */
export type PythonArchive = (source: SourcePython, context: OpContext) => Promise<string>;

export interface SourcePythonOptions extends OpTools {
  readonly scratchDir: string;
  readonly archive: PythonArchive;
}

export function sourcePythonOp(options: SourcePythonOptions): Op {
  return {
    version: 1,
    cacheKeyFields: (vertex) => [{ name: 'digest', value: operationOf(vertex, 'source-python').digest }],
    execute: async (vertex, _inputs, context) =>
      await layerOfFiles(
        options,
        vertex,
        [
          {
            kind: 'copy',
            input: 1,
            source: '/archive',
            destination: '/',
            owner: { kind: 'ids', uid: 0, gid: 0 },
            modes: 'keep',
            times: 'keep',
            unpack: true,
          },
          // Full archives hold the objects that it was linked from: most of their size, and nobody copies them.
          { kind: 'rm', path: '/python/build', allowMissing: true },
        ],
        context,
        async (_directory, bringing) => ({
          kind: 'files',
          files: [
            {
              path: '/archive',
              kind: 'file',
              hostPath: await options.archive(operationOf(vertex, 'source-python'), bringing),
              mode: 0o644,
            },
          ],
        }),
      ),
  };
}
