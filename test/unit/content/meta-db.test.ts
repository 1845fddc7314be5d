import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MetaDb } from '../../../src/content/meta-db.ts';

const TABLES = [
  'attempts',
  'blob_sources',
  'cache',
  'cache_fields',
  'context_scans',
  'engines',
  'git_refs',
  'http_files',
  'images',
  'index_images',
  'indexes',
  'layer_blobs',
  'layers',
  'names',
  'published',
  'published_history',
  'resolutions',
  'stat_cache',
];

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tsbuild-meta-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const version = (db: DatabaseSync) => db.prepare('PRAGMA user_version').get()?.user_version;
const tables = (db: DatabaseSync) =>
  db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    .all()
    .map((row) => row.name);
const addSource = (meta: MetaDb, digest: string) =>
  meta.db.prepare('INSERT INTO blob_sources VALUES (?, ?)').run(digest, 'r.example/a');
const sources = (meta: MetaDb) => meta.db.prepare('SELECT count(*) AS n FROM blob_sources').get()?.n;

describe('MetaDb', () => {
  it('makes the tables of an empty store, and leaves those of a full one', () => {
    const first = MetaDb.open(join(directory, 'a/b'), Date.now);
    expect(tables(first.db)).toEqual(TABLES);
    expect(version(first.db)).toBeGreaterThan(0);
    expect(first.db.prepare('PRAGMA journal_mode').get()?.journal_mode).toBe('wal');
    addSource(first, 'd');
    first.close();
    const again = MetaDb.open(join(directory, 'a/b'), Date.now);
    expect(sources(again)).toBe(1);
    again.close();
  });

  it('keeps what was committed when a process ends before it closes', () => {
    const script = `
      import { MetaDb } from ${JSON.stringify(new URL('../../../src/content/meta-db.ts', import.meta.url).pathname)};
      const meta = MetaDb.open(${JSON.stringify(directory)}, Date.now);
      meta.db.prepare('INSERT INTO blob_sources VALUES (?, ?)').run('d', 'r.example/a');
      meta.closeSoon();
      process.exit(0);`;
    expect(spawnSync(process.execPath, ['--input-type=module', '-e', script]).status).toBe(0);
    expect(existsSync(join(directory, 'meta.db-wal'))).toBe(true);
    const after = MetaDb.open(directory, Date.now);
    expect(sources(after)).toBe(1);
    after.close();
  });

  it('refuses what a newer tsbuild wrote, and changes nothing of it', () => {
    const meta = MetaDb.open(directory, Date.now);
    const known = Number(version(meta.db));
    meta.db.exec(`PRAGMA user_version = ${known + 1}`);
    meta.close();
    expect(() => MetaDb.open(directory, Date.now)).toThrow(
      expect.objectContaining({ code: 'E_STORE_VERSION', path: join(directory, 'meta.db') }),
    );
    const db = new DatabaseSync(join(directory, 'meta.db'));
    expect(version(db)).toBe(known + 1);
    db.close();
  });

  it('raises a store of version 1, and keeps its names and whatever else is in it', () => {
    const meta = MetaDb.open(directory, Date.now);
    const newest = version(meta.db);
    addSource(meta, 'd');
    // What version 1 had in the place of what later ones made.
    meta.db.exec(`
      INSERT INTO images VALUES ('im-1', 'm', 'c', 'linux/amd64', '[]', '{}', '{}', 1, 1);
      ALTER TABLE layer_blobs DROP COLUMN annotations; ALTER TABLE layer_blobs DROP COLUMN notes;
      DROP TABLE cache_fields; DROP TABLE context_scans; ALTER TABLE cache ADD COLUMN fields TEXT NOT NULL DEFAULT '[]';
      INSERT INTO cache VALUES ('k', 0, 'r', '{}', 'd', '[]', NULL, 1, 1, 1, '[{}]');
      DROP TABLE http_files; DROP TABLE git_refs;
      DROP TABLE published; DROP TABLE published_history; DROP TABLE attempts;
      DROP TABLE names; DROP TABLE index_images; DROP TABLE indexes;
      CREATE TABLE names (name TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
        updated_ms INTEGER NOT NULL) WITHOUT ROWID;
      INSERT INTO names VALUES ('app:1', 'im-1', 7);
      PRAGMA user_version = 1;
    `);
    meta.close();
    const again = MetaDb.open(directory, Date.now);
    expect(version(again.db)).toBe(newest);
    expect(tables(again.db)).toEqual(TABLES);
    expect(sources(again)).toBe(1);
    expect({ ...again.db.prepare('SELECT * FROM names').get() }).toEqual({
      name: 'app:1',
      image: 'im-1',
      image_index: null,
      updated_ms: 7,
    });
    expect({ ...again.db.prepare('SELECT * FROM cache_fields').get() }).toEqual({ key: 'k', fields: '[{}]' });
    // The reference is to the new table.
    again.db.exec("DELETE FROM images WHERE id = 'im-1'");
    expect(again.db.prepare('SELECT * FROM names').get()).toBeUndefined();
    again.close();
  });

  it('a migration that fails leaves the version as it was', () => {
    const db = new DatabaseSync(join(directory, 'meta.db'));
    // In the way of the first migration.
    db.exec('CREATE TABLE resolutions (x)');
    db.close();
    expect(() => MetaDb.open(directory, Date.now)).toThrow(/resolutions/);
    const after = new DatabaseSync(join(directory, 'meta.db'));
    expect(version(after)).toBe(0);
    expect(tables(after)).toEqual(['resolutions']);
    after.close();
  });

  it('says what is wrong with a file that is no database', async () => {
    await writeFile(join(directory, 'meta.db'), 'not a database '.repeat(100));
    expect(() => MetaDb.open(directory, Date.now)).toThrow(expect.objectContaining({ code: 'E_IO' }));
  });

  it('says so when the directory cannot be made', async () => {
    await writeFile(join(directory, 'file'), '');
    expect(() => MetaDb.open(join(directory, 'file/store'), Date.now)).toThrow(
      expect.objectContaining({ code: 'E_IO', hint: expect.stringContaining('TSBUILD_HOME') }),
    );
  });

  it('two connections see what the other committed, and a transaction is all or nothing', () => {
    using closing = new DisposableStack();
    const [one, other] = [MetaDb.open(directory, Date.now), MetaDb.open(directory, Date.now)];
    closing.defer(() => one.close());
    closing.defer(() => other.close());
    const inside = one.transaction(() => {
      addSource(one, 'a');
      addSource(one, 'b');
      return sources(other);
    });
    expect(inside).toBe(0);
    expect(sources(other)).toBe(2);
    const failure = new Error('in the middle');
    expect(() =>
      one.transaction(() => {
        addSource(one, 'c');
        throw failure;
      }),
    ).toThrow(failure);
    expect(sources(other)).toBe(2);
    // The failed one left no transaction open.
    other.transaction(() => addSource(other, 'c'));
    expect(sources(one)).toBe(3);
  });

  it('four processes that open a new store at once make it once, and wait for each other', async () => {
    const source = new URL('../../../src/content/meta-db.ts', import.meta.url).href;
    const script = `
      import { MetaDb } from ${JSON.stringify(source)};
      const meta = MetaDb.open(${JSON.stringify(directory)}, Date.now);
      const read = meta.db.prepare("SELECT used_ms AS n FROM stat_cache WHERE dev = 'd'");
      const write = meta.db.prepare("INSERT OR REPLACE INTO stat_cache VALUES ('d', 'i', 0, '', '', '', ?)");
      for (let i = 0; i < 50; i += 1) {
        meta.transaction(() => write.run((read.get()?.n ?? 0) + 1));
      }
      meta.close();`;
    const run = async () => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      const [[status], errors] = await Promise.all([once(child, 'close'), text(child.stderr)]);
      return status === 0 ? 'well' : errors;
    };
    expect(await Promise.all([run(), run(), run(), run()])).toEqual(['well', 'well', 'well', 'well']);
    const meta = MetaDb.open(directory, Date.now);
    // A lost update would be missing here.
    expect(meta.db.prepare('SELECT used_ms AS n FROM stat_cache').get()?.n).toBe(200);
    meta.close();
  });
});
