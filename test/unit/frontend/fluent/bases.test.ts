// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the shell expands them, not JavaScript.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BUILDER_VERSIONS, type BuilderVersion } from '../../../../src/frontend/fluent/builder-version.ts';
import { Image } from '../../../../src/frontend/fluent/image.ts';
import { seriesOf } from '../../../../src/frontend/fluent/python-version.ts';
import { sourcePython, treeInArchive } from '../../../../src/frontend/fluent/standalone-python.ts';
import { STANDALONE_RELEASES } from '../../../../src/frontend/fluent/standalone-python-releases.ts';
import { parsePlatform } from '../../../../src/oci/platform.ts';
import { Secret } from '../../../../src/secret/secret.ts';
import { lastLines, planOf } from '../../../support/image-surroundings.ts';
import { temporaryTree } from '../../../support/temporary-tree.ts';

const code = (expected: string) => expect.objectContaining({ code: expected });
const untyped = (value: unknown) => value as never;
const first = async (image: Image, given = {}) => (await planOf(image, given)).layers[0];

const COPY = 'COPY /python/. /usr/local';
const LINK = 'RUN ln -s /usr/local/bin/python3 /usr/local/bin/python';
const TERMINFO = 'ENV TERMINFO_DIRS=/etc/terminfo:/lib/terminfo:/usr/share/terminfo:/usr/lib/terminfo';
const PYTHON_312 = { series: '3.12', release: '20240107', version: '3.12.1', libc: 'gnu' };

describe('a registry', () => {
  test('the reference is kept as it is written (C11) (C16)', async () => {
    const [cuda, os] = ['12.8.1', 'ubuntu24.04'];
    expect(await lastLines(Image.fromRegistry(`nvidia/cuda:${cuda}-devel-${os}`))).toEqual([
      'FROM nvidia/cuda:12.8.1-devel-ubuntu24.04',
    ]);
    expect(await lastLines(Image.fromRegistry('pytorch/pytorch:2.0.0-cuda11.7-cudnn8-runtime'))).toEqual([
      'FROM pytorch/pytorch:2.0.0-cuda11.7-cudnn8-runtime',
    ]);
  });

  test('Python is added, with a link where its archive has none (C12)', async () => {
    const layer = await first(Image.fromRegistry('ubuntu:22.04', { addPython: '3.12' }));
    expect(layer?.commands).toEqual(['FROM ubuntu:22.04', COPY, LINK, TERMINFO]);
    expect(layer?.contextMount).toEqual({ standalonePython: PYTHON_312 });
  });

  test.each(['3.13', '3.14', '3.14t'])('%s brings its own link (C13)', async (addPython) => {
    expect(await lastLines(Image.fromRegistry('ubuntu:22.04', { addPython }))).toEqual([
      'FROM ubuntu:22.04',
      COPY,
      TERMINFO,
    ]);
  });

  test('instructions follow the base and Python (C15)', async () => {
    const setupDockerfileCommands = ['RUN apt-get update', 'USER app'];
    expect(await lastLines(Image.fromRegistry('ubuntu:22.04', { setupDockerfileCommands }))).toEqual([
      'FROM ubuntu:22.04',
      ...setupDockerfileCommands,
    ]);
    const both = Image.fromRegistry('ubuntu:22.04', { setupDockerfileCommands, addPython: '3.11' });
    expect(await lastLines(both)).toEqual([
      'FROM ubuntu:22.04',
      COPY,
      LINK,
      TERMINFO,
      ...setupDockerfileCommands,
    ]);
    expect(await lastLines(Image.fromRegistry('a', { setupDockerfileCommands: [] }))).toEqual(['FROM a']);
  });

  test('what is wrong with the instructions is said by the plan', async () => {
    const image = Image.fromRegistry('a', { setupDockerfileCommands: ['RUM x'] });
    await expect(planOf(image)).rejects.toThrow(code('E_DOCKERFILE_INSTRUCTION'));
    expect(() => Image.fromRegistry('a', { setupDockerfileCommands: untyped('RUN x') })).toThrow(
      code('E_ARG_TYPE'),
    );
  });

  test('the release, the instructions and the login are in the key', async () => {
    const hash = async (options: object) => (await first(Image.fromRegistry('a', options)))?.definitionHash;
    const login = (USER: string) => Secret.fromDict({ [USER]: 'u', REGISTRY_PASSWORD: 'p' });
    const hashes = await Promise.all(
      [
        {},
        { addPython: '3.13' },
        { addPython: '3.14' },
        { addPython: '3.14t' },
        { setupDockerfileCommands: ['RUN a'] },
        { setupDockerfileCommands: ['RUN b'] },
        { secret: login('REGISTRY_USERNAME') },
        { secret: login('OTHER') },
      ].map(hash),
    );
    expect(new Set(hashes).size).toBe(hashes.length);
    expect(
      await hash({ secret: Secret.fromDict({ REGISTRY_PASSWORD: 'other', REGISTRY_USERNAME: 'v' }) }),
    ).toBe(await hash({ secret: login('REGISTRY_USERNAME') }));
  });
});

