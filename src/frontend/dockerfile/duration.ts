/** Durations as Go writes them: `1h30m`, `1.5s`, `500ms`. Source: Go, package `time`, `ParseDuration`. */

const NANOSECONDS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};

/** Of a signed 64-bit integer, which is what an image config can hold. */
const MOST = 2n ** 63n - 1n;
/** The largest number below it that a double holds. */
const LARGEST = 2 ** 63 - 1024;
/** Nothing in range has more digits before the point; behind it they are below a nanosecond. */
const MOST_DIGITS = 19;

/** @returns Nanoseconds; undefined when `text` is no duration or too long a one. */
export function parseDuration(text: string): number | undefined {
  const negative = text.startsWith('-');
  const body = negative || text.startsWith('+') ? text.slice(1) : text;
  if (body === '0') {
    return 0;
  }
  const part = /(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)/y;
  let total = 0n;
  while (part.lastIndex < body.length) {
    const match = part.exec(body);
    if (match === null) {
      return undefined;
    }
    const [, digits = '', fraction = '', unit = ''] = match;
    const whole = digits.replace(/^0+/, '');
    if ((digits === '' && fraction === '') || whole.length > MOST_DIGITS) {
      return undefined;
    }
    const scale = NANOSECONDS[unit] ?? 0n;
    const shown = fraction.slice(0, MOST_DIGITS);
    total += BigInt(whole || '0') * scale + (BigInt(shown || '0') * scale) / 10n ** BigInt(shown.length);
    if (total > MOST) {
      return undefined;
    }
  }
  if (body === '') {
    return undefined;
  }
  const nanoseconds = Math.min(Number(total), LARGEST);
  return negative && nanoseconds > 0 ? -nanoseconds : nanoseconds;
}
