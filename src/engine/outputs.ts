/** Images out of the store: registry, OCI layout, archives, plain root filesystems, or another name in the store itself. */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { realpath, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, relative, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isDeepStrictEqual } from 'node:util';
import { type ImageRecord, type IndexRecord, isIndexRecord } from '../content/image-records.ts';
import { InternalError, UsageError } from '../errors.ts';
import type { LayerContext } from '../layer/layer-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { formatPlatform, parsePlatform } from '../oci/platform.ts';
import { parseReference, type Reference } from '../oci/reference.ts';
import type { PushImage } from '../transport/registry/push.ts';
import { workerEvents } from '../worker/worker-events.ts';
import { checkAnnotations } from './annotations.ts';
import { repositoriesOf } from './blob-sources.ts';
import type { BuildImagesOptions } from './build-images.ts';
import type { EarlyUploads } from './early-uploads.ts';
import { localName } from './image-library.ts';
import { indexedImages } from './indexed-images.ts';
import type { EngineParts } from './parts.ts';
import { repositoryOf, repositoryReference } from './registries.ts';
import {
  blobWish,
  prepareShipment,
  type ReaderWish,
  requiredEpoch,
  type Shipment,
  type ShipmentWish,
  type ShippedImage,
} from './shipment.ts';
import { writeStoreIndex } from './store-index.ts';
import { uploadProgress } from './upload-progress.ts';

export interface OutputSpec extends ShipmentWish {
  /** `image` is the store itself: what differs from the image that was built is kept under the names beside it. */
  readonly type: 'oci' | 'docker' | 'registry' | 'tar' | 'local' | 'image';
  /** A path; `-` is standard output, for archives. */
  readonly dest?: string;
  /** False: a directory instead of an archive. Only `oci`. @defaultValue true */
  readonly tar?: boolean;
  /**
   * The name that the image gets there, or several with commas between them; for `registry` where it is pushed.
   *
   * @defaultValue the image's tags
   */
  readonly name?: string;
  /** Of `image`: also to the registry of every name. @defaultValue true for `registry`, else false */
  readonly push?: boolean;
  /** Pushed under its digest alone, to the repositories of the names. @defaultValue false */
  readonly pushByDigest?: boolean;
  /** Of `local`: `delete` removes from the destination whatever is not of the image. @defaultValue copy */
  readonly mode?: 'copy' | 'delete';
  /** Of `local` and `tar`: a subdirectory for each platform. @defaultValue true where there are several platforms */
  readonly platformSplit?: boolean;
}

/** What an output wrote. */
export interface WrittenOutput {
  readonly spec: OutputSpec;
  /** Of the manifest or index; of bare root filesystems that of the image they are from. */
  readonly digest: Digest;
  /** Absent for bare root filesystems. */
  readonly descriptor?: Descriptor;
  /** Of an image for one platform. */
  readonly configDigest?: Digest;
}

/**
 * @param id - Of an image or an index of the store.
 * @param tags - Names for outputs that bring none themselves.
 * @param uploads - What was sent already.
 */
export async function writeOutput(
  parts: EngineParts,
  id: string,
  spec: OutputSpec,
  tags: readonly string[],
  context: LayerContext,
  uploads?: EarlyUploads,
): Promise<WrittenOutput> {
  const names = namesOf(spec, tags);
  const { images } = parts.store;
  const record = images.get(id) ?? images.getIndex(id);
  if (record === undefined) {
    throw new InternalError(`the image '${id}' that was just built is not in the store`);
  }
  await refuseOtherKind(spec);
  const records = isIndexRecord(record) ? indexedImages(parts.store, record) : [record];
  checkAnnotations(
    spec.annotations ?? [],
    records.map(({ platform }) => parsePlatform(platform)),
  );
  if (spec.type === 'tar' || spec.type === 'local') {
    await writeTrees(parts, records, spec, context);
    const digest = isIndexRecord(record) ? record.id : record.manifestDigest;
    announce(digest, spec, spec.dest ?? '', context);
    return { spec, digest };
  }
  refuseSeveral(spec, records.length);
  const shipment = await prepareShipment(parts, record, readerOf(spec), context);
  const written = writtenOf(spec, shipment);
  if (spec.type === 'oci' || spec.type === 'docker') {
    await writeArchive(parts, shipment, spec, names, context);
    announce(written.digest, spec, spec.dest ?? '', context);
    return written;
  }
  if (spec.type === 'image') {
    await keepInStore(parts, record, shipment, names);
  }
  if (isPushed(spec)) {
    await push(parts, shipment, spec, names, context, uploads);
  }
  return written;
}

