/** One definition for several platforms: the index in the store, in outputs and registries, and whose programs run. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { elfProgram } from '../../src/executor/elf-probe.ts';
import { executionOf } from '../../src/executor/emulation.ts';
import type { Index } from '../../src/oci/manifest.ts';
import { parsePlatform } from '../../src/oci/platform.ts';
import { busyboxPath } from '../support/busybox.ts';
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.ts';
import { readIndex, validateLayout } from '../support/layout-validation.ts';
import { skopeoCopy, skopeoInspect, tool } from '../support/other-tools.ts';
import { lacks } from '../support/requires.ts';
import { run, succeed } from '../support/tsbuild.ts';

const PLATFORMS = 'linux/amd64,linux/arm64,linux/arm/v7';

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'skopeo', 'docker-registry'))('several platforms', () => {
  let directory: string;
  let file: string;
  let registry: DockerRegistry;
  let digest: string;
  const at = (...parts: string[]) => join(directory, ...parts);
  const setting = () => ({ cwd: directory, env: { TSBUILD_HOME: at('store'), HOME: at('home') } });
  const tsbuild = (...args: string[]) => succeed(args, setting());
  const build = (...args: string[]) => tsbuild('build', `${file}::files`, ...args);
  const refused = async (...args: string[]) => (await run(args, setting())).stderr;
  const raw = (place: string): Index =>
    JSON.parse(
      tool('skopeo', [
        'inspect',
        '--raw',
        ...(place.startsWith('docker:') ? ['--tls-verify=false'] : []),
        place,
      ]),
    );
  const platformsOf = (index: Index) =>
    index.manifests.map(({ platform }) =>
      [platform?.os, platform?.architecture, platform?.variant].filter(Boolean).join('/'),
    );

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-platforms-'));
    chmodSync(directory, 0o755);
    file = at('image.ts');
    writeFileSync(at('arm64'), elfProgram('arm64') ?? '', { mode: 0o755 });
    writeFileSync(
      file,
      `import { Image } from 'tsbuild';
       const sh = (from) => Image.fromScratch().addLocalFile(from, '/bin/sh', { copy: true }).env({ PATH: '/bin' });
       export const files = sh(${JSON.stringify(busyboxPath())}).cmd(['/bin/sh', '-c', 'echo ran']);
       export const steps = files.runCommands('true');
       export const arm = sh(${JSON.stringify(at('arm64'))}).runCommands('anything');
       export const pinned = Image.fromScratch({ platform: 'linux/arm64' }).env({ A: 'b' });
      `,
    );
    registry = await startDockerRegistry();
    const built = await build('--platform', PLATFORMS, '-t', 'app:1', '-t', `${registry.host}/app:1`);
    digest = built.stdout.trim();
  });
  afterAll(async () => {
    await registry?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  test('the name stands for an index of one image for each platform, in the order that was asked for', async () => {
    const [inspected] = JSON.parse((await tsbuild('image', 'inspect', 'app:1')).stdout);
    expect(inspected).toMatchObject({
      id: digest,
      digest,
      manifestDescriptor: { mediaType: 'application/vnd.oci.image.index.v1+json', digest },
      names: [`${registry.host}/app:1`, 'app:1'].sort(),
    });
    expect(platformsOf(inspected.index)).toEqual(PLATFORMS.split(','));
    expect(inspected.images.map((image: { platform: string }) => image.platform)).toEqual(
      PLATFORMS.split(','),
    );
    expect(inspected.images[2].config).toMatchObject({ architecture: 'arm', variant: 'v7' });
    const { stdout } = await tsbuild('image', 'list');
    expect(stdout.match(/linux\/amd64,linux\/arm64,linux\/arm\/v7/g)).toHaveLength(2);
    expect(stdout).not.toContain('<none>');
    expect(await validateLayout(at('store'))).toEqual([
      expect.objectContaining({ images: 3 }),
      expect.objectContaining({ images: 3 }),
    ]);
    expect(raw(`oci:${at('store')}:app:1`).manifests).toEqual(inspected.index.manifests);
  });

  test('again it is the same, cached; another order is another index; one platform twice is no index', async () => {
    expect((await build('--platform', PLATFORMS)).stdout.trim()).toBe(digest);
    const flags = PLATFORMS.split(',').flatMap((platform) => ['--platform', platform]);
    expect((await build(...flags, '--platform', 'linux/arm64/v8')).stdout.trim()).toBe(digest);
    expect((await build('--platform', 'linux/arm/v7,linux/arm64,linux/amd64')).stdout.trim()).not.toBe(
      digest,
    );
    const single = (await build('--platform', 'linux/arm64,linux/arm64/v8')).stdout.trim();
    expect(raw(`oci:${at('store')}:app:1`).manifests[1]?.digest).toBe(single);
  });

  test('type=oci: directory and archive hold the index and its images', async () => {
    await build(
      '--platform',
      PLATFORMS,
      '-t',
      'app:1',
      '-o',
      `type=oci,dest=${at('oci')},tar=false`,
      '-o',
      `type=oci,dest=${at('oci.tar')}`,
    );
    expect(await validateLayout(at('oci'))).toEqual([expect.objectContaining({ images: 3, layers: 3 })]);
    expect(readIndex(at('oci')).manifests).toEqual([
      {
        mediaType: 'application/vnd.oci.image.index.v1+json',
        digest,
        size: expect.any(Number),
        annotations: { 'org.opencontainers.image.ref.name': 'app:1' },
      },
    ]);
    mkdirSync(at('untarred'));
    tool('tar', ['-xf', at('oci.tar')], at('untarred'));
    expect(readIndex(at('untarred'))).toEqual(readIndex(at('oci')));
    expect(await validateLayout(at('untarred'))).toHaveLength(1);
    tool('skopeo', [
      '--insecure-policy',
      '--override-arch',
      'arm64',
      'copy',
      '-q',
      `oci-archive:${at('oci.tar')}`,
      `oci:${at('arm')}:it`,
    ]);
    expect(readIndex(at('arm')).manifests[0]?.digest).toBe(
      raw(`oci:${at('oci')}:app:1`).manifests[1]?.digest,
    );
  });

  test('a registry gets all manifests and the index; so it does by `push` of the name', async () => {
    await build('--platform', PLATFORMS, '-t', `${registry.host}/app:1`, '--push');
    const pushed = raw(`docker://${registry.host}/app:1`);
    expect(platformsOf(pushed)).toEqual(PLATFORMS.split(','));
    expect(skopeoInspect(`docker://${registry.host}/app@${pushed.manifests[1]?.digest}`).Env).toEqual([
      'PATH=/bin',
    ]);
    const { stdout } = await tsbuild('push', 'app:1', `${registry.host}/elsewhere:2`);
    expect(stdout.trim()).toBe(digest);
    expect(raw(`docker://${registry.host}/elsewhere:2`)).toEqual(pushed);
    tool('skopeo', [
      '--insecure-policy',
      'copy',
      '-q',
      '--all',
      '--src-tls-verify=false',
      `docker://${registry.host}/app:1`,
      `oci:${at('all')}:it`,
    ]);
    expect(await validateLayout(at('all'))).toEqual([expect.objectContaining({ images: 3 })]);
  });

  test.skipIf(lacks('buildah'))('buildah pulls the image of its platform', () => {
    const storage = ['--root', at('buildah'), '--runroot', at('buildah-run'), '--storage-driver', 'vfs'];
    const buildah = (...args: string[]) => tool('buildah', [...storage, ...args]);
    for (const architecture of ['amd64', 'arm64']) {
      const id = buildah(
        'pull',
        '-q',
        '--tls-verify=false',
        '--arch',
        architecture,
        `${registry.host}/app:1`,
      ).trim();
      expect(JSON.parse(buildah('inspect', '--type', 'image', id)).OCIv1.architecture).toBe(architecture);
    }
  });

  test('push-by-digest leaves no tag', async () => {
    const name = `${registry.host}/untagged`;
    const { stdout } = await build(
      '--platform',
      PLATFORMS,
      '-o',
      `type=image,name=${name},push-by-digest=true,name-canonical=true,push=true`,
    );
    expect(stdout.trim()).toBe(digest);
    expect(platformsOf(raw(`docker://${name}@${digest}`))).toEqual(PLATFORMS.split(','));
    const tags = (await (await fetch(`http://${name.replace('/', '/v2/')}/tags/list`)).json()) as {
      readonly tags?: readonly string[] | null;
    };
    expect(tags.tags ?? []).toEqual([]);
    const tagged = await run(
      ['build', `${file}::files`, '-o', `type=registry,name=${name}:1,push-by-digest=true`],
      setting(),
    );
    expect([tagged.status, tagged.stderr]).toEqual([2, expect.stringContaining('without one')]);
  });

  test('type=local and type=tar have a directory for each platform, or merge', async () => {
    const platforms = ['--platform', PLATFORMS];
    await build(...platforms, '-o', at('tree'), '-o', `type=tar,dest=${at('tree.tar')}`);
    expect(readdirSync(at('tree')).sort()).toEqual(['linux_amd64', 'linux_arm64', 'linux_arm_v7']);
    expect(readdirSync(at('tree/linux_arm_v7/bin'))).toEqual(['sh']);
    expect(tool('tar', ['-tf', at('tree.tar')])).toContain('linux_arm64/bin/sh\n');
    const merged = await run(
      ['build', `${file}::files`, ...platforms, '-o', `type=local,dest=${at('merged')},platform-split=false`],
      setting(),
    );
    expect([merged.status, merged.stderr]).toEqual([2, expect.stringContaining('E_OUTPUT_CONFLICT')]);
    await build(
      '--platform',
      'linux/arm64',
      '-o',
      `type=local,dest=${at('one')}`,
      '-o',
      `type=local,dest=${at('split')},platform-split=true`,
    );
    expect([readdirSync(at('one')), readdirSync(at('split'))]).toEqual([['bin'], ['linux_arm64']]);
  });

  test('type=docker holds one image', async () => {
    const text = await refused(
      'build',
      `${file}::files`,
      '--platform',
      PLATFORMS,
      '-o',
      `type=docker,dest=${at('no.tar')}`,
    );
    expect(text).toContain('holds an image for one platform');
    expect(existsSync(at('no.tar'))).toBe(false);
  });

  test('metadata and id are those of the index; of one platform those of the image', async () => {
    const files = ['--metadata-file', at('metadata.json'), '--iidfile', at('iid')];
    await build('--platform', PLATFORMS, '-t', 'app:1', ...files);
    expect(JSON.parse(readFileSync(at('metadata.json'), 'utf8'))).toEqual({
      'containerimage.digest': digest,
      'containerimage.descriptor': {
        mediaType: 'application/vnd.oci.image.index.v1+json',
        digest,
        size: expect.any(Number),
      },
      'image.name': 'app:1',
    });
    expect(readFileSync(at('iid'), 'utf8')).toBe(digest);
    // What was delivered counts, not what the store has.
    const gzip = `type=oci,dest=${at('gzip')},tar=false,compression=gzip`;
    const { stdout } = await build('-o', gzip, ...files);
    const metadata = JSON.parse(readFileSync(at('metadata.json'), 'utf8'));
    expect(metadata['containerimage.digest']).toBe(readIndex(at('gzip')).manifests[0]?.digest);
    expect(metadata['containerimage.digest']).toBe(stdout.trim());
    expect(readFileSync(at('iid'), 'utf8')).toBe(metadata['containerimage.config.digest']);
  });

  test('annotations go to what they name', async () => {
    const { stdout } = await build(
      ...['--platform', 'linux/amd64,linux/arm64', '-t', 'noted:1'],
      ...['--annotation', 'index,index-descriptor:a=index', '--annotation', 'b=all'],
      ...['--annotation', 'manifest[linux/arm64],manifest-descriptor[linux/arm64]:b=arm64'],
      ...['-o', `type=oci,dest=${at('noted')},tar=false,annotation.c=output`],
    );
    const [entry] = readIndex(at('noted')).manifests;
    expect(entry?.annotations).toEqual({ a: 'index', 'org.opencontainers.image.ref.name': 'noted:1' });
    expect(entry?.digest).toBe(stdout.trim());
    const index = raw(`oci:${at('noted')}:noted:1`);
    expect(index.annotations).toEqual({ a: 'index' });
    expect(index.manifests.map(({ annotations }) => annotations)).toEqual([undefined, { b: 'arm64' }]);
    const manifests = index.manifests.map(({ digest: each }) =>
      JSON.parse(readFileSync(at('noted/blobs', each.replace(':', '/')), 'utf8')),
    );
    expect(manifests.map(({ annotations }) => annotations)).toEqual([
      { b: 'all', c: 'output' },
      { b: 'arm64', c: 'output' },
    ]);
    // The store has what was asked for of the build, and a later push sends it.
    await tsbuild('push', 'noted:1', `${registry.host}/noted:1`);
    const pushed = raw(`docker://${registry.host}/noted:1`);
    expect([pushed.annotations, pushed.manifests[1]?.annotations]).toEqual([{ a: 'index' }, { b: 'arm64' }]);
    expect(await refused('build', `${file}::files`, '--annotation', 'index:a=b')).toContain(
      'for one platform has none',
    );
    const foreign = ['--annotation', 'manifest[linux/s390x]:a=b'];
    expect(await refused('build', `${file}::files`, '--platform', PLATFORMS, ...foreign)).toContain(
      'is for linux/s390x',
    );
  });

  test('type=image keeps what was asked for under its names, beside what was built', async () => {
    const spec = 'type=image,"name=small:1,small:2",compression=gzip,oci-mediatypes=false';
    await build('--platform', PLATFORMS, '-o', spec);
    const [[small], [again]] = await Promise.all(
      ['small:1', 'small:2'].map(async (name) =>
        JSON.parse((await tsbuild('image', 'inspect', name)).stdout),
      ),
    );
    expect(small).toEqual(again);
    expect(small.index.mediaType).toBe('application/vnd.docker.distribution.manifest.list.v2+json');
    expect(small.images[0].manifest.layers[0].mediaType).toBe(
      'application/vnd.docker.image.rootfs.diff.tar.gzip',
    );
    await tsbuild('push', 'small:1', `${registry.host}/small:1`);
    expect(raw(`docker://${registry.host}/small:1`).mediaType).toBe(small.index.mediaType);
    skopeoCopy(`docker://${registry.host}/small:1`, `oci:${at('from-docker-list')}:it`);
    expect(JSON.parse((await tsbuild('image', 'inspect', 'app:1')).stdout)[0].digest).toBe(digest);
  });

  test('`run` takes the image of this machine, and refuses what it cannot execute', async () => {
    expect((await tsbuild('run', 'app:1')).stdout).toBe('ran\n');
    expect((await tsbuild('run', digest, '--platform', 'linux/amd64')).stdout).toBe('ran\n');
    expect(await refused('run', 'app:1', '--platform', 'linux/s390x')).toContain('E_NO_PLATFORM');
  });

  test('a definition that names its platform is not built for another', async () => {
    const text = await refused('build', `${file}::pinned`, '--platform', 'linux/amd64,linux/arm64');
    expect(text).toContain('is for linux/arm64 and cannot be built for linux/amd64');
    await tsbuild('build', `${file}::pinned`, '--platform', 'linux/arm64');
  });

  test('its images go with an index, and stay with one', async () => {
    const store = { cwd: directory, env: { TSBUILD_HOME: at('other'), HOME: at('home') } };
    const other = async (...args: string[]) => (await succeed(args, store)).stdout;
    // Made at another time, it has another digest.
    const made = await other('build', `${file}::files`, '--platform', PLATFORMS, '-t', 'a:1');
    await other('tag', 'a:1', 'b:1');
    await other('prune');
    expect(await validateLayout(at('other'))).toHaveLength(2);
    const [{ images }] = JSON.parse(await other('image', 'inspect', 'b:1'));
    const part = await run(['image', 'rm', images[0].id], store);
    expect([part.status, part.stderr]).toEqual([2, expect.stringContaining('E_IMAGE_IN_USE')]);
    await other('tag', images[0].id, 'single:1');
    expect(await other('image', 'rm', 'a:1')).toBe('untagged a:1\n');
    expect(await other('image', 'rm', 'b:1')).toBe(`untagged b:1\ndeleted ${made}`);
    expect(JSON.parse(await other('image', 'list', '--json'))).toMatchObject([{ names: ['single:1'] }]);
    await other('prune');
    expect(await validateLayout(at('other'))).toEqual([expect.objectContaining({ images: 1 })]);
    await other('prune', '--all');
    expect(readdirSync(at('other/blobs/sha256'))).toEqual([]);
  });

  describe.skipIf(executionOf(parsePlatform('linux/arm64')).kind !== 'impossible')(
    'without an emulator',
    () => {
      test('what only holds files is built, and what must run something is refused before it does', async () => {
        const { status, stderr } = await run(
          ['build', `${file}::steps`, '--platform', 'linux/arm64'],
          setting(),
        );
        expect([status, stderr]).toEqual([3, expect.stringContaining('E_PLATFORM_EMULATION')]);
        expect(stderr).toContain('cannot run programs for linux/arm64 on this linux/amd64 machine');
        expect(stderr).toContain('sudo apt-get install qemu-user-static binfmt-support');
        expect(await refused('run', 'app:1', '--platform', 'linux/arm64')).toContain('E_PLATFORM_EMULATION');
      });

      // Since Linux 6.7 a user namespace has emulators of its own, so that this machine's are left alone.
      const own = `mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && printf '%s' "$1" > /proc/sys/fs/binfmt_misc/register`;
      const inNamespace = (entry: string, ...command: readonly string[]) =>
        spawnSync(
          'unshare',
          [
            '--user',
            '--map-root-user',
            '--mount',
            'sh',
            '-c',
            `${own} && shift && exec "$@"`,
            'sh',
            entry,
            ...command,
          ],
          {
            encoding: 'utf8',
            cwd: join(import.meta.dirname, '../..'),
            env: { PATH: process.env.PATH, HOME: tmpdir() },
          },
        );
      const entry = (flags: string) =>
        String.raw`:arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:${flags}`;
      const able = !lacks('qemu-aarch64-static') && inNamespace(entry('F'), 'true').status === 0;

      test.skipIf(!able).each([
        ['F', 0, 'built'],
        ['', 1, 'is looked up in the image, which does not have it'],
      ])('with one registered as "%s" a step of another architecture is run', (flags, status, text) => {
        const script = `
        import { Engine } from './src/engine.ts';
        import { Image } from './src/frontend/fluent/image.ts';
        await using engine = await Engine.open({ storeDir: process.argv[1], isolation: 'single-id' });
        const image = Image.fromScratch()
          .addLocalFile(process.argv[2], '/bin/sh', { copy: true }).env({ PATH: '/bin' }).runCommands('anything');
        const platforms = [{ os: 'linux', architecture: 'arm64' }];
        await engine.build([image], { platforms });
        console.log('built');`;
        const ran = inNamespace(
          entry(flags),
          process.execPath,
          ...['--input-type=module', '-e', script, at(`emulated-${flags}`), at('arm64')],
        );
        expect([ran.status, `${ran.stdout}${ran.stderr}`]).toEqual([status, expect.stringContaining(text)]);
      });
    },
  );
});