describe('registries of clouds', () => {
  const tag = '000000000000.dkr.ecr.us-east-1.amazonaws.com/tools:v1';
  const secret = Secret.fromEnv(['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']);

  test('AWS: the login is in the plan by its type and identity (C23)', async () => {
    const layer = await first(Image.fromAwsEcr(tag, { secret, addPython: '3.12' }));
    expect(layer?.method).toBe('fromAwsEcr');
    expect(layer?.commands[0]).toBe(`FROM ${tag}`);
    expect(layer?.registryAuth).toEqual({ type: 'aws', secret: secret.identity });
    expect(layer?.contextMount).toEqual({ standalonePython: PYTHON_312 });
  });

  test('Google: the same, and a list of secrets is refused by the name of the option that there is (C24)', async () => {
    const key = Secret.fromDict({ SERVICE_ACCOUNT_JSON: 'planted-value' });
    const image = Image.fromGcpArtifactRegistry('us-east1-docker.pkg.dev/p/r/i', { secret: key });
    const plan = await planOf(image);
    expect(plan.layers[0]?.registryAuth).toEqual({ type: 'gcp', secret: key.identity });
    expect(JSON.stringify(plan)).not.toContain('planted-value');
    for (const make of [Image.fromGcpArtifactRegistry, Image.fromAwsEcr]) {
      expect(() => make('a', untyped({ secrets: [key] }))).toThrow(
        expect.objectContaining({ code: 'E_UNKNOWN_OPTION', hint: expect.stringContaining("'secret'") }),
      );
      expect(() => make('a', untyped({ secret: 'x' }))).toThrow(code('E_SECRET_TYPE'));
    }
  });

  test('who logs in differently has another key; without a secret there is a plan', async () => {
    const hash = async (image: Image) => (await first(image))?.definitionHash;
    const bare = Image.fromAwsEcr(tag, untyped(undefined));
    expect((await first(bare))?.registryAuth).toEqual({ type: 'aws', secret: null });
    const hashes = await Promise.all([
      hash(bare),
      hash(Image.fromAwsEcr(tag, { secret })),
      hash(Image.fromGcpArtifactRegistry(tag, { secret })),
      hash(Image.fromRegistry(tag, { secret })),
      hash(Image.fromRegistry(tag)),
    ]);
    expect(new Set(hashes).size).toBe(hashes.length);
  });
});

describe('Ubuntu', () => {
  test('has a Python (C6)', async () => {
    const layer = await first(Image.ubuntu());
    expect(layer?.commands[0]).toBe('FROM ubuntu:24.04');
    expect(layer?.commands.slice(1)).toEqual([COPY, LINK, TERMINFO]);
    expect(layer?.contextMount).toEqual({ standalonePython: PYTHON_312 });
    expect(layer?.registryAuth).toBe(null);
  });

  test('or none, or another; of another release', async () => {
    expect(await first(Image.ubuntu({ addPython: false, version: '22.04' }))).toMatchObject({
      commands: ['FROM ubuntu:22.04'],
      contextMount: null,
    });
    expect(await lastLines(Image.ubuntu({ addPython: '3.14t' }))).toEqual([
      'FROM ubuntu:24.04',
      COPY,
      TERMINFO,
    ]);
    expect(() => Image.ubuntu({ version: 'a b' })).toThrow(code('E_ARG_TYPE'));
    expect(() => Image.ubuntu(untyped({ secret: 1 }))).toThrow(code('E_UNKNOWN_OPTION'));
  });
});

