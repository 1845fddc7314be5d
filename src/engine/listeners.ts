/**
 * Who is told of an engine's events. A listener that throws must not end the process, which it would where the event came
 * from a stream: the operation is cancelled instead, with the listener's error as the reason.
 */
import type { BuildEvent } from '../solver/event.ts';
import { EventStream, type EventStreamOptions } from '../solver/event-stream.ts';

/** Options of an operation that calls back. */
export interface CallingBack {
  readonly signal?: AbortSignal;
  readonly logger?: (event: BuildEvent) => void;
  readonly onOutput?: (stream: 'stdout' | 'stderr', chunk: Buffer) => void;
}

export class Listeners {
  readonly #onEvent: ((event: BuildEvent) => void) | undefined;
  readonly #streams = new Set<EventStream>();
  /** Of operations at work. */
  readonly #stops = new Set<AbortController>();

  constructor(onEvent: ((event: BuildEvent) => void) | undefined) {
    this.#onEvent = onEvent;
  }

  readonly tell = (event: BuildEvent): void => {
    for (const stream of this.#streams) {
      stream.push(event);
    }
    try {
      this.#onEvent?.(event);
    } catch (error) {
      if (this.#stops.size === 0) {
        throw error;
      }
      // Nobody knows whose event it was.
      for (const stop of this.#stops) {
        stop.abort(error);
      }
    }
  };

  /** Everything that is told from now on. */
  stream(options: EventStreamOptions): EventStream {
    const stream = new EventStream(options, (ended) => this.#streams.delete(ended));
    this.#streams.add(stream);
    return stream;
  }

  /**
   * Does `work` with options whose signal is also aborted by a callback that throws.
   *
   * @throws what a callback threw, even if the work was done nevertheless.
   */
  async during<O extends CallingBack, T>(
    given: O,
    work: (options: O & CallingBack) => Promise<T>,
  ): Promise<T> {
    const stop = new AbortController();
    this.#stops.add(stop);
    const { signal, logger, onOutput } = given;
    try {
      const result = await work({
        ...given,
        signal: signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]),
        ...(logger === undefined ? {} : { logger: guarded(logger, stop) }),
        ...(onOutput === undefined ? {} : { onOutput: guarded(onOutput, stop) }),
      });
      stop.signal.throwIfAborted();
      return result;
    } finally {
      this.#stops.delete(stop);
    }
  }

  close(): void {
    for (const stream of [...this.#streams]) {
      stream.end();
    }
  }
}

/** Calls back until the callback throws. */
function guarded<A extends unknown[]>(
  callback: (...args: A) => void,
  stop: AbortController,
): (...args: A) => void {
  let failed = false;
  return (...args) => {
    if (!failed) {
      try {
        callback(...args);
      } catch (error) {
        failed = true;
        stop.abort(error);
      }
    }
  };
}
