/**
 * What a snapshot driver promises, tried with a real one: does each case, and prints what came of it as JSON. It enters
 * namespaces by the launcher first, as a worker does, so that no mount of it is seen outside.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { native } from '../../src/native/addon.ts';
import { launcherPath } from '../../src/native/launcher-path.ts';
import { CopyDriver } from '../../src/snapshot/copy.ts';
import type { CommitResult, Mountpoint, Prepared, SnapshotDriver } from '../../src/snapshot/driver.ts';
import { OverlayDriver } from '../../src/snapshot/overlay.ts';
import { SnapshotStore } from '../../src/snapshot/snapshot-store.ts';
import type { LayerId } from '../../src/solver/op.ts';

const [storeDir = '', kind = ''] = process.argv.slice(2);
const { signal } = new AbortController();
const OLD = 1_000_000_000;

if (process.env.TSBUILD_LAUNCHER_MODE === undefined) {
  const self = [process.execPath, fileURLToPath(import.meta.url), storeDir, kind];
  const { status } = spawnSync(launcherPath(), ['--isolation', 'auto', '--', ...self], { stdio: 'inherit' });
  process.exit(status ?? 1);
}

const overlayXattrs = process.env.TSBUILD_LAUNCHER_MODE === 'root' ? 'trusted' : 'user';
const store = SnapshotStore.open(storeDir);
const driver: SnapshotDriver =
  kind === 'overlay'
    ? new OverlayDriver(store, overlayXattrs === 'user')
    : new CopyDriver(store, overlayXattrs);
const id = (name: string) => name as LayerId;

/** Every entry as `path`, what it is, and what is in it; whiteouts and opaque directories by name. */
function list(root: string): string[] {
  const walk = (directory: string): string[] =>
    readdirSync(join(root, directory))
      .sort()
      .flatMap((name) => {
        const path = join(directory, name);
        const full = join(root, path);
        const stat = lstatSync(full);
        if (stat.isCharacterDevice() && stat.rdev === 0) {
          return [`${path} whiteout`];
        }
        if (stat.isDirectory()) {
          return [`${path}/${isOpaque(full) ? ' opaque' : ''}`, ...walk(path)];
        }
        return [
          stat.isSymbolicLink()
            ? `${path} -> ${readlinkSync(full)}`
            : `${path} ${readFileSync(full, 'utf8')}`,
        ];
      });
  return walk('');
}

function isOpaque(path: string): boolean {
  const name = `${overlayXattrs}.overlay.opaque`;
  const text = execFileSync('getfattr', ['-h', '-d', '-m', '^(user|trusted)', path], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return text.includes(`${name}="y"`);
}

const layerFiles = (name: string) => list(join(storeDir, 'snapshots', name, 'fs'));

async function viewed<T>(layers: readonly string[], look: (root: string) => T): Promise<T> {
  const view = await driver.view(layers.map(id), signal);
  try {
    return look(view.root);
  } finally {
    await view.close();
  }
}

/** Prepares, changes, commits. */
async function layer(
  name: string,
  parents: readonly string[],
  change: (prepared: Prepared) => unknown,
): Promise<CommitResult> {
  const prepared = await driver.prepare(parents.map(id), signal);
  try {
    await change(prepared);
    return await prepared.commit(id(name));
  } finally {
    await prepared.discard();
  }
}

/** A layer on the base, what is in it, and what the whole is with it. */
async function changed(name: string, change: (root: string) => void) {
  const result = await layer(name, ['base'], (prepared) => change(prepared.root()));
  return { ...result, files: layerFiles(name), merged: await viewed(['base', name], list) };
}

function tree(root: string): void {
  for (const dir of ['dir/sub', 'etc', 'run']) {
    mkdirSync(join(root, dir), { recursive: true });
  }
  writeFileSync(join(root, 'dir/a'), 'A');
  writeFileSync(join(root, 'dir/b'), 'B');
  writeFileSync(join(root, 'dir/sub/deep'), 'D');
  writeFileSync(join(root, 'etc/hosts'), 'H');
  symlinkSync('/run/elsewhere', join(root, 'etc/link'));
  symlinkSync('dir', join(root, 'alias'));
  for (const dir of ['dir/sub', 'dir', 'etc', 'run']) {
    utimesSync(join(root, dir), OLD, OLD);
  }
}

const MOUNTPOINTS: readonly Mountpoint[] = [
  { path: '/dir', kind: 'directory' },
  { path: '/etc/hosts', kind: 'file' },
  { path: '/etc/resolv.conf', kind: 'file' },
  { path: '/new/deep/directory', kind: 'directory' },
  { path: '/new/deep/file', kind: 'file' },
  { path: '/etc/link/file', kind: 'file' },
  { path: '/alias/through', kind: 'directory' },
];

const kindOf = (path: string) => {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat === undefined ? 'nothing' : stat.isDirectory() ? 'directory' : 'file';
};

const times = (root: string) =>
  ['dir', 'etc', 'run'].map((name) => lstatSync(join(root, name)).mtimeMs / 1000 - OLD);

const errorOf = async (call: () => unknown): Promise<unknown> => {
  try {
    await call();
    return 'nothing was thrown';
  } catch (error) {
    return {
      name: (error as Error).name,
      code: (error as { code?: string }).code,
      message: (error as Error).message,
    };
  }
};

const scratch = () => readdirSync(store.workDir).sort();
const mounts = () =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(storeDir)).length;

