/** A cache store in memory. It passes the same suite as the one on disk. */
import type { CacheRecord, CacheStore, Result } from '../../src/solver/op.ts';

const CONTENT_CANDIDATES = 8;

export interface MemoryCacheOptions {
  /** Content of a layer; layers that have the same are equal. @defaultValue the layer's id */
  readonly contentOf?: (layer: string) => string;
}

export class MemoryCache implements CacheStore {
  readonly records = new Map<string, CacheRecord>();
  readonly locked = new Set<string>();
  /** The newest record of each step, also when its result is gone. */
  readonly #bySite = new Map<string, CacheRecord>();
  readonly #gone = new Set<string>();
  readonly #contentOf: (layer: string) => string;

  constructor(options: MemoryCacheOptions = {}) {
    this.#contentOf = options.contentOf ?? ((layer) => layer);
  }

  lookup(key: string): CacheRecord | undefined {
    return this.records.get(key);
  }

  lookupByFields(fieldsDigest: string): readonly CacheRecord[] {
    return this.#newestFirst()
      .filter((record) => record.fieldsDigest === fieldsDigest)
      .slice(0, CONTENT_CANDIDATES);
  }

  lastAtSite(site: string): CacheRecord | undefined {
    return this.#bySite.get(site);
  }

  everHad(key: string): boolean {
    return this.records.has(key) || this.#gone.has(key);
  }

  put(record: CacheRecord): void {
    this.records.delete(record.key);
    const copy = structuredClone(record);
    this.records.set(record.key, copy);
    if (copy.site !== undefined) {
      this.#bySite.set(copy.site, copy);
    }
  }

  resultById(resultId: string): Result | undefined {
    return this.#newestFirst().find((record) => record.resultId === resultId)?.result;
  }

  async sameContent(a: Result, b: Result): Promise<boolean> {
    if (a.kind === 'files' || b.kind === 'files') {
      return a.kind === 'files' && b.kind === 'files' && a.contentDigest === b.contentDigest;
    }
    return (
      a.layers.length === b.layers.length &&
      a.layers.every((layer, index) => {
        const other = b.layers[index] ?? '';
        return layer === other || this.#contentOf(layer) === this.#contentOf(other);
      })
    );
  }

  async lock(key: string, signal: AbortSignal): Promise<{ release(): void }> {
    signal.throwIfAborted();
    while (this.locked.has(key)) {
      await new Promise((resolve) => setImmediate(resolve));
      signal.throwIfAborted();
    }
    this.locked.add(key);
    return { release: () => this.locked.delete(key) };
  }

  /** As prune does: the result is gone, the memory of it stays. */
  forget(key: string): void {
    this.records.delete(key);
    this.#gone.add(key);
  }

  #newestFirst(): CacheRecord[] {
    return [...this.records.values()].reverse();
  }
}
