/** How layers are compressed, in the words that options have for it. */
import type { BlobWish } from '../layer/layer-store.ts';

export type CompressionName = 'zstd' | 'gzip' | 'uncompressed';

const DEFAULT_LEVELS = { zstd: 3, gzip: 6, none: 0 } as const;

/** @param level - @defaultValue 3 for zstd, 6 for gzip */
export function compressedAs(
  name: CompressionName,
  level: number | undefined,
): Pick<BlobWish, 'compression' | 'level'> {
  const compression = name === 'uncompressed' ? 'none' : name;
  return { compression, level: level ?? DEFAULT_LEVELS[compression] };
}
