import { describe, expect, it } from 'vitest';
import { SqliteStatCache } from '../../../src/content/stat-cache.ts';
import { temporaryMeta } from '../../support/temporary-store.ts';

const facts = {
  dev: '18446744073709551615',
  ino: '7',
  sizeBytes: 3,
  mtimeNs: '1700000000123456789',
  ctimeNs: '2',
};

describe('SqliteStatCache', () => {
  it('answers in order, and for exactly what was asked', () => {
    using temporary = temporaryMeta();
    const cache = new SqliteStatCache(temporary.meta);
    cache.store([
      { facts, sha256: 'one' },
      { facts: { ...facts, ino: '8' }, sha256: 'two' },
    ]);
    expect(cache.lookup([{ ...facts, ino: '8' }, { ...facts, ino: '9' }, facts])).toEqual([
      'two',
      undefined,
      'one',
    ]);
    expect(cache.lookup([])).toEqual([]);
  });

  it.each([
    ['dev', { dev: '18446744073709551614' }],
    ['ino', { ino: '70' }],
    ['sizeBytes', { sizeBytes: 4 }],
    // A double cannot tell these two.
    ['mtimeNs', { mtimeNs: '1700000000123456788' }],
    ['ctimeNs', { ctimeNs: '3' }],
  ])('another %s is another file', (_, other) => {
    using temporary = temporaryMeta();
    const cache = new SqliteStatCache(temporary.meta);
    cache.store([{ facts, sha256: 'one' }]);
    expect(cache.lookup([{ ...facts, ...other }])).toEqual([undefined]);
  });

  it('the newest content of an inode replaces the older', () => {
    using temporary = temporaryMeta();
    const cache = new SqliteStatCache(temporary.meta);
    const later = { ...facts, mtimeNs: '1800000000000000000' };
    cache.store([{ facts, sha256: 'one' }]);
    cache.store([{ facts: later, sha256: 'two' }]);
    expect(cache.lookup([later])).toEqual(['two']);
    // One row for an inode, so that files that are written often do not fill the database.
    expect(temporary.meta.db.prepare('SELECT count(*) AS n FROM stat_cache').get()?.n).toBe(1);
    expect(cache.lookup([facts])).toEqual([undefined]);
  });

  it('storing nothing writes nothing, also within a transaction', () => {
    using temporary = temporaryMeta();
    const cache = new SqliteStatCache(temporary.meta);
    temporary.meta.transaction(() => cache.store([]));
    expect(temporary.meta.db.prepare('SELECT count(*) AS n FROM stat_cache').get()?.n).toBe(0);
  });
});
