/** What draws progress. */
import type { BuildEvent } from '../../solver/event.ts';

export interface ProgressRenderer {
  /** Never throws: a build does not fail because its progress cannot be drawn. */
  event(event: BuildEvent): void;
  /** A line of our own between the progress. */
  notice(text: string): void;
  /** Gives the terminal to somebody else: nothing is written until {@link resume}. */
  pause(): void;
  resume(): void;
  /** Draws what is due, stops timers and leaves the terminal as it was. Idempotent. */
  close(): void;
}

/** One that writes lines and leaves them: whoever holds its stream has paused it. */
export type LineRenderer = Omit<ProgressRenderer, 'pause' | 'resume'>;

/** The time, and a call now and then; tests bring their own. */
export interface Ticker {
  now(): number;
  /** @returns What stops it. Does not keep the process alive. */
  every(intervalMs: number, action: () => void): () => void;
}

export const systemTicker: Ticker = {
  now: Date.now,
  every: (intervalMs, action) => {
    const timer = setInterval(action, intervalMs);
    timer.unref();
    return () => clearInterval(timer);
  },
};
