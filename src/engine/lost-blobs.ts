/** Blobs that vanished between the promise and the use, where no step is there to run instead: outputs and containers. */
import { RemoteError } from '../errors.ts';
import type { LayerContext } from '../layer/layer-store.ts';

/**
 * Does `work` again as long as it loses other blobs than before: each time the store has forgotten what was made of them,
 * so that the steps that made them run.
 *
 * @throws what `work` throws; why a blob cannot be fetched when that is of no avail.
 */
export async function untilNothingIsLost<T>({ emit }: LayerContext, work: () => Promise<T>): Promise<T> {
  const lost = new Set<string>();
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof RemoteError) || error.code !== 'E_BLOB_GONE') {
        throw error;
      }
      if (lost.has(error.message)) {
        throw error.cause ?? error;
      }
      lost.add(error.message);
      emit({ kind: 'warning', code: 'W_CACHE_LOST', message: `${error.message}; what made it runs again` });
    }
  }
}
