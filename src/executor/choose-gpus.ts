/** From requests for GPUs to devices of this machine (Image API, B7), whoever found them. */
import { HostError } from '../errors.ts';
import type { GpuRequest } from '../graph/action.ts';
import type { GpuPolicy } from '../worker/protocol.ts';

export interface InstalledGpu {
  /** In the Container Device Interface. */
  readonly name: string;
  /** What else it is called: its number, its UUID. */
  readonly aliases: readonly string[];
  /** `NVIDIA H100 80GB HBM3`, as far as it can be known. */
  readonly model: string | undefined;
  /** As far as it can be known. */
  readonly memoryBytes?: number | undefined;
  /** As far as it can be known: `9.0`. */
  readonly compute?: string | undefined;
  /** A part of a GPU (MIG). */
  readonly isInstance?: boolean;
}

export interface GpuInventory {
  /** In the order of the machine. */
  readonly gpus: readonly InstalledGpu[];
  /** What else there is to say, in sentences: descriptions that cannot be used, what the driver lacks. */
  readonly remarks: readonly string[];
  /** What makes GPUs known that are not. */
  readonly hint: string;
}

export interface ChosenGpus {
  /** In the order of the machine; empty with the policy `ignore`. */
  readonly gpus: readonly InstalledGpu[];
  readonly warnings: readonly { readonly code: 'W_GPU_TYPE' | 'W_GPU_IGNORED'; readonly message: string }[];
}

export const ANY_GPU = 'ANY';
const BYTES_PER_GB = 1e9;

/**
 * What a request says of memory, compute capability and devices holds with every policy; what it says of the type is judged by it.
 *
 * @param requests - Alternatives, the best first.
 * @throws {HostError} `E_GPU_UNAVAILABLE`, which says what is there.
 */
export function chooseGpus(
  requests: readonly GpuRequest[],
  policy: GpuPolicy,
  inventory: GpuInventory,
): ChosenGpus {
  const asked = requests.map(shownRequest).join(' or ');
  if (policy === 'ignore') {
    const message = `the step asks for ${asked} and gets no GPU, as the policy 'ignore' says`;
    return { gpus: [], warnings: [{ code: 'W_GPU_IGNORED', message }] };
  }
  const tried = requests.map((request) => {
    const able = inventory.gpus.filter((gpu) => isAble(gpu, request));
    return { request, able, fitting: able.filter(({ model }) => isOfType(model, request.type)) };
  });
  for (const { request, fitting } of tried) {
    if (isEnough(fitting, request)) {
      return { gpus: take(fitting, request, inventory), warnings: [] };
    }
  }
  const enough = tried.find(({ able, request }) => isEnough(able, request));
  if (policy === 'strict' || enough === undefined) {
    throw unavailable(asked, policy, inventory, requests);
  }
  const { able, request } = enough;
  const gpus = take(able, request, inventory);
  const others = gpus.filter(({ model }) => !isOfType(model, request.type)).map(described);
  const message = `the step asks for ${asked} and gets ${others.join(', ')}`;
  return { gpus, warnings: [{ code: 'W_GPU_TYPE', message }] };
}

/** As a person would say it. */
function shownRequest({ type, count, devices, memoryBytes, compute }: GpuRequest): string {
  const what = type === ANY_GPU ? 'any type' : `type ${type}`;
  const much = [
    ...(memoryBytes === undefined
      ? []
      : [`at least ${Number((memoryBytes / BYTES_PER_GB).toFixed(2))} GB of memory`]),
    ...(compute === undefined ? [] : [`compute capability ${compute} or more`]),
  ];
  const which =
    devices !== undefined
      ? `the GPU${devices.length === 1 ? '' : 's'} ${devices.join(', ')}`
      : count === 'all'
        ? `all GPUs of ${what}`
        : count === 1
          ? `a GPU of ${what}`
          : `${count} GPUs of ${what}`;
  return [which, ...(much.length === 0 ? [] : [`with ${much.join(' and ')}`])].join(' ');
}

function isEnough(gpus: readonly InstalledGpu[], { count }: GpuRequest): boolean {
  return gpus.length >= (count === 'all' ? 1 : count);
}

/** Those of the type first, whole ones before parts; what is taken is in the order of the machine. */
function take(
  gpus: readonly InstalledGpu[],
  { type, count }: GpuRequest,
  inventory: GpuInventory,
): readonly InstalledGpu[] {
  const rank = ({ model, isInstance }: InstalledGpu) =>
    (isOfType(model, type) ? 0 : 2) + (isInstance === true ? 1 : 0);
  const best = gpus
    .toSorted((left, right) => rank(left) - rank(right))
    .slice(0, count === 'all' ? undefined : count);
  return inventory.gpus.filter((gpu) => best.includes(gpu));
}

function isAble(gpu: InstalledGpu, { devices, memoryBytes, compute }: GpuRequest): boolean {
  const called = [gpu.name, ...gpu.aliases].map((name) => name.toLowerCase());
  return (
    (devices === undefined || devices.some((device) => called.includes(device.toLowerCase()))) &&
    (memoryBytes === undefined || (gpu.memoryBytes ?? 0) >= memoryBytes) &&
    (compute === undefined || (gpu.compute !== undefined && compareCompute(gpu.compute, compute) >= 0))
  );
}

/** `10.0` is more than `9.0`. */
function compareCompute(left: string, right: string): number {
  const [leftMajor = 0, leftMinor = 0] = left.split('.').map(Number);
  const [rightMajor = 0, rightMinor = 0] = right.split('.').map(Number);
  return leftMajor - rightMajor || leftMinor - rightMinor;
}

/**
 * Every word of the type is a word of the model, or begins one: `A100` is both `NVIDIA A100-SXM4-40GB` and `NVIDIA A100 80GB PCIe`,
 * `A100-80GB` is the second. What ends in a digit is a whole word: `A10` is neither those nor an `A10G`, `L4` is no `L40S`.
 */
function isOfType(model: string | undefined, type: string): boolean {
  if (type === ANY_GPU) {
    return true;
  }
  const words = wordsOf(model ?? '');
  const wanted = wordsOf(type);
  return (
    wanted.length > 0 &&
    wanted.every((word) =>
      words.some((each) => each === word || (!/\d$/.test(word) && each.startsWith(word))),
    )
  );
}

function wordsOf(text: string): readonly string[] {
  return text.toUpperCase().match(/[A-Z0-9]+/g) ?? [];
}

function unavailable(
  asked: string,
  policy: GpuPolicy,
  { gpus, remarks, hint }: GpuInventory,
  requests: readonly GpuRequest[],
): HostError {
  const there =
    gpus.length === 0
      ? ['there is none']
      : [`there ${gpus.length === 1 ? 'is' : 'are'} ${gpus.map(described).join(', ')}`];
  const rule =
    policy === 'strict' && gpus.length > 0 && requests.some(({ type }) => type !== ANY_GPU)
      ? ["the policy 'strict' takes no other type"]
      : [];
  return new HostError(
    `the step asks for ${asked}, which this machine does not have: ${[...there, ...rule, ...remarks].join('; ')}`,
    { code: 'E_GPU_UNAVAILABLE', hint },
  );
}

function described({ name, model, memoryBytes, compute }: InstalledGpu): string {
  const facts = [
    model ?? 'model unknown',
    ...(memoryBytes === undefined ? [] : [`${(memoryBytes / BYTES_PER_GB).toFixed(1)} GB`]),
    ...(compute === undefined ? [] : [`compute ${compute}`]),
  ];
  return `${name} (${facts.join(', ')})`;
}
