/** GPUs for a step: what is there, which of it the requests get, and what a sandbox needs for those. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DeviceRequest, GpuRequest } from '../graph/action.ts';
import type { GpuPolicy } from '../worker/protocol.ts';
import { type DescribedDevice, describedDevices } from './cdi.ts';
import { type ChosenGpus, chooseGpus, type GpuInventory } from './choose-gpus.ts';
import { gpuModels } from './gpu-models.ts';

export interface FoundGpus {
  /** To be found like devices that a step names itself. */
  readonly devices: readonly DeviceRequest[];
  /** Stands over what image, step and description of the devices say. */
  readonly env: readonly (readonly [name: string, value: string])[];
  readonly warnings: ChosenGpus['warnings'];
}

export interface FindGpusOptions {
  readonly policy: GpuPolicy;
  /** Of specifications of the Container Device Interface; later ones stand over earlier ones. */
  readonly directories: readonly string[];
  /** @defaultValue `/` */
  readonly root?: string;
}

const KIND = 'nvidia.com/gpu';
/** A name of NVIDIA's for every device of the machine. */
const ALL = `${KIND}=all`;
/** Computing and nvidia-smi; nothing is drawn in a build. */
const CAPABILITIES = 'compute,utility';

/** @throws {HostError} `E_GPU_UNAVAILABLE` */
export async function findGpus(
  requests: readonly GpuRequest[],
  { policy, directories, root = '/' }: FindGpusOptions,
): Promise<FoundGpus> {
  const inventory = policy === 'ignore' ? NONE : await takeInventory(directories, root);
  const { gpus, warnings } = chooseGpus(requests, policy, inventory);
  return {
    devices: gpus.map(({ name }) => ({ name, required: true })),
    env:
      gpus.length === 0
        ? []
        : [
            ['NVIDIA_VISIBLE_DEVICES', gpus.map(({ name }) => name.slice(KIND.length + 1)).join(',')],
            ['NVIDIA_DRIVER_CAPABILITIES', CAPABILITIES],
          ],
    warnings,
  };
}

const NONE: GpuInventory = { gpus: [], remarks: [], hint: '' };

async function takeInventory(directories: readonly string[], root: string): Promise<GpuInventory> {
  const { devices, problems } = await describedDevices(KIND, directories);
  const usable = onePerGpu(devices.filter(({ name, missing }) => name !== ALL && missing === undefined));
  const unusable = devices.filter(({ name, missing }) => name !== ALL && missing !== undefined);
  const models = usable.length === 0 ? new Map<number, string>() : await gpuModels(root);
  const driver = hasDriver(root);
  return {
    gpus: usable.map(({ name, nodes }) => ({ name, model: models.get(minorOf(nodes) ?? -1) })),
    remarks: [
      ...(devices.length === 0 ? [`none is described in ${directories.join(', ')}`] : []),
      ...unusable.map(({ name, missing }) => `'${name}' needs '${missing}', which is not there`),
      ...(driver ? [] : ['no NVIDIA driver is loaded']),
      ...problems,
    ],
    hint:
      driver && usable.length === 0
        ? 'sudo nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml'
        : '`tsbuild doctor` says what there is; --gpu-policy ignore runs such steps without',
  };
}

/** A GPU may be described by its number and by its UUID; the number is what people know. */
function onePerGpu(devices: readonly DescribedDevice[]): readonly DescribedDevice[] {
  const found = new Map<string, DescribedDevice>();
  for (const device of devices.toSorted(byNumber)) {
    const identity = device.nodes.length === 0 ? device.name : device.nodes.toSorted().join('\n');
    if (!found.has(identity)) {
      found.set(identity, device);
    }
  }
  return [...found.values()];
}

function byNumber(left: DescribedDevice, right: DescribedDevice): number {
  const order = numberOf(left.name) - numberOf(right.name);
  return Number.isNaN(order) || order === 0 ? (left.name < right.name ? -1 : 1) : order;
}

/** Names that are no numbers come last. */
function numberOf(name: string): number {
  const number = name.slice(KIND.length + 1);
  return /^\d+$/.test(number) ? Number(number) : Number.POSITIVE_INFINITY;
}

function minorOf(nodes: readonly string[]): number | undefined {
  const minor = nodes.map((path) => /\/nvidia(\d+)$/.exec(path)?.[1]).find((each) => each !== undefined);
  return minor === undefined ? undefined : Number(minor);
}

function hasDriver(root: string): boolean {
  try {
    readFileSync(join(root, 'proc/driver/nvidia/version'));
    return true;
  } catch {
    return false;
  }
}
