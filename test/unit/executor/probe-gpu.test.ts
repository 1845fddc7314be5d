import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { probeDevices } from '../../../src/executor/probe-gpu.ts';
import { DRIVER_VERSION, driverFiles, ELF_HEADER, LIBRARY_DIR, uuidOf } from '../../support/fake-driver.ts';
import { type Leaf, temporaryTree } from '../../support/temporary-tree.ts';

afterEach(() => vi.restoreAllMocks());

const GPUS = [{ model: 'NVIDIA H200', minor: 0 }];
const SMI = "#!/bin/sh\necho '00000000:01:00.0, 143771, 9.0'\n";
const MACHINE: Readonly<Record<string, Leaf>> = {
  ...driverFiles(GPUS),
  [`${LIBRARY_DIR}/libcuda.so.${DRIVER_VERSION}`]: ELF_HEADER,
  [`${LIBRARY_DIR}/libnvidia-ml.so.${DRIVER_VERSION}`]: ELF_HEADER,
  'usr/bin/nvidia-smi': { text: SMI, mode: 0o755 },
};
const SPEC = (nodes: readonly string[]) =>
  JSON.stringify({
    cdiVersion: '0.5.0',
    kind: 'nvidia.com/gpu',
    devices: [
      { name: '0', containerEdits: { deviceNodes: nodes.map((path) => ({ path, hostPath: '/dev/null' })) } },
    ],
  });

async function probe(leaves: Readonly<Record<string, Leaf>>, { whole = false } = {}) {
  await using tree = await temporaryTree(leaves);
  const [gpu, cdi] = await probeDevices({
    cdiDirs: [join(tree.path, 'cdi')],
    driverRoot: tree.path,
    whole,
  });
  return { gpu, cdi, root: tree.path };
}

function without(...paths: readonly string[]): Readonly<Record<string, Leaf>> {
  return Object.fromEntries(Object.entries(MACHINE).filter(([path]) => !paths.includes(path)));
}

test('without a driver there is nothing to mend', async () => {
  const { gpu, cdi } = await probe({});
  expect(gpu).toMatchObject({
    ok: true,
    required: false,
    detail: expect.stringContaining('no NVIDIA driver'),
  });
  expect(cdi).toMatchObject({
    ok: true,
    required: false,
    detail: expect.stringContaining('nothing is described'),
  });
});

test('driver and model are named, and who finds the GPUs', async () => {
  const { gpu, cdi } = await probe(MACHINE);
  expect(gpu).toMatchObject({ ok: true, detail: `driver ${DRIVER_VERSION}, NVIDIA H200` });
  expect(gpu).not.toHaveProperty('lines');
  expect(cdi?.detail).toContain('GPUs are found by their driver');
});

test.each([
  ['nvidia-uvm', without('dev/nvidia-uvm'), "'/dev/nvidia-uvm' is missing", 'sudo nvidia-modprobe -u -c0'],
  ['libraries', driverFiles(GPUS), 'its libraries are not installed', 'libcuda1'],
  [
    'libraries of the kernel’s version',
    { ...MACHINE, ...driverFiles(GPUS, '555.1') },
    `driver 555.1, libraries ${DRIVER_VERSION}`,
    'sudo reboot',
  ],
])(
  'missing %s are said with what mends it',
  async (_what, leaves: Readonly<Record<string, Leaf>>, detail, fix) => {
    expect((await probe(leaves)).gpu).toMatchObject({
      ok: false,
      detail: expect.stringContaining(detail),
      fix: expect.stringContaining(fix),
    });
  },
);

test('files that describe devices are listed, with those that cannot be used', async () => {
  const { gpu, cdi, root } = await probe({
    'cdi/a.json': SPEC(['/dev/nvidia0', '/dev/nvidia-uvm']),
    'cdi/b.yaml': 'colour: red\n',
  });
  expect(gpu).toMatchObject({ ok: true, detail: 'driver of unknown version, nvidia.com/gpu=0' });
  expect(cdi).toMatchObject({
    ok: false,
    detail: expect.stringMatching(/a\.json: nvidia\.com\/gpu=0; .*b\.yaml' is not used: .*'colour'/),
  });
  expect(cdi?.detail).toContain(root);
});

test('a description without the node of unified memory is said', async () => {
  expect((await probe({ 'cdi/a.json': SPEC(['/dev/nvidia0']) })).gpu).toMatchObject({
    ok: false,
    detail: expect.stringContaining('/dev/nvidia-uvm is not among the devices'),
  });
});

test('a node that this user may not open is said', async () => {
  await using tree = await temporaryTree({ node: '' });
  chmodSync(join(tree.path, 'node'), 0);
  const spec = SPEC(['/dev/nvidia0', '/dev/nvidia-uvm']).replace('/dev/null', join(tree.path, 'node'));
  const { gpu } = await probe({ 'cdi/a.json': spec });
  // Root may.
  expect(gpu?.ok).toBe(process.getuid?.() === 0);
});

test('a node that hangs on a group is said to who has subordinate ids', async () => {
  await using tree = await temporaryTree({ node: { text: '', mode: 0o660 } });
  const spec = SPEC(['/dev/nvidia0', '/dev/nvidia-uvm']).replace('/dev/null', join(tree.path, 'node'));
  const uid = vi.spyOn(process, 'getuid').mockReturnValue(1000);
  expect((await probe({ 'cdi/a.json': spec })).gpu).toMatchObject({
    ok: false,
    detail: expect.stringContaining('steps are in none of your groups'),
    fix: `sudo chmod a+rw ${join(tree.path, 'node')}`,
  });
  uid.mockReturnValue(0);
  expect((await probe({ 'cdi/a.json': spec })).gpu?.ok).toBe(true);
});

test('all of it is each GPU and each file that a step would see', async () => {
  const { gpu } = await probe(MACHINE, { whole: true });
  expect(gpu?.lines?.[0]).toBe(`nvidia.com/gpu=0, NVIDIA H200, 150.8 GB, compute 9.0, ${uuidOf(0)}`);
  const lines = gpu?.lines?.join('\n');
  expect(lines).toContain(`/run/tsbuild/devices/lib64/libcuda.so.${DRIVER_VERSION} from `);
  expect(lines).toContain('/run/tsbuild/devices/bin/nvidia-smi from ');
  expect(lines).toContain('/dev/nvidia0 from ');
});
