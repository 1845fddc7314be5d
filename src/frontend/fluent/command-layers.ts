/** Definitions of the layers that run the user's own commands (A2.13 of the Image API). */
import { booleanOption, definitionError, flattenStrings, knownOptions, splitOptions } from './arguments.ts';
import type { Diagnostic } from './diagnostic.ts';
import { type LayerDefinition, label, type RunStep } from './layer-definition.ts';
import { type LimitOptions, limitsOption, retriesOption } from './limits-option.ts';
import { recipeOf, STEP_OPTIONS, type StepOptions, stepOptions } from './step-options.ts';
import type { VolumeMap } from './volume.ts';
import { volumeMounts } from './volume-mounts.ts';

export interface RunCommandsOptions extends StepOptions, LimitOptions {
  /** Run all strings as one script with `set -e`. Part of the cache key. @defaultValue false */
  readonly sharedShell?: boolean;
  /** Wall-clock limit of each command in seconds. Not part of the cache key. @defaultValue no limit */
  readonly timeout?: number;
  /**
   * How often the layer is begun again, on a fresh file system, when one of its commands fails. Waits grow from half a second. Not part of
   * the cache key. @defaultValue those of the engine, which are none
   */
  readonly retries?: number;
  /**
   * Mount path to volume. What commands write there persists, also if they fail, and is in no layer. Paths, names and mount
   * options are part of the cache key, contents never. `E_VOLUME_PATH`, `E_VOLUME_TYPE`, `E_VOLUME_DUPLICATE`.
   * @defaultValue none
   */
  readonly volumes?: VolumeMap;
}

/**
 * Whatever a command may call has its cache lent, so that no package cache ends up in a layer by accident.
 * `DEBIAN_FRONTEND` is the apt methods' only; without a terminal and standard input debconf asks nothing anyway.
 */
const LEND = ['pip', 'uv', 'npm', 'apt-archives'] as const;

/** Undefined when the call adds nothing. */
export function runCommands(args: readonly unknown[]): LayerDefinition | undefined {
  const method = 'runCommands';
  const { values, options } = splitOptions(args);
  const commands = flattenStrings(method, values);
  knownOptions(method, options, [
    ...STEP_OPTIONS,
    'sharedShell',
    'timeout',
    'retries',
    'cpu',
    'memory',
    'volumes',
  ]);
  const sharedShell = booleanOption(method, options, 'sharedShell');
  const limit = timeoutMs(method, options.timeout);
  const limits = limitsOption(method, options);
  const retries = retriesOption(method, options);
  const bounds = {
    ...(limit === undefined ? {} : { timeoutMs: limit }),
    ...(retries === undefined ? {} : { retries }),
    ...(Object.keys(limits).length === 0 ? {} : { limits }),
  };
  const common = { ...stepOptions(method, options), volumes: volumeMounts(method, options.volumes) };
  const empty = commands.find((command) => command.trim() === '');
  if (empty !== undefined) {
    throw definitionError('E_EMPTY_COMMAND', `${method}(): a command holds nothing but white space`);
  }
  if (commands.length === 0) {
    return undefined;
  }
  const steps = sharedShell
    ? [step(commands.join('\n'), 'script', [], bounds)]
    : commands.map((command) => {
        const argv = execForm(command);
        return argv === undefined
          ? step(command, 'shell', [], bounds)
          : step(command.trim(), 'exec', argv, bounds);
      });
  return {
    method,
    label: label(method, [commands[0] as string, ...(commands.length > 1 ? ['…'] : [])]),
    steps,
    ...common,
    // The joined text alone does not tell a script from one command of several lines.
    keyExtras: sharedShell ? { sharedShell } : {},
    recipe: [commands, recipeOf(options)],
    diagnostics: sharedShell ? [] : lostState(commands),
    requirements: [],
  };
}

function step(
  text: string,
  form: RunStep['form'],
  argv: readonly string[],
  bounds: Pick<RunStep, 'timeoutMs' | 'retries' | 'limits'>,
): RunStep {
  return { kind: 'run', text, form, argv, lend: LEND, variables: [], ...bounds };
}

/** @throws {DefinitionError} `E_ARG_TYPE`. Seconds become milliseconds. */
export function timeoutMs(method: string, seconds: unknown): number | undefined {
  if (seconds === undefined) {
    return undefined;
  }
  if (typeof seconds !== 'number' || !(seconds > 0) || !Number.isFinite(seconds)) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'timeout' must be a number of seconds above 0`);
  }
  return Math.ceil(seconds * 1000);
}

/** A JSON array of strings is executed without a shell, as in a Dockerfile. An empty one is not a command. */
function execForm(command: string): readonly string[] | undefined {
  if (!command.trimStart().startsWith('[')) {
    return undefined;
  }
  try {
    const parsed: unknown = JSON.parse(command);
    const isArgv =
      Array.isArray(parsed) && parsed.length > 0 && parsed.every((each) => typeof each === 'string');
    return isArgv ? (parsed as string[]) : undefined;
  } catch {
    // `[ -f x ] && …` is a command of the shell.
    return undefined;
  }
}

const ENDS_IN_CD = /(^|[;&|\n(]\s*)cd(\s+[^\s;&|]+)?\s*;?\s*$/;
const ONLY_EXPORT = /^\s*export\s+[^;&|\n]*;?\s*$/;

function lostState(commands: readonly string[]): Omit<Diagnostic, 'layer'>[] {
  const hint = 'every string runs in a shell of its own; join them with &&, or pass sharedShell: true';
  const found: Omit<Diagnostic, 'layer'>[] = [];
  if (commands.slice(0, -1).some((command) => ENDS_IN_CD.test(command))) {
    found.push({
      code: 'W_CD_LOST',
      message: `a command ends in 'cd', which the next one does not see: ${hint}`,
    });
  }
  if (commands.some((command) => ONLY_EXPORT.test(command))) {
    found.push({
      code: 'W_EXPORT_LOST',
      message: `a command only exports a variable, which nothing sees: ${hint}; env() sets one for good`,
    });
  }
  return found;
}
