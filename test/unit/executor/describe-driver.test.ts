import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { describeDriver } from '../../../src/executor/describe-driver.ts';
import { findDevices } from '../../../src/executor/find-devices.ts';
import { findGpus } from '../../../src/executor/find-gpus.ts';
import { findDriver } from '../../../src/executor/nvidia-driver.ts';
import { nvidiaGpus } from '../../../src/executor/nvidia-gpus.ts';
import {
  DRIVER_VERSION,
  driverFiles,
  ELF_HEADER,
  elfHeader,
  LIBRARY_DIR,
  TRIPLET,
  uuidOf,
} from '../../support/fake-driver.ts';
import { type Leaf, temporaryTree } from '../../support/temporary-tree.ts';

const H100 = { model: 'NVIDIA H100 80GB HBM3', minor: 1 };
const T4 = { model: 'Tesla T4', minor: 0 };
const lib = (name: string, version = DRIVER_VERSION) => `${LIBRARY_DIR}/${name}.so.${version}`;
const MACHINE: Readonly<Record<string, Leaf>> = {
  ...driverFiles([H100, T4]),
  [lib('libcuda')]: ELF_HEADER,
  [lib('libnvidia-ml')]: ELF_HEADER,
  'usr/bin/nvidia-smi': { text: '#!/bin/sh\nexit 9\n', mode: 0o755 },
};

async function targets(leaves: Readonly<Record<string, Leaf>>) {
  await using tree = await temporaryTree(leaves);
  const driver = findDriver(tree.path);
  return {
    libraries: driver?.libraries.map(({ source, target }) => [target, source.slice(tree.path.length)]),
    programs: driver?.programs.map(({ target }) => target),
    others: driver?.others.map(({ target }) => target),
    version: driver?.version,
  };
}

