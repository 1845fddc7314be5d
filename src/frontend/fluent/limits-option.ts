/** Options that bound what a program may use of the machine. */
import type { ResourceLimits } from '../../graph/action.ts';
import { definitionError, type Options } from './arguments.ts';

export interface LimitOptions {
  /**
   * Cores that each program may use, fractions too. Where no control group can be had it is not kept, which `W_LIMITS` says. Not part of
   * the key. @defaultValue that of the engine, which is all
   */
  readonly cpu?: number;
  /**
   * MiB that each program with all that it starts may use, 6 at least; it fails with `E_BUILD_MEMORY` when it needs more. Kept as `cpu`. Not part
   * of the key. @defaultValue that of the engine, which is no limit
   */
  readonly memory?: number;
}

const BYTES_PER_MIB = 1024 ** 2;
/** As Docker: with less, not even an empty program starts. */
const MIN_MEMORY_MIB = 6;
export const MIN_MEMORY_BYTES = MIN_MEMORY_MIB * BYTES_PER_MIB;
/** The kernel gives no smaller part of its period. */
export const MIN_CPUS = 0.01;
const MAX_RETRIES = 100;

/** @throws {DefinitionError} `E_ARG_TYPE` */
export function limitsOption(method: string, { cpu, memory }: Options): ResourceLimits {
  const atLeast = (name: string, value: unknown, least: number, unit: string): number | undefined => {
    if (value !== undefined && (typeof value !== 'number' || !(value >= least) || !Number.isFinite(value))) {
      throw definitionError('E_ARG_TYPE', `${method}(): '${name}' must be a number of ${unit} from ${least}`);
    }
    return value;
  };
  const cpus = atLeast('cpu', cpu, MIN_CPUS, 'cores');
  const mebibytes = atLeast('memory', memory, MIN_MEMORY_MIB, 'MiB');
  return Object.freeze({
    ...(cpus === undefined ? {} : { cpus }),
    ...(mebibytes === undefined ? {} : { memoryBytes: Math.round(mebibytes * BYTES_PER_MIB) }),
  });
}

/** @throws {DefinitionError} `E_ARG_TYPE` */
export function retriesOption(method: string, { retries }: Options): number | undefined {
  if (
    retries !== undefined &&
    (typeof retries !== 'number' || !Number.isInteger(retries) || retries < 0 || retries > MAX_RETRIES)
  ) {
    throw definitionError(
      'E_ARG_TYPE',
      `${method}(): 'retries' must be a whole number from 0 to ${MAX_RETRIES}`,
    );
  }
  return retries;
}
