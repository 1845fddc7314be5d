import { lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { DeviceEdits } from '../../../src/executor/device-edits.ts';
import { needsOtherLoader, stageDevices } from '../../../src/executor/stage-devices.ts';
import { type Leaf, temporaryTree } from '../../support/temporary-tree.ts';

const NOTHING: DeviceEdits = {
  env: [],
  nodes: [],
  mounts: [],
  gids: [],
  links: [],
  libraryDirs: [],
  fixedNodes: false,
};

async function stage(
  files: readonly string[],
  {
    image = {},
    env = {},
    ...edits
  }: Partial<Omit<DeviceEdits, 'env'>> & {
    readonly image?: Readonly<Record<string, Leaf>>;
    readonly env?: Readonly<Record<string, string>>;
  } = {},
) {
  await using host = await temporaryTree(Object.fromEntries(files.map((path) => [path.slice(1), 'x'])));
  await using root = await temporaryTree(image);
  await using step = await temporaryTree({});
  const mounts = files.map((target) => ({
    source: join(host.path, target),
    sourceKind: 'file' as const,
    target,
    readOnly: true,
  }));
  const all = { ...NOTHING, mounts, ...edits };
  const staged = stageDevices(all, {
    dir: join(step.path, 'devices'),
    target: '/lent',
    root: root.path,
    env: new Map(Object.entries(env)),
  });
  const names = readdirSync(step.path, { recursive: true, encoding: 'utf8' }).sort();
  return {
    env: Object.fromEntries(staged.env),
    targets: staged.mounts.map(({ target }) => target),
    links: names.flatMap((name) => {
      const path = join(step.path, name);
      return lstatSync(path).isSymbolicLink() ? [`${name} -> ${readlinkSync(path)}`] : [];
    }),
    needsOtherLoader: needsOtherLoader(root.path, all),
  };
}

test('libraries and programs have directories of their own, everything else its place', async () => {
  const { env, targets, links } = await stage(
    [
      '/usr/lib64/libcuda.so.1.2',
      '/opt/odd/libnvidia-ml.so.1.2',
      '/opt/other/libx.so',
      '/usr/bin/nvidia-smi',
      '/usr/lib64/nvidia.json',
      '/etc/vulkan.json',
    ],
    {
      env: { PATH: '/bin', LD_LIBRARY_PATH: '/mine' },
      libraryDirs: ['/opt/odd'],
      links: [
        { target: 'libcuda.so.1', path: '/usr/lib64/libcuda.so' },
        { target: 'nvidia-smi', path: '/usr/bin/smi' },
      ],
    },
  );
  expect(targets.toSorted()).toEqual([
    '/etc/vulkan.json',
    '/lent/bin/nvidia-smi',
    '/lent/lib64/libcuda.so.1.2',
    '/lent/lib64/libnvidia-ml.so.1.2',
    '/opt/other/libx.so',
    '/usr/lib64/nvidia.json',
  ]);
  expect(links).toEqual(['devices/bin/smi -> nvidia-smi', 'devices/lib64/libcuda.so -> libcuda.so.1']);
  expect(env).toEqual({ PATH: '/bin:/lent/bin', LD_LIBRARY_PATH: '/mine:/lent/lib64' });
});

test('a program that a link names is staged by its name, wherever it lies', async () => {
  // As NVIDIA's generator describes WSL.
  const { env, targets, links } = await stage(
    ['/usr/lib/wsl/drivers/nv/libcuda.so.1.1', '/usr/lib/wsl/drivers/nv/nvidia-smi'],
    {
      env: { PATH: '/bin' },
      libraryDirs: ['/usr/lib/wsl/drivers/nv'],
      links: [{ target: '/usr/lib/wsl/drivers/nv/nvidia-smi', path: '/usr/bin/nvidia-smi' }],
    },
  );
  expect(targets.toSorted()).toEqual([
    '/lent/bin/nvidia-smi',
    '/lent/lib64/libcuda.so.1.1',
    '/usr/lib/wsl/drivers/nv/nvidia-smi',
  ]);
  expect(links).toEqual([]);
  expect(env.PATH).toBe('/bin:/lent/bin');
});

test('variables that yield are left to who sets them', async () => {
  const defaultEnv = [['CUDA_DEVICE_ORDER', 'PCI_BUS_ID']] as const;
  expect((await stage([], { defaultEnv })).env).toEqual({ CUDA_DEVICE_ORDER: 'PCI_BUS_ID' });
  expect((await stage([], { defaultEnv, env: { CUDA_DEVICE_ORDER: 'FASTEST_FIRST' } })).env).toEqual({});
});

test.each([
  ['newer', '571.1', '/usr/local/cuda/compat:/lent/lib64'],
  ['not newer', '570.99', '/lent/lib64'],
])('libraries of CUDA in the image are first where they are %s', async (_what, version, expected) => {
  const image = {
    [`usr/local/cuda-12/compat/libcuda.so.${version}`]: 'x',
    'usr/local/cuda': { link: '/usr/local/cuda-12' },
  };
  const { env } = await stage(['/usr/lib64/libcuda.so.570.1'], { image, driverVersion: '570.1' });
  expect(env.LD_LIBRARY_PATH).toBe(expected);
});

test('musl is found out, unless glibc is there too, and only where there are libraries', async () => {
  const library = ['/usr/lib/libcuda.so.1.2'];
  const musl = { 'lib/ld-musl-x86_64.so.1': '' };
  const glibc = { 'lib64/ld-linux-x86-64.so.2': '' };
  expect((await stage(library, { image: musl })).needsOtherLoader).toBe(true);
  expect((await stage(library, { image: { ...musl, ...glibc } })).needsOtherLoader).toBe(false);
  expect((await stage(library, { image: {} })).needsOtherLoader).toBe(false);
  expect((await stage(['/usr/bin/tool'], { image: musl })).needsOtherLoader).toBe(false);
  // Merged directories, as newer distributions have them.
  const merged = { 'usr/lib/ld-musl-aarch64.so.1': '', lib: { link: 'usr/lib' } };
  expect((await stage(library, { image: merged })).needsOtherLoader).toBe(true);
});
