/** Brings missing blobs from the registries that are known to have them. */
import type { BlobStore } from '../content/blob-store.ts';
import { RemoteError } from '../errors.ts';
import type { BlobFetcher, LayerContext } from '../layer/layer-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Registries, repositoryReference } from './registries.ts';

export class BlobSources implements BlobFetcher {
  readonly #blobs: BlobStore;
  readonly #registries: Registries;

  constructor(blobs: BlobStore, registries: Registries) {
    this.#blobs = blobs;
    this.#registries = registries;
  }

  async fetch(descriptor: Descriptor, sources: readonly string[], context: LayerContext): Promise<void> {
    let failure: unknown;
    for (const source of sources) {
      try {
        await this.#fromRegistry(descriptor, source, context);
        return;
      } catch (error) {
        context.signal.throwIfAborted();
        failure = error;
      }
    }
    throw (
      failure ??
      new RemoteError(`blob ${descriptor.digest} is not in the store, and nobody is known to have it`, {
        code: 'E_REGISTRY_NOT_FOUND',
        hint: 'build with --pull, or --no-cache',
      })
    );
  }

  async #fromRegistry(descriptor: Descriptor, source: string, { signal, emit }: LayerContext): Promise<void> {
    const reference = repositoryReference(source);
    const client = await this.#registries.clientFor(reference);
    await client.fetchBlob(reference, descriptor, this.#blobs, {
      signal,
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