const results: Record<string, unknown> = {};

results.base = await layer('base', [], (prepared) => {
  chmodSync(prepared.root(), 0o751);
  tree(prepared.root());
});
results.baseFiles = layerFiles('base');

results.empty = [
  await layer('empty', ['base'], (prepared) => void list(prepared.root())),
  await layer('untouched', ['base'], () => undefined),
  await layer('empty-on-nothing', [], (prepared) => void prepared.root()),
];
results.emptyFiles = ['empty', 'untouched', 'empty-on-nothing'].map(layerFiles);
results.rootMode = [
  await viewed(['base', 'empty'], (root) => lstatSync(root).mode & 0o7777),
  await layer('root-mode', ['base'], (prepared) => chmodSync(prepared.root(), 0o700)),
  await viewed(['base', 'root-mode'], (root) => lstatSync(root).mode & 0o7777),
];

results.mountpoints = await layer('mountpoints', ['base'], async (prepared) => {
  results.targets = await prepared.withMountpoints(MOUNTPOINTS, async (root, targets) =>
    MOUNTPOINTS.map(
      ({ path }) => `${path} ${targets.get(path)} ${kindOf(join(root, targets.get(path) ?? ''))}`,
    ),
  );
  results.rootAfterMountpoints = list(prepared.root());
});
results.mountpointFiles = [layerFiles('mountpoints'), await viewed(['base', 'mountpoints'], times)];
results.mountpointsUsed = await layer('mountpoints-used', ['base'], (prepared) =>
  prepared.withMountpoints(MOUNTPOINTS, async (root) => {
    writeFileSync(join(root, 'etc/other'), 'O');
    writeFileSync(join(root, 'dir/sub/more'), 'M');
  }),
);
results.mountpointsUsedFiles = layerFiles('mountpoints-used');
results.mountpointsHidden = await layer('mountpoints-hidden', ['base'], async (prepared) => {
  rmSync(join(prepared.root(), 'dir'), { recursive: true });
  results.hiddenTargets = await prepared.withMountpoints(
    [{ path: '/dir/x/y', kind: 'directory' }],
    async (root) => kindOf(join(root, 'dir/x/y')),
  );
});
results.mountpointsHiddenFiles = layerFiles('mountpoints-hidden');
results.mountpointsTwice = await layer('mountpoints-twice', ['base'], async (prepared) => {
  for (const name of ['one', 'two']) {
    await prepared.withMountpoints([{ path: `/mnt/${name}`, kind: 'directory' }], async (root) => {
      writeFileSync(join(root, name), name);
    });
  }
});
results.mountpointsTwiceFiles = layerFiles('mountpoints-twice');
results.mountpointsFail = await layer('mountpoints-fail', ['base'], async (prepared) => {
  results.mountpointErrors = [
    await errorOf(() => prepared.withMountpoints([{ path: '/etc', kind: 'file' }], async () => undefined)),
    await errorOf(() =>
      prepared.withMountpoints([{ path: '/etc/hosts', kind: 'directory' }], async () => undefined),
    ),
    await errorOf(() =>
      prepared.withMountpoints(MOUNTPOINTS, async () => {
        throw new RangeError('the step failed');
      }),
    ),
  ];
});
results.mountpointsFailFiles = layerFiles('mountpoints-fail');

