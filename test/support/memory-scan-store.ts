import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ScanRecord, ScanStore } from '../../src/local/scan-memory.ts';

/** A store of scans whose rows are in memory; its directory is removed when it goes out of scope. */
export class MemoryScanStore implements ScanStore, Disposable {
  readonly rows = new Map<string, string>();
  readonly #path = mkdtempSync(join(tmpdir(), 'tsbuild-scans-'));
  readonly directory = join(this.#path, 'scans');

  scratchFile(name: string): string {
    return join(this.#path, name);
  }

  get(context: string): ScanRecord | undefined {
    const row = this.rows.get(context);
    return row === undefined ? undefined : JSON.parse(row);
  }

  put(context: string, record: ScanRecord): void {
    this.rows.set(context, JSON.stringify(record));
  }

  [Symbol.dispose](): void {
    rmSync(this.#path, { recursive: true, force: true });
  }
}
