/** Every kind of output, read back by the programs that it is for. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Account, makeAccount } from '../support/account.ts';
import { busyboxDefinition } from '../support/busybox.ts';
import { readImage, readIndex, validateLayout } from '../support/layout-validation.ts';
import { skopeoCopy, skopeoInspect, tool, umociUnpack } from '../support/other-tools.ts';
import { lacks } from '../support/requires.ts';
import { listTree } from '../support/tree-listing.ts';
import { installTsbuild, run, succeed, type Tsbuild } from '../support/tsbuild.ts';

const IMAGE = busyboxDefinition(
  `runCommands('seq 200000 > /numbers && mkdir /d && ln /numbers /d/hard && ln -s ../numbers /d/soft',
    'echo mine > /d/owned && chown 7:8 /d/owned && chmod 2755 /d/owned && mkfifo /d/pipe')
  .runCommands('rm /d/soft && echo "two words" > "/d/two words"')
  .env({ GREETING: 'hello' }).workdir('/d').cmd(['/bin/sh', '-c', 'cat owned'])`,
);

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'skopeo', 'umoci', 'getfattr'))('outputs', () => {
  let directory: string;
  let file: string;
  const at = (...parts: string[]) => join(directory, ...parts);
  const inStore = (store = 'store', env: Readonly<Record<string, string>> = {}) => ({
    cwd: directory,
    env: { TSBUILD_HOME: at(store), HOME: at('home'), ...env },
  });
  const output = (...specs: string[]) =>
    succeed(['build', file, '-t', 'out:1', ...specs.flatMap((spec) => ['-o', spec])], inStore());

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-outputs-'));
    chmodSync(directory, 0o755);
    file = at('image.ts');
    writeFileSync(file, IMAGE);
    // All of the others come from this one build.
    await output(`type=local,dest=${at('tree')}`);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  test('type=oci: directory and archive are the same image, valid, with the name', async () => {
    const { stdout } = await output(`type=oci,dest=${at('oci')},tar=false`, `type=oci,dest=${at('oci.tar')}`);
    mkdirSync(at('oci-untarred'));
    tool('tar', ['-xf', at('oci.tar')], at('oci-untarred'));
    for (const layout of [at('oci'), at('oci-untarred')]) {
      expect(await validateLayout(layout)).toEqual([expect.objectContaining({ images: 1, layers: 4 })]);
      expect(readIndex(layout).manifests[0]?.annotations).toMatchObject({
        'org.opencontainers.image.ref.name': expect.stringMatching(/(^|:)1$/),
      });
      expect(JSON.parse(readFileSync(join(layout, 'oci-layout'), 'utf8'))).toEqual({
        imageLayoutVersion: '1.0.0',
      });
    }
    expect(readImage(at('oci')).digest).toBe(readImage(at('oci-untarred')).digest);
    expect(stdout.trim()).toBe(readImage(at('oci')).digest);
    expect(skopeoInspect(`oci-archive:${at('oci.tar')}`).Digest).toBe(stdout.trim());
  });

  test('`export` writes what a build would have written, also to standard output', async () => {
    const { stdout } = await succeed(
      [
        'export',
        'out:1',
        '-o',
        `type=oci,dest=${at('exported.tar')}`,
        '-o',
        `type=tar,dest=${at('root.tar')}`,
      ],
      inStore(),
    );
    const built = await output(`type=oci,dest=${at('built.tar')}`);
    expect(stdout.split('\n')[0]).toBe(built.stdout.trim());
    expect(readFileSync(at('exported.tar')).equals(readFileSync(at('built.tar')))).toBe(true);
    const piped = await succeed(['export', 'out:1', '-o', '-'], inStore());
    expect(piped.stdoutBytes.equals(readFileSync(at('root.tar')))).toBe(true);
    const unknown = await run(['export', 'out:2', '-o', '-'], inStore());
    expect([unknown.status, unknown.stderr]).toEqual([2, expect.stringContaining('E_IMAGE_NOT_FOUND')]);
  });

  test('compressions and levels: other blobs, the same diffIDs, the same tree', async () => {
    const kinds = [
      'zstd',
      'gzip',
      'uncompressed',
      'zstd,compression-level=19',
      'gzip,compression-level=1',
      'gzip,compression-level=9',
    ];
    const layouts = new Map(kinds.map((kind) => [kind, at(`as-${kind.replace(',', '-')}`)]));
    await output(
      ...[...layouts].map(([kind, layout]) => `type=oci,dest=${layout},tar=false,compression=${kind}`),
    );
    const images = new Map([...layouts].map(([kind, layout]) => [kind, readImage(layout)]));
    const size = (kind: string) =>
      images.get(kind)?.manifest.layers.reduce((sum, layer) => sum + layer.size, 0) ?? Number.NaN;
    const diffIds = images.get('zstd')?.config.rootfs.diff_ids;
    for (const [kind, layout] of layouts) {
      await validateLayout(layout);
      const image = images.get(kind);
      expect(image?.config.rootfs.diff_ids, kind).toEqual(diffIds);
      const suffix = { z: '+zstd', g: '+gzip', u: '' }[kind[0] ?? ''];
      expect(new Set(image?.manifest.layers.map((layer) => layer.mediaType)), kind).toEqual(
        new Set([`application/vnd.oci.image.layer.v1.tar${suffix}`]),
      );
    }
    expect(size('uncompressed')).toBeGreaterThan(size('gzip'));
    expect(size('gzip,compression-level=1')).toBeGreaterThan(size('gzip,compression-level=9'));
    expect(size('zstd')).toBeGreaterThan(size('zstd,compression-level=19'));
    for (const kind of ['gzip', 'uncompressed', 'gzip,compression-level=9']) {
      const layout = layouts.get(kind) ?? '';
      expect(listTree(umociUnpack(layout, 'out:1', at(`bundle-${kind}`)))).toEqual(listTree(at('tree')));
    }
    // What gzip itself says of our gzip.
    for (const layer of images.get('gzip')?.manifest.layers ?? []) {
      const blob = join(layouts.get('gzip') ?? '', 'blobs', layer.digest.replace(':', '/'));
      tool('sh', ['-c', 'gzip -t < "$1"', 'sh', blob]);
    }
  });

  test('type=docker is read by skopeo and loaded by podman', async () => {
    await output(`type=docker,dest=${at('docker.tar')},name=docker.io/library/loaded:2`);
    const inspected = skopeoInspect(`docker-archive:${at('docker.tar')}:docker.io/library/loaded:2`);
    expect(inspected.Env).toContain('GREETING=hello');
    skopeoCopy(`docker-archive:${at('docker.tar')}`, `oci:${at('from-docker')}:it`);
    expect(readImage(at('from-docker')).config.rootfs.diff_ids).toEqual(
      readImage(at('oci')).config.rootfs.diff_ids,
    );
    expect(listTree(umociUnpack(at('from-docker'), 'it', at('docker-bundle')))).toEqual(listTree(at('tree')));
  });

  test.skipIf(lacks('podman'))('podman load knows its name and content', () => {
    const podman = (...args: string[]) =>
      tool('podman', [
        '--root',
        at('podman'),
        '--runroot',
        at('podman-run'),
        '--storage-driver',
        'vfs',
        ...args,
      ]);
    expect(podman('load', '--input', at('docker.tar'))).toContain('loaded:2');
    const [image] = JSON.parse(podman('image', 'inspect', 'docker.io/library/loaded:2'));
    expect(image.Config.WorkingDir).toBe('/d');
    expect(image.RootFS.Layers).toEqual(readImage(at('oci')).config.rootfs.diff_ids);
    podman('load', '--input', at('oci.tar'));
  });

  test('type=tar: GNU tar lists it and unpacks the tree of type=local', async () => {
    await output(`type=tar,dest=${at('tree.tar')}`);
    const listed = tool('tar', ['--numeric-owner', '-tvf', at('tree.tar')]);
    expect(listed).toMatch(/-rwxr-sr-x 7\/8 +5 .* \.?\/?d\/owned\n/);
    expect(listed).not.toContain('.wh.');
    mkdirSync(at('tree-of-tar'));
    tool('tar', ['--numeric-owner', '--xattrs', '-xpf', at('tree.tar')], at('tree-of-tar'));
    expect(listTree(at('tree-of-tar'))).toEqual(listTree(at('tree')));
  });

  test.each(['type=local', 'type=oci,tar=false'])('%s does not write into a file', async (spec) => {
    const { status, stderr } = await run(['build', file, '-o', `${spec},dest=${file}`], inStore());
    expect([status, stderr]).toEqual([2, expect.stringContaining('E_OUTPUT_EXISTS')]);
    expect(readFileSync(file, 'utf8')).toBe(IMAGE);
  });

  describe('type=local into a directory that is there', () => {
    const facts = (tree: string) =>
      tool('find', ['.', '-printf', '%p %i %C@ %T@ %m %U:%G\n'], tree).split('\n').sort();

    test('touches nothing that is right, and puts right what is not', async () => {
      const tree = at('incremental');
      await output(`type=local,dest=${tree}`);
      const before = facts(tree);
      // Not even root writes to these.
      const sealed = [join(tree, 'numbers'), join(tree, 'bin/sh')];
      const seals = spawnSync('chattr', ['+i', ...sealed]).status === 0;
      try {
        await output(`type=local,dest=${tree}`);
      } finally {
        spawnSync('chattr', ['-i', ...sealed]);
      }
      if (!seals) {
        expect(facts(tree)).toEqual(before);
      } else {
        const unsealed = (lines: string[]) => lines.filter((line) => !/\/(numbers|hard|sh) /.test(line));
        expect(unsealed(facts(tree))).toEqual(unsealed(before));
      }
      writeFileSync(join(tree, 'd/owned'), 'other');
      chmodSync(join(tree, 'd/two words'), 0o600);
      rmSync(join(tree, 'd/pipe'));
      writeFileSync(join(tree, 'mine'), 'extra');
      await output(`type=local,dest=${tree}`);
      expect(readFileSync(join(tree, 'mine'), 'utf8')).toBe('extra');
      rmSync(join(tree, 'mine'));
      expect(listTree(tree)).toEqual(listTree(at('tree')));
    });

    test('mode=delete removes what else is there, but no directory that holds more than outputs', async () => {
      const tree = at('home/out');
      mkdirSync(join(tree, 'stale/deep'), { recursive: true });
      writeFileSync(join(tree, 'stale/deep/file'), '');
      await output(`type=local,dest=${tree},mode=delete`);
      expect(listTree(tree)).toEqual(listTree(at('tree')));
      for (const dest of ['/', '.', at('home'), at('store'), at('store/snapshots'), tmpdir()]) {
        const { status, stderr } = await run(
          ['build', file, '-o', `type=local,dest=${dest},mode=delete`],
          inStore(),
        );
        expect([status, stderr], dest).toEqual([2, expect.stringContaining('E_OUTPUT_UNSAFE')]);
      }
      expect(readFileSync(file, 'utf8')).toBe(IMAGE);
    });
  });

  test('what was asked for by name is what one gets, whatever the store has', async () => {
    const layout = (name: string, fields: string) => `type=oci,dest=${at(name)},tar=false${fields}`;
    await output(layout('first-zstd', ''), layout('then-gzip', ',compression=gzip'), layout('again', ''));
    const types = (name: string) => readImage(at(name)).manifest.layers.map(({ mediaType }) => mediaType);
    expect(types('first-zstd').every((type) => type.endsWith('+zstd'))).toBe(true);
    expect(types('then-gzip').every((type) => type.endsWith('+gzip'))).toBe(true);
    expect(readImage(at('again')).digest).toBe(readImage(at('first-zstd')).digest);
    await output(layout('dated', ',source-date-epoch=17'));
    expect(readImage(at('dated')).config.created).toBe('1970-01-01T00:00:17Z');
    expect(types('dated')).toEqual(types('again'));
  });

  test.each(['type=oci', 'type=docker', 'type=tar'])('%s does not write over a directory', async (spec) => {
    const { status, stderr } = await run(['build', file, '-o', `${spec},dest=${at('tree')}`], inStore());
    expect([status, stderr]).toEqual([2, expect.stringContaining('E_OUTPUT_EXISTS')]);
    expect(listTree(at('tree'))).not.toEqual([]);
  });

  test.each([
    ['type=oci,dest=-', 'oci-archive'],
    ['type=docker,dest=-', 'docker-archive'],
    ['type=tar,dest=-', undefined],
    ['-', undefined],
  ])('%s goes to a pipe, and nothing else does', async (spec, transport) => {
    const { stdoutBytes, stderr } = await succeed(
      ['build', file, '-t', 'piped:3', '-o', spec, '--progress=plain'],
      inStore(),
    );
    expect(stderr).toContain('CACHED');
    const path = at('piped.tar');
    writeFileSync(path, stdoutBytes);
    const names = tool('tar', ['-tf', path]);
    if (transport === undefined) {
      expect(names).toContain('d/two words');
    } else {
      expect(skopeoInspect(`${transport}:${path}`).Env).toContain('GREETING=hello');
    }
  });

  test.each(['tar', 'oci', 'docker'])('a reader that closes the pipe does not fail the build: %s', (type) => {
    const script = 'set -o pipefail; "$1" "$2" build "$3" -o "$4" -q | head -c 100 | wc -c';
    const main = join(import.meta.dirname, '../../bin/tsbuild.js');
    const { status, stdout, stderr } = spawnSync(
      'bash',
      ['-c', script, 'bash', process.execPath, main, file, `type=${type},dest=-`],
      { encoding: 'utf8', env: { PATH: process.env.PATH, ...inStore().env } },
    );
    expect([status, stdout.trim(), stderr]).toEqual([0, '100', '']);
  });

  test('the store itself is a layout that skopeo reads', async () => {
    await output(`type=oci,dest=${at('again.tar')}`);
    const names = readIndex(at('store')).manifests.map(
      ({ annotations }) => annotations?.['org.opencontainers.image.ref.name'] ?? '',
    );
    const name = names.find((each) => each.includes('out:1')) ?? '';
    expect(skopeoInspect(`oci:${at('store')}:${name}`).Env).toContain('GREETING=hello');
    skopeoCopy(`oci:${at('store')}:${name}`, `oci:${at('copied')}:it`);
    expect(readImage(at('copied')).digest).toBe(readImage(at('oci')).digest);
  });

  describe('SOURCE_DATE_EPOCH with rewrite-timestamp', () => {
    let account: Account;
    let installed: Tsbuild;
    beforeAll(() => {
      account = makeAccount({ subordinateIds: true });
      installed = installTsbuild(at('package'));
    });
    afterAll(() => account?.[Symbol.dispose]());

    test.skipIf(lacks('newuidmap'))(
      'gives the same digest in any store, for root and for an ordinary user',
      async () => {
        const epoch = { SOURCE_DATE_EPOCH: '1700000000' };
        const digests: string[] = [];
        for (const [store, who] of [
          ['epoch-1', undefined],
          ['epoch-2', undefined],
          ['epoch-3', account],
        ] as const) {
          mkdirSync(at(store));
          if (who !== undefined) {
            tool('chown', [`${who.uid}:${who.gid}`, at(store)]);
          }
          const { env } = inStore(`${store}/store`, epoch);
          await succeed(
            ['build', file, '-o', `type=oci,dest=${at(store, 'layout')},tar=false,rewrite-timestamp=true`],
            who === undefined
              ? { cwd: directory, env, tsbuild: installed }
              : { cwd: directory, env: { ...env, HOME: who.home }, tsbuild: installed, account: who },
          );
          await validateLayout(at(store, 'layout'));
          const { digest, config } = readImage(at(store, 'layout'));
          digests.push(digest);
          expect(config.created).toBe('2023-11-14T22:13:20Z');
          if (who !== undefined) {
            await succeed(['prune', '--all'], {
              cwd: directory,
              env: { ...env, HOME: who.home },
              tsbuild: installed,
              account: who,
            });
          }
        }
        expect(digests[1]).toBe(digests[0]);
        expect(digests[2]).toBe(digests[0]);
        const newest = tool('tar', [
          '--zstd',
          '--full-time',
          '--utc',
          '-tvf',
          lastLayer(at('epoch-1', 'layout')),
        ]);
        expect(newest).toContain('2023-11-14 22:13:20');
        expect(statSync(at('epoch-1', 'layout')).isDirectory()).toBe(true);
      },
    );

    test.skipIf(lacks('newuidmap'))('an ordinary user exports files of his own, and only once', async () => {
      mkdirSync(at('his'));
      tool('chown', [`${account.uid}:${account.gid}`, at('his')]);
      const setting = {
        cwd: directory,
        env: { TSBUILD_HOME: at('his/store'), HOME: account.home },
        tsbuild: installed,
        account,
      };
      const facts = () => tool('find', ['.', '-printf', '%p %i %C@ %U:%G\n'], at('his/tree'));
      const build = () => succeed(['build', file, '-o', `type=local,dest=${at('his/tree')}`], setting);
      await build();
      const first = facts();
      expect(new Set([...first.matchAll(/ (\d+:\d+)\n/g)].map(([, ids]) => ids))).toEqual(
        new Set([`${account.uid}:${account.gid}`]),
      );
      await build();
      expect(facts()).toBe(first);
      await succeed(['prune', '--all'], setting);
    });

    test('without SOURCE_DATE_EPOCH it is refused', async () => {
      const { status, stderr } = await run(
        ['build', file, '-o', `type=oci,dest=${at('no-epoch')},rewrite-timestamp=true`],
        inStore(),
      );
      expect([status, stderr]).toEqual([2, expect.stringContaining('SOURCE_DATE_EPOCH')]);
    });
  });
});

function lastLayer(layout: string): string {
  const layer = readImage(layout).manifest.layers.at(-2);
  return join(layout, 'blobs', (layer?.digest ?? '').replace(':', '/'));
}
