/** Flags of the commands that start a container. */
import { UsageError } from '../errors.ts';
import type { CliContext } from './context.ts';
import type { EngineModule, RunOptions } from './engine-api.ts';
import { loadRunnable, looksLikeDefinition, parseDefinitionName, type Runnable } from './load-definition.ts';
import { BadValue, choice, flag, list, nonEmpty, type Values, value } from './option.ts';
import { GPUS_OPTION, PARAM_OPTION, PLATFORM_OPTION } from './shared-options.ts';

export const CONTAINER_OPTIONS = {
  env: list({
    long: 'env',
    short: 'e',
    valueName: 'NAME=VALUE',
    summary: 'Set an environment variable',
    detail:
      'Sets an environment variable of the command. Without `=VALUE` the value is taken from this environment.',
    parse: (given) => {
      if (!/^[A-Za-z_][A-Za-z0-9_]*(=|$)/.test(given)) {
        throw new BadValue(`'${given}' is not NAME=VALUE`);
      }
      return given;
    },
  }),
  volume: list({
    long: 'volume',
    short: 'v',
    valueName: 'NAME:PATH[:ro]',
    summary: 'Mount a volume, made if it is missing',
    detail:
      'Mounts the volume NAME on the absolute path PATH of the container; `:ro` after it makes it read-only. A volume that is not there is made. What the command writes to it stays.',
    parse: parseVolume,
  }),
  workdir: value({
    long: 'workdir',
    short: 'w',
    valueName: 'PATH',
    summary: 'Directory to run in',
    detail: 'The directory in the image in which the command starts.',
    defaultText: "the image's own",
    parse: nonEmpty,
  }),
  user: value({
    long: 'user',
    short: 'u',
    valueName: 'USER',
    summary: 'User to run as',
    detail: 'User name or number, with or without `:GROUP`.',
    defaultText: "the image's own",
    parse: nonEmpty,
  }),
  network: choice({
    long: 'network',
    valueName: 'MODE',
    words: ['host', 'none', 'private'],
    summary: 'Network of the command',
    detail:
      "Network of the command: that of this machine, none, or `private`: one of its own that leads where this machine's does and not to this machine's loopback interface; it needs the package passt. With `private`, steps that are built for it have such a one too.",
    defaultText: 'host',
    environment: 'TSBUILD_NETWORK',
  }),
  gpus: GPUS_OPTION,
  pull: flag({
    long: 'pull',
    summary: 'Look up what the tags of bases mean now',
    detail: 'Asks the registries again what the tags of base images mean.',
  }),
  platform: PLATFORM_OPTION,
  param: PARAM_OPTION,
} as const;

/** What they mean to the engine. */
export function containerOptions(
  typed: Values<typeof CONTAINER_OPTIONS>,
  context: CliContext,
  module: EngineModule,
): RunOptions {
  return {
    signal: context.signal,
    env: environment(typed.env, context.env),
    pull: typed.pull,
    ...(typed.volume.length === 0 ? {} : { volumes: volumes(typed.volume, module) }),
    ...(typed.workdir === undefined ? {} : { workdir: typed.workdir }),
    ...(typed.user === undefined ? {} : { user: typed.user }),
    ...(typed.network === undefined ? {} : { network: typed.network }),
    ...(typed.gpus === undefined ? {} : { gpu: typed.gpus }),
    ...(typed.platform === undefined ? {} : { platform: typed.platform }),
  };
}

/**
 * What the definition exports that the operand names; `undefined` where it names an image.
 *
 * @throws {UsageError} `E_USAGE` for `--param` with the name of an image.
 */
export async function loadIfDefinition(
  operand: string,
  typed: Pick<Values<typeof CONTAINER_OPTIONS>, 'param'>,
  context: CliContext,
  module: EngineModule,
): Promise<Runnable | undefined> {
  if (looksLikeDefinition(operand)) {
    const { cwd, signal } = context;
    return await loadRunnable(parseDefinitionName(operand), { ...module, cwd, params: typed.param, signal });
  }
  if (typed.param.length > 0) {
    throw new UsageError(`--param is for a definition, and '${operand}' is the name of an image`, {
      code: 'E_USAGE',
    });
  }
  return undefined;
}

export interface VolumeSpec {
  readonly name: string;
  readonly path: string;
  readonly readOnly: boolean;
}

function parseVolume(given: string): VolumeSpec {
  const [, name = '', path = '', mode] = /^([^:/]+):(\/[^:]*)(?::(ro|rw))?$/.exec(given) ?? [];
  if (name === '') {
    throw new BadValue(`'${given}' is not NAME:/PATH or NAME:/PATH:ro`);
  }
  return { name, path, readOnly: mode === 'ro' };
}

function volumes(given: readonly VolumeSpec[], { Volume }: EngineModule): NonNullable<RunOptions['volumes']> {
  const byPath: Record<string, NonNullable<RunOptions['volumes']>[string]> = {};
  for (const { name, path, readOnly } of given) {
    if (byPath[path] !== undefined) {
      throw new UsageError(`two volumes are to be mounted on '${path}'`, { code: 'E_USAGE' });
    }
    byPath[path] = Volume.fromName(name, { createIfMissing: true }).withMountOptions({ readOnly });
  }
  return byPath;
}

function environment(given: readonly string[], own: NodeJS.ProcessEnv): Record<string, string> {
  const result: Record<string, string> = {};
  for (const text of given) {
    const equals = text.indexOf('=');
    const name = equals < 0 ? text : text.slice(0, equals);
    const found = equals < 0 ? own[name] : text.slice(equals + 1);
    if (found !== undefined) {
      result[name] = found;
    }
  }
  return result;
}
