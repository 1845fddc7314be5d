/**
 * Volumes without a name: directories below `tmp/ephemeral-ID` of a store, one ID for a process and a store. A lock file beside
 * it is held as long as an engine of the process has the store open; whoever finds it free may sweep the directory.
 */
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { InternalError } from '../errors.ts';
import { type NativeLock, native } from '../native/addon.ts';
import { randomName } from '../native/random-name.ts';
import { EPHEMERAL_PREFIX } from '../snapshot/snapshot-store.ts';

const byStore = new Map<string, EphemeralVolumes>();

export class EphemeralVolumes {
  readonly #dir: string;
  readonly #atExit = () => void this.#removeOwn();
  #users = 0;
  #lock: NativeLock | undefined;

  private constructor(storeDir: string) {
    this.#dir = join(storeDir, 'tmp', `${EPHEMERAL_PREFIX}${randomName()}`);
  }

  /** The same for every engine of this process on that store. */
  static of(storeDir: string): EphemeralVolumes {
    const known = byStore.get(storeDir) ?? new EphemeralVolumes(storeDir);
    byStore.set(storeDir, known);
    return known;
  }

  dir(volumeId: string): string {
    return join(this.#dir, volumeId);
  }

  /** An engine opened the store. */
  open(): void {
    this.#users += 1;
  }

  /** Before one is made: without the lock others would sweep it. */
  claim(): void {
    if (this.#lock !== undefined) {
      return;
    }
    this.#lock = native().tryLock(`${this.#dir}.lock`, false);
    if (this.#lock === undefined) {
      throw new InternalError('a fresh lock file is held by somebody else');
    }
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    // Nobody can wait for anything then; what belongs to subordinate ids is swept by the next engine.
    process.once('exit', this.#atExit);
  }

  /** An engine closes the store; the last one takes all of them along. `remove` is needed where others own what is in them. */
  async close(remove: (directory: string) => Promise<unknown>): Promise<void> {
    this.#users -= 1;
    if (this.#users > 0 || this.#lock === undefined) {
      return;
    }
    if (!this.#removeOwn()) {
      await remove(this.#dir);
    }
    process.off('exit', this.#atExit);
    rmSync(`${this.#dir}.lock`, { force: true });
    this.#lock.release();
    this.#lock = undefined;
  }

  /** False when something is left. */
  #removeOwn(): boolean {
    try {
      rmSync(this.#dir, { recursive: true, force: true });
    } catch {
      // Of another owner.
    }
    return !existsSync(this.#dir);
  }
}
