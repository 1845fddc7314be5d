/** Which limits a program gets, and what is said of those that cannot be kept here. */
import { HostError } from '../errors.ts';
import { DELEGATION_FIX } from '../executor/cgroup-place.ts';
import { isLoopback } from '../executor/private-network.ts';
import type { NetworkMode } from '../executor/sandbox.ts';
import { unkeptLimits } from '../executor/step-cgroup.ts';
import type { ResourceLimits } from '../graph/action.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { LimitsToKeep } from './protocol.ts';

/**
 * With a warning, once, about what cannot be kept.
 *
 * @throws {HostError} `E_LIMITS` where the policy wants all of them.
 */
export function limitsFor(
  { said }: WorkerContext,
  limits: ResourceLimits,
  { cgroups, limitsPolicy }: LimitsToKeep,
  { emit }: RequestContext,
): ResourceLimits {
  if (Object.keys(limits).length === 0) {
    return limits;
  }
  const unkept = unkeptLimits(limits, cgroups);
  if (unkept.length > 0) {
    const message = `no limit of ${unkept.join(', ')} is kept: ${cgroups?.reason}`;
    if (limitsPolicy === 'require') {
      throw new HostError(`a step is to be limited, and ${message}`, {
        code: 'E_LIMITS',
        hint: DELEGATION_FIX,
      });
    }
    if (!said.has(message)) {
      said.add(message);
      emit({ kind: 'warning', code: 'W_LIMITS', message: `${message}; ${DELEGATION_FIX}` });
    }
  }
  const { memoryBytes, cpus, pids } = limits;
  return {
    ...(memoryBytes === undefined || unkept.includes('memory') ? {} : { memoryBytes }),
    ...(cpus === undefined || unkept.includes('cpu') ? {} : { cpus }),
    ...(pids === undefined || unkept.includes('pids') ? {} : { pids }),
  };
}

/** A proxy of this machine is nowhere in a network that does not lead to it. */
export function warnOfLoopbackProxies(
  { said, executor }: WorkerContext,
  network: NetworkMode,
  { emit }: RequestContext,
): void {
  const names = network === 'private' ? executor.lent.proxyHosts.filter(isLoopback) : [];
  if (names.length > 0 && !said.has('proxy')) {
    said.add('proxy');
    emit({
      kind: 'warning',
      code: 'W_PROXY_LOOPBACK',
      message: `the proxy on '${names[0]}' cannot be reached from a private network; name it by another address of this machine, or use --network host`,
    });
  }
}
