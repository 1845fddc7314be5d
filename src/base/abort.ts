import { TsbuildError } from '../errors.ts';

/** Waits `ms`. @throws `signal.reason` at once when the signal is or gets aborted. */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/**
 * The promise's result, or `signal.reason` as soon as the signal is aborted. For work that is shared by several
 * callers: one of them can stop waiting without ending it for the others.
 */
export function waitWith<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) {
    return promise;
  }
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      promise.catch(() => {});
      return;
    }
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** So often in a row another caller may leave before we take its error for ours. */
const MAX_JOINS = 8;

/**
 * Waits for work that several callers share and that runs under the signal of whoever began it. When that one was
 * aborted and we were not, `begin` is called again.
 */
export async function joinShared<T>(begin: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  for (let join = 1; ; join += 1) {
    try {
      return await waitWith(begin(), signal);
    } catch (error) {
      signal?.throwIfAborted();
      // Our own errors tell of the work; anything else may be the reason of somebody else's signal.
      if (error instanceof TsbuildError || join >= MAX_JOINS) {
        throw error;
      }
    }
  }
}
