/** `tsbuild build CONTEXT`: an image from a Dockerfile, as buildx understands its command line. */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { UsageError } from '../errors.ts';
import { isRemoteContext } from '../frontend/dockerfile/context-argument.ts';
import { MAX_DOCKERFILE_BYTES } from '../frontend/dockerfile/declaration.ts';
import type { CliContext } from './context.ts';
import { buildArgsOf, type DOCKERFILE_OPTIONS, pairsOf } from './dockerfile-options.ts';
import type { DockerfileText, EngineModule } from './engine-api.ts';
import type { LoadedImage } from './load-definition.ts';
import type { Values } from './option.ts';

export type TypedDockerfile = Values<typeof DOCKERFILE_OPTIONS>;

const STDIN = '-';

/** Whether an operand of `build` is a build context rather than a definition file. */
export function isContext(operand: string, cwd: string): boolean {
  if (isRemoteContext(operand)) {
    return true;
  }
  return statSync(resolve(cwd, operand), { throwIfNoEntry: false })?.isDirectory() === true;
}

/** The flags of a Dockerfile that were given, for the error that there is none. */
export function givenDockerfileFlags(typed: TypedDockerfile): readonly string[] {
  const lists = {
    '--build-arg': typed.buildArg,
    '--build-context': typed.buildContext,
    '--secret': typed.secret,
    '--ssh': typed.ssh,
    '--no-cache-filter': typed.noCacheFilter,
    '--label': typed.label,
    '--add-host': typed.addHost,
    '--ulimit': typed.ulimit,
    '--allow': typed.allow,
  };
  const single = {
    '--target': typed.target,
    '--shm-size': typed.shmSize,
    // The builder's, for whatever it builds.
    '--network': typed.network === 'private' ? undefined : typed.network,
    '--gpus': typed.gpus,
    '--check': typed.check || undefined,
    '--call': typed.call,
  };
  return [
    ...Object.entries(lists).flatMap(([name, values]) => (values.length > 0 ? [name] : [])),
    ...Object.entries(single).flatMap(([name, value]) => (value === undefined ? [] : [name])),
  ];
}

/** @throws {UsageError} `E_USAGE`. @throws {DefinitionError} what `Image.fromDockerfile` throws. */
export async function dockerfileImage(
  typed: TypedDockerfile,
  operand: string,
  module: Pick<EngineModule, 'Image'>,
  context: CliContext,
): Promise<LoadedImage> {
  const { cwd, env } = context;
  if (operand === STDIN && typed.file === STDIN) {
    throw new UsageError('the context and the Dockerfile cannot both come from standard input', {
      code: 'E_USAGE',
    });
  }
  const remote = operand === STDIN ? bytesOf(context.stdin) : isRemoteContext(operand) ? operand : undefined;
  const directory = resolve(cwd, operand);
  if (remote === undefined && statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new UsageError(`the build context '${operand}' is not a directory`, { code: 'E_USAGE' });
  }
  const path: string | DockerfileText | undefined =
    typed.file === STDIN
      ? { text: await readText(context.stdin), name: 'Dockerfile' }
      : remote !== undefined || typed.file === undefined
        ? typed.file
        : resolve(cwd, typed.file);
  const image = module.Image.fromDockerfile(path, {
    ...(remote === undefined ? { contextDir: directory } : { context: remote }),
    buildArgs: buildArgsOf(typed.buildArg, env),
    ...(typed.target === undefined ? {} : { target: typed.target }),
    labels: pairsOf(typed.label),
    buildContexts: pairsOf(typed.buildContext),
    ignoreFiles: 'docker',
    noCacheFilter: typed.noCacheFilter.flatMap((each) => each.split(',')),
    network: typed.network === 'none' ? 'none' : 'host',
    addHosts: Object.fromEntries(typed.addHost),
    ...(typed.shmSize === undefined ? {} : { shmSizeBytes: typed.shmSize }),
    ulimits: typed.ulimit,
    ...(typed.gpus === undefined ? {} : { gpu: typed.gpus }),
    // As buildx: who asks for the host's network for all steps allows it.
    allow: typed.network === 'host' ? [...typed.allow, 'network.host'] : typed.allow,
    buildSecrets: typed.secret,
    ssh: typed.ssh,
  });
  const name = typed.target ?? 'default';
  return { image, exportName: name, definition: `${operand === STDIN ? STDIN : directory}::${name}` };
}

/** A Dockerfile from standard input. */
async function readText(stdin: AsyncIterable<Uint8Array | string>): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stdin) {
    chunks.push(Buffer.from(chunk as string));
    size += chunk.length;
    if (size > MAX_DOCKERFILE_BYTES) {
      throw new UsageError('standard input is too long to be a Dockerfile', {
        code: 'E_USAGE',
        hint: 'pipe an archive into the context instead: tsbuild build - < context.tar',
      });
    }
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function* bytesOf(stream: AsyncIterable<Uint8Array | string>): AsyncIterable<Uint8Array> {
  for await (const chunk of stream) {
    yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
  }
}
