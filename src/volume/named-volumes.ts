/**
 * Volumes: `volumes/ENVIRONMENT/NAME` is the directory itself, so that its path is good for everything. Its lock is elsewhere,
 * where no step can remove it: whoever uses a volume shares `locks/volume@ENVIRONMENT@NAME`, whoever deletes it has it alone.
 *
 * A name is checked before it comes here; no name holds `@` or `~`.
 */
import { randomUUID } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, renameSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { DefinitionError, UsageError } from '../errors.ts';
import { type NativeLock, native } from '../native/addon.ts';
import { lockFile } from '../native/call-native.ts';

/** Which directory a volume is. */
export type VolumePlace =
  | { readonly kind: 'named'; readonly environment: string; readonly name: string }
  /** Of one process, below the store's `tmp/`. */
  | { readonly kind: 'ephemeral'; readonly directory: string };

/** A volume that a step or a container wants. */
export interface VolumeUse {
  readonly place: VolumePlace;
  readonly createIfMissing: boolean;
}

export interface HeldVolume {
  readonly dir: string;
  release(): void;
}

/** As a listing has it. */
export interface VolumeFacts {
  readonly name: string;
  readonly createdMs: number;
}

/** The user's own, and of no other user's business. */
const PRIVATE_MODE = 0o700;
/** What users of images may enter. */
const OPEN_MODE = 0o755;

export class NamedVolumes {
  readonly #storeDir: string;

  constructor(storeDir: string) {
    this.#storeDir = storeDir;
  }

  /** Where a volume is, or would be. */
  dir(place: VolumePlace): string {
    return place.kind === 'ephemeral'
      ? place.directory
      : join(this.#environmentDir(place.environment), place.name);
  }

  exists(place: VolumePlace): boolean {
    // A volume may be a link to a directory of the user's, on another disk.
    return statSync(this.dir(place), { throwIfNoEntry: false })?.isDirectory() === true;
  }

  /** False when it was there before. */
  create(place: VolumePlace): boolean {
    const dir = this.dir(place);
    if (place.kind === 'named') {
      mkdirSync(this.#environmentDir(place.environment), { recursive: true, mode: PRIVATE_MODE });
    } else {
      mkdirSync(join(dir, '..'), { recursive: true, mode: PRIVATE_MODE });
    }
    try {
      mkdirSync(dir);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') {
        return false;
      }
      throw error;
    }
    chmodSync(dir, OPEN_MODE);
    return true;
  }

  /**
   * The directory, which nobody deletes until it is released. Others may use it at the same time.
   *
   * @throws {DefinitionError} `E_VOLUME_NOT_FOUND`
   */
  async hold({ place, createIfMissing }: VolumeUse, signal: AbortSignal): Promise<HeldVolume> {
    const lock = await this.#lock(place, signal);
    try {
      if (!this.exists(place)) {
        if (!createIfMissing) {
          throw volumeNotFound(place);
        }
        this.create(place);
      }
      return { dir: this.dir(place), release: () => lock?.release() };
    } catch (error) {
      lock?.release();
      throw error;
    }
  }

  /** Newest first. */
  list(environment: string): readonly VolumeFacts[] {
    const dir = this.#environmentDir(environment);
    return namesIn(dir)
      .flatMap((name) => {
        const stat = statSync(join(dir, name), { throwIfNoEntry: false });
        return stat?.isDirectory() === true ? [{ name, createdMs: createdMs(stat) }] : [];
      })
      .sort((left, right) => right.createdMs - left.createdMs || (left.name < right.name ? -1 : 1));
  }

  /** Bytes of all files of each volume, by `ENVIRONMENT/NAME`. */
  async sizes(signal: AbortSignal): Promise<Readonly<Record<string, number>>> {
    const sizes: Record<string, number> = {};
    for (const environment of namesIn(join(this.#storeDir, 'volumes'))) {
      for (const { name } of this.list(environment)) {
        signal.throwIfAborted();
        const entries = await native().scanTree(this.dir({ kind: 'named', environment, name }));
        sizes[`${environment}/${name}`] = entries.reduce(
          (sum, entry) => sum + (entry.kind === 'file' ? entry.sizeBytes : 0),
          0,
        );
      }
    }
    return sizes;
  }

  /**
   * False when there is none.
   *
   * @throws {UsageError} `E_VOLUME_IN_USE`; nothing was deleted then.
   */
  async delete(place: VolumePlace): Promise<boolean> {
    const dir = this.dir(place);
    if (place.kind === 'ephemeral') {
      const existed = this.exists(place);
      await native().removeTree(dir);
      return existed;
    }
    const lock = native().tryLock(this.#lockPath(place.environment, place.name), false);
    if (lock === undefined) {
      throw new UsageError(`the volume '${place.name}' is in use`, {
        code: 'E_VOLUME_IN_USE',
        hint: 'wait until the build or container that uses it has ended',
      });
    }
    try {
      // There as a whole or not at all, whatever ends this process.
      renameSync(dir, `${dir}~${randomUUID()}`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
        return false;
      }
      throw error;
    } finally {
      lock.release();
    }
    await this.#removeDeleted(place.environment);
    return true;
  }

  /** Also what somebody else did not come to. */
  async #removeDeleted(environment: string): Promise<void> {
    const dir = this.#environmentDir(environment);
    for (const name of readdirSync(dir).filter((each) => each.includes('~'))) {
      await native().removeTree(join(dir, name));
    }
  }

  async #lock(place: VolumePlace, signal: AbortSignal): Promise<NativeLock | undefined> {
    return place.kind === 'ephemeral'
      ? undefined
      : await lockFile(this.#lockPath(place.environment, place.name), true, signal);
  }

  #lockPath(environment: string, name: string): string {
    return join(this.#storeDir, 'locks', `volume@${environment}@${name}`);
  }

  #environmentDir(environment: string): string {
    return join(this.#storeDir, 'volumes', environment);
  }
}

export function volumeNotFound(place: VolumePlace): DefinitionError {
  const name = place.kind === 'named' ? place.name : '(ephemeral)';
  const where = place.kind === 'named' ? ` in the environment '${place.environment}'` : '';
  return new DefinitionError(`there is no volume '${name}'${where}`, {
    code: 'E_VOLUME_NOT_FOUND',
    hint: 'make it with `tsbuild volume create`, or pass createIfMissing: true to Volume.fromName()',
  });
}

function namesIn(dir: string): readonly string[] {
  try {
    return readdirSync(dir).filter((name) => !name.includes('~'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return [];
    }
    throw error;
  }
}

/** A filesystem that does not know when a file was made says something later. */
function createdMs({ birthtimeMs, ctimeMs }: Stats): number {
  return birthtimeMs > 0 ? birthtimeMs : ctimeMs;
}
