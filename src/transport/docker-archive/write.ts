/**
 * A tar for `docker load` and `podman load`: Docker's `manifest.json` and an OCI image layout over the same blobs, as
 * Docker itself writes since version 25. Older loaders read the first, newer ones the second.
 */
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import * as fs from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { canonicalJson } from '../../base/canonical-json.ts';
import { UsageError } from '../../errors.ts';
import { encodedPart } from '../../oci/digest.ts';
import { layerCompression, OCI_INDEX } from '../../oci/media-type.ts';
import { formatReference, parseReference } from '../../oci/reference.ts';
import { REF_NAME } from '../oci-layout/read.ts';
import { type ExportImage, type ExportOptions, OCI_LAYOUT_FILE, streamTar } from '../oci-layout/write.ts';

/**
 * @param options - `tags` are whole references, such as `app:1.0`.
 * @throws {UsageError} `E_USAGE` for a zstd layer, which `docker load` before version 23 cannot read
 */
export async function writeDockerArchive(
  path: string,
  image: ExportImage,
  options: ExportOptions = {},
): Promise<void> {
  checkLayers(image);
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await streamDockerArchive(createWriteStream(temporary, { flags: 'wx' }), image, options);
    await fs.rename(temporary, path);
  } finally {
    await fs.rm(temporary, { force: true });
  }
}

/** The same into a stream, which is ended. */
export async function streamDockerArchive(
  output: Writable,
  image: ExportImage,
  options: ExportOptions = {},
): Promise<void> {
  checkLayers(image);
  const references = (options.tags ?? []).map(parseReference);
  const blobPath = (digest: ExportImage['configDescriptor']['digest']) =>
    `blobs/sha256/${encodedPart(digest)}`;
  const manifest = [
    {
      Config: blobPath(image.configDescriptor.digest),
      RepoTags: references.map((reference) => `${familiarName(reference)}:${reference.tag ?? 'latest'}`),
      Layers: image.layers.map((layer) => blobPath(layer.digest)),
    },
  ];
  const entry = {
    ...image.manifestDescriptor,
    ...(image.platform === undefined ? {} : { platform: image.platform }),
  };
  const manifests =
    references.length === 0
      ? [entry]
      : references.map((reference) => ({
          ...entry,
          // containerd names the image by the first, other tools by the second.
          annotations: {
            'io.containerd.image.name': formatReference(reference),
            [REF_NAME]: reference.tag ?? 'latest',
          },
        }));
  await streamTar(
    output,
    image,
    [
      ['oci-layout', Buffer.from(OCI_LAYOUT_FILE)],
      ['index.json', Buffer.from(canonicalJson({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }))],
      ['manifest.json', Buffer.from(canonicalJson(manifest))],
    ],
    options,
  );
}

/** `docker.io/library/ubuntu` → `ubuntu`, as Docker writes it. */
function familiarName({ host, repository }: { readonly host: string; readonly repository: string }): string {
  return host === 'docker.io' ? repository.replace(/^library\//, '') : `${host}/${repository}`;
}

function checkLayers(image: ExportImage): void {
  for (const layer of image.layers) {
    const compression = layerCompression(layer.mediaType);
    if (compression !== 'gzip' && compression !== 'none') {
      throw new UsageError(`a Docker archive cannot hold a layer of the type '${layer.mediaType}'`, {
        code: 'E_USAGE',
        hint: 'write it with compression=gzip',
      });
    }
  }
}
