import { describe, expect, test } from 'vitest';
import { gpuRequests } from '../../../../src/frontend/fluent/gpu-request.ts';
import { Image } from '../../../../src/frontend/fluent/image.ts';
import type { StepOptions } from '../../../../src/frontend/fluent/step-options.ts';
import { graphOf, planOf } from '../../../support/image-surroundings.ts';

const base = Image.fromScratch();
const code = (expected: string) => expect.objectContaining({ code: expected });

describe('the text of a request', () => {
  test.each([
    ['a10g', 'A10G', 1],
    ['H100', 'H100', 1],
    ['h100:8', 'H100', 8],
    ['A100-80GB:4', 'A100-80GB', 4],
    ['T4:2', 'T4', 2],
    ['any', 'ANY', 1],
    ['ANY:3', 'ANY', 3],
    ['L4:01', 'L4', 1],
    ['no-such-card', 'NO-SUCH-CARD', 1],
    ['H100!', 'H100!', 1],
    ['B200+:2', 'B200+', 2],
    ['T4:all', 'T4', 'all'],
    ['all', 'ANY', 'all'],
    ['ALL', 'ANY', 'all'],
    ['3', 'ANY', 3],
    ['count=3', 'ANY', 3],
  ])('%j is %s times %s (C155)', (text, type, count) => {
    expect(gpuRequests('run', text, { lists: false })).toEqual([{ type, count }]);
  });

  const any = { type: 'ANY', count: 1 } as const;
  test.each([
    ['device=0', { ...any, devices: ['0'] }],
    ['device=0,2', { type: 'ANY', count: 2, devices: ['0', '2'] }],
    ['device=GPU-1a2b-3c', { ...any, devices: ['GPU-1a2b-3c'] }],
    ['device=0:0,0:1', { type: 'ANY', count: 2, devices: ['0:0', '0:1'] }],
    ['device=MIG-1a', { ...any, devices: ['MIG-1a'] }],
    ['any,memory>=40GB', { ...any, memoryBytes: 40e9 }],
    ['memory>=40GiB', { ...any, memoryBytes: 40 * 2 ** 30 }],
    ['any:2,memory>=1.5tb,compute>=8.0', { type: 'ANY', count: 2, memoryBytes: 1.5e12, compute: '8.0' }],
    ['a100,compute>=8', { type: 'A100', count: 1, compute: '8.0' }],
    ['all,compute>=10.3', { type: 'ANY', count: 'all', compute: '10.3' }],
    ['2,memory>=500MB', { type: 'ANY', count: 2, memoryBytes: 5e8 }],
    ['device=1,memory>=1GB', { ...any, devices: ['1'], memoryBytes: 1e9 }],
  ])('%j says what it must be (C155)', (text, request) => {
    expect(gpuRequests('run', text, { lists: false })).toEqual([request]);
  });

  test.each([
    '',
    ' ',
    'all:2',
    '0',
    'count=0',
    'count=T4',
    'T4,',
    'T4,A100',
    'T4,2',
    'T4,device=0',
    'device=',
    'device=0,',
    'device=0,0',
    'device=../null',
    'device=0,memory>=1GB,2',
    'memory>=40',
    'memory>=0GB',
    'memory>=-1GB',
    'memory>40GB',
    'any,memory>=1GB,memory>=2GB',
    'compute>=8.0.0',
    'any,speed>=9',
    'driver=nvidia',
    ':',
    ':2',
    'T4:',
    'T4:0',
    'T4:00',
    'T4:-1',
    'T4:+1',
    'T4:1.5',
    'T4:1e2',
    'T4:0x2',
    'T4: 2',
    'T4 :2',
    ' T4',
    'T4\n',
    'T\u00004',
    'T4:2:3',
    'T4:two',
    'T4:99999999999999999999',
    4,
    true,
    null,
    {},
    [],
    ['T4'],
    ['h100:2', 'a100-80gb:2'],
  ])('%j is no request (C155)', (value) => {
    expect(() => gpuRequests('run', value, { lists: false })).toThrow(code('E_GPU_FORMAT'));
  });

  test('a list is ordered by preference, where one is taken (C155)', () => {
    expect(gpuRequests('runFunction', ['h100:2', 'a100-80gb:2'], { lists: true })).toEqual([
      { type: 'H100', count: 2 },
      { type: 'A100-80GB', count: 2 },
    ]);
    expect(gpuRequests('runFunction', 'any', { lists: true })).toEqual([{ type: 'ANY', count: 1 }]);
    for (const wrong of [[], [['T4']], ['T4', 4], ['T4', '']]) {
      expect(() => gpuRequests('runFunction', wrong, { lists: true })).toThrow(code('E_GPU_FORMAT'));
    }
  });

  test('none is none', () => {
    expect(gpuRequests('run', undefined, { lists: true })).toEqual([]);
  });
});

