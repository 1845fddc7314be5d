/** Remembers the content of files by what `stat` says of them, so that an unchanged tree is not read again. */
export interface StatFacts {
  readonly dev: string;
  readonly ino: string;
  readonly sizeBytes: number;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
}

export interface StatCacheEntry {
  readonly facts: StatFacts;
  /** Hex. */
  readonly sha256: string;
}

/**
 * Both calls are quick and synchronous, and take many files at once so that a store can use one transaction.
 *
 * `store` is only given entries that can be trusted: {@link isRacy} ones are left out by the scanner. Losing entries
 * costs time, never a wrong result; an answer for other facts than those asked would be one.
 */
export interface StatCache {
  /** In the order of `facts`; undefined where nothing is known. */
  lookup(facts: readonly StatFacts[]): readonly (string | undefined)[];
  store(entries: readonly StatCacheEntry[]): void;
}

/**
 * Times of files are as coarse as two seconds (FAT, some network filesystems), and the kernel's clock for them lags
 * behind the real one by up to a tick.
 */
const COARSEST_TIMESTAMP_NS = 2_000_000_000n;

/**
 * Whether a file might have been written again, after it was hashed, without its times changing: git's rule for racy
 * index entries. Such a hash is used once and not remembered.
 *
 * @param hashedAtNs - The clock before the file was opened.
 */
export function isRacy(facts: Pick<StatFacts, 'mtimeNs' | 'ctimeNs'>, hashedAtNs: bigint): boolean {
  const settled = settledBefore(hashedAtNs);
  return BigInt(facts.mtimeNs) >= settled || BigInt(facts.ctimeNs) >= settled;
}

/** Files of this time and younger ones are racy. */
export function settledBefore(hashedAtNs: bigint): bigint {
  return hashedAtNs - COARSEST_TIMESTAMP_NS;
}
