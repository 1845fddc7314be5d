/** Directories that outlive containers and builds, and are in no layer and no key (A4.2 of the Image API). */
import { checkObjectName } from '../../base/object-name.ts';
import { booleanOption, definitionError, knownOptions, stringOption } from './arguments.ts';

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
    const environment = environmentOption(method, given.environment);
    return create({
      kind: 'named',
      name: checkObjectName(`${method}()`, 'a volume', name),
      ...(environment === undefined ? {} : { environment }),
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

/** @throws {DefinitionError} `E_NAME` */
export function environmentOption(method: string, environment: unknown): string | undefined {
  return environment === undefined
    ? undefined
    : checkObjectName(`${method}()`, 'an environment', environment);
}

/** @throws {DefinitionError} `E_VOLUME_PATH` */
function checkedSubPath(method: string, given: unknown): string {
  const text = stringOption(method, { subPath: given }, 'subPath') ?? '';
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
