import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findGpus } from '../../../src/executor/find-gpus.ts';
import type { GpuRequest } from '../../../src/graph/action.ts';
import { DRIVER_VERSION, driverFiles, ELF_HEADER, TRIPLET } from '../../support/fake-driver.ts';
import { type Leaf, temporaryTree } from '../../support/temporary-tree.ts';

/** As nvidia-ctk writes it: each GPU by number and by UUID, and all of them. The nodes are files here. */
function specification(nodes: readonly string[]): string {
  const device = (name: string, paths: readonly string[]) => ({
    name,
    containerEdits: {
      deviceNodes: paths.map((path, index) => ({ path: `/dev/nvidia${index}`, hostPath: path })),
    },
  });
  return JSON.stringify({
    cdiVersion: '0.5.0',
    kind: 'nvidia.com/gpu',
    devices: [
      ...nodes.map((node, index) => device(String(index), [node])),
      ...nodes.map((node, index) => device(`GPU-${index}`, [node])),
      device('all', nodes),
    ],
    containerEdits: { env: ['NVIDIA_VISIBLE_DEVICES=void'] },
  });
}

const information = (model: string, minor: number) =>
  `Model: \t\t ${model}\nIRQ:   \t\t 18\nGPU UUID: \t GPU-8${minor}\nDevice Minor: \t ${minor}\nGPU Excluded:\t No\n`;
const DRIVER: Readonly<Record<string, Leaf>> = {
  'proc/driver/nvidia/version': 'NVRM version: NVIDIA 570.86.15\n',
  'proc/driver/nvidia/gpus/0000:0a:00.0/information': information('Tesla T4', 1),
  'proc/driver/nvidia/gpus/0000:0b:00.0/information': information('NVIDIA A10G', 0),
  'dev/nvidia0': { link: '/dev/null' },
  'dev/nvidia1': { link: '/dev/null' },
};

async function machine(
  leaves: Readonly<Record<string, Leaf>>,
  nodes: readonly string[] = ['nvidia0', 'nvidia1'],
) {
  const tree = await temporaryTree(leaves);
  const cdi = join(tree.path, 'cdi');
  mkdirSync(cdi);
  if (nodes.length > 0) {
    writeFileSync(join(cdi, 'nvidia.json'), specification(nodes.map((node) => join(tree.path, 'dev', node))));
  }
  return { driverRoot: tree.path, cdiDirs: [cdi], [Symbol.asyncDispose]: () => tree[Symbol.asyncDispose]() };
}

test('one device for each GPU, by its number, with the model that the driver knows', async () => {
  await using host = await machine(DRIVER);
  const found = await findGpus([{ type: 'ANY', count: 2 }], { policy: 'auto', ...host });
  expect(found).toEqual({
    devices: [
      { name: 'nvidia.com/gpu=0', required: true },
      { name: 'nvidia.com/gpu=1', required: true },
    ],
    env: [
      ['NVIDIA_VISIBLE_DEVICES', '0,1'],
      ['NVIDIA_DRIVER_CAPABILITIES', 'compute,utility'],
    ],
    defaultEnv: [['CUDA_DEVICE_ORDER', 'PCI_BUS_ID']],
    warnings: [],
  });
  const strict = await findGpus([{ type: 'T4', count: 1 }], { policy: 'strict', ...host });
  expect(strict.devices.map(({ name }) => name)).toEqual(['nvidia.com/gpu=1']);
  await expect(findGpus([{ type: 'ANY', count: 3 }], { policy: 'auto', ...host })).rejects.toMatchObject({
    code: 'E_GPU_UNAVAILABLE',
    message: expect.stringContaining('nvidia.com/gpu=0 (NVIDIA A10G), nvidia.com/gpu=1 (Tesla T4)'),
  });
});

