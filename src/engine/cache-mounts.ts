/** Cache mounts as the user names them. They belong to the worker, in whose namespace their owners are right. */
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { UsageError } from '../errors.ts';
import type { LayerContext } from '../layer/layer-store.ts';
import type { CacheMountFacts } from '../volume/cache-mounts.ts';
import { workerEvents } from '../worker/worker-events.ts';
import type { EngineParts } from './parts.ts';

export type { CacheMountFacts };

export interface ExportCacheMountOptions {
  /** @defaultValue by the name of the file; zstd if that says nothing */
  readonly compression?: 'zstd' | 'gzip' | 'none';
  readonly signal?: AbortSignal;
}

type Parts = Pick<EngineParts, 'worker'>;

export async function listCacheMounts(
  { worker }: Parts,
  signal: AbortSignal,
): Promise<readonly CacheMountFacts[]> {
  return (await (await worker()).call('listMounts', {}, { signal })).mounts;
}

export async function removeCacheMounts(
  { worker }: Parts,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  await (await worker()).call('removeMounts', { ids, whenInUse: 'refuse' }, { signal });
}

export async function exportCacheMount(
  { worker }: Parts,
  id: string,
  path: string,
  { compression }: ExportCacheMountOptions,
  { signal, emit }: LayerContext,
): Promise<{ readonly sizeBytes: number }> {
  const output = resolve(path);
  const found = await stat(output).catch(() => undefined);
  if (found !== undefined && !found.isFile()) {
    throw new UsageError(`cannot write the cache mount to '${path}': it exists and is no file`, {
      code: 'E_OUTPUT_EXISTS',
    });
  }
  return await (await worker()).call(
    'exportMount',
    { id, output, compression: compression ?? compressionOf(path) },
    { signal, onEvent: workerEvents(emit) },
  );
}

export async function importCacheMount(
  { worker }: Parts,
  id: string,
  path: string,
  { signal, emit }: LayerContext,
): Promise<{ readonly sizeBytes: number }> {
  return await (await worker()).call(
    'importMount',
    { id, input: resolve(path) },
    { signal, onEvent: workerEvents(emit) },
  );
}

function compressionOf(path: string): 'zstd' | 'gzip' | 'none' {
  if (/\.(tar\.gz|tgz)$/i.test(path)) {
    return 'gzip';
  }
  return /\.tar$/i.test(path) ? 'none' : 'zstd';
}
