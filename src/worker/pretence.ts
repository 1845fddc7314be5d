/** Says once for a worker that owners are lost: it is the machine's fault, and no step's. */
import { subuidHint } from '../executor/run-program.ts';
import type { RequestContext, WorkerContext } from './context.ts';

export function warnOfPretence(
  { executor, said }: WorkerContext,
  { emit }: Pick<RequestContext, 'emit'>,
): void {
  if (executor.ownerKeeping === 'pretended' && !said.has('pretence')) {
    said.add('pretence');
    const message = `only one user id is available, and a filter above tsbuild keeps it from recording others: every file that a step makes belongs to root; ${subuidHint()}`;
    emit({ kind: 'warning', code: 'W_OWNERS_PRETENDED', message });
  }
}