function namesOf(spec: OutputSpec, tags: readonly string[]): readonly string[] {
  return spec.name === undefined ? tags : spec.name.split(',').map((name) => name.trim());
}

function isPushed(spec: OutputSpec): boolean {
  return spec.push ?? spec.type === 'registry';
}

/** Connects to where outputs are pushed to while what is pushed is built. Whatever is wrong with that is told by the push. */
export function greetRegistries(
  { registries }: EngineParts,
  outputs: readonly OutputSpec[],
  tags: readonly string[],
  signal: AbortSignal,
): void {
  const greet = async (name: string) => {
    const reference = parseReference(name);
    await (await registries.clientFor(reference)).greet(reference, { signal });
  };
  for (const name of outputs.filter(isPushed).flatMap((spec) => namesOf(spec, tags))) {
    greet(name).catch(() => undefined);
  }
}

/**
 * Sends blobs while they are written, where one of the outputs pushes them as the build makes them. Undefined where none does, and where
 * something is wrong with it that the push tells.
 */
export async function earlyUploads(
  parts: EngineParts,
  outputs: readonly OutputSpec[],
  tags: readonly string[],
  signal: AbortSignal,
): Promise<EarlyUploads | undefined> {
  const spec = outputs.find(isPushed);
  const [name] = spec === undefined ? [] : namesOf(spec, tags);
  if (spec === undefined || name === undefined) {
    return undefined;
  }
  if (!isDeepStrictEqual(blobWish(parts, readerOf(spec)), buildWish(parts, outputs).wish)) {
    return undefined;
  }
  const { EarlyUploads } = await import('./early-uploads.ts');
  try {
    return new EarlyUploads(parts.registries, parseReference(name), signal);
  } catch {
    return undefined;
  }
}

/**
 * How a build is to write its layers so that each is written once: as its outputs want them, or the first of them where they differ.
 *
 * @throws {UsageError} as {@link writeOutput}.
 */
export function buildWish(
  parts: EngineParts,
  outputs: readonly OutputSpec[],
): Pick<BuildImagesOptions, 'wish' | 'wantsFiles'> {
  const isTree = ({ type }: OutputSpec) => type === 'local' || type === 'tar';
  const wishes = outputs.filter((spec) => !isTree(spec)).map((spec) => blobWish(parts, readerOf(spec)));
  const [wish] = wishes;
  return {
    ...(wish === undefined ? {} : { wish }),
    wantsFiles: outputs.some(isTree) || !wishes.every((each) => isDeepStrictEqual(each, wish)),
  };
}

/** What the reader of an output does not know. */
function readerOf(spec: OutputSpec): ReaderWish {
  return {
    ...spec,
    noZstd: spec.type === 'docker',
    ociOnly: spec.type === 'oci',
    // A registry may have what is not here; what it has not is fetched when it is sent.
    mayBeElsewhere: spec.type === 'registry' || spec.type === 'image',
  };
}

function writtenOf(spec: OutputSpec, { descriptor, images, index }: Shipment): WrittenOutput {
  const [only] = images;
  return {
    spec,
    digest: descriptor.digest,
    descriptor,
    ...(index === undefined && only !== undefined ? { configDigest: only.configDescriptor.digest } : {}),
  };
}

/** @throws {UsageError} `E_USAGE` for an output that can hold one image only. */
export function refuseSeveral({ type }: OutputSpec, images: number): void {
  if (type === 'docker' && images > 1) {
    throw new UsageError('an archive for `docker load` holds an image for one platform', {
      code: 'E_USAGE',
      hint: 'build for one --platform, or write type=oci',
    });
  }
}

