import type { BigIntStats } from 'node:fs';
import type { ToHash } from './hash-files.ts';

/** What a stat says, as the addon and the cache of stats have it. */
export function factsOf(found: BigIntStats): ToHash['facts'] {
  return {
    dev: String(found.dev),
    ino: String(found.ino),
    sizeBytes: Number(found.size),
    mtimeNs: String(found.mtimeNs),
    ctimeNs: String(found.ctimeNs),
  };
}
