// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the shell expands them, not JavaScript.

import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { BuiltImage } from '../../../../src/frontend/fluent/built-image.ts';
import { Image, imageParts, recordAttempt } from '../../../../src/frontend/fluent/image.ts';
import { type ImageEngine, provideDefaultEngine } from '../../../../src/frontend/fluent/image-engine.ts';
import { sha256Digest } from '../../../../src/oci/digest.ts';
import { OCI_MANIFEST } from '../../../../src/oci/media-type.ts';
import { Secret } from '../../../../src/secret/secret.ts';
import { baseImageConfig } from '../../../support/image-surroundings.ts';

const base = Image.fromScratch();
const code = (expected: string) => expect.objectContaining({ code: expected });
/** Calls that TypeScript would refuse. */
const loose = base as unknown as Record<string, (...args: unknown[]) => Image>;
const looseImage = Image as unknown as Record<string, (...args: unknown[]) => Image>;

describe('immutability', () => {
  test('a method returns a new image and leaves the receiver as it is (C141)', () => {
    const extended = base.aptInstall('git');
    expect(extended).not.toBe(base);
    expect(imageParts(base).layers).toHaveLength(1);
    expect(imageParts(extended).layers.map((layer) => layer.method)).toEqual(['fromScratch', 'aptInstall']);
    expect(Object.isFrozen(extended)).toBe(true);
  });

  test('branches share their prefix', () => {
    const shared = base.aptInstall('git');
    const [one, other] = [shared.pipInstall('a'), shared.pipInstall('b')].map(
      (each) => imageParts(each).layers,
    );
    expect(one?.[1]).toBe(other?.[1]);
  });

  test('arguments are copied when the call is made', async () => {
    const argv = ['a'];
    const vars: Record<string, string> = { A: '1' };
    const image = base.cmd(argv).env(vars);
    const before = image.recipeHash;
    argv.push('b');
    vars.B = '2';
    expect(image.recipeHash).toBe(before);
    expect(JSON.stringify(imageParts(image).layers)).not.toContain('"b"');
  });

  test('a call that adds nothing returns the receiver, after a pending mount too (C142)', () => {
    const mounted = base.addLocalFile('/a', '/a');
    for (const image of [base, mounted]) {
      expect(image.pipInstall()).toBe(image);
      expect(image.pipInstall([], [])).toBe(image);
      expect(image.pipInstall({ pre: true })).toBe(image);
      expect(image.uvPipInstall()).toBe(image);
      expect(image.uvPipInstall({ requirements: [] })).toBe(image);
      expect(image.aptInstall([])).toBe(image);
      expect(image.aptRemove()).toBe(image);
      expect(image.runCommands()).toBe(image);
      expect(image.env({})).toBe(image);
      expect(image.dockerfileCommands([])).toBe(image);
    }
  });

  test('there is no public constructor', () => {
    expect(() => Reflect.construct(Image, [undefined, {}])).toThrow(code('E_ARG_TYPE'));
  });
});

