/**
 * Credentials for web files and git repositories: secrets of the build with fixed names (reference of the Dockerfile,
 * "Authenticating to remote sources"). Their values are only ever headers.
 */
import { percentDecoded } from '../base/percent-decoded.ts';
import { DefinitionError } from '../errors.ts';

/** The value of a secret of the build by its id; undefined when the build has none of that name. */
export type AuthSecrets = (name: string) => Promise<string | undefined>;

/** RFC 9110, section 5.5: what a field value may hold. */
const NOT_IN_HEADER = /[^\t\u0020-\u007e\u0080-\u00ff]/;

/** The Authorization header for a web file, from the URL or from `HTTP_AUTH_TOKEN_host` and `HTTP_AUTH_HEADER_host`. */
export async function httpAuthorization(url: URL, secrets: AuthSecrets): Promise<string | undefined> {
  const host = url.hostname;
  const token = await headerValue(secrets, `HTTP_AUTH_TOKEN_${host}`);
  if (token !== undefined) {
    return `Bearer ${token}`;
  }
  const header = await headerValue(secrets, `HTTP_AUTH_HEADER_${host}`);
  if (header !== undefined) {
    return header;
  }
  return url.username === '' && url.password === ''
    ? undefined
    : basic(percentDecoded(url.username), percentDecoded(url.password));
}

/**
 * The same for a git repository: `GIT_AUTH_HEADER.host`, `GIT_AUTH_TOKEN.host`, `GIT_AUTH_HEADER`, `GIT_AUTH_TOKEN`, and
 * then what the URL holds.
 */
export async function gitAuthorization(
  host: string,
  credentials: { readonly username: string; readonly password: string } | undefined,
  secrets: AuthSecrets,
): Promise<string | undefined> {
  for (const suffix of [`.${host}`, '']) {
    const header = await headerValue(secrets, `GIT_AUTH_HEADER${suffix}`);
    if (header !== undefined) {
      return header;
    }
    const token = await headerValue(secrets, `GIT_AUTH_TOKEN${suffix}`);
    if (token !== undefined) {
      // The name that GitHub, and after it others, take for "a token follows".
      return basic('x-access-token', token);
    }
  }
  return credentials === undefined ? undefined : basic(credentials.username, credentials.password);
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

async function headerValue(secrets: AuthSecrets, name: string): Promise<string | undefined> {
  // Editors and shells end files with a line feed.
  const value = (await secrets(name))?.replace(/[\r\n]+$/, '');
  if (value !== undefined && NOT_IN_HEADER.test(value)) {
    // The value is not in the message: it is the secret.
    throw new DefinitionError(
      `the secret '${name}' cannot be a header: it holds a line end or other controls`,
      {
        code: 'E_SECRET_VALUE',
      },
    );
  }
  return value === '' ? undefined : value;
}
