/** Introduces the parts of an engine to each other. */
import { resolve } from 'node:path';
import { SqliteCache } from '../cache/sqlite-cache.ts';
import { LayerStore } from '../layer/layer-store.ts';
import type { Settings } from '../settings.ts';
import { BlobSources } from './blob-sources.ts';
import type { EngineParts } from './parts.ts';
import { Registries } from './registries.ts';
import { SecretFiles } from './secret-files.ts';
import { secretSources } from './secret-sources.ts';
import { Volumes } from './volumes.ts';

type Given = Pick<
  EngineParts,
  'store' | 'settings' | 'programs' | 'environment' | 'worker' | 'jobs' | 'onEvent' | 'now'
> & {
  /** Ends the work of volumes. */
  readonly signal: AbortSignal | undefined;
};

export function assembleParts({ signal, ...given }: Given): EngineParts {
  const { store, settings, environment, worker, now } = given;
  const secrets = new SecretFiles({
    storeDir: store.dir,
    environment: settings.environment,
    ...secretKey(settings),
    now,
  });
  const volumes = new Volumes({ storeDir: store.dir, environment: settings.environment, worker, signal });
  return withNetwork({ ...given, secrets, secretSources: secretSources(environment, secrets), volumes });
}

/** The same store and worker, from which nothing reaches the network for bases and tools. */
export function offlineParts(parts: EngineParts): EngineParts {
  return withNetwork({ ...parts, settings: { ...parts.settings, offline: true } });
}

/** What may fetch something. */
function withNetwork(parts: Omit<EngineParts, 'registries' | 'layers' | 'cache'>): EngineParts {
  const { store, settings, environment, worker, onEvent, now } = parts;
  const registries = new Registries({
    mirrors: Object.entries(settings.registryMirrors).flatMap(([host, urls]) =>
      urls.map((url) => ({ host, url })),
    ),
    offline: settings.offline,
    environment,
    secretSources: parts.secretSources,
    onWarning: (message) => onEvent({ kind: 'warning', timeMs: now(), code: 'W_REGISTRY', message }),
  });
  const layers = new LayerStore({
    scratchFile: (name) => store.scratchFile(name),
    records: store.layers,
    blobs: store.blobs,
    worker,
    fetcher: new BlobSources(store.blobs, registries),
  });
  const cache = new SqliteCache({
    meta: store.meta,
    layers: store.layers,
    storeDir: store.dir,
    layerDigest: async (layer, signal) => {
      const parents = store.layers.get(layer)?.parents ?? [];
      await layers.ensureSnapshots([...parents, layer], { signal, emit: () => undefined });
      return (await (await worker()).call('treeDigest', { layer }, { signal })).digest;
    },
    readsDigest: async (stack, reads, signal) =>
      (await (await worker()).call('readsDigest', { layers: stack, reads }, { signal })).digest,
  });
  return { ...parts, registries, layers, cache };
}

function secretKey({ secretsKey, secretsKeyFile }: Settings) {
  if (secretsKey !== undefined) {
    return { key: { words: secretsKey } };
  }
  return secretsKeyFile === undefined ? {} : { key: { file: resolve(secretsKeyFile) } };
}
