/** The registry clients of an engine: one with the user's credentials, and one for each login that an image brings. */
import type { RegistryLogin } from '../frontend/fluent/layer-definition.ts';
import { formatReference, parseReference, type Reference } from '../oci/reference.ts';
import type { SecretSources } from '../secret/secret.ts';
import type { RegistryClient } from '../transport/registry/client.ts';
import type { Mirror } from '../transport/registry/mirrors.ts';

export interface RegistriesOptions {
  readonly mirrors: readonly Mirror[];
  readonly offline: boolean;
  readonly environment: NodeJS.ProcessEnv;
  readonly secretSources: SecretSources;
  readonly onWarning: (text: string) => void;
}

export class Registries {
  readonly #options: RegistriesOptions;
  #usual: Promise<RegistryClient> | undefined;
  readonly #byLogin = new Map<string, Promise<RegistryClient>>();
  /** `host/repository` → the login that it was pulled with. */
  readonly #logins = new Map<string, RegistryLogin>();

  constructor(options: RegistriesOptions) {
    this.#options = options;
  }

  /**
   * The client that pulls from or pushes to a repository; a login given once for a repository is used for it from then on.
   *
   * @throws {RemoteError} `E_AUTH` when the login's secret lacks something.
   */
  async clientFor(reference: Reference, login?: RegistryLogin): Promise<RegistryClient> {
    const repository = repositoryOf(reference);
    if (login !== undefined) {
      this.#logins.set(repository, login);
    }
    const known = this.#logins.get(repository);
    if (known === undefined) {
      this.#usual ??= this.#open();
      return await this.#usual;
    }
    // Credentials are for one host.
    const key = `${reference.host} ${known.type} ${known.secret?.id ?? ''}`;
    let client = this.#byLogin.get(key);
    if (client === undefined) {
      client = this.#open(known, reference.host);
      this.#byLogin.set(key, client);
      client.catch(() => this.#byLogin.delete(key));
    }
    return await client;
  }

  async close(): Promise<void> {
    const clients = [...(this.#usual === undefined ? [] : [this.#usual]), ...this.#byLogin.values()];
    await Promise.allSettled(clients.map(async (client) => (await client).close()));
  }

  async #open(login?: RegistryLogin, host = ''): Promise<RegistryClient> {
    const { mirrors, offline, environment, secretSources, onWarning } = this.#options;
    const [{ RegistryClient }, { AuthFiles }, { credentialsFor }] = await Promise.all([
      import('../transport/registry/client.ts'),
      import('../transport/registry/auth-files.ts'),
      import('./registry-logins.ts'),
    ]);
    const credentials =
      login === undefined
        ? new AuthFiles({ environment, onWarning })
        : await credentialsFor(host, login, { environment, secretSources });
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
