/** OCI layouts and archives on this machine as bases. Their blobs enter the store when they are first read. */
import { stat } from 'node:fs/promises';
import { DefinitionError } from '../errors.ts';
import type { OciLayoutSource } from '../frontend/fluent/layer-definition.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { type ImageConfig, parseImageConfig } from '../oci/image-config.ts';
import { MAX_DOCUMENT_BYTES } from '../oci/json-document.ts';
import { parseManifest } from '../oci/manifest.ts';
import { formatPlatform, type Platform } from '../oci/platform.ts';
import type { Store } from './store.ts';

/** @throws {DefinitionError} `E_LOCAL_FILE_MISSING`, `E_IMAGE_NOT_FOUND`, `E_NO_PLATFORM`. @throws {IntegrityError} */
export async function resolveLayout(
  { blobs, images }: Store,
  layout: OciLayoutSource,
  platform: Platform,
  signal: AbortSignal,
): Promise<{ readonly manifestDigest: Digest; readonly config: ImageConfig }> {
  const state = await stateOf(layout);
  const known = state === undefined ? undefined : images.resolution(state, formatPlatform(platform));
  if (known !== undefined && (await blobs.has(known))) {
    const manifest = parseManifest(await blobs.read(known, MAX_DOCUMENT_BYTES));
    const all = await Promise.all(
      [manifest.config, ...manifest.layers].map(({ digest }) => blobs.has(digest)),
    );
    if (!all.includes(false)) {
      const config = await blobs.read(manifest.config.digest, MAX_DOCUMENT_BYTES);
      return { manifestDigest: known, config: parseImageConfig(config, manifest.config.mediaType) };
    }
  }
  const { importOciArchive, importOciLayout } = await import('../transport/oci-layout/read.ts');
  const read = layout.form === 'directory' ? importOciLayout : importOciArchive;
  // What names the image is a tag or a digest; no tag looks like a digest.
  const { tag } = layout;
  const named = tag !== undefined && isDigest(tag) ? { digest: tag } : { tag };
  const { manifestDescriptor, config } = await read(layout.hostPath, { ...named, platform }, blobs, {
    signal,
  });
  if (state !== undefined) {
    images.putResolution(state, formatPlatform(platform), manifestDescriptor.digest);
  }
  return { manifestDigest: manifestDescriptor.digest, config };
}

/** An archive is read from end to end; one that did not change since need not be. A layout's index is small. */
async function stateOf({ form, hostPath, tag }: OciLayoutSource): Promise<string | undefined> {
  if (form === 'directory') {
    return undefined;
  }
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(hostPath, { bigint: true });
    return `oci-archive:${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}#${tag ?? ''}`;
  } catch (cause) {
    throw new DefinitionError(`there is no OCI archive at '${hostPath}'`, {
      code: 'E_LOCAL_FILE_MISSING',
      cause,
    });
  }
}
