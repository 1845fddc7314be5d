// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the shell expands them, not JavaScript.

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { sha256Hex } from '../../../../src/base/sha256.ts';
import { Image } from '../../../../src/frontend/fluent/image.ts';
import { toGraph } from '../../../../src/frontend/fluent/to-graph.ts';
import type { Action, ExecAction } from '../../../../src/graph/action.ts';
import { ROOT_OWNER } from '../../../../src/graph/action.ts';
import { decodeGraph, encodeGraph } from '../../../../src/graph/encode.ts';
import type { Vertex } from '../../../../src/graph/vertex.ts';
import { Secret } from '../../../../src/secret/secret.ts';
import { graphOf, type Surroundings, surroundings } from '../../../support/image-surroundings.ts';
import { temporaryTree } from '../../../support/temporary-tree.ts';

const base = Image.fromRegistry('base');
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function actionsOf(vertex: Vertex | undefined): readonly Action[] {
  return vertex?.operation.kind === 'build' ? vertex.operation.actions : [];
}

/** Commands of the newest layer. */
async function execs(image: Image, given: Surroundings = {}): Promise<ExecAction[]> {
  const graph = await graphOf(image, given);
  return actionsOf(graph.tip.vertex).filter((action) => action.kind === 'exec');
}

describe('layers and vertices', () => {
  test('one call is one vertex with an action for every command (C61)', async () => {
    const graph = await graphOf(base.runCommands('a', '["b", "c d"]'));
    expect(graph.layerVertices.map((vertices) => vertices.length)).toEqual([1, 1]);
    expect(actionsOf(graph.tip.vertex).map((action) => action.kind === 'exec' && action.argv)).toEqual([
      ['/bin/sh', '-c', 'a'],
      ['b', 'c d'],
    ]);
    expect(graph.tip.vertex.inputs[0]?.vertex).toBe(graph.layerVertices[0]?.[0]);
    expect(graph.tip.vertex.origin).toEqual({ method: 'runCommands', layer: 1 });
  });

  test('a shared shell stops at the first failure', async () => {
    const [exec] = await execs(base.runCommands('cd x', 'pwd', { sharedShell: true, timeout: 1.5 }));
    expect([exec?.argv.at(-1), exec?.timeoutMs]).toEqual(['set -e\ncd x\npwd', 1500]);
  });

  test('calls that only change the configuration make no vertex', async () => {
    const graph = await graphOf(base.env({ A: '1' }).cmd(['x']).entrypoint(['y']).shell(['/bin/bash', '-c']));
    expect(graph.tip.vertex).toBe(graph.layerVertices[0]?.[0]);
    expect(graph.history.map((entry) => [entry.created_by, entry.empty_layer ?? false])).toEqual([
      ['base', false],
      ['ENV A=1', true],
      ['CMD ["x"]', true],
      ['ENTRYPOINT ["y"]', true],
      ['SHELL ["/bin/bash", "-c"]', true],
    ]);
  });

  test('row 127: force is the own flag; a call without a vertex hands it on', async () => {
    const forced = await graphOf(base.aptInstall('a').pipInstall('b', { forceBuild: true }).runCommands('c'));
    expect(forced.layerVertices.map(([first]) => first?.force ?? false)).toEqual([false, false, true, false]);
    const handed = await graphOf(base.env({ A: '1' }, { forceBuild: true }).aptInstall('a').aptInstall('b'));
    expect(handed.layerVertices.map(([first]) => first?.force ?? false)).toEqual([false, false, true, false]);
    const whole = await graphOf(Image.debianSlim({ source: 'archive', forceBuild: true }));
    expect(whole.layerVertices[0]?.map((vertex) => vertex.force)).toEqual([true, true]);
  });

  test('a forced base is resolved anew', async () => {
    const asked: boolean[] = [];
    const { surroundings } = await import('../../../support/image-surroundings.ts');
    const { toGraph } = await import('../../../../src/frontend/fluent/to-graph.ts');
    const own = surroundings();
    const resolver = {
      ...own.resolver,
      resolveImage: (...args: Parameters<typeof own.resolver.resolveImage>) => {
        asked.push(args[2].refresh);
        return own.resolver.resolveImage(...args);
      },
    };
    await toGraph(base, {}, { ...own, resolver });
    await toGraph(Image.fromRegistry('a', { forceBuild: true }), {}, { ...own, resolver });
    await toGraph(base, {}, { ...own, resolver, refresh: true });
    expect(asked).toEqual([false, true, true]);
  });

  test('the graph survives its encoding', async () => {
    const { tip } = await graphOf(base.uvPipInstall('a').workdir('/x').runCommands('y'));
    const [decoded] = decodeGraph(encodeGraph([tip.vertex]));
    expect(decoded?.digest).toBe(tip.vertex.digest);
  });

  test('row 122: a changed call changes its vertex and those after it', async () => {
    const chain = (name: string) => graphOf(base.aptInstall('a').pipInstall(name).runCommands('c'));
    const [one, other] = [await chain('x'), await chain('y')].map((graph) =>
      graph.layerVertices.map(([first]) => first?.digest),
    );
    expect(one?.map((digest, index) => digest === other?.[index])).toEqual([true, true, false, false]);
  });
});

