/**
 * Where a program lives besides its root: the control group that limits it, and its network. The same for every sandbox: the
 * program that makes one is started there (`enter.rs`), and makes neither itself.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { releaseAll } from '../base/release-all.ts';
import type { ResourceLimits } from '../graph/action.ts';
import type { CgroupPlace } from './cgroup-place.ts';
import { connectNamespace } from './private-network.ts';
import type { NetworkMode, SandboxPlace } from './sandbox.ts';
import { StepCgroup } from './step-cgroup.ts';

export interface PlaceRequest {
  readonly network: NetworkMode;
  /** Those that can be kept. */
  readonly limits: ResourceLimits;
  readonly cgroups: CgroupPlace | undefined;
  /** Of this program alone. */
  readonly dir: string;
  /** On the host. */
  readonly launcher: string;
  /** Of the program that makes the sandbox. */
  readonly ownTasks: number;
  /** See {@link connectNamespace}. */
  readonly loopbackPorts: readonly number[];
  readonly signal: AbortSignal;
}

export interface StepPlace extends SandboxPlace {
  reached(): 'memory' | 'pids' | undefined;
  close(): Promise<void>;
}

/** @throws {HostError} `E_LIMITS` */
export function makePlace(request: PlaceRequest): StepPlace {
  const { network, limits, cgroups, dir, launcher, signal } = request;
  const held: (() => Promise<void>)[] = [];
  const cgroup =
    cgroups === undefined || Object.keys(limits).length === 0
      ? undefined
      : new StepCgroup(cgroups, limits, request.ownTasks);
  if (cgroup !== undefined) {
    held.push(() => cgroup.remove());
  }
  const words = (cgroup?.directories ?? []).flatMap((directory) => ['--cgroup', directory]);
  let sys = '/sys';
  if (network !== 'host') {
    sys = join(dir, 'sys');
    mkdirSync(sys);
    words.push('--network', '--sysfs', sys);
  }
  return {
    launcher,
    entry: words,
    sys,
    ...(cgroup?.view === undefined ? {} : { cgroupView: cgroup.view }),
    ...(network === 'private'
      ? {
          begin: async (pid) => {
            const connected = await connectNamespace({ pid, dir, ports: request.loopbackPorts, signal });
            held.push(() => connected.close());
          },
        }
      : {}),
    reached: () => cgroup?.reached(),
    close: () => releaseAll(held),
  };
}
