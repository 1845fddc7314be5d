import { describe, expect, it } from 'vitest';
import { cli } from '../../support/cli.ts';

describe('limits and network', () => {
  it('are options of the engine, in the words of Docker', async () => {
    const { calls } = await cli([
      'run',
      'web:1',
      ...[
        '--memory',
        '2g',
        '--cpus',
        '1.5',
        '--pids-limit',
        '50',
        '--step-timeout',
        '1h30m',
        '--step-retries',
        '2',
      ],
      ...['--network', 'private', '--', 'x'],
    ]);
    expect(calls.opened).toMatchObject({
      memoryBytes: 2 * 1024 ** 3,
      cpus: 1.5,
      pidsLimit: 50,
      stepTimeoutMs: 5_400_000,
      stepRetries: 2,
      network: 'private',
    });
  });

  it('leave to the engine what is not typed', async () => {
    const { calls } = await cli(['run', 'web:1', '--network', 'none', '--', 'x']);
    expect(Object.keys(calls.opened ?? {})).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/^(memoryBytes|cpus|pidsLimit|step.*|network)$/)]),
    );
  });

  it.each([
    ['--memory', '5m', '6m is the least'],
    ['--memory', 'much', 'not a size'],
    ['--cpus', '0', 'number of processors'],
    ['--cpus', '-1', 'number of processors'],
    ['--cpus', '1.', 'number of processors'],
    ['--pids-limit', '0', 'whole number from 1'],
    ['--step-timeout', 'soon', 'not a duration'],
    ['--step-retries', '1.5', 'whole number from 0'],
    ['--network', 'bridge', 'private'],
  ])('%s=%s is refused', async (option, value, why) => {
    const { status, stderr } = await cli(['run', 'web:1', `${option}=${value}`]);
    expect(status).toBe(2);
    expect(stderr).toContain(why);
  });
});