describe('files of the driver', () => {
  test('are those of exactly the version that the kernel runs, of this machine’s kind', async () => {
    const found = await targets({
      ...MACHINE,
      [lib('libcuda', '111.22')]: ELF_HEADER,
      [lib('libnvidia-nvvm', '111.22')]: ELF_HEADER,
      [lib('libnvidia-opencl', `${DRIVER_VERSION}.1`)]: ELF_HEADER,
      [lib('libnvidia-encode')]: ELF_HEADER,
      [lib('libnvidia-cfg')]: 'text',
      'usr/lib64/libnvidia-ptxjitcompiler.so.999.88.77': elfHeader(62, 1),
      'usr/lib/libnvidia-ptxjitcompiler.so.999.88.77': ELF_HEADER,
      [`lib/firmware/nvidia/${DRIVER_VERSION}/gsp_ga10x.bin`]: 'x',
      [`lib/firmware/nvidia/${DRIVER_VERSION}/other.bin`]: 'x',
      'lib/firmware/nvidia/111.22/gsp_ga10x.bin': 'x',
      'run/nvidia-persistenced/socket': '',
      'usr/sbin/nvidia-cuda-mps-server': 'x',
    });
    expect(found).toEqual({
      libraries: [
        [`/${lib('libnvidia-ml')}`, `/${lib('libnvidia-ml')}`],
        [`/${lib('libcuda')}`, `/${lib('libcuda')}`],
        ['/usr/lib/libnvidia-ptxjitcompiler.so.999.88.77', '/usr/lib/libnvidia-ptxjitcompiler.so.999.88.77'],
      ],
      programs: ['/usr/bin/nvidia-smi', '/usr/sbin/nvidia-cuda-mps-server'],
      others: [`/lib/firmware/nvidia/${DRIVER_VERSION}/gsp_ga10x.bin`, '/run/nvidia-persistenced/socket'],
      version: DRIVER_VERSION,
    });
  });

  test('are found in the directories of Debian and behind absolute links of the tree', async () => {
    const own = `usr/lib/${TRIPLET}/nvidia/current`;
    const { libraries, programs } = await targets({
      ...driverFiles([T4]),
      [`${own}/libcuda.so.${DRIVER_VERSION}`]: ELF_HEADER,
      [`${own}/libnvidia-ml.so.${DRIVER_VERSION}`]: ELF_HEADER,
      [`${LIBRARY_DIR}/libcuda.so.1`]: { link: `/${own}/libcuda.so.${DRIVER_VERSION}` },
      'usr/lib/nvidia/current/nvidia-smi': 'x',
      'etc/alternatives/nvidia-smi': { link: '/usr/lib/nvidia/current/nvidia-smi' },
      'usr/bin/nvidia-smi': { link: '/etc/alternatives/nvidia-smi' },
    });
    expect(libraries?.map(([, source]) => source)).toEqual([
      `/${own}/libnvidia-ml.so.${DRIVER_VERSION}`,
      `/${own}/libcuda.so.${DRIVER_VERSION}`,
    ]);
    expect(programs).toEqual(['/usr/bin/nvidia-smi']);
  });

  test('are programs beside the libraries, where those in the usual place only call them', async () => {
    const own = 'usr/lib64/nvidia';
    await using tree = await temporaryTree({
      ...driverFiles([T4]),
      [`${own}/libcuda.so.${DRIVER_VERSION}`]: ELF_HEADER,
      [`${own}/libnvidia-ml.so.${DRIVER_VERSION}`]: ELF_HEADER,
      'usr/bin/nvidia-smi': { text: '#!/bin/sh\nexec /usr/lib64/bin/nvidia-smi\n', mode: 0o755 },
      'usr/lib64/bin/nvidia-smi': ELF_HEADER,
      'usr/bin/nvidia-debugdump': ELF_HEADER,
      'usr/lib64/bin/nvidia-debugdump': ELF_HEADER,
    });
    const at = (source: string, target: string) => ({ source: tree.path + source, target });
    expect(findDriver(tree.path)?.programs).toEqual([
      at('/usr/lib64/bin/nvidia-smi', '/usr/bin/nvidia-smi'),
      at('/usr/bin/nvidia-debugdump', '/usr/bin/nvidia-debugdump'),
    ]);
  });

  test('are found where only the loader’s cache says so', async () => {
    await using tree = await temporaryTree({
      ...driverFiles([T4]),
      'etc/ld.so.conf': '/opt/nvidia/lib\n',
      'opt/nvidia/lib': null,
      'usr/lib': null,
      lib: null,
    });
    const soname = (name: string, file: string) =>
      execFileSync('cc', [
        '-shared',
        '-x',
        'c',
        '/dev/null',
        '-o',
        join(tree.path, 'opt/nvidia/lib', file),
        `-Wl,-soname,${name}`,
      ]);
    soname('libcuda.so.1', `libcuda.so.${DRIVER_VERSION}`);
    soname('libnvidia-ml.so.1', `libnvidia-ml.so.${DRIVER_VERSION}`);
    expect(findDriver(tree.path)?.libraries).toEqual([]);
    execFileSync('/sbin/ldconfig', ['-r', tree.path]);
    expect(findDriver(tree.path)?.libraries.map(({ target }) => target)).toEqual([
      `/opt/nvidia/lib/libnvidia-ml.so.${DRIVER_VERSION}`,
      `/opt/nvidia/lib/libcuda.so.${DRIVER_VERSION}`,
    ]);
  });

  test('of a kernel that says no version are those that programs would load', async () => {
    const { 'proc/driver/nvidia/version': _, ...silent } = MACHINE;
    const { version } = await targets({
      ...silent,
      [lib('libcuda', '111.22')]: ELF_HEADER,
      [`${LIBRARY_DIR}/libcuda.so.1`]: { link: `libcuda.so.${DRIVER_VERSION}` },
    });
    expect(version).toBe(DRIVER_VERSION);
  });

  test('of WSL are whatever its directory has', async () => {
    await using tree = await temporaryTree({
      'dev/dxg': { link: '/dev/null' },
      'usr/lib/wsl/lib/libcuda.so.1.1': ELF_HEADER,
      'usr/lib/wsl/lib/libdxcore.so': ELF_HEADER,
      'usr/lib/wsl/lib/nvidia-smi': 'x',
      'usr/lib/wsl/drivers/nv/libcuda.so.1.1': ELF_HEADER,
    });
    const { spec } = await describeDriver(tree.path);
    expect(spec?.devices.map(({ name }) => name)).toEqual(['all']);
    const { edits } = await findDevices([{ name: 'nvidia.com/gpu=all', required: true }], {
      cdiDirs: [],
      driverRoot: tree.path,
    });
    expect(edits.nodes).toEqual([{ source: join(tree.path, 'dev/dxg'), target: '/dev/dxg' }]);
    expect(edits.mounts.map(({ target }) => target)).toEqual([
      '/usr/lib/wsl/lib/libcuda.so.1.1',
      '/usr/lib/wsl/lib/libdxcore.so',
      '/usr/bin/nvidia-smi',
      '/usr/lib/wsl/drivers',
    ]);
    expect(edits.libraryDirs).toEqual(['/usr/lib/wsl/lib']);
  });
});

