/** Images of the store for the Image API: as bases, published, deleted (A1.9, A3.6, A3.7). */
import type { IndexRecord } from '../content/image-records.ts';
import type { PublishedName } from '../content/published-names.ts';
import { DefinitionError } from '../errors.ts';
import type { Image } from '../frontend/fluent/image.ts';
import { formatImageName, type ImageName } from '../frontend/fluent/image-name.ts';
import type { StoredImage } from '../frontend/fluent/stored-base.ts';
import type { StoredFacts } from '../frontend/fluent/to-graph.ts';
import { formatPlatform, hostPlatform, type Platform, parsePlatform } from '../oci/platform.ts';
import type { ImageLibrary } from './image-library.ts';
import { imageFor } from './indexed-images.ts';
import type { EngineParts } from './parts.ts';

export type { PublishedName } from '../content/published-names.ts';

/**
 * @param platform - Absent: the image's own, or of several that of this machine.
 * @throws {DefinitionError} `E_IMAGE_NOT_FOUND`, `E_NO_PLATFORM`
 */
export function resolveStored(
  parts: EngineParts,
  image: StoredImage,
  platform: Platform | undefined,
): StoredFacts {
  const { images } = parts.store;
  const wanted = storedId(parts, image);
  const record = imageFor(
    { images },
    images.get(wanted) ?? (images.getIndex(wanted) as IndexRecord),
    platform ?? hostPlatform(),
    wanted,
  );
  if (platform !== undefined && formatPlatform(platform) !== record.platform) {
    throw new DefinitionError(
      `the image '${record.id}' is for ${record.platform}, and ${formatPlatform(platform)} was asked for`,
      { code: 'E_NO_PLATFORM' },
    );
  }
  const { id, layers, config } = record;
  return { id, layers, config, platform: parsePlatform(record.platform) };
}

/** @throws {DefinitionError} `E_IMAGE_NOT_FOUND` */
export function storedId({ store, settings }: EngineParts, image: StoredImage): string {
  if (image.kind === 'id') {
    const { images } = store;
    if (images.get(image.id) === undefined && images.getIndex(image.id) === undefined) {
      throw notFound(`no image '${image.id}' in the store`);
    }
    return image.id;
  }
  const { name } = image;
  const found = store.published.get({ ...name, namespace: name.namespace ?? settings.environment });
  if (found === undefined) {
    throw notFound(`no image was published as '${formatImageName(name)}'`);
  }
  return found.id;
}

/** @throws {DefinitionError} `E_NOT_BUILT`, `E_IMAGE_NOT_FOUND` */
export function publishImage(parts: EngineParts, image: Image, name: ImageName): PublishedName {
  const { store, settings } = parts;
  const id = idOfBuilt(parts, image, 'cannot publish');
  if (store.images.get(id) === undefined && store.images.getIndex(id) === undefined) {
    // An attempt that failed, or a run, gives an id and leaves no image.
    throw image.storedBase === undefined
      ? notBuilt('cannot publish')
      : notFound(`cannot publish '${id}': it is not in the store`);
  }
  return store.published.put({ ...name, namespace: name.namespace ?? settings.environment }, id);
}

/**
 * Without building it.
 *
 * @throws {DefinitionError} `E_NOT_BUILT`; `E_IMAGE_NOT_FOUND` for a name.
 */
export function idOfBuilt(parts: EngineParts, image: Image, why: string): string {
  const id = image.id ?? idOfName(parts, image);
  if (id === undefined) {
    throw notBuilt(why);
  }
  return id;
}

function idOfName(parts: EngineParts, image: Image): string | undefined {
  const base = image.storedBase;
  return base === undefined ? undefined : storedId(parts, base);
}

/** @throws {DefinitionError} `E_IMAGE_NOT_FOUND`, `E_IMAGE_IN_USE` */
export async function deleteStored(parts: EngineParts, library: ImageLibrary, id: string): Promise<void> {
  await library.remove(storedId(parts, { kind: 'id', id }));
}

function notBuilt(why: string): DefinitionError {
  return new DefinitionError(`${why}: the image was not built yet`, {
    code: 'E_NOT_BUILT',
    hint: 'await image.build() first',
  });
}

function notFound(message: string): DefinitionError {
  return new DefinitionError(message, {
    code: 'E_IMAGE_NOT_FOUND',
    hint: '`tsbuild image list` and `tsbuild image names` show what there is',
  });
}
