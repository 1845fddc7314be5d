/**
 * What every {@link SnapshotDriver} must do. Overlays can be mounted only in a mount namespace of our own, so the cases
 * run in a process that the launcher starts (`test/support/snapshot-cases.ts`), and are told by name.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { CommitResult, SnapshotDriver } from '../../src/snapshot/driver.ts';
import type { SnapshotStore } from '../../src/snapshot/snapshot-store.ts';
import type { LayerId } from '../../src/solver/op.ts';

export interface SnapshotCase {
  readonly driver: SnapshotDriver;
  readonly store: SnapshotStore;
  /** Names of layers are of the case alone. */
  layer(name: string): LayerId;
}

const { signal } = new AbortController();

export const SNAPSHOT_CASES: Readonly<Record<string, (use: SnapshotCase) => Promise<void>>> = {
  async 'an empty stack is an empty root'(use) {
    assert.deepEqual(await viewed(use, []), {});
    const made = await commit(use, 'a', [], () => undefined);
    assert.deepEqual(made, { existed: false, empty: true });
  },

  async 'what is above hides what is below'(use) {
    await commit(use, 'low', [], (root) => {
      write(root, { 'etc/a': 'low', 'etc/b': 'low', 'dir/x': 'low', file: 'low', 'opaque/old': 'low' });
    });
    await commit(use, 'high', ['low'], (root) => {
      write(root, { 'etc/a': 'high', 'etc/c': 'high' });
      rmSync(join(root, 'etc/b'));
      rmSync(join(root, 'dir'), { recursive: true });
      write(root, { dir: 'now a file' });
      rmSync(join(root, 'file'));
      write(root, { 'file/x': 'now a directory' });
      rmSync(join(root, 'opaque'), { recursive: true });
      write(root, { 'opaque/new': 'high' });
    });
    const low = { 'etc/a': 'low', 'etc/b': 'low', 'dir/x': 'low', file: 'low', 'opaque/old': 'low' };
    assert.deepEqual(await viewed(use, ['low']), low);
    const both = {
      dir: 'now a file',
      'etc/a': 'high',
      'etc/c': 'high',
      'file/x': 'now a directory',
      'opaque/new': 'high',
    };
    assert.deepEqual(await viewed(use, ['low', 'high']), both);
    // A third one on top sees the same.
    await commit(use, 'top', ['low', 'high'], (root) => write(root, { 'etc/b': 'again' }));
    assert.deepEqual(await viewed(use, ['low', 'high', 'top']), { ...both, 'etc/b': 'again' });
  },

  async 'a layer holds what changed, and nothing else'(use) {
    await commit(use, 'low', [], (root) => write(root, { 'etc/a': 'low', 'etc/b': 'low', 'usr/x': 'low' }));
    const made = await commit(use, 'high', ['low'], (root) => write(root, { 'etc/b': 'high' }));
    assert.deepEqual(made, { existed: false, empty: false });
    const dir = use.store.layerDir(use.layer('high'));
    assert.deepEqual(readdirSync(dir), ['etc']);
    assert.deepEqual(readdirSync(join(dir, 'etc')), ['b']);
  },

  async 'who reads only leaves an empty layer'(use) {
    await commit(use, 'low', [], (root) => write(root, { 'etc/a': 'low' }));
    const made = await commit(use, 'high', ['low'], (root) => {
      readFileSync(join(root, 'etc/a'));
    });
    assert.deepEqual(made, { existed: false, empty: true });
    assert.deepEqual(readdirSync(use.store.layerDir(use.layer('high'))), []);
  },

  async 'a change of the root directory itself counts'(use) {
    await commit(use, 'low', [], (root) => chmodSync(root, 0o711));
    const made = await commit(use, 'high', ['low'], (root) => {
      assert.equal(statSync(root).mode & 0o777, 0o711);
      chmodSync(root, 0o750);
    });
    assert.deepEqual(made, { existed: false, empty: false });
    const view = await use.driver.view([use.layer('low'), use.layer('high')], signal);
    assert.equal(statSync(view.root).mode & 0o777, 0o750);
    await view.close();
  },

  async 'who comes second finds the layer made, and it stays the first one’s'(use) {
    await commit(use, 'a', [], (root) => write(root, { who: 'first' }));
    const second = await commit(use, 'a', [], (root) => write(root, { who: 'second' }));
    assert.equal(second.existed, true);
    assert.deepEqual(await viewed(use, ['a']), { who: 'first' });
  },

  async 'modes, owners, links and times are carried, also of what only changes those'(use) {
    await commit(use, 'low', [], (root) => {
      write(root, { 'a/file': 'text', 'a/plain': 'x' });
      linkSync(join(root, 'a/file'), join(root, 'a/hard'));
      symlinkSync('/nowhere', join(root, 'a/link'));
      chownSync(join(root, 'a/plain'), 12, 34);
      chmodSync(join(root, 'a/plain'), 0o4750);
      utimesSync(join(root, 'a/plain'), 1, 1_500_000_000.5);
    });
    await commit(use, 'high', ['low'], (root) => chmodSync(join(root, 'a/file'), 0o600));
    const view = await use.driver.view([use.layer('low'), use.layer('high')], signal);
    const plain = lstatSync(join(view.root, 'a/plain'));
    assert.deepEqual(
      [plain.mode & 0o7777, plain.uid, plain.gid, plain.mtimeMs],
      [0o4750, 12, 34, 1_500_000_000_500],
    );
    assert.equal(readlinkSync(join(view.root, 'a/link')), '/nowhere');
    assert.equal(statSync(join(view.root, 'a/file')).mode & 0o777, 0o600);
    assert.equal(readFileSync(join(view.root, 'a/file'), 'utf8'), 'text');
    await view.close();
  },

  async 'layers below are not changed by what is done above'(use) {
    await commit(use, 'low', [], (root) => write(root, { 'etc/a': 'low', 'etc/b': 'low' }));
    const dir = use.store.layerDir(use.layer('low'));
    const before = listing(dir);
    await commit(use, 'high', ['low'], (root) => {
      write(root, { 'etc/a': 'changed' });
      rmSync(join(root, 'etc/b'));
      chmodSync(join(root, 'etc'), 0o700);
    });
    assert.deepEqual(listing(dir), before);
  },

  async 'changes() may be written to directly where nothing is below'(use) {
    const prepared = await use.driver.prepare([], signal);
    write(prepared.changes(), { 'etc/a': 'direct' });
    assert.equal(readFileSync(join(prepared.root(), 'etc/a'), 'utf8'), 'direct');
    assert.deepEqual(await prepared.commit(use.layer('a')), { existed: false, empty: false });
    assert.deepEqual(await viewed(use, ['a']), { 'etc/a': 'direct' });
  },

  async 'mountpoints exist while they are used, and are in no layer'(use) {
    await commit(use, 'low', [], (root) => {
      write(root, { 'etc/passwd': 'root' });
      mkdirSync(join(root, 'run'));
      mkdirSync(join(root, 'var'));
      symlinkSync('/run', join(root, 'var/run'));
      utimesSync(join(root, 'run'), 1, 1_500_000_000);
      utimesSync(join(root, 'etc'), 1, 1_500_000_000);
    });
    const prepared = await use.driver.prepare([use.layer('low')], signal);
    const mountpoints = [
      { path: '/proc', kind: 'directory' },
      { path: '/etc/hosts', kind: 'file' },
      { path: '/var/run/secrets/one', kind: 'file' },
      { path: '/made/deep/below', kind: 'directory' },
    ] as const;
    await prepared.withMountpoints(mountpoints, async (root, targets) => {
      assert.equal(targets.get('/var/run/secrets/one'), '/run/secrets/one');
      assert.equal(targets.get('/proc'), '/proc');
      for (const { path, kind } of mountpoints) {
        const stat = lstatSync(join(root, targets.get(path) ?? 'missing'));
        assert.equal(stat.isDirectory() ? 'directory' : 'file', kind, path);
      }
      assert.equal(
        statSync(join(root, 'etc')).mtimeMs,
        use.driver.kind === 'copy' ? statSync(join(root, 'etc')).mtimeMs : 1_500_000_000_000,
      );
    });
    const root = prepared.root();
    assert.deepEqual(
      ['proc', 'etc/hosts', 'run/secrets', 'made'].filter((path) =>
        lstatSync(join(root, path), { throwIfNoEntry: false }),
      ),
      [],
    );
    assert.equal(statSync(join(root, 'run')).mtimeMs, 1_500_000_000_000);
    assert.equal(statSync(join(root, 'etc')).mtimeMs, 1_500_000_000_000);
    assert.deepEqual(await prepared.commit(use.layer('high')), { existed: false, empty: true });
  },

  async 'what is written beside mountpoints is in the layer'(use) {
    await commit(use, 'low', [], (root) => write(root, { 'etc/passwd': 'root' }));
    const prepared = await use.driver.prepare([use.layer('low')], signal);
    await prepared.withMountpoints([{ path: '/etc/hosts', kind: 'file' }], async (root) => {
      write(root, { 'etc/new': 'new' });
    });
    await prepared.commit(use.layer('high'));
    assert.deepEqual(await viewed(use, ['low', 'high']), { 'etc/new': 'new', 'etc/passwd': 'root' });
  },

  async 'a mountpoint of the wrong kind is refused, and the rest can be thrown away'(use) {
    await commit(use, 'low', [], (root) => write(root, { 'etc/hosts/x': 'a directory', proc: 'a file' }));
    for (const wrong of [
      { path: '/etc/hosts', kind: 'file' },
      { path: '/proc', kind: 'directory' },
      { path: '/proc/below', kind: 'directory' },
    ] as const) {
      const prepared = await use.driver.prepare([use.layer('low')], signal);
      await assert.rejects(
        prepared.withMountpoints([wrong], async () => assert.fail('it was used')),
        { code: 'E_MOUNT_TARGET' },
      );
      await prepared.discard();
    }
    assertClean(use);
  },

  async 'a step may replace a directory that holds a mountpoint'(use) {
    await commit(use, 'low', [], (root) => write(root, { 'etc/passwd': 'root', 'opt/x': 'x' }));
    for (const [name, replace] of [
      ['file', (path: string) => writeFileSync(path, 'a file')],
      ['link', (path: string) => symlinkSync('/opt', path)],
      ['nothing', () => undefined],
    ] as const) {
      const prepared = await use.driver.prepare([use.layer('low')], signal);
      await prepared.withMountpoints([{ path: '/etc/ssl/certs', kind: 'directory' }], async (root) => {
        rmSync(join(root, 'etc'), { recursive: true });
        replace(join(root, 'etc'));
      });
      assert.equal((await prepared.commit(use.layer(name))).empty, false);
      assert.deepEqual(await viewed(use, ['low', name]), {
        ...(name === 'file' ? { etc: 'a file' } : {}),
        'opt/x': 'x',
      });
    }
  },

  async 'a failure while mountpoints are used is passed on, and they go'(use) {
    const prepared = await use.driver.prepare([], signal);
    const reason = new Error('the step failed');
    await assert.rejects(
      prepared.withMountpoints([{ path: '/proc', kind: 'directory' }], () => Promise.reject(reason)),
      reason,
    );
    assert.deepEqual(readdirSync(prepared.root()), []);
    await prepared.discard();
    assertClean(use);
  },

  async 'what is discarded leaves nothing, twice and after a commit too'(use) {
    const prepared = await use.driver.prepare([], signal);
    write(prepared.root(), { 'a/b': 'c' });
    await prepared.discard();
    await prepared.discard();
    const committed = await use.driver.prepare([], signal);
    write(committed.root(), { 'a/b': 'c' });
    await committed.commit(use.layer('a'));
    await committed.discard();
    assert.deepEqual(await viewed(use, ['a']), { 'a/b': 'c' });
    assert.deepEqual(mounts(use), []);
  },

  async 'a layer that is not there is named'(use) {
    const missing = use.layer('missing');
    const named = { code: 'E_SNAPSHOT_MISSING' };
    await assert.rejects(use.driver.prepare([missing], signal), named);
    await assert.rejects(use.driver.view([missing], signal), named);
    assertClean(use);
  },
};

