/**
 * The store's metadata: one SQLite file in write-ahead mode, shared by every process that uses the store.
 *
 * `synchronous=NORMAL` means that a power cut may lose the newest records and never corrupts the file. A lost record costs a
 * rebuild; what a record points to is looked at before it is used.
 *
 * The tables are described in docs/reference/store.md. Changing one needs a new version and a step in {@link MIGRATIONS}.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { HostError } from '../errors.ts';

/** How long a writer waits for another process's transaction. They last microseconds; a minute means that one hangs. */
const BUSY_TIMEOUT_MS = 60_000;

const SQLITE_BUSY = 5;
const WRITE_AHEAD_RETRY_MS = 5;

/** Entry N takes a database of version N to version N + 1. Append only. */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE layers (
    id TEXT PRIMARY KEY,
    snapshot INTEGER NOT NULL DEFAULT 0,
    parents TEXT NOT NULL,
    content_digest TEXT,
    created_ms INTEGER NOT NULL,
    used_ms INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE layer_blobs (
    layer TEXT NOT NULL REFERENCES layers(id) ON DELETE CASCADE,
    form TEXT NOT NULL,
    media_type TEXT NOT NULL,
    digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    diff_id TEXT NOT NULL,
    PRIMARY KEY (layer, form)
  ) WITHOUT ROWID;
  CREATE INDEX layer_blobs_by_digest ON layer_blobs(digest);
  CREATE TABLE blob_sources (
    digest TEXT NOT NULL,
    repository TEXT NOT NULL,
    PRIMARY KEY (digest, repository)
  ) WITHOUT ROWID;
  CREATE TABLE cache (
    key TEXT PRIMARY KEY,
    gone INTEGER NOT NULL DEFAULT 0,
    result_id TEXT NOT NULL,
    result TEXT NOT NULL,
    fields_digest TEXT NOT NULL,
    fields TEXT NOT NULL,
    inputs TEXT NOT NULL,
    site TEXT,
    duration_ms REAL NOT NULL,
    created_ms INTEGER NOT NULL,
    used_ms INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX cache_by_fields ON cache(fields_digest, created_ms);
  CREATE INDEX cache_by_site ON cache(site, created_ms);
  CREATE INDEX cache_by_result ON cache(result_id);
  CREATE TABLE images (
    id TEXT PRIMARY KEY,
    manifest_digest TEXT NOT NULL,
    config_digest TEXT NOT NULL,
    platform TEXT NOT NULL,
    layers TEXT NOT NULL,
    config TEXT NOT NULL,
    build TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    used_ms INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE names (
    name TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    updated_ms INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE resolutions (
    reference TEXT NOT NULL,
    platform TEXT NOT NULL,
    manifest_digest TEXT NOT NULL,
    resolved_ms INTEGER NOT NULL,
    PRIMARY KEY (reference, platform)
  ) WITHOUT ROWID;
  CREATE TABLE stat_cache (
    dev TEXT NOT NULL,
    ino TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns TEXT NOT NULL,
    ctime_ns TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    used_ms INTEGER NOT NULL,
    PRIMARY KEY (dev, ino)
  ) WITHOUT ROWID;
  CREATE TABLE engines (
    id TEXT PRIMARY KEY,
    started_ms INTEGER NOT NULL
  ) WITHOUT ROWID;
  `,
  // What remote sources were when they were last asked. URLs may hold credentials, so that only their hashes are here.
  `
  CREATE TABLE http_files (
    url_sha256 TEXT PRIMARY KEY,
    etag TEXT,
    last_modified TEXT,
    digest TEXT NOT NULL,
    mtime_seconds INTEGER NOT NULL,
    fetched_ms INTEGER NOT NULL,
    used_ms INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX http_files_by_digest ON http_files(digest);
  CREATE TABLE git_refs (
    remote_sha256 TEXT NOT NULL,
    ref TEXT NOT NULL,
    full_ref TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    tag_id TEXT,
    resolved_ms INTEGER NOT NULL,
    PRIMARY KEY (remote_sha256, ref)
  ) WITHOUT ROWID;
  `,
  // A name may stand for an index: images of one definition for several platforms.
  `
  CREATE TABLE indexes (
    id TEXT PRIMARY KEY,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    used_ms INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE index_images (
    image_index TEXT NOT NULL REFERENCES indexes(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    image TEXT NOT NULL REFERENCES images(id),
    manifest_digest TEXT NOT NULL,
    config_digest TEXT NOT NULL,
    PRIMARY KEY (image_index, position)
  ) WITHOUT ROWID;
  CREATE INDEX index_images_by_image ON index_images(image);
  ALTER TABLE names RENAME TO image_names;
  CREATE TABLE names (
    name TEXT PRIMARY KEY,
    image TEXT REFERENCES images(id) ON DELETE CASCADE,
    image_index TEXT REFERENCES indexes(id) ON DELETE CASCADE,
    updated_ms INTEGER NOT NULL,
    CHECK ((image IS NULL) <> (image_index IS NULL))
  ) WITHOUT ROWID;
  INSERT INTO names SELECT name, image, NULL, updated_ms FROM image_names;
  DROP TABLE image_names;
  `,
  // Names of the Image API with what they stood for before, and the layers of each attempt to build, for its logs.
  `
  CREATE TABLE published (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    tag TEXT NOT NULL,
    image TEXT REFERENCES images(id) ON DELETE CASCADE,
    image_index TEXT REFERENCES indexes(id) ON DELETE CASCADE,
    published_ms INTEGER NOT NULL,
    PRIMARY KEY (namespace, name, tag),
    CHECK ((image IS NULL) <> (image_index IS NULL))
  ) WITHOUT ROWID;
  CREATE INDEX published_by_image ON published(image);
  CREATE INDEX published_by_index ON published(image_index);
  CREATE TABLE published_history (
    position INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    tag TEXT NOT NULL,
    id TEXT NOT NULL,
    published_ms INTEGER NOT NULL
  );
  CREATE INDEX published_history_by_name ON published_history(namespace, name, tag);
  CREATE TABLE attempts (
    image TEXT PRIMARY KEY,
    layers TEXT NOT NULL,
    failed INTEGER NOT NULL,
    ended_ms INTEGER NOT NULL
  ) WITHOUT ROWID;
  `,
  // Layers may have `owners` beside their files. Who does not know of it would take them for root's.
  '',
  // Fields are long where they list files, and whoever looks for a key would read those of others on the way.
  `
  CREATE TABLE cache_fields (
    key TEXT PRIMARY KEY REFERENCES cache(key) ON DELETE CASCADE,
    fields TEXT NOT NULL
  );
  INSERT INTO cache_fields SELECT key, fields FROM cache;
  ALTER TABLE cache DROP COLUMN fields;
  CREATE TABLE context_scans (
    context TEXT PRIMARY KEY,
    scan TEXT NOT NULL,
    used_ms INTEGER NOT NULL
  );
  `,
  // Of a blob's descriptor: where its table of contents is. JSON.
  'ALTER TABLE layer_blobs ADD COLUMN annotations TEXT;',
  // What a blob's frames were made of. Base64.
  'ALTER TABLE layer_blobs ADD COLUMN frames TEXT;',
  // They say more now; what was noted before is passed over.
  'ALTER TABLE layer_blobs RENAME COLUMN frames TO notes;',
];

/** A command that is done ends sooner. */
const CLOSE_SOON_MS = 1000;

export class MetaDb {
  readonly db: DatabaseSync;
  readonly now: () => number;

  private constructor(db: DatabaseSync, now: () => number) {
    this.db = db;
    this.now = now;
  }

  /**
   * Opens or makes the database below `storeDir`.
   *
   * @param now - Milliseconds since the epoch.
   * @throws {HostError} `E_STORE_VERSION` when a newer tsbuild wrote it, `E_IO` when it cannot be opened.
   */
  static open(storeDir: string, now: () => number): MetaDb {
    const path = join(storeDir, 'meta.db');
    let db: DatabaseSync | undefined;
    try {
      mkdirSync(storeDir, { recursive: true, mode: 0o700 });
      db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
      useWriteAhead(db);
      db.exec('PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;');
    } catch (cause) {
      db?.close();
      throw new HostError(`cannot open the store's database '${path}': ${(cause as Error).message}`, {
        code: 'E_IO',
        path,
        cause,
        hint: 'set TSBUILD_HOME to a directory that you may write to',
      });
    }
    try {
      migrate(db, path);
    } catch (error) {
      db.close();
      throw error;
    }
    return new MetaDb(db, now);
  }

  /** All or nothing, and nobody else writes between. */
  transaction<T>(work: () => T): T {
    this.db.exec('BEGIN IMMEDIATE');
    try {
      const value = work();
      this.db.exec('COMMIT');
      return value;
    } catch (error) {
      this.db.exec('ROLLBACK');
      throw error;
    }
  }

  close(): void {
    this.db.close();
  }

  /**
   * Closes it soon, if the process is still there then. Whoever closes a database last brings it to the disk, and waits for all else that
   * was written to that disk lately: layers, after a build. A process that ends without it leaves its log, which is at most some
   * megabytes, to the next one: that reads it in less than a millisecond, and finds everything.
   */
  closeSoon(): void {
    setTimeout(() => this.close(), CLOSE_SOON_MS).unref();
  }
}

/**
 * Two processes that open a new store at once both switch its journal, and SQLite then says "busy" at once, whatever its
 * timeout: it cannot tell this from a deadlock.
 */
function useWriteAhead(db: DatabaseSync): void {
  let deadline: number | undefined;
  for (;;) {
    try {
      db.exec('PRAGMA journal_mode = WAL');
      return;
    } catch (error) {
      const busy = (Number((error as { errcode?: unknown }).errcode) & 0xff) === SQLITE_BUSY;
      // Asked for only here: Node loads its clock when it is first used.
      deadline ??= performance.now() + BUSY_TIMEOUT_MS;
      if (!busy || performance.now() > deadline) {
        throw error;
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, WRITE_AHEAD_RETRY_MS);
    }
  }
}

function migrate(db: DatabaseSync, path: string): void {
  if (userVersion(db) === MIGRATIONS.length) {
    return;
  }
  db.exec('BEGIN IMMEDIATE');
  try {
    // Looked at again: another process may have migrated while we waited.
    const version = userVersion(db);
    if (version > MIGRATIONS.length) {
      throw new HostError(
        `the store '${path}' has version ${version}, and this tsbuild knows up to ${MIGRATIONS.length}`,
        { code: 'E_STORE_VERSION', path, hint: 'upgrade tsbuild, or set TSBUILD_HOME to another directory' },
      );
    }
    for (const step of MIGRATIONS.slice(version)) {
      db.exec(step);
    }
    db.exec(`PRAGMA user_version = ${MIGRATIONS.length}`);
    db.exec('COMMIT');
  } catch (error) {
    db.exec('ROLLBACK');
    throw error;
  }
}

function userVersion(db: DatabaseSync): number {
  return Number(db.prepare('PRAGMA user_version').get()?.user_version ?? 0);
}
