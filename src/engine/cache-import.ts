/**
 * Caches of others into the store's tables. Manifests and configs are read, layers are recorded as promises: a blob is
 * fetched when a step, an output or a container needs it.
 */
import { resolve } from 'node:path';
import {
  CACHE_CONFIG,
  DEFINITION_PLACE,
  INLINE_MEMBER,
  keyOf,
  type PortableCache,
  parseCache,
  parseInline,
  portableResultId,
} from '../cache/portable-cache.ts';
import { DefinitionError, IntegrityError, TsbuildError } from '../errors.ts';
import { chainOf, type LayerContext, layerOfChain } from '../layer/layer-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { parseImageConfig } from '../oci/image-config.ts';
import type { Manifest } from '../oci/manifest.ts';
import { layerCompression } from '../oci/media-type.ts';
import { formatPlatform, type Platform } from '../oci/platform.ts';
import { parseReference } from '../oci/reference.ts';
import type { CacheRecord, LayerId, Result } from '../solver/op.ts';
import { layoutSource } from './blob-sources.ts';
import type { CacheSource } from './cache-options.ts';
import type { EngineParts } from './parts.ts';
import { repositoryOf } from './registries.ts';

export interface ImportedCaches {
  /** When images were first built, by id. */
  readonly created: ReadonlyMap<string, string>;
}

/** What a manifest says that can be used, and where its blobs are. */
interface FoundCache {
  readonly cache: PortableCache;
  readonly blobs: readonly Descriptor[];
  /** A source of blobs, as the store records them. */
  readonly place: string;
}

/**
 * Reads all caches at once. One that cannot be read is a warning: the steps can run without it. What is there is taken
 * whole or not at all.
 *
 * @param definitions - Of the images that are built: explanations find the steps of the same definition.
 * @throws `signal.reason` on cancellation, and what the host throws.
 */
export async function importCaches(
  parts: EngineParts,
  sources: readonly CacheSource[],
  platform: Platform,
  definitions: readonly string[],
  context: LayerContext,
): Promise<ImportedCaches> {
  for (const source of sources) {
    if (source.type === 'registry') {
      // A reference that cannot be one is a mistake, not a cache that is not there.
      parseReference(source.ref);
    }
  }
  const created = new Map<string, string>();
  const found = await Promise.all(
    sources.map(async (source) => {
      try {
        return await readCache(parts, source, platform, context);
      } catch (error) {
        context.signal.throwIfAborted();
        if (!(error instanceof TsbuildError)) {
          throw error;
        }
        return `cannot use the cache '${nameOf(source)}': ${error.message}`;
      }
    }),
  );
  for (const each of found) {
    if (typeof each === 'string') {
      context.emit({ kind: 'warning', code: 'W_CACHE', message: each });
      continue;
    }
    adopt(parts, each, definitions);
    for (const { id, created: time } of each.cache.images) {
      created.set(id, created.get(id) ?? time);
    }
  }
  return { created };
}

async function readCache(
  parts: EngineParts,
  source: CacheSource,
  platform: Platform,
  context: LayerContext,
): Promise<FoundCache> {
  switch (source.type) {
    case 'registry': {
      const reference = parseReference(source.ref);
      const client = await parts.registries.clientFor(reference);
      const { manifest, configBytes } = await client.resolveManifest(reference, platform, {
        signal: context.signal,
        store: parts.store.blobs,
      });
      return {
        cache: cacheOf(manifest, configBytes),
        blobs: manifest.layers,
        place: repositoryOf(reference),
      };
    }
    case 'local': {
      const { readLayoutManifest } = await import('../transport/oci-layout/read.ts');
      const directory = resolve(source.src);
      const { digest } = source;
      const tag = source.tag ?? (digest === undefined ? 'latest' : undefined);
      const { manifest, configBytes } = await readLayoutManifest(
        directory,
        { tag, digest, platform },
        parts.store.blobs,
        { signal: context.signal },
      );
      return {
        cache: cacheOf(manifest, configBytes),
        blobs: manifest.layers,
        place: layoutSource(directory),
      };
    }
  }
}

/** @throws {IntegrityError} @throws {DefinitionError} `E_IMAGE_NOT_FOUND` when it is an image without records. */
function cacheOf(manifest: Manifest, configBytes: Buffer): PortableCache {
  const strange = manifest.layers.find(({ mediaType }) => layerCompression(mediaType) === undefined);
  if (manifest.config.mediaType === CACHE_CONFIG) {
    if (strange !== undefined) {
      throw new IntegrityError(`malformed cache: a layer of type '${strange.mediaType}'`, {
        code: 'E_BAD_CACHE',
      });
    }
    return parseCache(configBytes, manifest.layers.length);
  }
  const config = parseImageConfig(configBytes, manifest.config.mediaType);
  const member = config[INLINE_MEMBER];
  const diffIds = config.rootfs.diff_ids;
  if (member === undefined || strange !== undefined || diffIds.length !== manifest.layers.length) {
    throw new DefinitionError(`the image for ${formatPlatform(config)} carries no cache`, {
      code: 'E_IMAGE_NOT_FOUND',
      hint: 'build it with --cache-to type=inline',
    });
  }
  return parseInline(member, diffIds);
}

/** Into the store's tables, in one transaction. */
function adopt(
  { cache: store, store: { layers } }: EngineParts,
  { cache, blobs, place }: FoundCache,
  definitions: readonly string[],
): void {
  const stacks: LayerId[][] = [];
  const chains: string[] = [];
  for (const { blob, parent } of cache.layers) {
    const below = parent === undefined ? '' : (chains[parent] ?? '');
    const chain = chainOf(below, cache.diffIds[blob] as Descriptor['digest']);
    chains.push(chain);
    stacks.push([...(parent === undefined ? [] : (stacks[parent] ?? [])), layerOfChain(chain)]);
  }
  const records = cache.records.map((record): CacheRecord => {
    const { fieldsDigest, inputs, durationMs, site, fields = [] } = record;
    const result: Result =
      record.result.kind === 'files'
        ? record.result
        : {
            kind: 'rootfs',
            layers: record.result.top === undefined ? [] : (stacks[record.result.top] ?? []),
          };
    return {
      key: keyOf(record),
      resultId: portableResultId(record),
      result,
      fieldsDigest,
      fields,
      inputs,
      durationMs,
      ...siteHere(site, definitions),
    };
  });
  store.adopt(records, () => {
    for (const [index, { blob, content }] of cache.layers.entries()) {
      const stack = stacks[index] as LayerId[];
      const descriptor = blobs[blob] as Descriptor;
      layers.putPromised(
        stack.at(-1) as LayerId,
        stack.slice(0, -1),
        {
          form: 'source',
          mediaType: descriptor.mediaType,
          digest: descriptor.digest,
          sizeBytes: descriptor.size,
          diffId: cache.diffIds[blob] as Descriptor['digest'],
        },
        place,
        content,
      );
    }
  });
}

/** With several definitions nobody can tell which of them it was. */
function siteHere(site: string | undefined, definitions: readonly string[]): { readonly site?: string } {
  const [definition] = definitions;
  if (site === undefined || !site.startsWith(DEFINITION_PLACE)) {
    return site === undefined ? {} : { site };
  }
  return definition === undefined || definitions.length > 1
    ? {}
    : { site: `${definition}${site.slice(DEFINITION_PLACE.length)}` };
}

/** For people. */
function nameOf(source: CacheSource): string {
  return source.type === 'registry' ? source.ref : source.src;
}
