/** From names in the Container Device Interface to what a sandbox needs for those devices. */
import { accessSync, constants, statSync } from 'node:fs';
import { HostError } from '../errors.ts';
import type { DeviceRequest } from '../graph/action.ts';
import { absentFiles, type CdiRegistry, type KnownDevice, readRegistry, registryOf, select } from './cdi.ts';
import { type DescribedDriver, describeDriver, NVIDIA_GPU } from './describe-driver.ts';
import { type DeviceEdits, editsOf, refusalOf } from './device-edits.ts';

/** Where devices are looked for. */
export interface DeviceSources {
  /** Of specifications; later ones stand over earlier ones. */
  readonly cdiDirs: readonly string[];
  /** Where the driver of NVIDIA is, for GPUs that no specification describes: `/`, or a tree that looks like it. */
  readonly driverRoot: string;
}

export interface FindDevicesOptions extends DeviceSources {
  /** @defaultValue root */
  readonly idMode?: 'root' | 'multi' | 'single';
}

export interface FoundDevices {
  readonly edits: DeviceEdits;
  /** What could not be had or done, in sentences. */
  readonly warnings: readonly string[];
}

const MAX_LISTED = 20;

/**
 * Finds what the requests name: in specifications, and GPUs of NVIDIA otherwise in what the driver itself has.
 *
 * @throws {HostError} `E_DEVICE_UNAVAILABLE` for one that is required and cannot be had.
 */
export async function findDevices(
  requests: readonly DeviceRequest[],
  options: FindDevicesOptions,
): Promise<FoundDevices> {
  const registry = await readRegistry(options.cdiDirs);
  // Looked at once: its edits are those of one specification, however many of its devices are used.
  let looked: Promise<DescribedDriver> | undefined;
  const driver = () => {
    looked ??= describeDriver(options.driverRoot);
    return looked;
  };
  const warnings: string[] = [];
  const chosen = new Map<string, KnownDevice>();
  for (const { name, required } of requests) {
    const { devices, lacking } = await find(name, { registry, driver, cdiDirs: options.cdiDirs }, warnings);
    if (lacking === undefined) {
      for (const each of devices) {
        chosen.set(each.name, each);
      }
    } else if (required) {
      throw lacking;
    } else {
      warnings.push(lacking.message);
    }
  }
  const edits = editsOf([...chosen.values()]);
  warnings.push(...closedNodes(edits, options.idMode ?? 'root'));
  return { edits, warnings };
}

interface Found {
  readonly devices: readonly KnownDevice[];
  readonly lacking?: HostError;
}

interface Places {
  readonly registry: CdiRegistry;
  readonly driver: () => Promise<DescribedDriver>;
  readonly cdiDirs: readonly string[];
}

async function find(
  name: string,
  { registry, driver: describe, cdiDirs }: Places,
  warnings: string[],
): Promise<Found> {
  const described = select(name, registry.devices);
  const lacking = described.map((each) => whyNot(name, each)).find((error) => error !== undefined);
  if (described.length > 0 && lacking === undefined) {
    return { devices: described };
  }
  const driver = isGpu(name) ? await describe() : undefined;
  const own = driver?.spec === undefined ? [] : select(name, registryOf(driver.spec));
  if (own.length > 0) {
    // The specification of a driver that was updated since names files that are gone.
    if (lacking !== undefined) {
      warnings.push(`${lacking.message}; what the driver itself has is lent`);
    }
    return { devices: own };
  }
  return { devices: [], lacking: lacking ?? unavailable(name, registry, cdiDirs, driver?.problems ?? []) };
}

function isGpu(name: string): boolean {
  return name === NVIDIA_GPU || name.startsWith(`${NVIDIA_GPU}=`);
}

function whyNot(name: string, device: KnownDevice): HostError | undefined {
  const refusal = refusalOf(device);
  if (refusal !== undefined) {
    return new HostError(`the device '${name}' ${refusal}`, {
      code: 'E_DEVICE_UNAVAILABLE',
      hint: 'ask for it with required=false to build without it',
    });
  }
  const [path] = absentFiles(device);
  return path === undefined ? undefined : fileMissing(name, path);
}

function unavailable(
  name: string,
  { devices, problems }: CdiRegistry,
  cdiDirs: readonly string[],
  ofDriver: readonly string[],
): HostError {
  const names = [...devices.keys()];
  const there =
    names.length === 0
      ? `no device is described in ${cdiDirs.join(', ')}`
      : `there ${names.length === 1 ? 'is' : 'are'} ${names.slice(0, MAX_LISTED).join(', ')}${names.length > MAX_LISTED ? ', …' : ''}`;
  return new HostError(
    `the device '${name}' is not on this machine: ${[there, ...ofDriver, ...problems].join('; ')}`,
    {
      code: 'E_DEVICE_UNAVAILABLE',
      hint: isGpu(name)
        ? '`tsbuild doctor --gpu` says which GPUs there are and what they lack'
        : `describe it in a file of ${cdiDirs.at(-1) ?? '/etc/cdi'}, or ask for it with required=false`,
    },
  );
}

function fileMissing(name: string, path: string): HostError {
  return new HostError(`the device '${name}' needs '${path}', which is not on this machine`, {
    code: 'E_DEVICE_UNAVAILABLE',
    path,
    hint: name.startsWith('nvidia.com/')
      ? 'load the driver (sudo nvidia-modprobe -u -c0), and describe its devices anew with nvidia-ctk cdi generate'
      : 'describe the device anew; what describes it is out of date',
  });
}

/**
 * Nodes that are not open to everybody hang on groups of the host. In a user namespace no group of the host can be given to a step:
 * with subordinate ids the step's own groups take the place of the caller's, with a single id the caller's stay.
 */
function closedNodes({ nodes }: DeviceEdits, idMode: 'root' | 'multi' | 'single'): readonly string[] {
  if (idMode === 'root') {
    return [];
  }
  return nodes.flatMap(({ source, target }) => {
    const { mode, gid, uid } = statSync(source);
    const open = (mode & 0o006) === 0o006 || (idMode === 'single' ? mayOpen(source) : uid === 0);
    return open
      ? []
      : [
          `'${target}' is for its group ${gid} alone (mode ${(mode & 0o777).toString(8)}), which a step of this user cannot be in; it may fail to open it`,
        ];
  });
}

function mayOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
