import { describe, expect, it } from 'vitest';
import {
  formatAge,
  formatBytes,
  formatDuration,
  parseBytes,
  parseDuration,
} from '../../../src/cli/quantity.ts';

describe('quantities', () => {
  it.each([
    [0, '0B'],
    [999, '999B'],
    [999.96, '1.0kB'],
    [1000, '1.0kB'],
    [999_949, '999.9kB'],
    [999_950, '1.0MB'],
    [12_345_678, '12.3MB'],
    [5e18, '5000.0PB'],
  ])('shows %d bytes as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it.each([
    [0, '0.0s'],
    [59_949, '59.9s'],
    [59_950, '1m00s'],
    [83_000, '1m23s'],
    [3_599_499, '59m59s'],
    [3_600_000, '1h00m'],
    [7_500_000, '2h05m'],
  ])('shows %d ms as %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  it('shows ages in the largest unit', () => {
    expect(formatAge(1000)).toBe('1 second ago');
    expect(formatAge(120_000)).toBe('2 minutes ago');
    expect(formatAge(86_400_000 * 400)).toBe('400 days ago');
  });

  it('reads sizes and durations', () => {
    expect(parseBytes('1024')).toBe(1024);
    expect(parseBytes('1.5GB')).toBe(1_500_000_000);
    expect(parseBytes('2GiB')).toBe(2 * 1024 ** 3);
    expect(parseDuration('1h30m')).toBe(5_400_000);
    expect(parseDuration('7d')).toBe(604_800_000);
    expect(parseDuration('250ms')).toBe(250);
  });

  it.each(['', 'x', '5', '1h5', '-1h', '1h 5m'])('refuses the duration %j', (text) => {
    expect(() => parseDuration(text)).toThrow('not a duration');
  });

  it.each(['', 'GB', '-1', '1XB', '1 0'])('refuses the size %j', (text) => {
    expect(() => parseBytes(text)).toThrow('not a size');
  });
});
