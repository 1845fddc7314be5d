/**
 * The layers of the store in their three forms: a snapshot to mount, a blob to ship, a descriptor that a registry holds.
 * Each form is made from another when somebody needs it, once, however many ask.
 */
import { randomUUID } from 'node:crypto';
import { sha256Hex } from '../base/sha256.ts';
import { SingleFlight } from '../base/single-flight.ts';
import type { BlobStore } from '../content/blob-store.ts';
import type { LayerBlob, LayerRecords } from '../content/layer-records.ts';
import { DefinitionError, IntegrityError, InternalError, RemoteError } from '../errors.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, parseDigest } from '../oci/digest.ts';
import {
  type BlobFormat,
  layerCompression,
  OCI_LAYER,
  OCI_LAYER_GZIP,
  OCI_LAYER_ZSTD,
} from '../oci/media-type.ts';
import type { Emit } from '../solver/event.ts';
import type { LayerId } from '../solver/op.ts';
import type { BlobParams, CompressResult, UnpackParams, Worker } from '../worker/protocol.ts';
import { workerEvents } from '../worker/worker-events.ts';

/** How a layer is to be shipped. */
export interface BlobWish {
  readonly compression: BlobFormat;
  readonly level: number;
  /** SOURCE_DATE_EPOCH: later modification times become it. Only in layers that we made. */
  readonly clampMtimeSeconds?: number;
  /** Take what came with a base image as it is, whatever its compression. */
  readonly keepSource: boolean;
}

/** Brings a blob that is not there from one of the places that are known to hold it. */
export interface BlobFetcher {
  fetch(descriptor: Descriptor, sources: readonly string[], context: FetchContext): Promise<void>;
}

export interface LayerContext {
  readonly signal: AbortSignal;
  readonly emit: Emit;
  /** Told of a blob that is begun and that most likely nobody has. @defaultValue nobody is told */
  readonly onNewBlob?: OnNewBlob | undefined;
}

/**
 * @param path - The file that its bytes are put into, in order.
 * @param whole - Rejects when there is no blob after all.
 */
export type OnNewBlob = (path: string, whole: Promise<CompressResult>) => void;

export interface FetchContext extends LayerContext {
  /** Told the file that the blob's bytes are put into, in order, and `undefined` when what is in it was thrown away. */
  readonly onFile?: ((path: string | undefined) => void) | undefined;
}

/** A blob on its way. */
interface Arrival {
  /** The file that it is being written to; undefined where it is there as a whole. */
  readonly file: Promise<string | undefined>;
  /** There as a whole, its digest checked. */
  readonly blob: Promise<LayerBlob>;
  /** What is in the file is no beginning of the blob any more. */
  readonly lost: AbortSignal;
}

export interface LayerStoreOptions {
  /** Where an unfinished file of that name goes: a place that is swept when this process is gone. */
  readonly scratchFile: (name: string) => string;
  readonly records: LayerRecords;
  readonly blobs: BlobStore;
  /** Starts the worker the first time that it is called. */
  readonly worker: () => Promise<Worker>;
  readonly fetcher: BlobFetcher;
}

export class LayerStore {
  readonly #options: LayerStoreOptions;
  readonly #snapshots = new SingleFlight<LayerId, void>();
  readonly #blobs = new SingleFlight<string, LayerBlob>();
  readonly #predecessors = new Map<LayerId, LayerId>();

  constructor(options: LayerStoreOptions) {
    this.#options = options;
  }

