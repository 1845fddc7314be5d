/** Logins of registries: tried, remembered and forgotten. Needs no store. */
import { UsageError } from '../errors.ts';
import { canonicalHost, parseReference } from '../oci/reference.ts';

export interface RegistryLogin {
  readonly username: string;
  readonly password: string;
}

export interface LoginOptions {
  readonly environment: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
}

/**
 * Asks the registry whether the login is good.
 * @throws {RemoteError} `E_AUTH`
 * @throws {UsageError} `E_USAGE` when `server` is no host.
 */
export async function checkLogin(server: string, login: RegistryLogin, options: LoginOptions): Promise<void> {
  const host = serverHost(server);
  const [{ RegistryClient }, { fixedCredentials }] = await Promise.all([
    import('../transport/registry/client.ts'),
    import('../transport/registry/credentials.ts'),
  ]);
  const client = new RegistryClient({
    credentials: fixedCredentials(host, login),
    environment: options.environment,
  });
  try {
    await client.login(host, options.signal === undefined ? {} : { signal: options.signal });
  } finally {
    await client.close();
  }
}

/** @returns Where it is kept now: the path of a file or the name of a helper. */
export async function saveLogin(
  server: string,
  login: RegistryLogin,
  environment: NodeJS.ProcessEnv,
): Promise<string> {
  const { AuthFiles } = await import('../transport/registry/auth-files.ts');
  return await new AuthFiles({ environment }).save(serverHost(server), login);
}

/** @returns Whether there was one. */
export async function eraseLogin(server: string, environment: NodeJS.ProcessEnv): Promise<boolean> {
  const { AuthFiles } = await import('../transport/registry/auth-files.ts');
  return await new AuthFiles({ environment }).remove(serverHost(server));
}

/** `registry.example:5000`, also out of the URLs that people paste, such as `https://index.docker.io/v1/`. */
export function serverHost(server: string): string {
  const text = server.replace(/^https?:\/\//, '').replace(/\/(v[12]\/?)?$/, '');
  const host = canonicalHost(text);
  let parsed: string | undefined;
  try {
    parsed = parseReference(`${text}/x`).host;
  } catch {
    // Said below, in terms of hosts.
  }
  if (parsed !== host || text.includes('/')) {
    throw new UsageError(`'${server}' is not the host of a registry`, {
      code: 'E_USAGE',
      hint: 'name the host and its port, such as registry.example:5000',
    });
  }
  return host;
}
