/**
 * A real GPU, as whoever runs the tests: a program that allocates memory on it, and its name by nvidia-smi, in a build step and in
 * `tsbuild run`; compiled CUDA where there is a compiler. It needs no network.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findDriver } from '../../src/executor/nvidia-driver.ts';
import { readImage } from '../support/layout-validation.ts';
import { loaderExpression } from '../support/loader-image.ts';
import { lacks } from '../support/requires.ts';
import { type RunSetting, run, succeed } from '../support/tsbuild.ts';

/** Allocates, fills and reads back; every call by the name that the driver exports. */
const ALLOCATE = `
#include <dlfcn.h>
#include <stdio.h>
#define CALL(name, type, ...) do { \\
  int (*call) type = (int (*) type)dlsym(cuda, name); \\
  int status = call ? call(__VA_ARGS__) : -1; \\
  if (status) { printf("%s: %d\\n", name, status); return 1; } } while (0)
int main(void) {
  void *cuda = dlopen("libcuda.so.1", RTLD_NOW), *context;
  if (!cuda) { printf("%s\\n", dlerror()); return 1; }
  int count = 0, device;
  char name[128];
  unsigned long long memory;
  unsigned char back[4] = {0};
  CALL("cuInit", (unsigned), 0);
  CALL("cuDeviceGetCount", (int *), &count);
  CALL("cuDeviceGet", (int *, int), &device, 0);
  CALL("cuDeviceGetName", (char *, int, int), name, sizeof name, device);
  CALL("cuDevicePrimaryCtxRetain", (void **, int), &context, device);
  CALL("cuCtxSetCurrent", (void *), context);
  CALL("cuMemAlloc_v2", (unsigned long long *, unsigned long), &memory, 64ul << 20);
  CALL("cuMemsetD8_v2", (unsigned long long, unsigned char, unsigned long), memory, 42, 64ul << 20);
  CALL("cuMemcpyDtoH_v2", (void *, unsigned long long, unsigned long), back, memory + (60ul << 20), sizeof back);
  CALL("cuMemFree_v2", (unsigned long long), memory);
  printf("%d GPU: %s holds %d\\n", count, name, back[3]);
  return 0;
}`;
const KERNEL = `
#include <cstdio>
__global__ void add(int *sum) { atomicAdd(sum, threadIdx.x); }
int main() {
  int *sum, result = 0;
  if (cudaMalloc(&sum, sizeof *sum) || cudaMemset(sum, 0, sizeof *sum)) return 1;
  add<<<1, 100>>>(sum);
  if (cudaMemcpy(&result, sum, sizeof result, cudaMemcpyDeviceToHost)) return 2;
  printf("threads add up to %d\\n", result);
}`;
const NAME = 'nvidia-smi --query-gpu=name --format=csv,noheader';

