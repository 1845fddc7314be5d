import { waitWith } from './abort.ts';

/** Lets `limit` tasks run at once; the others wait in order. A task that waits can be aborted. */
export class Limiter {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(limit: number) {
    this.#free = limit;
  }

  async run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    if (this.#free > 0) {
      this.#free -= 1;
    } else {
      await this.#turn(signal);
    }
    try {
      return await task();
    } finally {
      this.#release();
    }
  }

  async #turn(signal: AbortSignal | undefined): Promise<void> {
    let resume = () => {};
    const turn = new Promise<void>((resolve) => {
      resume = resolve;
    });
    this.#waiting.push(resume);
    try {
      await waitWith(turn, signal);
    } catch (error) {
      const index = this.#waiting.indexOf(resume);
      if (index >= 0) {
        this.#waiting.splice(index, 1);
      } else {
        // Our turn came in the same moment: hand it on.
        this.#release();
      }
      throw error;
    }
  }

  #release(): void {
    const next = this.#waiting.shift();
    if (next === undefined) {
      this.#free += 1;
    } else {
      next();
    }
  }
}

/**
 * Runs `task` for every item, at most `limit` at once. The first failure aborts the signal that the others were given;
 * the call rejects with that failure once all of them have ended, so that nothing is left running behind it.
 */
export async function forEachLimited<T>(
  items: readonly T[],
  limit: number,
  task: (item: T, signal: AbortSignal) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const stop = new AbortController();
  const both = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const queue = items.values();
  let failed = false;
  let failure: unknown;
  const worker = async () => {
    for (const item of queue) {
      if (both.aborted) {
        return;
      }
      try {
        await task(item, both);
      } catch (error) {
        if (!failed) {
          failed = true;
          failure = error;
          stop.abort(error);
        }
        return;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  signal?.throwIfAborted();
  if (failed) {
    throw failure;
  }
}