describe('a machine without', () => {
  test('a driver', async () => {
    await using host = await machine({}, []);
    await expect(findGpus([{ type: 'T4', count: 1 }], { policy: 'auto', ...host })).rejects.toMatchObject({
      message: expect.stringMatching(/there is none; none is described in .*; no NVIDIA driver is loaded/),
      hint: expect.stringContaining('--gpu-policy ignore'),
    });
  });

  test('a description of its GPUs, and the libraries', async () => {
    await using host = await machine(DRIVER, []);
    await expect(findGpus([{ type: 'T4', count: 1 }], { policy: 'auto', ...host })).rejects.toMatchObject({
      message: expect.stringContaining('the NVIDIA driver 570.86.15, and its libraries are not installed'),
      hint: expect.stringContaining('tsbuild doctor --gpu'),
    });
  });

  test('the nodes that a description names', async () => {
    await using host = await machine(DRIVER, ['nvidia7']);
    await expect(findGpus([{ type: 'ANY', count: 1 }], { policy: 'auto', ...host })).rejects.toMatchObject({
      message: expect.stringMatching(/'nvidia.com\/gpu=0' needs '.*\/dev\/nvidia7', which is not there/),
    });
  });

  test('looking, where the policy is ignore', async () => {
    await using host = await machine({}, []);
    const found = await findGpus([{ type: 'T4', count: 1 }], { policy: 'ignore', ...host });
    expect(found).toMatchObject({ devices: [], env: [], warnings: [{ code: 'W_GPU_IGNORED' }] });
  });
});

describe('described GPUs', () => {
  const smi = `#!/bin/sh
echo '00000000:0A:00.0, 15360, 7.5'
echo '00000000:0B:00.0, 23028, 8.6'
`;

  test('have the memory that nvidia-smi says, and are called by their UUIDs too', async () => {
    await using host = await machine({
      ...DRIVER,
      [`usr/lib/${TRIPLET}/libcuda.so.570.86.15`]: ELF_HEADER,
      'usr/bin/nvidia-smi': { text: smi, mode: 0o755 },
    });
    const find = async (request: Partial<GpuRequest>) =>
      (await findGpus([{ type: 'ANY', count: 1, ...request }], { policy: 'auto', ...host })).devices.map(
        ({ name }) => name,
      );
    expect(await find({ memoryBytes: 20e9 })).toEqual(['nvidia.com/gpu=0']);
    expect(await find({ compute: '7.5', type: 'T4' })).toEqual(['nvidia.com/gpu=1']);
    // The specification's number stands over that of PCI: the T4 is on the lower bus.
    expect(await find({ devices: ['1'] })).toEqual(['nvidia.com/gpu=1']);
    expect(await find({ devices: ['GPU-1'] })).toEqual(['nvidia.com/gpu=1']);
    await expect(find({ memoryBytes: 30e9 })).rejects.toThrow(/NVIDIA A10G, 24\.1 GB, compute 8\.6/);
  });

  test('of which nvidia-smi says nothing have no known memory, and the error says so', async () => {
    await using host = await machine(DRIVER);
    const request = { type: 'ANY', count: 1, memoryBytes: 1 };
    await expect(findGpus([request], { policy: 'auto', ...host })).rejects.toThrow(
      /nvidia-smi, which knows memory/,
    );
  });
});

test('GPUs that nothing describes are those of the driver', async () => {
  await using tree = await temporaryTree({
    ...driverFiles([
      { model: 'NVIDIA L4', minor: 1 },
      { model: 'NVIDIA L40S', minor: 0 },
    ]),
    ...Object.fromEntries(
      ['libcuda', 'libnvidia-ml'].map((name) => [
        `usr/lib/${TRIPLET}/${name}.so.${DRIVER_VERSION}`,
        ELF_HEADER,
      ]),
    ),
  });
  const options = { policy: 'strict', cdiDirs: [], driverRoot: tree.path } as const;
  const find = async (type: string) => (await findGpus([{ type, count: 1 }], options)).devices;
  expect(await find('L4')).toEqual([{ name: 'nvidia.com/gpu=0', required: true }]);
  expect(await find('L40S')).toEqual([{ name: 'nvidia.com/gpu=1', required: true }]);
  await expect(find('L40')).rejects.toThrow(
    /nvidia\.com\/gpu=0 \(NVIDIA L4\), nvidia\.com\/gpu=1 \(NVIDIA L40S\)/,
  );
});
