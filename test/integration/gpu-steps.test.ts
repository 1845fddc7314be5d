/**
 * GPUs in the hands of root and of ordinary users, described and not: a driver that is compiled for the test, whose library counts the
 * nodes that a step sees.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { librariesInCache } from '../../src/executor/ld-so-cache.ts';
import { type Account, makeAccount } from '../support/account.ts';
import { busyboxDefinition } from '../support/busybox.ts';
import { DRIVER_VERSION, LIBRARY_DIR, makeFakeDriver, uuidOf } from '../support/fake-driver.ts';
import { readImage } from '../support/layout-validation.ts';
import { loaderExpression } from '../support/loader-image.ts';
import { lacks } from '../support/requires.ts';
import { installTsbuild, type Ran, type RunSetting, run, succeed, type Tsbuild } from '../support/tsbuild.ts';

/** In the order of PCI, which is not that of the nodes. */
const GPUS = [
  { model: 'NVIDIA H100 80GB HBM3', minor: 1, memoryMiB: 81559, compute: '9.0' },
  { model: 'Tesla T4', minor: 0, memoryMiB: 15360, compute: '7.5' },
];
const SEEN = [
  'cuda sees 2, nvml sees 2',
  `fake nvidia-smi ${DRIVER_VERSION}`,
  `/lib/firmware/nvidia/${DRIVER_VERSION}/gsp_ga10x.bin`,
  '0,1 compute,utility PCI_BUS_ID',
];
const LIBRARY_PATH = 'LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64';
const LOOK =
  'count-gpus; nvidia-smi; ls /lib/firmware/nvidia/*/*; echo $NVIDIA_VISIBLE_DEVICES $NVIDIA_DRIVER_CAPABILITIES $CUDA_DEVICE_ORDER';

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'newuidmap'))('GPUs of a compiled driver', () => {
  let directory: string;
  let installed: Tsbuild;
  const accounts: Account[] = [];
  const at = (...parts: string[]) => join(directory, ...parts);

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-gpus-'));
    chmodSync(directory, 0o755);
    installed = installTsbuild(at('package'));
    const program = makeFakeDriver(at('driver'), GPUS);
    for (const name of ['cdi', 'empty', 'root']) {
      mkdirSync(at(name));
    }
    writeFileSync(at('cdi/nvidia.json'), JSON.stringify(specification(at('driver'))));
    const base = loaderExpression({ 'count-gpus': program });
    const define = (name: string, ...exports: readonly string[]) =>
      writeFileSync(
        at(name),
        `import { Image } from 'tsbuild';\nconst base = ${base};\n${exports.join('\n')}\n`,
      );
    define('look.ts', `export default base.runCommands(${JSON.stringify(LOOK)}, { gpu: 'all' });`);
    define(
      'ldconfig.ts',
      `export const plain = base.runCommands('ldconfig; true');`,
      `export const lent = base.runCommands('ldconfig; true', { gpu: 'H100' });`,
      `export const installs = base.runCommands('cp /bin/count-gpus /usr/lib/libnew.so; ldconfig; count-gpus', { gpu: 'device=${uuidOf(0)}' });`,
    );
    writeFileSync(
      at('musl.ts'),
      busyboxDefinition(
        `copyLocalFile('${program}', '/lib/ld-musl-x86_64.so.1').runCommands('true', { gpu: 'any' })`,
      ),
    );
    for (const subordinateIds of [true, false]) {
      accounts.push(makeAccount({ subordinateIds }));
    }
  }, 120_000);
  afterAll(() => {
    for (const account of accounts) {
      account[Symbol.dispose]();
    }
    rmSync(directory, { recursive: true, force: true });
  });

  const cases = [
    { who: 'root', account: () => undefined, source: 'described' },
    { who: 'root', account: () => undefined, source: 'found' },
    { who: 'a user with subordinate ids', account: () => accounts[0], source: 'found' },
    { who: 'a user with a single id', account: () => accounts[1], source: 'described' },
    { who: 'a user with a single id', account: () => accounts[1], source: 'found' },
  ] as const;

  function settingOf(account: Account | undefined): RunSetting {
    const home = account?.home ?? at('root');
    return {
      tsbuild: installed,
      cwd: home,
      env: { TSBUILD_HOME: join(home, 'store'), HOME: home, TMPDIR: home },
      ...(account === undefined ? {} : { account }),
    };
  }
  /** Whoever describes its GPUs does not need the tree, and the other way round. */
  const flags = (source: 'described' | 'found') => [
    ...['--cdi-dir', at(source === 'described' ? 'cdi' : 'empty')],
    ...['--driver-root', at(source === 'described' ? 'empty' : 'driver')],
  ];
  const linesOf = ({ stderr }: Ran) =>
    stderr.split('\n').map((line) => line.replace(/^#\d+ (?:\d+\.\d+ )?/, ''));

  test.each(cases)(
    '$who, $source: a build step and a container see them, and the layer is empty',
    async ({ account, source }) => {
      const setting = settingOf(account());
      const layout = join(setting.cwd ?? '', `out-${source}`);
      const output = `type=oci,dest=${layout},tar=false,compression=gzip`;
      const args = ['build', at('look.ts'), '--no-cache', '--progress=plain', '-o', output, ...flags(source)];
      const built = linesOf(await succeed(args, setting)).filter((line) =>
        SEEN.some((seen) => line.endsWith(seen)),
      );
      expect(built.map((line) => SEEN.find((seen) => line.endsWith(seen)))).toEqual(SEEN);
      expect(entriesOf(layout).at(-1)).toEqual([]);
      const { config } = readImage(layout).config as {
        readonly config?: { readonly Env?: readonly string[] };
      };
      expect(config?.Env).toEqual(['PATH=/bin:/sbin', LIBRARY_PATH]);

      const look = 'count-gpus; ls /dev/nvidia?; nvidia-smi; echo $LD_LIBRARY_PATH';
      const one = ['run', '-q', at('look.ts'), '--gpus', 'H100', ...flags(source)];
      const ran = await succeed([...one, '--', '/bin/sh', '-c', look], setting);
      expect(ran.stdout.split('\n')).toEqual([
        'cuda sees 1, nvml sees 1',
        // Without the driver's /proc nobody knows the model of a described GPU: the first is taken, with a warning.
        '/dev/nvidia1',
        `fake nvidia-smi ${DRIVER_VERSION}`,
        '/usr/local/nvidia/lib:/usr/local/nvidia/lib64:/run/tsbuild/devices/lib64',
        '',
      ]);
    },
  );

  test('ldconfig makes of a step with a GPU what it makes of one without', async () => {
    const setting = settingOf(undefined);
    const build = async (name: string) => {
      const layout = at(`out-${name}`);
      const output = `type=oci,dest=${layout},tar=false,compression=gzip`;
      const args = ['build', `${at('ldconfig.ts')}::${name}`, '--progress=plain', '-o', output];
      return { layout, ran: await succeed([...args, ...flags('found')], setting) };
    };
    const changed = (layout: string) => entriesOf(layout).at(-1) ?? [];
    const cache = (layout: string) => fileOf(layout, 'etc/ld.so.cache');
    const plain = await build('plain');
    const lent = await build('lent');
    expect(changed(lent.layout)).toEqual(changed(plain.layout));
    expect(librariesInCache(cache(plain.layout)).length).toBeGreaterThan(0);
    expect(cache(lent.layout).equals(cache(plain.layout))).toBe(true);
    // As a package that brings a library does: it is in the cache, the driver is not, and the driver still works.
    const installs = await build('installs');
    expect(installs.ran.stderr).toContain('cuda sees 1, nvml sees 1');
    const known = librariesInCache(cache(installs.layout)).map((path) => basename(path));
    expect(known).toContain('libnew.so');
    expect(known.filter((name) => /cuda|nvidia/.test(name))).toEqual([]);
    expect(changed(installs.layout).filter((path) => !changed(plain.layout).includes(path))).toEqual([
      'usr/',
      'usr/lib/',
      'usr/lib/libnew.so',
    ]);
  });

  test('GPUs are asked for by RUN --device, by --gpus of a Dockerfile, by memory and by what they can', async () => {
    const setting = settingOf(undefined);
    const context = at('context');
    mkdirSync(context);
    execFileSync('cp', [at('driver/count-gpus'), context]);
    const base = at('base');
    await succeed(
      ['build', at('look.ts'), '-q', '-o', `type=oci,dest=${base},tar=false`, ...flags('found')],
      setting,
    );
    const build = (step: string, ...words: readonly string[]) => {
      writeFileSync(join(context, 'Dockerfile'), `FROM base\n${step}\n`);
      const pull = ['--build-context', `base=oci-layout://${base}`];
      return run(
        ['build', context, '--no-cache', '--progress=plain', ...pull, ...words, ...flags('found')],
        setting,
      );
    };
    expect(
      (await build('RUN --device=nvidia.com/gpu=1 count-gpus; ls /dev/nvidia?', '--allow', 'device')).stderr,
    ).toMatch(/cuda sees 1, nvml sees 1[\s\S]*\/dev\/nvidia0/);
    expect((await build('RUN count-gpus', '--gpus', 'all')).stderr).toContain('cuda sees 2');
    const large = await build('RUN ls /dev/nvidia?', '--gpus', 'any,memory>=40GB,compute>=8.0');
    expect(large.stderr).toContain('/dev/nvidia1');
    expect(large.stderr).not.toContain('/dev/nvidia0');
    const none = await build('RUN echo began', '--gpus', 'any,memory>=200GB');
    expect(none.status).toBe(3);
    expect(none.stderr).toMatch(
      /at least 200 GB .*H100 80GB HBM3, 85\.5 GB, compute 9\.0\).*Tesla T4[\s\S]*E_GPU_UNAVAILABLE/,
    );
    expect(none.stderr).not.toMatch(/^#\d+ \d+\.\d+ began$/m);
    const musl = await run(['build', at('musl.ts'), '--progress=plain', ...flags('found')], setting);
    expect(musl.stderr).toMatch(/the image has musl.*\(W_DEVICE\)/);
    const wrong = await run(['build', at('look.ts'), '--gpus', 'all', ...flags('found')], setting);
    expect(wrong).toMatchObject({ status: 2, stderr: expect.stringContaining('--gpus') });
  });

  test('doctor says what there is and what would be lent', async () => {
    const setting = settingOf(undefined);
    const { stdout } = await run(['doctor', '--gpu', ...flags('found')], setting);
    expect(stdout).toContain(`driver ${DRIVER_VERSION}, NVIDIA H100 80GB HBM3, Tesla T4`);
    expect(stdout).toContain(`nvidia.com/gpu=1, Tesla T4, 16.1 GB, compute 7.5, ${uuidOf(0)}`);
    expect(stdout).toContain(`/run/tsbuild/devices/lib64/libcuda.so.${DRIVER_VERSION}`);
    const json = await run(['doctor', '--json'], {
      ...setting,
      env: { ...setting.env, TSBUILD_CDI_DIRS: at('cdi') },
    });
    const checks = JSON.parse(json.stdout) as readonly { readonly name: string; readonly detail: string }[];
    expect(checks.find(({ name }) => name === 'devices (CDI)')?.detail).toContain(
      'nvidia.json: nvidia.com/gpu=0',
    );
  });
});

