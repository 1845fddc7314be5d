/** Sizes and durations as people read and write them. */
import { BadValue } from './option.ts';

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

/** `0B`, `980B`, `12.3MB`: decimal units, as registries and other builders count. */
export function formatBytes(bytes: number): string {
  let amount = Math.max(0, bytes);
  let unit = 0;
  // 999.95 would be rounded to 1000.0, which belongs to the next unit.
  while (amount >= 999.95 && unit < UNITS.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${Math.round(amount)}B` : `${amount.toFixed(1)}${UNITS[unit]}`;
}

/** `0.0s`, `12.3s`, `1m23s`, `2h05m`. */
export function formatDuration(durationMs: number): string {
  const ms = Math.max(0, durationMs);
  if (ms < 59_950) {
    return `${(ms / 1000).toFixed(1)}s`;
  }
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) {
    return `${Math.floor(seconds / 60)}m${pad(seconds % 60)}s`;
  }
  const minutes = Math.floor(seconds / 60);
  return `${Math.floor(minutes / 60)}h${pad(minutes % 60)}m`;
}

/** `3 minutes ago`, for lists. */
export function formatAge(ageMs: number): string {
  const steps: readonly (readonly [limitMs: number, unitMs: number, name: string])[] = [
    [60_000, 1000, 'second'],
    [3_600_000, 60_000, 'minute'],
    [86_400_000, 3_600_000, 'hour'],
    [Number.POSITIVE_INFINITY, 86_400_000, 'day'],
  ];
  for (const [limitMs, unitMs, name] of steps) {
    if (ageMs < limitMs) {
      const count = Math.max(0, Math.floor(ageMs / unitMs));
      return `${count} ${name}${count === 1 ? '' : 's'} ago`;
    }
  }
  return '';
}

const SIZE = /^([0-9]+(?:\.[0-9]+)?)\s*([kmgtp]?)(i?)b?$/i;

/** `500MB`, `10GiB`, `1024`. */
export function parseBytes(given: string): number {
  const match = SIZE.exec(given);
  if (match === null) {
    throw new BadValue(`'${given}' is not a size such as 500MB or 10GiB`);
  }
  const exponent = ['', 'k', 'm', 'g', 't', 'p'].indexOf((match[2] ?? '').toLowerCase());
  return Math.round(Number(match[1]) * (match[3] === '' ? 1000 : 1024) ** exponent);
}

const DURATION_PART = /([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)/g;
const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** `90s`, `24h`, `7d`, `1h30m`; to milliseconds. */
export function parseDuration(given: string): number {
  let rest = given;
  let total = 0;
  for (const [whole, amount, unit] of given.matchAll(DURATION_PART)) {
    total += Number(amount) * (UNIT_MS[unit ?? ''] ?? 0);
    rest = rest.replace(whole, '');
  }
  if (given === '' || rest !== '') {
    throw new BadValue(`'${given}' is not a duration such as 90s, 24h or 7d`);
  }
  return total;
}

function pad(number: number): string {
  return String(number).padStart(2, '0');
}

/** `64m`, `1g`: as docker reads sizes of memory, in units of 1024. */
export function parseMemorySize(given: string): number {
  return parseBytes(given.replace(/([kmgtp])i?b?$/i, '$1iB'));
}

/** As Docker: with less, not even an empty program starts. */
const MIN_MEMORY_BYTES = 6 * 1024 ** 2;
const MIN_CPUS = 0.01;

/** {@link parseMemorySize} of what a program may use. */
export function parseMemoryLimit(given: string): number {
  const bytes = parseMemorySize(given);
  if (bytes < MIN_MEMORY_BYTES) {
    throw new BadValue(`'${given}' is too little memory for a program; 6m is the least`);
  }
  return bytes;
}

/** `1.5`, `4`. */
export function parseCpus(given: string): number {
  const cpus = Number(given);
  if (!/^[0-9]*\.?[0-9]+$/.test(given) || cpus < MIN_CPUS) {
    throw new BadValue(`'${given}' is not a number of processors from ${MIN_CPUS} on`);
  }
  return cpus;
}
