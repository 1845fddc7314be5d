/**
 * What a build knows, as a cache that others can use. Records go out under the keys and ids that they have in an empty
 * store: there, nothing was forced and nothing found by content, so that forced and found results serve like any other.
 */
import { resolve } from 'node:path';
import type { Json } from '../base/canonical-json.ts';
import {
  CACHE_CONFIG,
  DEFINITION_PLACE,
  encodeCache,
  encodeInline,
  type PortableCache,
  type PortableLayer,
  type PortableRecord,
} from '../cache/portable-cache.ts';
import type { LayerBlob } from '../content/layer-records.ts';
import { RemoteError, TsbuildError } from '../errors.ts';
import { type BuiltManifest, buildArtifact } from '../image/manifest.ts';
import type { BlobWish, LayerContext } from '../layer/layer-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { hostPlatform } from '../oci/platform.ts';
import { parseReference } from '../oci/reference.ts';
import { cacheKey, resultIdOf } from '../solver/cache-key.ts';
import type { LayerId } from '../solver/op.ts';
import type { KnownVertex } from '../solver/solve.ts';
import { layoutSource, repositoriesOf } from './blob-sources.ts';
import type { CacheTarget, CacheTargetOptions } from './cache-options.ts';
import { compressedAs } from './compression.ts';
import type { EngineParts } from './parts.ts';
import { repositoryOf, repositoryReference } from './registries.ts';
import { uploadProgress } from './upload-progress.ts';

/** What of a build is worth keeping. */
export interface BuildKnowledge {
  readonly known: readonly KnownVertex[];
  /** The stacks of the final images. */
  readonly tips: readonly (readonly LayerId[])[];
  /** Under the ids that they have in an empty store. */
  readonly images: PortableCache['images'];
  /** How the build's definitions are called here; nobody else is told. */
  readonly definitions: readonly string[];
}

type FileTarget = Extract<CacheTarget, CacheTargetOptions & { readonly type: 'registry' | 'local' }>;

/** The ids that results have in an empty store, by vertex. */
export function portableIds(known: readonly KnownVertex[]): ReadonlyMap<Digest, string> {
  const ids = new Map<Digest, string>();
  for (const each of known) {
    ids.set(each.vertex.digest, resultIdOf(cacheKey(each.fieldsDigest, inputIds(each, ids))));
  }
  return ids;
}

/**
 * Writes the caches that are not part of an image, all at once. Blobs that a destination has are not sent again, and not
 * even fetched.
 *
 * @throws what the destination or the host throws, unless its errors are to be ignored; `signal.reason` on cancellation.
 */
export async function exportCaches(
  parts: EngineParts,
  knowledge: BuildKnowledge,
  targets: readonly CacheTarget[],
  context: LayerContext,
): Promise<void> {
  const outcomes = await Promise.allSettled(
    targets.map(async (target) => {
      if (target.type === 'inline') {
        return;
      }
      try {
        await exportCache(parts, knowledge, target, context);
      } catch (error) {
        context.signal.throwIfAborted();
        if (target.ignoreError !== true || !(error instanceof TsbuildError)) {
          throw error;
        }
        const message = `cannot write the cache '${nameOf(target)}': ${error.message}`;
        context.emit({ kind: 'warning', code: 'W_CACHE', message });
      }
    }),
  );
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) {
    throw failed.reason;
  }
}

/** The member of an image's config: results that are made of the image's own layers, which `stack` lists. */
export function inlineCache(
  parts: EngineParts,
  { known, images, definitions }: Omit<BuildKnowledge, 'tips'>,
  stack: readonly LayerId[],
): Json {
  const indexOf = placesIn(parts, stack);
  const selected = select(parts, known, definitions, indexOf);
  return encodeInline({ ...arrange(parts, selected, indexOf), images });
}

async function exportCache(
  parts: EngineParts,
  knowledge: BuildKnowledge,
  target: FileTarget,
  context: LayerContext,
): Promise<void> {
  const lost = new Set<string>();
  for (;;) {
    try {
      const bundle = await bundleOf(parts, knowledge, target, context);
      await (target.type === 'registry'
        ? pushCache(parts, bundle, target.ref, context)
        : writeCache(parts, bundle, target, context));
      const { digest } = bundle.manifest.manifestDescriptor;
      context.emit({ kind: 'output', type: 'cache', destination: nameOf(target), digest });
      return;
    } catch (error) {
      if (!(error instanceof RemoteError) || error.code !== 'E_BLOB_GONE' || lost.has(error.message)) {
        throw error;
      }
      // The store has forgotten what is made of it; the rest is worth keeping.
      lost.add(error.message);
    }
  }
}

