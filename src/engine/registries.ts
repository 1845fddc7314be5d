/** The registry clients of an engine: one with the user's credentials, and one for each secret that an image brings. */
import { RemoteError } from '../errors.ts';
import { formatReference, parseReference, type Reference } from '../oci/reference.ts';
import { type Secret, secretValues } from '../secret/secret.ts';
import type { RegistryClient } from '../transport/registry/client.ts';
import type { Mirror } from '../transport/registry/mirrors.ts';

export interface RegistriesOptions {
  readonly mirrors: readonly Mirror[];
  readonly offline: boolean;
  readonly environment: NodeJS.ProcessEnv;
  readonly onWarning: (text: string) => void;
}

export class Registries {
  readonly #options: RegistriesOptions;
  #usual: Promise<RegistryClient> | undefined;
  readonly #bySecret = new Map<Secret, Promise<RegistryClient>>();
  /** `host/repository` → the secret that it was pulled with. */
  readonly #secrets = new Map<string, Secret>();

  constructor(options: RegistriesOptions) {
    this.#options = options;
  }

  /** The client that pulls from or pushes to a repository; a secret given once for a repository is used for it from then on. */
  async clientFor(reference: Reference, secret?: Secret): Promise<RegistryClient> {
    const repository = repositoryOf(reference);
    if (secret !== undefined) {
      this.#secrets.set(repository, secret);
    }
    const known = this.#secrets.get(repository);
    if (known === undefined) {
      this.#usual ??= this.#open();
      return await this.#usual;
    }
    let client = this.#bySecret.get(known);
    if (client === undefined) {
      client = this.#open(known, reference.host);
      this.#bySecret.set(known, client);
    }
    return await client;
  }

  async close(): Promise<void> {
    const clients = [...(this.#usual === undefined ? [] : [this.#usual]), ...this.#bySecret.values()];
    await Promise.all(clients.map(async (client) => (await client).close()));
  }

  async #open(secret?: Secret, host = ''): Promise<RegistryClient> {
    const { mirrors, offline, environment, onWarning } = this.#options;
    const [{ RegistryClient }, { AuthFiles }, { fixedCredentials }] = await Promise.all([
      import('../transport/registry/client.ts'),
      import('../transport/registry/auth-files.ts'),
      import('../transport/registry/credentials.ts'),
    ]);
    const credentials =
      secret === undefined
        ? new AuthFiles({ environment, onWarning })
        : fixedCredentials(host, loginOf(secret, environment));
    return new RegistryClient({ credentials, mirrors, offline, environment, onWarning });
  }
}

export function repositoryOf(reference: Reference): string {
  return `${reference.host}/${reference.repository}`;
}

export function repositoryOfText(text: string): string {
  return repositoryOf(parseReference(text));
}

/** A reference that stands for a repository that blobs come from. */
export function repositoryReference(repository: string): Reference {
  return parseReference(formatReference(parseReference(`${repository}:latest`)));
}

function loginOf(secret: Secret, environment: NodeJS.ProcessEnv): { username: string; password: string } {
  const { REGISTRY_USERNAME: username, REGISTRY_PASSWORD: password } = secretValues(secret, environment);
  if (username === undefined || password === undefined) {
    throw new RemoteError('the registry secret lacks REGISTRY_USERNAME or REGISTRY_PASSWORD', {
      code: 'E_AUTH',
      hint: 'give a Secret with both variables',
    });
  }
  return { username, password };
}