describe('micromamba', () => {
  const lines = (python: string) => [
    'FROM mambaorg/micromamba:2.1.1-debian12-slim',
    'USER root',
    'SHELL ["/usr/local/bin/_dockerfile_shell.sh"]',
    'ENV MAMBA_DOCKERFILE_ACTIVATE=1',
    `RUN micromamba install -n base -y python=${python} pip -c conda-forge`,
  ];

  test('the base (C7)', async () => {
    expect(await lastLines(Image.micromamba({ pythonVersion: '3.12' }))).toEqual(lines('3.12'));
    expect(await lastLines(Image.micromamba({ pythonVersion: '3.12.10' }))).toEqual(lines('3.12.10'));
    expect(await lastLines(Image.micromamba(), { hostPython: '3.11' })).toEqual(lines('3.11'));
  });

  test('packages and channels keep their order (C8) (C9)', async () => {
    const base = Image.micromamba();
    expect(
      await lastLines(
        base.micromambaInstall('pytorch', 'cudatoolkit=11.8', { channels: ['pytorch', 'conda-forge'] }),
      ),
    ).toEqual([
      'FROM base',
      'RUN micromamba install pytorch cudatoolkit=11.8 -c pytorch -c conda-forge --yes',
    ]);
    expect(
      await lastLines(
        base.micromambaInstall(['pymc==5.10.4', 'numpyro==0.13.2'], { channels: ['conda-forge'] }),
      ),
    ).toEqual(['FROM base', 'RUN micromamba install pymc==5.10.4 numpyro==0.13.2 -c conda-forge --yes']);
    expect(await lastLines(base.micromambaInstall('a<2', 'b'))).toEqual([
      'FROM base',
      "RUN micromamba install 'a<2' b --yes",
    ]);
    const token = { env: { T: 'x' }, channels: ['https://u:${T}@h/c'] };
    expect(await lastLines(base.micromambaInstall('a', token))).toEqual([
      'FROM base',
      'RUN micromamba install a -c "https://u:${T}@h/c" --yes',
    ]);
  });

  test('a file says what to install; its content is in the key', async () => {
    await using tree = await temporaryTree({
      'environment.yml': 'dependencies: [a]',
      'other/environment.yml': 'dependencies: [b]',
      'my env.yml': '',
    });
    const base = Image.micromamba();
    const of = async (path: string) =>
      (await planOf(base.micromambaInstall('x', { specFile: join(tree.path, path), channels: ['c'] })))
        .layers[1];
    const layer = await of('environment.yml');
    expect(layer?.commands).toEqual([
      'FROM base',
      'COPY /environment.yml /environment.yml',
      'RUN micromamba install x -f /environment.yml -n base -c c --yes',
    ]);
    expect(Object.keys(layer?.contextFiles ?? {})).toEqual(['/environment.yml']);
    expect(layer?.definitionHash).not.toBe((await of('other/environment.yml'))?.definitionHash);
    expect((await of('my env.yml'))?.commands[2]).toBe(
      "RUN micromamba install x -f '/my env.yml' -n base -c c --yes",
    );
    await expect(of('none.yml')).rejects.toThrow(code('E_LOCAL_FILE_MISSING'));
  });

  test('nothing to install is no layer; a mistake is one even so', () => {
    const base = Image.micromamba();
    expect(base.micromambaInstall()).toBe(base);
    expect(base.micromambaInstall([], { channels: ['c'] })).toBe(base);
    expect(() => base.micromambaInstall(untyped({ spec_file: 'x' }))).toThrow(code('E_UNKNOWN_OPTION'));
    expect(() => base.micromambaInstall('a', untyped({ channels: 'c' }))).toThrow(code('E_ARG_TYPE'));
    expect(() => base.micromambaInstall(untyped([['a']]))).toThrow(code('E_NOT_STRINGS'));
    expect(() => Image.micromamba({ pythonVersion: '3.14t' })).toThrow(code('E_FREE_THREADED'));
    expect(() => Image.micromamba({ pythonVersion: untyped(3.1) })).toThrow(code('E_PYTHON_VERSION_TYPE'));
  });
});

describe('a Dockerfile', () => {
  test('Python is a second layer', async () => {
    const image = Image.fromDockerfile({ text: 'FROM debian\nRUN a\n' }, { addPython: '3.12' });
    const { layers } = await planOf(image);
    expect(layers.map(({ method, commands }) => [method, ...commands])).toEqual([
      ['fromDockerfile', 'FROM debian', 'RUN a'],
      ['fromDockerfile', 'FROM base', COPY, LINK, TERMINFO],
    ]);
    expect(layers.map(({ contextMount }) => contextMount)).toEqual([null, { standalonePython: PYTHON_312 }]);
    expect(image.recipeHash).not.toBe(Image.fromDockerfile({ text: 'FROM debian\nRUN a\n' }).recipeHash);
  });
});

const BASES: readonly (readonly [string, (options: { addPython?: string }) => Image])[] = [
  ['fromRegistry', (options) => Image.fromRegistry('a', options)],
  ['fromDockerfile', (options) => Image.fromDockerfile({ text: 'FROM a' }, options)],
  ['ubuntu', (options) => Image.ubuntu(options)],
];