describe('GPUs', () => {
  test('count in the order of PCI, of those that have a node and are not excluded', async () => {
    await using tree = await temporaryTree({
      ...driverFiles([
        { model: 'NVIDIA A10G', minor: 3 },
        { ...H100, excluded: true },
        T4,
        { model: 'NVIDIA L4', minor: 7 },
      ]),
      'dev/nvidia7': 'a file in place of a node',
    });
    expect(await nvidiaGpus(tree.path)).toEqual([
      { index: 0, minor: 3, uuid: uuidOf(3), bus: '0000:01:00.0', model: 'NVIDIA A10G', instances: [] },
      { index: 1, minor: 0, uuid: uuidOf(0), bus: '0000:03:00.0', model: 'Tesla T4', instances: [] },
    ]);
  });

  test('are what nvidia-smi says where /proc does not, and what /dev has where neither does', async () => {
    const smi = `#!/bin/sh
[ "$*" = '-q -x' ] || exit 3
cat <<'END'
<nvidia_smi_log>
  <gpu id="00000000:0B:00.0"><product_name>Tesla T4</product_name><uuid>${uuidOf(1)}</uuid><minor_number>1</minor_number></gpu>
  <gpu id="00000000:0A:00.0"><product_name>NVIDIA H100 80GB HBM3</product_name><minor_number>3</minor_number></gpu>
</nvidia_smi_log>
END
`;
    const nodes = Object.fromEntries([1, 3].map((minor) => [`dev/nvidia${minor}`, { link: '/dev/null' }]));
    const libraries = { [lib('libcuda')]: ELF_HEADER, [lib('libnvidia-ml')]: ELF_HEADER };
    await using asked = await temporaryTree({
      ...nodes,
      ...libraries,
      'usr/bin/nvidia-smi': { text: smi, mode: 0o755 },
    });
    expect(await nvidiaGpus(asked.path)).toMatchObject([
      { index: 0, minor: 3, bus: '0000:0a:00.0', model: 'NVIDIA H100 80GB HBM3', uuid: undefined },
      { index: 1, minor: 1, bus: '0000:0b:00.0', model: 'Tesla T4', uuid: uuidOf(1) },
    ]);
    await using silent = await temporaryTree({ ...nodes, ...libraries });
    expect(await nvidiaGpus(silent.path)).toMatchObject([
      { index: 0, minor: 1, model: undefined },
      { index: 1, minor: 3, model: undefined },
    ]);
  });
});