describe('bases', () => {
  test('scratch has no layer and no history', async () => {
    const graph = await graphOf(Image.fromScratch());
    expect([graph.tip.vertex.operation.kind, graph.history, graph.config]).toEqual(['scratch', [], {}]);
  });

  test('a layout is named by its content', async () => {
    const graph = await graphOf(Image.fromOciLayout('/some/where', { tag: 'v1' }));
    const { operation } = graph.tip.vertex;
    expect(operation).toMatchObject({
      kind: 'source-oci-layout',
      manifestDigest: `sha256:${sha256Hex('layout')}`,
    });
    expect(JSON.stringify(operation)).not.toContain('/some/where');
    const [source] = [...graph.layouts.values()];
    expect(source).toEqual({ form: 'directory', hostPath: '/some/where', tag: 'v1' });
  });

  test('a slim Debian from the archive is the archive and one layer of mending', async () => {
    const graph = await graphOf(Image.debianSlim({ source: 'archive', platform: 'linux/arm64' }));
    const [source, mended] = graph.layerVertices[0] as [Vertex, Vertex];
    expect(source.operation).toEqual({
      kind: 'source-debian',
      suite: 'trixie',
      components: ['main'],
      packages: ['python3', 'python3-pip', 'python3-venv'],
      architecture: 'arm64',
    });
    expect(mended.inputs[0]?.vertex).toBe(source);
    expect(graph.history).toHaveLength(2);
    expect(graph.config).toEqual({ Env: [`PATH=${PATH}`], Cmd: ['bash'] });
  });

  test('a mirror of the archive is not in the graph', async () => {
    const graph = await graphOf(Image.fromDebian({ mirror: 'http://mirror.example/debian' }));
    expect(encodeGraph([graph.tip.vertex])).not.toContain('mirror.example');
    expect(graph.debianMirrors.get(graph.tip.vertex.digest)).toBe('http://mirror.example/debian');
  });

  test('an added Python is copied from its archive, with modes and times', async () => {
    const graph = await graphOf(Image.fromRegistry('a', { addPython: '3.14t', platform: 'linux/arm64' }));
    const [, source] = graph.tip.vertex.inputs;
    expect(source?.vertex.operation).toMatchObject({
      kind: 'source-python',
      release: '20251209',
      file: 'cpython-3.14.2+20251209-aarch64-unknown-linux-gnu-freethreaded+pgo+lto-full.tar.zst',
    });
    expect(graph.tip.vertex.operation).toMatchObject({
      actions: [
        {
          kind: 'copy',
          input: 1,
          source: '/python/install',
          destination: '/usr/local',
          owner: ROOT_OWNER,
          modes: 'keep',
          times: 'keep',
        },
      ],
    });
    expect(graph.layerVertices).toHaveLength(1);
    expect(graph.config.Env).toEqual([
      'TERMINFO_DIRS=/etc/terminfo:/lib/terminfo:/usr/share/terminfo:/usr/lib/terminfo',
    ]);
    expect(graph.history.at(-1)?.created_by?.split('\n')[0]).toBe('COPY /python/. /usr/local');
  });

  test('what the micromamba base sets holds for later commands and is in the configuration', async () => {
    const given = { base: { User: 'mambauser', Env: ['A=1'] } };
    const image = Image.micromamba({ pythonVersion: '3.12' }).pipInstall('x');
    const graph = await graphOf(image, given);
    const steps = graph.layerVertices
      .flat()
      .flatMap(({ operation }) => (operation.kind === 'build' ? operation.actions : []));
    expect(steps).toMatchObject([
      {
        argv: [
          '/usr/local/bin/_dockerfile_shell.sh',
          'micromamba install -n base -y python=3.12 pip -c conda-forge',
        ],
      },
      { argv: ['/usr/local/bin/_dockerfile_shell.sh', 'python -m pip install x'] },
    ]);
    for (const step of steps) {
      expect(step).toMatchObject({ user: 'root' });
      expect((step as ExecAction).env).toContainEqual(['MAMBA_DOCKERFILE_ACTIVATE', '1']);
    }
    expect(graph.config).toEqual({
      User: 'root',
      Env: ['A=1', 'MAMBA_DOCKERFILE_ACTIVATE=1'],
      Shell: ['/usr/local/bin/_dockerfile_shell.sh'],
    });
  });

  test('credentials of a registry stay outside', async () => {
    const secret = Secret.fromDict({ REGISTRY_USERNAME: 'u', REGISTRY_PASSWORD: 'planted' });
    const asked: unknown[] = [];
    const given = surroundings();
    const graph = await toGraph(
      Image.fromRegistry('a', { secret }),
      {},
      {
        ...given,
        resolver: {
          ...given.resolver,
          resolveImage: (reference, platform, options) => {
            asked.push(options.login);
            return given.resolver.resolveImage(reference, platform, options);
          },
        },
      },
    );
    expect(asked).toEqual([{ type: 'static', secret }]);
    expect(encodeGraph([graph.tip.vertex])).not.toContain('planted');
  });
});