describe('arguments', () => {
  test.each([[[3]], [[[['x']]]], [['a', { pre: true }, 'b']], [[null]], [['a', undefined, 'b']]])(
    '%j is not a list of strings (C143)',
    (args) => {
      expect(() => loose.pipInstall?.(...args)).toThrow(code('E_NOT_STRINGS'));
      expect(() => loose.aptInstall?.(...args)).toThrow(code('E_NOT_STRINGS'));
      expect(() => loose.runCommands?.(...args)).toThrow(code('E_NOT_STRINGS'));
    },
  );

  test('options of a null prototype are options, a trailing undefined is ignored', () => {
    const options = Object.assign(Object.create(null) as object, { pre: true });
    expect(loose.pipInstall?.('a', options, undefined).recipeHash).toBe(
      base.pipInstall('a', { pre: true }).recipeHash,
    );
  });

  test('unknown options are refused, with the spelling when it is the only fault', () => {
    expect(() => loose.pipInstall?.('a', { force_build: true })).toThrow(/'forceBuild'/);
    expect(() => loose.pipInstall?.('a', { force_build: true })).toThrow(code('E_UNKNOWN_OPTION'));
    expect(() => loose.env?.({ A: '1' }, { nonsense: 1 })).toThrow(code('E_UNKNOWN_OPTION'));
    expect(() => looseImage.debianSlim?.({ python_version: '3.12' })).toThrow(/'pythonVersion'/);
  });

  test('every layer method accepts forceBuild (C128)', () => {
    const force = { forceBuild: true };
    for (const image of [
      Image.fromScratch(force),
      Image.debianSlim(force),
      Image.fromDebian(force),
      Image.fromRegistry('a', force),
      Image.fromOciLayout('/a', force),
      base.pipInstall('a', force),
      base.pipInstallFromRequirements('/a', force),
      base.uvPipInstall('a', force),
      base.uvPipInstallFromRequirements('/a', force),
      base.pipInstallFromPyproject('/a', force),
      base.pipInstallPrivateRepos('github.com/a/b', {
        gitUser: 'a',
        secrets: [Secret.fromDict({ A: 'x' })],
        ...force,
      }),
      base.uvSync('/a', force),
      base.poetryInstallFromFile('/a', force),
      base.addPythonPackages('/a', force),
      base.aptInstall('a', force),
      base.aptRemove('a', force),
      base.runCommands('a', force),
      base.env({ A: '1' }, force),
      base.workdir('/a', force),
      base.entrypoint([], force),
      base.cmd([], force),
      base.shell(['/bin/sh'], force),
      base.copyLocalFile('/a', '/a', force),
      base.copyLocalDir('/a', '/a', force),
      base.addLocalFile('/a', '/a', { copy: true, ...force }),
      base.addLocalDir('/a', '/a', { copy: true, ...force }),
    ]) {
      expect(image.forceBuild).toBe(true);
      expect(image.aptInstall('later').forceBuild).toBe(true);
    }
  });

  test.each([
    ['E_SECRET_TYPE', { secrets: ['x'] }],
    ['E_SECRET_TYPE', { secrets: {} }],
    ['E_SECRET_KEY', { env: { 'A-B': '1' } }],
    ['E_SECRET_VALUE', { env: { A: 1 } }],
    ['E_ARG_TYPE', { env: [] }],
    ['E_ARG_TYPE', { forceBuild: 'yes' }],
  ])('step options: %s for %j', (expected, options) => {
    expect(() => loose.runCommands?.('a', options)).toThrow(code(expected));
  });

  test('null entries of env are dropped (C154)', () => {
    const image = base.runCommands('a', { env: { FOO: '1', BAR: null, BAZ: undefined } });
    expect(imageParts(image).layers.at(-1)?.env).toEqual({ FOO: '1' });
  });

  test('an inline option needs its value', () => {
    expect(() => base.pipInstall('a', '-r')).toThrow(code('E_OPTION_VALUE_MISSING'));
    expect(() => base.uvPipInstall('--index-url')).toThrow(code('E_OPTION_VALUE_MISSING'));
    expect(() => base.pipInstall('-rfile', '--index-url=https://x')).not.toThrow();
  });

  test('commands of white space are refused', () => {
    expect(() => base.runCommands('a', ' \n\t')).toThrow(code('E_EMPTY_COMMAND'));
  });

  test('env() takes strings (C72, C73)', () => {
    expect(() => loose.env?.({ X: 30, Y: null, Z: '1' })).toThrow(/'X', 'Y'/);
    expect(() => loose.env?.({ X: 30 })).toThrow(code('E_ENV_NOT_STRING'));
    for (const name of ['', 'A=B', 'A B', 'A\0']) {
      expect(() => base.env({ [name]: 'x' })).toThrow(code('E_ARG_TYPE'));
    }
  });

  test.each(['entrypoint', 'cmd', 'shell'])('%s() takes an array of strings', (method) => {
    expect(() => loose[method]?.('x')).toThrow(code('E_ARG_TYPE'));
    expect(() => loose[method]?.([1])).toThrow(code('E_ARG_TYPE'));
  });

  test('a Python version is a string (C3)', () => {
    expect(() => looseImage.debianSlim?.({ pythonVersion: 3.13 })).toThrow(code('E_PYTHON_VERSION_TYPE'));
  });

  test.each(['3', '2.7', '3.123', '3.12.', 'python3.12', '3.12.1.1', ''])(
    '%j is not a Python version',
    (version) => {
      expect(() => Image.debianSlim({ pythonVersion: version })).toThrow(code('E_PYTHON_VERSION_FORMAT'));
    },
  );

  test.each(['3.14t', '3.14.2t'])('%j is free-threaded', (version) => {
    expect(() => Image.debianSlim({ pythonVersion: version })).toThrow(code('E_FREE_THREADED'));
  });

  test('row 129: an unknown builder version', () => {
    expect(() => looseImage.debianSlim?.({ builderVersion: '2020.01' })).toThrow(code('E_BUILDER_VERSION'));
    expect(() => looseImage.debianSlim?.({ builderVersion: 'toString' })).toThrow(code('E_BUILDER_VERSION'));
  });

  test.each([
    ['fromDebian', [{ suite: '../x' }]],
    ['fromDebian', [{ packages: ['a b'] }]],
    ['fromDebian', [{ packages: 'git' }]],
    ['fromDebian', [{ snapshot: '2026-10-15' }]],
    ['fromDebian', [{ mirror: 'file:///x' }]],
    ['fromDebian', [{ platform: 'windows/amd64' }]],
    ['debianSlim', [{ source: 'else' }]],
    ['fromRegistry', ['']],
    ['fromOciLayout', ['']],
    ['fromOciLayout', [new URL('https://x/y')]],
  ])('%s(%j) is refused', (method, args) => {
    expect(() => looseImage[method]?.(...args)).toThrow(code('E_ARG_TYPE'));
  });

  test('fromRegistry() wants a Secret and a reference', () => {
    expect(() => looseImage.fromRegistry?.('a', { secret: {} })).toThrow(code('E_SECRET_TYPE'));
    expect(() => Image.fromRegistry('a b')).toThrow(code('E_IMAGE_NAME'));
  });
});

