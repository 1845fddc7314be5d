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

/** One statement for all files, as lists of JSON: a statement for each file costs several times more. */
export class SqliteStatCache {
  readonly #meta: MetaDb;
  #lookup: StatementSync | undefined;
  #store: StatementSync | undefined;

  constructor(meta: MetaDb) {
    this.#meta = meta;
  }

  lookup(facts: readonly Facts[]): readonly (string | undefined)[] {
    const found: (string | undefined)[] = new Array(facts.length);
    const byDevice = Map.groupBy(facts.keys(), (index) => facts[index]?.dev ?? '');
    for (const [dev, indexes] of byDevice) {
      for (const [position, row] of this.#rowsOf(
        dev,
        indexes.map((index) => facts[index]?.ino),
      ).entries()) {
        const index = indexes[position] as number;
        const { ino, sizeBytes, mtimeNs, ctimeNs } = facts[index] as Facts;
        const [storedIno, storedBytes, storedMtimeNs, storedCtimeNs, sha256] = row;
        if (
          sha256 !== null &&
          storedIno === ino &&
          storedBytes === sizeBytes &&
          storedMtimeNs === mtimeNs &&
          storedCtimeNs === ctimeNs
        ) {
          found[index] = sha256;
        }
      }
    }
    return found;
  }

  /** In the order of `inodes`, which SQLite does not promise: another row than its own would say another inode. */
  #rowsOf(dev: string, inodes: readonly (string | undefined)[]): readonly StoredRow[] {
    this.#lookup ??= this.#meta.db.prepare(
      `SELECT json_group_array(json_array(ino, size_bytes, mtime_ns, ctime_ns, sha256)) AS rows
       FROM json_each(?) AS wanted LEFT JOIN stat_cache ON dev = ? AND ino = wanted.value`,
    );
    return JSON.parse(String(this.#lookup.get(JSON.stringify(inodes), dev)?.rows)) as StoredRow[];
  }

  store(entries: readonly { readonly facts: Facts; readonly sha256: string }[]): void {
    if (entries.length === 0) {
      return;
    }
    this.#store ??= this.#meta.db.prepare(
      `INSERT OR REPLACE INTO stat_cache
       SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, ? FROM json_each(?)`,
    );
    const rows = entries.map(({ facts: { dev, ino, sizeBytes, mtimeNs, ctimeNs }, sha256 }) => [
      dev,
      ino,
      sizeBytes,
      mtimeNs,
      ctimeNs,
      sha256,
    ]);
    this.#store.run(this.#meta.now(), JSON.stringify(rows));
  }
}

/** Nulls where nothing is known. */
type StoredRow = readonly [
  ino: string | null,
  sizeBytes: number | null,
  mtimeNs: string | null,
  ctimeNs: string | null,
  sha256: string | null,
];
