/** What was typed and what the machine says, together: the options of the engine. */
import { resolve } from 'node:path';
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
}

/** Everything of {@link EngineOptions} but the events, which belong to whoever draws them. */
export function resolveEngine(typed: TypedEngineOptions, context: CliContext): EngineOptions {
  const home = context.env.TSBUILD_HOME;
  return {
    env: context.env,
    signal: context.signal,
    ...(home === undefined || home === '' ? {} : { storeDir: resolve(context.cwd, home) }),
    ...(typed.jobs === undefined ? {} : { jobs: typed.jobs }),
    ...(typed.hostCa === undefined ? {} : { hostCa: typed.hostCa }),
    offline: typed.offline === true || isSet(context.env.TSBUILD_OFFLINE),
  };
}

export function resolveProgress(typed: TypedEngineOptions): ProgressKind {
  return typed.quiet === true ? 'quiet' : (typed.progress ?? 'auto');
}

/** Unset, empty, `0` and `false` are false, everything else is true (A5.2 of the Image API). */
export function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== '' && value !== '0' && value.toLowerCase() !== 'false';
}
