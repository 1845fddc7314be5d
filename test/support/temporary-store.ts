/** A store's database, or a whole store, in a directory that goes away with it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MetaDb } from '../../src/content/meta-db.ts';
import { Store } from '../../src/engine/store.ts';
import { Clock } from './clock.ts';

export interface TemporaryMeta extends Disposable {
  readonly meta: MetaDb;
  readonly clock: Clock;
}

export function temporaryMeta(): TemporaryMeta {
  const directory = mkdtempSync(join(tmpdir(), 'tsbuild-meta-'));
  const clock = new Clock();
  const meta = MetaDb.open(directory, clock.now);
  return {
    meta,
    clock,
    [Symbol.dispose]: () => {
      meta.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export interface TemporaryStore extends Disposable {
  readonly store: Store;
  readonly clock: Clock;
  /** Another engine on the same store. Closed with it, if the test does not. */
  openOther(): Store & Disposable;
}

export function temporaryStore(): TemporaryStore {
  const directory = mkdtempSync(join(tmpdir(), 'tsbuild-store-'));
  const clock = new Clock();
  const store = Store.open(directory, clock.now);
  const open = new Set([store]);
  const close = (each: Store) => {
    if (open.delete(each)) {
      each.close();
    }
  };
  return {
    store,
    clock,
    openOther: () => {
      const other = Store.open(directory, clock.now);
      open.add(other);
      return Object.assign(other, { [Symbol.dispose]: () => close(other) });
    },
    [Symbol.dispose]: () => {
      for (const each of [...open].reverse()) {
        close(each);
      }
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
