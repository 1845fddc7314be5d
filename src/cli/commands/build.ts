import { UsageError } from '../../errors.ts';
import { parseAnnotation } from '../annotation.ts';
import { parseCacheSource, parseCacheTarget } from '../cache-spec.ts';
import { command } from '../command.ts';
import type { CliContext } from '../context.ts';
import { callOf, describeDockerfile } from '../describe-dockerfile.ts';
import { dockerfileImage, givenDockerfileFlags, isContext } from '../dockerfile-image.ts';
import { asksForInlineCache, DOCKERFILE_OPTIONS } from '../dockerfile-options.ts';
import type {
  BuildOptions,
  BuiltImage,
  EngineModule,
  InspectedImage,
  OutputSpec,
  WrittenOutput,
} from '../engine-api.ts';
import { missCollector } from '../explain.ts';
import { type LoadedImage, loadDefinition, parseDefinitionName, shownName } from '../load-definition.ts';
import { onErrorOf } from '../on-error.ts';
import { choice, flag, list, nonEmpty, type Values, value } from '../option.ts';
import { OUTPUT_OPTION, refuseStdout } from '../output-option.ts';
import { withEngine } from '../session.ts';
import { ENGINE_OPTIONS, PARAM_OPTION, PLATFORMS_OPTION } from '../shared-options.ts';
import { formatTable } from '../table.ts';
import { neutralise } from '../terminal-text.ts';
import { writeResult } from '../write-file.ts';

const options = {
  tag: list({
    long: 'tag',
    short: 't',
    valueName: 'NAME',
    summary: 'Name of the image',
    detail:
      'A name by which the store remembers the image, and under which `--push` sends it: `repository[:tag]`. Needs a definition with one image.',
    parse: nonEmpty,
  }),
  output: OUTPUT_OPTION,
  push: flag({
    long: 'push',
    summary: 'Send the image to the registry of every --tag',
    detail: 'The same as `--output=type=registry`: sends the image to the registry of every `--tag`.',
  }),
  cacheFrom: list({
    long: 'cache-from',
    valueName: 'SPEC',
    summary: 'Cache of another machine to look into',
    detail:
      'Comma-separated fields: `type=registry,ref=REFERENCE` (a cache, or an image that carries one), or `type=local,src=DIRECTORY` with `tag=` or `digest=`. Alone, a reference means `type=registry`. Layers are fetched when a step needs them. A cache that cannot be read is a warning.',
    completion: ['type=registry,ref=', 'type=local,src='],
    parse: parseCacheSource,
  }),
  cacheTo: list({
    long: 'cache-to',
    valueName: 'SPEC',
    summary: 'Where to write the cache for other machines',
    detail:
      'Comma-separated fields: `type=registry,ref=REFERENCE`, `type=local,dest=DIRECTORY` (an OCI image layout, `tag=` is `latest` if absent), or `type=inline` (in the image itself). `mode=min` keeps what the image is made of, `mode=max` the results of all steps. `compression=zstd|gzip|uncompressed`, `compression-level=N`, `force-compression=true` (layers of a base too), `ignore-error=true` (a cache that cannot be written is a warning).',
    completion: ['type=registry,ref=', 'type=local,dest=', 'type=inline'],
    parse: parseCacheTarget,
  }),
  noCache: flag({
    long: 'no-cache',
    summary: 'Run every step again',
    detail: 'Runs every step again and replaces what the cache knows. The same as `--force-build`.',
  }),
  forceBuild: flag({
    long: 'force-build',
    summary: 'Run every step again and replace cached results',
    detail: 'Runs every step again, looks the base up again, and replaces what the cache knows.',
    environment: 'TSBUILD_FORCE_BUILD',
  }),
  ignoreCache: flag({
    long: 'ignore-cache',
    summary: 'Run every step again, leave the cache alone',
    detail:
      'Runs every step again and records nothing: the next build gets what was cached before. Stands over `--force-build`.',
    environment: 'TSBUILD_IGNORE_CACHE',
  }),
  pull: flag({
    long: 'pull',
    summary: 'Look up what the tags of bases mean now',
    detail:
      'Asks the registries again what the tags of base images mean. Without it a base that the store knows is used without asking.',
  }),
  platform: PLATFORMS_OPTION,
  param: PARAM_OPTION,
  annotation: list({
    long: 'annotation',
    valueName: 'KEY=VALUE',
    summary: 'Annotate the image',
    detail:
      'Adds an OCI annotation to the image, in the store and in every output. It goes to the manifest, or to what is named before it: `index:KEY=VALUE`, `manifest[linux/arm64]:KEY=VALUE`, `manifest-descriptor`, `index-descriptor`, or several with commas between them.',
    parse: parseAnnotation,
  }),
  onError: choice({
    long: 'on-error',
    valueName: 'WORD',
    words: ['fail', 'shell', 'keep'],
    summary: 'What becomes of a step that fails',
    detail:
      'With `shell` a shell is opened in the file system of the step that failed, with its user, directory, environment (secrets too), mounts, network and devices; the build fails when it ends. It needs a terminal. `keep` keeps what the step left for `tsbuild shell failed:ID`. See [interactive work](../guide/interactive.md).',
    defaultText: 'fail',
  }),
  explain: flag({
    long: 'explain',
    summary: 'Say why steps were not cached',
    detail: 'Says for each step that ran which field or which file differed from the last time.',
  }),
  metadataFile: value({
    long: 'metadata-file',
    valueName: 'FILE',
    summary: 'Write digests and names as JSON',
    detail:
      'Writes a JSON object with the keys of buildx: `containerimage.digest`, `containerimage.config.digest`, `containerimage.descriptor`, `image.name`. They are of the last output that is an image, or else of the image in the store; for several platforms of the index, which has no config. With several images, one such object for each export.',
    completion: 'file',
    parse: nonEmpty,
  }),
  iidfile: value({
    long: 'iidfile',
    valueName: 'FILE',
    summary: "Write the image's id to a file",
    detail:
      "Writes the digest of the image's config, which other tools call the image id, or for several platforms that of the index. Needs a definition with one image.",
    completion: 'file',
    parse: nonEmpty,
  }),
  rewriteTimestamp: flag({
    long: 'rewrite-timestamp',
    summary: 'Clamp file times to SOURCE_DATE_EPOCH in outputs',
    detail:
      'File times in the layers that are written are at most `SOURCE_DATE_EPOCH`, so that the same tree gives the same bytes. The same as `rewrite-timestamp=true` in every `--output`.',
  }),
  ...DOCKERFILE_OPTIONS,
  ...ENGINE_OPTIONS,
} as const;

