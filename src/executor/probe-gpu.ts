/**
 * What `doctor` says of devices: GPUs of NVIDIA with the driver that the kernel runs and the libraries that are there, whether this user
 * may open them, and what specifications describe. It looks where steps look.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { readRegistry } from './cdi.ts';
import type { GpuInventory } from './choose-gpus.ts';
import { type DescribedDriver, describeDriver } from './describe-driver.ts';
import { type DeviceSources, findDevices } from './find-devices.ts';
import { takeInventory } from './find-gpus.ts';
import type { HostCheck } from './probe.ts';
import { lentFiles } from './stage-devices.ts';

export interface ProbeDevicesOptions extends DeviceSources {
  /** Each GPU with its memory, and each file that steps would see. @defaultValue false */
  readonly whole?: boolean;
}

/** Of a mode: read and write for others. */
const OPEN_TO_ALL = 0o006;
const MAX_LISTED = 12;

export async function probeDevices(options: ProbeDevicesOptions): Promise<readonly HostCheck[]> {
  const { whole = false } = options;
  const driver = await describeDriver(options.driverRoot);
  const inventory = await takeInventory({ ...options, facts: whole });
  const gpu = await probeGpu(driver, inventory, options);
  const lines = whole ? await linesOf(inventory, options) : [];
  return [{ ...gpu, ...(lines.length === 0 ? {} : { lines }) }, await probeCdi(driver, options)];
}

async function probeGpu(
  driver: DescribedDriver,
  inventory: GpuInventory,
  sources: DeviceSources,
): Promise<HostCheck> {
  const check = { name: 'GPU', required: false } as const;
  if (driver.driver === undefined && inventory.gpus.length === 0) {
    return {
      ...check,
      ok: true,
      detail: 'no NVIDIA driver is loaded; builds that ask for none do not need it',
    };
  }
  const found = [versionsOf(driver), modelsOf(driver, inventory)].join(', ');
  if (inventory.gpus.length === 0) {
    const problems = driver.problems.length === 0 ? ['no GPU is there'] : driver.problems;
    return { ...check, ok: false, detail: `${found}; ${problems.join('; ')}`, fix: fixOf(driver) };
  }
  const names = inventory.gpus.map(({ name }) => ({ name, required: true }));
  const { edits } = await findDevices(names, sources);
  const closed = edits.nodes.find(({ source }) => !mayOpen(source));
  if (closed !== undefined) {
    return {
      ...check,
      ok: false,
      detail: `${found}; you may not open ${closed.source}`,
      fix: `sudo usermod --append --groups video,render "$USER", or sudo chmod a+rw ${closed.source}`,
    };
  }
  if (!edits.nodes.some(({ target }) => target === '/dev/nvidia-uvm' || target === '/dev/dxg')) {
    return {
      ...check,
      ok: false,
      detail: `${found}; /dev/nvidia-uvm is not among the devices, without which CUDA does not start`,
      fix: 'sudo nvidia-modprobe -u -c0, and describe the devices anew',
    };
  }
  const grouped = edits.nodes.find(({ source }) => (statSync(source).mode & OPEN_TO_ALL) !== OPEN_TO_ALL);
  return grouped === undefined || process.getuid?.() === 0
    ? { ...check, ok: true, detail: found }
    : {
        ...check,
        ok: false,
        detail: `${found}; ${grouped.source} is not open to everybody, and with subordinate ids steps are in none of your groups`,
        fix: `sudo chmod a+rw ${grouped.source}`,
      };
}

function versionsOf({ driver }: DescribedDriver): string {
  if (driver === undefined) {
    return 'driver of unknown version';
  }
  const { kind, kernelVersion, version, libraryVersions } = driver;
  if (kind === 'wsl') {
    return 'driver of Windows';
  }
  const libraries = version ?? libraryVersions.join(' and ');
  return kernelVersion === libraries || libraries === ''
    ? `driver ${kernelVersion ?? 'of unknown version'}`
    : `driver ${kernelVersion ?? 'of unknown version'}, libraries ${libraries}`;
}

function modelsOf({ gpus, driver }: DescribedDriver, inventory: GpuInventory): string {
  if (driver !== undefined && gpus.length > 0) {
    return gpus
      .map(({ model, bus, instances }) => {
        const parts = instances.length === 0 ? '' : ` in ${instances.length} parts`;
        return `${model ?? bus}${parts}`;
      })
      .join(', ');
  }
  return inventory.gpus.length === 0
    ? 'no GPU'
    : inventory.gpus.map(({ name, model }) => model ?? name).join(', ');
}

function fixOf({ driver }: DescribedDriver): string {
  if (driver?.version === undefined && driver?.kind !== 'wsl') {
    return driver?.libraryVersions.length === 0
      ? "install the driver's libraries: libcuda1 and nvidia-smi of Debian, libnvidia-compute and nvidia-utils of Ubuntu"
      : 'sudo reboot, which loads the kernel module of the libraries';
  }
  return 'sudo nvidia-modprobe -u -c0';
}

async function probeCdi(driver: DescribedDriver, { cdiDirs }: DeviceSources): Promise<HostCheck> {
  const { devices, files, problems } = await readRegistry(cdiDirs);
  const names = [...devices.keys()];
  const listed = `${names.slice(0, MAX_LISTED).join(', ')}${names.length > MAX_LISTED ? ', …' : ''}`;
  const ignored = [
    ...new Set(
      [...devices.values()].flatMap(({ spec, device }) => [...spec.edits.ignored, ...device.edits.ignored]),
    ),
  ];
  const parts = [
    files.length === 0
      ? `nothing is described in ${cdiDirs.join(', ')}${driver.spec === undefined ? '' : '; GPUs are found by their driver'}`
      : `${files.join(', ')}: ${listed}`,
    ...(ignored.length === 0 ? [] : [`nothing is done for ${ignored.join(' and ')}`]),
    ...problems,
  ];
  return {
    name: 'devices (CDI)',
    required: false,
    ok: problems.length === 0,
    detail: parts.join('; '),
    ...(problems.length === 0 ? {} : { fix: 'mend or remove the file that is named' }),
  };
}

async function linesOf(inventory: GpuInventory, sources: DeviceSources): Promise<readonly string[]> {
  const { gpus } = inventory;
  if (gpus.length === 0) {
    return inventory.remarks;
  }
  const names = gpus.map(({ name }) => ({ name, required: true }));
  const { edits, warnings } = await findDevices(names, sources);
  return [
    ...gpus.map(({ name, aliases, model, memoryBytes, compute }) =>
      [
        name,
        model ?? 'model unknown',
        ...(memoryBytes === undefined ? [] : [`${(memoryBytes / 1e9).toFixed(1)} GB`]),
        ...(compute === undefined ? [] : [`compute ${compute}`]),
        ...aliases.filter((alias) => !name.endsWith(`=${alias}`)),
      ].join(', '),
    ),
    ...lentFiles(edits).map(({ source, target }) =>
      source === target ? target : `${target} from ${source}`,
    ),
    ...inventory.remarks,
    ...warnings,
  ];
}

function mayOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
