/**
 * The secrets of a store: `secrets/ENVIRONMENT/NAME.json`, mode 0600, in directories of mode 0700. A file is there as a whole or
 * not at all. Under a key the values are sealed; names of secrets and times are not. docs/reference/store.md has the format.
 */
import { randomUUID } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { isObjectName } from '../base/object-name.ts';
import {
  type CreateObjectOptions,
  type DeleteObjectOptions,
  type ListObjectsOptions,
  listed,
  type StoredObject,
} from '../base/stored-objects.ts';
import { DefinitionError, HostError, IntegrityError, UsageError } from '../errors.ts';
import { lockFile } from '../native/call-native.ts';
import type { SecretStore } from '../secret/secret-store.ts';
import { readPrivateFile } from './private-file.ts';
import { type Seal, seal, unseal } from './secret-seal.ts';

export interface SecretFilesOptions {
  readonly storeDir: string;
  /** Of names that say none. */
  readonly environment: string;
  /** What values are sealed with: words, or the path of a file that holds them. Absent: they are not sealed. */
  readonly key?: { readonly words: string } | { readonly file: string };
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

type Values = Readonly<Record<string, string>>;

/** One of `values` and `sealed`. */
interface Stored {
  readonly version: number;
  readonly createdAt: string;
  readonly values?: Values;
  readonly sealed?: Seal;
}

const VERSION = 1;
const SUFFIX = '.json';

export class SecretFiles implements SecretStore {
  readonly #options: SecretFilesOptions;

  constructor(options: SecretFilesOptions) {
    this.#options = options;
  }

