/** Images out of the store: registry, OCI layout, archives, plain root filesystems. */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { INLINE_MEMBER, inlineMember } from '../cache/portable-cache.ts';
import type { ImageRecord } from '../content/image-records.ts';
import type { LayerBlob } from '../content/layer-records.ts';
import { InternalError, UsageError } from '../errors.ts';
import { type BuiltManifest, buildManifest } from '../image/manifest.ts';
import type { BlobWish, LayerContext } from '../layer/layer-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { parsePlatform } from '../oci/platform.ts';
import { parseReference } from '../oci/reference.ts';
import type { LayerId } from '../solver/op.ts';
import { repositoriesOf } from './blob-sources.ts';
import { imageLayers, sourceDateEpoch } from './build-images.ts';
import type { EngineParts } from './parts.ts';
import { repositoryOf, repositoryReference } from './registries.ts';

export interface OutputSpec {
  readonly type: 'oci' | 'docker' | 'registry' | 'tar' | 'local';
  /** A path; `-` is standard output, for archives. */
  readonly dest?: string;
  /** False: a directory instead of an archive. Only `oci`. @defaultValue true */
  readonly tar?: boolean;
  /** Of the layers that tsbuild writes. @defaultValue zstd; for `docker` gzip. Layers of a base stay as they are if absent. */
  readonly compression?: 'zstd' | 'gzip' | 'uncompressed';
  /** @defaultValue 3 for zstd, 6 for gzip */
  readonly compressionLevel?: number;
  /** The name that the image gets there; for `registry` where it is pushed. @defaultValue the image's tags */
  readonly name?: string;
  readonly push?: boolean;
  /** Modification times in our layers are at most SOURCE_DATE_EPOCH. @defaultValue false */
  readonly rewriteTimestamp?: boolean;
}

const DEFAULT_LEVELS = { zstd: 3, gzip: 6, none: 0 } as const;

/**
 * @param tags - Names for outputs that bring none themselves.
 * @returns The digest of the manifest; of bare root filesystems that of the image they are from.
 */
export async function writeOutput(
  parts: EngineParts,
  imageId: string,
  spec: OutputSpec,
  tags: readonly string[],
  context: LayerContext,
): Promise<{ readonly digest: Digest }> {
  const names = spec.name === undefined ? tags : [spec.name];
  const record = parts.store.images.get(imageId);
  if (record === undefined) {
    throw new InternalError(`the image '${imageId}' that was just built is not in the store`);
  }
  await refuseOtherKind(spec);
  if (spec.type === 'tar' || spec.type === 'local') {
    await writeTree(parts, record, spec, context);
    return announce(record.manifestDigest, spec, spec.dest ?? '', context);
  }
  const wish = wishOf(parts, spec);
  // A registry may have what is not here; what it has not is fetched when it is sent.
  const blobs =
    spec.type === 'registry'
      ? await parts.layers.describeBlobs(record.layers, wish, context)
      : await parts.layers.ensureBlobs(record.layers, wish, context);
  const manifest = manifestOf(record, blobs);
  const { digest } = manifest.manifestDescriptor;
  if (spec.type !== 'registry') {
    await writeArchive(parts, record, manifest, spec, names, context);
    return announce(digest, spec, spec.dest ?? '', context);
  }
  if (names.length === 0) {
    throw new UsageError('nothing says where to push the image', {
      code: 'E_USAGE',
      hint: 'give it a --tag, or name= in the output',
    });
  }
  for (const name of names) {
    await pushImage(parts, record, manifest, blobs, wish, name, context);
    announce(digest, spec, name, context);
  }
  return { digest };
}

function wishOf({ environment }: EngineParts, spec: OutputSpec): BlobWish {
  const compression: BlobWish['compression'] =
    spec.compression === 'uncompressed'
      ? 'none'
      : (spec.compression ?? (spec.type === 'docker' ? 'gzip' : 'zstd'));
  const wish = {
    compression,
    level: spec.compressionLevel ?? DEFAULT_LEVELS[compression],
    // `docker load` of older engines knows no zstd, and what was asked for by name is what one gets.
    keepSource: spec.compression === undefined && spec.type !== 'docker',
  };
  if (spec.rewriteTimestamp !== true) {
    return wish;
  }
  const epoch = sourceDateEpoch(environment);
  if (epoch === undefined) {
    throw new UsageError('rewriting timestamps needs SOURCE_DATE_EPOCH, in seconds since 1970', {
      code: 'E_USAGE',
      hint: 'SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) tsbuild build …',
    });
  }
  return { ...wish, clampMtimeSeconds: epoch };
}

/** The image's own config, with these blobs for layers. */
function manifestOf({ config, platform }: ImageRecord, blobs: readonly LayerBlob[]): BuiltManifest {
  return buildManifest({
    layers: imageLayers(blobs),
    config: config.config ?? {},
    platform: parsePlatform(platform),
    created: config.created,
    history: config.history,
    author: config.author,
    extra: inlineMember(config[INLINE_MEMBER]),
  });
}

