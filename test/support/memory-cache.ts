/** A cache store in memory. It passes the same suite as the one on disk. */
import type { CacheRecord, CacheStore, Result } from '../../src/solver/op.ts';

export interface MemoryCacheOptions {
  /** Content of a layer; layers that have the same are equal. @defaultValue the layer's id */
  readonly contentOf?: (layer: string) => string;
}

export class MemoryCache implements CacheStore {
  readonly records = new Map<string, CacheRecord>();
  readonly locked = new Set<string>();
  readonly #gone = new Set<string>();
  readonly #dropped = new Set<string>();
  readonly #contentOf: (layer: string) => string;

  constructor(options: MemoryCacheOptions = {}) {
    this.#contentOf = options.contentOf ?? ((layer) => layer);
  }

  lookup(key: string): CacheRecord | undefined {
    const record = this.records.get(key);
    return record === undefined || !this.#isPresent(record) ? undefined : record;
  }

  lookupByFields(fieldsDigest: string): readonly CacheRecord[] {
    return this.#newestFirst().filter(
      (record) => record.fieldsDigest === fieldsDigest && this.#isPresent(record),
    );
  }

  lastAtSite(site: string): CacheRecord | undefined {
    return this.#newestFirst().find((record) => record.site === site);
  }

  everHad(key: string): boolean {
    return this.records.has(key) || this.#gone.has(key);
  }

  put(record: CacheRecord): void {
    this.records.delete(record.key);
    this.records.set(record.key, structuredClone(record));
  }

  holds(result: Result): boolean {
    return result.kind === 'files' || !result.layers.some((layer) => this.#dropped.has(layer));
  }

  resultById(resultId: string): Result | undefined {
    return this.#newestFirst().find((record) => record.resultId === resultId && this.#isPresent(record))
      ?.result;
  }

  async sameContent(a: Result, b: Result): Promise<boolean> {
    const content = (result: Result) =>
      result.kind === 'files' ? result.contentDigest : result.layers.map(this.#contentOf).join();
    return a.kind === b.kind && content(a) === content(b);
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

  /** The layer is gone from the store; records still name it. */
  dropLayer(layer: string): void {
    this.#dropped.add(layer);
  }

  #isPresent({ result }: CacheRecord): boolean {
    return this.holds(result);
  }

  #newestFirst(): CacheRecord[] {
    return [...this.records.values()].reverse();
  }
}
