/**
 * The text of a request for GPUs (B7 of the Image API): `TYPE[:COUNT]`, and what Docker's `--gpus` takes: `all`, a number,
 * `device=…`. Each may say how large and how able the GPUs have to be: `any:2,memory>=40GB,compute>=8.0`.
 */
import { lazily } from '../../base/lazily.ts';
import type { GpuRequest } from '../../graph/action.ts';
import { definitionError, describe } from './arguments.ts';

/** More than any machine has; a count above it is a slip of the keyboard. */
const MAX_COUNT = 1024;
const TYPE = lazily(() => /^([^\s:=<>\p{Cc}]+)(?::(\d+|all))?$/iu);
const MEMORY = /^memory>=(\d+(?:\.\d+)?)(MB|GB|TB|MiB|GiB|TiB)$/i;
const COMPUTE = /^compute>=(\d+(?:\.\d+)?)$/i;
/** A number, a UUID, a part of a GPU. */
const DEVICE = /^[A-Za-z0-9][\w:.-]*$/;
const BYTES: Readonly<Record<string, number>> = {
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  MIB: 1024 ** 2,
  GIB: 1024 ** 3,
  TIB: 1024 ** 4,
};
const ANY = 'ANY';
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
  const request = parseGpuRequest(value);
  if (request === undefined) {
    throw gpuFormat(`${method}(): 'gpu' cannot be '${value.slice(0, SHOWN)}'`);
  }
  return request;
}

/** Undefined for what is no request. */
export function parseGpuRequest(text: string): GpuRequest | undefined {
  const [first = '', ...rest] = text.split(',');
  const named = first.startsWith('device=') ? undefined : withoutDevices(first);
  const words = named === undefined ? [first, ...rest] : rest;
  const devices: string[] = [];
  let memoryBytes: number | undefined;
  let compute: string | undefined;
  let inDevices = false;
  for (const word of words) {
    const memory = MEMORY.exec(word);
    const least = COMPUTE.exec(word)?.[1];
    if (memory !== null && memoryBytes === undefined) {
      memoryBytes = Math.ceil(Number(memory[1]) * (BYTES[memory[2]?.toUpperCase() ?? ''] ?? Number.NaN));
    } else if (least !== undefined && compute === undefined) {
      compute = least.includes('.') ? least : `${least}.0`;
    } else if (named === undefined && (inDevices || word.startsWith('device='))) {
      // As Docker has it: what follows without a name of its own are more devices.
      devices.push(word.replace(/^device=/, ''));
      inDevices = true;
      continue;
    } else {
      return undefined;
    }
    inDevices = false;
  }
  const isWrong =
    memoryBytes === 0 ||
    devices.length > MAX_COUNT ||
    !devices.every((device) => DEVICE.test(device)) ||
    new Set(devices).size < devices.length;
  // Without a type or a device, what is asked of the GPU is enough: `memory>=40GB`.
  const isEmpty =
    named === undefined && devices.length === 0 && memoryBytes === undefined && compute === undefined;
  if (isWrong || isEmpty) {
    return undefined;
  }
  return Object.freeze({
    ...(named ?? { type: ANY, count: devices.length || 1 }),
    ...(devices.length === 0 ? {} : { devices: Object.freeze(devices) }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(compute === undefined ? {} : { compute }),
  });
}

/** `TYPE[:COUNT]`, `all`, a number. */
function withoutDevices(word: string): Pick<GpuRequest, 'type' | 'count'> | undefined {
  const [, type, count = '1'] = TYPE().exec(word.replace(/^count=(?=\d+$)/, '')) ?? [];
  if (type === undefined) {
    return undefined;
  }
  if (type.toLowerCase() === 'all') {
    return word.includes(':') ? undefined : { type: ANY, count: 'all' };
  }
  const isNumber = /^\d+$/.test(type) && !word.includes(':');
  const number = isNumber ? type : count;
  if (number.toLowerCase() === 'all') {
    return { type: type.toUpperCase(), count: 'all' };
  }
  if (Number(number) < 1 || Number(number) > MAX_COUNT) {
    return undefined;
  }
  return { type: isNumber ? ANY : type.toUpperCase(), count: Number(number) };
}

function gpuFormat(message: string) {
  return definitionError('E_GPU_FORMAT', message, GPU_FORMS);
}

export const GPU_FORMS =
  "write it as 'H100', 'A100-80GB:4', 'any', 'all', '2', 'device=0' or 'any,memory>=40GB,compute>=8.0'";
