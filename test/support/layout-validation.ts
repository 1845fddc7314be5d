/** Runs `validate` over every image of an OCI layout on disk, with nothing of the store in between. */
import { createReadStream, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type BlobReader, type ValidatedImage, validate } from '../../src/image/validate.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';

export interface LayoutIndex {
  readonly manifests: readonly (Descriptor & { readonly annotations?: Readonly<Record<string, string>> })[];
}

export function readIndex(layout: string): LayoutIndex {
  return JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as LayoutIndex;
}

export async function validateLayout(layout: string): Promise<readonly ValidatedImage[]> {
  const path = (digest: string) => join(layout, 'blobs', digest.replace(':', '/'));
  const reader: BlobReader = {
    read: (digest) => readFile(path(digest)),
    openRead: (digest) => Promise.resolve(createReadStream(path(digest))),
  };
  const { manifests } = readIndex(layout);
  if (manifests.length === 0) {
    throw new Error(`the layout '${layout}' names no image`);
  }
  return await Promise.all(manifests.map((descriptor) => validate({ descriptor }, reader)));
}

/** The manifest and config of the only image of a layout. */
export function readImage(layout: string) {
  const blob = (digest: string) =>
    JSON.parse(readFileSync(join(layout, 'blobs', digest.replace(':', '/')), 'utf8'));
  const [descriptor] = readIndex(layout).manifests;
  const manifest = blob(descriptor?.digest ?? '') as {
    readonly config: Descriptor;
    readonly layers: readonly Descriptor[];
  };
  const config = blob(manifest.config.digest) as {
    readonly rootfs: { readonly diff_ids: readonly string[] };
    readonly created?: string;
  };
  return { digest: descriptor?.digest ?? '', manifest, config };
}
