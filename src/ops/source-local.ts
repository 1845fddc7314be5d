import type { Op } from '../solver/op.ts';
import type { LocalInputs } from './op-context.ts';
import { operationOf } from './operation-of.ts';

/** Files of the user's machine. They are not copied into the store: whoever copies them reads them from where they are. */
export function sourceLocalOp(inputs: LocalInputs): Op {
  return {
    version: 1,
    async cacheKeyFields(vertex, signal) {
      const { summary } = await inputs.scanned(operationOf(vertex, 'source-local').input, signal);
      return [{ name: 'files', value: summary }];
    },
    async execute(vertex, _inputs, { signal }) {
      const { contentDigest } = await inputs.scanned(operationOf(vertex, 'source-local').input, signal);
      return { kind: 'files', contentDigest };
    },
  };
}
