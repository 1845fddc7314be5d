/**
 * From requests for GPUs to devices of this machine (Image API, B7). What exists is what specifications of the Container Device
 * Interface describe; whoever finds devices in another way gives another {@link GpuInventory}.
 */
import { HostError } from '../errors.ts';
import type { GpuRequest } from '../graph/action.ts';
import type { GpuPolicy } from '../worker/protocol.ts';

export interface InstalledGpu {
  /** In the Container Device Interface. */
  readonly name: string;
  /** `NVIDIA H100 80GB HBM3`, as far as it can be known. */
  readonly model: string | undefined;
}

export interface GpuInventory {
  readonly gpus: readonly InstalledGpu[];
  /** What else there is to say, in sentences: descriptions that cannot be used, a driver without description. */
  readonly remarks: readonly string[];
  /** What makes GPUs known that are not. */
  readonly hint: string;
}

export interface ChosenGpus {
  /** In the order of the machine; empty with the policy `ignore`. */
  readonly gpus: readonly InstalledGpu[];
  readonly warnings: readonly { readonly code: 'W_GPU_TYPE' | 'W_GPU_IGNORED'; readonly message: string }[];
}

const ANY = 'ANY';

/**
 * @param requests - Alternatives, the best first.
 * @throws {HostError} `E_GPU_UNAVAILABLE`, which says what is there.
 */
export function chooseGpus(
  requests: readonly GpuRequest[],
  policy: GpuPolicy,
  inventory: GpuInventory,
): ChosenGpus {
  const asked = requests.map(shown).join(' or ');
  if (policy === 'ignore') {
    const message = `the step asks for ${asked} and gets no GPU, as the policy 'ignore' says`;
    return { gpus: [], warnings: [{ code: 'W_GPU_IGNORED', message }] };
  }
  for (const { type, count } of requests) {
    const fitting = inventory.gpus.filter(({ model }) => isOfType(model, type));
    if (fitting.length >= count) {
      return { gpus: fitting.slice(0, count), warnings: [] };
    }
  }
  const enough = requests.find(({ count }) => inventory.gpus.length >= count);
  if (policy === 'strict' || enough === undefined) {
    throw unavailable(asked, policy, inventory);
  }
  // Those that fit come first: of two that are wanted one may be of the right type.
  const gpus = inventory.gpus
    .toSorted((left, right) => rank(left, enough.type) - rank(right, enough.type))
    .slice(0, enough.count);
  const others = gpus.filter(({ model }) => !isOfType(model, enough.type)).map(described);
  const message = `the step asks for ${asked} and gets ${others.join(', ')}`;
  return { gpus, warnings: [{ code: 'W_GPU_TYPE', message }] };
}

function rank({ model }: InstalledGpu, type: string): number {
  return isOfType(model, type) ? 0 : 1;
}

/**
 * Every word of the type is a word of the model: `A100` is both `NVIDIA A100-SXM4-40GB` and `NVIDIA A100 80GB PCIe`,
 * `A100-80GB` is the second, `A10` is neither those nor an `A10G`.
 */
function isOfType(model: string | undefined, type: string): boolean {
  if (type === ANY) {
    return true;
  }
  const words = new Set(wordsOf(model ?? ''));
  const wanted = wordsOf(type);
  return wanted.length > 0 && wanted.every((word) => words.has(word));
}

function wordsOf(text: string): readonly string[] {
  return text.toUpperCase().match(/[A-Z0-9]+/g) ?? [];
}

function unavailable(asked: string, policy: GpuPolicy, { gpus, remarks, hint }: GpuInventory): HostError {
  const there =
    gpus.length === 0
      ? ['there is none']
      : [`there ${gpus.length === 1 ? 'is' : 'are'} ${gpus.map(described).join(', ')}`];
  const rule = policy === 'strict' && gpus.length > 0 ? ["the policy 'strict' takes no other type"] : [];
  return new HostError(
    `the step asks for ${asked}, which this machine does not have: ${[...there, ...rule, ...remarks].join('; ')}`,
    { code: 'E_GPU_UNAVAILABLE', hint },
  );
}

function described({ name, model }: InstalledGpu): string {
  return `${name} (${model ?? 'model unknown'})`;
}

function shown({ type, count }: GpuRequest): string {
  const what = type === ANY ? 'any type' : `type ${type}`;
  return count === 1 ? `a GPU of ${what}` : `${count} GPUs of ${what}`;
}