describe('local files', () => {
  test('a relative remote path is refused (C81)', () => {
    expect(() => base.addLocalFile('a', 'b')).toThrow(code('E_REMOTE_PATH_RELATIVE'));
    expect(() => base.addLocalDir('a', 'b')).toThrow(code('E_REMOTE_PATH_RELATIVE'));
  });

  test('a trailing slash appends the base name (C80)', () => {
    expect(base.addLocalFile('x/model.py', '/app/').mounts[0]?.input.fileAt).toBe('/app/model.py');
    expect(base.addLocalFile('x/model.py', '//app//m.py').mounts[0]?.input.fileAt).toBe('/app/m.py');
  });

  test('no layer may follow a pending mount; further mounts may (C83)', () => {
    const mounted = base.addLocalDir('a', '/a').addLocalFile('b', '/b');
    expect(mounted.mounts).toHaveLength(2);
    for (const call of [
      () => mounted.runCommands('x'),
      () => mounted.env({ A: '1' }),
      () => mounted.workdir('/x'),
      () => mounted.copyLocalFile('x'),
      () => mounted.addLocalFile('x', '/x', { copy: true }),
    ]) {
      expect(call).toThrow(code('E_STEP_AFTER_MOUNT'));
    }
  });

  test('the remote path may be an option, but not twice', () => {
    const byOption = base.addLocalFile('x', { remotePath: '/y' });
    expect(byOption.mounts[0]?.input).toEqual(base.addLocalFile('x', '/y').mounts[0]?.input);
    expect(() => base.addLocalFile('x', '/y', { remotePath: '/y' })).toThrow(code('E_ARG_TYPE'));
    expect(() => loose.addLocalFile?.('x')).toThrow(code('E_ARG_TYPE'));
  });

  test('ignore and condition exclude each other (C95)', () => {
    expect(() => base.copyLocalDir('a', '/a', { ignore: [], condition: () => true })).toThrow(
      code('E_IGNORE_AND_CONDITION'),
    );
  });

  test('a default destination may not climb out', () => {
    expect(() => base.copyLocalFile('../x')).toThrow(code('E_ARG_TYPE'));
    expect(() => base.copyLocalFile('../x', '/x')).not.toThrow();
  });
});

describe('pipe and recipe', () => {
  test('pipe() equals the inline chain', () => {
    const add = (image: Image, name: string) => image.aptInstall(name);
    expect(base.pipe(add, 'x').recipeHash).toBe(base.aptInstall('x').recipeHash);
    expect(() => base.pipe((() => 3) as never)).toThrow(code('E_ARG_TYPE'));
    expect(() => base.pipe((async () => base) as never)).toThrow(code('E_ARG_TYPE'));
  });

  test('the recipe hash sees calls, arguments and options', () => {
    const images = [
      base,
      base.pipInstall('a'),
      base.pipInstall('b'),
      base.pipInstall('a', { pre: true }),
      base.uvPipInstall('a'),
      base.addLocalFile('x', '/y'),
      base.runCommands('a', { secrets: [Secret.fromDict({ A: '1' })] }),
      base.runCommands('a', { secrets: [Secret.fromDict({ B: '1' })] }),
    ];
    expect(new Set(images.map((image) => image.recipeHash)).size).toBe(images.length);
    const rotated = base.runCommands('a', { secrets: [Secret.fromDict({ A: 'other' })] });
    expect(rotated.recipeHash).toBe(images[6]?.recipeHash);
  });

  test.each([
    ['text of a Dockerfile', (text: string) => Image.fromDockerfile({ text: `FROM ${text}` })],
    ['path of a Dockerfile', (path: string) => Image.fromDockerfile(`${path}/Dockerfile`)],
    ['ignore', (pattern: string) => base.addPythonPackages('x', { ignore: [pattern] })],
    ['requirements file', (path: string) => base.pipInstallFromRequirements(path)],
  ])('the recipe hash sees the %s', (_, make) => {
    expect(make('a').recipeHash).not.toBe(make('b').recipeHash);
    expect(make('a').recipeHash).toBe(make('a').recipeHash);
  });

  test('a stream as context has no literal value', () => {
    const make = () => Image.fromDockerfile('Dockerfile', { context: Readable.from(['x']) });
    expect(make().recipeHash).toBe(make().recipeHash);
  });

  test.each<[string, (url: URL) => Image]>([
    ['pipInstallFromRequirements', (url) => base.pipInstallFromRequirements(url)],
    ['uvPipInstallFromRequirements', (url) => base.uvPipInstallFromRequirements(url)],
    ['fromDockerfile', (url) => Image.fromDockerfile(url)],
    ['copyLocalFile', (url) => base.copyLocalFile(url, '/x')],
    ['micromambaInstall', (specFile) => base.micromambaInstall({ specFile })],
    ['poetryInstallFromFile', (url) => base.poetryInstallFromFile(url)],
    ['addPythonPackages', (url) => base.addPythonPackages(url)],
  ])('a URL of another directory is the same recipe: %s', (_, make) => {
    const [here, there] = ['file:///here/x.whl', 'file:///root/x.whl'].map((url) => make(new URL(url)));
    expect(here?.recipeHash).toBe(there?.recipeHash);
  });
});

