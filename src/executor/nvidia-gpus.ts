/**
 * GPUs of NVIDIA that programs of this machine can open. The driver says in `/proc` which there are, to anybody; where it does not,
 * as in containers that see no more than its version, and for what it does not say there, `nvidia-smi` is asked.
 */
import { execFile } from 'node:child_process';
import { delimiter, dirname } from 'node:path';
import { namesIn, nodeAt, textAt } from './driver-tree.ts';
import { findDriver } from './nvidia-driver.ts';

export interface NvidiaGpu {
  /** As `nvidia-smi` counts: in the order of PCI, of those that can be opened. */
  readonly index: number;
  /** N of `/dev/nvidiaN`, which need not be the index. */
  readonly minor: number;
  /** `GPU-…` */
  readonly uuid: string | undefined;
  /** `0000:01:00.0` */
  readonly bus: string;
  /** `NVIDIA H100 80GB HBM3` */
  readonly model: string | undefined;
  /** Parts of it, where it is divided (MIG); it cannot be computed on as a whole then. */
  readonly instances: readonly GpuInstance[];
}

export interface GpuInstance {
  /** Of the GPU, as `nvidia-smi` counts its parts. */
  readonly index: number;
  /** `MIG-…`, where `nvidia-smi` says it. */
  readonly uuid?: string;
  /** Where `nvidia-smi` says it. */
  readonly memoryBytes?: number;
  /** Minor numbers of `/dev/nvidia-caps/nvidia-capN`. */
  readonly caps: readonly number[];
}

/** What only `nvidia-smi` knows. */
export interface GpuFacts {
  readonly memoryBytes?: number;
  /** `9.0` */
  readonly compute?: string;
}

/** It waits for the driver, which wakes sleeping GPUs. */
const SMI_TIMEOUT_MS = 10_000;
/** Some tens of kilobytes a GPU. */
const SMI_MAX_BYTES = 16 * 1024 * 1024;
const MIB = 1024 * 1024;

type Named = Omit<NvidiaGpu, 'index' | 'instances'>;

/** @param root - `/`, or a tree that looks like it. */
export async function nvidiaGpus(root: string): Promise<readonly NvidiaGpu[]> {
  const inProc = gpusInProc(root);
  const named =
    inProc.length > 0 ? inProc : hasNodes(root) ? gpusBySmi(await askSmi(root, ['-q', '-x'])) : [];
  const gpus = (named.length > 0 ? named : gpusByNode(root))
    .filter(({ minor }) => nodeAt(root, `/dev/nvidia${minor}`) !== undefined)
    .toSorted((left, right) => (left.bus < right.bus ? -1 : 1))
    .map((gpu, index) => ({ ...gpu, index, parts: partsOf(root, gpu.minor) }));
  // Only nvidia-smi knows the order of parts, which is that of their places in the GPU.
  const divided = gpus.some(({ parts }) => parts.length > 0);
  const facts = divided ? await partFacts(root) : new Map<string, PartFacts>();
  return gpus.map(({ parts, ...gpu }) => ({
    ...gpu,
    instances: parts
      .map(({ gi, ci, caps }, order) => ({ index: order, caps, ...facts.get(partKey(gpu.bus, gi, ci)) }))
      .toSorted((left, right) => left.index - right.index),
  }));
}

/** By bus. Empty where nobody says. */
export async function gpuFacts(root: string): Promise<ReadonlyMap<string, GpuFacts>> {
  const table = await askSmi(root, [
    '--query-gpu=pci.bus_id,memory.total,compute_cap',
    '--format=csv,noheader,nounits',
  ]);
  return new Map(
    table.split('\n').flatMap((line) => {
      const [bus = '', memory = '', compute = ''] = line.split(',').map((word) => word.trim());
      return bus === ''
        ? []
        : [
            [
              busName(bus),
              {
                ...(/^\d+$/.test(memory) ? { memoryBytes: Number(memory) * MIB } : {}),
                ...(/^\d+\.\d+$/.test(compute) ? { compute } : {}),
              },
            ] as const,
          ];
    }),
  );
}

function gpusInProc(root: string): readonly Named[] {
  const directory = '/proc/driver/nvidia/gpus';
  return namesIn(root, directory).flatMap((bus) => {
    const text = textAt(root, `${directory}/${bus}/information`) ?? '';
    const field = (name: string) =>
      new RegExp(`^${name}:[ \\t]*(.+)$`, 'm').exec(text)?.[1]?.trim() || undefined;
    const minor = field('Device Minor');
    return minor === undefined || !/^\d+$/.test(minor) || field('GPU Excluded') === 'Yes'
      ? []
      : [{ minor: Number(minor), uuid: uuidOf(field('GPU UUID')), bus: busName(bus), model: field('Model') }];
  });
}

/** A GPU that no program has opened yet has question marks in place of it. */
function uuidOf(text: string | undefined): string | undefined {
  return text !== undefined && /^GPU-[0-9a-f-]+$/i.test(text) ? text : undefined;
}

/** `nvidia-smi -q -x`: its tables have no column for the number of the node. */
function gpusBySmi(xml: string): readonly Named[] {
  return gpuElements(xml).flatMap(({ bus, field }) => {
    const minor = field('minor_number');
    return minor === undefined || !/^\d+$/.test(minor)
      ? []
      : [
          {
            minor: Number(minor),
            uuid: uuidOf(field('uuid')),
            bus,
            model: field('product_name'),
          },
        ];
  });
}

function gpuElements(xml: string) {
  return [...xml.matchAll(/<gpu id="([^"]*)">([\s\S]*?)<\/gpu>/g)].map(([, id = '', content = '']) => ({
    bus: busName(id),
    content,
    field: (name: string) => new RegExp(`<${name}>([^<]+)</${name}>`).exec(content)?.[1]?.trim(),
  }));
}

