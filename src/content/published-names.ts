/** Names that images were published under, and what each stood for before. */
import type { MetaDb } from './meta-db.ts';

export interface PublishedKey {
  readonly namespace: string;
  readonly name: string;
  readonly tag: string;
}

export interface PublishedName extends PublishedKey {
  /** Of an image, or of an index of images. */
  readonly id: string;
  readonly publishedMs: number;
}

export class PublishedNames {
  readonly #meta: MetaDb;

  constructor(meta: MetaDb) {
    this.#meta = meta;
  }

  /** Moves the name. Publishing what it stands for already changes nothing. @param id - Of the store. */
  put({ namespace, name, tag }: PublishedKey, id: string): PublishedName {
    const { db } = this.#meta;
    return this.#meta.transaction(() => {
      const before = this.get({ namespace, name, tag });
      if (before?.id === id) {
        return before;
      }
      const publishedMs = this.#meta.now();
      const isIndex = db.prepare('SELECT 1 FROM indexes WHERE id = ?').get(id) !== undefined;
      db.prepare('INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?, ?, ?)').run(
        namespace,
        name,
        tag,
        isIndex ? null : id,
        isIndex ? id : null,
        publishedMs,
      );
      db.prepare('INSERT INTO published_history VALUES (NULL, ?, ?, ?, ?, ?)').run(
        namespace,
        name,
        tag,
        id,
        publishedMs,
      );
      return { namespace, name, tag, id, publishedMs };
    });
  }

  get({ namespace, name, tag }: PublishedKey): PublishedName | undefined {
    const row = this.#meta.db
      .prepare(
        `SELECT *, coalesce(image, image_index) AS id FROM published
         WHERE namespace = ? AND name = ? AND tag = ?`,
      )
      .get(namespace, name, tag);
    return row === undefined ? undefined : fromRow(row);
  }

  /** Sorted. */
  list(): readonly PublishedName[] {
    return this.#meta.db
      .prepare('SELECT *, coalesce(image, image_index) AS id FROM published ORDER BY namespace, name, tag')
      .all()
      .map(fromRow);
  }

  /** What the name stood for, the newest first; images that are gone too. */
  history({ namespace, name, tag }: PublishedKey): readonly PublishedName[] {
    return this.#meta.db
      .prepare(
        `SELECT * FROM published_history WHERE namespace = ? AND name = ? AND tag = ?
         ORDER BY position DESC`,
      )
      .all(namespace, name, tag)
      .map(fromRow);
  }

  /** Its history stays. @returns Whether there was such a name. */
  remove({ namespace, name, tag }: PublishedKey): boolean {
    const removed = this.#meta.db
      .prepare('DELETE FROM published WHERE namespace = ? AND name = ? AND tag = ?')
      .run(namespace, name, tag);
    return removed.changes > 0;
  }
}

function fromRow(row: Record<string, unknown>): PublishedName {
  return {
    namespace: String(row.namespace),
    name: String(row.name),
    tag: String(row.tag),
    id: String(row.id),
    publishedMs: Number(row.published_ms),
  };
}
