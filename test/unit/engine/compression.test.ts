import { describe, expect, it } from 'vitest';
import { compressedAs } from '../../../src/engine/compression.ts';

describe('compressedAs', () => {
  it.each([
    ['zstd', undefined, 3],
    ['zstd', 0, 1],
    ['zstd', 22, 19],
    ['zstd:chunked', undefined, 3],
    ['gzip', undefined, 6],
    ['gzip', 0, 1],
    ['estargz', 9, 9],
    ['uncompressed', 5, 0],
  ] as const)('%s of level %s is made with level %s', (name, level, made) => {
    expect(compressedAs(name, level).level).toBe(made);
  });
});
