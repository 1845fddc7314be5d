/**
 * Remembers content digests of local files by device, inode, size and both times, so that an unchanged tree costs a stat
 * walk and no read. The racy-timestamp rule of git's index applies: see `local/scan-input.ts`.
 */
import type { StatementSync } from 'node:sqlite';
import type { MetaDb } from './meta-db.ts';

export interface StatKey {
  readonly dev: string;
  readonly ino: string;
  readonly sizeBytes: number;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
}

export interface StatCache {
  /** Hex SHA-256, or undefined when the file is not known in exactly this state. */
  lookup(key: StatKey): string | undefined;
  store(entries: readonly { readonly key: StatKey; readonly sha256: string }[]): void;
}

export class SqliteStatCache implements StatCache {
  readonly #meta: MetaDb;
  readonly #lookup: StatementSync;
  readonly #store: StatementSync;

  constructor(meta: MetaDb) {
    this.#meta = meta;
    this.#lookup = meta.db.prepare(
      'SELECT sha256 FROM stat_cache WHERE dev = ? AND ino = ? AND size_bytes = ? AND mtime_ns = ? AND ctime_ns = ?',
    );
    this.#store = meta.db.prepare('INSERT OR REPLACE INTO stat_cache VALUES (?, ?, ?, ?, ?, ?, ?)');
  }

  lookup(key: StatKey): string | undefined {
    const row = this.#lookup.get(key.dev, key.ino, key.sizeBytes, key.mtimeNs, key.ctimeNs);
    return row === undefined ? undefined : String(row.sha256);
  }

  store(entries: readonly { readonly key: StatKey; readonly sha256: string }[]): void {
    const now = this.#meta.now();
    this.#meta.transaction(() => {
      for (const { key, sha256 } of entries) {
        this.#store.run(key.dev, key.ino, key.sizeBytes, key.mtimeNs, key.ctimeNs, sha256, now);
      }
    });
  }
}