type BuildValues = Values<typeof options>;

export default command({
  operands: [
    {
      name: 'CONTEXT|DEFINITION',
      summary: 'A directory with a Dockerfile, or a definition file with ::EXPORT for some of its images',
      required: true,
      repeatable: true,
      completion: 'file',
    },
  ],
  options,
  foreignFlags: {
    load: 'leave it out: the image is in the store, for `tsbuild run`; for Docker, -o type=docker,dest=- | docker load',
    builder: 'leave it out: there is no daemon to choose',
    provenance: 'leave it out: no attestations are made',
    sbom: 'leave it out: no attestations are made',
    attest: 'leave it out: no attestations are made',
    'cgroup-parent': 'leave it out: steps run in the cgroup of this process',
    rm: 'leave it out: nothing of a step is left behind',
  },
  detail:
    "Builds an image from a Dockerfile, as `docker buildx build` does: CONTEXT is a directory, the URL of a git repository or of an archive, or `-` for a tar archive or a Dockerfile on standard input. Or builds the images that a definition file exports: all of them, or those named after '::'. A definition that exports `params` and a function takes `--param`. Steps that ran before are not run again. The digest of each image is written to standard output, progress to standard error.",
  examples: [
    { purpose: 'Build the Dockerfile of a directory', command: 'tsbuild build -t web:1 .' },
    {
      purpose: 'Build one stage with an argument and a secret',
      command: 'tsbuild build --target test --build-arg V=1 --secret id=token,env=TOKEN .',
    },
    { purpose: 'Build every image that the file exports', command: 'tsbuild build image.ts' },
    {
      purpose: 'Build one export, name it and push it',
      command: 'tsbuild build image.ts::web -t registry.example/web:1 --push',
    },
    {
      purpose: 'Write an archive that docker load reads',
      command: 'tsbuild build image.ts -t web:1 -o type=docker,dest=web.tar',
    },
    {
      purpose: 'Build for two platforms',
      command: 'tsbuild build image.ts --platform linux/amd64,linux/arm64 -t web:1',
    },
    {
      purpose: 'Write an OCI image layout as a directory',
      command: 'tsbuild build image.ts -o type=oci,dest=layout,tar=false',
    },
    {
      purpose: 'Give parameters of the definition other values',
      command: 'tsbuild build image.ts --param python=3.13 --param debug',
    },
    { purpose: 'Look around where a step fails', command: 'tsbuild build --on-error shell .' },
    { purpose: 'See why steps ran again', command: 'tsbuild build image.ts --explain' },
  ],
  async run({ options, operands }, context) {
    const module = await context.loadEngine();
    const call = callOf(options);
    const images = await loadImages(options, operands, module, context);
    if (call !== undefined) {
      return await describeDockerfile(options, call, images, module, context);
    }
    const outputs = outputsOf(options);
    checkRequest(options, outputs, images, context);
    const misses = missCollector();
    const warned = new Set<string>();
    const written: WrittenOutput[] = [];
    const { built, inspected } = await withEngine(
      context,
      module,
      options,
      async ({ engine, pauseProgress }) => {
        const onError = onErrorOf(options.onError, context, pauseProgress);
        const built = await engine.build(
          images.map((loaded) => loaded.image),
          {
            ...buildOptions(options, outputs, images, context),
            onWritten: (each) => written.push(each),
            ...(onError === undefined ? {} : { onError }),
          },
        );
        const wanted = options.iidfile !== undefined || options.metadataFile !== undefined;
        const inspected = wanted ? await Promise.all(built.map(({ id }) => engine.inspect(id))) : [];
        return { built, inspected };
      },
      (event) => {
        misses.onEvent(event);
        if (event.kind === 'warning') {
          warned.add(warningKey(event));
        }
      },
    );
    context.stderr.write(diagnosticsText(built, warned));
    if (options.explain) {
      context.stderr.write(misses.text());
    }
    const last = written.findLast(({ descriptor }) => descriptor !== undefined);
    await writeFiles(options, images, factsOf(inspected, last), context.cwd);
    if (!outputs.some((output) => output.dest === '-')) {
      context.stdout.write(results(images, built, last));
    }
    return 0;
  },
});

