/** Time that passes when the test says so. */
import type { Ticker } from '../../src/cli/progress/renderer.ts';

export class ManualTicker implements Ticker {
  #nowMs: number;
  readonly #timers = new Set<{ readonly intervalMs: number; dueMs: number; readonly action: () => void }>();

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  get running(): number {
    return this.#timers.size;
  }

  now(): number {
    return this.#nowMs;
  }

  every(intervalMs: number, action: () => void): () => void {
    const timer = { intervalMs, dueMs: this.#nowMs + intervalMs, action };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    for (;;) {
      const next = [...this.#timers]
        .filter((timer) => timer.dueMs <= endMs)
        .sort((left, right) => left.dueMs - right.dueMs)[0];
      if (next === undefined) {
        this.#nowMs = endMs;
        return;
      }
      this.#nowMs = next.dueMs;
      next.dueMs += next.intervalMs;
      next.action();
    }
  }
}
