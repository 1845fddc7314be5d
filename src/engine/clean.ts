/**
 * Empties the store. Nobody else may be at work in it: the records go, and what they are about is moved away, in one
 * transaction, so that an engine that begins meanwhile finds an empty store. What was moved lies where workers sweep, should this
 * process not live to see it removed.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../errors.ts';
import { WORK_PREFIX } from '../snapshot/snapshot-store.ts';
import type { EngineParts } from './parts.ts';
import { type UsageLine, usage } from './prune.ts';
import { gitDir, type Store } from './store.ts';
import { writeStoreIndex } from './store-index.ts';

export interface CleanOptions {
  /** Also every volume of every environment. @defaultValue false */
  readonly volumes?: boolean;
  /** Remove nothing, say what would be. @defaultValue false */
  readonly dryRun?: boolean;
}

export interface CleanResult {
  readonly freedBytes: number;
  /** What there was, by kind. */
  readonly removed: readonly Pick<UsageLine, 'kind' | 'count' | 'sizeBytes'>[];
}

/** Those that are needed as soon as an engine writes. */
const MADE_ANEW = ['blobs/sha256', 'snapshots', 'mounts', 'logs'];
const MOVED = ['blobs', 'snapshots', 'mounts', 'logs', 'archives', 'git'];
const KNOWN_HOSTS = 'known_hosts';

/**
 * @param stopWorker - Ends the worker; the next one is a new one.
 * @throws {UsageError} `E_STORE_IN_USE`. @throws {HostError} `E_STORE_MAP` before anything is removed.
 */
export async function cleanStore(
  parts: EngineParts,
  options: CleanOptions,
  signal: AbortSignal,
  stopWorker: () => Promise<void>,
): Promise<CleanResult> {
  const { store } = parts;
  const { volumes = false, dryRun = false } = options;
  const removed = (await usage(parts, signal))
    .filter(({ kind, count }) => count > 0 && (volumes || kind !== 'volumes'))
    .map(({ kind, count, sizeBytes }) => ({ kind, count, sizeBytes }));
  const result = { freedBytes: removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0), removed };
  if (dryRun) {
    store.collect(() => refuseOthers(store));
    return result;
  }
  const name = `${WORK_PREFIX}${randomUUID()}`;
  store.collect(() => {
    refuseOthers(store);
    forgetEverything(store);
    moveAway(store.dir, join(store.dir, 'tmp', name), volumes);
  });
  await writeStoreIndex(store);
  store.meta.db.exec('VACUUM');
  // Files of subordinate ids can only be removed from within the namespace.
  await (await parts.worker()).call('sweep', {}, { signal });
  await stopWorker();
  if (isEmpty(join(store.dir, 'volumes'))) {
    // Nothing is left that belongs to any ids: whoever comes next may have others.
    rmSync(join(store.dir, 'idmap.json'), { force: true });
  }
  return result;
}

function refuseOthers(store: Store): void {
  if (store.oldestOtherEngineMs() !== Number.POSITIVE_INFINITY) {
    throw new UsageError(`somebody else is at work in the store '${store.dir}'`, {
      code: 'E_STORE_IN_USE',
      hint: 'wait for other builds and containers to end; `tsbuild prune --all` removes what they do not use',
    });
  }
}

function forgetEverything({ meta: { db } }: Store): void {
  const tables = db
    .prepare(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'engines'",
    )
    .all();
  // The rows of one may refer to those of another.
  db.exec('PRAGMA defer_foreign_keys = ON');
  for (const { name } of tables) {
    db.exec(`DELETE FROM "${String(name)}"`);
  }
}

function moveAway(storeDir: string, target: string, volumes: boolean): void {
  mkdirSync(target, { mode: 0o700 });
  for (const part of [...MOVED, ...(volumes ? ['volumes'] : [])]) {
    const path = join(storeDir, part);
    if (existsSync(path)) {
      renameSync(path, join(target, part));
    }
  }
  for (const part of MADE_ANEW) {
    mkdirSync(join(storeDir, part), { recursive: true, mode: 0o700 });
  }
  const knownHosts = join(target, 'git', KNOWN_HOSTS);
  if (existsSync(knownHosts)) {
    // Whom to trust was not fetched by anybody.
    mkdirSync(gitDir(storeDir), { mode: 0o700 });
    renameSync(knownHosts, join(gitDir(storeDir), KNOWN_HOSTS));
  }
  for (const name of readdirSync(join(storeDir, 'tmp'))) {
    if (name.endsWith('.partial')) {
      renameSync(join(storeDir, 'tmp', name), join(target, name));
    }
  }
}

/** Environments may be left behind without a volume. */
function isEmpty(volumes: string): boolean {
  return (
    !existsSync(volumes) ||
    readdirSync(volumes).every((name) => readdirSync(join(volumes, name)).length === 0)
  );
}
