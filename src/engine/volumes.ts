/** The volumes of an engine's store. What is in them is the worker's business: only there are its owners right. */
import { statSync } from 'node:fs';
import { posix } from 'node:path';
import {
  type CreateObjectOptions,
  type DeleteObjectOptions,
  type ListObjectsOptions,
  listed,
  type StoredObject,
} from '../base/stored-objects.ts';
import { DefinitionError, UsageError } from '../errors.ts';
import { pathInVolume, type Volume } from '../frontend/fluent/volume.ts';
import type { VolumeMount } from '../frontend/fluent/volume-mounts.ts';
import type { VolumeStore } from '../frontend/fluent/volume-store.ts';
import { NamedVolumes, type VolumePlace, type VolumeUse } from '../volume/named-volumes.ts';
import type { MountedVolume } from '../worker/protocol.ts';
import { EphemeralVolumes } from './ephemeral-volumes.ts';
import type { EngineParts } from './parts.ts';

export interface VolumesOptions {
  readonly storeDir: string;
  /** Of names that say none. */
  readonly environment: string;
  readonly worker: EngineParts['worker'];
  /** Ends whatever is asked of the volumes. */
  readonly signal: AbortSignal | undefined;
}

export class Volumes implements VolumeStore {
  readonly #options: VolumesOptions;
  readonly #named: NamedVolumes;
  readonly #ephemeral: EphemeralVolumes;

  constructor(options: VolumesOptions) {
    this.#options = options;
    this.#named = new NamedVolumes(options.storeDir);
    this.#ephemeral = EphemeralVolumes.of(options.storeDir);
    this.#ephemeral.open();
  }

  /** Where a volume of a store is, without opening it. */
  static pathIn(storeDir: string, environment: string, volume: Volume): string {
    return new NamedVolumes(storeDir).dir(placeOf(EphemeralVolumes.of(storeDir), environment, volume));
  }

  async create(
    name: string,
    { environment, allowExisting = false }: CreateObjectOptions = {},
  ): Promise<void> {
    const place = this.#place(name, environment);
    if (!this.#named.create(place) && !allowExisting) {
      throw new UsageError(`there is a volume '${name}' already`, {
        code: 'E_VOLUME_EXISTS',
        hint: 'choose another name, or delete it with `tsbuild volume delete`',
      });
    }
  }

  async list(options: ListObjectsOptions = {}): Promise<readonly StoredObject[]> {
    const { environment = this.#options.environment } = options;
    const all = this.#named.list(environment);
    return listed(
      all.map(({ name, createdMs }) => ({ name, createdAt: new Date(createdMs) })),
      options,
    );
  }

  async delete(name: string, { environment, allowMissing = false }: DeleteObjectOptions = {}): Promise<void> {
    const place = this.#place(name, environment);
    if (this.#named.exists(place)) {
      await this.#call((worker, signal) => worker.call('deleteVolume', { place }, { signal }));
    } else if (!allowMissing) {
      throw new DefinitionError(`there is no volume '${name}'`, {
        code: 'E_OBJECT_NOT_FOUND',
        hint: '`tsbuild volume list` shows what there is',
      });
    }
  }

  pathOf(volume: Volume): string {
    return this.#named.dir(placeOf(this.#ephemeral, this.#options.environment, volume));
  }

  async put(
    volume: Volume,
    localPath: string,
    path: string | undefined,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    const name = posix.basename(localPath);
    const target = path === undefined ? name : path.endsWith('/') ? `${path}${name}` : path;
    const place = writablePath('put', volume, target);
    if (statSync(localPath, { throwIfNoEntry: false }) === undefined) {
      throw new DefinitionError(`put(): there is no file '${localPath}'`, { code: 'E_LOCAL_FILE_MISSING' });
    }
    const use = this.use(volume);
    await this.#call(
      (worker, signal) => worker.call('putVolume', { use, source: localPath, path: place }, { signal }),
      options.signal,
    );
  }

