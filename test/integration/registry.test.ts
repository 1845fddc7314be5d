/** To real registries and back, with other tools on either side. */
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busyboxDefinition, busyboxPath } from '../support/busybox.ts';
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.ts';
import { skopeoCopy, skopeoInspect, tool, umociUnpack } from '../support/other-tools.ts';
import { TestRegistry } from '../support/registry.ts';
import { lacks } from '../support/requires.ts';
import { listTree } from '../support/tree-listing.ts';
import { run, succeed } from '../support/tsbuild.ts';

/** Whatever a layer can carry that a step of busybox can make. */
const RICH = [
  "runCommands('mkdir -p /d/e /gone/deep && echo one > /d/one && chown 5:7 /d/one && chmod 4755 /d/one',",
  "  'ln /d/one /d/e/hard && ln -s ../one /d/e/soft && ln -s /no/where /d/dangling && mkfifo /d/pipe',",
  '  \'chmod 1777 /d/e && echo $(seq 400) > "/d/space é" && echo x > /gone/deep/x && chown -h 9:9 /d/e/soft\')',
  ".runCommands('rm -r /gone && echo two > /d/one && mkdir -p /$(seq -s / 40) && echo y > /$(seq -s / 40)/y',",
  "  'rm -r /d/e && mkdir /d/e && echo new > /d/e/new && touch -d @1000000000 /d/e/new /d/e && chown 300000:3000000 /d/e/new')",
  ".env({ GREETING: 'hello' }).cmd(['/bin/sh', '-c', 'cat /d/one && echo $GREETING'])",
].join('\n  ');

