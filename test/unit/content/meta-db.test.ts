import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MetaDb } from '../../../src/content/meta-db.ts';

let dir: string;
const opened: MetaDb[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tsbuild-meta-'));
});
afterEach(() => {
  for (const meta of opened.splice(0)) {
    meta.close();
  }
  rmSync(dir, { recursive: true, force: true });
});

function open(): MetaDb {
  const meta = MetaDb.open(dir, () => 1);
  opened.push(meta);
  return meta;
}
const engines = (meta: MetaDb) =>
  meta.db
    .prepare('SELECT id FROM engines ORDER BY id')
    .all()
    .map(({ id }) => id);

describe('MetaDb', () => {
  test('is made, and found again by the next', () => {
    open().db.exec("INSERT INTO engines VALUES ('a', 1)");
    expect(engines(open())).toEqual(['a']);
    expect(open().db.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' });
  });

  test('a transaction is all or nothing', () => {
    const meta = open();
    const reason = new Error('no');
    expect(() =>
      meta.transaction(() => {
        meta.db.exec("INSERT INTO engines VALUES ('a', 1)");
        throw reason;
      }),
    ).toThrow(reason);
    expect(engines(meta)).toEqual([]);
    expect(
      meta.transaction(() => {
        meta.db.exec("INSERT INTO engines VALUES ('b', 1)");
        return 'value';
      }),
    ).toBe('value');
    expect(engines(open())).toEqual(['b']);
  });

  test('others see nothing of a transaction before its end', () => {
    const [meta, other] = [open(), open()];
    meta.transaction(() => {
      meta.db.exec("INSERT INTO engines VALUES ('a', 1)");
      expect(engines(other)).toEqual([]);
    });
    expect(engines(other)).toEqual(['a']);
  });

  test('blobs go with their layer, names with their image', () => {
    const { db } = open();
    db.exec("INSERT INTO layers (id, parents, created_ms, used_ms) VALUES ('l', '[]', 1, 1)");
    db.exec("INSERT INTO layer_blobs VALUES ('l', 'source', 'm', 'd', 1, 'd')");
    expect(() => db.exec("INSERT INTO layer_blobs VALUES ('x', 'source', 'm', 'd', 1, 'd')")).toThrow();
    db.exec("DELETE FROM layers WHERE id = 'l'");
    expect(db.prepare('SELECT count(*) AS n FROM layer_blobs').get()).toEqual({ n: 0 });
  });

  test('one that a newer tsbuild wrote is left alone', () => {
    open().db.exec("INSERT INTO engines VALUES ('a', 1); PRAGMA user_version = 999");
    expect(() => open()).toThrow(
      expect.objectContaining({ code: 'E_STORE_VERSION', hint: expect.stringContaining('TSBUILD_HOME') }),
    );
    expect(opened[0]?.db.prepare('PRAGMA user_version').get()).toEqual({ user_version: 999 });
    expect(engines(opened[0] as MetaDb)).toEqual(['a']);
  });

  test('what is no database is the owner’s affair', () => {
    writeFileSync(join(dir, 'meta.db'), 'not a database, and long enough to look at'.repeat(100));
    expect(() => open()).toThrow(expect.objectContaining({ code: 'E_IO', path: join(dir, 'meta.db') }));
  });

  test('nor a place that is no directory', () => {
    writeFileSync(join(dir, 'file'), '');
    expect(() => MetaDb.open(join(dir, 'file'), () => 1)).toThrow(expect.objectContaining({ code: 'E_IO' }));
  });
});
