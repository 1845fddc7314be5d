/** Builds of definitions for one platform or several: for each definition an image, or an index of one for each platform. */
import type { BuiltImage } from '../frontend/fluent/built-image.ts';
import type { Image } from '../frontend/fluent/image.ts';
import type { PlatformName } from '../frontend/fluent/layer-definition.ts';
import { formatPlatform, type Platform } from '../oci/platform.ts';
import { type BuildImagesOptions, type BuiltRecord, buildImages } from './build-images.ts';
import { storeIndex } from './image-index.ts';
import type { EngineParts } from './parts.ts';

export interface PlatformsBuilt {
  /** For several platforms that of the index. */
  readonly image: BuiltImage;
  /** One for each platform. */
  readonly records: readonly BuiltRecord[];
}

/**
 * All in one graph, so that what the platforms share is made once.
 *
 * @param platforms - Distinct ones. None: what each definition says, or the host's.
 */
export async function buildForPlatforms(
  parts: EngineParts,
  images: readonly Image[],
  platforms: readonly Platform[],
  options: BuildImagesOptions,
): Promise<readonly PlatformsBuilt[]> {
  const names = platforms.map(formatPlatform) as PlatformName[];
  if (names.length < 2) {
    const [platform] = names;
    const single = platform === undefined ? options : { ...options, platform };
    const records = await buildImages(parts, images, single);
    return records.map((record) => ({ image: record.image, records: [record] }));
  }
  const { annotations = [], definitions, materialised } = options;
  const all = await buildImages(
    parts,
    images.flatMap((image) => names.map(() => image)),
    {
      ...options,
      platforms: images.flatMap(() => names),
      ...(materialised === undefined
        ? {}
        : { materialised: materialised.flatMap((each) => names.map(() => each)) }),
      ...(definitions === undefined
        ? {}
        : { definitions: definitions.flatMap((each) => names.map((name) => `${each} ${name}`)) }),
    },
  );
  const built: PlatformsBuilt[] = [];
  for (const [index, image] of images.entries()) {
    const records = all.slice(index * names.length, (index + 1) * names.length);
    built.push({ image: await storeIndex(parts, image, records, annotations), records });
  }
  return built;
}
