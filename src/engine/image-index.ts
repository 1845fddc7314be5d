/** One definition for several platforms: which ones, and the index of what was built for them. */
import { InternalError } from '../errors.ts';
import { BuiltImage } from '../frontend/fluent/built-image.ts';
import type { Image } from '../frontend/fluent/image.ts';
import { buildIndex } from '../image/manifest.ts';
import {
  formatPlatform,
  hostPlatform,
  normalizePlatform,
  type Platform,
  parsePlatform,
} from '../oci/platform.ts';
import { type Annotation, annotationsOf } from './annotations.ts';
import type { BuiltRecord } from './build-images.ts';
import type { EngineParts } from './parts.ts';

/** In the order in which they were asked for, each once: `linux/arm64` and `linux/arm64/v8` are one. */
export function distinctPlatforms(platforms: readonly Platform[]): readonly Platform[] {
  const distinct = new Map(
    platforms.map((platform) => [formatPlatform(platform), normalizePlatform(platform)]),
  );
  return [...distinct.values()];
}

/** Puts an index of these images into the store. */
export async function storeIndex(
  { store }: EngineParts,
  source: Image,
  built: readonly BuiltRecord[],
  annotations: readonly Annotation[],
): Promise<BuiltImage> {
  const platforms = built.map(({ id }) => {
    const record = store.images.get(id);
    if (record === undefined) {
      throw new InternalError(`the image '${id}' that was just built is not in the store`);
    }
    return parsePlatform(record.platform);
  });
  const entries = built.map(({ manifestDescriptor }, position) => {
    const platform = platforms[position] as Platform;
    const own = annotationsOf(annotations, 'manifest-descriptor', platform);
    const named = { ...manifestDescriptor, platform };
    return Object.keys(own).length === 0 ? named : { ...named, annotations: own };
  });
  const { indexBytes, indexDescriptor } = buildIndex(entries, annotationsOf(annotations, 'index'));
  await store.blobs.put(indexBytes);
  store.images.putIndex({
    id: indexDescriptor.digest,
    mediaType: indexDescriptor.mediaType,
    sizeBytes: indexBytes.length,
    images: built.map(({ id, manifestDescriptor, configDigest }) => ({
      id,
      manifestDigest: manifestDescriptor.digest,
      configDigest,
    })),
  });
  const host = formatPlatform(hostPlatform());
  const own = Math.max(0, platforms.map(formatPlatform).indexOf(host));
  const { image } = built[own] as BuiltRecord;
  return BuiltImage.of(source, {
    id: indexDescriptor.digest,
    digest: indexDescriptor.digest,
    manifestDescriptor: indexDescriptor,
    configDigest: image.configDigest,
    config: image.config,
    layers: built.flatMap((each) => each.image.layers),
    diagnostics: distinctDiagnostics(built),
    platforms: built.map((each, position) => ({
      platform: formatPlatform(platforms[position] as Platform),
      image: each.image,
    })),
  });
}

/** Most are of the definition, whatever the platform. */
function distinctDiagnostics(built: readonly BuiltRecord[]): BuiltImage['diagnostics'] {
  const all = built.flatMap(({ image }) => image.diagnostics);
  return [...new Map(all.map((each) => [`${each.layer} ${each.code} ${each.message}`, each])).values()];
}
