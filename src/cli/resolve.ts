/** What was typed and what the machine says, together: the options of the engine. */
import { resolve } from 'node:path';
import type { IsolationChoice } from '../base/isolation.ts';
import { UsageError } from '../errors.ts';
import { cdiDirsOf } from '../executor/cdi.ts';
import type { CliContext } from './context.ts';
import type { EngineOptions } from './engine-api.ts';
import type { ProgressKind } from './progress/open.ts';

/** The options that {@link ENGINE_OPTIONS} declares, as far as a command has them. */
export interface TypedEngineOptions {
  readonly progress?: ProgressKind | undefined;
  readonly quiet?: boolean;
  readonly jobs?: number | undefined;
  readonly hostCa?: 'auto' | 'always' | 'never' | undefined;
  readonly offline?: boolean;
  readonly isolation?: IsolationChoice | undefined;
  readonly gpuPolicy?: 'auto' | 'strict' | 'ignore' | undefined;
  readonly cdiDir?: readonly string[];
  readonly driverRoot?: string | undefined;
  readonly seccomp?: string | undefined;
  readonly sandbox?: 'auto' | 'bubblewrap' | 'runc' | 'crun' | undefined;
  readonly memory?: number | undefined;
  readonly cpus?: number | undefined;
  readonly pidsLimit?: number | undefined;
  readonly stepTimeout?: number | undefined;
  readonly stepRetries?: number | undefined;
  /** Those words that are of the engine; the others are of Dockerfiles and of commands. */
  readonly network?: string | undefined;
  readonly builderVersion?: EngineOptions['builderVersion'] | undefined;
}

/**
 * Everything of {@link EngineOptions} but the events, which belong to whoever draws them. What was not typed is left out:
 * the environment and the configuration files speak then, and the engine reads those.
 */
export function resolveEngine(typed: TypedEngineOptions, context: CliContext): EngineOptions {
  return {
    env: context.env,
    signal: context.signal,
    ...(typed.jobs === undefined ? {} : { jobs: typed.jobs }),
    ...(typed.hostCa === undefined ? {} : { hostCa: typed.hostCa }),
    ...(typed.offline === true ? { offline: true } : {}),
    ...(typed.isolation === undefined ? {} : { isolation: typed.isolation }),
    ...(typed.gpuPolicy === undefined ? {} : { gpuPolicy: typed.gpuPolicy }),
    ...resolveDevices(typed, context),
    ...(typed.seccomp === undefined ? {} : { seccomp: typed.seccomp }),
    ...(typed.sandbox === undefined ? {} : { sandbox: typed.sandbox }),
    ...(typed.memory === undefined ? {} : { memoryBytes: typed.memory }),
    ...(typed.cpus === undefined ? {} : { cpus: typed.cpus }),
    ...(typed.pidsLimit === undefined ? {} : { pidsLimit: typed.pidsLimit }),
    ...(typed.stepTimeout === undefined ? {} : { stepTimeoutMs: typed.stepTimeout }),
    ...(typed.stepRetries === undefined ? {} : { stepRetries: typed.stepRetries }),
    ...(typed.network === 'private' ? { network: typed.network } : {}),
    ...(typed.builderVersion === undefined ? {} : { builderVersion: typed.builderVersion }),
  };
}

/** Where devices are looked for. */
export function resolveDevices(
  { cdiDir = [], driverRoot }: Pick<TypedEngineOptions, 'cdiDir' | 'driverRoot'>,
  { cwd }: Pick<CliContext, 'cwd'>,
): Pick<EngineOptions, 'cdiDirs' | 'driverRoot'> {
  return {
    ...(cdiDir.length === 0 ? {} : { cdiDirs: cdiDirsOf(cdiDir.map((each) => resolve(cwd, each))) }),
    ...(driverRoot === undefined ? {} : { driverRoot: resolve(cwd, driverRoot) }),
  };
}

const LEVELS: ReadonlyMap<string, ProgressKind> = new Map([
  ['quiet', 'quiet'],
  ['info', 'auto'],
  ['debug', 'plain'],
]);

/** @throws {UsageError} `E_USAGE` for a TSBUILD_LOGLEVEL that there is not. */
export function resolveProgress(
  typed: TypedEngineOptions,
  { TSBUILD_LOGLEVEL: level = '' }: NodeJS.ProcessEnv,
): ProgressKind {
  if (typed.quiet === true) {
    return 'quiet';
  }
  const ofLevel = LEVELS.get(level === '' ? 'info' : level);
  if (ofLevel === undefined) {
    throw new UsageError(`TSBUILD_LOGLEVEL is '${level}'; it can be ${[...LEVELS.keys()].join(', ')}`, {
      code: 'E_USAGE',
    });
  }
  return typed.progress ?? ofLevel;
}