describe('what a command sees', () => {
  test('the configuration of base and chain', async () => {
    const given = {
      base: { Env: ['A=base', 'B=x=y'], WorkingDir: '/w', User: 'me:us', Shell: ['/bin/ash', '-e'] },
    };
    const [exec] = await execs(base.env({ A: 'chain' }).workdir('sub').runCommands('c'), given);
    expect(exec).toMatchObject({
      argv: ['/bin/ash', '-e', 'c'],
      cwd: '/w/sub',
      user: 'me:us',
      env: [
        ['PATH', PATH],
        ['A', 'chain'],
        ['B', 'x=y'],
      ],
    });
  });

  test('shell() changes the shell of later commands, of earlier ones not', async () => {
    const graph = await graphOf(base.runCommands('a').shell(['/bin/bash', '-c']).runCommands('b'));
    const argvs = graph.layerVertices
      .flat()
      .flatMap((vertex) => actionsOf(vertex).map((each) => each.kind === 'exec' && each.argv[0]));
    expect(argvs).toEqual(['/bin/sh', '/bin/bash']);
    expect(graph.config.Shell).toEqual(['/bin/bash', '-c']);
  });

  test('image variables, then secrets in order, then env; later wins', async () => {
    const one = Secret.fromDict({ A: 'planted-1', S: 'planted-2', T: 'planted-3' });
    const other = Secret.fromEnv({ T: 'SOURCE' });
    const image = base
      .env({ A: 'image', E: 'image' })
      .runCommands('c', { secrets: [one, other], env: { S: 'env', E: 'env' } });
    const graph = await graphOf(image);
    const [exec] = actionsOf(graph.tip.vertex) as [ExecAction];
    expect(exec.env).toEqual([
      ['PATH', PATH],
      ['E', 'env'],
      ['S', 'env'],
    ]);
    expect(exec.secretEnv).toEqual([
      { name: 'A', secretId: one.id, identity: '{"keys":["A","S","T"],"kind":"dict"}' },
      { name: 'T', secretId: other.id, identity: '{"keys":["T"],"kind":"env"}' },
    ]);
    expect([...graph.secrets.values()]).toEqual([one, other]);
    expect(encodeGraph([graph.tip.vertex])).not.toContain('planted');
    expect(JSON.stringify([graph.history, graph.config])).not.toMatch(/planted|=env/);
  });

  test('env and secrets are gone after the call', async () => {
    const image = base
      .runCommands('a', { env: { FOO: '1' }, secrets: [Secret.fromDict({ S: 'x' })] })
      .runCommands('b');
    const [exec] = await execs(image);
    expect([exec?.env, exec?.secretEnv]).toEqual([[['PATH', PATH]], []]);
  });

  test.each([
    ['aptInstall', base.aptInstall('a'), ['apt']],
    ['pipInstall', base.pipInstall('a'), ['pip']],
    ['uvPipInstall', base.uvPipInstall('a'), ['uv']],
    ['runCommands', base.runCommands('a'), ['pip', 'uv', 'npm', 'apt-archives']],
  ])('caches lent to %s', async (_, image, lend) => {
    for (const exec of await execs(image)) {
      expect(exec.lend).toEqual(lend);
    }
  });

  test('row 35: a variable that nothing defines', async () => {
    const image = (options: object) =>
      base.pipInstall('--extra-index-url', 'https://u:${T}@h', 'pkg', options);
    await expect(graphOf(image({}))).rejects.toThrow(
      expect.objectContaining({ code: 'E_UNDEFINED_VARIABLE' }),
    );
    await expect(graphOf(image({ env: { T: '1' } }))).resolves.toBeDefined();
    await expect(graphOf(image({ secrets: [Secret.fromEnv(['T'])] }))).resolves.toBeDefined();
    await expect(graphOf(image({}), { base: { Env: ['T=1'] } })).resolves.toBeDefined();
    await expect(graphOf(base.pipInstall('a', { extraOptions: '${T}' }))).resolves.toBeDefined();
    await expect(graphOf(base.aptInstall('a${V}'))).rejects.toThrow(
      expect.objectContaining({ code: 'E_UNDEFINED_VARIABLE' }),
    );
  });
});

