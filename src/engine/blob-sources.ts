/** Brings missing blobs from the registries and local layouts that are known to have them. */
import type { BlobStore } from '../content/blob-store.ts';
import { RemoteError } from '../errors.ts';
import type { BlobFetcher, FetchContext } from '../layer/layer-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Registries, repositoryReference } from './registries.ts';

/** No host looks like this, so that a place is either a repository or a directory. */
const LAYOUT_PREFIX = 'oci-layout:';

/** Names a layout directory as the place of blobs. */
export function layoutSource(directory: string): string {
  return `${LAYOUT_PREFIX}${directory}`;
}

/** Those of the sources that are repositories, from which blobs can be mounted. */
export function repositoriesOf(sources: readonly string[]): readonly string[] {
  return sources.filter((source) => !source.startsWith(LAYOUT_PREFIX));
}

export class BlobSources implements BlobFetcher {
  readonly #blobs: BlobStore;
  readonly #registries: Registries;

  constructor(blobs: BlobStore, registries: Registries) {
    this.#blobs = blobs;
    this.#registries = registries;
  }

  async fetch(descriptor: Descriptor, sources: readonly string[], context: FetchContext): Promise<void> {
    const failures: unknown[] = [];
    // A directory costs no request.
    for (const source of sources.toSorted((a, b) => Number(isLayout(b)) - Number(isLayout(a)))) {
      try {
        await (isLayout(source)
          ? this.#fromLayout(descriptor, source.slice(LAYOUT_PREFIX.length), context)
          : this.#fromRegistry(descriptor, source, context));
        return;
      } catch (error) {
        context.signal.throwIfAborted();
        failures.push(error);
      }
    }
    throw (
      // A place that could not be reached may still have it: that is what to mend.
      failures.find((error) => error instanceof RemoteError && error.code !== 'E_REGISTRY_NOT_FOUND') ??
      failures.at(-1) ??
      new RemoteError(`blob ${descriptor.digest} is not in the store, and nobody is known to have it`, {
        code: 'E_REGISTRY_NOT_FOUND',
        hint: 'build with --pull, or --no-cache',
      })
    );
  }

  async #fromLayout(descriptor: Descriptor, directory: string, { signal }: FetchContext): Promise<void> {
    const { fetchLayoutBlob } = await import('../transport/oci-layout/read.ts');
    await fetchLayoutBlob(directory, descriptor, this.#blobs, { signal });
  }

  async #fromRegistry(
    descriptor: Descriptor,
    source: string,
    { signal, emit, onFile }: FetchContext,
  ): Promise<void> {
    const reference = repositoryReference(source);
    const client = await this.#registries.clientFor(reference);
    await client.fetchBlob(reference, descriptor, this.#blobs, {
      signal,
      onFile,
      onProgress: ({ digest, doneBytes, totalBytes, state }) =>
        emit({
          kind: 'progress',
          id: `download ${digest}`,
          activity: 'download',
          subject: digest,
          doneBytes,
          totalBytes,
          state: state === 'exists' ? 'exists' : state === 'done' ? 'done' : 'running',
        }),
    });
  }
}

function isLayout(source: string): boolean {
  return source.startsWith(LAYOUT_PREFIX);
}
