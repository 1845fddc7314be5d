/**
 * Credentials of Amazon's Elastic Container Registry: an authorization token, asked for with a signed request, is the password
 * of a registry for some hours. The signing is the AWS SDK's, which is an optional dependency and loaded here (ADR 2).
 */
import { readFile } from 'node:fs/promises';
import { redactText } from '../../base/redact.ts';
import { SingleFlight } from '../../base/single-flight.ts';
import { HostError, RemoteError, TsbuildError } from '../../errors.ts';
import { HttpClient } from '../../http/http-client.ts';
import type { CredentialSource, Credentials } from './credentials.ts';

export interface EcrOptions {
  /** Of the registry. */
  readonly host: string;
  /** Variables as AWS names them: keys, or a role. */
  readonly values: Readonly<Record<string, string>>;
  /** For the web identity's token, endpoints, proxies and certificates. */
  readonly environment: NodeJS.ProcessEnv;
  /** @defaultValue imports the packages of the SDK */
  readonly loadSdk?: () => Promise<AwsSdk>;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/** The parts of the SDK that are used. */
export interface AwsSdk {
  readonly ecr: typeof import('@aws-sdk/client-ecr');
  /** Asked for only where a role is taken. */
  readonly webIdentity: () => Promise<typeof import('@aws-sdk/credential-provider-web-identity')>;
}

interface Token {
  readonly credentials: Credentials;
  readonly expiresMs: number;
}

/** `<account>.dkr.ecr[-fips].<region>.amazonaws.com[.cn]`, and the dual-stack names. */
const ECR_HOST =
  /\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.(?:aws|amazonwebservices\.com\.cn))$/;
/** A token is asked for again before it ends: a pull may take long. */
const EXPIRY_MARGIN_MS = 15 * 60 * 1000;
/** What the SDK takes a token without a date for: AWS gives twelve hours. */
const USUAL_LIFE_MS = 12 * 3600 * 1000;
const ANSWER_TIMEOUT_MS = 60_000;
const SESSION_NAME = 'tsbuild';

/**
 * Checks at once that there are keys and a region; asks AWS when a registry is connected to.
 *
 * @throws {RemoteError} `E_AUTH`; from `lookup` also `E_NETWORK`. @throws {HostError} `E_TOOL_MISSING` from `lookup`.
 */
export function ecrCredentials(options: EcrOptions): CredentialSource {
  const { host, values, now = Date.now } = options;
  const region = ECR_HOST.exec(host)?.[1] ?? values.AWS_REGION;
  if (region === undefined || region === '') {
    throw incomplete(host, 'AWS_REGION, which the host name does not tell');
  }
  const keys = keysOf(options);
  const asking = new SingleFlight<'token', Token>();
  let token: Token | undefined;
  return {
    async lookup(wanted, _repository, signal = new AbortController().signal) {
      if (wanted !== host) {
        return undefined;
      }
      if (token === undefined || token.expiresMs - EXPIRY_MARGIN_MS <= now()) {
        token = await asking.run('token', signal, () => askForToken(options, region, keys, signal));
      }
      return token.credentials;
    },
  };
}

type Keys =
  | {
      readonly kind: 'keys';
      readonly accessKeyId: string;
      readonly secretAccessKey: string;
      readonly sessionToken?: string;
    }
  | { readonly kind: 'role'; readonly roleArn: string; readonly tokenFile: string };

function keysOf({ host, values, environment }: EcrOptions): Keys {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_ROLE_ARN } = values;
  if (AWS_ACCESS_KEY_ID && AWS_SECRET_ACCESS_KEY) {
    return {
      kind: 'keys',
      accessKeyId: AWS_ACCESS_KEY_ID,
      secretAccessKey: AWS_SECRET_ACCESS_KEY,
      ...(AWS_SESSION_TOKEN ? { sessionToken: AWS_SESSION_TOKEN } : {}),
    };
  }
  if (!AWS_ROLE_ARN) {
    throw incomplete(host, 'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_ROLE_ARN');
  }
  const tokenFile = environment.AWS_WEB_IDENTITY_TOKEN_FILE;
  if (!tokenFile) {
    throw new RemoteError(
      `cannot take the role for ${host}: AWS_WEB_IDENTITY_TOKEN_FILE is not set in this environment`,
      { code: 'E_AUTH', hint: 'run where a web identity is given, or use access keys' },
    );
  }
  return { kind: 'role', roleArn: AWS_ROLE_ARN, tokenFile };
}

function incomplete(host: string, what: string): RemoteError {
  return new RemoteError(`the secret for ${host} lacks ${what}`, {
    code: 'E_AUTH',
    hint: 'give Image.fromAwsEcr() a Secret with them',
  });
}

