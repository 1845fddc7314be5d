/** Debian packages become a layer: unpacked by the native helper, configured in the sandbox. */
import { InternalError } from '../errors.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { AssembleDebianParams, StepResult } from './protocol.ts';

export async function assembleDebian(
  _context: WorkerContext,
  _params: AssembleDebianParams,
  _request: RequestContext,
): Promise<StepResult> {
  throw new InternalError('assembly arrives with src/debian');
}
