/**
 * GPUs of NVIDIA that no specification describes, as the specification of the Container Device Interface that would describe them: so
 * that whatever is done for one is done for both.
 */
import type { CdiDevice, CdiEdits, CdiHook, CdiMount, CdiSpec } from './cdi-spec.ts';
import { type DriverFile, nodeAt } from './driver-tree.ts';
import { findDriver, type NvidiaDriver } from './nvidia-driver.ts';
import { type NvidiaGpu, nvidiaGpus } from './nvidia-gpus.ts';

/** Kind of NVIDIA's devices that are GPUs. */
export const NVIDIA_GPU = 'nvidia.com/gpu';

export interface DescribedDriver {
  readonly driver: NvidiaDriver | undefined;
  readonly gpus: readonly NvidiaGpu[];
  /** Undefined when there is none, or not all of it. */
  readonly spec: CdiSpec | undefined;
  /** Why not, in sentences. */
  readonly problems: readonly string[];
}

const NO_EDITS: CdiEdits = {
  env: [],
  deviceNodes: [],
  mounts: [],
  hooks: [],
  additionalGids: [],
  ignored: [],
};

/** @param root - `/`, or a tree that looks like it. */
export async function describeDriver(root: string): Promise<DescribedDriver> {
  const driver = findDriver(root);
  if (driver === undefined) {
    return { driver, gpus: [], spec: undefined, problems: ['no NVIDIA driver is loaded'] };
  }
  const gpus = driver.kind === 'wsl' ? [] : await nvidiaGpus(root);
  const problems = problemsOf(driver, gpus);
  if (problems.length > 0) {
    return { driver, gpus, spec: undefined, problems };
  }
  const devices = driver.kind === 'wsl' ? [] : gpus.flatMap((gpu) => devicesOf(root, gpu));
  const all: CdiDevice = {
    name: 'all',
    annotations: {},
    edits: {
      ...NO_EDITS,
      // The nodes of several are the same: each is bound once.
      deviceNodes: devices.flatMap(({ edits }) => edits.deviceNodes),
    },
  };
  const spec: CdiSpec = {
    kind: NVIDIA_GPU,
    annotations: {},
    devices: [...devices, all],
    edits: editsOf(driver),
  };
  return { driver, gpus, spec, problems: [] };
}

/** What keeps programs from working, the first to be mended first. */
function problemsOf(driver: NvidiaDriver, gpus: readonly NvidiaGpu[]): readonly string[] {
  const { kind, kernelVersion, version, libraryVersions, nodes } = driver;
  if (kind === 'wsl') {
    return [];
  }
  if (version === undefined) {
    return [
      libraryVersions.length === 0
        ? `the kernel runs the NVIDIA driver ${kernelVersion}, and its libraries are not installed`
        : `the kernel runs the NVIDIA driver ${kernelVersion}, and the libraries are those of ${libraryVersions.join(' and ')}; after an update the machine has to be started anew`,
    ];
  }
  const missing = ['/dev/nvidiactl', '/dev/nvidia-uvm'].filter(
    (path) => !nodes.some(({ target }) => target === path),
  );
  return [
    ...missing.map((path) => `'${path}' is missing`),
    ...(gpus.length === 0 ? ['no node of a GPU is in /dev'] : []),
  ];
}

/** By number and by UUID; of one that is divided, its parts. */
function devicesOf(root: string, gpu: NvidiaGpu): readonly CdiDevice[] {
  const nodes = (paths: readonly string[]) => paths.flatMap((path) => nodeAt(root, path) ?? []);
  const own = `/dev/nvidia${gpu.minor}`;
  if (gpu.instances.length > 0) {
    return gpu.instances.flatMap(({ index, uuid, caps }) => {
      const found = nodes(caps.map((cap) => `/dev/nvidia-caps/nvidia-cap${cap}`));
      // A container may have been given one of several.
      if (found.length < caps.length) {
        return [];
      }
      const names = [`${gpu.index}:${index}`, ...(uuid === undefined ? [] : [uuid])];
      return names.map((name) => device(name, [...nodes([own]), ...found]));
    });
  }
  const names = [String(gpu.index), ...(gpu.uuid === undefined ? [] : [gpu.uuid])];
  return names.map((name) => device(name, nodes([own])));
}

function device(name: string, nodes: readonly DriverFile[]): CdiDevice {
  return { name, annotations: {}, edits: { ...NO_EDITS, deviceNodes: nodes.map(nodeOf) } };
}

function editsOf({ version, libraries, programs, others, nodes }: NvidiaDriver): CdiEdits {
  const directories = [...new Set(libraries.map(({ target }) => directoryOf(target)))];
  const cuda = libraries.find(({ target }) => /\/libcuda\.so\.[\d.]+$/.test(target));
  return {
    ...NO_EDITS,
    // A runtime of NVIDIA's that starts containers in the step leaves it alone.
    env: [['NVIDIA_VISIBLE_DEVICES', 'void']],
    deviceNodes: nodes.map(nodeOf),
    mounts: [...libraries, ...programs, ...others].map(mountOf),
    hooks: [
      ...(cuda === undefined
        ? []
        : [hook('create-symlinks', ['--link', `libcuda.so.1::${directoryOf(cuda.target)}/libcuda.so`])]),
      hook(
        'update-ldcache',
        directories.flatMap((directory) => ['--folder', directory]),
      ),
      ...(version === undefined ? [] : [hook('enable-cuda-compat', ['--host-driver-version', version])]),
      hook('disable-device-node-modification', []),
    ],
  };
}

function nodeOf({ source, target }: DriverFile): CdiEdits['deviceNodes'][number] {
  return { path: target, hostPath: source };
}

function mountOf({ source, target }: DriverFile): CdiMount {
  return {
    hostPath: source,
    containerPath: target,
    type: '',
    options: ['ro', 'nosuid', 'nodev', 'rbind', 'rprivate'],
  };
}

/** As NVIDIA's generator writes it; nothing runs it. */
function hook(command: string, words: readonly string[]): CdiHook {
  return { name: 'createContainer', path: 'nvidia-cdi-hook', args: ['nvidia-cdi-hook', command, ...words] };
}

function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}
