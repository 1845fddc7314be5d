/** An image of the store. Its layers are known, here or where they can be fetched, so that nothing is left to do. */
import type { LayerId, Op } from '../solver/op.ts';
import { operationOf } from './operation-of.ts';

export const sourceStoredOp: Op = {
  version: 1,
  // The id of what was pulled or built by force is its own; equal ids have equal layers.
  cacheKeyFields: (vertex) => [{ name: 'image', value: operationOf(vertex, 'source-stored').image }],
  execute: async (vertex) => ({
    kind: 'rootfs',
    layers: operationOf(vertex, 'source-stored').layers as readonly LayerId[],
  }),
};
