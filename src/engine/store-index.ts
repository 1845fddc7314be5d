/** `index.json` of the store, so that any OCI tool can read it: every image that has a name, under its names. */
import { renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { canonicalJson } from '../base/canonical-json.ts';
import { OCI_INDEX, OCI_MANIFEST } from '../oci/media-type.ts';
import { parsePlatform } from '../oci/platform.ts';
import type { Store } from './store.ts';

/** Made from the records, within a transaction, so that of two processes the later one knows what the earlier one did. */
export async function writeStoreIndex(store: Store): Promise<void> {
  await store.blobs.prepare();
  store.meta.transaction(() => {
    const named = (name: string) => ({ annotations: { 'org.opencontainers.image.ref.name': name } });
    const images = store.images.list().flatMap(({ manifestDigest, platform, names }) =>
      names.map((name) => ({
        mediaType: OCI_MANIFEST,
        digest: manifestDigest,
        size: statSync(store.blobs.path(manifestDigest)).size,
        platform: parsePlatform(platform),
        ...named(name),
      })),
    );
    const indexes = store.images
      .listIndexes()
      .flatMap(({ id, mediaType, sizeBytes, names }) =>
        names.map((name) => ({ mediaType, digest: id, size: sizeBytes, ...named(name) })),
      );
    const manifests = [...images, ...indexes];
    const temporary = store.scratchFile('index.json');
    writeFileSync(temporary, canonicalJson({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
    renameSync(temporary, join(store.dir, 'index.json'));
  });
}
