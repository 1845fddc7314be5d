/** GPUs for a step: what is there, which of it the requests get, and what a sandbox needs for those. */
import type { DeviceRequest, GpuRequest } from '../graph/action.ts';
import type { GpuPolicy } from '../worker/protocol.ts';
import { absentFiles, type KnownDevice, readRegistry, registryOf } from './cdi.ts';
import { type ChosenGpus, chooseGpus, type GpuInventory, type InstalledGpu } from './choose-gpus.ts';
import { type DescribedDriver, describeDriver, NVIDIA_GPU } from './describe-driver.ts';
import { refusalOf } from './device-edits.ts';
import type { DeviceSources } from './find-devices.ts';
import { type GpuFacts, type GpuInstance, gpuFacts, type NvidiaGpu, nvidiaGpus } from './nvidia-gpus.ts';

export interface FoundGpus {
  /** To be found like devices that a step names itself. */
  readonly devices: readonly DeviceRequest[];
  /** Stands over what image, step and description of the devices say. */
  readonly env: readonly (readonly [name: string, value: string])[];
  /** Yields to what image and step say. */
  readonly defaultEnv: readonly (readonly [name: string, value: string])[];
  readonly warnings: ChosenGpus['warnings'];
}

export interface FindGpusOptions extends DeviceSources {
  readonly policy: GpuPolicy;
}

export interface InventoryOptions extends DeviceSources {
  /** Whether memory and compute capability are asked for, which wakes GPUs. */
  readonly facts: boolean;
}

/** A name of NVIDIA's for every device of the machine. */
const ALL = `${NVIDIA_GPU}=all`;
/** Computing and nvidia-smi; nothing is drawn in a build. */
const CAPABILITIES = 'compute,utility';

/** @throws {HostError} `E_GPU_UNAVAILABLE` */
export async function findGpus(
  requests: readonly GpuRequest[],
  { policy, ...sources }: FindGpusOptions,
): Promise<FoundGpus> {
  const facts = requests.some(
    ({ memoryBytes, compute }) => memoryBytes !== undefined || compute !== undefined,
  );
  const inventory = policy === 'ignore' ? NONE : await takeInventory({ ...sources, facts });
  const { gpus, warnings } = chooseGpus(requests, policy, inventory);
  if (gpus.length === 0) {
    return { devices: [], env: [], defaultEnv: [], warnings };
  }
  return {
    devices: gpus.map(({ name }) => ({ name, required: true })),
    env: [
      ['NVIDIA_VISIBLE_DEVICES', gpus.map(({ name }) => name.slice(NVIDIA_GPU.length + 1)).join(',')],
      ['NVIDIA_DRIVER_CAPABILITIES', CAPABILITIES],
    ],
    // CUDA counts the fastest first otherwise, and nvidia-smi does not.
    defaultEnv: [['CUDA_DEVICE_ORDER', 'PCI_BUS_ID']],
    warnings,
  };
}

const NONE: GpuInventory = { gpus: [], remarks: [], hint: '' };

/** What specifications describe, or else what the driver itself has. */
export async function takeInventory({ cdiDirs, driverRoot, facts }: InventoryOptions): Promise<GpuInventory> {
  const registry = await readRegistry(cdiDirs);
  const described = [...registry.devices.values()].filter(({ spec }) => spec.kind === NVIDIA_GPU);
  const unusable = described.flatMap((device) => {
    const why =
      refusalOf(device) ?? absentFiles(device).map((path) => `needs '${path}', which is not there`)[0];
    return why === undefined ? [] : [{ device, why }];
  });
  const usable = described.filter((each) => !unusable.some(({ device }) => device === each));
  const driver = usable.length === 0 ? await describeDriver(driverRoot) : undefined;
  const devices =
    driver === undefined ? usable : driver.spec === undefined ? [] : [...registryOf(driver.spec).values()];
  const known = devices.length === 0 ? [] : (driver?.gpus ?? (await nvidiaGpus(driverRoot)));
  const found = facts && devices.length > 0 ? await gpuFacts(driverRoot) : new Map<string, GpuFacts>();
  const gpus = onePerGpu(devices).map((group) => installed(group, known, found));
  return {
    gpus,
    remarks: [
      ...(described.length === 0 && gpus.length === 0 ? [`none is described in ${cdiDirs.join(', ')}`] : []),
      ...unusable
        .filter(({ device }) => device.name !== ALL)
        .map(({ device, why }) => `'${device.name}' ${why}`),
      ...(driver?.problems ?? []),
      ...(facts && gpus.length > 0 && found.size === 0
        ? ['nvidia-smi, which knows memory and compute capability, does not answer']
        : []),
      ...registry.problems,
    ],
    hint: hintFor(driver),
  };
}