/** Names what was made. Where it is not the built image itself, it becomes an image beside that one, with the same layers. */
async function keepInStore(
  { store }: EngineParts,
  record: ImageRecord | IndexRecord,
  { images, index }: Shipment,
  names: readonly string[],
): Promise<void> {
  const ids: string[] = [];
  for (const { record: own, ...made } of images) {
    const { digest } = made.manifestDescriptor;
    if (digest === own.manifestDigest) {
      ids.push(own.id);
      continue;
    }
    await Promise.all([store.blobs.put(made.configBytes), store.blobs.put(made.manifestBytes)]);
    store.images.put({
      ...own,
      id: digest,
      manifestDigest: digest,
      configDigest: made.configDescriptor.digest,
    });
    ids.push(digest);
  }
  let id = ids[0] ?? record.id;
  if (index !== undefined) {
    await store.blobs.put(index.bytes);
    id = index.descriptor.digest;
    store.images.putIndex({
      id: index.descriptor.digest,
      mediaType: index.descriptor.mediaType,
      sizeBytes: index.bytes.length,
      images: images.map(({ manifestDescriptor, configDescriptor }, position) => ({
        id: ids[position] ?? '',
        manifestDigest: manifestDescriptor.digest,
        configDigest: configDescriptor.digest,
      })),
    });
  }
  for (const name of names) {
    store.images.setName(localName(name), id);
  }
  await writeStoreIndex(store);
}

async function push(
  parts: EngineParts,
  shipment: Shipment,
  spec: OutputSpec,
  names: readonly string[],
  context: LayerContext,
  uploads: EarlyUploads | undefined,
): Promise<void> {
  if (names.length === 0) {
    throw new UsageError('nothing says where to push the image', {
      code: 'E_USAGE',
      hint: 'give it a --tag, or name= in the output',
    });
  }
  for (const name of names) {
    const reference = spec.pushByDigest === true ? byDigestOnly(name) : parseReference(name);
    await pushTo(parts, shipment, reference, context, uploads);
    announce(shipment.descriptor.digest, spec, name, context);
  }
}

/** @throws {UsageError} `E_USAGE` for a name with a tag, which would be left out. */
function byDigestOnly(name: string): Reference {
  const { tag, ...reference } = parseReference(name);
  if (tag !== undefined && name.endsWith(`:${tag}`)) {
    throw new UsageError(`'${name}' has a tag, and push-by-digest pushes without one`, { code: 'E_USAGE' });
  }
  return reference;
}

async function pushTo(
  { store, registries }: EngineParts,
  { images, index }: Shipment,
  reference: Reference,
  { signal, emit }: LayerContext,
  uploads: EarlyUploads | undefined,
): Promise<void> {
  const client = await registries.clientFor(reference);
  const layers = images.flatMap((image) => image.layers);
  const sources = new Set(layers.flatMap(({ digest }) => repositoriesOf(store.layers.sources(digest))));
  const children = images.map((image) => pushImageOf(store, image));
  const [only] = children;
  const whole: PushImage | undefined =
    index === undefined
      ? only
      : {
          manifestDescriptor: index.descriptor,
          manifestBytes: index.bytes,
          blobs: [],
          open: () => index.bytes,
          children,
        };
  if (whole === undefined) {
    throw new InternalError('an output without an image');
  }
  await client.push(whole, reference, {
    signal,
    mountFromReferences: [...sources].map(repositoryReference),
    onProgress: uploadProgress(emit),
    ...(uploads?.leadTo(reference) === true ? { ahead: uploads.take } : {}),
  });
  for (const { digest } of layers) {
    store.layers.addSource(digest, repositoryOf(reference));
  }
}

function pushImageOf({ blobs }: EngineParts['store'], image: ShippedImage): PushImage {
  return {
    manifestDescriptor: image.manifestDescriptor,
    manifestBytes: image.manifestBytes,
    blobs: [image.configDescriptor, ...image.layers],
    open: ({ digest }) => (digest === image.configDescriptor.digest ? image.configBytes : blobs.path(digest)),
    prepare: ({ digest }) => image.fetch(digest),
  };
}

