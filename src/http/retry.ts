import { setTimeout as delay } from 'node:timers/promises';
import { backoffMs } from '../base/retry.ts';
import { RemoteError } from '../errors.ts';

const MAX_ATTEMPTS = 5;

/** Does `work` again while it fails with a `RemoteError` that says so, waiting longer each time. */
export async function withRetries<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof RemoteError) || !error.retryable || attempt >= MAX_ATTEMPTS) {
        throw error;
      }
      await delay(backoffMs(attempt, Math.random()), undefined, { signal });
    }
  }
}