async function askForToken(
  options: EcrOptions,
  region: string,
  keys: Keys,
  signal: AbortSignal,
): Promise<Token> {
  const { host, environment, loadSdk = importSdk, now = Date.now } = options;
  const sdk = await loadSdk();
  const http = new HttpClient({ environment, idleTimeoutMs: ANSWER_TIMEOUT_MS });
  try {
    const common = { region, requestHandler: handlerOf(http, signal), maxAttempts: 3 };
    const client = new sdk.ecr.ECRClient({
      ...common,
      ...endpointOf('ECR', environment),
      credentials: await credentialsOf(sdk, keys, { ...common, ...endpointOf('STS', environment) }),
    });
    const { authorizationData } = await client.send(new sdk.ecr.GetAuthorizationTokenCommand({}));
    const { authorizationToken, expiresAt } = authorizationData?.[0] ?? {};
    const login = Buffer.from(authorizationToken ?? '', 'base64').toString('utf8');
    const colon = login.indexOf(':');
    if (colon < 1) {
      throw new RemoteError(`AWS gave no authorization token for ${host}`, { code: 'E_AUTH' });
    }
    return {
      credentials: { username: login.slice(0, colon), password: login.slice(colon + 1) },
      expiresMs: expiresAt?.getTime() ?? now() + USUAL_LIFE_MS,
    };
  } catch (error) {
    signal.throwIfAborted();
    throw explain(error, options);
  } finally {
    await http.close();
  }
}

async function credentialsOf(sdk: AwsSdk, keys: Keys, clientConfig: Record<string, unknown>) {
  if (keys.kind === 'keys') {
    const { accessKeyId, secretAccessKey, sessionToken } = keys;
    return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
  }
  const { fromWebToken } = await sdk.webIdentity();
  // Read each time: whoever gives it changes it before it ends.
  const webIdentityToken = await readFile(keys.tokenFile, 'utf8').catch((cause: Error) => {
    throw new RemoteError(`cannot read AWS_WEB_IDENTITY_TOKEN_FILE: ${cause.message}`, {
      code: 'E_AUTH',
      cause,
    });
  });
  return fromWebToken({
    roleArn: keys.roleArn,
    roleSessionName: SESSION_NAME,
    webIdentityToken: webIdentityToken.trim(),
    clientConfig,
  });
}

/** The SDK reads the variables of the process; an engine may have been given others. */
function endpointOf(service: 'ECR' | 'STS', environment: NodeJS.ProcessEnv): { readonly endpoint?: string } {
  const endpoint = environment[`AWS_ENDPOINT_URL_${service}`] || environment.AWS_ENDPOINT_URL;
  return endpoint ? { endpoint } : {};
}

/** What the SDK hands to whoever sends for it. Source: `HttpRequest` of `@smithy/types`. */
interface SdkRequest {
  readonly method: 'GET' | 'POST';
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** Our client sends, so that proxies and certificates are those of every other request. */
function handlerOf(http: HttpClient, signal: AbortSignal) {
  return {
    metadata: { handlerProtocol: 'http/1.1' },
    async handle(given: unknown) {
      const { method, protocol, hostname, port, path, headers, body } = given as SdkRequest;
      const url = new URL(`${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path}`);
      const response = await http.send({
        method,
        url,
        headers,
        ...(body === undefined ? {} : { body: bytesOf(body) }),
        signal,
      });
      const received = Object.entries(response.headers).map(([name, value]) => [name, String(value)]);
      return {
        response: {
          statusCode: response.status,
          headers: Object.fromEntries(received) as Record<string, string>,
          body: response.body,
        },
      };
    },
  };
}

/** Not by way of the methods of strings, which the SDK's bodies have too and warn about. */
function bytesOf(body: string | Uint8Array): Buffer {
  return body instanceof Uint8Array
    ? Buffer.from(body.buffer, body.byteOffset, body.byteLength)
    : Buffer.from(body);
}

/** @throws {HostError} `E_TOOL_MISSING` */
async function importSdk(): Promise<AwsSdk> {
  return {
    ecr: await import('@aws-sdk/client-ecr').catch(sdkMissing),
    webIdentity: () => import('@aws-sdk/credential-provider-web-identity').catch(sdkMissing),
  };
}

function sdkMissing(cause: unknown): never {
  throw new HostError('images of Amazon ECR need packages of the AWS SDK, which are not installed', {
    code: 'E_TOOL_MISSING',
    cause,
    hint: 'npm install @aws-sdk/client-ecr @aws-sdk/credential-provider-web-identity',
  });
}

function explain(error: unknown, { host, values }: EcrOptions): unknown {
  if (error instanceof TsbuildError) {
    return error;
  }
  const { name, message, $metadata } = error as Error & {
    readonly $metadata?: { readonly httpStatusCode?: number };
  };
  let text = `${name}: ${message}`;
  for (const value of Object.values(values)) {
    text = value === '' ? text : text.replaceAll(value, '***');
  }
  const status = $metadata?.httpStatusCode;
  const refused = status !== undefined && status >= 400 && status < 500;
  // The SDK's own error holds the request, and with it what signs it.
  return new RemoteError(`cannot get a token for ${host} from AWS: ${redactText(text, 500)}`, {
    code: refused ? 'E_AUTH' : 'E_NETWORK',
    ...(status === undefined ? {} : { status }),
  });
}