async function writeArchive(
  { store }: EngineParts,
  { descriptor, images, index }: Shipment,
  spec: OutputSpec,
  names: readonly string[],
  { signal, emit }: LayerContext,
): Promise<void> {
  const dest = destinationOf(spec);
  const exported = images.map((image) => ({
    ...image,
    path: ({ digest }: Descriptor) => store.blobs.path(digest),
  }));
  const [image] = exported;
  if (image === undefined) {
    throw new InternalError('an output without an image');
  }
  const whole =
    index === undefined
      ? image
      : { indexDescriptor: index.descriptor, indexBytes: index.bytes, images: exported };
  const options = {
    signal,
    ...(names.length === 0 ? {} : { tags: names }),
    annotations: descriptor.annotations,
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
    await layout.writeOciLayout(resolve(dest), whole, options);
  } else {
    await (dest === '-'
      ? untilClosed(layout.streamOciArchive(standardOutput(), whole, options))
      : layout.writeOciArchive(resolve(dest), whole, options));
  }
}

async function writeTrees(
  { store, layers, worker, environment }: EngineParts,
  records: readonly ImageRecord[],
  spec: OutputSpec,
  context: LayerContext,
): Promise<void> {
  const dest = destinationOf(spec);
  if (spec.mode === 'delete') {
    await refuseToEmpty(resolve(dest), store.dir, environment);
  }
  await Promise.all(records.map((record) => layers.ensureSnapshots(record.layers, context)));
  const split = spec.platformSplit ?? records.length > 1;
  const trees = records.map((record) => ({
    layers: record.layers,
    // As BuildKit names them: linux_arm_v7.
    prefix: split ? formatPlatform(parsePlatform(record.platform)).replaceAll('/', '_') : '',
  }));
  const destination = dest === '-' ? store.scratchFile(`tree-${randomUUID()}`) : resolve(dest);
  try {
    const { signal } = context;
    const form = spec.type === 'local' ? 'directory' : 'tar';
    const extraFiles = spec.mode === 'delete' ? 'remove' : 'keep';
    const clamp =
      spec.rewriteTimestamp === true ? { clampMtimeSeconds: requiredEpoch(environment, spec) } : {};
    const params = { trees, destination, form, extraFiles, ...clamp } as const;
    await (await worker()).call('exportTree', params, { signal, onEvent: workerEvents(context.emit) });
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

/**
 * `mode=delete` is for directories that hold nothing but outputs. One that holds the user's home, the directory that one
 * works in or the store is a mistake, and so is what is above it.
 *
 * @throws {UsageError} `E_OUTPUT_UNSAFE`
 */
async function refuseToEmpty(
  destination: string,
  storeDir: string,
  { HOME: home }: NodeJS.ProcessEnv,
): Promise<void> {
  const real = await realPath(destination);
  const holds = (outer: string, inner: string) => !/^\.\.(\/|$)/.test(relative(outer, inner));
  const precious = [
    ['the root directory', '/'],
    ['your home directory', home === undefined || home === '' ? homedir() : home],
    ['the working directory', process.cwd()],
    ['the store of tsbuild', storeDir],
  ] as const;
  for (const [what, path] of precious) {
    const place = await realPath(path);
    if (holds(real, place) || (path === storeDir && holds(place, real))) {
      throw new UsageError(`mode=delete would empty '${destination}', which is or holds ${what}`, {
        code: 'E_OUTPUT_UNSAFE',
        hint: 'write to a directory that holds nothing else, such as ./out',
      });
    }
  }
}

/** Of what is not there yet: of the nearest directory above it that is. */
async function realPath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    const above = dirname(path);
    return above === path ? path : resolve(await realPath(above), relative(above, path));
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

function announce(digest: Digest, { type }: OutputSpec, destination: string, { emit }: LayerContext): void {
  emit({ kind: 'output', type, destination, digest });
}
