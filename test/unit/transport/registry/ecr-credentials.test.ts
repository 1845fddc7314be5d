import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { RemoteError } from '../../../../src/errors.ts';
import { type EcrOptions, ecrCredentials } from '../../../../src/transport/registry/ecr-credentials.ts';
import { type AwsAccount, type AwsServer, startAwsServer } from '../../../support/aws-server.ts';

const HOST = '000000000000.dkr.ecr.us-east-1.amazonaws.com';
const ACCOUNT: AwsAccount = {
  region: 'us-east-1',
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: 'planted/secret+key',
  password: 'a-token:with:colons',
  role: {
    arn: 'arn:aws:iam::000000000000:role/pull',
    webIdentityToken: 'the.identity.token',
    accessKeyId: 'ASIAEXAMPLE',
    secretAccessKey: 'of-the-role',
    sessionToken: 'of-the-session',
  },
};
const KEYS = { AWS_ACCESS_KEY_ID: ACCOUNT.accessKeyId, AWS_SECRET_ACCESS_KEY: ACCOUNT.secretAccessKey };
const LOGIN = { username: 'AWS', password: ACCOUNT.password };

let aws: AwsServer;
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tsbuild-ecr-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function start(account: Partial<AwsAccount> = {}): Promise<void> {
  aws = await startAwsServer({ ...ACCOUNT, ...account });
  onTestFinished(() => aws[Symbol.asyncDispose]());
}

const source = (values: Record<string, string>, options: Partial<EcrOptions> = {}) =>
  ecrCredentials({
    host: HOST,
    values,
    environment: { AWS_ENDPOINT_URL_ECR: aws?.origin, AWS_ENDPOINT_URL_STS: aws?.origin },
    ...options,
  });
const refusal = (work: () => unknown) =>
  Promise.resolve()
    .then(work)
    .then(
      () => undefined,
      (error: unknown) => error,
    );

describe('keys', () => {
  test('a signed request gives the login of the registry, for its host only', async () => {
    await start();
    const credentials = source(KEYS);
    expect(await credentials.lookup(HOST, 'tools')).toEqual(LOGIN);
    expect(await credentials.lookup('other.example', 'tools')).toBeUndefined();
    expect(aws.calls).toEqual(['GetAuthorizationToken']);
  });

  test('the token is asked for once while it lasts', async () => {
    await start({ lifeMs: 3_600_000 });
    let now = Date.now();
    const credentials = source(KEYS, { now: () => now });
    await Promise.all([credentials.lookup(HOST, 'a'), credentials.lookup(HOST, 'b')]);
    now += 30 * 60_000;
    await credentials.lookup(HOST, 'c');
    expect(aws.calls).toHaveLength(1);
    now += 20 * 60_000;
    await credentials.lookup(HOST, 'd');
    expect(aws.calls).toHaveLength(2);
  });

  test.each([
    ['a key that AWS does not know', { AWS_ACCESS_KEY_ID: 'AKIDOTHER' }, 'no such key'],
    ['a key that is not the secret one', { AWS_SECRET_ACCESS_KEY: 'planted-other' }, 'the signature is not'],
  ])('%s is refused, without its value in the error', async (_, wrong, reason) => {
    await start();
    const error = await refusal(() => source({ ...KEYS, ...wrong }).lookup(HOST, 'tools'));
    expect(error).toBeInstanceOf(RemoteError);
    expect(error).toMatchObject({ code: 'E_AUTH', status: 400, message: expect.stringContaining(reason) });
    expect(JSON.stringify([error, String((error as Error).stack)])).not.toContain('planted');
    // A mistake is not remembered.
    expect(aws.calls[0]).toContain('refused');
  });

  test.each([
    ['000000000000.dkr.ecr.eu-west-3.amazonaws.com', {}, 'eu-west-3'],
    ['000000000000.dkr.ecr-fips.us-gov-east-1.amazonaws.com', {}, 'us-gov-east-1'],
    ['000000000000.dkr.ecr.cn-north-1.amazonaws.com.cn', {}, 'cn-north-1'],
    ['000000000000.dkr-ecr.us-east-2.on.aws', {}, 'us-east-2'],
    ['000000000000.dkr.ecr.eu-west-3.amazonaws.com', { AWS_REGION: 'us-east-1' }, 'eu-west-3'],
    ['registry.example:5000', { AWS_REGION: 'ap-south-1' }, 'ap-south-1'],
  ])('the region of %s with %j is %s', async (host, more, region) => {
    await start({ region });
    expect(await source({ ...KEYS, ...more }, { host }).lookup(host, 'tools')).toEqual(LOGIN);
  });

  test.each<[string, Record<string, string>, string]>([
    [HOST, {}, 'AWS_ACCESS_KEY_ID'],
    [HOST, { AWS_ACCESS_KEY_ID: 'a' }, 'AWS_SECRET_ACCESS_KEY'],
    ['registry.example', KEYS, 'AWS_REGION'],
    ['dkr.ecr.us-east-1.amazonaws.com.evil.example', KEYS, 'AWS_REGION'],
    [HOST, { AWS_ROLE_ARN: 'arn' }, 'AWS_WEB_IDENTITY_TOKEN_FILE'],
  ])('%s with %j lacks %s', async (host, values, name) => {
    const error = await refusal(() => source(values, { host, environment: {} }));
    expect(error).toBeInstanceOf(RemoteError);
    expect(error).toMatchObject({ code: 'E_AUTH', message: expect.stringContaining(name) });
  });

  test('cancelling ends the request', async () => {
    await start();
    const abort = new AbortController();
    const reason = new Error('enough');
    const closed = new Promise<void>((resolve) => {
      aws.server.handle((request) => {
        request.socket.once('close', () => resolve());
        abort.abort(reason);
      });
    });
    await expect(source(KEYS).lookup(HOST, 'tools', abort.signal)).rejects.toBe(reason);
    await closed;
  });
});

