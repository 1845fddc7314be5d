/**
 * Content digests of local files in the store's database, by device, inode, size and both times. Implements `StatCache` of
 * `local/stat-cache.ts`.
 */
import type { StatementSync } from 'node:sqlite';
import type { MetaDb } from './meta-db.ts';

interface Facts {
  readonly dev: string;
  readonly ino: string;
  readonly sizeBytes: number;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
}

export class SqliteStatCache {
  readonly #meta: MetaDb;
  #lookup: StatementSync | undefined;
  #store: StatementSync | undefined;

  constructor(meta: MetaDb) {
    this.#meta = meta;
  }

  lookup(facts: readonly Facts[]): readonly (string | undefined)[] {
    this.#lookup ??= this.#meta.db.prepare(
      'SELECT sha256 FROM stat_cache WHERE dev = ? AND ino = ? AND size_bytes = ? AND mtime_ns = ? AND ctime_ns = ?',
    );
    const lookup = this.#lookup;
    return facts.map(({ dev, ino, sizeBytes, mtimeNs, ctimeNs }) => {
      const row = lookup.get(dev, ino, sizeBytes, mtimeNs, ctimeNs);
      return row === undefined ? undefined : String(row.sha256);
    });
  }

  store(entries: readonly { readonly facts: Facts; readonly sha256: string }[]): void {
    if (entries.length === 0) {
      return;
    }
    const now = this.#meta.now();
    this.#store ??= this.#meta.db.prepare('INSERT OR REPLACE INTO stat_cache VALUES (?, ?, ?, ?, ?, ?, ?)');
    const store = this.#store;
    this.#meta.transaction(() => {
      for (const { facts, sha256 } of entries) {
        const { dev, ino, sizeBytes, mtimeNs, ctimeNs } = facts;
        store.run(dev, ino, sizeBytes, mtimeNs, ctimeNs, sha256, now);
      }
    });
  }
}
