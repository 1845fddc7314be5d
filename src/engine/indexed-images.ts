/** The images that an index lists, and the one of them that suits a platform. */
import { type ImageRecord, type IndexRecord, isIndexRecord } from '../content/image-records.ts';
import { InternalError } from '../errors.ts';
import { OCI_MANIFEST } from '../oci/media-type.ts';
import { choosePlatform, type Platform, parsePlatform } from '../oci/platform.ts';
import type { Store } from './store.ts';

/** The images of an index, each with the manifest and config that the index has of it. */
export function indexedImages(
  { images }: Pick<Store, 'images'>,
  record: IndexRecord,
): readonly ImageRecord[] {
  return record.images.map(({ id, manifestDigest, configDigest }) => {
    const image = images.peek(id);
    if (image === undefined) {
      throw new InternalError(`the image '${id}' of the index ${record.id} is not in the store`);
    }
    return { ...image, manifestDigest, configDigest };
  });
}

/**
 * The image itself, or of an index the one that suits the platform best.
 *
 * @param text - What it was called, for an error.
 * @throws {DefinitionError} `E_NO_PLATFORM`
 */
export function imageFor(
  store: Pick<Store, 'images'>,
  record: ImageRecord | IndexRecord,
  platform: Platform,
  text: string,
): ImageRecord {
  if (!isIndexRecord(record)) {
    return record;
  }
  const images = indexedImages(store, record);
  const manifests = images.map(({ manifestDigest, platform: own }) => ({
    mediaType: OCI_MANIFEST,
    digest: manifestDigest,
    size: 0,
    platform: parsePlatform(own),
  }));
  const index = { schemaVersion: 2, mediaType: record.mediaType, manifests } as const;
  const chosen = manifests.indexOf(choosePlatform(index, platform, `'${text}'`) as (typeof manifests)[0]);
  return images[chosen] as ImageRecord;
}
