/** What files of web servers and branches of git repositories were when they were last asked for. */
import { sha256Hex } from '../base/sha256.ts';
import { type Digest, parseDigest } from '../oci/digest.ts';
import type { MetaDb } from './meta-db.ts';
import { UsedRows } from './used-rows.ts';

export interface HttpFileRecord {
  /** What the server said about the body: sent back to ask whether it changed. */
  readonly etag?: string;
  readonly lastModified?: string;
  readonly digest: Digest;
  /** Seconds since the epoch; 0 when the server gave none. */
  readonly mtimeSeconds: number;
}

export interface GitRefRecord {
  /** `refs/heads/main`, or `HEAD`. */
  readonly fullRef: string;
  readonly commit: string;
  /** Of the tag object, when the ref is an annotated tag. */
  readonly tagId?: string;
}

export class SourceRecords {
  readonly #meta: MetaDb;
  readonly #httpFiles: UsedRows;

  constructor(meta: MetaDb) {
    this.#meta = meta;
    this.#httpFiles = new UsedRows(meta, 'http_files', 'url_sha256 = ?');
  }

  /** What the URL gave when it was last fetched; it counts as used now. The body need not be in the store. */
  httpFile(url: string): HttpFileRecord | undefined {
    const row = this.#httpFiles.get(sha256Hex(url));
    return row === undefined
      ? undefined
      : {
          ...(row.etag === null ? {} : { etag: String(row.etag) }),
          ...(row.last_modified === null ? {} : { lastModified: String(row.last_modified) }),
          digest: parseDigest(row.digest),
          mtimeSeconds: Number(row.mtime_seconds),
        };
  }

  putHttpFile(url: string, { etag, lastModified, digest, mtimeSeconds }: HttpFileRecord): void {
    const now = this.#meta.now();
    this.#meta.db
      .prepare('INSERT OR REPLACE INTO http_files VALUES (?, ?, ?, ?, ?, ?, ?)')
      .run(sha256Hex(url), etag ?? null, lastModified ?? null, digest, mtimeSeconds, now, now);
  }

  /** Bodies that were asked for at that time or later. */
  httpFilesUsedSince(timeMs: number): readonly Digest[] {
    return this.#meta.db
      .prepare('SELECT DISTINCT digest FROM http_files WHERE used_ms >= ?')
      .all(timeMs)
      .map((row) => parseDigest(row.digest));
  }

  /** What a branch or tag was when it was last looked up. */
  gitRef(remote: string, ref: string): GitRefRecord | undefined {
    const row = this.#meta.db
      .prepare('SELECT * FROM git_refs WHERE remote_sha256 = ? AND ref = ?')
      .get(sha256Hex(remote), ref);
    return row === undefined
      ? undefined
      : {
          fullRef: String(row.full_ref),
          commit: String(row.commit_id),
          ...(row.tag_id === null ? {} : { tagId: String(row.tag_id) }),
        };
  }

  putGitRef(remote: string, ref: string, { fullRef, commit, tagId }: GitRefRecord): void {
    this.#meta.db
      .prepare('INSERT OR REPLACE INTO git_refs VALUES (?, ?, ?, ?, ?, ?)')
      .run(sha256Hex(remote), ref, fullRef, commit, tagId ?? null, this.#meta.now());
  }
}
