/**
 * NVIDIA's driver as it is installed: the version that the kernel runs, and the files of exactly that version which programs that
 * compute need. Two versions lie side by side after an update without a reboot, and a mixture of them works for nobody.
 *
 * Source: the lists of libnvidia-container for `compute,utility`.
 */
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { arch } from 'node:os';
import { basename, join, posix } from 'node:path';
import {
  at,
  type DriverFile,
  fileAt,
  isDevice,
  namesIn,
  nodeAt,
  onHost,
  resolved,
  statAt,
  textAt,
} from './driver-tree.ts';
import { librariesInCache } from './ld-so-cache.ts';

export interface NvidiaDriver {
  readonly kind: 'linux' | 'wsl';
  /** What the kernel runs. Containers may not be told. */
  readonly kernelVersion: string | undefined;
  /** Of the libraries that are taken. */
  readonly version: string | undefined;
  /** All versions of libraries that are there. */
  readonly libraryVersions: readonly string[];
  /** In directories where loaders look for them. */
  readonly libraries: readonly DriverFile[];
  readonly programs: readonly DriverFile[];
  /** Firmware, sockets of its services, directories of WSL. */
  readonly others: readonly DriverFile[];
  /** Nodes that every GPU needs, by their paths in a sandbox. */
  readonly nodes: readonly DriverFile[];
}

const LIBRARIES = [
  // utility
  'libnvidia-ml',
  'libnvidia-cfg',
  'libnvidia-nscq',
  // compute
  'libcuda',
  'libcudadebugger',
  'libnvidia-opencl',
  'libnvidia-gpucomp',
  'libnvidia-ptxjitcompiler',
  'libnvidia-fatbinaryloader',
  'libnvidia-allocator',
  'libnvidia-compiler',
  'libnvidia-pkcs11',
  'libnvidia-pkcs11-openssl3',
  'libnvidia-nvvm',
  'libnvidia-tileiras',
];
const PROGRAMS = [
  'nvidia-smi',
  'nvidia-debugdump',
  'nvidia-persistenced',
  'nv-fabricmanager',
  'nvidia-cuda-mps-control',
  'nvidia-cuda-mps-server',
];
const TRIPLETS: Readonly<Record<string, string>> = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };
/** `e_machine`. */
const MACHINES: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };
const PROGRAM_DIRS = ['/usr/bin', '/usr/sbin', '/bin', '/sbin', '/usr/local/bin', '/opt/bin'];
const FIRMWARE_DIRS = ['/lib/firmware/updates', '/lib/firmware'];
const SOCKETS = ['/run/nvidia-persistenced/socket', '/run/nvidia-fabricmanager/socket'];
/** What every program opens, and what unified memory does. */
const CONTROL_NODES = ['nvidiactl', 'nvidia-uvm', 'nvidia-uvm-tools'];
const WSL_NODE = '/dev/dxg';
const WSL_LIBRARIES = '/usr/lib/wsl/lib';
const WSL_DRIVERS = '/usr/lib/wsl/drivers';
const VERSION = /^\d+(?:\.\d+)+$/;

/** Undefined where there is none at all. @param root - `/`, or a tree that looks like it. */
export function findDriver(root: string): NvidiaDriver | undefined {
  if (
    isDevice(root, WSL_NODE) &&
    namesIn(root, WSL_LIBRARIES).some((name) => name.startsWith('libcuda.so'))
  ) {
    return wslDriver(root);
  }
  const kernelVersion = kernelVersionOf(root);
  const versions = libraryVersions(root);
  const version = kernelVersion === undefined ? usedVersion(root, versions) : kernelVersion;
  const has = version !== undefined && versions.includes(version);
  // Libraries alone are a package that somebody installed.
  const hasNodes = namesIn(root, '/dev').some((name) => /^nvidia(?:ctl|\d+)$/.test(name));
  if (kernelVersion === undefined && (versions.length === 0 || !hasNodes)) {
    return undefined;
  }
  const libraries = has ? librariesOf(root, version) : [];
  const beside = libraries.map(({ target }) => posix.join(posix.dirname(target), '../bin'));
  const programDirs = [...new Set([...PROGRAM_DIRS, ...beside])];
  return {
    kind: 'linux',
    kernelVersion,
    version: has ? version : undefined,
    libraryVersions: versions,
    libraries,
    programs: has ? PROGRAMS.flatMap((name) => programIn(root, programDirs, name) ?? []) : [],
    others: has ? [...firmwareOf(root, version), ...SOCKETS.flatMap((path) => fileAt(root, path) ?? [])] : [],
    nodes: nodesAt(
      root,
      CONTROL_NODES.map((name) => `/dev/${name}`),
    ),
  };
}

function nodesAt(root: string, paths: readonly string[]): readonly DriverFile[] {
  return paths.flatMap((path) => nodeAt(root, path) ?? []);
}

function kernelVersionOf(root: string): string | undefined {
  const text = textAt(root, '/proc/driver/nvidia/version') ?? '';
  return /^NVRM version:.*?\s(\d+(?:\.\d+)+)\s/m.exec(`${text}\n`)?.[1];
}

