/**
 * What scans of build contexts found, by the context: implements `ScanStore` of `local/scan-memory.ts`. Losing rows costs time.
 */
import type { Digest } from '../oci/digest.ts';
import type { MetaDb } from './meta-db.ts';
import { UsedRows } from './used-rows.ts';

/** A context that nobody built for so long is scanned again. */
const KEPT_MS = 30 * 24 * 3_600_000;

interface ScanRecord {
  readonly fingerprint: string;
  readonly names: string;
  readonly skip: readonly string[];
  readonly hidden: readonly string[];
  readonly rootOnlyPatterns: readonly string[];
  readonly selections: Readonly<
    Record<string, { readonly contentDigest: Digest; readonly leftOut: readonly string[] }>
  >;
}

export class ScanRecords {
  readonly directory: string;
  readonly scratchFile: (name: string) => string;
  readonly #meta: MetaDb;
  readonly #rows: UsedRows;

  /**
   * @param directory - For the files that go with the rows.
   * @param scratchFile - The path of a file for something unfinished.
   */
  constructor(meta: MetaDb, directory: string, scratchFile: (name: string) => string) {
    this.directory = directory;
    this.scratchFile = scratchFile;
    this.#meta = meta;
    this.#rows = new UsedRows(meta, 'context_scans', 'context = ?');
  }

  get(context: string): ScanRecord | undefined {
    const row = this.#rows.get(context);
    return row === undefined ? undefined : (JSON.parse(String(row.scan)) as ScanRecord);
  }

  put(context: string, record: ScanRecord): void {
    const { db, now } = this.#meta;
    this.#meta.transaction(() => {
      db.prepare('DELETE FROM context_scans WHERE used_ms < ?').run(now() - KEPT_MS);
      db.prepare('INSERT OR REPLACE INTO context_scans VALUES (?, ?, ?)').run(
        context,
        JSON.stringify(record),
        now(),
      );
    });
  }
}
