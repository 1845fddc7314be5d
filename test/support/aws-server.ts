/**
 * The two services of AWS that a pull needs, as strict as they are: a request for an authorization token must be signed
 * (Signature Version 4, computed here by its own description), a web identity's token must be the one that was given.
 */
import { createHash, createHmac } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { startWebServer, type WebServer } from './web-server.ts';

export interface AwsAccount {
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** What the registry takes as a password of `AWS`. */
  readonly password: string;
  readonly role?: {
    readonly arn: string;
    readonly webIdentityToken: string;
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken: string;
  };
  /** Of tokens, from now. @defaultValue 12 hours */
  readonly lifeMs?: number;
}

export interface AwsServer extends AsyncDisposable {
  readonly origin: string;
  /** `GetAuthorizationToken`, `AssumeRoleWithWebIdentity`, `refused: REASON`. */
  readonly calls: readonly string[];
  readonly server: WebServer;
  /** For a server that was told to behave otherwise. */
  readonly answer: (request: IncomingMessage, response: ServerResponse) => void;
}

const TARGET = 'AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken';

export async function startAwsServer(account: AwsAccount): Promise<AwsServer> {
  const server = await startWebServer();
  const calls: string[] = [];
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      const isEcr = request.headers['x-amz-target'] !== undefined;
      const reason = isEcr ? ecr(account, request, body, response) : sts(account, body, response);
      calls.push(reason ?? (isEcr ? 'GetAuthorizationToken' : 'AssumeRoleWithWebIdentity'));
    });
  };
  server.handle(answer);
  return {
    origin: server.origin,
    calls,
    server,
    answer,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Why it was refused, or undefined. */
function ecr(account: AwsAccount, request: IncomingMessage, body: Buffer, response: ServerResponse) {
  const reason =
    request.headers['x-amz-target'] === TARGET ? signatureProblem(account, request, body) : 'unknown target';
  const type = { 'content-type': 'application/x-amz-json-1.1' };
  if (reason !== undefined) {
    response
      .writeHead(400, type)
      .end(JSON.stringify({ __type: 'UnrecognizedClientException', message: reason }));
    return `refused: ${reason}`;
  }
  const token = Buffer.from(`AWS:${account.password}`).toString('base64');
  const expiresAt = (Date.now() + (account.lifeMs ?? 12 * 3_600_000)) / 1000;
  response.writeHead(200, type).end(
    JSON.stringify({
      authorizationData: [{ authorizationToken: token, expiresAt, proxyEndpoint: 'https://x' }],
    }),
  );
  return undefined;
}

function sts(account: AwsAccount, body: Buffer, response: ServerResponse) {
  const form = new URLSearchParams(body.toString('utf8'));
  const { role } = account;
  const type = { 'content-type': 'text/xml' };
  if (
    role === undefined ||
    form.get('Action') !== 'AssumeRoleWithWebIdentity' ||
    form.get('RoleArn') !== role.arn ||
    form.get('WebIdentityToken') !== role.webIdentityToken
  ) {
    response
      .writeHead(400, type)
      .end(
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>' +
          '<Code>InvalidIdentityToken</Code><Message>not this token</Message></Error></ErrorResponse>',
      );
    return 'refused: not this token';
  }
  response
    .writeHead(200, type)
    .end(
      '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>' +
        `<Credentials><AccessKeyId>${role.accessKeyId}</AccessKeyId><SecretAccessKey>${role.secretAccessKey}</SecretAccessKey>` +
        `<SessionToken>${role.sessionToken}</SessionToken><Expiration>${new Date(Date.now() + 3_600_000).toISOString()}</Expiration>` +
        '</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>',
    );
  return undefined;
}

/** Source: "Create a signed AWS API request" of the AWS General Reference, whose steps and names these are. */
function signatureProblem(account: AwsAccount, request: IncomingMessage, body: Buffer): string | undefined {
  const header = (name: string) => String(request.headers[name] ?? '');
  const form = /^AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;
  const [, credential = '', signedHeaders = '', signature] = form.exec(header('authorization')) ?? [];
  const [accessKeyId, date = '', region = '', service = '', ending] = credential.split('/');
  if (ending !== 'aws4_request' || service !== 'ecr') {
    return 'no signature for this service';
  }
  if (region !== account.region) {
    return `signed for the region ${region}`;
  }
  const { role } = account;
  const keys =
    accessKeyId === account.accessKeyId
      ? { secret: account.secretAccessKey, session: undefined }
      : accessKeyId === role?.accessKeyId
        ? { secret: role?.secretAccessKey ?? '', session: role?.sessionToken }
        : undefined;
  if (keys === undefined) {
    return 'no such key';
  }
  const names = signedHeaders.split(';');
  if (!names.includes('host') || !names.includes('x-amz-date') || !names.includes('x-amz-target')) {
    return 'headers that must be signed are not';
  }
  if (
    keys.session !== undefined &&
    (header('x-amz-security-token') !== keys.session || !names.includes('x-amz-security-token'))
  ) {
    return 'the session token is wrong or not signed';
  }
  const hex = (data: string | Buffer) => createHash('sha256').update(data).digest('hex');
  const hmac = (key: string | Buffer, data: string) => createHmac('sha256', key).update(data).digest();
  const [path = '/', query = ''] = (request.url ?? '').split('?');
  const canonicalRequest = [
    request.method,
    path,
    query,
    ...names.map((name) => `${name}:${header(name).trim().replace(/ +/g, ' ')}`),
    '',
    signedHeaders,
    hex(body),
  ].join('\n');
  const amzDate = header('x-amz-date');
  if (!amzDate.startsWith(date) || Math.abs(Date.now() - parseAmzDate(amzDate)) > 300_000) {
    return 'the time is not now';
  }
  const scope = `${date}/${region}/${service}/aws4_request`;
  const stringToSign = ['AWS4-HMAC-SHA256', amzDate, scope, hex(canonicalRequest)].join('\n');
  const signingKey = [date, region, service, 'aws4_request'].reduce<string | Buffer>(
    hmac,
    `AWS4${keys.secret}`,
  );
  return hmac(signingKey, stringToSign).toString('hex') === signature
    ? undefined
    : 'the signature is not that of the request';
}

function parseAmzDate(text: string): number {
  return Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
}