/** The nodes are all that some sandboxes show. */
function gpusByNode(root: string): readonly Named[] {
  return minorsOf(root).map((minor) => ({
    minor,
    uuid: undefined,
    bus: `node ${String(minor).padStart(3, '0')}`,
    model: undefined,
  }));
}

function hasNodes(root: string): boolean {
  return minorsOf(root).length > 0 || nodeAt(root, '/dev/dxg') !== undefined;
}

function minorsOf(root: string): readonly number[] {
  return namesIn(root, '/dev').flatMap((name) => {
    const minor = /^nvidia(\d+)$/.exec(name)?.[1];
    return minor === undefined ? [] : [Number(minor)];
  });
}

/** The kernel writes a domain of four digits, `nvidia-smi` one of eight. */
function busName(text: string): string {
  return text.toLowerCase().replace(/^0{4}(?=[0-9a-f]{4}:)/, '');
}

interface Part {
  /** GPU instance and compute instance. */
  readonly gi: number;
  readonly ci: number;
  readonly caps: readonly number[];
}

/** Each compute instance is a device; who opens it opens its GPU instance too. */
function partsOf(root: string, minor: number): readonly Part[] {
  const directory = `/proc/driver/nvidia/capabilities/gpu${minor}/mig`;
  return numbered(root, directory, 'gi').flatMap((gi) =>
    numbered(root, `${directory}/gi${gi}`, 'ci').map((ci) => {
      const caps = [
        capOf(root, `${directory}/gi${gi}/access`),
        capOf(root, `${directory}/gi${gi}/ci${ci}/access`),
      ];
      return { gi, ci, caps: caps.filter((cap) => cap !== undefined) };
    }),
  );
}

type PartFacts = Pick<GpuInstance, 'index' | 'uuid' | 'memoryBytes'>;

/** By bus, GPU instance and compute instance. Of `nvidia-smi -q -x`, and of `-L` for UUIDs, which the former lacks. */
async function partFacts(root: string): Promise<ReadonlyMap<string, PartFacts>> {
  const [xml, list] = await Promise.all([askSmi(root, ['-q', '-x']), askSmi(root, ['-L'])]);
  const uuids = partUuids(list);
  return new Map(
    gpuElements(xml).flatMap(({ bus, field, content }) =>
      [...content.matchAll(/<mig_device>([\s\S]*?)<\/mig_device>/g)].flatMap(([, part = '']) => {
        const number = (name: string) =>
          Number(new RegExp(`<${name}>\\s*(\\d+)\\s*</${name}>`).exec(part)?.[1] ?? Number.NaN);
        const index = number('index');
        const [, memory] = /<fb_memory_usage>\s*<total>(\d+) MiB<\/total>/.exec(part) ?? [];
        const uuid = uuids.get(`${field('uuid')} ${index}`);
        return Number.isNaN(index)
          ? []
          : [
              [
                partKey(bus, number('gpu_instance_id'), number('compute_instance_id')),
                {
                  index,
                  ...(uuid === undefined ? {} : { uuid }),
                  ...(memory === undefined ? {} : { memoryBytes: Number(memory) * MIB }),
                },
              ] as const,
            ];
      }),
    ),
  );
}

function partKey(bus: string, gi: number, ci: number): string {
  return `${bus} ${gi} ${ci}`;
}

/** By the UUID of the GPU and the number of the part. */
function partUuids(list: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  let gpu = '';
  for (const line of list.split('\n')) {
    gpu = /^GPU \d+: .*\(UUID: (GPU-[0-9a-f-]+)\)/i.exec(line)?.[1] ?? gpu;
    const [, index, uuid] = /^\s+MIG .*Device\s+(\d+): \(UUID: (MIG-[^)\s]+)\)/.exec(line) ?? [];
    if (index !== undefined && uuid !== undefined) {
      found.set(`${gpu} ${index}`, uuid);
    }
  }
  return found;
}

function numbered(root: string, directory: string, prefix: string): readonly number[] {
  return namesIn(root, directory)
    .flatMap((name) => {
      const number = name.startsWith(prefix) ? name.slice(prefix.length) : '';
      return /^\d+$/.test(number) ? [Number(number)] : [];
    })
    .sort((left, right) => left - right);
}

function capOf(root: string, path: string): number | undefined {
  const minor = /^DeviceFileMinor:\s*(\d+)\s*$/m.exec(textAt(root, path) ?? '')?.[1];
  return minor === undefined ? undefined : Number(minor);
}

/** Nothing where there is no such program, or no driver for it. */
function askSmi(root: string, words: readonly string[]): Promise<string> {
  const driver = findDriver(root);
  const own = driver?.programs.find(({ target }) => target.endsWith('/nvidia-smi'))?.source;
  // Of a driver that lives in a tree of its own, so do the libraries.
  const libraryDirs = [...new Set(driver?.libraries.map(({ source }) => dirname(source)))];
  const env =
    root === '/' || libraryDirs.length === 0
      ? process.env
      : { ...process.env, LD_LIBRARY_PATH: libraryDirs.join(delimiter) };
  const program = own ?? (root === '/' ? 'nvidia-smi' : undefined);
  return new Promise((resolve) => {
    if (program === undefined) {
      resolve('');
      return;
    }
    // Where the driver hangs, so does whoever asks it, and no signal ends that.
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      resolve('');
    }, SMI_TIMEOUT_MS);
    const child = execFile(program, [...words], { maxBuffer: SMI_MAX_BYTES, env }, (error, stdout) => {
      clearTimeout(timer);
      resolve(error === null ? stdout : '');
    });
  });
}
