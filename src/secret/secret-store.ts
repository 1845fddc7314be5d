/** Where secrets with a name are kept. Implemented by the engine; `index.ts` registers the default engine's. */
import type {
  CreateObjectOptions,
  DeleteObjectOptions,
  ListObjectsOptions,
  StoredObject,
} from '../base/stored-objects.ts';
import { InternalError } from '../errors.ts';

type Values = Readonly<Record<string, string>>;
interface OfEnvironment {
  readonly environment?: string;
}

/** Names and values are checked before they come here. */
export interface SecretStore {
  /** @throws {UsageError} `E_SECRET_EXISTS` */
  create(name: string, values: Values, options?: CreateObjectOptions): Promise<void>;
  /** Adds and replaces variables; others stay. @throws {DefinitionError} `E_SECRET_NOT_FOUND` */
  update(name: string, values: Values, options?: OfEnvironment): Promise<void>;
  /** @throws {DefinitionError} `E_SECRET_NOT_FOUND` */
  info(name: string, options?: OfEnvironment): Promise<StoredObject>;
  /** Newest first. */
  list(options?: ListObjectsOptions): Promise<readonly StoredObject[]>;
  /** @throws {DefinitionError} `E_OBJECT_NOT_FOUND` */
  delete(name: string, options?: DeleteObjectOptions): Promise<void>;
}

let provider: (() => Promise<SecretStore>) | undefined;

/** Says where secrets are kept. The function is called for every operation. */
export function provideSecretStore(find: () => Promise<SecretStore>): void {
  provider = find;
}

export async function secretStore(): Promise<SecretStore> {
  if (provider === undefined) {
    throw new InternalError('no store was registered for secrets');
  }
  return await provider();
}