function hintFor(driver: DescribedDriver | undefined): string {
  const [problem] = driver?.problems ?? [];
  if (problem !== undefined && driver?.driver !== undefined) {
    return problem.includes('nvidia-uvm') || problem.includes('nvidiactl')
      ? 'sudo nvidia-modprobe -u -c0'
      : '`tsbuild doctor --gpu` says what the driver lacks';
  }
  return '`tsbuild doctor` says what there is; --gpu-policy ignore runs such steps without';
}

function installed(
  devices: readonly KnownDevice[],
  known: readonly NvidiaGpu[],
  facts: ReadonlyMap<string, GpuFacts>,
): InstalledGpu {
  const [first] = devices as readonly [KnownDevice];
  const name = first.name;
  const own = (device: KnownDevice) => device.name.slice(NVIDIA_GPU.length + 1);
  const minor = minorOf(first);
  const gpu = known.find((each) => each.minor === minor);
  const isInstance = first.device.edits.deviceNodes.some(({ path }) => path.includes('/nvidia-caps/'));
  const fact = gpu === undefined || isInstance ? undefined : facts.get(gpu.bus);
  const aliases = devices.map(own);
  return {
    name,
    aliases: [
      ...new Set([
        ...aliases,
        ...(gpu === undefined || isInstance
          ? []
          : [
              // A number that a specification gives to another GPU is that one's.
              ...(aliases.some((alias) => /^\d+$/.test(alias)) ? [] : [String(gpu.index)]),
              ...(gpu.uuid === undefined ? [] : [gpu.uuid]),
            ]),
      ]),
    ],
    model: gpu?.model,
    memoryBytes: isInstance ? instanceOf(gpu, first)?.memoryBytes : fact?.memoryBytes,
    compute: gpu === undefined ? undefined : facts.get(gpu.bus)?.compute,
    isInstance,
  };
}

/** The part of the GPU whose nodes the device has. */
function instanceOf(gpu: NvidiaGpu | undefined, { device }: KnownDevice): GpuInstance | undefined {
  const caps = device.edits.deviceNodes.flatMap(({ path }) => /\/nvidia-cap(\d+)$/.exec(path)?.[1] ?? []);
  return gpu?.instances.find((each) => each.caps.every((cap) => caps.includes(String(cap))));
}

/** A GPU may be described by its number and by its UUID; the number is what people know. `all` is none, unless it is all there is. */
function onePerGpu(devices: readonly KnownDevice[]): readonly (readonly KnownDevice[])[] {
  const single = devices.filter(({ name }) => name !== ALL);
  const groups = new Map<string, KnownDevice[]>();
  for (const device of (single.length === 0 ? devices : single).toSorted(byNumber)) {
    const nodes = device.device.edits.deviceNodes.map(({ hostPath }) => hostPath);
    const identity = nodes.length === 0 ? device.name : nodes.toSorted().join('\n');
    groups.set(identity, [...(groups.get(identity) ?? []), device]);
  }
  return [...groups.values()];
}

function byNumber(left: KnownDevice, right: KnownDevice): number {
  const [leftGpu, leftPart] = numbersOf(left.name);
  const [rightGpu, rightPart] = numbersOf(right.name);
  const order = leftGpu === rightGpu ? leftPart - rightPart : leftGpu - rightGpu;
  return order === 0 ? (left.name < right.name ? -1 : 1) : order;
}

/** Of the GPU and of its part. Names that are no numbers come last. */
function numbersOf(name: string): readonly [gpu: number, part: number] {
  const [, gpu, part = '-1'] = /^(\d+)(?::(\d+))?$/.exec(name.slice(NVIDIA_GPU.length + 1)) ?? [];
  return gpu === undefined ? [Number.MAX_SAFE_INTEGER, 0] : [Number(gpu), Number(part)];
}

function minorOf({ device }: KnownDevice): number | undefined {
  const minor = device.edits.deviceNodes
    .map(({ hostPath }) => /\/nvidia(\d+)$/.exec(hostPath)?.[1])
    .find((each) => each !== undefined);
  return minor === undefined ? undefined : Number(minor);
}