describe.skipIf(lacks('nvidia-gpu', 'bwrap', 'busybox'))('a real GPU', () => {
  const hasCompiler = spawnSync('nvcc', ['--version']).error === undefined;
  let directory: string;
  let setting: RunSetting;
  let names: readonly string[];
  const at = (...parts: string[]) => join(directory, ...parts);

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-real-gpu-'));
    mkdirSync(at('home'));
    setting = { cwd: directory, env: { TSBUILD_HOME: at('store'), HOME: at('home') } };
    names = execFileSync('sh', ['-c', NAME], { encoding: 'utf8' }).trim().split('\n');
    execFileSync('cc', ['-x', 'c', '-', '-o', at('allocate')], { input: ALLOCATE });
    const programs: Record<string, string> = { allocate: at('allocate') };
    if (hasCompiler) {
      writeFileSync(at('kernel.cu'), KERNEL);
      execFileSync('nvcc', ['-cudart', 'static', '-o', at('kernel'), at('kernel.cu')]);
      programs.kernel = at('kernel');
    }
    const driver = findDriver('/');
    const lent = [...(driver?.libraries ?? []), ...(driver?.programs ?? [])]
      .map(({ source }) => source)
      .filter((path) => spawnSync('ldd', [path]).status === 0);
    // What is compiled for the GPU is kept in the home directory, which is the step's.
    const look = `allocate && ${NAME}${hasCompiler ? ' && CUDA_CACHE_DISABLE=1 kernel' : ''} && grep ModifyDeviceFiles /proc/driver/nvidia/params`;
    writeFileSync(
      at('image.ts'),
      `import { Image } from 'tsbuild';\nexport default ${loaderExpression(programs, lent)}.runCommands(${JSON.stringify(look)}, { gpu: 'any' });\n`,
    );
  }, 300_000);
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const allocated = (text: string) => names.some((name) => text.includes(`1 GPU: ${name} holds 42`));

  test('a build step allocates memory on it and leaves nothing of the driver in its layer', async () => {
    const args = [
      'build',
      at('image.ts'),
      '--progress=plain',
      '-o',
      `type=oci,dest=${at('out')},tar=false,compression=gzip`,
    ];
    const { stderr } = await succeed(args, setting);
    expect(allocated(stderr)).toBe(true);
    expect(names.some((name) => stderr.split('\n').some((line) => line.endsWith(name)))).toBe(true);
    if (hasCompiler) {
      expect(stderr).toContain('threads add up to 4950');
    }
    expect(stderr).toContain('ModifyDeviceFiles: 0');
    const last = readImage(at('out')).manifest.layers.at(-1)?.digest ?? '';
    const blob = at('out/blobs', last.replace(':', '/'));
    const paths = execFileSync('tar', ['-tzf', blob], { encoding: 'utf8' }).split('\n').filter(Boolean);
    // Where CUDA would keep what it compiles: the program's own doing.
    expect(paths.filter((path) => !/^root\/(\.nv\/.*)?$/.test(path))).toEqual([]);
  });

  test('so does `tsbuild run`, which gets the model that it asks for and no more than one', async () => {
    const type = /\b[A-Z]+\d+[A-Za-z]*\b/.exec(names[0] ?? '')?.[0] ?? 'any';
    const inside = ['--', '/bin/sh', '-c', `allocate && ${NAME}`];
    const { stdout } = await succeed(
      ['run', '-q', at('image.ts'), '--gpus', type, '--gpu-policy', 'strict', ...inside],
      setting,
    );
    expect(allocated(stdout)).toBe(true);
    expect(stdout.trim().split('\n')[1]).toContain(type === 'any' ? '' : type);
    const all = await succeed(
      ['run', '-q', at('image.ts'), '--gpus', 'all', '--', '/bin/sh', '-c', NAME],
      setting,
    );
    expect(all.stdout.trim().split('\n')).toEqual(names);
    const none = await run(['run', '-q', at('image.ts'), '--', '/bin/sh', '-c', 'allocate'], setting);
    expect(allocated(none.stdout)).toBe(false);
  });

  test('memory and compute capability are those that nvidia-smi says', async () => {
    const query = 'nvidia-smi --query-gpu=memory.total,compute_cap --format=csv,noheader,nounits';
    const [memory = '0', compute = ''] =
      execFileSync('sh', ['-c', query], { encoding: 'utf8' }).split('\n')[0]?.split(', ') ?? [];
    const inside = ['--', '/bin/sh', '-c', 'allocate'];
    const enough = `any,memory>=${Math.floor(Number(memory) / 1024)}GiB,compute>=${compute.trim()}`;
    expect(
      allocated((await succeed(['run', '-q', at('image.ts'), '--gpus', enough, ...inside], setting)).stdout),
    ).toBe(true);
    const tooMuch = await run(
      ['run', '-q', at('image.ts'), '--gpus', 'any,memory>=9000GB', ...inside],
      setting,
    );
    expect(tooMuch.stderr).toContain('E_GPU_UNAVAILABLE');
  });

  test('doctor finds nothing to mend', async () => {
    const { stdout } = await run(['doctor', '--json', '--gpu'], setting);
    const checks = JSON.parse(stdout) as readonly {
      readonly name: string;
      readonly ok: boolean;
      readonly detail: string;
    }[];
    expect(checks.find(({ name }) => name === 'GPU')).toMatchObject({
      ok: true,
      detail: expect.stringContaining(names[0] ?? ''),
    });
  });
});
