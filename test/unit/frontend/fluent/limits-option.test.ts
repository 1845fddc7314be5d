import { describe, expect, test } from 'vitest';
import { App } from '../../../../src/frontend/fluent/app.ts';
import type { RunCommandsOptions } from '../../../../src/frontend/fluent/command-layers.ts';
import { Image } from '../../../../src/frontend/fluent/image.ts';
import { runOptions } from '../../../../src/frontend/fluent/terminal-options.ts';
import { graphOf, planOf } from '../../../support/image-surroundings.ts';

const base = Image.fromScratch();
const code = (expected: string) => expect.objectContaining({ code: expected });
const actionsOf = async (image: Image) => {
  const { operation } = (await graphOf(image)).tip.vertex;
  return operation.kind === 'build' ? operation.actions : [];
};
const LIMITS = { cpu: 1.5, memory: 512, retries: 2 } as const;
const BOUNDS = { limits: { cpus: 1.5, memoryBytes: 512 * 1024 ** 2 }, retries: 2 };

const identity = (value: string) => value;

describe('cpu, memory and retries', () => {
  test('reach each command of the call, and a function', async () => {
    expect(await actionsOf(base.runCommands('a', '["b"]', LIMITS))).toMatchObject([BOUNDS, BOUNDS]);
    expect(await actionsOf(base.runCommands('a', 'b', { ...LIMITS, sharedShell: true }))).toMatchObject([
      BOUNDS,
    ]);
    expect(await actionsOf(base.runFunction(identity, { args: ['x'], ...LIMITS }))).toMatchObject([BOUNDS]);
  });

  test('are in no hash of a layer', async () => {
    const hash = async (image: Image) => (await planOf(image)).layers.at(-1)?.definitionHash;
    expect(await hash(base.runCommands('a', LIMITS))).toBe(await hash(base.runCommands('a')));
  });

  test.each([
    [{ cpu: 0 }, 'cores from 0.01'],
    [{ cpu: Number.NaN }, 'cores'],
    [{ memory: 5 }, 'MiB from 6'],
    [{ memory: '1g' }, 'MiB'],
    [{ retries: -1 }, 'whole number from 0 to 100'],
    [{ retries: 1.5 }, 'whole number'],
    [{ retries: 101 }, 'whole number'],
  ])('%j is refused', (options, why) => {
    const call = () => base.runCommands('a', options as RunCommandsOptions);
    expect(call).toThrow(code('E_ARG_TYPE'));
    expect(call).toThrow(why);
  });

  test('containers and functions of apps have no retries', () => {
    expect(() => runOptions({ retries: 1 })).toThrow(code('E_UNKNOWN_OPTION'));
    const app = new App('a');
    expect(() => app.function({ retries: 1 } as never, identity)).toThrow(code('E_UNKNOWN_OPTION'));
    expect(runOptions({ cpu: 2, memory: 64, network: 'private' })).toMatchObject({
      cpu: 2,
      memory: 64,
      network: 'private',
    });
    expect(() => runOptions({ memory: 1 })).toThrow(code('E_ARG_TYPE'));
  });
});
