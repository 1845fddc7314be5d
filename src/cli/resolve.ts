/** What was typed and what the machine says, together: the options of the engine. */
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
  readonly gpuPolicy?: 'auto' | 'strict' | 'ignore' | undefined;
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
    ...(typed.gpuPolicy === undefined ? {} : { gpuPolicy: typed.gpuPolicy }),
  };
}

export function resolveProgress(typed: TypedEngineOptions): ProgressKind {
  return typed.quiet === true ? 'quiet' : (typed.progress ?? 'auto');
}