async function pushImage(
  { store, registries, layers }: EngineParts,
  record: ImageRecord,
  manifest: BuiltManifest,
  blobs: readonly LayerBlob[],
  wish: BlobWish,
  name: string,
  context: LayerContext,
): Promise<void> {
  const { signal, emit } = context;
  const reference = parseReference(name);
  const client = await registries.clientFor(reference);
  const sources = new Set(blobs.flatMap(({ digest }) => repositoriesOf(store.layers.sources(digest))));
  const prepare = async ({ digest }: Descriptor) => {
    const index = blobs.findIndex((blob) => blob.digest === digest);
    if (index >= 0) {
      await layers.ensureBlob(record.layers[index] as LayerId, record.layers.slice(0, index), wish, context);
    }
  };
  await client.push(
    {
      manifestDescriptor: manifest.manifestDescriptor,
      manifestBytes: manifest.manifestBytes,
      blobs: [manifest.configDescriptor, ...manifest.layers],
      open: ({ digest }: Descriptor) =>
        digest === manifest.configDescriptor.digest ? manifest.configBytes : store.blobs.path(digest),
      prepare,
    },
    reference,
    {
      signal,
      mountFromReferences: [...sources].map(repositoryReference),
      onProgress: ({ digest, doneBytes, totalBytes, state }) =>
        emit({
          kind: 'progress',
          id: `upload ${digest}`,
          activity: 'upload',
          subject: digest,
          doneBytes,
          totalBytes,
          state: state === 'exists' || state === 'mounted' ? 'exists' : state === 'done' ? 'done' : 'running',
        }),
    },
  );
  for (const { digest } of blobs) {
    store.layers.addSource(digest, repositoryOf(reference));
  }
}

async function writeArchive(
  { store }: EngineParts,
  { platform }: ImageRecord,
  manifest: BuiltManifest,
  spec: OutputSpec,
  names: readonly string[],
  { signal, emit }: LayerContext,
): Promise<void> {
  const dest = destinationOf(spec);
  const image = {
    ...manifest,
    platform: parsePlatform(platform),
    path: ({ digest }: Descriptor) => store.blobs.path(digest),
  };
  const options = {
    signal,
    ...(names.length === 0 ? {} : { tags: names }),
    onProgress: ({ doneBytes, totalBytes }: { readonly doneBytes: number; readonly totalBytes: number }) =>
      emit({
        kind: 'progress',
        id: `write ${dest}`,
        activity: 'write',
        subject: dest,
        doneBytes,
        totalBytes,
        state: doneBytes >= totalBytes ? 'done' : 'running',
      }),
  };
  const layout = await import('../transport/oci-layout/write.ts');
  if (spec.type === 'docker') {
    const docker = await import('../transport/docker-archive/write.ts');
    await (dest === '-'
      ? untilClosed(docker.streamDockerArchive(standardOutput(), image, options))
      : docker.writeDockerArchive(resolve(dest), image, options));
  } else if (spec.tar === false) {
    await layout.writeOciLayout(resolve(dest), image, options);
  } else {
    await (dest === '-'
      ? untilClosed(layout.streamOciArchive(standardOutput(), image, options))
      : layout.writeOciArchive(resolve(dest), image, options));
  }
}

async function writeTree(
  { store, layers, worker }: EngineParts,
  record: ImageRecord,
  spec: OutputSpec,
  context: LayerContext,
): Promise<void> {
  const dest = destinationOf(spec);
  await layers.ensureSnapshots(record.layers, context);
  const form = spec.type === 'local' ? 'directory' : 'tar';
  const destination = dest === '-' ? store.scratchFile(`tree-${randomUUID()}`) : resolve(dest);
  try {
    const { signal } = context;
    await (await worker()).call('exportTree', { layers: record.layers, destination, form }, { signal });
    if (dest === '-') {
      const source = createReadStream(destination, { highWaterMark: 1 << 20 });
      await untilClosed(pipeline(source, standardOutput(), { signal }));
    }
  } finally {
    if (dest === '-') {
      await rm(destination, { force: true });
    }
  }
}

function destinationOf({ type, dest, tar }: OutputSpec): string {
  if (dest === undefined || dest === '') {
    throw new UsageError(`the output of type '${type}' needs dest=`, { code: 'E_USAGE' });
  }
  if (dest === '-' && (type === 'local' || tar === false)) {
    throw new UsageError('a directory cannot be written to standard output', { code: 'E_USAGE' });
  }
  return dest;
}

function standardOutput(): Writable {
  return process.stdout;
}

/** A reader that has seen enough (`| head`) does not fail the build. */
async function untilClosed(writing: Promise<void>): Promise<void> {
  try {
    await writing;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') {
      throw error;
    }
  }
}

/** Before anything is written: what is there already may be the user's own. */
async function refuseOtherKind({ type, tar, dest }: OutputSpec): Promise<void> {
  if (dest === undefined || dest === '-') {
    return;
  }
  const directory = type === 'local' || tar === false;
  const there = await stat(resolve(dest)).catch(() => undefined);
  if (there !== undefined && there.isDirectory() !== directory) {
    throw new UsageError(
      `cannot write the output of type '${type}' to '${dest}': it is ${there.isDirectory() ? 'a' : 'no'} directory`,
      { code: 'E_OUTPUT_EXISTS' },
    );
  }
}

function announce(
  digest: Digest,
  { type }: OutputSpec,
  destination: string,
  { emit }: LayerContext,
): { readonly digest: Digest } {
  emit({ kind: 'output', type, destination, digest });
  return { digest };
}
