import type { CancelToken, NativeAddon } from '../native/addon.ts';
import { fromNative } from '../native/error.ts';

/**
 * Native work that a signal cancels.
 *
 * @throws the signal's reason when it is aborted; native errors as ours, `doing` completed.
 */
export async function cancellable<T>(
  { native, signal }: { readonly native: Pick<NativeAddon, 'CancelToken'>; readonly signal?: AbortSignal },
  doing: string,
  work: (cancel: CancelToken) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const cancel = new native.CancelToken();
  const onAbort = () => cancel.cancel();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await work(cancel);
  } catch (error) {
    // The native code reports its own cancellation; the caller is owed the reason that it gave.
    signal?.throwIfAborted();
    throw fromNative(error, doing);
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}
