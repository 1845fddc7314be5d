/** Layers that were made without seeing what is below them, put above it: nothing is copied, nothing runs. */
import { InternalError } from '../errors.ts';
import type { Op } from '../solver/op.ts';

export const mergeOp: Op = {
  version: 1,
  cacheKeyFields: () => [],
  execute: async (_vertex, inputs) => {
    const layers = inputs.flatMap((input) => {
      if (input.kind !== 'rootfs') {
        throw new InternalError('only root filesystems can be merged');
      }
      return input.layers;
    });
    return { kind: 'rootfs', layers };
  },
};