  async create(
    name: string,
    values: Values,
    { environment = this.#options.environment, allowExisting = false }: CreateObjectOptions = {},
  ): Promise<void> {
    const createdAt = new Date(this.#options.now()).toISOString();
    const written = this.#write(
      environment,
      name,
      await this.#document(environment, name, createdAt, values),
    );
    try {
      // Fails where there is one, which no look beforehand could promise.
      linkSync(written, this.#path(environment, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw error;
      }
      if (!allowExisting) {
        throw new UsageError(`there is a secret '${name}' already`, {
          code: 'E_SECRET_EXISTS',
          hint: 'choose another name, delete it with `tsbuild secret delete`, or change it with Secret.update()',
        });
      }
    } finally {
      rmSync(written, { force: true });
    }
  }

  async update(
    name: string,
    values: Values,
    { environment = this.#options.environment }: { readonly environment?: string } = {},
  ): Promise<void> {
    const lock = await lockFile(
      join(this.#options.storeDir, 'locks', `secret@${environment}@${name}`),
      false,
      new AbortController().signal,
    );
    try {
      const stored = this.#find(environment, name);
      const merged = { ...(await this.#valuesOf(environment, name, stored)), ...values };
      const document = await this.#document(environment, name, stored.createdAt, merged);
      renameSync(this.#write(environment, name, document), this.#path(environment, name));
    } finally {
      lock.release();
    }
  }

  async info(
    name: string,
    { environment = this.#options.environment }: { readonly environment?: string } = {},
  ): Promise<StoredObject> {
    return { name, createdAt: new Date(this.#find(environment, name).createdAt) };
  }

  async list(options: ListObjectsOptions = {}): Promise<readonly StoredObject[]> {
    const { environment = this.#options.environment } = options;
    const objects = namesIn(this.#dir(environment)).flatMap((name) => {
      const stored = this.#read(environment, name);
      return stored === undefined ? [] : [{ name, createdAt: new Date(stored.createdAt) }];
    });
    return listed(objects, options);
  }

  async delete(
    name: string,
    { environment = this.#options.environment, allowMissing = false }: DeleteObjectOptions = {},
  ): Promise<void> {
    try {
      rmSync(this.#path(environment, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        throw error;
      }
      if (!allowMissing) {
        throw new DefinitionError(`there is no secret '${name}'`, {
          code: 'E_OBJECT_NOT_FOUND',
          hint: '`tsbuild secret list` shows what there is',
        });
      }
    }
  }

  /** @throws {DefinitionError} `E_SECRET_NOT_FOUND` @throws {HostError} `E_SECRET_STORE_MODE`, `E_SECRET_STORE_KEY` */
  async values(name: string, environment = this.#options.environment): Promise<Values> {
    return await this.#valuesOf(environment, name, this.#find(environment, name));
  }

  #find(environment: string, name: string): Stored {
    const stored = this.#read(environment, name);
    if (stored === undefined) {
      throw new DefinitionError(`there is no secret '${name}' in the environment '${environment}'`, {
        code: 'E_SECRET_NOT_FOUND',
        hint: `make it with \`tsbuild secret create ${name} -\``,
      });
    }
    return stored;
  }

  #read(environment: string, name: string): Stored | undefined {
    const path = this.#path(environment, name);
    const text = readPrivateFile(path, 'the stored secret');
    if (text === undefined) {
      return undefined;
    }
    const stored = parse(text);
    if (stored === undefined) {
      throw new IntegrityError(`the stored secret '${path}' is damaged`, {
        code: 'E_SECRET_STORE_DAMAGED',
        source: path,
        hint: `delete it with \`tsbuild secret delete ${name}\` and make it again`,
      });
    }
    if (stored.version > VERSION) {
      throw new HostError(`the stored secret '${path}' was written by a newer tsbuild`, {
        code: 'E_STORE_VERSION',
        path,
      });
    }
    return stored;
  }

  async #valuesOf(environment: string, name: string, { values, sealed }: Stored): Promise<Values> {
    if (sealed === undefined) {
      return values ?? {};
    }
    const words = this.#words();
    if (words === undefined) {
      throw new HostError(`the secret '${name}' is stored under a key, and none is given`, {
        code: 'E_SECRET_STORE_KEY',
        hint: 'set TSBUILD_SECRETS_KEY, or secretsKeyFile in a configuration file',
      });
    }
    try {
      return (await unseal(sealed, words, { version: VERSION, environment, name })) as Values;
    } catch {
      // What OpenSSL says helps nobody.
      throw new HostError(
        `cannot open the secret '${name}': the key is another one, or the file was changed`,
        {
          code: 'E_SECRET_STORE_KEY',
          path: this.#path(environment, name),
          hint: 'set TSBUILD_SECRETS_KEY to the key that it was stored with',
        },
      );
    }
  }

  async #document(environment: string, name: string, createdAt: string, values: Values): Promise<Stored> {
    const words = this.#words();
    return words === undefined
      ? { version: VERSION, createdAt, values }
      : {
          version: VERSION,
          createdAt,
          sealed: await seal(values, words, { version: VERSION, environment, name }),
        };
  }

  /** A file beside the secret's, complete and on the disk. Its name is no secret's. */
  #write(environment: string, name: string, document: Stored): string {
    const path = `${this.#path(environment, name)}.${randomUUID()}.tmp`;
    const dir = dirname(path);
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    chmodSync(dirname(dir), 0o700);
    chmodSync(dir, 0o700);
    const fd = openSync(path, 'wx', 0o600);
    try {
      const bytes = Buffer.from(`${JSON.stringify(document, null, 2)}\n`, 'utf8');
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(fd, bytes, done);
      }
      fsyncSync(fd);
    } catch (error) {
      rmSync(path, { force: true });
      throw error;
    } finally {
      closeSync(fd);
    }
    return path;
  }

  #words(): string | undefined {
    const { key } = this.#options;
    if (key === undefined || 'words' in key) {
      return key?.words;
    }
    const words = readPrivateFile(key.file, 'the key file')?.replace(/\r?\n$/, '');
    if (words === undefined || words === '') {
      throw new HostError(`there is no key in the key file '${key.file}'`, {
        code: 'E_SECRET_STORE_KEY',
        path: key.file,
        hint: 'make one: `(umask 077; openssl rand -base64 32 > FILE)`',
      });
    }
    return words;
  }

  #dir(environment: string): string {
    return join(this.#options.storeDir, 'secrets', environment);
  }

  #path(environment: string, name: string): string {
    return join(this.#dir(environment), `${name}${SUFFIX}`);
  }
}

function parse(text: string): Stored | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (value === null || typeof value !== 'object') {
    return undefined;
  }
  const { version, createdAt, values, sealed } = value as Partial<Record<keyof Stored, unknown>>;
  const isStored =
    typeof version === 'number' &&
    typeof createdAt === 'string' &&
    Number.isFinite(Date.parse(createdAt)) &&
    (version > VERSION || isValues(values) || isSeal(sealed));
  return isStored ? (value as Stored) : undefined;
}

function isValues(values: unknown): boolean {
  return (
    values !== null &&
    typeof values === 'object' &&
    Object.values(values).every((each) => typeof each === 'string')
  );
}

function isSeal(sealed: unknown): boolean {
  return (
    sealed !== null &&
    typeof sealed === 'object' &&
    ['salt', 'nonce', 'tag', 'data'].every(
      (name) => typeof (sealed as Readonly<Record<string, unknown>>)[name] === 'string',
    )
  );
}

function namesIn(dir: string): readonly string[] {
  try {
    return readdirSync(dir)
      .filter((file) => file.endsWith(SUFFIX))
      .map((file) => file.slice(0, -SUFFIX.length))
      .filter(isObjectName);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return [];
    }
    throw error;
  }
}
