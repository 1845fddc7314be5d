/** Annotations that are asked for by name, as buildx has them: of manifests, indexes, and their descriptors. */
import { UsageError } from '../errors.ts';
import { formatPlatform, type Platform } from '../oci/platform.ts';

/** Where an annotation goes. A descriptor is an image's entry in an index or a layout, or an index's in a layout. */
export type AnnotationTarget = 'manifest' | 'manifest-descriptor' | 'index' | 'index-descriptor';

export interface Annotation {
  readonly target: AnnotationTarget;
  /** Of manifests and their descriptors: only those of this platform. */
  readonly platform?: Platform;
  readonly key: string;
  readonly value: string;
}

/** Those of one document; of equal keys the last one counts, and one for a platform counts more than one for all. */
export function annotationsOf(
  annotations: readonly Annotation[],
  target: AnnotationTarget,
  platform?: Platform,
): Readonly<Record<string, string>> {
  const wanted = platform === undefined ? undefined : formatPlatform(platform);
  const fits = (own: Platform | undefined) => own !== undefined && formatPlatform(own) === wanted;
  const entries = (list: readonly Annotation[]) => list.map(({ key, value }) => [key, value] as const);
  const ofTarget = annotations.filter((each) => each.target === target);
  return Object.fromEntries([
    ...entries(ofTarget.filter((each) => each.platform === undefined)),
    ...entries(ofTarget.filter((each) => fits(each.platform))),
  ]);
}

/**
 * @param platforms - Of the images that are built.
 * @throws {UsageError} `E_USAGE` for an annotation that has nowhere to go.
 */
export function checkAnnotations(annotations: readonly Annotation[], platforms: readonly Platform[]): void {
  const built = platforms.map(formatPlatform);
  for (const { target, platform, key } of annotations) {
    if (platform !== undefined && !built.includes(formatPlatform(platform))) {
      throw new UsageError(
        `the annotation '${key}' is for ${formatPlatform(platform)}, and what is built is for ${built.join(', ')}`,
        { code: 'E_USAGE' },
      );
    }
    if (target.startsWith('index') && platforms.length < 2) {
      throw new UsageError(
        `the annotation '${key}' is for an index, and an image for one platform has none`,
        { code: 'E_USAGE', hint: `annotate the manifest: ${key}=…, or build for several platforms` },
      );
    }
  }
}