describe('the option of a step', () => {
  const withGpu: readonly [string, (options: StepOptions) => Image][] = [
    ['pipInstall', (options) => base.pipInstall('torch', options)],
    ['uvPipInstall', (options) => base.uvPipInstall('torch', options)],
    ['aptInstall', (options) => base.aptInstall('git', options)],
    ['aptRemove', (options) => base.aptRemove('git', options)],
    ['runCommands', (options) => base.runCommands('nvidia-smi', options)],
    ['dockerfileCommands', (options) => base.dockerfileCommands('RUN nvidia-smi', options)],
    ['fromDockerfile', (options) => Image.fromDockerfile({ text: 'FROM scratch\nRUN nvidia-smi' }, options)],
    ['env', (options) => base.env({ A: '1' }, options)],
    ['workdir', (options) => base.workdir('/app', options)],
    ['entrypoint', (options) => base.entrypoint(['x'], options)],
  ];

  test.each(withGpu)('%s takes it, and a wrong one is an error of the call (C36)', async (_, make) => {
    expect((await planOf(make({ gpu: 'H100' }))).layers.at(-1)?.gpu).toEqual([{ type: 'H100', count: 1 }]);
    expect(() => make({ gpu: 'H100:none' })).toThrow(code('E_GPU_FORMAT'));
    expect(() => make({ gpu: ['H100'] as unknown as string })).toThrow(code('E_GPU_FORMAT'));
  });

  test('it is in the plan, without touching the machine (C36) (C64)', async () => {
    const plan = await planOf(base.pipInstall('torch', { gpu: 'H100' }).runCommands('x', { gpu: 'T4:2' }));
    expect(plan.layers.map(({ gpu }) => gpu)).toEqual([
      [],
      [{ type: 'H100', count: 1 }],
      [{ type: 'T4', count: 2 }],
    ]);
  });

  test('the request is in the key, in whatever case it was written (C37)', async () => {
    const hash = async (options: StepOptions) =>
      (await planOf(base.pipInstall('x', options))).layers.at(-1)?.definitionHash;
    expect(await hash({ gpu: 'a10g' })).toBe(await hash({ gpu: 'A10G' }));
    expect(await hash({ gpu: 'A10G:1' })).toBe(await hash({ gpu: 'A10G' }));
    const all = [
      await hash({}),
      await hash({ gpu: 'A10G' }),
      await hash({ gpu: 'T4' }),
      await hash({ gpu: 'T4:2' }),
    ];
    const asked = [
      'T4:all',
      'all',
      'device=0',
      'device=1',
      'any,memory>=1GB',
      'any,memory>=2GB',
      'any,compute>=8.0',
    ];
    all.push(...(await Promise.all(asked.map((gpu) => hash({ gpu })))));
    expect(new Set(all).size).toBe(4 + asked.length);
    expect(await hash({ gpu: '2' })).toBe(await hash({ gpu: 'any:2' }));
  });

  test('every command of the call has it in the graph', async () => {
    const { tip } = await graphOf(base.runCommands('a', 'b', { gpu: 't4:2' }));
    const actions = tip.vertex.operation.kind === 'build' ? tip.vertex.operation.actions : [];
    expect(actions.map((action) => action.kind === 'exec' && action.gpus)).toEqual([
      [{ type: 'T4', count: 2 }],
      [{ type: 'T4', count: 2 }],
    ]);
  });
});
