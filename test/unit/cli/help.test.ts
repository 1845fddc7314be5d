import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../../src/cli/command-table.ts';
import { cli } from '../../support/cli.ts';

describe('help', () => {
  it.each(['', 'image', ...COMMANDS.map((entry) => entry.name)])("of '%s' is as recorded", async (name) => {
    const { status, stdout, stderr } = await cli([...name.split(' ').filter(Boolean), '--help']);
    expect(status).toBe(0);
    expect(stderr).toBe('');
    await expect(stdout).toMatchFileSnapshot(
      `../../golden/cli/help${name === '' ? '' : '-'}${name.replace(' ', '-')}.txt`,
    );
  });

  it('is the same by every way', async () => {
    const { stdout } = await cli(['build', '--help']);
    expect((await cli(['help', 'build'])).stdout).toBe(stdout);
    expect((await cli(['build', '-h', 'x', '--tag=y'])).stdout).toBe(stdout);
    expect((await cli(['help', 'image', 'rm'])).stdout).toBe((await cli(['image', 'rm', '-h'])).stdout);
    expect((await cli(['help', 'nothing'])).status).toBe(2);
  });
});