  /**
   * Records the layers of an image that exists somewhere; nothing is fetched.
   *
   * @param source - `host/repository` that holds the blobs, when a registry does.
   * @returns Their ids, bottom first. A layer's id covers the ones below it, as its chainId does: unpacked, a layer may
   *   depend on links in those.
   */
  recordImage(
    layers: readonly Descriptor[],
    diffIds: readonly Digest[],
    source: string | undefined,
  ): LayerId[] {
    const ids: LayerId[] = [];
    let chain = '';
    for (const [index, descriptor] of layers.entries()) {
      const diffId = diffIds[index];
      if (diffId === undefined) {
        throw new InternalError('more layers than diffIds in a checked image');
      }
      chain = chainOf(chain, diffId);
      const id = layerOfChain(chain);
      this.#options.records.put(id, ids, false);
      this.#options.records.putBlob(id, {
        form: 'source',
        mediaType: descriptor.mediaType,
        digest: descriptor.digest,
        sizeBytes: descriptor.size,
        diffId,
        ...tableOf(descriptor.annotations),
      });
      if (source !== undefined) {
        this.#options.records.addSource(descriptor.digest, source);
      }
      ids.push(id);
    }
    return ids;
  }

  /**
   * What a layer was made on, which need not be what it lies on now: `COPY --link` makes one on nothing and stacks it above a
   * base. Its blob must not depend on that base.
   */
  #madeOn(layer: LayerId, below: readonly LayerId[]): readonly LayerId[] {
    return this.#options.records.get(layer)?.parents ?? below;
  }

  /** Unpacks what is missing of a stack, bottom first; downloads and unpacking of different layers overlap. */
  async ensureSnapshots(layers: readonly LayerId[], context: LayerContext): Promise<void> {
    let sent: Promise<void> = Promise.resolve();
    const unpacked: Promise<void>[] = [];
    let repeated = false;
    for (const [index, layer] of layers.entries()) {
      if (this.#options.records.get(layer)?.hasSnapshot === true) {
        continue;
      }
      const arrival = this.#arrival(layer, context);
      // The worker mends a layer by those below it and waits for them, so it must hear of them first.
      const turn = Promise.all([arrival.file, sent]);
      sent = turn.then(() => undefined);
      const below = [...unpacked];
      unpacked.push(
        turn.then(([file]) =>
          this.#snapshots.run(layer, context.signal, async () => {
            // Somebody else may have been done with it while we looked for the blob.
            if (this.#options.records.get(layer)?.hasSnapshot === true) {
              return;
            }
            const parents = this.#madeOn(layer, layers.slice(0, index));
            if (file !== undefined) {
              if (await this.#unpackArriving(layer, parents, file, arrival, context)) {
                return;
              }
              repeated = true;
            } else {
              const blob = await arrival.blob;
              const failure = await this.#unpack(layer, parents, blob, context).then(
                () => undefined,
                (error: unknown) => ({ error }),
              );
              if (failure === undefined) {
                return;
              }
              // One below that is unpacked again was missing.
              if (!repeated) {
                throw failure.error;
              }
            }
            await Promise.allSettled(below);
            await this.#unpack(layer, parents, await arrival.blob, context);
          }),
        ),
      );
      sent.catch(() => undefined);
    }
    const outcomes = await Promise.allSettled(unpacked);
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) {
      throw failed.reason;
    }
  }

  /** Blobs of a stack, in the wished form, all of them there; compression of different layers overlaps. */
  async ensureBlobs(
    layers: readonly LayerId[],
    wish: BlobWish,
    context: LayerContext,
  ): Promise<readonly LayerBlob[]> {
    return await Promise.all(
      layers.map((layer, index) => this.ensureBlob(layer, layers.slice(0, index), wish, context)),
    );
  }

  /**
   * The blob of a layer in the wished form, which may be where it came from and not here. Made when there is none.
   *
   * @param parents - The stack below the layer, bottom first.
   */
  async describeBlob(
    layer: LayerId,
    parents: readonly LayerId[],
    wish: BlobWish,
    context: LayerContext,
  ): Promise<LayerBlob> {
    const known = this.#known(layer, wish);
    if (known?.form === 'source' && this.#options.records.sources(known.digest).length > 0) {
      return known;
    }
    return await this.ensureBlob(layer, parents, wish, context);
  }

  /** The blob of one layer, in the wished form, and there. */
  async ensureBlob(
    layer: LayerId,
    parents: readonly LayerId[],
    wish: BlobWish,
    context: LayerContext,
  ): Promise<LayerBlob> {
    return await this.#blobs.run(`${layer} ${formOf(wish)} ${wish.keepSource}`, context.signal, () =>
      this.#ensureBlob(layer, this.#madeOn(layer, parents), wish, context),
    );
  }

  /** {@link describeBlob} of every layer of a stack. */
  async describeBlobs(
    layers: readonly LayerId[],
    wish: BlobWish,
    context: LayerContext,
  ): Promise<readonly LayerBlob[]> {
    return await Promise.all(
      layers.map((layer, index) => this.describeBlob(layer, layers.slice(0, index), wish, context)),
    );
  }

  /** What is known of the blobs of a stack, in another form where none is known in this, without making or fetching any. */
  knownBlobs(layers: readonly LayerId[], wish: BlobWish): readonly (LayerBlob | undefined)[] {
    return layers.map((layer) => this.#known(layer, wish) ?? this.#options.records.blobs(layer)[0]);
  }

  #known(layer: LayerId, wish: BlobWish): LayerBlob | undefined {
    const blobs = this.#options.records.blobs(layer);
    const source = blobs.find((blob) => blob.form === 'source');
    if (
      source !== undefined &&
      (wish.keepSource || layerCompression(source.mediaType) === wish.compression)
    ) {
      return source;
    }
    return blobs.find((blob) => blob.form === formOf(source === undefined ? wish : unclamped(wish)));
  }

  async #ensureBlob(
    layer: LayerId,
    parents: readonly LayerId[],
    wish: BlobWish,
    context: LayerContext,
  ): Promise<LayerBlob> {
    const known = this.#known(layer, wish);
    if (known !== undefined && (await this.#options.blobs.has(known.digest))) {
      return known;
    }
    if (known?.form === 'source') {
      return await this.#sourceBlob(layer, context);
    }
    const source = this.#options.records.blobs(layer).find((blob) => blob.form === 'source');
    return source === undefined
      ? await this.#compress(layer, parents, wish, context)
      : await this.#recompress(layer, wish, context);
  }

  #arrival(layer: LayerId, context: LayerContext): Arrival {
    const lost = new AbortController();
    const file = Promise.withResolvers<string | undefined>();
    const onFile = (path: string | undefined) => {
      if (path === undefined) {
        lost.abort();
      } else {
        file.resolve(path);
      }
    };
    const blob = this.#sourceBlob(layer, { ...context, onFile });
    blob.then(
      () => file.resolve(undefined),
      (error: unknown) => {
        file.reject(error);
        lost.abort();
      },
    );
    return { file: file.promise, blob, lost: lost.signal };
  }

  /**
   * Unpacks a blob while it is downloaded.
   *
   * @returns False when that did not work. Whatever the reason, the complete blob tells more.
   */
  async #unpackArriving(
    layer: LayerId,
    parents: readonly LayerId[],
    file: string,
    { blob, lost }: Arrival,
    context: LayerContext,
  ): Promise<boolean> {
    const source = this.#options.records.blobs(layer).find(({ form }) => form === 'source');
    if (source === undefined) {
      return false;
    }
    const signal = AbortSignal.any([context.signal, lost]);
    const arriving = { path: file, sizeBytes: source.sizeBytes };
    const unpacked = await this.#unpack(layer, parents, source, { ...context, signal }, arriving).then(
      () => true,
      () => false,
    );
    await blob;
    context.signal.throwIfAborted();
    return unpacked;
  }

  async #sourceBlob(layer: LayerId, context: FetchContext): Promise<LayerBlob> {
    const { records, blobs, fetcher } = this.#options;
    const candidates = records.blobs(layer);
    const here = await Promise.all(
      candidates.map(async (blob) => ((await blobs.has(blob.digest)) ? blob : undefined)),
    );
    const there = here.find((blob) => blob !== undefined && isOfLayer(blob.form));
    if (there !== undefined) {
      return there;
    }
    const source = candidates.find((blob) => blob.form === 'source');
    if (source === undefined) {
      records.forgetWithoutSnapshot(layer);
      throw new RemoteError(`layer '${layer}' is no longer in the store`, { code: 'E_BLOB_GONE' });
    }
    try {
      await fetcher.fetch(
        { mediaType: source.mediaType, digest: source.digest, size: source.sizeBytes },
        records.sources(source.digest),
        context,
      );
    } catch (cause) {
      if (!isGone(cause)) {
        throw cause;
      }
      // Whoever looks again must not find the promise that was just broken.
      records.forgetPromised(source.digest);
      throw new RemoteError(`blob ${source.digest} can no longer be fetched: ${(cause as Error).message}`, {
        code: 'E_BLOB_GONE',
        cause,
      });
    }
    return source;
  }

  async #unpack(
    layer: LayerId,
    parents: readonly LayerId[],
    blob: LayerBlob,
    { signal, emit }: LayerContext,
    arriving?: UnpackParams['arriving'],
  ): Promise<void> {
    const worker = await this.#options.worker();
    await worker.call(
      'unpack',
      {
        layer,
        parents,
        blobPath: this.#options.blobs.path(blob.digest),
        ...(arriving === undefined ? {} : { arriving }),
        mediaType: blob.mediaType,
        digest: blob.digest,
        diffId: blob.diffId,
      },
      { signal, onEvent: workerEvents(emit) },
    );
    this.#options.records.put(layer, parents, true);
  }

  async #compress(
    layer: LayerId,
    parents: readonly LayerId[],
    wish: BlobWish,
    { signal, emit, onNewBlob }: LayerContext,
  ): Promise<LayerBlob> {
    if (this.#options.records.get(layer)?.hasSnapshot !== true) {
      // Of copies of the user's files there may be no more than a blob of another form.
      await this.ensureSnapshots([...parents, layer], { signal, emit });
    }
    const worker = await this.#options.worker();
    const blob = this.blobParams(layer, wish);
    const written = worker.call(
      'compress',
      { layer, parents, ...blob },
      { signal, onEvent: workerEvents(emit) },
    );
    if (blob.previous !== undefined) {
      onNewBlob?.(blob.output, written);
    }
    return await this.adopt(layer, wish, blob.output, await written);
  }

  /** That the same step made `before` the last time: what is the same in a blob of it is not compressed again. */
  succeeds(layer: LayerId, before: LayerId): void {
    this.#predecessors.set(layer, before);
  }

  /** For the worker: a blob of a layer in the wished form, in a file that {@link adopt} takes. */
  blobParams(layer: LayerId, wish: BlobWish): BlobParams {
    const { compression, level, clampMtimeSeconds } = wish;
    const before = this.#predecessors.get(layer);
    const { records, blobs, scratchFile } = this.#options;
    const previous =
      before === undefined ? undefined : records.blobs(before).find(({ form }) => form === formOf(wish));
    return {
      output: scratchFile(`blob-${randomUUID()}`),
      compression,
      level,
      ...(clampMtimeSeconds === undefined ? {} : { clampMtimeSeconds }),
      ...(previous === undefined
        ? {}
        : {
            previous: {
              blob: blobs.path(previous.digest),
              ...(previous.notes === undefined ? {} : { notes: previous.notes }),
            },
          }),
    };
  }

  /** Makes a file that the worker wrote the blob of a layer that is recorded. */
  async adopt(layer: LayerId, wish: BlobWish, path: string, written: CompressResult): Promise<LayerBlob> {
    const digest = parseDigest(written.digest);
    await this.#options.blobs.ingestFile(path, digest);
    const blob = {
      form: formOf(wish),
      mediaType: MEDIA_TYPES[wish.compression],
      digest,
      sizeBytes: written.sizeBytes,
      diffId: parseDigest(written.diffId),
      ...tableOf(written.annotations),
      ...(written.notes === undefined ? {} : { notes: written.notes }),
    };
    this.#options.records.putBlob(layer, blob);
    return blob;
  }

  /** Another compression of a layer that came with an image; its tar, and so its diffId, stays what it is. */
  async #recompress(layer: LayerId, wish: BlobWish, context: LayerContext): Promise<LayerBlob> {
    const source = await this.#sourceBlob(layer, context);
    const worker = await this.#options.worker();
    const form = unclamped(wish);
    const blob = this.blobParams(layer, form);
    const written = await worker.call(
      'recompress',
      { blobPath: this.#options.blobs.path(source.digest), diffId: source.diffId, ...blob },
      { signal: context.signal, onEvent: workerEvents(context.emit) },
    );
    return await this.adopt(layer, form, blob.output, written);
  }
}

