import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseCdiSpec } from '../../../src/executor/cdi-spec.ts';
import { findDevices } from '../../../src/executor/find-devices.ts';

const device = (name: string, edits: object = {}) => ({ name, containerEdits: edits });
const spec = (more: object = {}) => ({
  cdiVersion: '0.3.0',
  kind: 'vendor.example/net',
  devices: [device('a')],
  ...more,
});

describe('parseCdiSpec', () => {
  test.each([
    ['the oldest', {}],
    [
      'the newest',
      { cdiVersion: '1.1.0', containerEdits: { netDevices: [{ hostInterfaceName: 'x', name: 'y' }] } },
    ],
    ['a leading v', { cdiVersion: 'v0.6.0' }],
    ['names of MIG', { cdiVersion: '0.5.0', devices: [device('0:1'), device('GPU-1a2b')] }],
    [
      'Intel RDT of before 1.1',
      { cdiVersion: '1.0.0', containerEdits: { intelRdt: { closID: 'a', enableCMT: true } } },
    ],
    ['Intel RDT of 1.1', { cdiVersion: '1.1.0', containerEdits: { intelRdt: { schemata: ['L3:0=f'] } } }],
    [
      'all of a node, a mount and a hook',
      {
        cdiVersion: '0.5.0',
        containerEdits: {
          deviceNodes: [
            {
              path: '/dev/a',
              hostPath: '/dev/b',
              type: 'c',
              major: 1,
              minor: 3,
              fileMode: 438,
              permissions: 'rw',
              uid: 0,
              gid: 0,
            },
            { path: '/dev/c', permissions: 'none' },
          ],
          mounts: [{ hostPath: '/a', containerPath: '/b', type: 'bind', options: ['ro'] }],
          hooks: [{ hookName: 'startContainer', path: '/h', args: ['h'], env: ['A=b'], timeout: 3 }],
        },
      },
    ],
    ['groups', { cdiVersion: '0.7.0', containerEdits: { additionalGids: [0, 44] } }],
  ])('%s is taken', (_what, more) => {
    expect(parseCdiSpec(spec(more)).kind).toBe('vendor.example/net');
  });

  test.each([
    ['no object', [], /no object/],
    ['an unknown version', spec({ cdiVersion: '0.2.9' }), /cdiVersion/],
    ['an unknown field', spec({ colour: 'red' }), /'colour'/],
    [
      'an unknown field of a node',
      spec({ containerEdits: { deviceNodes: [{ path: '/dev/x', x: 1 }] } }),
      /'x'/,
    ],
    ['a kind without class', spec({ kind: 'vendor.example' }), /vendor\/class/],
    ['no devices', spec({ devices: [] }), /no devices/],
    ['a device twice', spec({ devices: [device('a'), device('a')] }), /twice/],
    ['a bad name', spec({ devices: [device('a=b')] }), /name of a device/],
    ['a variable without value', spec({ containerEdits: { env: ['A'] } }), /NAME=VALUE/],
    ['a relative node', spec({ containerEdits: { deviceNodes: [{ path: 'dev/x' }] } }), /not absolute/],
    ['a digit before 0.5', spec({ devices: [device('0')] }), /0\.5\.0/],
    ['annotations before 0.6', spec({ annotations: { a: 'b' } }), /0\.6\.0/],
    [
      'a type of mount before 0.4',
      spec({ containerEdits: { mounts: [{ hostPath: '/a', containerPath: '/b', type: 'bind' }] } }),
      /0\.4\.0/,
    ],
    [
      'a host path before 0.5',
      spec({
        cdiVersion: '0.4.0',
        containerEdits: { deviceNodes: [{ path: '/dev/a', hostPath: '/dev/b' }] },
      }),
      /0\.5\.0/,
    ],
    ['a dot in a class before 0.6', spec({ cdiVersion: '0.5.0', kind: 'vendor.example/a.b' }), /0\.6\.0/],
    [
      'annotations of a device before 0.6',
      spec({ cdiVersion: '0.5.0', devices: [{ ...device('a'), annotations: { a: 'b' } }] }),
      /0\.6\.0/,
    ],
    [
      'Intel RDT before 0.7',
      spec({ cdiVersion: '0.6.0', containerEdits: { intelRdt: { closID: 'a' } } }),
      /0\.7\.0/,
    ],
    [
      'newer Intel RDT before 1.1',
      spec({ cdiVersion: '1.0.0', containerEdits: { intelRdt: { enableMonitoring: true } } }),
      /1\.1\.0/,
    ],
    [
      'older Intel RDT with 1.1',
      spec({ cdiVersion: '1.1.0', containerEdits: { intelRdt: { enableMBM: true } } }),
      /went with 1\.1\.0/,
    ],
    [
      'a newer field of a device alone',
      spec({ cdiVersion: '0.6.0', devices: [device('a', { additionalGids: [7] })] }),
      /0\.7\.0/,
    ],
    [
      'a hook of an unknown moment',
      spec({ containerEdits: { hooks: [{ hookName: 'later', path: '/h' }] } }),
      /hookName 'later'/,
    ],
    [
      'a node of an unknown type',
      spec({ containerEdits: { deviceNodes: [{ path: '/dev/a', type: 'x' }] } }),
      /type of a device node/,
    ],
    [
      'permissions that are none',
      spec({ containerEdits: { deviceNodes: [{ path: '/dev/a', permissions: 'rx' }] } }),
      /permissions/,
    ],
    ['groups before 0.7', spec({ cdiVersion: '0.6.0', containerEdits: { additionalGids: [1] } }), /0\.7\.0/],
    [
      'net devices before 1.1',
      spec({ cdiVersion: '1.0.0', containerEdits: { netDevices: [{ hostInterfaceName: 'x', name: 'y' }] } }),
      /1\.1\.0/,
    ],
  ])('%s is refused', (_what, document, message) => {
    expect(() => parseCdiSpec(document)).toThrow(message);
  });
});

