/** Directories that outlive containers and builds, and are in no layer and no key (A4.2 of the Image API). */

import { absoluteLocalPath, type LocalPath } from '../../base/local-path.ts';
import { checkObjectName } from '../../base/object-name.ts';
import {
  type CreateObjectOptions,
  createOptions,
  type DeleteObjectOptions,
  deleteOptions,
  environmentOf,
  type ListObjectsOptions,
  listOptions,
  type StoredObject,
} from '../../base/stored-objects.ts';
import { booleanOption, definitionError, knownOptions, requiredString, stringOption } from './arguments.ts';
import { volumeStore } from './volume-store.ts';

/** Mount path to volume. */
export type VolumeMap = Readonly<Record<string, Volume>>;

export interface VolumeFromNameOptions {
  /** Make the volume when a step or container needs it and it is not there. @defaultValue false */
  readonly createIfMissing?: boolean;
  /** Namespace of the name. Not part of the cache key. @defaultValue TSBUILD_ENVIRONMENT, or `main` */
  readonly environment?: string;
}

export interface VolumeMountOptions {
  /** Nothing can be written through this handle. Part of the cache key. @defaultValue as before, at first false */
  readonly readOnly?: boolean;
  /** Directory of the volume that is mounted, `/` for all of it. Part of the cache key. @defaultValue as before, at first all */
  readonly subPath?: string;
}

export interface VolumeFileOptions {
  /** Ends the work; the call rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Which volume is meant. */
export type VolumeOrigin =
  | {
      readonly kind: 'named';
      readonly name: string;
      /** Absent: that of the settings. */
      readonly environment?: string;
      readonly createIfMissing: boolean;
    }
  | { readonly kind: 'ephemeral' };

interface VolumeState {
  /** Of the factory's call; handles made by `withMountOptions` share it. */
  readonly id: string;
  readonly origin: VolumeOrigin;
  readonly readOnly: boolean;
  /** Relative, without a slash at either end. Absent: all of it. */
  readonly subPath?: string;
}

/** What plans and keys call a volume that has no name; no name can be this. */
const EPHEMERAL_NAME = '(ephemeral)';
const CONSTRUCT: unique symbol = Symbol('tsbuild.volume');
let count = 0;

/**
 * A directory of this machine that is mounted while commands run. What they write is there at once and stays, also when they
 * fail; it is never in a layer. Immutable: a handle, not the directory.
 *
 * @example
 * ```ts
 * const cache = Volume.fromName('hf-cache', { createIfMissing: true });
 * image.runCommands('python download.py', { volumes: { '/root/.cache/huggingface': cache } });
 * ```
 */
export class Volume {
  /** Volumes as things that are stored. */
  static readonly objects = Object.freeze({ create: createVolume, list: listVolumes, delete: deleteVolume });

  readonly #state: VolumeState;

  /** Use {@link Volume.fromName} or {@link Volume.ephemeral}. */
  constructor(key: typeof CONSTRUCT, state: VolumeState) {
    if (key !== CONSTRUCT) {
      throw definitionError('E_VOLUME_TYPE', 'a Volume is made by Volume.fromName() or Volume.ephemeral()');
    }
    this.#state = Object.freeze(state);
    Object.freeze(this);
  }

  /**
   * The volume of that name. Nothing is looked up yet.
   *
   * @throws {DefinitionError} `E_NAME`; `E_VOLUME_NOT_FOUND` when something needs it and it is not there.
   */
  static fromName(name: string, options?: VolumeFromNameOptions): Volume {
    const method = 'Volume.fromName';
    const given = knownOptions(method, options, ['createIfMissing', 'environment']);
    return create({
      kind: 'named',
      name: checkObjectName(`${method}()`, 'a volume', name),
      ...environmentOf(method, given),
      createIfMissing: booleanOption(method, given, 'createIfMissing'),
    });
  }

  /** A new volume without a name. It is removed when the process ends. */
  static ephemeral(): Volume {
    return create({ kind: 'ephemeral' });
  }

  /**
   * The same volume, mounted otherwise. What is not named stays as it was.
   *
   * @throws {DefinitionError} `E_VOLUME_PATH` for a `subPath` with `.` or `..`.
   */
  withMountOptions(options: VolumeMountOptions): Volume {
    const method = 'withMountOptions';
    const given = knownOptions(method, options, ['readOnly', 'subPath']);
    const { id, origin, readOnly, subPath: before } = this.#state;
    const subPath = given.subPath === undefined ? before : checkedSubPath(method, given.subPath);
    return new Volume(CONSTRUCT, {
      id,
      origin,
      readOnly: booleanOption(method, given, 'readOnly', readOnly),
      ...(subPath === undefined || subPath === '' ? {} : { subPath }),
    });
  }

  /** The directory on this machine, which need not be there yet. Files in it may belong to subordinate ids. */
  get path(): string {
    return volumeStore().pathOf(this);
  }