/** As nvidia-ctk writes it. */
function specification(driver: string) {
  const mount = (path: string) => ({
    hostPath: join(driver, path),
    containerPath: `/${path}`,
    options: ['ro', 'nosuid', 'nodev', 'rbind', 'rprivate'],
  });
  const node = (name: string) => ({ path: `/dev/${name}`, hostPath: join(driver, 'dev', name) });
  const hook = (...args: readonly string[]) => ({
    hookName: 'createContainer',
    path: '/usr/bin/nvidia-cdi-hook',
    args: ['nvidia-cdi-hook', ...args],
    env: ['NVIDIA_CTK_DEBUG=false'],
  });
  const libraries = readdirSync(join(driver, LIBRARY_DIR)).filter((name) => name.endsWith(DRIVER_VERSION));
  const device = (name: string, ...minors: readonly number[]) => ({
    name,
    containerEdits: { deviceNodes: minors.map((minor) => node(`nvidia${minor}`)) },
  });
  return {
    cdiVersion: '0.5.0',
    kind: 'nvidia.com/gpu',
    devices: [
      ...GPUS.flatMap(({ minor }, index) => [device(String(index), minor), device(uuidOf(minor), minor)]),
      device('all', 0, 1),
    ],
    containerEdits: {
      env: ['NVIDIA_VISIBLE_DEVICES=void', `NVIDIA_CTK_LIBCUDA_DIR=/${LIBRARY_DIR}`],
      deviceNodes: ['nvidiactl', 'nvidia-uvm', 'nvidia-uvm-tools'].map(node),
      mounts: [
        ...libraries.map((name) => mount(`${LIBRARY_DIR}/${name}`)),
        mount('usr/bin/nvidia-smi'),
        mount(`lib/firmware/nvidia/${DRIVER_VERSION}/gsp_ga10x.bin`),
      ],
      hooks: [
        hook('create-symlinks', '--link', `libcuda.so.1::/${LIBRARY_DIR}/libcuda.so`),
        hook('update-ldcache', '--folder', `/${LIBRARY_DIR}`),
        hook('enable-cuda-compat', `--host-driver-version=${DRIVER_VERSION}`),
        hook('disable-device-node-modification'),
      ],
    },
  };
}

function blobsOf(layout: string): readonly string[] {
  return readImage(layout).manifest.layers.map(({ digest }) =>
    join(layout, 'blobs', digest.replace(':', '/')),
  );
}

/** Paths in each layer, sorted. */
function entriesOf(layout: string): readonly (readonly string[])[] {
  return blobsOf(layout).map((blob) =>
    execFileSync('tar', ['-tzf', blob], { encoding: 'utf8' }).split('\n').filter(Boolean).sort(),
  );
}

/** Of the last layer. */
function fileOf(layout: string, path: string): Buffer {
  return execFileSync('tar', ['-xzOf', blobsOf(layout).at(-1) ?? '', path]);
}