describe.each(BASES)('addPython of %s', (_, make) => {
  test.each([
    [3.1, 'E_PYTHON_VERSION_TYPE'],
    [true, 'E_PYTHON_VERSION_TYPE'],
    ['3.12.1', 'E_PYTHON_MICRO'],
    ['3.14.2t', 'E_PYTHON_MICRO'],
    ['3.14.0rc1', 'E_PYTHON_MICRO'],
    ['3', 'E_PYTHON_VERSION_FORMAT'],
    ['3.14rc1', 'E_PYTHON_VERSION_FORMAT'],
    ['2.7', 'E_PYTHON_VERSION_FORMAT'],
    ['', 'E_PYTHON_VERSION_FORMAT'],
    ['3.12 ', 'E_PYTHON_VERSION_FORMAT'],
  ])('%j is %s at once', (addPython, expected) => {
    expect(() => make({ addPython: untyped(addPython) })).toThrow(code(expected));
  });

  test.each(['3.9', '3.15', '3.13t'])('%s is unsupported, which the plan says', async (addPython) => {
    await expect(planOf(make({ addPython }))).rejects.toThrow(code('E_PYTHON_VERSION_UNSUPPORTED'));
  });
});

describe('builder versions (B5)', () => {
  const SERIES = ['3.10', '3.11', '3.12', '3.13', '3.14', '3.14t'];
  const OLD = { pythonSeries: SERIES, debian: 'bookworm', debianPython: '3.11', ubuntu: '22.04' };
  const NEW = { pythonSeries: SERIES, debian: 'trixie', debianPython: '3.13', ubuntu: '24.04' };
  const MICROMAMBA = { micromamba: '2.1.1-debian12-slim' };

  test('are what they were', () => {
    expect(BUILDER_VERSIONS).toEqual({
      '2025.06': { ...OLD, ...MICROMAMBA },
      '2026.10': { ...NEW, ...MICROMAMBA },
      PREVIEW: { ...NEW, ...MICROMAMBA },
    });
  });

  test.each([
    ['2025.06', 'ubuntu:22.04', 'python:3.12-slim-bookworm'],
    ['2026.10', 'ubuntu:24.04', 'python:3.12-slim-trixie'],
    ['PREVIEW', 'ubuntu:24.04', 'python:3.12-slim-trixie'],
  ] as const)('%s', async (builderVersion: BuilderVersion, ubuntu, slim) => {
    const options = { builderVersion };
    expect((await lastLines(Image.ubuntu(options)))[0]).toBe(`FROM ${ubuntu}`);
    expect((await lastLines(Image.debianSlim(options)))[0]).toBe(`FROM ${slim}`);
    expect((await lastLines(Image.micromamba(options)))[0]).toBe(
      'FROM mambaorg/micromamba:2.1.1-debian12-slim',
    );
  });

  test.each([
    ['3.10', '20230826', '3.10.13'],
    ['3.11', '20230826', '3.11.5'],
    ['3.12', '20240107', '3.12.1'],
    ['3.13', '20241008', '3.13.0'],
    ['3.14', '20251205', '3.14.2'],
    ['3.14t', '20251209', '3.14.2'],
  ])('the standalone Python %s is %s, %s', async (series, release, version) => {
    const layer = await first(Image.fromRegistry('a', { addPython: series }));
    expect(layer?.contextMount).toEqual({ standalonePython: { series, release, version, libc: 'gnu' } });
  });

  test('archives are named as the project names them, for each architecture', () => {
    const names = Object.keys(STANDALONE_RELEASES).flatMap((series) =>
      ['linux/amd64', 'linux/arm64'].map(
        (platform) => sourcePython({ series }, '2026.10', parsePlatform(platform)).file,
      ),
    );
    expect(names).toEqual(
      [
        ['3.10.13+20230826', 'install_only.tar.gz'],
        ['3.11.5+20230826', 'install_only.tar.gz'],
        ['3.12.1+20240107', 'install_only.tar.gz'],
        ['3.13.0+20241008', 'install_only_stripped.tar.gz'],
        ['3.14.2+20251205', 'install_only_stripped.tar.gz'],
        ['3.14.2+20251209', 'freethreaded+pgo+lto-full.tar.zst'],
      ].flatMap(([version, flavour]) =>
        ['x86_64', 'aarch64'].map((machine) => `cpython-${version}-${machine}-unknown-linux-gnu-${flavour}`),
      ),
    );
    const digests = Object.values(STANDALONE_RELEASES).flatMap(({ sha256 }) => Object.values(sha256));
    expect(new Set(digests).size).toBe(12);
    expect(digests.filter((each) => !/^[0-9a-f]{64}$/.test(each))).toEqual([]);
    expect(names.map(treeInArchive)).toEqual([
      ...Array(10).fill('/python'),
      '/python/install',
      '/python/install',
    ]);
  });

  test('there is none for other platforms', () => {
    expect(() =>
      sourcePython({ series: '3.12' }, '2026.10', { os: 'linux', architecture: 'riscv64' }),
    ).toThrow(code('E_PYTHON_VERSION_UNSUPPORTED'));
  });
});