describe.skipIf(
  lacks('root', 'bwrap', 'busybox', 'docker-registry', 'skopeo', 'umoci', 'getfattr', 'setcap'),
)('registries', () => {
  let directory: string;
  let registry: DockerRegistry;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-registry-test-'));
    registry = await startDockerRegistry();
    await succeed(['build', define('rich', busyboxDefinition(RICH)), '-t', 'rich:1'], inStore('store'));
  });
  afterAll(async () => {
    await registry?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  const at = (...parts: string[]) => join(directory, ...parts);
  const inStore = (name: string, env: Readonly<Record<string, string>> = {}) => ({
    cwd: directory,
    env: { TSBUILD_HOME: at(name), HOME: at('home'), ...env },
  });
  function define(name: string, text: string): string {
    writeFileSync(at(`${name}.ts`), text);
    return at(`${name}.ts`);
  }
  const onBase = (reference: string, rest: string) =>
    `import { Image, Secret } from 'tsbuild';\nexport default Image.fromRegistry(${JSON.stringify(reference)})${rest};\n`;

  /** Our tree of an image against that of umoci, which got it from the registry by way of skopeo. */
  function sameAsUmoci(name: string, reference: string): string {
    skopeoCopy(`docker://${reference}`, `oci:${at(`${name}-layout`)}:it`);
    const theirs = umociUnpack(at(`${name}-layout`), 'it', at(`${name}-bundle`));
    expect(listTree(at(`${name}-tree`))).toEqual(listTree(theirs));
    return theirs;
  }

  test('what we push, skopeo copies, umoci unpacks, and the tree is the one that we export', async () => {
    const file = at('rich.ts');
    const reference = `${registry.host}/team/rich:1`;
    const { stdout } = await succeed(
      [
        'build',
        file,
        '-t',
        'rich:1',
        '-o',
        `type=registry,name=${reference},compression=gzip`,
        '-o',
        `type=local,dest=${at('rich-tree')}`,
      ],
      inStore('store'),
    );
    const inspected = skopeoInspect(`docker://${reference}`);
    expect(inspected.mediaTypes).toEqual(Array(3).fill('application/vnd.oci.image.layer.v1.tar+gzip'));
    expect(inspected.Env).toContain('GREETING=hello');
    expect(stdout).toMatch(/^sha256:[a-f0-9]{64}\n$/);
    const tree = sameAsUmoci('rich', reference);
    expect(readFileSync(join(tree, 'd/one'), 'utf8')).toBe('two\n');
    // What was compared is not empty, and holds the things that are hard.
    const lines = listTree(tree).join('\n');
    for (const part of [
      'd/e/new 10:644 300000:3000000 1000000000',
      'd/one 10:4755 5:7',
      'd/pipe 1:',
      '-> /no/where',
    ]) {
      expect(lines).toContain(part);
    }
    expect(lines).not.toContain('gone');
    expect(lines).not.toContain('.wh.');
  });

  test('zstd, the default, is read by skopeo too, and has the same diffIDs', async () => {
    const reference = `${registry.host}/team/rich:zstd`;
    // The build before wrote its layers as its output wanted them.
    await succeed(['build', at('rich.ts'), '-t', 'rich:1'], inStore('store'));
    const { stdout } = await succeed(['push', 'rich:1', reference], inStore('store'));
    const inspected = skopeoInspect(`docker://${reference}`);
    expect(inspected.Digest).toBe(stdout.trim());
    expect(inspected.mediaTypes.every((type) => type.endsWith('+zstd'))).toBe(true);
    const config = (tag: string) =>
      JSON.parse(
        tool('skopeo', [
          'inspect',
          '--config',
          '--tls-verify=false',
          `docker://${registry.host}/team/rich:${tag}`,
        ]),
      );
    expect(config('zstd')).toEqual(config('1'));
    skopeoCopy(`docker://${reference}`, `dir:${at('zstd-dir')}`);
  });

  test('pulled into another store it runs', async () => {
    for (const tag of ['1', 'zstd']) {
      const reference = `${registry.host}/team/rich:${tag}`;
      const { stdout } = await succeed(['pull', reference], inStore(`pulled-${tag}`));
      expect(stdout.trim()).toBe(skopeoInspect(`docker://${reference}`).Digest);
      const ran = await succeed(['run', '-q', '--offline', reference], inStore(`pulled-${tag}`));
      expect(ran.stdout).toBe('two\nhello\n');
    }
  });

  test('a second push sends nothing; another repository gets mounts', async () => {
    await using own = await TestRegistry.start();
    const sent = () => {
      const writes = own.requests.filter(({ method }) => ['PUT', 'PATCH', 'POST'].includes(method));
      own.requests.length = 0;
      return writes;
    };
    await succeed(['push', 'rich:1', `${own.host}/team/app:1`], inStore('store'));
    expect(sent().filter(({ bodyBytes }) => bodyBytes > 0).length).toBeGreaterThan(3);

    await succeed(['push', 'rich:1', `${own.host}/team/app:1`], inStore('store'));
    const again = sent();
    expect(again.filter(({ url }) => url.includes('/blobs/'))).toEqual([]);
    expect(again.filter(({ method }) => method !== 'PUT')).toEqual([]);

    await succeed(['push', 'rich:1', `${own.host}/other/app:1`], inStore('store'));
    const mounted = sent();
    expect(
      mounted.filter(({ url }) => /mount=.*from=team%2Fapp|from=team\/app/.test(url)).length,
    ).toBeGreaterThanOrEqual(3);
    const uploaded = mounted.filter(({ url, bodyBytes }) => url.includes('/blobs/') && bodyBytes > 0);
    // Only the config, which is small, may travel.
    expect(uploaded.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0)).toBeLessThan(10_000);
  });

  test('the same against the real registry: mounts are taken', async () => {
    const source = `${registry.host}/team/rich:zstd`;
    const target = `${registry.host}/elsewhere/rich:1`;
    const { stderr } = await succeed(['push', 'rich:1', target, '--progress=plain'], inStore('store'));
    expect(stderr).not.toMatch(/upload .*MB/);
    expect(skopeoInspect(`docker://${target}`).Digest).toBe(skopeoInspect(`docker://${source}`).Digest);
  });

  describe('bases by other tools', () => {
    /** Two layers by GNU tar, written as they are: a symbolic link for a parent, whiteouts, hard links, modes, capabilities. */
    beforeAll(() => {
      const first = at('first');
      const second = at('second');
      for (const path of ['bin', 'usr/lib', 'data/deep', 'opaque/a', 'opaque/b', 'owned']) {
        mkdirSync(join(first, path), { recursive: true });
      }
      copyFileSync(busyboxPath(), join(first, 'bin/sh'));
      symlinkSync('usr/lib', join(first, 'lib'));
      for (const path of [
        'data/old',
        'data/deep/file',
        'opaque/a/file',
        'opaque/b/file',
        'usr/lib/lower',
        'owned/f',
      ]) {
        writeFileSync(join(first, path), `${path}\n`);
      }
      linkSync(join(first, 'data/deep/file'), join(first, 'data/hard'));
      tool('chown', ['-R', '1000:1001', join(first, 'owned')]);
      chmodSync(join(first, 'owned/f'), 0o6711);
      tool('setcap', ['cap_net_bind_service+ep', join(first, 'bin/sh')]);
      mkdirSync(join(second, 'lib'), { recursive: true });
      mkdirSync(join(second, 'data'));
      mkdirSync(join(second, 'opaque/c'), { recursive: true });
      writeFileSync(join(second, 'lib/upper'), 'through the link\n');
      linkSync(join(second, 'lib/upper'), join(second, 'lib/upper-too'));
      writeFileSync(join(second, 'data/.wh.old'), '');
      writeFileSync(join(second, 'opaque/.wh..wh..opq'), '');
      writeFileSync(join(second, 'opaque/c/file'), 'new\n');
      const tar = ['--numeric-owner', '--xattrs', '--xattrs-include=*', '--mtime=@1500000000'];
      tool('tar', [...tar, '-cf', at('first.tar'), '.'], first);
      tool(
        'tar',
        [...tar, '-cf', at('second.tar'), 'lib/upper', 'lib/upper-too', 'data/.wh.old', 'opaque'],
        second,
      );
      const layout = at('umoci-layout');
      tool('umoci', ['init', '--layout', layout]);
      tool('umoci', ['new', '--image', `${layout}:it`]);
      tool('umoci', ['raw', 'add-layer', '--image', `${layout}:it`, at('first.tar')]);
      tool('umoci', ['raw', 'add-layer', '--image', `${layout}:it`, at('second.tar')]);
      tool('umoci', [
        'config',
        '--image',
        `${layout}:it`,
        '--config.env',
        'PATH=/bin',
        '--config.cmd',
        '/bin/sh',
      ]);
      skopeoCopy(`oci:${layout}:it`, `docker://${registry.host}/made/umoci:1`);
      // The same image as Docker writes it: manifest and config of schema 2.
      tool('skopeo', [
        '--insecure-policy',
        'copy',
        '--quiet',
        '--format=v2s2',
        '--dest-tls-verify=false',
        `oci:${layout}:it`,
        `docker://${registry.host}/made/docker:1`,
      ]);
    });

    test.each(['umoci', 'docker'])('of %s are read as umoci reads them, and run', async (maker) => {
      const reference = `${registry.host}/made/${maker}:1`;
      const file = define(`on-${maker}`, onBase(reference, ''));
      await succeed(['build', file, '-o', `type=local,dest=${at(`${maker}-tree`)}`], inStore('bases'));
      const tree = sameAsUmoci(maker, reference);
      expect(tool('getcap', [join(at(`${maker}-tree`), 'bin/sh')])).toContain('cap_net_bind_service=ep');
      expect(listTree(tree).join('\n')).toContain('owned/f 10:6711 1000:1001');

      const step = define(
        `step-${maker}`,
        onBase(
          reference,
          `.runCommands('cat /lib/upper /usr/lib/upper-too /lib/lower > /read', 'ls /data /opaque >> /read', 'echo more >> /owned/f')`,
        ),
      );
      const ran = await succeed(
        ['run', '-q', step, '--', '/bin/sh', '-c', 'cat /read /owned/f'],
        inStore('bases'),
      );
      expect(ran.stdout).toBe(
        'through the link\nthrough the link\nusr/lib/lower\n/data:\ndeep\nhard\n\n/opaque:\nc\nowned/f\nmore\n',
      );
    });

    test('their layers go on as they are: nothing is compressed again, and the result is readable', async () => {
      const reference = `${registry.host}/made/umoci:1`;
      const target = `${registry.host}/built/on-umoci:1`;
      const file = define('onward', onBase(reference, `.runCommands('echo ours > /ours')`));
      await succeed(['build', file, '-t', target, '--push'], inStore('bases'));
      const [base, ours] = [skopeoInspect(`docker://${reference}`), skopeoInspect(`docker://${target}`)];
      expect(ours.Layers.slice(0, 2)).toEqual(base.Layers);
      expect(ours.mediaTypes.map((type) => type.split('+')[1])).toEqual(['gzip', 'gzip', 'zstd']);
    });

    test.skipIf(lacks('buildah'))('of buildah', async () => {
      const buildah = (...args: string[]) =>
        tool('buildah', [
          '--root',
          at('buildah'),
          '--runroot',
          at('buildah-run'),
          '--storage-driver',
          'vfs',
          ...args,
        ]).trim();
      const container = buildah('from', 'scratch');
      buildah('copy', container, at('first'), '/');
      buildah('config', '--env', 'PATH=/bin', '--cmd', '/bin/sh', container);
      buildah('commit', '--quiet', '--format=docker', container, 'one');
      const second = buildah('from', '--pull-never', 'localhost/one');
      const mount = buildah('mount', second);
      rmSync(join(mount, 'data/old'));
      rmSync(join(mount, 'opaque'), { recursive: true });
      writeFileSync(join(mount, 'usr/lib/added'), 'by buildah\n');
      buildah('umount', second);
      buildah('commit', '--quiet', '--tls-verify=false', second, `docker://${registry.host}/made/buildah:1`);
      const reference = `${registry.host}/made/buildah:1`;
      const file = define('on-buildah', onBase(reference, ''));
      await succeed(['build', file, '-o', `type=local,dest=${at('buildah-tree')}`], inStore('bases'));
      sameAsUmoci('buildah', reference);
      const ran = await succeed(
        ['run', '-q', file, '--', '/bin/sh', '-c', 'cat /lib/added; ls /data'],
        inStore('bases'),
      );
      expect(ran.stdout).toBe('by buildah\ndeep\nhard\n');
    });
  });

  describe('that are private', () => {
    const login = { username: 'tester', password: 'correct horse' };
    let privately: DockerRegistry;
    let reference: string;

    beforeAll(async () => {
      privately = await startDockerRegistry(login);
      reference = `${privately.host}/private/base:1`;
      mkdirSync(at('home'), { recursive: true });
    });
    afterAll(() => privately?.[Symbol.asyncDispose]());

    test('take the login that `tsbuild login` checked and wrote, until `logout`', async () => {
      const base = define('private', busyboxDefinition("runCommands('echo private > /private')"));
      const push = ['build', base, '-t', reference, '--push'];
      const refused = await run(push, inStore('private'));
      expect(refused.status).toBe(4);
      expect(refused.stderr).toContain('E_AUTH');

      const loginWith = (password: string) =>
        run(['login', '--username', login.username, '--password-stdin', privately.host], {
          ...inStore('private'),
          stdin: `${password}\n`,
        });
      expect((await loginWith('wrong')).status).toBe(4);
      expect((await run(push, inStore('private'))).status).toBe(4);
      const accepted = await loginWith(login.password);
      expect(accepted.status, accepted.stderr).toBe(0);
      await succeed(push, inStore('private'));

      const file = define('on-private', onBase(reference, `.cmd(['/bin/sh', '-c', 'cat /private'])`));
      expect((await succeed(['run', '-q', file], inStore('private-2'))).stdout).toBe('private\n');
      await succeed(['logout', privately.host], inStore('private'));
      expect((await run(['build', file], inStore('private-3'))).status).toBe(4);
    });

    test('take a secret of the definition, which is in nothing that is written', async () => {
      const file = define(
        'by-secret',
        `import { Image, Secret } from 'tsbuild';
const secret = Secret.fromLocalEnviron(['REGISTRY_USERNAME', 'REGISTRY_PASSWORD']);
export default Image.fromRegistry('${reference}', { secret }).runCommands('cat /private > /copy').cmd(['/bin/sh', '-c', 'cat /copy']);
`,
      );
      const env = { REGISTRY_USERNAME: login.username, REGISTRY_PASSWORD: login.password };
      const { stderr } = await succeed(
        [
          'build',
          file,
          '-t',
          'by-secret',
          '-o',
          `type=oci,dest=${at('by-secret')},tar=false,compression=uncompressed`,
          '--progress=plain',
        ],
        inStore('by-secret-store', env),
      );
      expect(stderr).not.toContain(login.password);
      expect(
        (await succeed(['run', '-q', '--offline', 'by-secret'], inStore('by-secret-store'))).stdout,
      ).toBe('private\n');
      const found = (text: string) =>
        tool('sh', [
          '-c',
          `grep -rlaF -e "$1" "$2" "$3" || true`,
          'sh',
          text,
          at('by-secret-store'),
          at('by-secret'),
        ]);
      expect(found(login.password)).toBe('');
      expect(found(Buffer.from(`${login.username}:${login.password}`).toString('base64'))).toBe('');
      expect(found('private')).not.toBe('');
      const wrong = await run(
        ['build', file],
        inStore('by-secret-wrong', { ...env, REGISTRY_PASSWORD: 'wrong' }),
      );
      expect(wrong.status).toBe(4);
      expect(wrong.stderr).toContain('E_AUTH');
    });
  });

  test('TSBUILD_REGISTRY_MIRRORS: pulls go to the mirror, pushes do not', async () => {
    await using mirror = await TestRegistry.start();
    await succeed(['push', 'rich:1', `${mirror.host}/cache/team/rich:1`], inStore('store'));
    mirror.requests.length = 0;
    const env = { TSBUILD_REGISTRY_MIRRORS: `registry.invalid=http://${mirror.host}/cache` };
    const file = define('mirrored', onBase('registry.invalid/team/rich:1', ''));
    expect((await succeed(['run', '-q', file], inStore('mirrored', env))).stdout).toBe('two\nhello\n');
    expect(mirror.requests.length).toBeGreaterThan(0);
    // Short names are of docker.io, in `library/`.
    await succeed(['push', 'rich:1', `${mirror.host}/library/rich:2`], inStore('store'));
    const hub = { TSBUILD_REGISTRY_MIRRORS: `docker.io=http://${mirror.host}` };
    const short = define('short', onBase('rich:2', ''));
    expect((await succeed(['run', '-q', short], inStore('mirrored', hub))).stdout).toBe('two\nhello\n');
    mirror.requests.length = 0;
    const pushed = await run(['push', 'registry.invalid/team/rich:1'], inStore('mirrored', env));
    expect(pushed.status).not.toBe(0);
    expect(mirror.requests.filter(({ method }) => !['GET', 'HEAD'].includes(method))).toEqual([]);
  });

  test('what a tag means is remembered, offline too, and asked again with --pull', async () => {
    await using moving = await TestRegistry.start();
    const reference = `${moving.host}/moving:latest`;
    const publish = (word: string) =>
      succeed(
        [
          'build',
          define('moving', busyboxDefinition(`runCommands('echo ${word} > /word')`)),
          '-t',
          reference,
          '--push',
        ],
        inStore('publisher'),
      );
    await publish('old');
    const file = define(
      'on-moving',
      onBase(reference, `.runCommands('cat /word > /copy').cmd(['/bin/sh', '-c', 'cat /copy'])`),
    );
    const word = async (...flags: string[]) =>
      (await succeed(['run', '-q', ...flags, file], inStore('moving-store'))).stdout;
    expect(await word()).toBe('old\n');
    await publish('new');
    moving.requests.length = 0;
    expect(await word()).toBe('old\n');
    expect(await word('--offline')).toBe('old\n');
    expect(moving.requests).toEqual([]);
    expect(await word('--pull')).toBe('new\n');
    expect(moving.requests.length).toBeGreaterThan(0);
    expect(await word('--offline')).toBe('new\n');
    const nowhere = define('nowhere', onBase(`${moving.host}/never:1`, ''));
    const refused = await run(['build', '--offline', nowhere], inStore('moving-store'));
    expect([refused.status, refused.stderr]).toEqual([4, expect.stringContaining('E_OFFLINE')]);
  });
});