describe('configuration of the image', () => {
  const ofBase = {
    base: { Entrypoint: ['/e'], Cmd: ['c'], ExposedPorts: { '80/tcp': {} }, Labels: { a: 'b' } },
  };

  test.each([
    ['an empty entrypoint stays one', base.entrypoint([]), { Entrypoint: [] }],
    ['E12: an inherited command is cleared', base.entrypoint(['x']), { Entrypoint: ['x'] }],
    ['E12: our own survives', base.cmd(['y']).entrypoint(['x']), { Entrypoint: ['x'], Cmd: ['y'] }],
    ['cmd after entrypoint', base.entrypoint(['x']).cmd(['y']), { Entrypoint: ['x'], Cmd: ['y'] }],
    [
      'env',
      base.env({ A: "x y'z", P: '/a:$PATH' }),
      { Entrypoint: ['/e'], Cmd: ['c'], Env: ["A=x y'z", 'P=/a:$PATH'] },
    ],
    ['workdir', base.workdir('/app/').workdir('../x'), { Entrypoint: ['/e'], Cmd: ['c'], WorkingDir: '/x' }],
  ])('%s', async (_, image, expected) => {
    const { config } = await graphOf(image, ofBase);
    expect(config).toEqual({ ExposedPorts: { '80/tcp': {} }, Labels: { a: 'b' }, ...expected });
  });

  test('workdir makes its directory', async () => {
    const graph = await graphOf(base.workdir('/app'));
    expect(actionsOf(graph.tip.vertex)).toEqual([
      { kind: 'mkdir', path: '/app', mode: 0o755, owner: ROOT_OWNER },
    ]);
  });
});