/** The chain of a stack and one layer on top of it. Two chains are equal when all diffIds in them are. */
export function chainOf(below: string, diffId: Digest): string {
  return below === '' ? diffId : sha256Hex(`${below} ${diffId}`);
}

/** The id of the top layer of a stack that somebody else made: named by content, so that nobody can claim another's. */
export function layerOfChain(chain: string): LayerId {
  return sha256Hex(`layer ${chain}`) as LayerId;
}

/** It will not come back by asking again: not found, or other bytes than were promised. */
function isGone(error: unknown): boolean {
  return (
    (error instanceof RemoteError && error.code === 'E_REGISTRY_NOT_FOUND') ||
    error instanceof IntegrityError ||
    (error instanceof DefinitionError && error.code === 'E_LOCAL_FILE_MISSING')
  );
}

const MEDIA_TYPES = {
  zstd: OCI_LAYER_ZSTD,
  'zstd:chunked': OCI_LAYER_ZSTD,
  gzip: OCI_LAYER_GZIP,
  estargz: OCI_LAYER_GZIP,
  none: OCI_LAYER,
} as const;

/** Whether a blob in the wished form is all that is needed of a layer: others can be made of it. */
export function holdsLayer(wish: BlobWish): boolean {
  return isOfLayer(formOf(wish));
}

