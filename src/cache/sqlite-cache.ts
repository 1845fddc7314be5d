/** Cache records in the store's database. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { StatementSync } from 'node:sqlite';
import type { LayerRecords } from '../content/layer-records.ts';
import type { MetaDb } from '../content/meta-db.ts';
import { UsedRows } from '../content/used-rows.ts';
import { lockFile } from '../native/call-native.ts';
import type {
  CacheLock,
  CacheRecord,
  CacheStore,
  KeyField,
  LayerId,
  PathRead,
  Result,
} from '../solver/op.ts';

/** How many results of the same fields a look-up by content compares with. Older ones are hardly ever the right one. */
const CONTENT_CANDIDATES = 8;

/**
 * Keys share lock files by their first digits, so that lock files (which cannot be removed without a race) stay few. Two
 * steps that share one wait for each other, and nothing else: whoever holds a lock waits for no other.
 */
const LOCK_NAME_DIGITS = 3;

/** Of records that somebody else made: before all of ours. */
const ADOPTED_CREATED_MS = 0;

export interface SqliteCacheOptions {
  readonly meta: MetaDb;
  readonly layers: LayerRecords;
  readonly storeDir: string;
  /** Digest of one layer's snapshot without times; asks the worker. */
  readonly layerDigest: (layer: LayerId, signal: AbortSignal) => Promise<string>;
  /** Digest of paths of a stack without times, undefined where one is not there; asks the worker. */
  readonly readsDigest: (
    layers: readonly LayerId[],
    reads: readonly PathRead[],
    signal: AbortSignal,
  ) => Promise<string | undefined>;
}

export class SqliteCache implements CacheStore {
  readonly #options: SqliteCacheOptions;
  readonly #lookup: UsedRows;
  #put: StatementSync | undefined;
  #putFields: StatementSync | undefined;
  #byFields: StatementSync | undefined;
  #atSite: StatementSync | undefined;
  #ever: StatementSync | undefined;
  /** Of stacks and paths, which never change. */
  readonly #reads = new Map<string, Promise<string | undefined>>();

  constructor(options: SqliteCacheOptions) {
    this.#options = options;
    this.#lookup = new UsedRows(options.meta, 'cache', 'key = ? AND gone = 0');
  }

  lookup(key: string): CacheRecord | undefined {
    const row = this.#lookup.get(key);
    return row === undefined ? undefined : this.#present(this.#fromRow(row));
  }

  lookupByFields(fieldsDigest: string): readonly CacheRecord[] {
    this.#byFields ??= this.#options.meta.db.prepare(
      'SELECT * FROM cache WHERE fields_digest = ? AND gone = 0 ORDER BY created_ms DESC LIMIT ?',
    );
    return this.#byFields
      .all(fieldsDigest, CONTENT_CANDIDATES)
      .map((row) => this.#fromRow(row))
      .filter((record) => this.#present(record) !== undefined);
  }

  lastAtSite(site: string): CacheRecord | undefined {
    this.#atSite ??= this.#options.meta.db.prepare(
      'SELECT * FROM cache WHERE site = ? ORDER BY created_ms DESC LIMIT 1',
    );
    const row = this.#atSite.get(site);
    return row === undefined ? undefined : this.#fromRow(row);
  }

  everHad(key: string): boolean {
    this.#ever ??= this.#options.meta.db.prepare('SELECT 1 FROM cache WHERE key = ?');
    return this.#ever.get(key) !== undefined;
  }

