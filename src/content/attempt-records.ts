/** The last attempt to build each image: which layers it had, and where their logs are. */
import type { MetaDb } from './meta-db.ts';
import { USED_PRECISION_MS } from './used-rows.ts';

export interface AttemptedLayer {
  /** `im-` and 22 base-62 characters. */
  readonly id: string;
  readonly method: string;
  /** Of its steps, in order; a log has the name of a result. */
  readonly results: readonly string[];
}

export interface AttemptRecord {
  /** Up to the one that failed, if one did. */
  readonly layers: readonly AttemptedLayer[];
  readonly failed: boolean;
}

export class AttemptRecords {
  readonly #meta: MetaDb;

  constructor(meta: MetaDb) {
    this.#meta = meta;
  }

  /** Takes the place of what was known of `image`. The same success again says nothing new. */
  put(image: string, { layers, failed }: AttemptRecord): void {
    const text = JSON.stringify(layers);
    const { db, now } = this.#meta;
    const before = db.prepare('SELECT * FROM attempts WHERE image = ?').get(image);
    const isRecent = Number(before?.ended_ms ?? 0) > now() - USED_PRECISION_MS;
    if (before?.layers === text && before.failed === 0 && !failed && isRecent) {
      return;
    }
    db.prepare('INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?)').run(image, text, failed ? 1 : 0, now());
  }

  /** By the id of an image, or of a layer of one: then the attempt ends with that layer. */
  find(id: string): AttemptRecord | undefined {
    const { db } = this.#meta;
    const row =
      db.prepare('SELECT * FROM attempts WHERE image = ?').get(id) ??
      db
        .prepare('SELECT * FROM attempts WHERE instr(layers, ?) > 0 ORDER BY ended_ms DESC LIMIT 1')
        .get(`"${id}"`);
    if (row === undefined) {
      return undefined;
    }
    const all = JSON.parse(String(row.layers)) as readonly AttemptedLayer[];
    const layers = all.slice(0, all.findIndex((layer) => layer.id === id) + 1);
    return layers.length === 0 || layers.length === all.length
      ? { layers: all, failed: row.failed === 1 }
      : { layers, failed: false };
  }

  /** Forgets attempts at images that are not there and of which no log is left. */
  forget(hasLog: (result: string) => boolean): void {
    const { db } = this.#meta;
    for (const row of db
      .prepare('SELECT image, layers FROM attempts WHERE image NOT IN (SELECT id FROM images)')
      .all()) {
      const layers = JSON.parse(String(row.layers)) as readonly AttemptedLayer[];
      if (!layers.some(({ results }) => results.some(hasLog))) {
        db.prepare('DELETE FROM attempts WHERE image = ?').run(String(row.image));
      }
    }
  }
}
