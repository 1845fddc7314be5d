import { HostError } from '../errors.ts';
import { type CancelToken, type NativeLock, native } from './addon.ts';
import { fromNative, isCancelled } from './error.ts';

/**
 * Calls the native helper under a signal; its errors become ours.
 *
 * @param doing - The message of an error begins with it: `cannot list '/etc'`.
 * @throws `signal.reason` once the signal is aborted.
 */
export async function callNative<T>(
  signal: AbortSignal,
  doing: string,
  call: (cancel: CancelToken) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const cancel = new (native().CancelToken)();
  const onAbort = () => cancel.cancel();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await call(cancel);
  } catch (error) {
    if (isCancelled(error)) {
      throw signal.reason ?? new HostError(`${doing}: cancelled`, { code: 'E_IO' });
    }
    throw fromNative(error, doing);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Takes the lock of a file, at once where it is free; see {@link native}'s `lock`. */
export async function lockFile(path: string, shared: boolean, signal: AbortSignal): Promise<NativeLock> {
  return await callNative(
    signal,
    `cannot lock '${path}'`,
    async (cancel) => native().tryLock(path, shared) ?? (await native().lock(path, shared, cancel)),
  );
}
