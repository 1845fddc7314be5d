import { describe, expect, test } from 'vitest';
import { chooseGpus, type GpuInventory } from '../../../src/executor/choose-gpus.ts';

const inventory = (...models: (string | undefined)[]): GpuInventory => ({
  gpus: models.map((model, index) => ({ name: `nvidia.com/gpu=${index}`, aliases: [String(index)], model })),
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
    ['A100-SXM', A100_40],
    ['geforce', 'NVIDIA GeForce RTX 4090'],
    ['L40S', 'NVIDIA L40S'],
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
    ['L4', 'NVIDIA L40S'],
    ['H100', 'NVIDIA H1000'],
    ['40S', 'NVIDIA L40S'],
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
  expect(names(mixed)).toEqual([0, 1]);
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

describe('what the GPUs must have', () => {
  const machine: GpuInventory = {
    gpus: [
      {
        name: 'nvidia.com/gpu=0',
        aliases: ['0', 'GPU-AB'],
        model: 'Tesla T4',
        memoryBytes: 15360 * 2 ** 20,
        compute: '7.5',
      },
      {
        name: 'nvidia.com/gpu=1',
        aliases: ['1', 'GPU-cd'],
        model: A100_80,
        memoryBytes: 81920 * 2 ** 20,
        compute: '8.0',
      },
      {
        name: 'nvidia.com/gpu=2',
        aliases: ['2'],
        model: 'NVIDIA B200',
        memoryBytes: 183359 * 2 ** 20,
        compute: '10.0',
      },
      { name: 'nvidia.com/gpu=3:0', aliases: ['3:0'], model: A100_80, compute: '8.0', isInstance: true },
    ],
    remarks: [],
    hint: '',
  };
  const any = { type: 'ANY', count: 1 } as const;

  test.each([
    ['memory', { ...any, memoryBytes: 16e9 }, [0]],
    ['more memory', { ...any, memoryBytes: 17e9 }, [1]],
    ['compute capability, which counts as numbers do', { ...any, compute: '9.0' }, [2]],
    ['one that just suffices', { ...any, compute: '8.0' }, [1]],
    ['all there are', { type: 'ANY', count: 'all' as const }, [0, 1, 2, 3]],
    ['all of a type', { type: 'A100', count: 'all' as const }, [1, 3]],
    ['whole ones before parts', { type: 'A100', count: 1 }, [1]],
    ['several, in the order of the machine', { type: 'ANY', count: 2, devices: ['2', '0'] }, [0, 2]],
    ['a UUID in whatever case', { ...any, devices: ['gpu-CD'] }, [1]],
    ['a part', { ...any, devices: ['3:0'] }, [3]],
  ])('%s', (_what, request, expected) => {
    const found = chooseGpus([request], 'strict', machine).gpus.map(({ name }) =>
      machine.gpus.findIndex((gpu) => gpu.name === name),
    );
    expect(found).toEqual(expected);
  });

  test.each([
    [
      'more memory than any has',
      { ...any, memoryBytes: 200e9 },
      /a GPU of any type with at least 200 GB of memory/,
    ],
    ['two of such memory', { type: 'ANY', count: 2, memoryBytes: 100e9 }, /2 GPUs .*16\.1 GB, compute 7\.5/],
    ['a device that is not there', { ...any, devices: ['7'] }, /the GPU 7, which/],
    ['one of two devices', { type: 'ANY', count: 2, devices: ['0', '7'] }, /the GPUs 0, 7/],
  ])('%s is refused whatever the policy', (_what, request, message) => {
    expect(() => chooseGpus([request], 'auto', machine)).toThrow(message);
    expect(() => chooseGpus([request], 'strict', machine)).toThrow(message);
  });

  test('memory that nobody knows is not enough; another type is a matter of the policy', () => {
    expect(() => chooseGpus([{ ...any, memoryBytes: 1 }], 'auto', inventory(A100_80))).toThrow(
      code('E_GPU_UNAVAILABLE'),
    );
    const chosen = chooseGpus([{ type: 'H100', count: 1, memoryBytes: 100e9 }], 'auto', machine);
    expect(names(chosen)).toEqual([2]);
    expect(chosen.warnings).toMatchObject([{ code: 'W_GPU_TYPE' }]);
  });
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
