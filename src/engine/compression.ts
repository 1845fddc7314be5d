/** How layers are compressed, in the words that options have for it. */
import type { BlobWish } from '../layer/layer-store.ts';

export type CompressionName = 'zstd' | 'gzip' | 'uncompressed';
/** The same, or formats whose readers fetch single files: gzip and zstd with a table of contents. */
export type LayerFormatName = CompressionName | 'estargz' | 'zstd:chunked';

const DEFAULT_LEVELS = { zstd: 3, 'zstd:chunked': 3, gzip: 6, estargz: 6, none: 0 } as const;

/** What there is of each; BuildKit takes 0 to 22 for zstd and 0 to 9 for gzip. */
const HIGHEST_LEVELS = { zstd: 19, 'zstd:chunked': 19, gzip: 9, estargz: 9, none: 0 } as const;

/** Whether images list where a blob's table of contents is, which takes annotations. */
export function hasTable(name: LayerFormatName | undefined): boolean {
  return name === 'estargz' || name === 'zstd:chunked';
}

/** @param level - The nearest that there is. @defaultValue 3 for zstd and zstd:chunked, 6 for gzip and estargz */
export function compressedAs(
  name: LayerFormatName,
  level: number | undefined,
): Pick<BlobWish, 'compression' | 'level'> {
  const compression = name === 'uncompressed' ? 'none' : name;
  const wanted = level ?? DEFAULT_LEVELS[compression];
  return { compression, level: Math.min(Math.max(wanted, 1), HIGHEST_LEVELS[compression]) };
}
