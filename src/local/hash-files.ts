/** Hashes files of the user's, except where the stat of one says that its content is known. */
import type { CancelToken, FileFacts, NativeAddon } from '../native/addon.ts';
import { isRacy, type StatCache, type StatCacheEntry } from './stat-cache.ts';

export interface HashTools {
  readonly native: Pick<NativeAddon, 'hashFiles'>;
  readonly statCache: StatCache;
  /** Nanoseconds since the epoch. */
  readonly now: () => bigint;
}

export interface ToHash {
  readonly hostPath: string;
  readonly mode: number;
  /** As the scan saw the file that the content comes from. */
  readonly facts: Pick<FileFacts, 'dev' | 'ino' | 'sizeBytes' | 'mtimeNs' | 'ctimeNs'>;
}

/** The same order as that of `files`. What is known by its stat is not read. */
export async function hashFiles(
  files: readonly ToHash[],
  { native, statCache, now }: HashTools,
  cancel: CancelToken,
): Promise<readonly FileFacts[]> {
  const known = statCache.lookup(files.map(({ facts }) => facts));
  const unknown = files.filter((_, index) => known[index] === undefined);
  const startedNs = now();
  const hashed =
    unknown.length === 0
      ? []
      : await native.hashFiles(
          unknown.map(({ hostPath }) => hostPath),
          cancel,
        );
  const remember: StatCacheEntry[] = hashed
    .filter((facts) => !isRacy(facts, startedNs))
    .map(({ dev, ino, sizeBytes, mtimeNs, ctimeNs, sha256 }) => ({
      facts: { dev, ino, sizeBytes, mtimeNs, ctimeNs },
      sha256,
    }));
  if (remember.length > 0) {
    statCache.store(remember);
  }
  let next = 0;
  return files.map(({ facts, mode }, index) => {
    const sha256 = known[index];
    if (sha256 !== undefined) {
      return { ...facts, mode, sha256 };
    }
    next += 1;
    return hashed[next - 1] as FileFacts;
  });
}
