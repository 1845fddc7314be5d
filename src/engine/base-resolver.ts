/**
 * What a base image is, for the frontend: manifest digest and config. Registries are asked only for what the store does not
 * know, or when they are to be asked again; what they answered is remembered.
 */
import type { BlobStore } from '../content/blob-store.ts';
import type { ImageRecords } from '../content/image-records.ts';
import type { RegistryLogin } from '../frontend/fluent/layer-definition.ts';
import type { Digest } from '../oci/digest.ts';
import { type ImageConfig, parseImageConfig } from '../oci/image-config.ts';
import { MAX_DOCUMENT_BYTES } from '../oci/json-document.ts';
import { parseManifest } from '../oci/manifest.ts';
import { formatPlatform, type Platform } from '../oci/platform.ts';
import { formatReference, parseReference } from '../oci/reference.ts';
import type { Registries } from './registries.ts';

export interface ResolvedBaseImage {
  readonly manifestDigest: Digest;
  readonly config: ImageConfig;
}

export interface BaseResolverOptions {
  readonly blobs: BlobStore;
  readonly images: ImageRecords;
  readonly registries: Registries;
}

/**
 * @param again - Ask what the tag means now, whatever the store remembers.
 * @throws {RemoteError} when a registry has to be asked and does not answer well.
 */
export async function resolveBaseImage(
  { blobs, images, registries }: BaseResolverOptions,
  referenceText: string,
  platform: Platform,
  options: {
    readonly again: boolean;
    readonly login?: RegistryLogin | undefined;
    readonly signal: AbortSignal;
  },
): Promise<ResolvedBaseImage> {
  const reference = parseReference(referenceText);
  const canonical = formatReference(reference);
  const platformText = formatPlatform(platform);
  // What is named by digest cannot have changed.
  const known =
    options.again && reference.digest === undefined ? undefined : images.resolution(canonical, platformText);
  if (known !== undefined) {
    const config = await readConfig(blobs, known);
    if (config !== undefined) {
      return { manifestDigest: known, config };
    }
  }
  const client = await registries.clientFor(reference, options.login);
  const resolved = await client.resolve(reference, platform, { signal: options.signal, store: blobs });
  await blobs.put(resolved.manifestBytes);
  await blobs.put(resolved.configBytes);
  images.putResolution(canonical, platformText, resolved.manifestDescriptor.digest);
  return { manifestDigest: resolved.manifestDescriptor.digest, config: resolved.config };
}

async function readConfig(blobs: BlobStore, manifestDigest: Digest): Promise<ImageConfig | undefined> {
  if (!(await blobs.has(manifestDigest))) {
    return undefined;
  }
  const manifest = parseManifest(await blobs.read(manifestDigest, MAX_DOCUMENT_BYTES));
  if (!(await blobs.has(manifest.config.digest))) {
    return undefined;
  }
  return parseImageConfig(
    await blobs.read(manifest.config.digest, MAX_DOCUMENT_BYTES),
    manifest.config.mediaType,
  );
}