results.whiteouts = await changed('whiteouts', (root) => {
  rmSync(join(root, 'dir/a'));
  rmSync(join(root, 'etc'), { recursive: true });
  rmSync(join(root, 'alias'));
  writeFileSync(join(root, 'dir/fleeting'), 'F');
  rmSync(join(root, 'dir/fleeting'));
});
results.back = await layer('back', ['base', 'whiteouts'], (prepared) => {
  mkdirSync(join(prepared.root(), 'etc'));
  writeFileSync(join(prepared.root(), 'etc/new'), 'N');
  writeFileSync(join(prepared.root(), 'dir/a'), 'A again');
});
results.backMerged = await viewed(['base', 'whiteouts', 'back'], list);
results.opaque = await changed('opaque', (root) => {
  rmSync(join(root, 'dir'), { recursive: true });
  mkdirSync(join(root, 'dir'));
  writeFileSync(join(root, 'dir/c'), 'C');
});
results.opaqueEmpty = await changed('opaque-empty', (root) => {
  rmSync(join(root, 'dir'), { recursive: true });
  mkdirSync(join(root, 'dir'));
});
results.kinds = await changed('kinds', (root) => {
  rmSync(join(root, 'dir'), { recursive: true });
  writeFileSync(join(root, 'dir'), 'now a file');
  rmSync(join(root, 'etc/hosts'));
  mkdirSync(join(root, 'etc/hosts'));
  rmSync(join(root, 'alias'));
  symlinkSync('etc', join(root, 'alias'));
});
results.renamed = await changed('renamed', (root) => renameSync(join(root, 'dir/a'), join(root, 'etc/z')));
results.mode = await changed('mode', (root) => chmodSync(join(root, 'dir/a'), 0o600));
results.modeMerged = await viewed(['base', 'mode'], (root) => lstatSync(join(root, 'dir/a')).mode & 0o7777);
results.linked = await layer('linked', ['base'], (prepared) => {
  writeFileSync(join(prepared.root(), 'one'), '1');
  linkSync(join(prepared.root(), 'one'), join(prepared.root(), 'two'));
});
results.links = await viewed(['base', 'linked'], (root) => [
  lstatSync(join(root, 'one')).nlink,
  lstatSync(join(root, 'one')).ino === lstatSync(join(root, 'two')).ino,
]);
results.changes = await layer('changes', [], (prepared) => {
  writeFileSync(join(prepared.changes(), 'direct'), 'X');
  results.changesSeen = list(prepared.root());
  writeFileSync(join(prepared.changes(), 'later'), 'Y');
});
results.changesFiles = layerFiles('changes');

