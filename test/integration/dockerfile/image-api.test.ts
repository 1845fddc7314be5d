/** Dockerfiles of the Image API: `fromDockerfile` and `dockerfileCommands` between other methods, by the real engine. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../../src/engine.ts';
import { Image } from '../../../src/frontend/fluent/image.ts';
import { Secret } from '../../../src/secret/secret.ts';
import { lacks } from '../../support/requires.ts';
import { SHELL_STAGE, Workbench } from '../../support/workbench.ts';

describe.skipIf(lacks('root', 'bwrap', 'busybox'))('Dockerfiles of the Image API', () => {
  let bench: Workbench;
  let engine: Engine;
  let events: string[];

  beforeAll(async () => {
    bench = new Workbench();
    events = [];
    engine = await Engine.open({
      storeDir: bench.at('store'),
      env: { PATH: process.env.PATH, HOME: bench.directory, TOKEN_OF_ENV: 'of-the-environment' },
      onEvent: (event) => events.push(JSON.stringify(event)),
    });
    bench.context('ctx', {
      Dockerfile: `${SHELL_STAGE}FROM sh AS one
ARG WHO=nobody
RUN echo "$WHO" > /who
FROM one AS two
RUN echo two > /two
`,
      app: 'app',
      'sub/kept': 'kept',
      'sub/left.log': 'log',
    });
  });
  afterAll(async () => {
    await engine?.[Symbol.asyncDispose]();
    bench?.[Symbol.dispose]();
  });

  /** What a command prints in the image. */
  const output = async (image: Image, ...command: readonly string[]) =>
    (await engine.run(image, command)).stdout;
  const code = (error: unknown) => (error as { code?: string }).code;
  const thrown = (action: () => unknown) => {
    try {
      action();
      return undefined;
    } catch (error) {
      return code(error);
    }
  };
  const base = () =>
    Image.fromDockerfile(bench.at('ctx/Dockerfile'), { contextDir: bench.at('ctx'), target: 'sh' });

  test('target, buildArgs and what is chained behind', async () => {
    const options = { contextDir: bench.at('ctx'), buildArgs: { WHO: 'me' } };
    const one = Image.fromDockerfile(bench.at('ctx/Dockerfile'), { ...options, target: 'one' });
    const two = Image.fromDockerfile(bench.at('ctx/Dockerfile'), options);
    expect(await output(one.runCommands('ls / > /ls; cat /who >> /ls'), 'sh', '-c', 'cat /ls')).not.toContain(
      'two',
    );
    expect(await output(two.env({ A: 'b' }), 'sh', '-c', 'cat /who /two; echo $A')).toBe('me\ntwo\nb\n');
    const plan = await engine.plan(two.runCommands('true'));
    expect(plan.layers.map(({ commands }) => commands)).toEqual([
      expect.arrayContaining(['FROM sh AS one', 'RUN echo two > /two']),
      ['FROM base', 'RUN true'],
    ]);
  });

  test('ignore, buildSecrets and secrets', async () => {
    bench.write({
      'ignoring.Dockerfile': `${SHELL_STAGE}COPY . /all/\nRUN --mount=type=secret,id=s,env=S --mount=type=secret,id=KEY echo "\${#S} \${#KEY}" > /sizes; wc -c < /run/secrets/KEY >> /sizes\n`,
    });
    const image = Image.fromDockerfile(bench.at('ignoring.Dockerfile'), {
      contextDir: bench.at('ctx'),
      ignore: ['**/*.log', 'Dockerfile'],
      buildSecrets: ['id=s,env=TOKEN_OF_ENV'],
      secrets: [Secret.fromDict({ KEY: 'value-of-the-key' })],
      env: { STEP: 'only' },
    });
    expect(await output(image, 'sh', '-c', 'ls /all /all/sub; cat /sizes; echo "[$KEY$STEP]"')).toBe(
      '/all:\napp\nbusybox\nsub\n\n/all/sub:\nkept\n18 16\n16\n[]\n',
    );
    expect(events.join('')).not.toContain('value-of-the-key');
  });

  test('dockerfileCommands: stages, metadata that is carried on, secrets and env', async () => {
    const image = base()
      .env({ BEFORE: 'b' })
      .dockerfileCommands(
        [
          'FROM base AS made',
          'RUN echo "$BEFORE $E ${#K}" \\',
          '  > /made',
          'FROM base',
          'COPY --from=made /made /made',
          'COPY sub /sub',
          'WORKDIR /w',
          'ENTRYPOINT ["sh", "-c"]',
          'ENV AFTER=a',
          'SHELL ["/bin/sh", "-ec"]',
        ],
        {
          contextDir: bench.at('ctx'),
          ignore: ['**/*.log'],
          env: { E: 'e' },
          secrets: [Secret.fromDict({ K: 'secret-k' })],
        },
      )
      .runCommands('pwd > here; echo $AFTER$E >> here; echo $0 $- >> here');
    expect(await output(image, 'cat /made here; ls /sub; pwd')).toBe('b e 8\n/w\na\n/bin/sh ce\nkept\n/w\n');
    const [built] = await engine.build([image]);
    expect(built?.config.config).toMatchObject({ Entrypoint: ['sh', '-c'], WorkingDir: '/w' });
    expect(JSON.stringify(built?.config)).not.toContain('secret-k');
    expect((await engine.plan(image)).layers.at(-2)?.commands.slice(0, 3)).toEqual([
      'FROM base',
      'FROM base AS made',
      'RUN echo "$BEFORE $E ${#K}" \\',
    ]);
    const user = base()
      .dockerfileCommands('USER 7:8')
      .runCommands('id -u > /tmp-id 2>/dev/null || true; id -g');
    expect((await engine.build([user]))[0]?.config.config?.User).toBe('7:8');
  });

  test('forceBuild runs all of it again, and only once', async () => {
    const make = (forceBuild: boolean) =>
      base().dockerfileCommands('RUN cat /proc/sys/kernel/random/uuid > /id', { forceBuild });
    const id = async (image: Image) => await output(image, 'sh', '-c', 'cat /id');
    const first = await id(make(false));
    expect(await id(make(false))).toBe(first);
    const forced = await id(make(true));
    expect(forced).not.toBe(first);
    expect(await id(make(false))).toBe(forced);
  });

  test('errors at the call, and errors at the build', async () => {
    const path = bench.at('ctx/Dockerfile');
    const from = (options: object) => thrown(() => Image.fromDockerfile(path, options));
    expect(from({ buildArgs: { A: 1 } })).toBe('E_ARG_TYPE');
    expect(from({ no: 1 })).toBe('E_UNKNOWN_OPTION');
    expect(from({ addPython: '3.12.1' })).toBe('E_PYTHON_MICRO');
    expect(thrown(() => base().dockerfileCommands(7 as never))).toBe('E_NOT_STRINGS');
    expect(thrown(() => Image.fromDockerfile(7 as never))).toBe('E_ARG_TYPE');
    expect(base().dockerfileCommands()).toBeInstanceOf(Image);

    const planned = async (image: Image) => await engine.plan(image).then(() => undefined, code);
    const text = (lines: string) => Image.fromDockerfile({ text: lines });
    expect(await planned(Image.fromDockerfile(bench.at('missing')))).toBe('E_LOCAL_FILE_MISSING');
    expect(await planned(text(''))).toBe('E_DOCKERFILE_EMPTY');
    expect(await planned(text('# nothing\n\n'))).toBe('E_DOCKERFILE_EMPTY');
    const bad = await engine.plan(base().dockerfileCommands('RUN true', 'NO such')).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(bad).toMatchObject({ code: 'E_DOCKERFILE_INSTRUCTION', line: 3 });
    const failing = await engine.build([base().dockerfileCommands('RUN exit 3').cmd(['x'])]).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failing).toMatchObject({ code: 'E_BUILD_FAILED', layer: 1, exitCode: 3 });
  });
});
