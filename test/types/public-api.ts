/**
 * How the public API may be used, and how not: each line below `@ts-expect-error` has to be one that the compiler refuses.
 * Nothing here runs. `test/tidy/public-types.test.ts` checks it against the built package, too.
 */
import {
  type BuildEvent,
  type BuilderVersion,
  type BuiltImage,
  type DefinitionParams,
  Engine,
  type EngineBuildOptions,
  EventStream,
  FilePatternMatcher,
  type IgnoreSpec,
  type IgnoreSyntax,
  Image,
  type ImagePlan,
  type LocalPath,
  type ParamValues,
  Secret,
  StepError,
  type StepOptions,
  TsbuildError,
} from 'tsbuild';

/** Fails to compile unless both types are the same. */
export type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <_T extends true>(): void => undefined;

export function factories(): void {
  Image.debianSlim();
  Image.debianSlim({
    pythonVersion: '3.13',
    source: 'archive',
    builderVersion: '2026.10',
    platform: 'linux/arm64',
  });
  Image.fromDebian({ packages: ['git'] });
  Image.fromRegistry('debian:trixie', { secret: Secret.fromDict({ A: 'b' }) });
  Image.fromOciLayout(new URL('file:///layout'), { tag: 'latest' });
  Image.fromDockerfile('docker/Dockerfile', {
    contextDir: '.',
    buildArgs: { V: '1' },
    target: 'test',
    network: 'none',
  });
  Image.fromDockerfile({ text: 'FROM scratch' });
  Image.fromScratch({ forceBuild: true });
  // @ts-expect-error: a version is a string.
  Image.debianSlim({ pythonVersion: 3.13 });
  // @ts-expect-error: no such source.
  Image.debianSlim({ source: 'internet' });
  // @ts-expect-error: options are camelCase.
  Image.debianSlim({ python_version: '3.13' });
  // @ts-expect-error: no such builder version.
  Image.fromScratch({ builderVersion: '2024.01' });
  // @ts-expect-error: a reference is needed.
  Image.fromRegistry();
  // @ts-expect-error: values are strings.
  Image.fromDockerfile('Dockerfile', { buildArgs: { V: 1 } });
  // @ts-expect-error: no such network.
  Image.fromDockerfile('Dockerfile', { network: 'bridge' });
  // @ts-expect-error: made by factories.
  new Image();
}

export function layers(image: Image, secret: Secret): void {
  same<Same<ReturnType<Image['pipInstall']>, Image>>();
  image.pipInstall('a', ['b', 'c'], {
    indexUrl: 'https://x',
    secrets: [secret],
    env: { A: null, B: undefined },
  });
  image.pipInstall();
  image.pipInstall(['a'] as readonly string[]);
  // @ts-expect-error: strings only.
  image.pipInstall(3);
  // @ts-expect-error: one level of arrays.
  image.pipInstall([['a']]);
  // @ts-expect-error: no such option.
  image.pipInstall('a', { indexURL: 'https://x' });
  // @ts-expect-error: options go last.
  image.pipInstall({ indexUrl: 'https://x' }, 'a');
  image.pipInstallFromRequirements('requirements.txt', { forceBuild: true });
  // @ts-expect-error: a path is needed.
  image.pipInstallFromRequirements();
  image.uvPipInstall('a', { uvVersion: '0.9.2' });
  // @ts-expect-error: a version is a string.
  image.uvPipInstall('a', { uvVersion: 9 });
  image.uvPipInstallFromRequirements(['a.txt', new URL('file:///b.txt')]);
  image.aptInstall('git', { cleanup: false });
  // @ts-expect-error: a boolean.
  image.aptInstall('git', { cleanup: 'no' });
  image.aptRemove('git', { purge: true, autoremove: false });
  // @ts-expect-error: no such option.
  image.aptRemove('git', { cleanup: true });
  image.runCommands('a', ['b'], { timeout: 3, sharedShell: true, env: { A: '1' } });
  // @ts-expect-error: seconds are a number.
  image.runCommands('a', { timeout: '3s' });
  // @ts-expect-error: secrets are Secrets.
  image.runCommands('a', { secrets: ['TOKEN'] });
  // @ts-expect-error: values are strings.
  image.runCommands('a', { env: { A: 1 } });
  image.dockerfileCommands('RUN x', { contextDir: '.', buildArgs: { A: 'b' } });
  // @ts-expect-error: lines are strings.
  image.dockerfileCommands(new URL('file:///Dockerfile'));
  image
    .env({ A: 'b' })
    .workdir('/app')
    .entrypoint(['a'])
    .cmd(['b'] as const)
    .shell(['/bin/sh', '-c']);
  // @ts-expect-error: values are strings.
  image.env({ A: 1 });
  // @ts-expect-error: no null for good.
  image.env({ A: null });
  // @ts-expect-error: an array.
  image.entrypoint('python');
  // @ts-expect-error: a path is needed.
  image.workdir();
  image.addLocalFile('a', '/a').addLocalFile('a', { remotePath: '/a', copy: true });
  image.addLocalDir('a', '/a', { ignore: ['*.pyc'], copy: true });
  image.addLocalDir('a', '/a', { ignore: FilePatternMatcher.NON_PYTHON_FILES });
  image.addLocalDir('a', '/a', { ignore: (path) => path.endsWith('.pyc') });
  // @ts-expect-error: no number is a filter.
  image.addLocalDir('a', '/a', { ignore: 4 });
  image
    .copyLocalFile('a')
    .copyLocalFile('a', '/b')
    .copyLocalDir(new URL('file:///a'), '/b', { ignore: ['x'] });
  // @ts-expect-error: a path is needed.
  image.copyLocalDir();
  image.pipe((each, version: string) => each.env({ V: version }), '1');
  // @ts-expect-error: the function takes a string.
  image.pipe((each, version: string) => each.env({ V: version }), 1);
  // @ts-expect-error: an Image comes back.
  image.pipe(() => 'image');
}