  /**
   * Copies a file, or what a directory holds, into the volume.
   *
   * @param path - In the volume; with a slash at its end a directory that gets the file. @defaultValue the name of `localPath`
   * @example
   * ```ts
   * await Volume.fromName('models', { createIfMissing: true }).put('weights.bin', '/v1/');
   * ```
   * @throws {DefinitionError} `E_VOLUME_PATH`, `E_VOLUME_NOT_FOUND`, `E_VOLUME_READ_ONLY`, `E_LOCAL_FILE_MISSING`
   */
  async put(localPath: LocalPath, path?: string, options?: VolumeFileOptions): Promise<void> {
    const source = absoluteLocalPath('put', 'localPath', localPath);
    const signal = fileOptions('put', options);
    await (await volumeStore().store()).put(this, source, path, signal);
  }

  /**
   * Copies a file, or what a directory holds, out of the volume. What is written belongs to the user.
   *
   * @example
   * ```ts
   * await Volume.fromName('models').get('/v1/weights.bin', './weights.bin');
   * ```
   * @throws {DefinitionError} `E_VOLUME_PATH`, `E_VOLUME_NOT_FOUND`, `E_FILE_NOT_FOUND` @throws {UsageError} `E_OUTPUT_EXISTS`
   */
  async get(path: string, localPath: LocalPath, options?: VolumeFileOptions): Promise<void> {
    const target = absoluteLocalPath('get', 'localPath', localPath);
    await (await volumeStore().store()).get(this, path, target, fileOptions('get', options));
  }

  /**
   * Everything below a path: files, links and directories (with a trailing `/`), sorted.
   *
   * @throws {DefinitionError} `E_VOLUME_PATH`, `E_VOLUME_NOT_FOUND`, `E_FILE_NOT_FOUND`
   */
  async list(path = '/', options?: VolumeFileOptions): Promise<readonly string[]> {
    return await (await volumeStore().store()).listFiles(this, path, fileOptions('list', options));
  }

  /**
   * Removes a file or a directory with all that is in it.
   *
   * @throws {DefinitionError} `E_VOLUME_PATH`, `E_VOLUME_NOT_FOUND`, `E_VOLUME_READ_ONLY`, `E_FILE_NOT_FOUND`
   */
  async remove(path: string, options?: VolumeFileOptions): Promise<void> {
    await (await volumeStore().store()).remove(this, path, fileOptions('remove', options));
  }

  /** Removes a volume without a name; one with a name stays. */
  async close(): Promise<void> {
    if (this.#state.origin.kind === 'ephemeral') {
      await (await volumeStore().store()).discard(this);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** `(ephemeral)` for one without a name. */
  get name(): string {
    const { origin } = this.#state;
    return origin.kind === 'named' ? origin.name : EPHEMERAL_NAME;
  }

  get readOnly(): boolean {
    return this.#state.readOnly;
  }

  /** Undefined for the whole volume. */
  get subPath(): string | undefined {
    return this.#state.subPath;
  }

  /** Tells this volume from others of the process; handles of one factory call share it. In no cache key. */
  get id(): string {
    return this.#state.id;
  }

  get origin(): VolumeOrigin {
    return this.#state.origin;
  }

  toString(): string {
    return `Volume(${this.name})`;
  }
}

function create(origin: VolumeOrigin): Volume {
  count += 1;
  return new Volume(CONSTRUCT, { id: `volume-${count}`, origin: Object.freeze(origin), readOnly: false });
}

async function createVolume(name: string, options?: CreateObjectOptions): Promise<void> {
  const method = 'Volume.objects.create';
  const checked = checkObjectName(`${method}()`, 'a volume', name);
  const normal = createOptions(method, options);
  await (await volumeStore().store()).create(checked, normal);
}

async function listVolumes(options?: ListObjectsOptions): Promise<readonly StoredObject[]> {
  const normal = listOptions('Volume.objects.list', options);
  return await (await volumeStore().store()).list(normal);
}

async function deleteVolume(name: string, options?: DeleteObjectOptions): Promise<void> {
  const method = 'Volume.objects.delete';
  const checked = checkObjectName(`${method}()`, 'a volume', name);
  const normal = deleteOptions(method, options);
  await (await volumeStore().store()).delete(checked, normal);
}

function fileOptions(method: string, options: unknown): VolumeFileOptions {
  const { signal } = knownOptions(method, options, ['signal']);
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'signal' must be an AbortSignal`);
  }
  return signal === undefined ? {} : { signal };
}

/** Absolute, without a slash at its end. @throws {DefinitionError} `E_VOLUME_PATH`, `E_ARG_TYPE` */
export function pathInVolume(method: string, given: unknown): string {
  return `/${plainPath(method, requiredString(method, 'path', given))}`;
}

/** @throws {DefinitionError} `E_VOLUME_PATH` */
function checkedSubPath(method: string, given: unknown): string {
  return plainPath(method, stringOption(method, { subPath: given }, 'subPath') ?? '');
}

function plainPath(method: string, text: string): string {
  const path = text.replace(/^\//, '').replace(/\/$/, '');
  const parts = path.split('/');
  if (text === '' || path.includes('\0') || (path !== '' && parts.some(isNoName))) {
    throw definitionError('E_VOLUME_PATH', `${method}(): '${text}' is not a plain path within a volume`);
  }
  return path;
}

/** Whether a component of a path names nothing of its own. */
export function isNoName(part: string): boolean {
  return part === '' || part === '.' || part === '..';
}
