/** A clock that a test sets. Every reading is one millisecond later than the one before, so that order is never a matter of luck. */
export class Clock {
  #ms: number;

  constructor(ms = 1_000_000) {
    this.#ms = ms;
  }

  readonly now = (): number => {
    this.#ms += 1;
    return this.#ms;
  };

  advance(ms: number): void {
    this.#ms += ms;
  }
}
