/** Bases of registries that want a login, and the base for conda's packages. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import { RemoteError, StepError } from '../../src/errors.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import { Secret } from '../../src/secret/secret.ts';
import { type AwsAccount, startAwsServer } from '../support/aws-server.ts';
import { busyboxImage, busyboxPath } from '../support/busybox.ts';
import { TestRegistry } from '../support/registry.ts';
import { lacks } from '../support/requires.ts';
import { installTsbuild, run } from '../support/tsbuild.ts';

const KEY_FILE = JSON.stringify({ type: 'service_account', private_key: 'planted\nkey' });
const ACCOUNT: AwsAccount = {
  region: 'eu-west-3',
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: 'planted-secret-key',
  password: 'token-of-the-registry',
  role: {
    arn: 'arn:aws:iam::000000000000:role/pull',
    webIdentityToken: 'the.identity.token',
    accessKeyId: 'ASIAEXAMPLE',
    secretAccessKey: 'of-the-role',
    sessionToken: 'of-the-session',
  },
};

let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'tsbuild-registry-bases-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));
beforeEach(() => rmSync(join(dir, 'store'), { recursive: true, force: true }));

const open = (env: NodeJS.ProcessEnv = {}, store = 'store') =>
  Engine.open({ storeDir: join(dir, store), env: { PATH: process.env.PATH, HOME: dir, ...env } });
const failure = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

describe.skipIf(lacks('root', 'bwrap', 'busybox'))('registries that want a login', () => {
  let registry: TestRegistry;
  const tag = () => `${registry.host}/team/base:1`;

  beforeAll(async () => {
    registry = await TestRegistry.start();
    await using engine = await open({}, 'push');
    await engine.push(busyboxImage().runCommands('echo here > /here'), tag(), {});
    registry.options = {
      auth: {
        kind: 'basic',
        users: { me: 'planted-password', _json_key: KEY_FILE, AWS: ACCOUNT.password },
      },
    };
  });
  afterAll(() => registry?.close());

  /** Pulls all of it, and says what it has. */
  const here = async (engine: Engine, image: Image) =>
    (await engine.run(image, ['/bin/sh', '-c', 'cat /here'])).stdout;

  test('user and password (C14)', async () => {
    await using engine = await open();
    const secret = Secret.fromDict({ REGISTRY_USERNAME: 'me', REGISTRY_PASSWORD: 'planted-password' });
    for (const wrong of [
      Image.fromRegistry(tag()),
      Image.fromRegistry(tag(), { secret: Secret.fromDict({ REGISTRY_USERNAME: 'me' }) }),
      Image.fromRegistry(tag(), {
        secret: Secret.fromDict({ REGISTRY_USERNAME: 'me', REGISTRY_PASSWORD: 'other' }),
      }),
    ]) {
      const error = await failure(engine.build([wrong]));
      expect(error).toBeInstanceOf(RemoteError);
      expect(error).toMatchObject({ code: 'E_AUTH' });
    }
    expect(await here(engine, Image.fromRegistry(tag(), { secret }))).toBe('here\n');
  });

  test('one secret may be for several hosts', async () => {
    const other = await TestRegistry.start();
    onTestFinished(() => other.close());
    {
      await using engine = await open({}, 'push');
      await engine.push(busyboxImage().runCommands('echo there > /here'), `${other.host}/base:1`, {});
    }
    other.options = { auth: { kind: 'basic', users: { me: 'planted-password' } } };
    const secret = Secret.fromDict({ REGISTRY_USERNAME: 'me', REGISTRY_PASSWORD: 'planted-password' });
    await using engine = await open();
    expect(await here(engine, Image.fromRegistry(tag(), { secret }))).toBe('here\n');
    expect(await here(engine, Image.fromRegistry(`${other.host}/base:1`, { secret }))).toBe('there\n');
  });

  test('the key file of a service account of Google (C24)', async () => {
    await using engine = await open();
    const key = Secret.fromDict({ SERVICE_ACCOUNT_JSON: KEY_FILE });
    for (const [secret, message] of [
      [Secret.fromDict({ GOOGLE_APPLICATION_CREDENTIALS: '/key.json' }), 'SERVICE_ACCOUNT_JSON'],
      [undefined as never, 'no secret'],
    ] as const) {
      const error = await failure(engine.build([Image.fromGcpArtifactRegistry(tag(), { secret })]));
      expect(error).toBeInstanceOf(RemoteError);
      expect(error).toMatchObject({ code: 'E_AUTH', message: expect.stringContaining(message) });
    }
    const image = Image.fromGcpArtifactRegistry(tag(), { secret: key });
    expect(await here(engine, image)).toBe('here\n');
    // What the store has needs nobody's leave.
    await using offline = await Engine.open({
      storeDir: join(dir, 'store'),
      offline: true,
      env: { HOME: dir },
    });
    await offline.build([image, Image.fromGcpArtifactRegistry(tag(), { secret: undefined as never })]);
  });

  test('keys of AWS (C23)', async () => {
    await using aws = await startAwsServer(ACCOUNT);
    const keys = { AWS_ACCESS_KEY_ID: ACCOUNT.accessKeyId, AWS_SECRET_ACCESS_KEY: ACCOUNT.secretAccessKey };
    const region = { AWS_REGION: ACCOUNT.region };
    await using engine = await open({ AWS_ENDPOINT_URL_ECR: aws.origin });
    for (const [secret, message] of [
      [undefined as never, 'no secret'],
      [Secret.fromDict({ ...keys }), 'AWS_REGION'],
      [Secret.fromDict({ ...region }), 'AWS_ACCESS_KEY_ID'],
      [Secret.fromDict({ ...keys, AWS_REGION: 'us-east-1' }), 'signed for the region'],
      [
        Secret.fromDict({ ...keys, ...region, AWS_SECRET_ACCESS_KEY: 'planted-other' }),
        'the signature is not',
      ],
    ] as const) {
      const error = await failure(engine.build([Image.fromAwsEcr(tag(), { secret })]));
      expect(error).toBeInstanceOf(RemoteError);
      expect(error).toMatchObject({ code: 'E_AUTH', message: expect.stringContaining(message) });
      expect(String((error as Error).stack)).not.toContain('planted');
    }
    const image = Image.fromAwsEcr(tag(), {
      secret: Secret.fromDict({ ...keys, ...region }),
      setupDockerfileCommands: ['ENV SET=up'],
    });
    expect(await here(engine, image)).toBe('here\n');
    // Manifests and layers are fetched with one token.
    expect(aws.calls.filter((call) => call === 'GetAuthorizationToken')).toHaveLength(1);
  });

  test('a role of AWS, by the identity of this environment', async () => {
    await using aws = await startAwsServer(ACCOUNT);
    writeFileSync(join(dir, 'identity'), `${ACCOUNT.role?.webIdentityToken}\n`);
    const secret = Secret.fromDict({ AWS_ROLE_ARN: ACCOUNT.role?.arn ?? '', AWS_REGION: ACCOUNT.region });
    const image = Image.fromAwsEcr(tag(), { secret });
    {
      await using engine = await open({ AWS_ENDPOINT_URL: aws.origin });
      expect(await failure(engine.build([image]))).toMatchObject({
        code: 'E_AUTH',
        message: expect.stringContaining('AWS_WEB_IDENTITY_TOKEN_FILE'),
      });
    }
    await using engine = await open({
      AWS_ENDPOINT_URL: aws.origin,
      AWS_WEB_IDENTITY_TOKEN_FILE: join(dir, 'identity'),
    });
    expect(await here(engine, image)).toBe('here\n');
    expect(aws.calls).toEqual(['AssumeRoleWithWebIdentity', 'GetAuthorizationToken']);
  });

  test('without the SDK of AWS, the error says what to install', async () => {
    const tsbuild = installTsbuild(join(dir, 'installed'));
    const definition = join(dir, 'ecr.ts');
    writeFileSync(
      definition,
      `import { Image, Secret } from 'tsbuild';
       const secret = Secret.fromDict({ AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_REGION: 'c' });
       export default Image.fromAwsEcr('${tag()}', { secret });\n`,
    );
    const ran = await run(['build', definition], {
      tsbuild,
      env: { TSBUILD_HOME: join(dir, 'store'), HOME: dir },
    });
    expect(ran.status).toBe(3);
    expect(ran.stderr).toContain('E_TOOL_MISSING');
    expect(ran.stderr).toContain('npm install @aws-sdk/client-ecr');
  });
});

