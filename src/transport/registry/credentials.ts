/** What a registry may be told about who we are, and where that is looked up. */

export interface Credentials {
  readonly username?: string;
  readonly password?: string;
  /** An OAuth refresh token, which the token server changes into an access token. */
  readonly identityToken?: string;
  /** Sent to the registry as it is. */
  readonly registryToken?: string;
}

export interface CredentialSource {
  /**
   * The credentials for a repository on `host` (`docker.io` for Docker Hub, with a port where there is one); undefined
   * means anonymous. Never throws because something is not there.
   *
   * @throws {RemoteError} when somebody has to be asked for them and does not give them. @throws `signal.reason`
   */
  lookup(host: string, repository: string, signal?: AbortSignal): Promise<Credentials | undefined>;
}

export const ANONYMOUS: CredentialSource = { lookup: async () => undefined };

/** The first source that has some wins. */
export function firstOf(...sources: readonly CredentialSource[]): CredentialSource {
  return {
    async lookup(host, repository, signal) {
      for (const source of sources) {
        const found = await source.lookup(host, repository, signal);
        if (found !== undefined) {
          return found;
        }
      }
      return undefined;
    },
  };
}

/** Credentials that the caller has, for one host only. */
export function fixedCredentials(host: string, credentials: Credentials): CredentialSource {
  return { lookup: async (wanted) => (wanted === host ? credentials : undefined) };
}