function wslDriver(root: string): NvidiaDriver {
  const inLibraries = (wanted: (name: string) => boolean) =>
    namesIn(root, WSL_LIBRARIES)
      .filter(wanted)
      .flatMap((name) => fileAt(root, posix.join(WSL_LIBRARIES, name)) ?? []);
  return {
    kind: 'wsl',
    kernelVersion: undefined,
    version: undefined,
    libraryVersions: [],
    libraries: inLibraries((name) => /\.so(\.|$)/.test(name)),
    programs: inLibraries((name) => name === 'nvidia-smi').map(({ source }) => ({
      source,
      target: '/usr/bin/nvidia-smi',
    })),
    // Libraries open the driver's own by that path.
    others: statAt(root, WSL_DRIVERS)?.isDirectory() === true ? [at(root, WSL_DRIVERS)] : [],
    nodes: nodesAt(root, [WSL_NODE]),
  };
}

function libraryDirs(): readonly string[] {
  const triplet = TRIPLETS[arch()] ?? '';
  return [
    '/usr/lib64',
    `/usr/lib/${triplet}`,
    `/usr/lib/${triplet}/nvidia/current`,
    '/lib64',
    `/lib/${triplet}`,
    `/lib/${triplet}/nvidia/current`,
    '/usr/lib64/nvidia',
    '/usr/lib',
  ];
}

/** Of `libcuda` and `libnvidia-ml`, whichever are there; those in the loader's directories first. */
function libraryVersions(root: string): readonly string[] {
  const names = [
    ...libraryDirs().flatMap((directory) =>
      namesIn(root, directory)
        .filter((name) => versionOf(name) !== undefined)
        .map((name) => posix.join(directory, name)),
    ),
    ...cachedPaths(root),
  ];
  const versions = names.flatMap((path) => {
    const real = realFile(root, path);
    const version = real === undefined ? undefined : versionOf(basename(real));
    return version === undefined ? [] : [version];
  });
  return [...new Set(versions)];
}

function versionOf(name: string): string | undefined {
  const version = /^lib(?:cuda|nvidia-ml)\.so\.(.+)$/.exec(name)?.[1];
  return version !== undefined && VERSION.test(version) ? version : undefined;
}

/** Where the kernel does not say which it runs: what `libcuda.so.1` is, as programs would load it. */
function usedVersion(root: string, versions: readonly string[]): string | undefined {
  for (const directory of libraryDirs()) {
    const real = realFile(root, posix.join(directory, 'libcuda.so.1'));
    const version = real === undefined ? undefined : versionOf(basename(real));
    if (version !== undefined) {
      return version;
    }
  }
  return versions[0];
}

function librariesOf(root: string, version: string): readonly DriverFile[] {
  return LIBRARIES.flatMap((name) => {
    const file = `${name}.so.${version}`;
    const candidates = [
      ...libraryDirs().map((directory) => posix.join(directory, file)),
      // The cache knows a library by its soname, which leads to the file.
      ...cachedPaths(root).filter((path) => basename(path).startsWith(`${name}.so`)),
    ];
    for (const path of candidates) {
      const real = realFile(root, path);
      if (real !== undefined && basename(real) === file) {
        return [{ source: onHost(root, real), target: posix.join(posix.dirname(path), file) }];
      }
    }
    return [];
  });
}

const caches = new Map<string, { readonly mtimeMs: number; readonly paths: readonly string[] }>();

/** NVIDIA's libraries in the loader's cache. */
function cachedPaths(root: string): readonly string[] {
  const path = onHost(root, '/etc/ld.so.cache');
  try {
    const { mtimeMs } = statSync(path);
    const known = caches.get(path);
    if (known?.mtimeMs === mtimeMs) {
      return known.paths;
    }
    const paths = librariesInCache(readFileSync(path)).filter((each) =>
      /^lib(?:cuda|nvidia)/.test(basename(each)),
    );
    caches.set(path, { mtimeMs, paths });
    return paths;
  } catch {
    return [];
  }
}

function firmwareOf(root: string, version: string): readonly DriverFile[] {
  for (const directory of FIRMWARE_DIRS) {
    const own = posix.join(directory, 'nvidia', version);
    const files = namesIn(root, own).filter((name) => /^gsp.*\.bin$/.test(name));
    if (files.length > 0) {
      return files.flatMap((name) => fileAt(root, posix.join(own, name)) ?? []);
    }
  }
  return [];
}

/** Where the driver lies in a directory of its own, there may be a script in the usual ones that calls the program by its path there. */
function programIn(root: string, directories: readonly string[], name: string): DriverFile | undefined {
  const found = directories.flatMap((directory) => fileAt(root, posix.join(directory, name)) ?? []);
  const program = found.find(({ target }) => realFile(root, target) !== undefined) ?? found[0];
  if (program === undefined || PROGRAM_DIRS.includes(posix.dirname(program.target))) {
    return program;
  }
  // Where a PATH leads, and whoever lends it puts what is lent.
  return { source: program.source, target: posix.join('/usr/bin', name) };
}

/** A library or program of this machine's own kind behind the path, links of the tree followed in the tree. */
function realFile(root: string, path: string): string | undefined {
  const { path: real, stat } = resolved(root, path);
  return stat?.isFile() === true && isOwnElf(join(root, real)) ? real : undefined;
}

/** 32-bit libraries have the same names, in directories that are those of 64-bit ones elsewhere. */
function isOwnElf(path: string): boolean {
  const header = Buffer.alloc(20);
  try {
    const file = openSync(path, 'r');
    try {
      readSync(file, header, 0, header.length, 0);
    } finally {
      closeSync(file);
    }
  } catch {
    return false;
  }
  const isElf = header.readUInt32BE(0) === 0x7f454c46;
  return isElf && header[4] === 2 && header.readUInt16LE(18) === MACHINES[arch()];
}