  async get(
    volume: Volume,
    path: string,
    localPath: string,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    const params = { use: this.use(volume), path: below('get', volume, path), destination: localPath };
    await this.#call((worker, signal) => worker.call('getVolume', params, { signal }), options.signal);
  }

  async listFiles(
    volume: Volume,
    path: string,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<readonly string[]> {
    const use = this.use(volume);
    const { paths } = await this.#call(
      (worker, signal) => worker.call('listVolume', { use, path: below('list', volume, path) }, { signal }),
      options.signal,
    );
    const { subPath } = volume;
    return subPath === undefined ? paths : paths.map((each) => each.slice(subPath.length + 1));
  }

  async remove(volume: Volume, path: string, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const params = { use: this.use(volume), path: writablePath('remove', volume, path) };
    await this.#call((worker, signal) => worker.call('removeFromVolume', params, { signal }), options.signal);
  }

  async discard(volume: Volume): Promise<void> {
    const place = placeOf(this.#ephemeral, this.#options.environment, volume);
    if (place.kind === 'ephemeral' && this.#named.exists(place)) {
      await this.#call((worker, signal) => worker.call('deleteVolume', { place }, { signal }));
    }
  }

  /** How the worker is told of a volume. */
  use(volume: Volume): VolumeUse {
    const { origin } = volume;
    if (origin.kind === 'ephemeral') {
      this.#ephemeral.claim();
    }
    return {
      place: placeOf(this.#ephemeral, this.#options.environment, volume),
      createIfMissing: origin.kind === 'ephemeral' || origin.createIfMissing,
    };
  }

  /** For a container. */
  mounted(mounts: readonly VolumeMount[]): readonly MountedVolume[] {
    return mounts.map(({ path, volume }) => {
      const { readOnly, subPath } = volume;
      return {
        use: this.use(volume),
        target: path,
        readOnly,
        ...(subPath === undefined ? {} : { subPath }),
      };
    });
  }

  /** Before the worker ends. */
  async close(): Promise<void> {
    await this.#ephemeral.close(async (directory) => {
      const worker = await this.#options.worker();
      await worker.call(
        'deleteVolume',
        { place: { kind: 'ephemeral', directory } },
        { signal: new AbortController().signal },
      );
    });
  }

  #place(name: string, environment = this.#options.environment): VolumePlace {
    return { kind: 'named', environment, name };
  }

  async #call<T>(
    work: (worker: Awaited<ReturnType<EngineParts['worker']>>, signal: AbortSignal) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    const signals = [signal, this.#options.signal].filter((each) => each !== undefined);
    const any = AbortSignal.any(signals);
    any.throwIfAborted();
    return await work(await this.#options.worker(), any);
  }
}

function placeOf(ephemeral: EphemeralVolumes, environment: string, { id, origin }: Volume): VolumePlace {
  return origin.kind === 'ephemeral'
    ? { kind: 'ephemeral', directory: ephemeral.dir(id) }
    : { kind: 'named', environment: origin.environment ?? environment, name: origin.name };
}

/** A handle of a part of a volume sees only that. */
function below(method: string, { subPath = '' }: Volume, path: string): string {
  return posix.join('/', subPath, pathInVolume(method, path)).replace(/(.)\/$/, '$1');
}

function writablePath(method: string, volume: Volume, path: string): string {
  if (volume.readOnly) {
    throw new DefinitionError(`${method}(): this handle of the volume '${volume.name}' is read-only`, {
      code: 'E_VOLUME_READ_ONLY',
    });
  }
  if (pathInVolume(method, path) === '/' && method === 'remove') {
    throw new DefinitionError("remove(): '/' is all of the volume", {
      code: 'E_VOLUME_PATH',
      hint: 'delete the volume, with Volume.objects.delete() or `tsbuild volume delete`',
    });
  }
  return below(method, volume, path);
}
