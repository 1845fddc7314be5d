import { describe, expect, test } from 'vitest';
import { chooseGpus, type GpuInventory } from '../../../src/executor/choose-gpus.ts';

const inventory = (...models: (string | undefined)[]): GpuInventory => ({
  gpus: models.map((model, index) => ({ name: `nvidia.com/gpu=${index}`, model })),
  remarks: [],
  hint: 'mend it',
});
const one = (type: string, count = 1) => [{ type, count }];
const A100_40 = 'NVIDIA A100-SXM4-40GB';
const A100_80 = 'NVIDIA A100 80GB PCIe';
const names = (chosen: ReturnType<typeof chooseGpus>) =>
  chosen.gpus.map(({ name }) => Number(name.split('=')[1]));
const code = (expected: string) => expect.objectContaining({ code: expected });

describe('a type is a model, as far as its words say so', () => {
  test.each([
    ['A100', A100_40],
    ['A100', A100_80],
    ['A100-80GB', A100_80],
    ['A100-40GB', A100_40],
    ['H100', 'NVIDIA H100 80GB HBM3'],
    ['H100!', 'NVIDIA H100 80GB HBM3'],
    ['T4', 'Tesla T4'],
    ['A10G', 'NVIDIA A10G'],
    ['RTX-PRO-6000', 'NVIDIA RTX PRO 6000 Blackwell Server Edition'],
    ['ANY', undefined],
  ])('%s is %s', (type, model) => {
    expect(chooseGpus(one(type), 'strict', inventory(model))).toMatchObject({
      gpus: [{ model }],
      warnings: [],
    });
  });

  test.each([
    ['A100-80GB', A100_40],
    ['A10', 'NVIDIA A10G'],
    ['A10', A100_80],
    ['H200', 'NVIDIA GH200 480GB'],
    ['L40', 'NVIDIA L40S'],
    ['H100', undefined],
    ['!', 'NVIDIA H100'],
  ])('%s is not %s', (type, model) => {
    expect(() => chooseGpus(one(type), 'strict', inventory(model))).toThrow(code('E_GPU_UNAVAILABLE'));
  });
});

test('auto takes what is there in number, what fits first, and warns of another type', () => {
  const machine = inventory('Tesla T4', A100_80, 'Tesla T4', A100_40);
  expect(names(chooseGpus(one('A100', 2), 'auto', machine))).toEqual([1, 3]);
  const mixed = chooseGpus(one('A100-80GB', 2), 'auto', machine);
  expect(names(mixed)).toEqual([1, 0]);
  expect(mixed.warnings).toEqual([
    {
      code: 'W_GPU_TYPE',
      message: 'the step asks for 2 GPUs of type A100-80GB and gets nvidia.com/gpu=0 (Tesla T4)',
    },
  ]);
  expect(chooseGpus(one('H100'), 'auto', inventory(undefined)).warnings).toMatchObject([
    { code: 'W_GPU_TYPE', message: expect.stringContaining('model unknown') },
  ]);
});

test('too few or none is an error that says what there is', () => {
  const failure = (policy: 'auto' | 'strict', machine: GpuInventory, count: number) => {
    try {
      chooseGpus(one('T4', count), policy, machine);
    } catch (error) {
      return error as Error & { readonly hint: string };
    }
    return undefined;
  };
  expect(failure('auto', { ...inventory(), remarks: ['none is described in /etc/cdi'] }, 1)).toMatchObject({
    name: 'HostError',
    code: 'E_GPU_UNAVAILABLE',
    message:
      'the step asks for a GPU of type T4, which this machine does not have: there is none; none is described in /etc/cdi',
    hint: 'mend it',
  });
  expect(failure('auto', inventory('Tesla T4'), 2)?.message).toContain(
    'there is nvidia.com/gpu=0 (Tesla T4)',
  );
  expect(failure('strict', inventory(A100_80), 1)?.message).toContain(
    "the policy 'strict' takes no other type",
  );
});

test('alternatives are tried in their order, the right type before any other', () => {
  const wanted = [
    { type: 'H100', count: 2 },
    { type: 'A100-80GB', count: 1 },
  ];
  expect(names(chooseGpus(wanted, 'auto', inventory('Tesla T4', 'Tesla T4', A100_80)))).toEqual([2]);
  expect(chooseGpus(wanted, 'auto', inventory('Tesla T4')).warnings).toMatchObject([{ code: 'W_GPU_TYPE' }]);
  expect(() => chooseGpus(wanted, 'strict', inventory('Tesla T4'))).toThrow(
    expect.objectContaining({
      message: expect.stringContaining('2 GPUs of type H100 or a GPU of type A100-80GB'),
    }),
  );
});

test('ignore takes none and says so', () => {
  expect(chooseGpus(one('T4'), 'ignore', inventory('Tesla T4'))).toEqual({
    gpus: [],
    warnings: [{ code: 'W_GPU_IGNORED', message: expect.stringContaining('a GPU of type T4') }],
  });
});