export async function operations(image: Image, secret: Secret): Promise<void> {
  same<Same<Awaited<ReturnType<Image['plan']>>, ImagePlan>>();
  same<Same<Awaited<ReturnType<Image['build']>>, BuiltImage>>();
  await image.plan({ platform: 'linux/amd64', lint: true });
  // @ts-expect-error: no such platform.
  await image.plan({ platform: 'windows/amd64' });
  await image.build({
    forceBuild: true,
    concurrency: 2,
    signal: AbortSignal.timeout(1),
    logger: () => undefined,
  });
  // @ts-expect-error: no such option.
  await image.build({ force: true });
  // @ts-expect-error: a number.
  await image.build({ concurrency: 'all' });
  // @ts-expect-error: a signal, not its controller.
  await image.build({ signal: new AbortController() });
  const text = await image.run(['ls'], { env: { A: 'b' }, timeout: 3, network: 'none', stdin: 'x' });
  same<Same<typeof text.stdout, string>>();
  const bytes = await image.run(['ls'], { encoding: 'buffer' });
  same<Same<typeof bytes.stdout, Buffer>>();
  await image.run();
  await image.run({ user: 'app' });
  // @ts-expect-error: a command is an array.
  await image.run('ls');
  // @ts-expect-error: no such network.
  await image.run(['ls'], { network: 'bridge' });
  // @ts-expect-error: bytes or text.
  await image.run(['ls'], { stdin: 4 });
  same<Same<Awaited<ReturnType<Image['readFile']>>, Buffer>>();
  await image.exists('/a');
  await image.listFiles();
  // @ts-expect-error: a path.
  await image.readFile();
  await image.exportTo('out', { format: 'oci-layout', tag: 'a:1' });
  // @ts-expect-error: a format is needed.
  await image.exportTo('out');
  // @ts-expect-error: no such format.
  await image.exportTo('out', { format: 'zip' });
  await image.push('registry.example/a:1', { secret });
  // @ts-expect-error: a Secret.
  await image.push('registry.example/a:1', { secret: 'token' });
  const [first] = await Image.buildAll([image, image]);
  same<Same<NonNullable<typeof first>, BuiltImage>>();
  // @ts-expect-error: an array.
  await Image.buildAll(image);
  const { id } = image;
  same<Same<typeof id, string | undefined>>();
  // @ts-expect-error: an image never changes.
  image.forceBuild = true;
}

export function built(image: BuiltImage): void {
  const { id, digest, layers } = image;
  same<Same<typeof id, string>>();
  digest satisfies string;
  for (const { cached, durationMs } of layers) {
    same<Same<typeof cached, boolean>>();
    same<Same<typeof durationMs, number>>();
  }
  // @ts-expect-error: read only.
  layers.push(layers[0]);
  image.runCommands('more') satisfies Image;
}

