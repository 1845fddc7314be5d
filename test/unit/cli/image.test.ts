import { describe, expect, it } from 'vitest';
import { DefinitionError } from '../../../src/errors.ts';
import { cli } from '../../support/cli.ts';

describe('image', () => {
  it('names lists what is published, and what a name stood for', async () => {
    const { status, stdout } = await cli(['image', 'names']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ENVIRONMENT +NAME +ID +PUBLISHED\nmain +web:v1 +im-0 +\d+ days ago\n$/);
    expect((await cli(['image', 'names', 'web:v1'])).stdout).toMatch(/im-1.*\n.*im-0/);
    expect(JSON.parse((await cli(['image', 'names', '--json'])).stdout)).toMatchObject([
      { namespace: 'main', name: 'web', tag: 'v1', id: 'im-0' },
    ]);
    expect((await cli(['image', 'names', 'im-1'])).status).toBe(2);
  });

  it('names says so when nothing was published under a name', async () => {
    const { status, stdout, stderr } = await cli(['image', 'names', 'dev/nope']);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain("nothing was ever published as 'dev/nope:latest'");
    expect(stderr).toContain('E_IMAGE_NOT_FOUND');
  });

  it('logs says so when the steps said nothing', async () => {
    const one = await cli(['image', 'logs', 'silent']);
    expect([one.status, one.stdout]).toEqual([0, '']);
    expect(one.stderr).toBe('the newest layer said nothing; --all shows what the others said\n');
    const all = await cli(['image', 'logs', '--all', 'silent']);
    expect(all.stderr).toBe('the steps of this image said nothing\n');
  });

  it('logs shows lines of the newest layers, harmless to terminals (C149)', async () => {
    const { status, stdout, calls } = await cli(['image', 'logs', 'im-1']);
    expect([status, stdout]).toEqual([0, 'Collecting torch\ntsbuild: E_BUILD_FAILED: the step ended\n']);
    expect(calls.logs).toEqual(['im-1', 1]);
    expect((await cli(['image', 'logs', 'im-1', '--layers', '3'])).calls.logs).toEqual(['im-1', 3]);
    expect((await cli(['image', 'logs', '--all', 'im-1'])).calls.logs).toEqual(['im-1', null]);
    const lines = (await cli(['image', 'logs', '--json', 'im-1'])).stdout.split('\n');
    expect(JSON.parse(lines[1] ?? '')).toEqual({
      layer: 1,
      timestamp: '1970-01-01T00:00:00.000Z',
      stream: 'tsbuild',
      message: 'E_BUILD_FAILED: the step ended',
    });
  });

  it('logs refuses what makes no sense (C149)', async () => {
    for (const words of [
      ['--layers', '0', 'a'],
      ['--layers', '2', '--all', 'a'],
      ['--layers', 'x', 'a'],
      [],
    ]) {
      expect((await cli(['image', 'logs', ...words])).status).toBe(2);
    }
    const failure = new DefinitionError("no image 'a' in the store", { code: 'E_IMAGE_NOT_FOUND' });
    expect((await cli(['image', 'logs', 'a'], { failure })).status).toBe(2);
  });

  it('run hands on the GPUs that are asked for, and the policy', async () => {
    const { calls } = await cli(['run', 'web:1', '--gpus', 'T4:2', '--gpu-policy', 'strict', '--', 'x']);
    expect(calls.ran?.options).toMatchObject({ gpu: 'T4:2' });
    expect(calls.opened).toMatchObject({ gpuPolicy: 'strict' });
    expect((await cli(['run', 'web:1', '--gpu-policy', 'some'])).status).toBe(2);
    expect((await cli(['run', 'web:1', '--gpus', ''])).status).toBe(2);
    expect((await cli(['run', 'web:1', '--gpus', 'T4:0'])).stderr).toContain("write it as 'H100'");
    expect((await cli(['run', 'web:1', '--gpu', 'T4'])).stderr).toContain('--gpus');
    const looked = await cli([
      'run',
      'web:1',
      '--cdi-dir',
      'a',
      '--cdi-dir',
      '/b',
      '--driver-root',
      '/d',
      '--',
      'x',
    ]);
    expect(looked.calls.opened).toMatchObject({
      cdiDirs: ['/etc/cdi', '/var/run/cdi', expect.stringMatching(/^\/.*\/a$/), '/b'],
      driverRoot: '/d',
    });
    expect(calls.opened).not.toHaveProperty('cdiDirs');
    // As scripts for Docker quote it.
    const quoted = await cli(['run', 'web:1', '--gpus', '"device=0,2"', '--', 'x']);
    expect(quoted.calls.ran?.options).toMatchObject({ gpu: 'device=0,2' });
  });
});
