import { constants } from 'node:os';
import { inspect, isDeepStrictEqual } from 'node:util';
import { StepError, UsageError } from '../../errors.ts';
import { command } from '../command.ts';
import type { EngineModule, RunOptions } from '../engine-api.ts';
import { loadRunnable, looksLikeDefinition, parseDefinitionName } from '../load-definition.ts';
import { BadValue, choice, flag, list, nonEmpty, value } from '../option.ts';
import { parseDuration } from '../quantity.ts';
import { withEngine } from '../session.ts';
import { ENGINE_OPTIONS, GPUS_OPTION, PARAM_OPTION, PLATFORM_OPTION } from '../shared-options.ts';

export default command({
  operands: [
    {
      name: 'IMAGE',
      summary: 'A definition file with or without ::EXPORT, or the name or id of an image',
      required: true,
      completion: 'file',
    },
  ],
  rest: {
    name: 'COMMAND',
    summary: "What to run instead of the image's own command, or the arguments of a function",
  },
  options: {
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
    timeout: value({
      long: 'timeout',
      valueName: 'TIME',
      summary: 'End the command after this time',
      detail: 'Ends the command when it runs longer than this, such as `90s` or `1h`.',
      defaultText: 'no limit',
      parse: parseDuration,
    }),
    pull: flag({
      long: 'pull',
      summary: 'Look up what the tags of bases mean now',
      detail: 'Asks the registries again what the tags of base images mean.',
    }),
    platform: PLATFORM_OPTION,
    param: PARAM_OPTION,
    ...ENGINE_OPTIONS,
  },
  foreignFlags: { gpu: 'write --gpus, which takes the same' },
  detail:
    "Builds a definition's image if that is necessary, and runs a command in it: its entrypoint with what follows '--', or with its own command. What the command changes is thrown away. Ends with the command's status; 128 and the signal's number when a signal ended it. Of a definition that exports a function of an App, alone or named after `::`, the function is called with what follows '--' as arguments (JSON, or texts), and its result is printed.",
  examples: [
    { purpose: 'Run the image of a definition', command: 'tsbuild run image.ts' },
    { purpose: 'Run another command in it', command: 'tsbuild run image.ts::web -- python3 --version' },
    { purpose: 'Call a function of an app', command: 'tsbuild run app.ts::resize -- photo.png 64' },
    { purpose: 'Run an image of the store', command: 'tsbuild run web:1 -e DEBUG=1 -- env' },
  ],
  async run({ options, operands: [operand = ''], rest }, context) {
    const module = await context.loadEngine();
    const runOptions: RunOptions = {
      signal: context.signal,
      env: environment(options.env, context.env),
      pull: options.pull,
      ...(options.volume.length === 0 ? {} : { volumes: volumes(options.volume, module) }),
      ...(options.workdir === undefined ? {} : { workdir: options.workdir }),
      ...(options.user === undefined ? {} : { user: options.user }),
      ...(options.network === undefined ? {} : { network: options.network }),
      ...(options.gpus === undefined ? {} : { gpu: options.gpus }),
      ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout }),
      ...(options.platform === undefined ? {} : { platform: options.platform }),
    };
    const isDefinition = looksLikeDefinition(operand);
    if (!isDefinition && options.param.length > 0) {
      throw new UsageError(`--param is for a definition, and '${operand}' is the name of an image`, {
        code: 'E_USAGE',
      });
    }
    const loaded = isDefinition
      ? await loadRunnable(parseDefinitionName(operand), {
          ...module,
          cwd: context.cwd,
          params: options.param,
          signal: context.signal,
        })
      : undefined;
    const definition = loaded === undefined ? {} : { definition: loaded.definition };
    if (loaded?.kind === 'function') {
      const values = module.callValues(loaded.function, { args: (rest ?? []).map(argument) });
      let hasBeenShown = false;
      const returned = await withEngine(context, module, options, ({ engine, endProgress }) =>
        engine.callFunction(loaded.function, values, {
          ...runOptions,
          ...definition,
          onOutput: (stream, chunk) => {
            hasBeenShown = true;
            endProgress();
            (stream === 'stdout' ? context.stdout : context.stderr).write(chunk);
          },
        }),
      ).catch((error) => {
        throw hasBeenShown && error instanceof StepError ? withoutOutput(error) : error;
      });
      context.stdout.write(resultText(returned));
      return 0;
    }
    const result = await withEngine(context, module, options, ({ engine, endProgress }) =>
      engine.run(loaded?.image ?? operand, rest, {
        ...runOptions,
        ...definition,
        onOutput: (stream, chunk) => {
          // From the first byte on the terminal is the command's.
          endProgress();
          (stream === 'stdout' ? context.stdout : context.stderr).write(chunk);
        },
      }),
    );
    return result.signal === undefined ? result.exitCode : 128 + signalNumber(result.signal);
  },
});

/** What the function printed stands on the terminal above the error already. */
function withoutOutput(error: StepError): StepError {
  const { message, code, hint, cause } = error;
  return new StepError(message, { ...error, code, hint, cause, logTail: '' });
}

interface VolumeSpec {
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

/** JSON where it is, else the text itself. */
function argument(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** A text as it is, nothing for nothing, JSON for what JSON can say, and what Node shows for the rest. */
function resultText(value: unknown): string {
  if (value === undefined) {
    return '';
  }
  if (typeof value === 'string') {
    return `${value}\n`;
  }
  try {
    const json = JSON.stringify(value, undefined, 2);
    if (isDeepStrictEqual(JSON.parse(json), value)) {
      return `${json}\n`;
    }
  } catch {
    // A BigInt, for example.
  }
  return `${inspect(value, { depth: Number.POSITIVE_INFINITY })}\n`;
}

function signalNumber(name: string): number {
  return (constants.signals as Readonly<Record<string, number>>)[name] ?? 0;
}