describe('local files', () => {
  const copies = async (image: Image) =>
    actionsOf((await graphOf(image)).tip.vertex).map((action) =>
      action.kind === 'copy'
        ? [action.source, action.destination]
        : [action.kind, 'path' in action && action.path],
    );

  test('sources and destinations', async () => {
    await using tree = await temporaryTree({ 'f.txt': '1', 'd/x': '2' });
    const [file, directory] = [join(tree.path, 'f.txt'), join(tree.path, 'd')];
    const app = base.workdir('/app');
    expect(await copies(app.copyLocalFile(file, 'sub/'))).toEqual([['/f.txt', '/app/sub/']]);
    expect(await copies(app.copyLocalFile(file, '/g.txt'))).toEqual([['/f.txt', '/g.txt']]);
    expect(await copies(app.copyLocalDir(directory, 'src'))).toEqual([
      ['mkdir', '/app/src'],
      ['/', '/app/src'],
    ]);
    expect(await copies(app.copyLocalFile(directory, 'src'))).toEqual([
      ['mkdir', '/app/src'],
      ['/', '/app/src'],
    ]);
    expect(await copies(app.addLocalFile(file, '/a/', { copy: true }))).toEqual([['/', '/']]);
    expect(await copies(app.addLocalDir(directory, '/a', { copy: true }))).toEqual([['/', '/']]);
  });

  test('inputs are named without their place, and apart', async () => {
    await using tree = await temporaryTree({ 'one/f': '1', 'two/f': '1' });
    const inputs = async (name: string) =>
      (await graphOf(base.copyLocalFile(join(tree.path, name, 'f'), '/f'))).localInputs;
    const [[one], [again], [two]] = [await inputs('one'), await inputs('one'), await inputs('two')];
    expect(one?.[0]).toBe(again?.[0]);
    expect(one?.[0]).not.toBe(two?.[0]);
    expect(one?.[0]).not.toContain('one');
  });

  test('predicates tell inputs apart', async () => {
    const named = async (condition: (path: string) => boolean) =>
      [...(await graphOf(base.copyLocalDir('/x', '/x', { condition }))).localInputs.keys()][0];
    const condition = () => true;
    expect(await named(condition)).toBe(await named(condition));
    expect(await named(condition)).not.toBe(await named(() => true));
  });

  test('uv comes from a tool, its requirements from local files', async () => {
    await using tree = await temporaryTree({ 'r.txt': 'x' });
    const graph = await graphOf(
      base.uvPipInstall({ requirements: [join(tree.path, 'r.txt')], uvVersion: '0.7.2' }),
    );
    expect(graph.tip.vertex.inputs.slice(1).map(({ vertex }) => vertex.operation)).toEqual([
      { kind: 'source-tool', tool: 'uv', version: '0.7.2', architecture: 'amd64' },
      { kind: 'source-local', input: [...graph.localInputs.keys()][0] },
    ]);
    expect(actionsOf(graph.tip.vertex).slice(0, 2)).toMatchObject([
      { kind: 'copy', input: 1, source: '/uv', destination: '/.uv/uv' },
      { kind: 'copy', input: 2, source: '/.0_r.txt', destination: '/.uv/0/r.txt' },
    ]);
  });

  test('pending mounts are neither in the graph nor in the history', async () => {
    const graph = await graphOf(base.addLocalFile('/nowhere', '/x'));
    expect([graph.localInputs.size, graph.history.length, graph.mounts.length]).toEqual([0, 1, 1]);
  });

  test('a base whose history does not tell its layers gets one entry a layer', async () => {
    const { surroundings, baseImageConfig } = await import('../../../support/image-surroundings.ts');
    const { toGraph } = await import('../../../../src/frontend/fluent/to-graph.ts');
    const own = surroundings();
    const config = { ...baseImageConfig(), history: [{ created_by: 'x', empty_layer: true }] };
    const resolver = {
      ...own.resolver,
      resolveImage: async () => ({
        ...(await own.resolver.resolveImage('a', { os: 'linux', architecture: 'amd64' }, { refresh: false })),
        config,
      }),
    };
    const graph = await toGraph(base.aptInstall('a'), {}, { ...own, resolver });
    expect(graph.history.filter((entry) => entry.empty_layer !== true)).toHaveLength(2);
  });
});
