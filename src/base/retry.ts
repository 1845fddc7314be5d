/** Waits grow from this … */
const BACKOFF_BASE_MS = 500;
/** … by this factor … */
const BACKOFF_FACTOR = 2.5;
/** … to at most this. A server that asks for more (`Retry-After`) is obeyed up to the same limit. */
export const BACKOFF_CAP_MS = 60_000;

/**
 * How long to wait before attempt `attempt + 1` (attempts count from 1), with full jitter in the upper half, so that
 * many clients that failed together do not come back together. `random` is in [0, 1).
 */
export function backoffMs(attempt: number, random: number, baseMs = BACKOFF_BASE_MS): number {
  const full = Math.min(BACKOFF_CAP_MS, baseMs * BACKOFF_FACTOR ** (attempt - 1));
  return full / 2 + (full / 2) * random;
}

/** A broken transfer that brought this much on counts as a first try again. */
const PROGRESS_BYTES = 1024 * 1024;

/** Of a transfer, with the try that has just broken. @param tries - Before that. */
export function triesOf(tries: number, broughtBytes: number): number {
  return broughtBytes >= PROGRESS_BYTES ? 1 : tries + 1;
}

/** `Retry-After` in seconds or as an HTTP date, in milliseconds from `nowMs`; undefined when it says neither. */
export function parseRetryAfter(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) {
    return undefined;
  }
  const text = value.trim();
  if (/^\d{1,9}$/.test(text)) {
    return Math.min(Number(text) * 1000, BACKOFF_CAP_MS);
  }
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.min(Math.max(at - nowMs, 0), BACKOFF_CAP_MS);
}
