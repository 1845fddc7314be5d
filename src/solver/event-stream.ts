/** Events for whoever reads them with `for await`, at the reader's own speed. */
import { DefinitionError } from '../errors.ts';
import type { BuildEvent } from './event.ts';

export interface EventStreamOptions {
  /**
   * How many events wait for a slow reader. Beyond that the oldest ones are left out, output and progress first, and a
   * warning `W_EVENTS_DROPPED` says how many. Not in any cache key. @defaultValue 10000
   */
  readonly limit?: number;
}

const DEFAULT_LIMIT = 10_000;

/**
 * A queue between a build and a reader: what a build tells is kept until it is read, up to a limit, so that a slow reader
 * costs neither the build's time nor memory without bound. Of progress that is reported again before anybody read it,
 * the newest report counts.
 *
 * One reader at a time. Leaving the loop ends the stream.
 *
 * @example
 * ```ts
 * const events = new EventStream();
 * const building = engine.build([image], { logger: events.push }).finally(() => events.end());
 * for await (const event of events) {
 *   console.log(event.kind);
 * }
 * const [built] = await building;
 * ```
 */
export class EventStream implements AsyncIterableIterator<BuildEvent, undefined, undefined>, AsyncDisposable {
  readonly #limit: number;
  readonly #onEnd: ((stream: EventStream) => void) | undefined;
  /** By the order in which they came. */
  readonly #waiting = new Map<number, BuildEvent>();
  /** Numbers of those that can be left out, in order. */
  readonly #lesser = new Set<number>();
  /** Of each piece of work, the number of the report that waits. */
  readonly #running = new Map<string, number>();
  readonly #readers: ((result: IteratorResult<BuildEvent, undefined>) => void)[] = [];
  #next = 0;
  #dropped = 0;
  #ended = false;

  /**
   * @param onEnd - Called once, when the stream ends.
   * @throws {DefinitionError} `E_ARG_TYPE`, `E_UNKNOWN_OPTION`
   */
  constructor(options: EventStreamOptions = {}, onEnd?: (stream: EventStream) => void) {
    const { limit = DEFAULT_LIMIT, ...unknown } = options;
    const [name] = Object.keys(unknown);
    if (name !== undefined) {
      throw new DefinitionError(`EventStream has no option '${name}'`, {
        code: 'E_UNKNOWN_OPTION',
        hint: "its option is 'limit'",
      });
    }
    if (!Number.isSafeInteger(limit) || limit < 1) {
      throw new DefinitionError("EventStream: 'limit' must be a whole number above 0", {
        code: 'E_ARG_TYPE',
      });
    }
    this.#limit = limit;
    this.#onEnd = onEnd;
  }

  /** Takes an event. Bound, so that it can be handed on: `{ logger: events.push }`. */
  readonly push = (event: BuildEvent): void => {
    if (this.#ended) {
      return;
    }
    const reader = this.#readers.shift();
    if (reader !== undefined) {
      reader({ done: false, value: event });
      return;
    }
    this.#keep(event);
    if (this.#waiting.size > this.#limit) {
      this.#drop();
    }
  };

  /** Nothing comes after what waits. */
  end(): void {
    if (this.#ended) {
      return;
    }
    this.#ended = true;
    for (const reader of this.#readers.splice(0)) {
      reader({ done: true, value: undefined });
    }
    this.#onEnd?.(this);
  }

  next(): Promise<IteratorResult<BuildEvent, undefined>> {
    const event = this.#take();
    if (event !== undefined) {
      return Promise.resolve({ done: false, value: event });
    }
    if (this.#ended) {
      return Promise.resolve({ done: true, value: undefined });
    }
    return new Promise((resolve) => this.#readers.push(resolve));
  }

  /** The reader wants no more: ends the stream and forgets what waits. */
  return(): Promise<IteratorResult<BuildEvent, undefined>> {
    this.end();
    for (const number of [...this.#waiting.keys()]) {
      this.#forget(number);
    }
    this.#dropped = 0;
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #keep(event: BuildEvent): void {
    const work = workOf(event);
    const older = work === undefined ? undefined : this.#running.get(work);
    if (older !== undefined) {
      this.#forget(older);
    }
    const number = this.#next;
    this.#next += 1;
    this.#waiting.set(number, event);
    if (event.kind === 'log' || event.kind === 'progress') {
      this.#lesser.add(number);
    }
    if (work !== undefined && event.kind === 'progress' && event.state === 'running') {
      this.#running.set(work, number);
    }
  }

  #drop(): void {
    const [oldest] = this.#lesser.size > 0 ? this.#lesser : this.#waiting.keys();
    if (oldest !== undefined) {
      this.#forget(oldest);
      this.#dropped += 1;
    }
  }

  #take(): BuildEvent | undefined {
    const [first] = this.#waiting;
    if (first === undefined) {
      return undefined;
    }
    const [number, event] = first;
    if (this.#dropped > 0) {
      const message = `${this.#dropped} events were left out, because they were not read in time`;
      this.#dropped = 0;
      return { kind: 'warning', timeMs: event.timeMs, code: 'W_EVENTS_DROPPED', message };
    }
    this.#forget(number);
    return event;
  }

  #forget(number: number): void {
    const event = this.#waiting.get(number);
    const work = event === undefined ? undefined : workOf(event);
    if (work !== undefined && this.#running.get(work) === number) {
      this.#running.delete(work);
    }
    this.#waiting.delete(number);
    this.#lesser.delete(number);
  }
}

/** What a report of progress is about, so that a newer one can take its place. */
function workOf(event: BuildEvent): string | undefined {
  return event.kind === 'progress' ? `${event.vertex ?? ''} ${event.id}` : undefined;
}
