/** What volumes ask of whoever keeps them. Implemented by the engine; `index.ts` registers the default engine's. */
import type {
  CreateObjectOptions,
  DeleteObjectOptions,
  ListObjectsOptions,
  StoredObject,
} from '../../base/stored-objects.ts';
import { InternalError } from '../../errors.ts';
import type { Volume } from './volume.ts';

interface Cancellable {
  /** Ends the work; what was called rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Local paths are absolute. Paths in a volume are checked: {DefinitionError} `E_VOLUME_PATH`. */
export interface VolumeStore {
  /** @throws {UsageError} `E_VOLUME_EXISTS` */
  create(name: string, options?: CreateObjectOptions): Promise<void>;
  /** Newest first. */
  list(options?: ListObjectsOptions): Promise<readonly StoredObject[]>;
  /** With all that is in it. @throws {DefinitionError} `E_OBJECT_NOT_FOUND` @throws {UsageError} `E_VOLUME_IN_USE` */
  delete(name: string, options?: DeleteObjectOptions): Promise<void>;
  /** The directory, which need not be there yet. */
  pathOf(volume: Volume): string;
  /** @param path - With a slash at its end a directory that gets the file. @defaultValue the name of `localPath` */
  put(volume: Volume, localPath: string, path: string | undefined, options?: Cancellable): Promise<void>;
  get(volume: Volume, path: string, localPath: string, options?: Cancellable): Promise<void>;
  listFiles(volume: Volume, path: string, options?: Cancellable): Promise<readonly string[]>;
  remove(volume: Volume, path: string, options?: Cancellable): Promise<void>;
  /** Removes one without a name. */
  discard(volume: Volume): Promise<void>;
}

export interface VolumeStoreProvider {
  readonly store: () => Promise<VolumeStore>;
  /** As {@link VolumeStore.pathOf}, without opening anything. */
  readonly pathOf: (volume: Volume) => string;
}

let provider: VolumeStoreProvider | undefined;

/** Says where volumes are kept. The functions are called for every operation. */
export function provideVolumeStore(find: VolumeStoreProvider): void {
  provider = find;
}

export function volumeStore(): VolumeStoreProvider {
  if (provider === undefined) {
    throw new InternalError('no store was registered for volumes');
  }
  return provider;
}
