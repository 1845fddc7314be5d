/** The `volumes` option: checked when the call is made, shown in plans, mounted by the graph (A4.2 of the Image API). */
import type { Mount } from '../../graph/action.ts';
import { definitionError, describe, isPlainObject } from './arguments.ts';
import { isNoName, Volume } from './volume.ts';

/** One entry of a {@link VolumeMap}, checked. */
export interface VolumeMount {
  /** Absolute path in the container, without a slash at its end. */
  readonly path: string;
  readonly volume: Volume;
}

/** How a plan and a key show it. */
export interface VolumePlan {
  readonly path: string;
  readonly name: string;
  readonly readOnly: boolean;
  readonly subPath?: string;
}

/** A volume there would hide what the image needs to start anything at all. */
const REFUSED = ['', '/root', '/tmp'];

/**
 * Sorted by path: the order in which they were written means nothing.
 *
 * @throws {DefinitionError} `E_VOLUME_PATH`, `E_VOLUME_TYPE`, `E_VOLUME_DUPLICATE` for one handle at two paths, `E_ARG_TYPE`
 */
export function volumeMounts(method: string, volumes: unknown): readonly VolumeMount[] {
  if (volumes === undefined) {
    return Object.freeze([]);
  }
  if (!isPlainObject(volumes)) {
    throw definitionError(
      'E_ARG_TYPE',
      `${method}(): 'volumes' must be an object of mount path to Volume, not ${describe(volumes)}`,
    );
  }
  const mounts = Object.entries(volumes).map(([given, volume]): VolumeMount => {
    const path = mountPath(method, given);
    if (!(volume instanceof Volume)) {
      throw definitionError(
        'E_VOLUME_TYPE',
        `${method}(): what is to be mounted on '${given}' is not a Volume`,
      );
    }
    return Object.freeze({ path, volume });
  });
  const paths = mounts.map(({ path }) => path);
  const twice = paths.find((path, index) => paths.indexOf(path) < index);
  if (twice !== undefined) {
    throw definitionError('E_VOLUME_PATH', `${method}(): two volumes are to be mounted on '${twice}'`);
  }
  refuseDuplicates(method, mounts, ({ id }) => id);
  return Object.freeze(mounts.toSorted((left, right) => (left.path < right.path ? -1 : 1)));
}

/**
 * Two handles of one name are one volume. Which namespace a name is in is known when an image is planned or built.
 *
 * @param environment - Of the settings.
 * @throws {DefinitionError} `E_VOLUME_DUPLICATE`
 */
export function refuseSameVolume(method: string, mounts: readonly VolumeMount[], environment: string): void {
  refuseDuplicates(method, mounts, ({ id, origin }) =>
    origin.kind === 'named' ? `${origin.environment ?? environment}/${origin.name}` : id,
  );
}

function refuseDuplicates(
  method: string,
  mounts: readonly VolumeMount[],
  identityOf: (volume: Volume) => string,
): void {
  const paths = new Map<string, string>();
  for (const { path, volume } of mounts) {
    const identity = identityOf(volume);
    const other = paths.get(identity);
    if (other !== undefined) {
      throw definitionError(
        'E_VOLUME_DUPLICATE',
        `${method}(): the volume '${volume.name}' is to be mounted on both '${other}' and '${path}'`,
      );
    }
    paths.set(identity, path);
  }
}

/** @throws {DefinitionError} `E_VOLUME_PATH` */
function mountPath(method: string, given: string): string {
  const path = given.replace(/\/$/, '');
  const [first, ...parts] = path.split('/');
  if (path.includes('\0') || first !== '' || parts.some(isNoName) || REFUSED.includes(path)) {
    throw definitionError(
      'E_VOLUME_PATH',
      `${method}(): a volume cannot be mounted on '${given}'`,
      "mount paths are absolute, without '.' and '..', and not '/', '/root' or '/tmp'",
    );
  }
  return path;
}

export function planOfVolume({ path, volume }: VolumeMount): VolumePlan {
  const { name, readOnly, subPath } = volume;
  return { path, name, readOnly, ...(subPath === undefined ? {} : { subPath }) };
}

/** For an exec of the graph. */
export function mountOfVolume({ path, volume }: VolumeMount): Mount {
  const { id, name, readOnly, subPath } = volume;
  return {
    kind: 'volume',
    volume: id,
    name,
    target: path,
    readOnly,
    ...(subPath === undefined ? {} : { subPath }),
  };
}