/** Whether blobs of the form hold what the snapshot does: neither other times, nor eStargz's own files. */
function isOfLayer(form: string): boolean {
  return !form.includes('@') && !form.startsWith('estargz');
}

/** Where the blob's table of contents is. Other annotations of a base's layers are not for the images that are built on it. */
const TABLE_ANNOTATIONS =
  /^(?:containerd\.io\/snapshot\/stargz\/|io\.containers\.estargz\.|io\.github\.containers\.zstd-chunked\.)/;

function tableOf(annotations: Readonly<Record<string, string>> = {}): Pick<LayerBlob, 'annotations'> {
  const own = Object.entries(annotations).filter(([name]) => TABLE_ANNOTATIONS.test(name));
  return own.length === 0 ? {} : { annotations: Object.fromEntries(own) };
}

function formOf({ compression, level, clampMtimeSeconds }: Omit<BlobWish, 'keepSource'>): string {
  const clamp = clampMtimeSeconds === undefined ? '' : `@${clampMtimeSeconds}`;
  return `${compression}:${compression === 'none' ? 0 : level}${clamp}`;
}

/** A base's tar is never written anew, so its times are never clamped. */
function unclamped({ compression, level, keepSource }: BlobWish): BlobWish {
  return { compression, level, keepSource };
}