test('who gives up does not take the token from others', async () => {
  await start();
  const abort = new AbortController();
  const reason = new Error('enough');
  aws.server.handle(() => {
    aws.server.handle(aws.answer);
    abort.abort(reason);
  });
  const credentials = source(KEYS);
  const first = credentials.lookup(HOST, 'a', abort.signal);
  const second = credentials.lookup(HOST, 'b', new AbortController().signal);
  await expect(first).rejects.toBe(reason);
  expect(await second).toEqual(LOGIN);
});

describe('a web identity', () => {
  const values = { AWS_ROLE_ARN: ACCOUNT.role?.arn ?? '' };
  const environment = () => ({
    AWS_ENDPOINT_URL: aws.origin,
    AWS_WEB_IDENTITY_TOKEN_FILE: join(directory, 'token'),
  });

  test('takes the role by the token of the file, and signs with what that gives', async () => {
    await start();
    await writeFile(join(directory, 'token'), `${ACCOUNT.role?.webIdentityToken}\n`);
    expect(await source(values, { environment: environment() }).lookup(HOST, 'tools')).toEqual(LOGIN);
    expect(aws.calls).toEqual(['AssumeRoleWithWebIdentity', 'GetAuthorizationToken']);
  });

  test('a token that is not right is refused, and is not in the error', async () => {
    await start();
    await writeFile(join(directory, 'token'), 'planted.token');
    const error = await refusal(() => source(values, { environment: environment() }).lookup(HOST, 'tools'));
    expect(error).toMatchObject({ code: 'E_AUTH' });
    expect(JSON.stringify([error, String(error)])).not.toContain('planted');
  });

  test('a file that is not there is said', async () => {
    await start();
    const error = await refusal(() => source(values, { environment: environment() }).lookup(HOST, 'tools'));
    expect(error).toMatchObject({
      code: 'E_AUTH',
      message: expect.stringContaining('AWS_WEB_IDENTITY_TOKEN_FILE'),
    });
  });
});