/**
 * micromamba itself cannot be had here, so a program of its name writes down how it was called, on a base that is made as its
 * authors make theirs: an unprivileged user, and a shell that activates the environment.
 */
describe.skipIf(lacks('root', 'bwrap', 'busybox'))('micromamba', () => {
  const NAME = 'mambaorg/micromamba';
  const RECORD = `#!/bin/sh
{ echo "$(basename "$0") $*"; id -u; echo "activate=$MAMBA_DOCKERFILE_ACTIVATE shell=$BY_SHELL given=$GIVEN"; } >> /recorded
`;
  const SHELL = `#!/bin/sh
[ "$MAMBA_DOCKERFILE_ACTIVATE" = 1 ] || exit 9
export BY_SHELL=activated PATH=/opt/conda/bin:$PATH
exec /bin/sh -c "$1"
`;
  let registry: TestRegistry;

  beforeAll(async () => {
    const context = join(dir, 'micromamba');
    const files: Record<string, string> = {
      'usr/local/bin/_dockerfile_shell.sh': SHELL,
      'bin/micromamba': RECORD,
      'opt/conda/bin/python': RECORD,
    };
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(context, path, '..'), { recursive: true });
      writeFileSync(join(context, path), text);
      chmodSync(join(context, path), 0o755);
    }
    writeFileSync(join(context, 'passwd'), 'root:x:0:0:root:/:/bin/sh\nmambauser:x:57439:57439::/:/bin/sh\n');
    const image = Image.fromScratch()
      .addLocalFile(busyboxPath(), '/bin/sh', { copy: true })
      .dockerfileCommands(
        'ENV PATH=/bin:/usr/local/bin',
        'RUN for each in id cat basename ls; do ln -s sh /bin/$each; done',
        'COPY . /',
        'COPY passwd /etc/passwd',
        'USER mambauser',
        { contextDir: context },
      );
    registry = await TestRegistry.start();
    await using engine = await open({}, 'push');
    await engine.push(image, `${registry.host}/${NAME}:2.1.1-debian12-slim`, {});
    await engine.push(busyboxImage(), `${registry.host}/plain:1`, {});
  });
  afterAll(() => registry?.close());

  const opened = () => open({ TSBUILD_REGISTRY_MIRRORS: `docker.io=${registry.origin}` });
  const recorded = async (engine: Engine, image: Image) =>
    String((await engine.run(image, ['cat', '/recorded'])).stdout)
      .trim()
      .split('\n');

  test('later layers run as root in the environment that is active (C7)', async () => {
    writeFileSync(join(dir, 'environment.yml'), 'dependencies: [numpy]\n');
    const image = Image.micromamba({ pythonVersion: '3.12' })
      .micromambaInstall('a<2', 'b', { channels: ['first', 'second'], env: { GIVEN: 'x' } })
      .micromambaInstall({ specFile: join(dir, 'environment.yml') })
      .pipInstall('requests')
      .runCommands('ls /environment.yml >> /recorded');
    await using engine = await opened();
    const active = ['0', 'activate=1 shell=activated given='];
    expect(await recorded(engine, image)).toEqual([
      'micromamba install -n base -y python=3.12 pip -c conda-forge',
      ...active,
      'micromamba install a<2 b -c first -c second --yes',
      '0',
      'activate=1 shell=activated given=x',
      'micromamba install -f /environment.yml -n base --yes',
      ...active,
      'python -m pip install requests',
      ...active,
      '/environment.yml',
    ]);
    const [built] = await engine.build([image]);
    expect(built?.config.config).toMatchObject({
      User: 'root',
      Shell: ['/usr/local/bin/_dockerfile_shell.sh'],
    });
    expect(built?.config.config?.Env).toContain('MAMBA_DOCKERFILE_ACTIVATE=1');
  });

  test('its shell is that of images that are made from it, wherever they come from', async () => {
    await using engine = await opened();
    await engine.push(Image.micromamba({ pythonVersion: '3.12' }), `${registry.host}/made:1`, {});
    const image = Image.fromRegistry(`${registry.host}/made:1`).runCommands('echo $BY_SHELL > /shell');
    expect((await engine.run(image, ['cat', '/shell'])).stdout).toBe('activated\n');
  });

  test('a base without it fails, and the hint says where to begin (C10)', async () => {
    await using engine = await opened();
    const image = Image.fromRegistry(`${registry.host}/plain:1`).micromambaInstall('numpy');
    const error = await failure(engine.build([image]));
    expect(error).toBeInstanceOf(StepError);
    expect(error).toMatchObject({
      code: 'E_BUILD_FAILED',
      exitCode: 127,
      layer: 1,
      hint: expect.stringContaining('Image.micromamba()'),
    });
    const bare = await failure(engine.build([Image.fromScratch().micromambaInstall('numpy')]));
    expect(bare).toMatchObject({
      code: 'E_STEP_NOT_STARTED',
      hint: expect.stringContaining('Image.micromamba()'),
    });
  });
});

