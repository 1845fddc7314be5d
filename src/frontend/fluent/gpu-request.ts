/** The text of a request for GPUs (B7 of the Image API): `TYPE[:COUNT]`. */
import type { GpuRequest } from '../../graph/action.ts';
import { definitionError, describe } from './arguments.ts';

/** More than any machine has; a count above it is a slip of the keyboard. */
const MAX_COUNT = 1024;
const REQUEST = /^([^\s:\p{Cc}]+)(?::(\d+))?$/u;
const SHOWN = 80;

/**
 * Of what an option `gpu` holds; undefined is none. The name of a type is not checked: which there are is known when the step runs.
 *
 * @param lists - Whether an array, ordered by preference, may be given.
 * @returns Frozen. Several are alternatives, the best first.
 * @throws {DefinitionError} `E_GPU_FORMAT`
 */
export function gpuRequests(
  method: string,
  value: unknown,
  { lists }: { readonly lists: boolean },
): readonly GpuRequest[] {
  if (value === undefined) {
    return NO_GPU;
  }
  if (!Array.isArray(value)) {
    return Object.freeze([gpuRequest(method, value)]);
  }
  if (!lists) {
    throw definitionError('E_GPU_FORMAT', `${method}(): 'gpu' is one request here, not a list of them`);
  }
  if (value.length === 0) {
    throw definitionError('E_GPU_FORMAT', `${method}(): 'gpu' is a list without any request`);
  }
  return Object.freeze(value.map((each) => gpuRequest(method, each)));
}

export const NO_GPU: readonly GpuRequest[] = Object.freeze([]);

function gpuRequest(method: string, value: unknown): GpuRequest {
  if (typeof value !== 'string') {
    throw gpuFormat(`${method}(): 'gpu' must be a string, not ${describe(value)}`);
  }
  const [, type, count = '1'] = REQUEST.exec(value) ?? [];
  if (type === undefined || Number(count) < 1 || Number(count) > MAX_COUNT) {
    throw gpuFormat(`${method}(): 'gpu' cannot be '${value.slice(0, SHOWN)}'`);
  }
  return Object.freeze({ type: type.toUpperCase(), count: Number(count) });
}

function gpuFormat(message: string) {
  return definitionError('E_GPU_FORMAT', message, "write it as 'H100', 'A100-80GB:4' or 'any'");
}