/** A directory, a URL, standard input or a `--file` mean a Dockerfile; everything else is a definition file. */
async function loadImages(
  typed: BuildValues,
  operands: readonly string[],
  module: EngineModule,
  context: CliContext,
): Promise<readonly LoadedImage[]> {
  const [first = '.'] = operands;
  if (typed.file !== undefined || isContext(first, context.cwd)) {
    if (operands.length > 1) {
      throw new UsageError(`one build context is used, and ${operands.length} are given`, {
        code: 'E_USAGE',
      });
    }
    if (typed.param.length > 0) {
      throw new UsageError(`--param is for a definition, and '${first}' is the context of a Dockerfile`, {
        code: 'E_USAGE',
        hint: 'the arguments of a Dockerfile are given with --build-arg',
      });
    }
    return [await dockerfileImage(typed, first, module, context)];
  }
  const [flag] = givenDockerfileFlags(typed);
  if (flag !== undefined) {
    throw new UsageError(`${flag} is for a Dockerfile, and '${first}' is a definition`, {
      code: 'E_USAGE',
      hint: 'name a directory, or the Dockerfile with --file',
    });
  }
  const images: LoadedImage[] = [];
  for (const operand of operands) {
    const name = parseDefinitionName(operand);
    const { cwd, signal } = context;
    images.push(...(await loadDefinition(name, { ...module, cwd, params: typed.param, signal })));
  }
  return images;
}

function outputsOf(typed: BuildValues): OutputSpec[] {
  const outputs = typed.output.filter((output) => output !== undefined);
  const all: OutputSpec[] =
    typed.push && !outputs.some(({ type, push }) => push ?? type === 'registry')
      ? [...outputs, { type: 'registry', push: true }]
      : outputs;
  return typed.rewriteTimestamp ? all.map((output) => ({ ...output, rewriteTimestamp: true })) : all;
}

/** Outputs may have other layers or annotations than the store: what was delivered counts. */
function factsOf(
  inspected: readonly InspectedImage[],
  last: WrittenOutput | undefined,
): readonly InspectedImage[] {
  if (last?.descriptor === undefined || inspected.length === 0) {
    return inspected;
  }
  const { descriptor, configDigest } = last;
  return [{ manifestDescriptor: descriptor, ...(configDigest === undefined ? {} : { configDigest }) }];
}

