import type { Op } from '../solver/op.ts';
import type { LocalInputs } from './op-context.ts';
import { operationOf } from './operation-of.ts';

/**
 * Files of the user's machine. They are not copied into the store: whoever copies them reads them from where they are.
 *
 * @param expectWork - Called when files are not those of any earlier build: whoever takes them is not known either.
 */
export function sourceLocalOp(inputs: LocalInputs, expectWork: () => void): Op {
  return {
    // 1: the key held what the digest is of.
    version: 2,
    async cacheKeyFields(vertex, signal) {
      const { contentDigest, listing } = await inputs.scanned(
        operationOf(vertex, 'source-local').input,
        signal,
      );
      return [{ name: 'files', value: contentDigest, explained: async () => ({ listing: await listing() }) }];
    },
    async execute(vertex, _inputs, { signal }) {
      expectWork();
      const { contentDigest } = await inputs.scanned(operationOf(vertex, 'source-local').input, signal);
      return { kind: 'files', contentDigest };
    },
  };
}