  put(record: CacheRecord): void {
    const { meta } = this.#options;
    // One commit instead of one for each table.
    meta.transaction(() => this.#insert(record, meta.now()));
  }

  #insert(record: CacheRecord, createdMs: number): void {
    this.#put ??= this.#options.meta.db.prepare(
      'INSERT OR REPLACE INTO cache VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?)',
    );
    this.#put.run(
      record.key,
      record.resultId,
      JSON.stringify(record.result),
      record.fieldsDigest,
      JSON.stringify(record.inputs),
      record.site ?? null,
      record.durationMs,
      createdMs,
      this.#options.meta.now(),
    );
    this.#putFields ??= this.#options.meta.db.prepare('INSERT OR REPLACE INTO cache_fields VALUES (?, ?)');
    this.#putFields.run(record.key, JSON.stringify(record.fields));
  }

  holds(result: Result): boolean {
    return result.kind === 'files' || this.#options.layers.hasAll(result.layers);
  }

  /**
   * Adds records that somebody else made, all or none; `layers` is called first, in the same transaction. A record that is
   * here already stays, and ours count as newer in explanations and look-ups by content.
   */
  adopt(records: readonly CacheRecord[], layers: () => void): void {
    const { db } = this.#options.meta;
    const present = db.prepare('SELECT result FROM cache WHERE key = ? AND gone = 0');
    this.#options.meta.transaction(() => {
      layers();
      for (const record of records) {
        const row = present.get(record.key);
        if (row === undefined || !this.holds(JSON.parse(String(row.result)) as Result)) {
          this.#insert(record, ADOPTED_CREATED_MS);
        }
      }
    });
  }

  resultById(resultId: string): Result | undefined {
    const row = this.#options.meta.db
      .prepare('SELECT * FROM cache WHERE result_id = ? AND gone = 0 LIMIT 1')
      .get(resultId);
    return row === undefined ? undefined : this.#present(this.#fromRow(row))?.result;
  }

  async sameContent(
    a: Result,
    b: Result,
    signal: AbortSignal,
    reads?: readonly PathRead[],
  ): Promise<boolean> {
    if (a.kind === 'files' || b.kind === 'files') {
      return a.kind === 'files' && b.kind === 'files' && a.contentDigest === b.contentDigest;
    }
    if (reads !== undefined && this.#isUnpacked(a.layers) && this.#isUnpacked(b.layers)) {
      const read = await this.#readsOf(a.layers, reads, signal);
      return read !== undefined && read === (await this.#readsOf(b.layers, reads, signal));
    }
    if (a.layers.length !== b.layers.length) {
      return false;
    }
    for (const [index, layer] of a.layers.entries()) {
      const other = b.layers[index] as LayerId;
      if (layer === other) {
        continue;
      }
      const content = await this.#contentOf(layer, signal);
      if (content === undefined || content !== (await this.#contentOf(other, signal))) {
        return false;
      }
    }
    return true;
  }

  async lock(key: string, signal: AbortSignal): Promise<CacheLock> {
    const directory = join(this.#options.storeDir, 'locks');
    mkdirSync(directory, { recursive: true });
    return await lockFile(join(directory, key.slice(0, LOCK_NAME_DIGITS)), false, signal);
  }

  #isUnpacked(layers: readonly LayerId[]): boolean {
    return layers.every((layer) => this.#options.layers.get(layer)?.hasSnapshot === true);
  }

  #readsOf(
    layers: readonly LayerId[],
    reads: readonly PathRead[],
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const key = JSON.stringify([layers, reads]);
    let digest = this.#reads.get(key);
    if (digest === undefined) {
      digest = this.#options.readsDigest(layers, reads, signal);
      this.#reads.set(key, digest);
      digest.catch(() => this.#reads.delete(key));
    }
    return digest;
  }

  /** Undefined for a layer that would have to be fetched first: running the step may well cost less. */
  async #contentOf(layer: LayerId, signal: AbortSignal): Promise<string | undefined> {
    const { layers, layerDigest } = this.#options;
    const record = layers.get(layer);
    if (record?.contentDigest !== undefined || record?.hasSnapshot !== true) {
      return record?.contentDigest;
    }
    const digest = await layerDigest(layer, signal);
    layers.setContentDigest(layer, digest);
    return digest;
  }

  /** The record, if all layers of its result are still known to the store. */
  #present(record: CacheRecord): CacheRecord | undefined {
    return this.holds(record.result) ? record : undefined;
  }

  #fromRow(row: Record<string, unknown>): CacheRecord {
    const { db } = this.#options.meta;
    const key = String(row.key);
    return {
      key,
      resultId: String(row.result_id),
      result: JSON.parse(String(row.result)) as Result,
      fieldsDigest: String(row.fields_digest),
      // Only explanations and exports read them.
      get fields() {
        const found = db.prepare('SELECT fields FROM cache_fields WHERE key = ?').get(key);
        return found === undefined ? [] : (JSON.parse(String(found.fields)) as KeyField[]);
      },
      inputs: JSON.parse(String(row.inputs)) as string[],
      ...(row.site === null ? {} : { site: String(row.site) }),
      durationMs: Number(row.duration_ms),
    };
  }
}