{
  const [first, second] = [
    await driver.prepare([id('base')], signal),
    await driver.prepare([id('base')], signal),
  ];
  writeFileSync(join(first.root(), 'who'), 'first');
  writeFileSync(join(second.root(), 'who'), 'second');
  const before = store.has(id('same'));
  const one = await first.commit(id('same'));
  const two = await second.commit(id('same'));
  for (const prepared of [first, second, first]) {
    await prepared.discard();
  }
  results.same = { before, one, two, files: layerFiles('same') };
}
{
  const all = await Promise.all(
    Array.from({ length: 8 }, async (_, index) => {
      const prepared = await driver.prepare([id('base')], signal);
      for (const name of ['x', 'y', 'z']) {
        writeFileSync(join(prepared.root(), name), String(index));
      }
      return prepared.commit(id('race'));
    }),
  );
  const files = layerFiles('race');
  results.race = {
    made: all.filter(({ existed }) => !existed).length,
    contents: new Set(files.map((line) => line.slice(2))).size,
    files: files.length,
  };
}
{
  const prepared = await driver.prepare([id('base')], signal);
  results.badLayer = await errorOf(() => prepared.commit(id('../escape')));
  await prepared.discard();
  results.escaped = existsSync(join(storeDir, 'escape'));
}
{
  const [files, mounted] = [scratch(), mounts()];
  const never = await driver.prepare([id('base')], signal);
  const busy = await driver.prepare([id('base')], signal);
  const fresh = await driver.prepare([], signal);
  writeFileSync(join(busy.root(), 'x'), 'x');
  mkdirSync(join(busy.root(), 'closed'));
  chmodSync(join(busy.root(), 'closed'), 0);
  fresh.root();
  const view = await driver.view([id('base'), id('opaque')], signal);
  const during = scratch().length - files.length;
  for (const prepared of [never, busy, busy, fresh]) {
    await prepared.discard();
  }
  await view.close();
  results.discard = {
    during,
    files: scratch().filter((name) => !files.includes(name)),
    mounts: mounts() - mounted,
  };
}
{
  const files = scratch();
  results.missing = [
    await errorOf(() => driver.prepare([id('base'), id('nope')], signal)),
    await errorOf(() => driver.view([id('nope')], signal)),
  ];
  const aborted = AbortSignal.abort(new Error('stop'));
  await errorOf(async () => (await driver.prepare([id('base')], aborted)).discard());
  results.missingScratch = scratch().filter((name) => !files.includes(name));
}
{
  const many = Array.from({ length: 501 }, () => id('base'));
  results.many = await errorOf(async () => {
    const prepared = await driver.prepare(many, signal);
    try {
      results.manyFiles = list(prepared.root());
    } finally {
      await prepared.discard();
    }
  });
}
{
  // Recorded whoever runs this: what a driver does with records does not depend on the user.
  const give = (prepared: Prepared, path: string, uid: number) =>
    native().makeDirectories(prepared.root(), path, {
      mode: 0o755,
      uid,
      gid: uid,
      mtimeNs: '0',
      owners: { file: prepared.owners, single: true },
    });
  const recorded = async (root: string, owners: string) => {
    const plain = await native().treeDigest(root);
    return (await native().treeDigest(root, { file: owners, path: '' })) !== plain;
  };
  const given = [
    await layer('given', ['base'], (prepared) => give(prepared, '/given/deep', 7)),
    await layer('given-beside', ['base', 'given'], (prepared) => {
      // Copied up by the kernel, which knows nothing of records.
      writeFileSync(join(prepared.root(), 'given/deep/f'), 'F');
    }),
    await layer('given-away', ['base', 'given'], async (prepared) => {
      await prepared.withMountpoints(MOUNTPOINTS, async (root) => {
        rmSync(join(root, 'given'), { recursive: true });
      });
      writeFileSync(join(prepared.root(), 'given'), 'a file');
    }),
    await layer('given-empty', ['base', 'given'], (prepared) => void prepared.root()),
  ];
  const listed = async (name: string, parents: readonly string[]) => {
    await native().writeLayer({
      root: store.layerDir(id(name)),
      owners: store.ownersFile(id(name)),
      lowers: parents.map((parent) => store.layerDir(id(parent))).reverse(),
      output: join(storeDir, 'tar'),
      compression: 'none',
      level: 1,
    });
    return execFileSync('tar', ['--numeric-owner', '-tvf', join(storeDir, 'tar')], { encoding: 'utf8' })
      .trim()
      .split('\n')
      .map((line) => line.replace(/^(\S+ \S+) .* (\S+)$/, '$1 $2'));
  };
  const view = await driver.view(['base', 'given'].map(id), signal);
  const empty = await driver.view(['base', 'given', 'given-away'].map(id), signal);
  results.owners = {
    given,
    views: [await recorded(view.root, view.owners), await recorded(empty.root, empty.owners)],
    layers: [
      await listed('given', ['base']),
      await listed('given-beside', ['base', 'given']),
      await listed('given-away', ['base', 'given']),
    ],
    files: ['given', 'given-beside', 'given-away', 'given-empty'].map((name) =>
      existsSync(store.ownersFile(id(name))),
    ),
  };
  await view.close();
  await empty.close();
  writeFileSync(store.ownersFile(id('given')), 'not what was written');
  results.damaged = [
    await errorOf(() => driver.view([id('given')], signal)),
    await errorOf(() => driver.prepare([id('given')], signal)),
  ];
}
results.order = [
  await viewed(['base', 'same', 'kinds'], (root) => readFileSync(join(root, 'dir'), 'utf8')),
  await viewed(['base', 'opaque', 'linked'], (root) => readdirSync(join(root, 'dir'))),
];
results.emptyView = await viewed([], list);
results.baseAfter = [layerFiles('base'), times(join(storeDir, 'snapshots/base/fs'))];
await store.close();
results.left = [readdirSync(join(storeDir, 'tmp')), mounts()];
console.log(JSON.stringify(results));