interface Bundle {
  readonly manifest: BuiltManifest;
  readonly blobs: readonly LayerBlob[];
  /** Brings a blob here, unless it is. */
  readonly bring: (digest: Digest) => Promise<void>;
}

async function bundleOf(
  parts: EngineParts,
  { known, tips, images, definitions }: BuildKnowledge,
  target: FileTarget,
  context: LayerContext,
): Promise<Bundle> {
  const wish = wishOf(target);
  const selected = select(
    parts,
    known,
    definitions,
    target.mode === 'max' ? undefined : placesIn(parts, tips.flat()),
  );
  const below = new Map<LayerId, readonly LayerId[]>();
  for (const { stack } of selected) {
    for (const [index, layer] of stack.entries()) {
      if (!below.has(layer)) {
        below.set(layer, stack.slice(0, index));
      }
    }
  }
  const described = await Promise.all(
    [...below].map(async ([layer, parents]) => ({
      layer,
      parents,
      blob: await parts.layers.describeBlob(layer, parents, wish, context),
    })),
  );
  // Layers may be equal; a manifest names each blob once.
  const unique = new Map(described.map((each) => [each.blob.digest, each]));
  const order = new Map([...unique.keys()].map((digest, index) => [digest, index]));
  const indexes = new Map(described.map(({ layer, blob }) => [layer, order.get(blob.digest) as number]));
  const blobs = [...unique.values()].map(({ blob }) => blob);
  const config = encodeCache({
    ...arrange(parts, selected, (layer) => indexes.get(layer)),
    diffIds: blobs.map(({ diffId }) => diffId),
    images,
  });
  const manifest = buildArtifact(
    config,
    CACHE_CONFIG,
    blobs.map(({ mediaType, digest, sizeBytes }) => ({ mediaType, digest, size: sizeBytes })),
  );
  const bring = async (digest: Digest) => {
    const source = unique.get(digest);
    if (source !== undefined) {
      await parts.layers.ensureBlob(source.layer, source.parents, wish, context);
    }
  };
  return { manifest, blobs, bring };
}

function wishOf(target: CacheTargetOptions): BlobWish {
  const { compression = 'zstd', compressionLevel, forceCompression } = target;
  return { ...compressedAs(compression, compressionLevel), keepSource: forceCompression !== true };
}

interface Selected {
  readonly record: Omit<PortableRecord, 'result'>;
  readonly stack: readonly LayerId[];
  /** Of a result that is files. */
  readonly contentDigest?: string;
}

type Places = (layer: LayerId) => number | undefined;

/**
 * Where a layer is among others. Looked for by its blob too: what was made without a base, and what it is on top of one,
 * are two layers of one blob when they came from elsewhere.
 */
function placesIn({ store: { layers } }: EngineParts, among: readonly LayerId[]): Places {
  const places = new Map<string, number>();
  for (const [index, layer] of among.entries()) {
    for (const name of [layer, ...layers.blobs(layer).map(({ digest }) => digest)]) {
      places.set(name, places.get(name) ?? index);
    }
  }
  return (layer) =>
    places.get(layer) ??
    layers
      .blobs(layer)
      .map(({ digest }) => places.get(digest))
      .find((place) => place !== undefined);
}

/** Records of which the store still has what they are made of; with `within`, those made of these layers alone. */
function select(
  { cache }: EngineParts,
  known: readonly KnownVertex[],
  definitions: readonly string[],
  within: Places | undefined,
): readonly Selected[] {
  const ids = portableIds(known);
  const selected = new Map<string, Selected>();
  for (const each of known) {
    const { record, fieldsDigest, vertex } = each;
    if (record === undefined || !cache.holds(record.result)) {
      continue;
    }
    const { result, durationMs, fields, site } = record;
    const stack = result.kind === 'rootfs' ? result.layers : [];
    if (within !== undefined && stack.some((layer) => within(layer) === undefined)) {
      continue;
    }
    const place = site === undefined ? undefined : withoutDefinition(site, definitions);
    // Vertices may differ in what no key sees, such as a path on this machine.
    selected.set(ids.get(vertex.digest) ?? '', {
      record: {
        fieldsDigest,
        inputs: inputIds(each, ids),
        durationMs,
        ...(place === undefined ? {} : { site: place, fields }),
      },
      stack,
      ...(result.kind === 'files' ? { contentDigest: result.contentDigest } : {}),
    });
  }
  return [...selected.values()];
}