describe('the specification that the driver amounts to', () => {
  const find = async (root: string, ...names: readonly string[]) =>
    (
      await findDevices(
        names.map((name) => ({ name: `nvidia.com/gpu=${name}`, required: true })),
        { cdiDirs: [join(root, 'cdi')], driverRoot: root },
      )
    ).edits;

  test('names each GPU by its number and its UUID, and all of them', async () => {
    await using tree = await temporaryTree(MACHINE);
    const nodes = async (name: string) => (await find(tree.path, name)).nodes.map(({ target }) => target);
    const common = ['/dev/nvidiactl', '/dev/nvidia-uvm', '/dev/nvidia-uvm-tools'];
    expect(await nodes('0')).toEqual([...common, '/dev/nvidia1']);
    expect(await nodes(uuidOf(0))).toEqual([...common, '/dev/nvidia0']);
    expect((await nodes('all')).toSorted()).toEqual([...common, '/dev/nvidia0', '/dev/nvidia1'].toSorted());
    expect(await find(tree.path, '0', uuidOf(1))).toMatchObject({
      env: [['NVIDIA_VISIBLE_DEVICES', 'void']],
      driverVersion: DRIVER_VERSION,
      fixedNodes: true,
      libraryDirs: [`/${LIBRARY_DIR}`],
      links: [{ target: 'libcuda.so.1', path: `/${LIBRARY_DIR}/libcuda.so` }],
      mounts: [{ readOnly: true }, { readOnly: true }, { target: '/usr/bin/nvidia-smi' }],
    });
    await expect(find(tree.path, '2')).rejects.toMatchObject({ code: 'E_DEVICE_UNAVAILABLE' });
  });

  test('has the parts of a GPU that is divided, as far as their nodes are here', async () => {
    const access = (minor: number) => `DeviceFileMinor: ${minor}\nDeviceFileMode: 292\nDeviceFileModify: 1\n`;
    const mig = 'proc/driver/nvidia/capabilities/gpu1/mig';
    await using tree = await temporaryTree({
      ...MACHINE,
      [`${mig}/config`]: access(1),
      [`${mig}/gi7/access`]: access(66),
      [`${mig}/gi7/ci0/access`]: access(67),
      [`${mig}/gi10/access`]: access(93),
      [`${mig}/gi10/ci0/access`]: access(94),
      ...Object.fromEntries(
        [66, 67].map((minor) => [`dev/nvidia-caps/nvidia-cap${minor}`, { link: '/dev/null' }]),
      ),
    });
    const { spec } = await describeDriver(tree.path);
    expect(spec?.devices.map(({ name }) => name)).toEqual(['0:0', '1', uuidOf(0), 'all']);
    // Nobody says another order here.
    expect((await nvidiaGpus(tree.path))[0]?.instances.map(({ caps }) => caps)).toEqual([
      [66, 67],
      [93, 94],
    ]);
    expect((await find(tree.path, '0:0')).nodes.map(({ target }) => target).slice(-3)).toEqual([
      '/dev/nvidia1',
      '/dev/nvidia-caps/nvidia-cap66',
      '/dev/nvidia-caps/nvidia-cap67',
    ]);
  });

  test('numbers parts as nvidia-smi does, and knows their UUIDs and memory', async () => {
    const access = (minor: number) => `DeviceFileMinor: ${minor}\n`;
    const mig = 'proc/driver/nvidia/capabilities/gpu1/mig';
    const part = (index: number, gi: number, memory: number) =>
      `<mig_device><index>${index}</index><gpu_instance_id>${gi}</gpu_instance_id><compute_instance_id>0</compute_instance_id>
       <fb_memory_usage><total>${memory} MiB</total></fb_memory_usage></mig_device>`;
    const smi = `#!/bin/sh
case "$*" in
'-q -x') cat <<'END'
<gpu id="00000000:01:00.0"><mig_devices>${part(0, 10, 9856)}${part(1, 7, 20096)}</mig_devices><uuid>${uuidOf(1)}</uuid></gpu>
<gpu id="00000000:02:00.0"><mig_devices>None</mig_devices><uuid>${uuidOf(0)}</uuid></gpu>
END
;;
-L) cat <<'END'
GPU 0: NVIDIA H100 80GB HBM3 (UUID: ${uuidOf(1)})
  MIG 1g.10gb     Device  0: (UUID: MIG-aaaa-1)
  MIG 2g.20gb     Device  1: (UUID: MIG-bbbb-2)
GPU 1: Tesla T4 (UUID: ${uuidOf(0)})
END
;;
esac
`;
    await using tree = await temporaryTree({
      ...MACHINE,
      'usr/bin/nvidia-smi': { text: smi, mode: 0o755 },
      [`${mig}/gi7/access`]: access(66),
      [`${mig}/gi7/ci0/access`]: access(67),
      [`${mig}/gi10/access`]: access(93),
      [`${mig}/gi10/ci0/access`]: access(94),
      ...Object.fromEntries(
        [66, 67, 93, 94].map((minor) => [`dev/nvidia-caps/nvidia-cap${minor}`, { link: '/dev/null' }]),
      ),
    });
    const { spec } = await describeDriver(tree.path);
    expect(spec?.devices.map(({ name }) => name)).toEqual([
      '0:0',
      'MIG-aaaa-1',
      '0:1',
      'MIG-bbbb-2',
      '1',
      uuidOf(0),
      'all',
    ]);
    expect((await find(tree.path, 'MIG-aaaa-1')).nodes.at(-1)?.target).toBe('/dev/nvidia-caps/nvidia-cap94');
    const wanted = { type: 'H100', count: 1, memoryBytes: 15e9 };
    const options = { policy: 'strict', cdiDirs: [], driverRoot: tree.path } as const;
    expect((await findGpus([wanted], options)).devices).toEqual([
      { name: 'nvidia.com/gpu=0:1', required: true },
    ]);
    const named = { type: 'ANY', count: 1, devices: ['MIG-aaaa-1'] };
    expect((await findGpus([named], options)).devices).toEqual([
      { name: 'nvidia.com/gpu=0:0', required: true },
    ]);
  });

  test.each([
    ['no driver', {}, /no NVIDIA driver is loaded/],
    ['nothing but libraries', { [lib('libcuda')]: ELF_HEADER }, /no NVIDIA driver is loaded/],
    [
      'no libraries',
      driverFiles([T4]),
      /runs the NVIDIA driver 999\.88\.77, and its libraries are not installed/,
    ],
    [
      'libraries of another version',
      { ...MACHINE, ...driverFiles([T4], '555.1') },
      /driver 555\.1, and the libraries are those of 999\.88\.77/,
    ],
    ['no node for unified memory', without('dev/nvidia-uvm'), /'\/dev\/nvidia-uvm' is missing/],
    ['no node of a GPU', without('dev/nvidia0', 'dev/nvidia1'), /no node of a GPU is in \/dev/],
  ])(
    'is none with %s, and who asks for a GPU is told',
    async (_what, leaves: Readonly<Record<string, Leaf>>, message) => {
      await using tree = await temporaryTree(leaves);
      expect((await describeDriver(tree.path)).spec).toBeUndefined();
      await expect(find(tree.path, '0')).rejects.toThrow(message);
    },
  );

  test('stands in for a described GPU whose files are gone, which is said', async () => {
    await using tree = await temporaryTree({
      ...MACHINE,
      'cdi/nvidia.json': JSON.stringify({
        cdiVersion: '0.5.0',
        kind: 'nvidia.com/gpu',
        devices: [{ name: '0' }],
        containerEdits: {
          mounts: [{ hostPath: '/nowhere/libcuda.so.1.2', containerPath: '/usr/lib/libcuda.so.1.2' }],
        },
      }),
    });
    const found = await findDevices([{ name: 'nvidia.com/gpu=0', required: true }], {
      cdiDirs: [join(tree.path, 'cdi')],
      driverRoot: tree.path,
    });
    expect(found.edits.driverVersion).toBe(DRIVER_VERSION);
    expect(found.warnings).toEqual([
      expect.stringMatching(/libcuda\.so\.1\.2', which is not on this machine; what the driver itself has/),
    ]);
  });

  function without(...paths: readonly string[]): Readonly<Record<string, Leaf>> {
    return Object.fromEntries(Object.entries(MACHINE).filter(([path]) => !paths.includes(path)));
  }
});
