/** Small, valid images made in code: a tar of named files for each layer. */
import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import tar from 'tar-stream';
import { buildManifest, describe as descriptorOf } from '../../src/image/manifest.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { sha256Digest } from '../../src/oci/digest.ts';
import { OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD } from '../../src/oci/media-type.ts';
import type { Platform } from '../../src/oci/platform.ts';

export interface MadeImage extends ReturnType<typeof buildManifest> {
  /** Config and layers by digest. */
  readonly blobs: ReadonlyMap<string, Buffer>;
}

export interface MadeLayer {
  readonly descriptor: Descriptor;
  readonly diffId: ReturnType<typeof sha256Digest>;
  readonly bytes: Buffer;
}

export async function makeLayer(
  files: Readonly<Record<string, string | Buffer>>,
  compression: 'none' | 'gzip' | 'zstd' = 'gzip',
): Promise<MadeLayer> {
  const pack = tar.pack();
  for (const [name, content] of Object.entries(files)) {
    if (name.endsWith('/')) {
      pack.entry({ name, type: 'directory', mode: 0o755, mtime: new Date(0) });
    } else {
      pack.entry({ name, mode: 0o644, mtime: new Date(0) }, content);
    }
  }
  pack.finalize();
  const plain = await buffer(pack);
  const bytes =
    compression === 'gzip' ? gzipSync(plain) : compression === 'zstd' ? zstdCompressSync(plain) : plain;
  const mediaType = { none: OCI_LAYER, gzip: OCI_LAYER_GZIP, zstd: OCI_LAYER_ZSTD }[compression];
  return {
    descriptor: descriptorOf(bytes, mediaType),
    diffId: sha256Digest(createHash('sha256').update(plain).digest('hex')),
    bytes,
  };
}

export async function makeImage(
  layers: readonly MadeLayer[],
  platform: Platform = { os: 'linux', architecture: 'amd64' },
): Promise<MadeImage> {
  const built = buildManifest({
    layers,
    config: { Env: ['PATH=/bin'], Cmd: ['/bin/true'] },
    platform,
    created: '1970-01-01T00:00:00Z',
    history: layers.map((_, index) => ({
      created: '1970-01-01T00:00:00Z',
      created_by: `layer ${index} && <done>`,
    })),
  });
  const blobs = new Map<string, Buffer>([[built.configDescriptor.digest, built.configBytes]]);
  for (const { descriptor, bytes } of layers) {
    blobs.set(descriptor.digest, bytes);
  }
  return { ...built, blobs };
}