describe('terminal operations', () => {
  const calls: unknown[][] = [];
  const engine = new Proxy({} as ImageEngine, {
    get: (_, method) =>
      method === 'then'
        ? undefined
        : async (...args: unknown[]) => {
            calls.push([method, ...args]);
            return method === 'build' ? [BuiltImage.of(base, facts)] : { method };
          },
  });
  const digest = sha256Digest('0'.repeat(64));
  const facts = {
    id: 'im-1',
    digest,
    configDigest: digest,
    manifestDescriptor: { mediaType: OCI_MANIFEST, digest, size: 1 },
    config: baseImageConfig(),
    layers: [],
    diagnostics: [],
  };

  test('they hand normalised options to the engine', async () => {
    provideDefaultEngine(async () => engine);
    await base.plan({ lint: true });
    await base.run(['a'], { workdir: '/x' });
    await base.run({ user: 'me' });
    await base.readFile('/a');
    await base.exists('/a');
    await base.listFiles();
    await base.exportTo('/out', { format: 'oci-layout' });
    await base.push('localhost:5000/x');
    await Image.buildAll([base, base], { concurrency: 2 });
    expect(calls.map(([method, , ...rest]) => [method, ...rest])).toEqual([
      ['plan', { lint: true }],
      ['run', ['a'], { secrets: [], workdir: '/x' }],
      ['run', undefined, { secrets: [], user: 'me' }],
      ['readFile', '/a'],
      ['exists', '/a'],
      ['listFiles', '/'],
      ['exportTo', '/out', { format: 'oci-layout' }],
      ['push', 'localhost:5000/x', {}],
      ['build', { concurrency: 2 }],
    ]);
  });

  test('build() gives a frozen image with its facts, which can be extended', async () => {
    provideDefaultEngine(async () => engine);
    const built = await base.build();
    expect([built.id, built.digest, Object.isFrozen(built), built instanceof Image]).toEqual([
      'im-1',
      digest,
      true,
      true,
    ]);
    expect(built.aptInstall('git').id).toBeUndefined();
  });

  test('an attempt is known to every image of the same definition', () => {
    const image = Image.fromScratch();
    recordAttempt(image, { id: 'im-2', layers: [] });
    expect([image.id, image.addLocalFile('a', '/a').id, image.env({ A: '1' }).id]).toEqual([
      'im-2',
      'im-2',
      undefined,
    ]);
  });

  test.each([
    ['run', [['a'], { nonsense: 1 }], 'E_UNKNOWN_OPTION'],
    ['toDockerfile', [{ lint: true }], 'E_UNKNOWN_OPTION'],
    ['run', [null], 'E_ARG_TYPE'],
    ['run', ['ls'], 'E_ARG_TYPE'],
    ['run', [['a'], { timeout: 0 }], 'E_ARG_TYPE'],
    ['run', [['a'], { workdir: 'x' }], 'E_ARG_TYPE'],
    ['build', [{ concurrency: 0 }], 'E_ARG_TYPE'],
    ['exportTo', ['/x', {}], 'E_ARG_TYPE'],
    ['push', ['x', { secret: 1 }], 'E_SECRET_TYPE'],
    ['readFile', [''], 'E_ARG_TYPE'],
  ])('%s(%j) rejects with %s', async (method, args, expected) => {
    provideDefaultEngine(async () => engine);
    await expect(loose[method]?.(...args)).rejects.toThrow(code(expected));
  });
});