describe('findDevices', () => {
  let root: string;
  let dirs: string[];
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'tsbuild-cdi-'));
    dirs = [join(root, 'etc'), join(root, 'run')];
    for (const dir of dirs) {
      mkdirSync(dir);
    }
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const write = (dir: number, name: string, ...devices: object[]) =>
    writeFileSync(join(dirs[dir] as string, name), JSON.stringify(spec({ cdiVersion: '0.7.0', devices })));
  const env = (value: string) => ({ env: [`WHICH=${value}`] });
  const find = async (...names: string[]) =>
    (
      await findDevices(
        names.map((name) => ({ name, required: true })),
        { cdiDirs: dirs, driverRoot: root },
      )
    ).edits;

  test('a name, all of a kind, the first of a kind, a class by annotation', async () => {
    write(0, 'a.json', device('b', env('b')), {
      ...device('a', env('a')),
      annotations: { 'org.mobyproject.buildkit.device.class': 'gpu' },
    });
    const which = async (name: string) => (await find(name)).env.map(([, value]) => value);
    expect(await which('vendor.example/net=b')).toEqual(['b']);
    expect(await which('vendor.example/net=*')).toEqual(['a', 'b']);
    expect(await which('vendor.example/net')).toEqual(['a']);
    expect(await which('gpu')).toEqual(['a']);
    for (const name of ['vendor.example/net=c', 'vendor.example/other', 'cpu', 'vendor.example/=a', '=a']) {
      await expect(find(name)).rejects.toMatchObject({ code: 'E_DEVICE_UNAVAILABLE' });
    }
  });

  test('a later directory stands over an earlier one', async () => {
    write(0, 'a.json', device('a', env('etc')));
    write(1, 'a.json', device('a', env('run')));
    expect((await find('vendor.example/net=a')).env).toEqual([['WHICH', 'run']]);
  });

  test('a name twice in one directory is nobody’s, and the error says so', async () => {
    write(0, 'a.json', device('a'), device('b'));
    write(0, 'b.json', device('a'));
    await expect(find('vendor.example/net=a')).rejects.toThrow(/'vendor.example\/net=a' is in two files/);
    await find('vendor.example/net=b');
  });

  test('a file that cannot be read spoils only itself', async () => {
    write(0, 'a.json', device('a'));
    writeFileSync(join(dirs[0] as string, 'b.json'), '{');
    writeFileSync(join(dirs[0] as string, 'c.yaml'), 'a: [');
    writeFileSync(join(dirs[0] as string, 'd.txt'), '{');
    await find('vendor.example/net=a');
    const error = (await find('x.y/z=1').catch((thrown: Error) => thrown)) as Error;
    expect(error.message).toMatch(/b\.json' is not used/);
    expect(error.message).toMatch(/c\.yaml' is not used/);
    expect(error.message).not.toContain('d.txt');
  });

  test('edits of the specification are made once, and later mounts take the place of earlier', async () => {
    writeFileSync(
      join(dirs[0] as string, 'a.json'),
      JSON.stringify(
        spec({
          cdiVersion: '0.7.0',
          containerEdits: {
            env: ['ONE=1'],
            additionalGids: [44, 0],
            mounts: [{ hostPath: '/etc', containerPath: '/x' }],
          },
          devices: [
            device('a', {
              mounts: [{ hostPath: '/usr', containerPath: '/x/', options: ['ro'] }],
              additionalGids: [44],
            }),
            device('b', { deviceNodes: [{ path: '/dev/n', hostPath: '/dev/null' }, { path: '/dev/zero' }] }),
          ],
        }),
      ),
    );
    expect(await find('vendor.example/net=*')).toMatchObject({
      env: [['ONE', '1']],
      gids: [44],
      mounts: [{ source: '/usr', target: '/x', readOnly: true, sourceKind: 'directory' }],
      nodes: [
        { source: '/dev/null', target: '/dev/n' },
        { source: '/dev/zero', target: '/dev/zero' },
      ],
    });
  });

  test('what NVIDIA’s hooks would do, under either of their programs', async () => {
    const hook = (...args: string[]) => ({ hookName: 'createContainer', path: '/usr/bin/h', args });
    write(
      0,
      'a.json',
      device('a', {
        hooks: [
          hook('nvidia-ctk', 'hook', 'create-symlinks', '--link', 'x.so.2::/lib/x.so.1', '--link=y::/lib/y'),
          hook('nvidia-cdi-hook', 'update-ldcache', '--folder', '/lib', '--folder', '/lib64/'),
          hook('nvidia-cdi-hook', 'enable-cuda-compat', '--host-driver-version=550.1'),
          hook('nvidia-cdi-hook', 'disable-device-node-modification'),
          hook('nvidia-cdi-hook', 'chmod', '--mode', '755'),
        ],
      }),
    );
    const { edits, warnings } = await findDevices([{ name: 'vendor.example/net=a', required: true }], {
      cdiDirs: dirs,
      driverRoot: root,
    });
    expect(edits).toMatchObject({
      links: [
        { target: 'x.so.2', path: '/lib/x.so.1' },
        { target: 'y', path: '/lib/y' },
      ],
      driverVersion: '550.1',
      fixedNodes: true,
    });
    expect(warnings).toEqual([]);
  });

  test.each([
    [
      'a hook that is not known',
      { hooks: [{ hookName: 'createRuntime', path: '/opt/h', args: ['h', 'thing'] }] },
      /'\/opt\/h thing'/,
    ],
    ['a hook without words', { hooks: [{ hookName: 'createRuntime', path: '/opt/h' }] }, /hook '\/opt\/h'/],
    [
      'a hook named like a method of objects',
      { hooks: [{ hookName: 'prestart', path: '/h', args: ['h', 'toString'] }] },
      /toString/,
    ],
    ['a file system', { mounts: [{ hostPath: 'none', containerPath: '/x', type: 'tmpfs' }] }, /'tmpfs'/],
  ])(
    '%s is refused by its name, and left out where the device need not be',
    async (_what, edits, message) => {
      write(0, 'a.json', device('a', edits), device('b', env('b')));
      await expect(find('vendor.example/net=a')).rejects.toThrow(message);
      const optional = ['vendor.example/net=a', 'vendor.example/net=b'].map((name) => ({
        name,
        required: false,
      }));
      const found = await findDevices(optional, { cdiDirs: dirs, driverRoot: root });
      expect(found).toMatchObject({
        edits: { env: [['WHICH', 'b']] },
        warnings: [expect.stringMatching(message)],
      });
    },
  );

  test('names of UUIDs and of parts, and a name for all', async () => {
    write(
      0,
      'a.json',
      device('0:1', env('mig')),
      device('GPU-1a2b-3c', env('uuid')),
      device('all', env('all')),
    );
    expect((await find('vendor.example/net=0:1')).env).toEqual([['WHICH', 'mig']]);
    expect((await find('vendor.example/net=GPU-1a2b-3c')).env).toEqual([['WHICH', 'uuid']]);
    expect((await find('vendor.example/net=all')).env).toEqual([['WHICH', 'all']]);
  });

  test('a device is described by files alone', async () => {
    mkdirSync(join(dirs[0] as string, 'a.json'));
    await expect(find('vendor.example/net=a')).rejects.toThrow(/a\.json' is not used: it is not a file/);
  });

  test('a node that is not open to everybody is a warning where groups of the host cannot be had', async () => {
    const node = join(root, 'node');
    writeFileSync(node, '', { mode: 0o600 });
    write(0, 'a.json', device('a', { deviceNodes: [{ path: '/dev/x', hostPath: node }] }));
    const warnings = async (idMode: 'root' | 'multi' | 'single') => {
      const wanted = [{ name: 'vendor.example/net=a', required: true }];
      return (await findDevices(wanted, { cdiDirs: dirs, driverRoot: root, idMode })).warnings;
    };
    expect(await warnings('root')).toEqual([]);
    expect(await warnings('single')).toEqual([]);
    if (process.getuid?.() === 0) {
      chownSync(node, 65534, 44);
      expect(await warnings('multi')).toEqual([
        expect.stringContaining("'/dev/x' is for its group 44 alone (mode 600)"),
      ]);
    }
  });

  test('without any description it says where it looked', async () => {
    await expect(find('nvidia.com/gpu=all')).rejects.toMatchObject({
      message: expect.stringContaining(`no device is described in ${dirs.join(', ')}`),
      hint: expect.stringContaining('tsbuild doctor --gpu'),
    });
  });
});
