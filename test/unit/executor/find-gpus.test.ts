import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { findGpus } from '../../../src/executor/find-gpus.ts';
import { gpuModels } from '../../../src/executor/gpu-models.ts';
import { type Leaf, temporaryTree } from '../../support/temporary-tree.ts';

afterEach(() => vi.unstubAllEnvs());

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
  `Model: \t\t ${model}\nIRQ:   \t\t 18\nGPU UUID: \t GPU-8\nDevice Minor: \t ${minor}\nGPU Excluded:\t No\n`;
const DRIVER: Readonly<Record<string, Leaf>> = {
  'proc/driver/nvidia/version': 'NVRM version: NVIDIA 570.86.15\n',
  'proc/driver/nvidia/gpus/0000:0a:00.0/information': information('Tesla T4', 1),
  'proc/driver/nvidia/gpus/0000:0b:00.0/information': information('NVIDIA A10G', 0),
  'dev/nvidia0': '',
  'dev/nvidia1': '',
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
  return { root: tree.path, directories: [cdi], [Symbol.asyncDispose]: () => tree[Symbol.asyncDispose]() };
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

  test('a description of its GPUs', async () => {
    await using host = await machine(DRIVER, []);
    await expect(findGpus([{ type: 'T4', count: 1 }], { policy: 'auto', ...host })).rejects.toMatchObject({
      hint: 'sudo nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml',
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

test('where /proc says nothing, nvidia-smi is asked; where there is none, models are unknown', async () => {
  await using tree = await temporaryTree({
    'bin/nvidia-smi': `#!/bin/sh
[ "$*" = '-q -x' ] || exit 3
cat <<'END'
<?xml version="1.0" ?>
<nvidia_smi_log>
  <gpu id="00000000:0A:00.0">
    <product_name>NVIDIA H100 80GB HBM3</product_name>
    <minor_number>3</minor_number>
  </gpu>
  <gpu id="00000000:0B:00.0">
    <product_name>Tesla T4</product_name>
    <minor_number>1</minor_number>
  </gpu>
</nvidia_smi_log>
END
`,
  });
  chmodSync(join(tree.path, 'bin/nvidia-smi'), 0o755);
  vi.stubEnv('PATH', `${join(tree.path, 'bin')}:${process.env.PATH}`);
  expect([...(await gpuModels(tree.path))]).toEqual([
    [3, 'NVIDIA H100 80GB HBM3'],
    [1, 'Tesla T4'],
  ]);
  vi.stubEnv('PATH', join(tree.path, 'nowhere'));
  expect([...(await gpuModels(tree.path))]).toEqual([]);
});
