/** What the methods of the Image API do in a real build, on a base of one static busybox; no network. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import { busyboxImage } from '../support/busybox.ts';
import { TestRegistry } from '../support/registry.ts';
import { lacks } from '../support/requires.ts';
import { succeed } from '../support/tsbuild.ts';

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('features of the Image API', () => {
  let directory: string;
  let engine: Engine;
  const at = (...parts: string[]) => join(directory, ...parts);

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-features-'));
    engine = await Engine.open({
      storeDir: at('store'),
      env: { PATH: process.env.PATH, HOME: directory },
    });
  });
  afterAll(async () => {
    await engine?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  const built = async (image: Image) => {
    const [only] = await engine.build([image]);
    if (only === undefined) {
      throw new Error('one image makes one result');
    }
    return only;
  };
  const configOf = async (image: Image) => (await built(image)).config.config ?? {};
  const text = async (image: Image, path: string) => (await engine.readFile(image, path)).toString();

  const LINES = [
    '# syntax=docker/dockerfile:1',
    'FROM scratch AS made',
    'COPY  sh   /bin/sh',
    '',
    'ENV PATH=/bin',
    'ARG V=none',
    'RUN echo $V \\',
    '  > /v',
  ];
  const given = () => {
    mkdirSync(at('context'), { recursive: true });
    writeFileSync(at('context/Dockerfile'), `${LINES.join('\n')}\n`);
    writeFileSync(at('context/sh'), readFileSync('/bin/busybox'), { mode: 0o755 });
    return { contextDir: at('context') };
  };

  describe('bases', () => {
    test('debianSlim() takes the series of the python3 that is first on PATH (C2)', async () => {
      mkdirSync(at('bin'));
      writeFileSync(at('bin/python3'), "#!/bin/sh\necho 'Python 3.11.9'\n");
      chmodSync(at('bin/python3'), 0o755);
      await using other = await Engine.open({
        storeDir: at('other'),
        env: { PATH: `${at('bin')}:${process.env.PATH}`, HOME: directory },
      });
      const plan = await other.plan(Image.debianSlim());
      expect(plan.layers[0]?.commands).toEqual(['FROM python:3.11-slim-trixie']);
      expect(plan.diagnostics).toEqual([]);
    });

    test('nothing but one file (C25)', async () => {
      writeFileSync(at('one.txt'), 'one');
      const image = Image.fromScratch().addLocalFile(at('one.txt'), '/one.txt', { copy: true });
      expect(await engine.listFiles(image, '/')).toEqual(['/one.txt']);
      expect(await text(image, '/one.txt')).toBe('one');
      expect((await built(image)).config.rootfs.diff_ids).toHaveLength(1);
    });

    test('build({ offline }) asks no registry: what the store has is built on, and nothing else', async () => {
      await using registry = await TestRegistry.start();
      const reference = `${registry.host}/base:1`;
      await engine.push(busyboxImage(), reference);
      await using other = await Engine.open({ storeDir: at('offline'), env: { HOME: directory } });
      const image = Image.fromRegistry(reference).runCommands('echo hi > /hi');
      const asked = registry.requests.length;
      await expect(other.build([image], { offline: true })).rejects.toMatchObject({ code: 'E_OFFLINE' });
      expect(registry.requests.length).toBe(asked);
      await other.build([Image.fromRegistry(reference)]);
      const online = registry.requests.length;
      const [again] = await other.build([image], { offline: true });
      expect(again?.layers.map(({ cached }) => cached)).toEqual([true, false]);
      expect(registry.requests.length).toBe(online);
    });

    test("entrypoint([]) clears the base's (C17)", async () => {
      const shell = ['/bin/sh', '-c', 'echo "of the base"'];
      await engine.exportTo(busyboxImage().entrypoint(shell), at('with-entrypoint'), {
        format: 'oci-layout',
      });
      const base = Image.fromOciLayout(at('with-entrypoint'));
      expect((await engine.run(base, ['/bin/sh', '-c', 'echo mine'])).stdout).toBe('of the base\n');
      const cleared = base.entrypoint([]);
      expect((await configOf(cleared)).Entrypoint ?? []).toEqual([]);
      expect((await engine.run(cleared, ['/bin/sh', '-c', 'echo mine'])).stdout).toBe('mine\n');
    });
  });

  describe('Dockerfiles', () => {
    test('the lines of the plan are those of the file (C19)', async () => {
      const plan = await engine.plan(Image.fromDockerfile(at('context/Dockerfile'), given()));
      expect(plan.layers.map(({ method }) => method)).toEqual(['fromDockerfile']);
      expect(plan.layers[0]?.commands).toEqual(LINES);
    });

    test('build args have a value (C20)', async () => {
      const image = (buildArgs: Record<string, string>) =>
        Image.fromDockerfile(at('context/Dockerfile'), { ...given(), buildArgs });
      expect(await text(image({ V: '3.11' }), '/v')).toBe('3.11\n');
      expect(await text(image({}), '/v')).toBe('none\n');
    });

    test('build args of dockerfileCommands() have a value (C152)', async () => {
      const image = busyboxImage().dockerfileCommands(['ARG MY_ARG', 'RUN echo "$MY_ARG" > /arg'], {
        buildArgs: { MY_ARG: 'hello' },
      });
      expect(await text(image, '/arg')).toBe('hello\n');
    });
  });

  describe('decisions', () => {
    const ID = 'cat /proc/sys/kernel/random/uuid > /id';

    test('forceBuild of a Dockerfile forces all of it', async () => {
      writeFileSync(
        at('forced.Dockerfile'),
        `FROM scratch\nCOPY sh /bin/sh\nENV PATH=/bin\nRUN ${ID}\nRUN true\n`,
      );
      const image = (forceBuild: boolean) =>
        Image.fromDockerfile(at('forced.Dockerfile'), { ...given(), forceBuild });
      const first = await text(image(false), '/id');
      expect(await text(image(false), '/id')).toBe(first);
      expect(await text(image(true), '/id')).not.toBe(first);
    });

    test('to force and to ignore the cache at once is to ignore it', async () => {
      const image = busyboxImage().runCommands(ID);
      const [before] = await engine.build([image]);
      const [apart] = await engine.build([image], { forceBuild: true, ignoreCache: true });
      const [after] = await engine.build([image]);
      expect(apart?.digest).not.toBe(before?.digest);
      expect(after?.digest).toBe(before?.digest);
    });

    test('variables in sources of COPY are expanded, unknown ones are warned about', async () => {
      const lines = ['ARG WHAT=sh', 'COPY $WHAT /of-arg', 'ENV DIR=.', 'COPY ${DIR}/sh /of-env'];
      const image = busyboxImage().dockerfileCommands(lines, given());
      expect(await engine.exists(image, '/of-arg')).toBe(true);
      expect(await engine.exists(image, '/of-env')).toBe(true);
      const unknown = busyboxImage().dockerfileCommands(['COPY $NOBODY_SAYS /x'], given());
      expect((await built(unknown)).diagnostics).toEqual([
        expect.objectContaining({ code: 'UndefinedVar', layer: 3 }),
      ]);
    });
  });

  describe('commands', () => {
    test('are read by the shell: substitution, redirection, quotes, && (C62)', async () => {
      const image = busyboxImage().runCommands(
        'echo $(nproc) > /n && test -s /n',
        `printf '%s|' "a b" 'c "d"' > /quotes; false || echo "e" >> /quotes`,
      );
      expect(await text(image, '/n')).toMatch(/^[1-9]\d*\n$/);
      expect(await text(image, '/quotes')).toBe('a b|c "d"|e\n');
    });

    test('cd holds in one shell only, unless it is shared (C65)', async () => {
      const base = busyboxImage().runCommands('mkdir /tmp');
      const apart = base.runCommands('cd /tmp', 'pwd > /p');
      const together = base.runCommands('cd /tmp', 'pwd > /p', { sharedShell: true });
      expect([await text(apart, '/p'), await text(together, '/p')]).toEqual(['/\n', '/tmp\n']);
      expect((await built(apart)).diagnostics).toEqual([
        expect.objectContaining({ code: 'W_CD_LOST', layer: 4 }),
      ]);
      expect((await built(together)).diagnostics).toEqual([]);
    });

    test('export holds in one shell only (C66)', async () => {
      const image = busyboxImage().runCommands('export A=1', 'echo ${A:-unset} > /a');
      expect(await text(image, '/a')).toBe('unset\n');
    });

    test('a step variable is seen by its call only, and counts (C154)', async () => {
      const step = (value: string) =>
        busyboxImage()
          .runCommands('echo "${FOO-unset} ${BAR-unset}" > /in; cat /proc/sys/kernel/random/uuid > /id', {
            env: { FOO: value, BAR: null },
          })
          .runCommands('echo "${FOO-unset}" > /after');
      expect(await text(step('1'), '/in')).toBe('1 unset\n');
      expect(await text(step('1'), '/after')).toBe('unset\n');
      const { config, history } = (await built(step('1'))).config;
      expect(JSON.stringify([config?.Env, history])).not.toContain('FOO=');
      const first = await text(step('1'), '/id');
      expect(await text(step('1'), '/id')).toBe(first);
      expect(await text(step('2'), '/id')).not.toBe(first);
    });
  });

  test('what the plan warns about, the build warns about: as events, and on the image', async () => {
    mkdirSync(at('project/.git'), { recursive: true });
    writeFileSync(at('project/.git/config'), '');
    const shared = busyboxImage().copyLocalDir(at('project'), '/app');
    const forced = shared.runCommands('cd /app', 'true', { forceBuild: true });
    const sent: unknown[] = [];
    const [first, second] = await engine.build([shared, forced], {
      logger: (event) => event.kind === 'warning' && sent.push(event.code),
    });
    expect(second?.diagnostics.map(({ code, layer }) => [code, layer])).toEqual([
      ['W_CD_LOST', 4],
      ['W_FORCE_BUILD_LEFT', 4],
      ['W_COPY_UNFILTERED', 3],
    ]);
    expect(first?.diagnostics.map(({ code }) => code)).toEqual(['W_COPY_UNFILTERED']);
    expect(sent).toEqual(['W_CD_LOST', 'W_FORCE_BUILD_LEFT', 'W_COPY_UNFILTERED']);
  });

  test('the command warns about style when it is asked to (C145, C146)', async () => {
    const definition = at('style.ts');
    writeFileSync(
      definition,
      "import { Image } from 'tsbuild';\nexport default Image.fromScratch().uvPipInstall('torch').uvPipInstall('torch==2.1.0').pipInstall('a==1');\n",
    );
    const setting = { env: { TSBUILD_HOME: at('store-of-command'), HOME: directory } };
    const warnings = async (...flags: string[]) => {
      const { stdout } = await succeed(['plan', ...flags, definition], setting);
      return [...stdout.matchAll(/^# warning (\w+) \(layer (\d)\)/gm)].map(([, code, layer]) => [
        code,
        layer,
      ]);
    };
    expect(await warnings('--lint')).toEqual([
      ['W_UNPINNED', '2'],
      ['W_PIP_WHERE_UV', '4'],
    ]);
    expect(await warnings()).toEqual([]);
  });

  describe('configuration', () => {
    test('env() is in it, in order, and in later steps (C71, C74)', async () => {
      const image = busyboxImage()
        .env({ MY_VAR: 'value', DEBUG: 'true', HF_HOME: '/m' })
        .runCommands('echo $HF_HOME > /h');
      expect(await text(image, '/h')).toBe('/m\n');
      expect((await configOf(image)).Env).toEqual(['PATH=/bin', 'MY_VAR=value', 'DEBUG=true', 'HF_HOME=/m']);
    });

    test('values of env() are literal (C75)', async () => {
      const vars = { A: "x y'z", P: '/a:$PATH', L: 'one\ntwo', Q: '"\\' };
      const image = busyboxImage().env(vars).runCommands(`printf '%s|' "$A" "$P" "$L" "$Q" > /seen`);
      expect((await configOf(image)).Env).toEqual([
        'PATH=/bin',
        ...Object.entries(vars).map(([name, value]) => `${name}=${value}`),
      ]);
      expect(await text(image, '/seen')).toBe(`${Object.values(vars).join('|')}|`);
    });

    test('workdir() is in it, is made, and is where later steps are (C76)', async () => {
      const image = busyboxImage().workdir('/app').runCommands('pwd > here');
      expect((await configOf(image)).WorkingDir).toBe('/app');
      expect(await engine.listFiles(image, '/app')).toEqual(['/app/here']);
      expect(await text(image, '/app/here')).toBe('/app\n');
      const bare = busyboxImage().workdir('/not/there');
      expect((await engine.run(bare, ['/bin/sh', '-c', 'pwd'])).stdout).toBe('/not/there\n');
    });

    test('shell() runs later commands, also behind other layers; cmd() is what runs (C77)', async () => {
      const image = busyboxImage()
        .runCommands('echo $- > /before')
        .shell(['/bin/sh', '-euc'])
        .env({ A: '1' })
        .runCommands('echo $- > /first')
        .workdir('/w')
        .runCommands('echo $- > /second')
        .cmd(['/bin/sh', '-c', 'cat /before /first /second']);
      const { stdout } = await engine.run(image, undefined);
      const [before, first, second] = String(stdout).trimEnd().split('\n');
      expect(before).not.toMatch(/e|u/);
      expect(first).toMatch(/(?=.*e)(?=.*u)/);
      expect(second).toBe(first);
    });
  });
});