function checkRequest(
  typed: BuildValues,
  outputs: readonly OutputSpec[],
  images: readonly LoadedImage[],
  context: CliContext,
): void {
  const single = [
    typed.tag.length > 0 ? '--tag' : undefined,
    outputs.length > 0 ? (typed.output.length > 0 ? '--output' : '--push') : undefined,
    typed.iidfile === undefined ? undefined : '--iidfile',
  ].find((name) => name !== undefined);
  if (single !== undefined && images.length > 1) {
    const names = images.map(shownName).join(', ');
    throw new UsageError(`${single} needs one image, and the definition exports ${images.length}: ${names}`, {
      code: 'E_USAGE',
      hint: "name one with '::', such as image.ts::web",
    });
  }
  if (
    outputs.some(({ type, push, name }) => (push ?? type === 'registry') && name === undefined) &&
    typed.tag.length === 0
  ) {
    throw new UsageError('nothing says where to push the image', {
      code: 'E_USAGE',
      hint: 'give it a --tag, or name= in the output',
    });
  }
  refuseStdout(outputs, context);
}

function buildOptions(
  typed: BuildValues,
  outputs: readonly OutputSpec[],
  images: readonly LoadedImage[],
  context: CliContext,
): BuildOptions {
  return {
    signal: context.signal,
    ...(typed.ignoreCache ? { ignoreCache: true } : {}),
    ...(typed.noCache || typed.forceBuild ? { forceBuild: true } : {}),
    pull: typed.pull,
    ...(typed.platform.length === 0 ? {} : { platforms: typed.platform.flat() }),
    ...(typed.annotation.length === 0 ? {} : { annotations: typed.annotation.flat() }),
    tags: typed.tag,
    definitions: images.map((loaded) => loaded.definition),
    outputs,
    cacheFrom: typed.cacheFrom,
    cacheTo: [
      ...typed.cacheTo,
      // How images were made their own cache before there was --cache-to.
      ...(asksForInlineCache(typed.buildArg, context.env) ? [{ type: 'inline' } as const] : []),
    ],
  };
}

async function writeFiles(
  typed: BuildValues,
  images: readonly LoadedImage[],
  inspected: readonly InspectedImage[],
  cwd: string,
): Promise<void> {
  const [first] = inspected;
  if (typed.iidfile !== undefined && first !== undefined) {
    await writeResult(cwd, typed.iidfile, first.configDigest ?? first.manifestDescriptor.digest);
  }
  if (typed.metadataFile !== undefined) {
    const all = inspected.map((image) => metadata(image, typed.tag));
    const content =
      all.length === 1
        ? all[0]
        : Object.fromEntries(all.map((entry, index) => [nameOf(images, index), entry]));
    await writeResult(cwd, typed.metadataFile, `${JSON.stringify(content, undefined, 2)}\n`);
  }
}

/** What the definition was warned about, but for what the progress has shown already. */
function diagnosticsText(built: readonly BuiltImage[], warned: Set<string>): string {
  const lines: string[] = [];
  for (const diagnostic of built.flatMap((image) => image.diagnostics)) {
    if (!warned.has(warningKey(diagnostic))) {
      warned.add(warningKey(diagnostic));
      const where = diagnostic.layer === undefined ? '' : ` (layer ${diagnostic.layer + 1})`;
      lines.push(neutralise(`warning${where}: ${diagnostic.message} (${diagnostic.code})`));
    }
  }
  return lines.map((line) => `${line}\n`).join('');
}

function warningKey(warning: { readonly code: string; readonly message: string }): string {
  return `${warning.code} ${warning.message}`;
}

/** The keys that buildx writes. */
function metadata(image: InspectedImage, tags: readonly string[]): object {
  return {
    ...(image.configDigest === undefined ? {} : { 'containerimage.config.digest': image.configDigest }),
    'containerimage.descriptor': image.manifestDescriptor,
    'containerimage.digest': image.manifestDescriptor.digest,
    ...(tags.length === 0 ? {} : { 'image.name': tags.join(',') }),
  };
}

/** One image: its digest alone, for scripts. Several: a line for each. */
function results(
  images: readonly LoadedImage[],
  built: readonly BuiltImage[],
  last: WrittenOutput | undefined,
): string {
  const [first] = built;
  return built.length === 1 && first !== undefined
    ? `${last?.digest ?? first.digest}\n`
    : formatTable(built.map((image, index) => [nameOf(images, index), image.digest]));
}

function nameOf(images: readonly LoadedImage[], index: number): string {
  const loaded = images[index];
  return loaded === undefined ? '' : shownName(loaded);
}