describe.skipIf(lacks('root', 'bwrap', 'busybox'))('instructions that set a base up', () => {
  test('take files of the working directory, and count by content (C15) (C22)', async () => {
    const registry = await TestRegistry.start();
    onTestFinished(() => registry.close());
    const project = join(dir, 'project');
    mkdirSync(join(project, 'docker/app'), { recursive: true });
    mkdirSync(join(project, 'app'), { recursive: true });
    writeFileSync(join(project, 'app/name'), 'of the working directory');
    writeFileSync(join(project, 'docker/app/name'), 'of docker/');
    const before = process.cwd();
    process.chdir(project);
    onTestFinished(() => process.chdir(before));
    await using engine = await open();
    await engine.push(busyboxImage(), `${registry.host}/base:1`, {});
    writeFileSync(join(project, 'docker/Dockerfile'), `FROM ${registry.host}/base:1\nCOPY app /x\n`);
    const bySetup = Image.fromRegistry(`${registry.host}/base:1`, {
      setupDockerfileCommands: ['COPY app /x'],
    });
    const images = [bySetup, Image.fromDockerfile('docker/Dockerfile')];
    for (const image of images) {
      expect((await engine.readFile(image, '/x/name')).toString()).toBe('of the working directory');
    }
    const [first] = await engine.build(images);
    writeFileSync(join(project, 'app/name'), 'changed');
    writeFileSync(join(project, 'docker/app/name'), 'changed too');
    const [second] = await engine.build(images);
    expect(second?.id).not.toBe(first?.id);
    expect((await engine.readFile(bySetup, '/x/name')).toString()).toBe('changed');
  });
});
