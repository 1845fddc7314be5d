/** Brings missing blobs from where they are known to be: registries, or OCI layouts on this machine. */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import type { BlobStore } from '../content/blob-store.ts';
import { RemoteError } from '../errors.ts';
import type { BlobFetcher, LayerContext } from '../layer/layer-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { encodedPart } from '../oci/digest.ts';
import { type Registries, repositoryReference } from './registries.ts';

const LAYOUT_PREFIX = 'oci-layout:';

/** How a layer record names a layout directory as a source of its blob. */
export function layoutSource(directory: string): string {
  return `${LAYOUT_PREFIX}${directory}`;
}

export class BlobSources implements BlobFetcher {
  readonly #blobs: BlobStore;
  readonly #registries: Registries;

  constructor(blobs: BlobStore, registries: Registries) {
    this.#blobs = blobs;
    this.#registries = registries;
  }

  async fetch(descriptor: Descriptor, sources: readonly string[], context: LayerContext): Promise<void> {
    let failure: unknown;
    // A layout of this machine is nearer than any registry.
    const nearestFirst = sources.toSorted((a, b) => Number(isRemote(a)) - Number(isRemote(b)));
    for (const source of nearestFirst) {
      try {
        if (isRemote(source)) {
          await this.#fromRegistry(descriptor, source, context);
        } else {
          await this.#fromLayout(descriptor, source.slice(LAYOUT_PREFIX.length));
        }
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

  async #fromLayout(descriptor: Descriptor, directory: string): Promise<void> {
    const path = join(directory, 'blobs', 'sha256', encodedPart(descriptor.digest));
    const { digest, size } = descriptor;
    const writer = await this.#blobs.openWrite({ expected: { digest, size } });
    try {
      for await (const chunk of createReadStream(path, { start: writer.offset, highWaterMark: 1 << 20 })) {
        await writer.write(chunk as Buffer);
      }
      await writer.commit();
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }
}

function isRemote(source: string): boolean {
  return !source.startsWith(LAYOUT_PREFIX);
}
