import { waitWith } from './abort.ts';

/** Work that several want at the same time is done once; all get its outcome. Finished work is forgotten. */
export class SingleFlight<K, V> {
  readonly #running = new Map<K, { readonly value: Promise<V>; readonly signal: AbortSignal }>();

  /**
   * Whoever joins work that is then cancelled by the one who began it, begins it again. One who joined and is cancelled
   * stops waiting, and the work goes on for the others.
   */
  async run(key: K, signal: AbortSignal, work: () => Promise<V>): Promise<V> {
    for (;;) {
      const running = this.#running.get(key);
      if (running === undefined) {
        const value = work().finally(() => this.#running.delete(key));
        this.#running.set(key, { value, signal });
        return await value;
      }
      try {
        return await waitWith(running.value, signal);
      } catch (error) {
        if (!running.signal.aborted || signal.aborted) {
          throw error;
        }
      }
    }
  }
}
