/** What an engine gives to the programs that it runs, steps and containers alike: limits, time, retries, network. In no key. */
import { UsageError } from '../errors.ts';
import { type CgroupPlace, findCgroupPlace } from '../executor/cgroup-place.ts';
import { MIN_CPUS, MIN_MEMORY_BYTES } from '../frontend/fluent/limits-option.ts';
import type { ResourceLimits } from '../graph/action.ts';
import type { LimitsPolicy, LimitsToKeep, ProgramDefaults } from '../worker/protocol.ts';

/** Those of {@link EngineOptions}. */
export interface ProgramOptions {
  readonly memoryBytes?: number;
  readonly cpus?: number;
  readonly pidsLimit?: number;
  readonly stepTimeoutMs?: number;
  readonly stepRetries?: number;
  readonly network: 'host' | 'private';
}

/** Engines of this process that have found control groups: only the last of them moves the process back. */
const holders = new Set<Programs>();
const restores: (() => void)[] = [];

export class Programs {
  readonly defaults: ProgramDefaults;
  readonly #limitsPolicy: LimitsPolicy;
  #cgroups: CgroupPlace | undefined;

  constructor(defaults: ProgramDefaults, limitsPolicy: LimitsPolicy) {
    this.defaults = defaults;
    this.#limitsPolicy = limitsPolicy;
  }

  /** Where control groups are is looked for when somebody wants the first limit: it may move processes. */
  keep(limits: readonly (ResourceLimits | undefined)[]): LimitsToKeep {
    const isWanted = limits.some((each) => each !== undefined && Object.keys(each).length > 0);
    return { limitsPolicy: this.#limitsPolicy, ...(isWanted ? { cgroups: this.#find() } : {}) };
  }

  #find(): CgroupPlace {
    if (this.#cgroups === undefined) {
      const { place, restore } = findCgroupPlace();
      this.#cgroups = place;
      holders.add(this);
      restores.push(restore);
    }
    return this.#cgroups;
  }

  /** After everything that was run has ended. */
  close(): void {
    if (holders.delete(this) && holders.size === 0) {
      for (const restore of restores.splice(0).reverse()) {
        restore();
      }
    }
  }
}

/** @throws {UsageError} `E_USAGE` */
export function programDefaults(options: ProgramOptions): ProgramDefaults {
  const { memoryBytes, cpus, pidsLimit, stepTimeoutMs, stepRetries, network } = options;
  const above = (name: string, value: number | undefined, least: number, whole: boolean) => {
    if (
      value !== undefined &&
      !(value >= least && Number.isFinite(value) && (!whole || Number.isInteger(value)))
    ) {
      throw new UsageError(
        `'${name}' is ${value}; it can be a ${whole ? 'whole ' : ''}number from ${least}`,
        {
          code: 'E_USAGE',
        },
      );
    }
  };
  above('memoryBytes', memoryBytes, MIN_MEMORY_BYTES, true);
  above('cpus', cpus, MIN_CPUS, false);
  above('pidsLimit', pidsLimit, 1, true);
  above('stepTimeoutMs', stepTimeoutMs, 1, false);
  above('stepRetries', stepRetries, 0, true);
  return {
    network,
    limits: {
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      ...(cpus === undefined ? {} : { cpus }),
      ...(pidsLimit === undefined ? {} : { pids: pidsLimit }),
    },
    ...(stepTimeoutMs === undefined ? {} : { timeoutMs: stepTimeoutMs }),
    ...(stepRetries === undefined ? {} : { retries: stepRetries }),
  };
}