describe('Python versions (B6)', () => {
  test.each([
    ['3.12', '3.12'],
    ['3.12.10', '3.12'],
    ['3.14t', '3.14t'],
    ['3.14.2t', '3.14t'],
    ['3.14rc1', '3.14'],
    ['3.14.0rc2t', '3.14t'],
  ])('the series of %s is %s', (version, series) => {
    expect(seriesOf(version)).toBe(series);
  });

  const SLIM = (options: object) => Image.debianSlim(options);
  const MAMBA = (options: object) => Image.micromamba(options);

  test.each([
    ['debianSlim', SLIM],
    ['micromamba', MAMBA],
  ])('%s: shapes', async (_, make) => {
    for (const [version, expected] of [
      ['3', 'E_PYTHON_VERSION_FORMAT'],
      ['3.', 'E_PYTHON_VERSION_FORMAT'],
      ['3.123', 'E_PYTHON_VERSION_FORMAT'],
      ['3.12.1.1', 'E_PYTHON_VERSION_FORMAT'],
      ['4.1', 'E_PYTHON_VERSION_FORMAT'],
      ['python3.12', 'E_PYTHON_VERSION_FORMAT'],
      ['', 'E_PYTHON_VERSION_FORMAT'],
      ['3.14t', 'E_FREE_THREADED'],
      ['3.14.2t', 'E_FREE_THREADED'],
      [3.12, 'E_PYTHON_VERSION_TYPE'],
      [null, 'E_PYTHON_VERSION_TYPE'],
    ]) {
      expect(() => make({ pythonVersion: version }), String(version)).toThrow(code(String(expected)));
    }
    for (const version of ['3.10', '3.12.10', '3.14rc1', '3.14.0rc1']) {
      expect((await lastLines(make({ pythonVersion: version }))).join('\n')).toContain(version);
    }
    await expect(planOf(make({ pythonVersion: '3.9' }))).rejects.toThrow(
      code('E_PYTHON_VERSION_UNSUPPORTED'),
    );
  });

  test.each<[string | undefined, string | undefined, string, string]>([
    // TSBUILD_PYTHON_VERSION, the host's, what micromamba gets, what is added to Ubuntu
    [undefined, undefined, '3.12', '3.12'],
    [undefined, '3.11', '3.11', '3.11'],
    [undefined, '3.9', '3.12', '3.12'],
    ['3.13', '3.11', '3.13', '3.13'],
    ['3.10.4', undefined, '3.10.4', '3.10'],
  ])(
    'with TSBUILD_PYTHON_VERSION %j and python3 %j on the host',
    async (variable, hostPython, mamba, ubuntu) => {
      const given = {
        ...(variable === undefined ? {} : { env: { TSBUILD_PYTHON_VERSION: variable } }),
        ...(hostPython === undefined ? {} : { hostPython }),
      };
      expect((await lastLines(Image.micromamba(), given)).at(-1)).toContain(`python=${mamba} `);
      const plan = await planOf(Image.ubuntu(), given);
      expect(plan.layers[0]?.contextMount?.standalonePython?.series).toBe(ubuntu);
      expect(plan.diagnostics.map((each) => each.code)).toEqual(
        hostPython === '3.9' ? ['W_PYTHON_FALLBACK'] : [],
      );
    },
  );

  test('what the settings say counts as asked for', async () => {
    const given = (value: string) => ({ env: { TSBUILD_PYTHON_VERSION: value } });
    for (const [value, expected] of [
      ['3.9', 'E_PYTHON_VERSION_UNSUPPORTED'],
      ['new', 'E_PYTHON_VERSION_FORMAT'],
    ] as const) {
      await expect(planOf(Image.ubuntu(), given(value))).rejects.toThrow(code(expected));
      await expect(planOf(Image.micromamba(), given(value))).rejects.toThrow(code(expected));
    }
    await expect(planOf(Image.micromamba(), given('3.14t'))).rejects.toThrow(code('E_FREE_THREADED'));
    const free = await planOf(Image.ubuntu(), given('3.14.2t'));
    expect(free.layers[0]?.contextMount?.standalonePython?.series).toBe('3.14t');
    await expect(planOf(Image.ubuntu({ addPython: false }), given('3.9'))).resolves.toBeDefined();
  });
});
