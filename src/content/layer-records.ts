/** What the store knows of each layer: whether its snapshot is unpacked, which blobs it has, where a blob can be fetched. */
import type { StatementSync } from 'node:sqlite';
import { canonicalJson } from '../base/canonical-json.ts';
import { type Digest, parseDigest } from '../oci/digest.ts';
import type { LayerId } from '../solver/op.ts';
import type { MetaDb } from './meta-db.ts';
import { USED_PRECISION_MS, UsedRows } from './used-rows.ts';

/**
 * How a blob was made: `source` came with an image, others are `zstd:3`, `gzip:6@1700000000` (clamped), `none:0`, `estargz:6`,
 * `zstd:chunked:3`.
 */
export type BlobForm = string;

export interface LayerBlob {
  readonly form: BlobForm;
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly diffId: Digest;
  /** Of its descriptor: where the table of contents is, in blobs that have one. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Of the worker, for the layer's next state (`worker/blob-notes.ts`). */
  readonly notes?: string;
}

export interface LayerRecord {
  readonly id: LayerId;
  readonly hasSnapshot: boolean;
  /** The stack below, bottom first, that the snapshot was made on. */
  readonly parents: readonly LayerId[];
  readonly contentDigest: string | undefined;
}

/** Much less than {@link USED_PRECISION_MS}, so that they are marked as used in time. */
const SEEN_MS = USED_PRECISION_MS / 10;

export class LayerRecords {
  readonly #meta: MetaDb;
  readonly #rows: UsedRows;
  readonly #seen = new Set<LayerId>();
  #seenAt = { version: '', ms: 0 };
  #changes: StatementSync | undefined;
  #put: StatementSync | undefined;
  #blobs: StatementSync | undefined;
  #putBlob: StatementSync | undefined;

  constructor(meta: MetaDb) {
    this.#meta = meta;
    this.#rows = new UsedRows(meta, 'layers', 'id = ?');
  }

  /** Looks a layer up and marks it as used now, so that garbage collection leaves it to whoever asked. */
  get(id: LayerId): LayerRecord | undefined {
    const row = this.#rows.get(id);
    if (row === undefined) {
      return undefined;
    }
    return {
      id,
      hasSnapshot: row.snapshot === 1,
      parents: JSON.parse(String(row.parents)) as LayerId[],
      contentDigest: row.content_digest === null ? undefined : String(row.content_digest),
    };
  }

  /**
   * Whether all are known; they count as used. Stacks share most of their layers, and a build asks for each of its stacks: what was
   * there is not looked for again until something was written, by whomever.
   */
  hasAll(ids: readonly LayerId[]): boolean {
    const { db, now } = this.#meta;
    this.#changes ??= db.prepare('SELECT data_version, total_changes() AS own FROM pragma_data_version');
    const { data_version, own } = this.#changes.get() ?? {};
    const version = `${data_version} ${own}`;
    if (version !== this.#seenAt.version || now() > this.#seenAt.ms + SEEN_MS) {
      this.#seen.clear();
      this.#seenAt = { version, ms: now() };
    }
    return ids.every((id) => {
      const isThere = this.#seen.has(id) || this.#rows.get(id) !== undefined;
      if (isThere) {
        this.#seen.add(id);
      }
      return isThere;
    });
  }

  put(id: LayerId, parents: readonly LayerId[], hasSnapshot: boolean): void {
    const now = this.#meta.now();
    this.#put ??= this.#meta.db.prepare(
      `INSERT INTO layers (id, snapshot, parents, created_ms, used_ms) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET snapshot = max(snapshot, excluded.snapshot), used_ms = excluded.used_ms`,
    );
    this.#put.run(id, hasSnapshot ? 1 : 0, JSON.stringify(parents), now, now);
  }

  blobs(id: LayerId): readonly LayerBlob[] {
    this.#blobs ??= this.#meta.db.prepare('SELECT * FROM layer_blobs WHERE layer = ? ORDER BY form');
    return this.#blobs.all(id).map((row) => ({
      form: String(row.form),
      mediaType: String(row.media_type),
      digest: parseDigest(row.digest),
      sizeBytes: Number(row.size_bytes),
      diffId: parseDigest(row.diff_id),
      ...(row.annotations === null
        ? {}
        : { annotations: JSON.parse(String(row.annotations)) as Record<string, string> }),
      ...(row.notes === null ? {} : { notes: String(row.notes) }),
    }));
  }

  putBlob(id: LayerId, blob: LayerBlob): void {
    this.#putBlob ??= this.#meta.db.prepare(
      'INSERT OR REPLACE INTO layer_blobs VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    );
    const { form, mediaType, digest, sizeBytes, diffId, annotations, notes } = blob;
    const described = annotations === undefined ? null : canonicalJson(annotations);
    this.#putBlob.run(id, form, mediaType, digest, sizeBytes, diffId, described, notes ?? null);
  }

  dropBlob(id: LayerId, form: BlobForm): void {
    this.#meta.db.prepare('DELETE FROM layer_blobs WHERE layer = ? AND form = ?').run(id, form);
  }

  /**
   * Records a layer that somebody else made, unless it is known.
   *
   * @param source - Where the blob is: `host/repository`, or `oci-layout:/DIRECTORY`.
   */
  putPromised(
    id: LayerId,
    parents: readonly LayerId[],
    blob: LayerBlob,
    source: string,
    contentDigest: string | undefined,
  ): void {
    const { db } = this.#meta;
    if (db.prepare('SELECT 1 FROM layers WHERE id = ?').get(id) === undefined) {
      this.put(id, parents, false);
      if (contentDigest !== undefined) {
        this.setContentDigest(id, contentDigest);
      }
    }
    if (!this.blobs(id).some(({ form }) => form === blob.form)) {
      this.putBlob(id, blob);
    }
    this.addSource(blob.digest, source);
  }

  /** Forgets layers that are nothing but a promise of a blob that turned out not to be there. */
  forgetPromised(digest: Digest): void {
    this.#meta.db
      .prepare(
        `DELETE FROM layers WHERE snapshot = 0 AND id IN
         (SELECT layer FROM layer_blobs WHERE digest = ? AND form = 'source')`,
      )
      .run(digest);
  }

  /** Forgets a layer whose blobs are gone, unless it has been unpacked. */
  forgetWithoutSnapshot(id: LayerId): void {
    this.#meta.db.prepare('DELETE FROM layers WHERE snapshot = 0 AND id = ?').run(id);
  }

  setContentDigest(id: LayerId, digest: string): void {
    this.#meta.db.prepare('UPDATE layers SET content_digest = ? WHERE id = ?').run(digest, id);
  }

  forgetSnapshot(id: LayerId): void {
    this.#meta.db.prepare('UPDATE layers SET snapshot = 0 WHERE id = ?').run(id);
  }

  /**
   * Remembers who holds a blob: a repository, from which it is fetched and, when pushing, mounted; or a local layout,
   * `oci-layout:/DIRECTORY`.
   */
  addSource(digest: Digest, source: string): void {
    this.#meta.db.prepare('INSERT OR IGNORE INTO blob_sources VALUES (?, ?)').run(digest, source);
  }

  sources(digest: Digest): readonly string[] {
    return this.#meta.db
      .prepare('SELECT repository FROM blob_sources WHERE digest = ?')
      .all(digest)
      .map((row) => String(row.repository));
  }
}
