/** Images that exist: in a registry, or in an OCI layout. Only their manifest and config are read; layers come when needed. */
import type { BlobStore } from '../content/blob-store.ts';
import { IntegrityError } from '../errors.ts';
import type { LayerStore } from '../layer/layer-store.ts';
import type { Digest } from '../oci/digest.ts';
import { parseImageConfig } from '../oci/image-config.ts';
import { MAX_DOCUMENT_BYTES } from '../oci/json-document.ts';
import { parseManifest } from '../oci/manifest.ts';
import type { Op, Result } from '../solver/op.ts';
import { operationOf } from './operation-of.ts';

export interface SourceImageOptions {
  readonly blobs: BlobStore;
  readonly layers: LayerStore;
}

/** The frontend's resolver has put manifest and config into the blob store; where the layers are is in the reference. */
export function sourceImageOp(options: SourceImageOptions, repositoryOf: (reference: string) => string): Op {
  return {
    version: 1,
    cacheKeyFields: (vertex) => [
      { name: 'manifest', value: operationOf(vertex, 'source-image').manifestDigest },
    ],
    execute: async (vertex) => {
      const { manifestDigest, reference } = operationOf(vertex, 'source-image');
      return await recordImage(options, manifestDigest, repositoryOf(reference));
    },
  };
}

/** The blobs of a layout were put into the store when it was read. */
export function sourceOciLayoutOp(options: SourceImageOptions): Op {
  return {
    version: 1,
    cacheKeyFields: (vertex) => [
      { name: 'manifest', value: operationOf(vertex, 'source-oci-layout').manifestDigest },
    ],
    execute: async (vertex) => {
      const { manifestDigest } = operationOf(vertex, 'source-oci-layout');
      return await recordImage(options, manifestDigest, undefined);
    },
  };
}

/** Reads manifest and config from the store and records the layers; `source` is where the blobs can be fetched. */
export async function recordImage(
  { blobs, layers }: SourceImageOptions,
  digest: Digest,
  source: string | undefined,
): Promise<Result> {
  const manifest = parseManifest(await blobs.read(digest, MAX_DOCUMENT_BYTES));
  const config = parseImageConfig(await blobs.read(manifest.config.digest, MAX_DOCUMENT_BYTES));
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== manifest.layers.length) {
    throw new IntegrityError(
      `manifest ${digest} has ${manifest.layers.length} layers, and its config names ${diffIds.length}`,
      { code: 'E_BAD_MANIFEST' },
    );
  }
  return { kind: 'rootfs', layers: layers.recordImage(manifest.layers, diffIds, source) };
}
