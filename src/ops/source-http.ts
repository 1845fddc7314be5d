import { InternalError } from '../errors.ts';
import type { Op } from '../solver/op.ts';

export const sourceHttpOp: Op = {
  version: 1,
  cacheKeyFields: () => [],
  execute: async () => {
    throw new InternalError('not made yet');
  },
};
