/** Recipes of the feature table whose plan says more than one line. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the shell expands them, not JavaScript.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Image } from '../../../../src/frontend/fluent/image.ts';
import { lastLines, planOf } from '../../../support/image-surroundings.ts';
import { temporaryTree } from '../../../support/temporary-tree.ts';

const base = Image.fromScratch();
const codes = async (image: Image) => (await planOf(image)).diagnostics.map((each) => each.code);

test('an older builder version means an older Debian (C4)', async () => {
  const plan = await planOf(Image.debianSlim({ pythonVersion: '3.12', builderVersion: '2025.06' }));
  expect(plan.layers[0]?.commands).toEqual(['FROM python:3.12-slim-bookworm']);
  expect(plan.builderVersion).toBe('2025.06');
});

describe('packages', () => {
  test('lists and strings are one list (C27)', async () => {
    const flat = await planOf(base.pipInstall('x', 'y', 'z'));
    expect(await planOf(base.pipInstall('x', ['y', 'z']))).toEqual(flat);
    expect(await planOf(base.pipInstall(['z', 'y', 'x']))).toEqual(flat);
  });

  test('links, index and extra index are given in this order, quoted (C30)', async () => {
    const options = { extraIndexUrl: 'https://e?x=1', indexUrl: 'https://i?y=2', findLinks: 'https://f?z=3' };
    expect(await lastLines(base.pipInstall('a', options))).toContain(
      "RUN python -m pip install a --find-links 'https://f?z=3' --index-url 'https://i?y=2' --extra-index-url 'https://e?x=1'",
    );
  });

  test('uv reads a requirements file (C42)', async () => {
    await using tree = await temporaryTree({ 'requirements.txt': 'numpy==2.1.0\n' });
    const image = base.uvPipInstallFromRequirements(join(tree.path, 'requirements.txt'));
    const lines = await lastLines(image);
    expect(lines).toContain('COPY /.0_requirements.txt /.uv/0/requirements.txt');
    expect(lines.at(-1)).toMatch(/ --requirements \/\.uv\/0\/requirements\.txt$/);
  });

  test('requirement files of one name are kept apart (C43)', async () => {
    await using tree = await temporaryTree({ 'a/r.txt': 'x', 'b/r.txt': 'y' });
    const requirements = ['a/r.txt', 'b/r.txt'].map((name) => join(tree.path, name));
    const layer = (await planOf(base.uvPipInstall({ requirements }))).layers.at(-1);
    expect(layer?.commands.at(-1)).toMatch(
      / --requirements \/\.uv\/0\/r\.txt --requirements \/\.uv\/1\/r\.txt$/,
    );
    expect(Object.keys(layer?.contextFiles ?? {})).toEqual(['/.0_r.txt', '/.1_r.txt']);
  });

  test('apt keeps the order, and is warned when it is told to purge (C56, C58)', async () => {
    expect(await lastLines(base.aptInstall('chromium', 'chromium-driver'))).toContain(
      'RUN apt-get install -y chromium chromium-driver',
    );
    const purge = base.aptInstall('--purge', 'build-essential', 'cmake');
    expect(await lastLines(purge)).toContain('RUN apt-get install -y --purge build-essential cmake');
    expect(await codes(purge)).toEqual(['W_APT_PURGE']);
  });
});

describe('commands', () => {
  test('an installer that is piped into a shell (C51)', async () => {
    const image = base.runCommands(
      'curl -sSL https://install.python-poetry.org | python3 -',
      "export PATH='/root/.local/bin:$PATH'",
    );
    expect(await lastLines(image)).toEqual([
      'FROM base',
      'RUN curl -sSL https://install.python-poetry.org | python3 -',
      "RUN export PATH='/root/.local/bin:$PATH'",
    ]);
    expect(await codes(image)).toEqual(['W_EXPORT_LOST']);
  });

  test.each([
    ['a download (C70)', 'wget https://x.example/a?b=c&d -O /models/x'],
    ['builds of the project (C68)', 'cd /app && python setup.py build_ext --inplace'],
  ])('are as they are written: %s', async (_, command) => {
    expect(await lastLines(base.runCommands(command))).toEqual(['FROM base', `RUN ${command}`]);
  });

  test('one layer, whatever the number of strings (C61)', async () => {
    const plan = await planOf(base.runCommands('a', 'b').runCommands('c'));
    expect(plan.layers.map(({ commands }) => commands)).toEqual([
      ['FROM scratch'],
      ['FROM base', 'RUN a', 'RUN b'],
      ['FROM base', 'RUN c'],
    ]);
  });

  test('what is lost between them is told, and only then', async () => {
    expect(await codes(base.runCommands('cd /tmp', 'pwd > /p'))).toEqual(['W_CD_LOST']);
    expect(await codes(base.runCommands('cd /tmp', 'pwd > /p', { sharedShell: true }))).toEqual([]);
  });
});

test('keyword arguments of env() are members of an object (C72)', async () => {
  expect(await lastLines(base.env({ ENVIRONMENT: 'production', API_TIMEOUT: '30' }))).toEqual([
    'FROM base',
    'ENV ENVIRONMENT=production',
    'ENV API_TIMEOUT=30',
  ]);
});

test('a recipe as a function is the same as its chain (C144)', async () => {
  const tools = (image: Image, name: string) => image.aptInstall(name).workdir('/app');
  expect(await planOf(base.pipe(tools, 'x').cmd(['y']))).toEqual(
    await planOf(base.aptInstall('x').workdir('/app').cmd(['y'])),
  );
});

test('build args of lines of a Dockerfile are recorded, and counted (C152)', async () => {
  const layer = async (MY_ARG: string) =>
    (await planOf(base.dockerfileCommands(['ARG MY_ARG', 'RUN echo $MY_ARG'], { buildArgs: { MY_ARG } })))
      .layers[1];
  const hello = await layer('hello');
  expect(hello?.buildArgs).toEqual({ MY_ARG: 'hello' });
  expect((await layer('bye'))?.definitionHash).not.toBe(hello?.definitionHash);
});