export async function engines(image: Image): Promise<void> {
  await using engine = await Engine.open({
    storeDir: '/s',
    jobs: 2,
    offline: true,
    onEvent: (event) => event.kind,
  });
  // @ts-expect-error: no such option.
  await Engine.open({ store: '/s' });
  // @ts-expect-error: a number.
  await Engine.open({ jobs: '2' });
  // @ts-expect-error: no such way.
  await Engine.open({ snapshotter: 'zfs' });
  const options: EngineBuildOptions = {
    tags: ['a:1'],
    outputs: [{ type: 'oci', dest: 'out', tar: false }],
    platforms: [{ os: 'linux', architecture: 'arm64' }],
    cacheFrom: [{ type: 'registry', ref: 'r/cache' }],
  };
  const [one] = await engine.build([image], options);
  same<Same<NonNullable<typeof one>, BuiltImage>>();
  // @ts-expect-error: an array of images.
  await engine.build(image);
  // @ts-expect-error: no such output.
  await engine.build([image], { outputs: [{ type: 'zip' }] });
  // @ts-expect-error: an Image, not its name.
  await engine.build(['web:1']);
  const { stdout, signal } = await engine.run('web:1', ['ls'], {
    onOutput: (_stream, chunk) => chunk.length,
  });
  stdout satisfies string | Buffer;
  signal satisfies string | undefined;
  await engine.run(image, undefined, { shell: true, stdin: process.stdin, terminal: process.stdout });
  // @ts-expect-error: a terminal has a size.
  await engine.run(image, undefined, { terminal: true });
  await engine.build([image], {
    onError: async (failed) => {
      failed.command satisfies string;
      failed.error satisfies StepError;
      const { exitCode } = await failed.run(undefined, { stdin: 'make', env: { V: '1' } });
      exitCode satisfies number;
    },
  });
  // @ts-expect-error: a shell is what a function opens.
  await engine.build([image], { onError: 'shell' });
  // @ts-expect-error: no such stream.
  await engine.run(image, undefined, { onOutput: (stream) => stream === 'stdin' });
  await engine.output(image, { type: 'docker', dest: 'out.tar' });
  await engine.prune({ keepBytes: 1 });
  for await (const event of engine.events({ limit: 10 })) {
    event satisfies BuildEvent;
    if (event.kind === 'log') {
      same<Same<typeof event.stream, 'stdout' | 'stderr'>>();
    }
    // @ts-expect-error: not every event has it.
    event.text;
    // @ts-expect-error: no such kind.
    event.kind === 'logs';
  }
  const stream = new EventStream({ limit: 5 });
  await engine.build([image], { logger: stream.push });
  // @ts-expect-error: a number.
  new EventStream({ limit: '5' });
  // @ts-expect-error: opened, not made.
  new Engine();
}

/** Functions that are given options, and hand them on. */
export function named(
  path: LocalPath,
  options: StepOptions,
  ignore: IgnoreSpec,
  ignoreSyntax: IgnoreSyntax,
): Image {
  const builderVersion: BuilderVersion = 'PREVIEW';
  // @ts-expect-error: no such version.
  '2020' satisfies BuilderVersion;
  return Image.fromScratch({ builderVersion })
    .runCommands('make', options)
    .copyLocalDir(path, '/src', { ignore, ignoreSyntax });
}

export function secrets(): void {
  Secret.fromDict({ A: 'b', C: null, D: undefined });
  // @ts-expect-error: values are strings.
  Secret.fromDict({ A: 1 });
  Secret.fromLocalEnviron(['A']);
  // @ts-expect-error: an array of names.
  Secret.fromLocalEnviron('A');
  FilePatternMatcher.gitignore('*.pyc', ['a']).negate().matches('a', true) satisfies boolean;
  // @ts-expect-error: strings.
  new FilePatternMatcher(/x/);
  // @ts-expect-error: no such syntax.
  FilePatternMatcher.fromFile('.gitignore', { syntax: 'hgignore' });
}

export function errors(error: unknown): void {
  if (error instanceof StepError) {
    same<Same<typeof error.exitCode, number | undefined>>();
    error.reason satisfies 'exit' | 'signal' | 'timeout' | 'memory' | 'not-started';
  }
  if (error instanceof TsbuildError) {
    error.code === 'E_AUTH';
    // @ts-expect-error: no such code.
    error.code === 'E_NOTHING';
  }
}

export const params = {
  python: '3.12',
  debug: false,
  n: { default: 4, help: 'how many' },
  size: { default: 'small', values: ['small', 'large'] },
} satisfies DefinitionParams;
const exact = { mode: { default: 'a', values: ['a', 'b'] }, name: 'x' } as const;

export default ({ python, debug, n, size }: ParamValues<typeof params>): Image => {
  same<Same<typeof python, string>>();
  same<Same<typeof debug, boolean>>();
  same<Same<typeof n, number>>();
  same<Same<typeof size, string>>();
  return Image.fromScratch();
};

export function exactly({ mode, name }: ParamValues<typeof exact>): void {
  same<Same<typeof mode, 'a' | 'b'>>();
  same<Same<typeof name, string>>();
  // @ts-expect-error: of no such type.
  ({ a: null }) satisfies DefinitionParams;
}
