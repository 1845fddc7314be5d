import type { Op } from '../solver/op.ts';

/** The empty root filesystem. */
export const scratchOp: Op = {
  version: 1,
  cacheKeyFields: () => [],
  execute: async () => ({ kind: 'rootfs', layers: [] }),
};
