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
  ])('%j is %s times %i (C155)', (text, type, count) => {
    expect(gpuRequests('run', text, { lists: false })).toEqual([{ type, count }]);
  });

  test.each([
    '',
    ' ',
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
    expect(new Set(all).size).toBe(4);
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
