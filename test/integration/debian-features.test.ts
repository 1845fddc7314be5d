/**
 * What the methods of the Image API do on a real Debian: apt, pip, the distribution's Python. The bases are assembled once,
 * by a user without privileges, from Debian's mirror; packages come from there too.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import { provideDefaultEngine } from '../../src/frontend/fluent/image-engine.ts';
import { type Account, makeAccount } from '../support/account.ts';
import { TestRegistry } from '../support/registry.ts';
import { lacks } from '../support/requires.ts';
import { tinyWheel } from '../support/tiny-wheel.ts';
import { installTsbuild, networkEnvironment, type RunSetting, run, succeed } from '../support/tsbuild.ts';

const DEFINITION = `import { Image } from 'tsbuild';
export const plain = Image.fromDebian();
export const slim = Image.debianSlim({ source: 'archive' });
`;

/** Downloads and assembles; about a minute for all of it on two idle cores. */
const MAY_TAKE_MS = 300_000;

describe.skipIf(lacks('root', 'bwrap', 'newuidmap'))('on Debian', { timeout: MAY_TAKE_MS }, () => {
  let directory: string;
  let account: Account;
  /** Of the user without privileges. */
  let setting: RunSetting;
  let engine: Engine;
  let slim: Image;
  let registry: TestRegistry;
  const at = (...parts: string[]) => join(directory, ...parts);

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-debian-features-'));
    account = makeAccount({ subordinateIds: true });
    const package_ = `${account.home}/package`;
    setting = {
      tsbuild: installTsbuild(package_),
      account,
      env: {
        TSBUILD_HOME: `${account.home}/store`,
        HOME: account.home,
        TMPDIR: account.home,
        ...networkEnvironment(),
      },
    };
    writeFileSync(`${account.home}/image.ts`, DEFINITION);
    for (const name of ['plain', 'slim']) {
      const output = `type=oci,dest=${account.home}/${name},tar=false`;
      await succeed(['build', `${account.home}/image.ts::${name}`, '-t', name, '-o', output], setting);
    }
    engine = await Engine.open({ storeDir: at('store'), env: { ...process.env, HOME: directory } });
    provideDefaultEngine(async () => engine);
    slim = Image.fromOciLayout(`${account.home}/slim`);
    registry = await TestRegistry.start();
    await Image.fromOciLayout(`${account.home}/plain`).push(`${registry.host}/distribution:1`);
  }, MAY_TAKE_MS);
  afterAll(async () => {
    await engine?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    account?.[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  const text = async (image: Image, path: string) => (await image.readFile(path)).toString();

  test('a user without privileges builds bases from the archive, with a Python that has pip (C5)', async () => {
    const { stdout } = await succeed(['run', 'slim', '--', 'python', '-m', 'pip', '--version'], setting);
    expect(stdout).toMatch(/^pip \S+ from \/usr\/lib\/python3\/dist-packages\/pip \(python 3\.13\)\n$/);
    const os = await succeed(
      ['run', 'plain', '--', 'sh', '-c', 'dpkg --audit; . /etc/os-release; echo $ID'],
      setting,
    );
    expect(os.stdout).toBe('debian\n');
  });

  test('what is in an image can be asked, and a command says how it ended (C138)', async () => {
    const pip = await slim.run(['pip', 'list']);
    expect([pip.exitCode, pip.stdout]).toEqual([0, expect.stringMatching(/^pip +\d/m)]);
    const dpkg = await slim.run(['dpkg', '-l']);
    expect(dpkg.stdout).toMatch(/^ii +python3-pip /m);
    const version = await slim.run(['python', '-c', 'import sys; print(sys.version); sys.exit(3)']);
    expect([version.exitCode, version.stdout]).toEqual([3, expect.stringMatching(/^3\.13\./)]);
    const missing = await slim.run(['dpkg', '-L', 'no-such-package']);
    expect([missing.exitCode, missing.stderr]).toEqual([1, expect.stringContaining('is not installed')]);
    const ran = await run(['run', 'slim', '--', 'sh', '-c', 'pip list; exit 4'], setting);
    expect([ran.status, ran.stdout]).toEqual([4, expect.stringMatching(/^pip +\d/m)]);
  });

  test('an edit of Python sources that are added last builds nothing (C158)', async () => {
    const say = (word: string) => writeFileSync(at('project/app.py'), `WORD = "${word}"\n`);
    mkdirSync(at('project'));
    say('before');
    const image = slim.runCommands('true').addLocalPythonSource('app', { searchPaths: [at('project')] });
    const word = async () => (await image.run(['python', '-c', 'import app; print(app.WORD)'])).stdout;
    expect(await word()).toBe('before\n');
    say('after');
    expect(await word()).toBe('after\n');
    expect((await image.build()).layers.map(({ cached }) => cached)).toEqual([true, true]);
  });

  test('apt installs packages, and tests of a project run in the image (C58, C139)', async () => {
    mkdirSync(at('src/tests'), { recursive: true });
    writeFileSync(at('src/calc.py'), 'def double(x):\n    return 2 * x\n');
    writeFileSync(
      at('src/tests/test_good.py'),
      'import os, src.calc\ndef test_double():\n    assert src.calc.double(2) == 4 and os.getcwd() == "/app"\n',
    );
    writeFileSync(
      at('src/tests/test_bad.py'),
      'import src.calc\ndef test_bad():\n    assert src.calc.double(2) == 5\n',
    );
    const image = slim
      .aptInstall('--no-install-recommends', 'tree', 'python3-pytest')
      .copyLocalDir(at('src'), '/app/src');
    expect((await image.run(['tree', '--version'])).stdout).toMatch(/^tree v/);
    const pytest = (path: string) => image.run(['python', '-m', 'pytest', path, '-v'], { workdir: '/app' });
    const good = await pytest('src/tests/test_good.py');
    expect([good.exitCode, good.stdout]).toEqual([0, expect.stringContaining('test_double PASSED')]);
    const bad = await pytest('src/tests/');
    expect([bad.exitCode, bad.stdout]).toEqual([1, expect.stringContaining('test_bad FAILED')]);
  });

  test('a line is appended to a file of the base (C67)', async () => {
    const before = await text(slim, '/root/.bashrc');
    expect(before).not.toBe('');
    const image = slim.runCommands("echo 'export GREETING=hello' >> /root/.bashrc");
    expect(await text(image, '/root/.bashrc')).toBe(`${before}export GREETING=hello\n`);
  });

  test('pip reads a requirements file that was copied; an edit builds both layers anew (C69)', async () => {
    mkdirSync(at('wheels'));
    for (const version of ['1.0', '2.0']) {
      const { fileName, bytes } = tinyWheel('tinything', version);
      writeFileSync(at('wheels', fileName), bytes);
    }
    const require = (version: string) =>
      writeFileSync(at('requirements.txt'), `--no-index\n--find-links /wheels\ntinything==${version}\n`);
    const image = slim
      .copyLocalDir(at('wheels'), '/wheels')
      .copyLocalFile(at('requirements.txt'), '/app/requirements.txt')
      .runCommands('pip install -r /app/requirements.txt');
    const installed = async () =>
      (await image.run(['python', '-c', 'import tinything as t; print(t.VERSION)'])).stdout;
    require('1.0');
    expect(await installed()).toBe('1.0\n');
    expect((await image.build()).layers.map(({ cached }) => cached)).toEqual([true, true, true, true]);
    require('2.0');
    expect((await image.build()).layers.map(({ cached }) => cached)).toEqual([true, true, false, false]);
    expect(await installed()).toBe('2.0\n');
  });

  describe('of a registry, without Python', () => {
    const distribution = () => Image.fromRegistry(`${registry.host}/distribution:1`);

    test('apt asks no questions, and the image does not know why (C59)', async () => {
      const seen = 'echo "frontend=$DEBIAN_FRONTEND" > /seen';
      const image = distribution()
        .aptRemove('tzdata', { autoremove: false })
        .aptInstall('-o', `DPkg::Pre-Invoke::=${seen}`, 'tzdata');
      expect(await text(image, '/seen')).toBe('frontend=noninteractive\n');
      expect((await image.run(['dpkg', '-s', 'tzdata'])).stdout).toContain('Status: install ok installed');
      const { config } = await image.build();
      expect(JSON.stringify(config.config)).not.toContain('DEBIAN_FRONTEND');
      expect((await image.run(['sh', '-c', 'echo "${DEBIAN_FRONTEND-unset}"'])).stdout).toBe('unset\n');
    });

    test("pipInstall() uses the distribution's Python (C60)", async () => {
      const { fileName, bytes } = tinyWheel('tinything', '3.0');
      writeFileSync(at(fileName), bytes);
      const image = distribution()
        .aptInstall('--no-install-recommends', 'python3', 'python3-pip')
        .runCommands('ln -s /usr/bin/python3 /usr/bin/python', 'rm /usr/lib/python3*/EXTERNALLY-MANAGED')
        .copyLocalFile(at(fileName), `/${fileName}`)
        .pipInstall(`/${fileName}`, { extraOptions: '--no-index' });
      const script = 'import sys, tinything; print(sys.executable, sys.version_info[:2], tinything.VERSION)';
      const { stdout } = await image.run(['/usr/bin/python3', '-c', script]);
      expect(stdout).toBe('/usr/bin/python3 (3, 13) 3.0\n');
      expect((await image.run(['python', '-m', 'pip', '--version'])).stdout).toContain(
        '/usr/lib/python3/dist-packages/pip',
      );
    });
  });
});