async function commit(
  use: SnapshotCase,
  name: string,
  parents: readonly string[],
  change: (root: string) => void,
): Promise<CommitResult> {
  const prepared = await use.driver.prepare(parents.map(use.layer), signal);
  change(prepared.root());
  return await prepared.commit(use.layer(name));
}

/** Files of a stack by path. */
async function viewed(use: SnapshotCase, layers: readonly string[]): Promise<Record<string, string>> {
  const view = await use.driver.view(layers.map(use.layer), signal);
  try {
    return Object.fromEntries(
      below(view.root)
        .filter((path) => lstatSync(join(view.root, path)).isFile())
        .map((path) => [path, readFileSync(join(view.root, path), 'utf8')]),
    );
  } finally {
    await view.close();
  }
}

/** All paths of a tree, sorted. Node's recursive listing follows links, which here lead out of it. */
function below(root: string, at = ''): string[] {
  return readdirSync(join(root, at))
    .sort()
    .flatMap((name) => {
      const path = join(at, name);
      return lstatSync(join(root, path)).isDirectory() ? [path, ...below(root, path)] : [path];
    });
}

function write(root: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

function listing(dir: string): string[] {
  return below(dir).map((path) => {
    const { mode, mtimeMs, size } = lstatSync(join(dir, path));
    return `${path} ${mode.toString(8)} ${mtimeMs} ${size}`;
  });
}

function mounts({ store }: SnapshotCase): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(store.workDir));
}

/** Nothing is mounted, and of what was discarded nothing is left but what layers share. */
function assertClean(use: SnapshotCase): void {
  assert.deepEqual(mounts(use), []);
  assert.deepEqual(
    readdirSync(use.store.workDir).filter((name) => name.endsWith('-view') || existsUnfinished(use, name)),
    [],
  );
}

/** A `step` directory that holds changes belongs to somebody who neither committed nor discarded. */
function existsUnfinished({ store }: SnapshotCase, name: string): boolean {
  return name.endsWith('-step') && readdirSync(join(store.workDir, name)).includes('layer');
}
