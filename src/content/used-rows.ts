/**
 * Rows that remember when they were last used, for garbage collection. Not to the millisecond: whoever looks up what was just used
 * writes nothing, so that a build of which everything is known only reads.
 */
import type { SQLInputValue, StatementSync } from 'node:sqlite';
import type { MetaDb } from './meta-db.ts';

/** A row may have been used this much later than it says. Garbage collection spares as much; see `Store.oldestOtherEngineMs`. */
export const USED_PRECISION_MS = 10 * 60_000;

export class UsedRows {
  readonly #meta: MetaDb;
  readonly #table: string;
  readonly #condition: string;
  #select: StatementSync | undefined;
  #touch: StatementSync | undefined;

  /** @param condition - Of SQL, with a `?` for each part of the key. */
  constructor(meta: MetaDb, table: string, condition: string) {
    this.#meta = meta;
    this.#table = table;
    this.#condition = condition;
  }

  /** Looks a row up and marks it as used, so that garbage collection leaves it to whoever asked. */
  get(...key: readonly SQLInputValue[]): Record<string, unknown> | undefined {
    const { db, now } = this.#meta;
    this.#select ??= db.prepare(`SELECT * FROM ${this.#table} WHERE ${this.#condition}`);
    const row = this.#select.get(...key);
    if (row === undefined || Number(row.used_ms) > now() - USED_PRECISION_MS) {
      return row;
    }
    this.#touch ??= db.prepare(`UPDATE ${this.#table} SET used_ms = ? WHERE ${this.#condition} RETURNING *`);
    // It may be gone by now.
    return this.#touch.get(now(), ...key);
  }
}
