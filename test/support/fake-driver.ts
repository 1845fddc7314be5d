/**
 * A tree that looks like a machine with NVIDIA's driver: what the kernel says, nodes that are links to `/dev/null`, libraries. What
 * is compiled counts the nodes of GPUs that it sees, so that a step tells what it was lent.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { arch } from 'node:os';
import { dirname, join } from 'node:path';

export const DRIVER_VERSION = '999.88.77';
export const TRIPLET = arch() === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
export const LIBRARY_DIR = `usr/lib/${TRIPLET}`;

/** All that is looked at of a library before it is taken. @param width - 1 of 32 bits, 2 of 64. */
export function elfHeader(machine: number, width: 1 | 2): Uint8Array {
  return Uint8Array.from([0x7f, 0x45, 0x4c, 0x46, width, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, machine, 0]);
}

export const ELF_HEADER = elfHeader(arch() === 'arm64' ? 183 : 62, 2);

export interface FakeGpu {
  readonly model: string;
  readonly minor: number;
  readonly memoryMiB?: number;
  readonly compute?: string;
  readonly excluded?: boolean;
}

export const uuidOf = (minor: number) => `GPU-${String(minor).repeat(8)}-0000-1111-2222-333344445555`;

/** Everything but libraries and programs. In the order of PCI. */
export function driverFiles(
  gpus: readonly FakeGpu[],
  version = DRIVER_VERSION,
): Record<string, string | { readonly link: string }> {
  return {
    'proc/driver/nvidia/version': `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  ${version}  Release Build  (x@y)\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n`,
    ...Object.fromEntries(
      gpus.flatMap(({ model, minor, excluded = false }, index) => [
        [
          `proc/driver/nvidia/gpus/0000:0${index + 1}:00.0/information`,
          `Model: \t\t ${model}\nIRQ:   \t\t 18\nGPU UUID: \t ${uuidOf(minor)}\nVideo BIOS: \t ??\nBus Location: \t 0000:0${index + 1}:00.0\nDevice Minor: \t ${minor}\nGPU Excluded:\t ${excluded ? 'Yes' : 'No'}\n`,
        ],
        [`dev/nvidia${minor}`, { link: '/dev/null' }],
      ]),
    ),
    ...Object.fromEntries(
      ['nvidiactl', 'nvidia-uvm', 'nvidia-uvm-tools'].map((name) => [`dev/${name}`, { link: '/dev/null' }]),
    ),
  };
}

const COUNT = `
#include <sys/stat.h>
#include <stdio.h>
static int count_nodes(void) {
  char path[64];
  struct stat node;
  int found = 0;
  for (int minor = 0; minor < 16; minor++) {
    snprintf(path, sizeof path, "/dev/nvidia%d", minor);
    if (stat(path, &node) == 0 && S_ISCHR(node.st_mode)) found++;
  }
  return found;
}`;
const CUDA = `${COUNT}
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = count_nodes(); return 0; }`;
const NVML = `${COUNT}
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = count_nodes(); return 0; }`;
/** Loads both by the names that programs know, which the loader has to find. */
const PROBE = `
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
  void *cuda = dlopen("libcuda.so.1", RTLD_NOW), *nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  if (!cuda || !nvml) { printf("%s\\n", dlerror()); return 1; }
  int count = -1;
  unsigned managed = 0;
  ((int (*)(unsigned))dlsym(cuda, "cuInit"))(0);
  ((int (*)(int *))dlsym(cuda, "cuDeviceGetCount"))(&count);
  ((int (*)(unsigned *))dlsym(nvml, "nvmlDeviceGetCount_v2"))(&managed);
  printf("cuda sees %d, nvml sees %u\\n", count, managed);
  return 0;
}`;

/** The whole tree, everybody may read it. @returns The program that loads the libraries and prints what they count. */
export function makeFakeDriver(root: string, gpus: readonly FakeGpu[]): string {
  const libraries = join(root, LIBRARY_DIR);
  for (const [path, leaf] of Object.entries(driverFiles(gpus))) {
    const full = join(root, path);
    mkdirSync(dirname(full), { recursive: true });
    typeof leaf === 'string' ? writeFileSync(full, leaf) : symlinkSync(leaf.link, full);
  }
  mkdirSync(libraries, { recursive: true });
  compile(
    join(libraries, `libcuda.so.${DRIVER_VERSION}`),
    CUDA,
    '-shared',
    '-fPIC',
    '-Wl,-soname,libcuda.so.1',
  );
  compile(
    join(libraries, `libnvidia-ml.so.${DRIVER_VERSION}`),
    NVML,
    '-shared',
    '-fPIC',
    '-Wl,-soname,libnvidia-ml.so.1',
  );
  // An update that a reboot would take back, and what cannot be loaded here.
  compile(join(libraries, 'libcuda.so.111.22'), CUDA, '-shared', '-fPIC', '-Wl,-soname,libcuda.so.1');
  writeFileSync(join(root, 'usr/lib', `libcuda.so.${DRIVER_VERSION}`), 'of another machine');
  mkdirSync(join(root, 'usr/bin'));
  writeFileSync(join(root, 'usr/bin/nvidia-smi'), smi(gpus), { mode: 0o755 });
  const firmware = join(root, 'lib/firmware/nvidia', DRIVER_VERSION);
  mkdirSync(firmware, { recursive: true });
  writeFileSync(join(firmware, 'gsp_ga10x.bin'), 'firmware\n');
  const program = join(root, 'count-gpus');
  compile(program, PROBE);
  return program;
}

function smi(gpus: readonly FakeGpu[]): string {
  const rows = gpus.map(
    ({ memoryMiB, compute }, index) =>
      `00000000:0${index + 1}:00.0, ${memoryMiB ?? '[N/A]'}, ${compute ?? '[N/A]'}`,
  );
  return `#!/bin/sh
case "$*" in
'--query-gpu=pci.bus_id,memory.total,compute_cap --format=csv,noheader,nounits') cat <<'END'
${rows.join('\n')}
END
;;
*) echo "fake nvidia-smi ${DRIVER_VERSION}" ;;
esac
`;
}

function compile(output: string, source: string, ...flags: readonly string[]): void {
  execFileSync('cc', ['-x', 'c', '-', '-O1', '-o', output, ...flags], { input: source });
}
