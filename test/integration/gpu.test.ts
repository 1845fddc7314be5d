/** Requests for GPUs in whole builds and containers (Image API, B7). Devices are described by a fixture. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Engine, type EngineOptions } from '../../src/engine.ts';
import { busyboxImage } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';

const code = (expected: string) => expect.objectContaining({ code: expected });

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('GPUs', () => {
  let dir: string;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-gpu-'));
    mkdirSync(join(dir, 'cdi'));
    mkdirSync(join(dir, 'none'));
    const device = (name: string, hostPath: string) => ({
      name,
      containerEdits: { deviceNodes: [{ path: `/dev/nvidia${name}`, hostPath }] },
    });
    writeFileSync(
      join(dir, 'cdi/nvidia.json'),
      JSON.stringify({
        cdiVersion: '0.5.0',
        kind: 'nvidia.com/gpu',
        devices: [device('0', '/dev/zero'), device('1', '/dev/full')],
      }),
    );
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const open = (machine: 'cdi' | 'none', env: NodeJS.ProcessEnv = {}, options: EngineOptions = {}) =>
    Engine.open({
      storeDir: join(dir, 'store'),
      env: { PATH: process.env.PATH, HOME: dir, ...env },
      cdiDirs: [join(dir, machine)],
      driverRoot: join(dir, 'none'),
      ...options,
    });
  const image = (gpu: string) => busyboxImage().runCommands('ls /dev/nvidia* > /seen 2>&1; true', { gpu });

  test('a machine without is an error before the step, or with the policy ignore a warning (C36) (C135)', async () => {
    {
      await using engine = await open('none');
      await expect(engine.build([image('H100')])).rejects.toThrow(code('E_GPU_UNAVAILABLE'));
      await expect(engine.run(busyboxImage(), ['/bin/sh', '-c', 'true'], { gpu: 'T4' })).rejects.toThrow(
        code('E_GPU_UNAVAILABLE'),
      );
    }
    await using engine = await open('none', { TSBUILD_GPU_POLICY: 'ignore' });
    const [built] = await engine.build([image('H100')]);
    expect(built?.diagnostics).toMatchObject([{ code: 'W_GPU_IGNORED', layer: 3 }]);
    expect((await engine.readFile(image('H100'), '/seen')).toString()).toContain('No such file');
    const ran = await engine.run(busyboxImage(), ['/bin/sh', '-c', 'echo "[$NVIDIA_VISIBLE_DEVICES]"'], {
      gpu: 'T4',
    });
    expect(ran.stdout).toBe('[]\n');
  });

  test('the request is in the key, what it gets and the policy are not', async () => {
    const ids: (string | undefined)[] = [];
    for (const [machine, policy] of [
      ['cdi', 'auto'],
      ['none', 'strict'],
      ['none', 'ignore'],
    ] as const) {
      await using engine = await open(machine, {}, { gpuPolicy: policy });
      const [built] = await engine.build([image('any:2')]);
      ids.push(built?.id);
      expect((await engine.readFile(image('any:2'), '/seen')).toString()).toBe(
        '/dev/nvidia0\n/dev/nvidia1\n',
      );
    }
    expect(new Set(ids).size).toBe(1);
    await using engine = await open('cdi');
    const [other] = await engine.build([image('any')]);
    expect(other?.id).not.toBe(ids[0]);
    expect((await engine.readFile(image('any'), '/seen')).toString()).toBe('/dev/nvidia0\n');
    expect(await engine.listFiles(image('any'), '/dev')).toEqual([]);
    expect(other?.config.config?.Env).toEqual(['PATH=/bin']);
  });

  test('strict takes no device whose model is not known to be the type', async () => {
    await using engine = await open('cdi', { TSBUILD_GPU_POLICY: 'strict' });
    await expect(engine.build([image('H100')])).rejects.toThrow(code('E_GPU_UNAVAILABLE'));
    await using loose = await open('cdi');
    const [built] = await loose.build([image('H100')]);
    expect(built?.diagnostics).toMatchObject([{ code: 'W_GPU_TYPE', layer: 3 }]);
  });

  test('a container gets them too', async () => {
    await using engine = await open('cdi');
    const look = [
      '/bin/sh',
      '-c',
      'ls /dev/nvidia*; echo $NVIDIA_VISIBLE_DEVICES $NVIDIA_DRIVER_CAPABILITIES',
    ];
    const { stdout } = await engine.run(busyboxImage(), look, { gpu: 'any:2' });
    expect(stdout).toBe('/dev/nvidia0\n/dev/nvidia1\n0,1 compute,utility\n');
    expect((await engine.run(busyboxImage(), look)).stdout).not.toContain('/dev/nvidia0');
    await expect(engine.run(busyboxImage(), look, { gpu: 'T4:0' })).rejects.toThrow(code('E_GPU_FORMAT'));
  });
});