/** A definition's name is a path of this machine; undefined where one stands that we do not know. */
function withoutDefinition(site: string, definitions: readonly string[]): string | undefined {
  const definition = definitions.find((name) => name !== '' && site.startsWith(`${name}#`));
  if (definition !== undefined) {
    return `${DEFINITION_PLACE}${site.slice(definition.length)}`;
  }
  return site.startsWith('#') ? site : undefined;
}

function inputIds({ vertex }: KnownVertex, ids: ReadonlyMap<Digest, string>): readonly string[] {
  return vertex.inputs.map((edge) => ids.get(edge.vertex.digest) ?? '');
}

/** Stacks as a forest in which equal beginnings are shared. */
function arrange(
  { store }: EngineParts,
  selected: readonly Selected[],
  blobOf: Places,
): Pick<PortableCache, 'layers' | 'records'> {
  const layers: PortableLayer[] = [];
  const places = new Map<string, number>();
  const place = (layer: LayerId, parent: number | undefined): number => {
    const blob = blobOf(layer) as number;
    const name = `${parent ?? ''} ${blob}`;
    let index = places.get(name);
    if (index === undefined) {
      index = layers.length;
      const content = store.layers.get(layer)?.contentDigest;
      layers.push({
        blob,
        ...(parent === undefined ? {} : { parent }),
        ...(content === undefined ? {} : { content }),
      });
      places.set(name, index);
    }
    return index;
  };
  const records = selected.map(({ record, stack, contentDigest }): PortableRecord => {
    if (contentDigest !== undefined) {
      return { ...record, result: { kind: 'files', contentDigest } };
    }
    let top: number | undefined;
    for (const layer of stack) {
      top = place(layer, top);
    }
    return { ...record, result: { kind: 'rootfs', ...(top === undefined ? {} : { top }) } };
  });
  return { layers, records };
}

async function pushCache(
  { store, registries }: EngineParts,
  { manifest, blobs, bring }: Bundle,
  ref: string,
  { signal, emit }: LayerContext,
): Promise<void> {
  const reference = parseReference(ref);
  const client = await registries.clientFor(reference);
  // There may be none, or something else: what is wrong with the registry shows when it is written to.
  const ifThere = <T>(found: Promise<T>): Promise<T | undefined> =>
    found.catch((error: unknown) => {
      signal.throwIfAborted();
      if (error instanceof TsbuildError) {
        return undefined;
      }
      throw error;
    });
  const { manifestDescriptor, manifestBytes, configDescriptor, configBytes, layers } = manifest;
  const digest = await ifThere(client.resolveDigest(reference, { signal }));
  if (digest !== manifestDescriptor.digest) {
    const before =
      digest === undefined
        ? undefined
        : await ifThere(
            client.resolveManifest({ ...reference, digest }, hostPlatform(), { signal, store: store.blobs }),
          );
    const sources = new Set(blobs.flatMap(({ digest }) => repositoriesOf(store.layers.sources(digest))));
    await client.push(
      {
        manifestDescriptor,
        manifestBytes,
        blobs: [configDescriptor, ...layers],
        open: ({ digest }: Descriptor) =>
          digest === configDescriptor.digest ? configBytes : store.blobs.path(digest),
        prepare: ({ digest }) => bring(digest),
      },
      reference,
      {
        signal,
        mountFromReferences: [...sources].map(repositoryReference),
        ...(before === undefined
          ? {}
          : { present: new Set(before.manifest.layers.map(({ digest }) => digest)) }),
        onProgress: uploadProgress(emit),
      },
    );
    // The next export that has something new reads there what the registry has.
    await Promise.all([store.blobs.put(configBytes), store.blobs.put(manifestBytes)]);
  }
  for (const { digest } of blobs) {
    store.layers.addSource(digest, repositoryOf(reference));
  }
}

async function writeCache(
  { store }: EngineParts,
  { manifest, blobs, bring }: Bundle,
  { dest, tag = 'latest' }: Extract<FileTarget, { readonly type: 'local' }>,
  { signal }: LayerContext,
): Promise<void> {
  const { layoutHolds, writeOciLayout } = await import('../transport/oci-layout/write.ts');
  const directory = resolve(dest);
  if (!(await layoutHolds(directory, manifest, tag))) {
    await writeOciLayout(
      directory,
      {
        ...manifest,
        path: async ({ digest }) => {
          await bring(digest);
          return store.blobs.path(digest);
        },
      },
      { tags: [tag], signal },
    );
  }
  for (const { digest } of blobs) {
    store.layers.addSource(digest, layoutSource(directory));
  }
}

/** For people. */
function nameOf(target: FileTarget): string {
  return target.type === 'registry' ? target.ref : target.dest;
}
