/**
 * Who has a store open: a file `engines/STARTED-ID` for each engine, which it holds locked. It ends with its process, whatever
 * ends that, and costs no transaction.
 */
import { readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HostError, InternalError } from '../errors.ts';
import { type NativeLock, native } from '../native/addon.ts';
import { randomName } from '../native/random-name.ts';

const NAME = /^(\d+)-([0-9a-f]+)$/;
/** Held alone by whoever decides what nobody uses. */
const COLLECTING = 'locks/collecting';
/** Collections take milliseconds; a minute means that one hangs. */
const COLLECTING_TIMEOUT_MS = 60_000;
const RETRY_MS = 2;

export interface OtherEngine {
  readonly id: string;
  readonly startedMs: number;
}

export class EngineLease {
  readonly id: string;
  readonly #storeDir: string;
  readonly #path: string;
  readonly #lock: NativeLock;

  private constructor(storeDir: string, id: string, path: string, lock: NativeLock) {
    this.id = id;
    this.#storeDir = storeDir;
    this.#path = path;
    this.#lock = lock;
  }

  /** Waits while somebody decides what nobody uses: what that removes is not there any more afterwards. */
  static take(storeDir: string, startedMs: number): EngineLease {
    const id = randomName();
    // Whoever finds a file of `engines/` unlocked removes it: it gets there when it is locked.
    const fresh = join(storeDir, 'tmp', `engine-${id}.lock`);
    const lock = native().tryLock(fresh, false);
    if (lock === undefined) {
      throw new InternalError('a fresh lock file is held by somebody else');
    }
    const path = join(storeDir, 'engines', `${startedMs}-${id}`);
    renameSync(fresh, path);
    takeNow(storeDir, true).release();
    return new EngineLease(storeDir, id, path, lock);
  }

  /** Those that live. Files of others are removed, after `dead` was told of them. */
  others(dead: (id: string) => void): readonly OtherEngine[] {
    const directory = join(this.#storeDir, 'engines');
    const living: OtherEngine[] = [];
    for (const name of readdirSync(directory)) {
      const [, startedMs, id] = NAME.exec(name) ?? [];
      if (id === undefined || id === this.id) {
        continue;
      }
      const path = join(directory, name);
      const free = native().tryLock(path, false);
      if (free === undefined) {
        living.push({ id, startedMs: Number(startedMs) });
      } else {
        dead(id);
        rmSync(path, { force: true });
        free.release();
      }
    }
    return living;
  }

  /** Nobody begins meanwhile. `work` must be quick: others wait without doing anything else. */
  whileNobodyBegins<T>(work: () => T): T {
    const gate = takeNow(this.#storeDir, false);
    try {
      return work();
    } finally {
      gate.release();
    }
  }

  release(): void {
    rmSync(this.#path, { force: true });
    this.#lock.release();
  }
}

/** Without giving way to anything else of this process, which might want it too. */
function takeNow(storeDir: string, shared: boolean): NativeLock {
  const path = join(storeDir, COLLECTING);
  let waitedMs = 0;
  for (;;) {
    const lock = native().tryLock(path, shared);
    if (lock !== undefined) {
      return lock;
    }
    if (waitedMs > COLLECTING_TIMEOUT_MS) {
      throw new HostError(`somebody else holds '${path}'`, { code: 'E_IO', path });
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    waitedMs += RETRY_MS;
  }
}
