/** What a context is, in the Image API: `contextMount`, `contextFiles`, `ignore`, ignore files; plans and builds agree. */
import { symlinkSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../../src/engine.ts';
import { Image } from '../../../src/frontend/fluent/image.ts';
import { Mount } from '../../../src/frontend/fluent/mount.ts';
import { FilePatternMatcher } from '../../../src/patterns/file-pattern-matcher.ts';
import { Secret } from '../../../src/secret/secret.ts';
import { busyboxImage } from '../../support/busybox.ts';
import { lacks } from '../../support/requires.ts';
import { Workbench } from '../../support/workbench.ts';

describe.skipIf(lacks('root', 'bwrap', 'busybox'))('contexts of the Image API', () => {
  let bench: Workbench;
  let engine: Engine;

  beforeAll(async () => {
    bench = new Workbench();
    engine = await Engine.open({
      storeDir: bench.at('store'),
      env: { PATH: process.env.PATH, HOME: bench.directory },
    });
    bench.write({
      'ctx/data.txt': 'data',
      'ctx/app.py': 'app',
      'ctx/sub/notes.txt': 'notes',
      'ctx/sub/deep/x.py': 'x',
      'ctx/empty': null,
    });
  });
  afterAll(async () => {
    await engine?.[Symbol.asyncDispose]();
    bench?.[Symbol.dispose]();
  });

  const base = busyboxImage();
  const shell = async (image: Image, script: string) =>
    String((await engine.run(image, ['/bin/sh', '-c', script], {})).stdout);
  const code = (error: unknown) => (error as { code?: string }).code;
  const failure = async (image: Image) => await engine.build([image]).then(() => undefined, code);
  const planned = async (image: Image) => (await engine.plan(image)).layers.at(-1);
  /** Paths of the context that the last call uses, in the plan; and what the build copies of it to `/all`. */
  const both = async (image: Image) => ({
    plan: Object.keys((await planned(image))?.contextMount?.files ?? {}),
    build: (await shell(image, 'cd /all; find . -type f -o -type l -o -type d -empty'))
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.slice(1))
      .sort(),
  });
  const copyAll = (options: object) =>
    base.dockerfileCommands('COPY . /all', { contextDir: bench.at('ctx'), ...options });

  test('the tree of a Mount is the context (C21)', async () => {
    bench.write({ 'm/a.txt': 'a', 'm/Dockerfile.good': 'FROM scratch\nCOPY context/a.txt /\n' });
    const contextMount = Mount.fromLocalDir(bench.at('m'), { remotePath: '/context' });
    const image = Image.fromDockerfile(bench.at('m/Dockerfile.good'), { contextMount });
    expect((await engine.readFile(image, '/a.txt')).toString()).toBe('a');
    expect(Object.keys((await planned(image))?.contextMount?.files ?? {})).toEqual(['/context/a.txt']);
    const bad = Image.fromDockerfile({ text: 'FROM scratch\nCOPY a.txt /\n' }, { contextMount });
    expect(await failure(bad)).toBe('E_COPY_SOURCE_MISSING');
    await expect(engine.plan(bad)).rejects.toMatchObject({
      code: 'E_COPY_SOURCE_MISSING',
      message: expect.stringContaining("there is no 'a.txt' in the contextMount"),
    });
  });

  test('a Mount is put together: names, filters, later over earlier, modes and links as they are', async () => {
    bench.write({
      'm/run': { text: 'run', mode: 0o750 },
      'over/app.py': 'over',
      'cond/a.py': '',
      'cond/b.md': '',
    });
    symlinkSync('app.py', bench.at('ctx/link'));
    const empty = Mount.fromLocalDir(bench.at('ctx'), { remotePath: '/' });
    const contextMount = empty
      .addLocalDir(bench.at('over'), { remotePath: '/' })
      .addLocalFile(bench.at('m/run'))
      .addLocalFile(bench.at('m/run'), { remotePath: 'bin/other' })
      .addLocalDir(bench.at('cond'), { condition: (path) => path.endsWith('.py') })
      .addLocalDir(bench.at('ctx'), { remotePath: '/flat', recursive: false, ignore: ['*.txt'] })
      .addLocalFile(bench.at('m/run'), { remotePath: '/sub/deep' });
    const image = base.dockerfileCommands('COPY . /all', { contextMount });
    const files = [
      '/app.py',
      '/bin/other',
      '/cond/a.py',
      '/data.txt',
      '/empty',
      '/flat/app.py',
      '/flat/link',
      '/link',
      '/run',
      '/sub/deep',
      '/sub/notes.txt',
    ];
    const { plan, build } = await both(image);
    expect(build).toEqual(files);
    expect(plan.map((path) => path.replace(/\/$/, ''))).toEqual(files);
    expect(
      await shell(image, 'cat /all/app.py; stat -c %a /all/run; readlink /all/link; stat -c %u:%g /all/run'),
    ).toBe('over750\napp.py\n0:0\n');
    // What was added changed nothing that was there before.
    const before = await both(base.dockerfileCommands('COPY . /all', { contextMount: empty }));
    expect(before.build).toContain('/sub/deep/x.py');
  });

  test('a Mount: mistakes are told at the call, and what is missing later', async () => {
    const thrown = (action: () => unknown) => {
      try {
        action();
        return undefined;
      } catch (error) {
        return code(error);
      }
    };
    const contextMount = Mount.fromLocalFile(bench.at('ctx/app.py'));
    for (const other of [{ contextDir: '.' }, { ignore: ['x'] }, { ignore: [] }]) {
      expect(thrown(() => Image.fromDockerfile('Dockerfile', { contextMount, ...other }))).toBe('E_ARG_TYPE');
      expect(thrown(() => base.dockerfileCommands('RUN x', { contextMount, ...other }))).toBe('E_ARG_TYPE');
    }
    expect(thrown(() => Image.fromDockerfile('Dockerfile', { contextMount, context: 'none' }))).toBe(
      'E_ARG_TYPE',
    );
    expect(thrown(() => base.dockerfileCommands('RUN x', { contextMount: {} as Mount }))).toBe('E_ARG_TYPE');
    expect(thrown(() => new Mount(undefined as never, []))).toBe('E_ARG_TYPE');
    expect(thrown(() => Mount.fromLocalDir('x', { condition: () => true, ignore: [] }))).toBe(
      'E_IGNORE_AND_CONDITION',
    );
    expect(thrown(() => Mount.fromLocalDir('x', { remote_path: '/' } as object))).toBe('E_UNKNOWN_OPTION');
    expect(thrown(() => Mount.fromLocalDir('x', { recursive: 'no' as never }))).toBe('E_ARG_TYPE');
    expect(thrown(() => Mount.fromLocalFile('x', { remotePath: '/' }))).toBe('E_ARG_TYPE');
    expect(thrown(() => Mount.fromLocalFile(7 as never))).toBe('E_ARG_TYPE');
    expect(Object.isFrozen(contextMount)).toBe(true);
    const using = (mount: Mount) => base.dockerfileCommands('COPY . /all', { contextMount: mount });
    expect(await failure(using(Mount.fromLocalDir(bench.at('none'))))).toBe('E_LOCAL_DIR_MISSING');
    expect(await failure(using(Mount.fromLocalFile(bench.at('none'))))).toBe('E_LOCAL_FILE_MISSING');
    expect(await failure(using(Mount.fromLocalDir(bench.at('ctx/app.py'))))).toBe('E_LOCAL_NOT_DIR');
    expect(await failure(using(Mount.fromLocalFile(bench.at('ctx'))))).toBe('E_LOCAL_FILE_MISSING');
  });

  test('the recipe hash knows a Mount by what the calls say', () => {
    const hash = (mount: Mount) => base.dockerfileCommands('COPY . /', { contextMount: mount }).recipeHash;
    const mount = Mount.fromLocalDir('ctx');
    expect(hash(Mount.fromLocalDir('ctx'))).toBe(hash(mount));
    expect(hash(Mount.fromLocalDir('ctx', { remotePath: '/x' }))).not.toBe(hash(mount));
    expect(hash(mount.addLocalFile('x'))).not.toBe(hash(mount));
  });

  test('contextFiles are at exactly their path, whatever is ignored, and keyed by content (C103)', async () => {
    bench.write({
      'local.txt': { text: 'one', mode: 0o640 },
      'else/local.txt': { text: 'one', mode: 0o640 },
    });
    const make = (file: string, lines = 'COPY /x.txt /y') =>
      base.dockerfileCommands(lines, {
        contextFiles: { '/x.txt': file },
        contextDir: bench.at('there/is/none'),
      });
    const image = make(bench.at('local.txt'));
    expect(await shell(image, 'cat /y; stat -c %a /y')).toBe('one640\n');
    const plan = await planned(image);
    expect(plan?.contextMount).toBeNull();
    expect(plan?.contextFiles).toEqual({ '/x.txt': { sha256: expect.any(String), mode: 0o640, size: 3 } });
    const [first] = await engine.build([image]);
    const [same] = await engine.build([make(bench.at('else/local.txt'))]);
    expect(same?.id).toBe(first?.id);
    writeFileSync(bench.at('local.txt'), 'two');
    expect((await engine.build([image]))[0]?.id).not.toBe(first?.id);
    expect((await planned(image))?.definitionHash).not.toBe(plan?.definitionHash);

    const beside = base.dockerfileCommands('COPY . /all', {
      contextDir: bench.at('ctx'),
      contextFiles: {
        'app.py': bench.at('local.txt'),
        'sub/new/file': bench.at('local.txt'),
        '/empty': bench.at('local.txt'),
      },
      ignore: ['**'],
    });
    expect((await both(beside)).build).toEqual(['/app.py', '/empty', '/sub/new/file']);
    expect(Object.keys((await planned(beside))?.contextFiles ?? {})).toEqual([
      '/app.py',
      '/empty',
      '/sub/new/file',
    ]);
    // A context that nobody reads is no context.
    expect(await planned(make(bench.at('local.txt'), 'RUN true'))).toMatchObject({
      contextFiles: {},
      contextMount: null,
    });
    for (const contextFiles of [{ '/': 'x' }, { 'a/': 'x' }, { a: 7 }, ['a']]) {
      expect(() => base.dockerfileCommands('RUN x', { contextFiles: contextFiles as never })).toThrow(
        expect.objectContaining({ code: 'E_ARG_TYPE' }),
      );
    }
    expect(await failure(make(bench.at('none')))).toBe('E_LOCAL_FILE_MISSING');
    expect(await failure(make(bench.at('ctx')))).toBe('E_LOCAL_FILE_MISSING');
  });

  test('ignore: patterns, in either syntax, a matcher, a function (C99) (C100)', async () => {
    const at = async (ignore: object) => {
      const { plan, build } = await both(copyAll(ignore));
      expect(plan.map((path) => path.replace(/\/$/, ''))).toEqual(build);
      return build;
    };
    expect(await at({ ignore: ['*.txt', 'link'] })).toEqual([
      '/app.py',
      '/empty',
      '/sub/deep/x.py',
      '/sub/notes.txt',
    ]);
    expect(await at({ ignore: ['*.txt', 'link'], ignoreSyntax: 'gitignore' })).toEqual([
      '/app.py',
      '/empty',
      '/sub/deep/x.py',
    ]);
    expect(await at({ ignore: new FilePatternMatcher('**/*.py').negate() })).toEqual([
      '/app.py',
      '/sub/deep/x.py',
    ]);
    expect(await at({ ignore: FilePatternMatcher.NON_PYTHON_FILES })).toEqual(['/app.py', '/sub/deep/x.py']);
    const asked: [string, number, boolean][] = [];
    const ignore = (path: string, { size, isFile }: { size: number; isFile: boolean }) => {
      asked.push([path, size, isFile]);
      return !path.startsWith('sub/');
    };
    expect(await at({ ignore })).toEqual(['/sub/deep/x.py', '/sub/notes.txt']);
    expect(asked).toContainEqual(['sub/notes.txt', 5, true]);
    expect(asked.map(([path]) => path)).not.toContain('sub');
    const hidden = base.dockerfileCommands('COPY app.py /', {
      contextDir: bench.at('ctx'),
      ignore: new FilePatternMatcher('*.py'),
    });
    expect(await failure(hidden)).toBe('E_COPY_SOURCE_MISSING');
    expect(await failure(copyAll({ ignore: ['!'] }))).toBe('E_BAD_PATTERN');
    for (const wrong of [7, [7], {}]) {
      expect(() => copyAll({ ignore: wrong })).toThrow(expect.objectContaining({ code: 'E_ARG_TYPE' }));
    }
    expect(() => copyAll({ ignoreSyntax: 'git' })).toThrow(expect.objectContaining({ code: 'E_ARG_TYPE' }));
  });

  test('a pattern that looks at the top only is warned about, and a build arg that nothing declares', async () => {
    const codes = async (image: Image) => (await engine.plan(image)).diagnostics.map((each) => each.code);
    expect(await codes(copyAll({ ignore: ['x.py'] }))).toEqual(['W_IGNORE_ROOT_ONLY']);
    expect(await codes(copyAll({ ignore: new FilePatternMatcher('notes.txt') }))).toEqual([
      'W_IGNORE_ROOT_ONLY',
    ]);
    expect(await codes(copyAll({ ignore: ['**/x.py', 'app.py', 'nowhere'] }))).toEqual([]);
    expect(await codes(copyAll({ buildArgs: { NO: '1' } }))).toEqual(['W_BUILD_ARG_UNUSED']);
    const events: string[] = [];
    await engine.build([copyAll({ buildArgs: { NO: '1' } })], {
      logger: (event) => events.push(event.kind === 'warning' ? event.code : ''),
    });
    expect(events).toContain('W_BUILD_ARG_UNUSED');
  });

  test('the ignore file: beside the Dockerfile by name, beside it, at the top of the context (C101)', async () => {
    bench.write({
      'ign/docker/app.Dockerfile': 'FROM scratch\nCOPY *.txt /\n',
      'ign/1.txt': '',
      'ign/2.txt': '',
      'ign/3.txt': '',
      'outside/Dockerfile': 'FROM scratch\nCOPY *.txt /\n',
      'outside/Dockerfile.dockerignore': '*.txt',
      'outside/.dockerignore': '*.txt',
      'ign/.dockerignore': '\ufeff# comment\n3.txt\n',
    });
    const contextDir = bench.at('ign');
    const image = (options: object = {}) =>
      Image.fromDockerfile(bench.at('ign/docker/app.Dockerfile'), { contextDir, ...options });
    const files = async (of: Image) => Object.keys((await planned(of))?.contextMount?.files ?? {});
    expect(await files(image())).toEqual(['/1.txt', '/2.txt']);
    expect(await files(image({ ignore: [] }))).toEqual(['/1.txt', '/2.txt', '/3.txt']);
    bench.write({ 'ign/docker/.dockerignore': '2.txt' });
    expect(await files(image())).toEqual(['/1.txt', '/3.txt']);
    expect(await engine.listFiles(image(), '/')).toEqual(['/1.txt', '/3.txt']);
    // As Docker's tools have it, which know no ignore file of a directory in the context.
    expect(await files(image({ ignoreFiles: 'docker' }))).toEqual(['/1.txt', '/2.txt']);
    bench.write({ 'ign/docker/app.Dockerfile.dockerignore': '1.txt' });
    expect(await files(image())).toEqual(['/2.txt', '/3.txt']);
    // An ignore file outside of the context does not count.
    const outside = (options: object = {}) =>
      Image.fromDockerfile(bench.at('outside/Dockerfile'), { contextDir, ...options });
    expect(await files(outside())).toEqual(['/1.txt', '/2.txt']);
    expect(await files(outside({ ignoreFiles: 'docker' }))).toEqual([]);
    const lines = base.dockerfileCommands('COPY *.txt /', { contextDir });
    expect(await files(lines)).toEqual(['/1.txt', '/2.txt']);
    expect(() => image({ ignoreFiles: 'none' })).toThrow(expect.objectContaining({ code: 'E_ARG_TYPE' }));
    const added = base.addLocalDir(contextDir, '/x', { copy: true });
    expect(await files(added)).toContain('/x/3.txt');
  });

  test('what is not selected is never read, and never in the key (C157)', async () => {
    bench.write({ 'big/wanted': 'w', 'big/huge/data': 'h', 'big/secret': { text: 's', mode: 0 } });
    const image = base.dockerfileCommands('COPY wanted /w', { contextDir: bench.at('big') });
    const [before] = await engine.build([image]);
    const hash = (await planned(image))?.definitionHash;
    // Nobody can read it: to open it would fail.
    symlinkSync('/proc/self/mem', bench.at('big/unreadable'));
    writeFileSync(bench.at('big/huge/data'), 'other');
    expect((await planned(image))?.definitionHash).toBe(hash);
    expect((await engine.build([image]))[0]?.id).toBe(before?.id);
    expect(Object.keys((await planned(image))?.contextMount?.files ?? {})).toEqual(['/wanted']);
  });

  test('a plan knows what ARGs and the chain say of a source, and leaves the rest to the build', async () => {
    const lines = ['ARG NAME=app', 'COPY $NAME.py $DIR/*.txt /all/', 'COPY ${OF_BASE}notes.txt /notes'];
    const make = (from: Image) => from.dockerfileCommands(lines, { contextDir: bench.at('ctx'), ignore: [] });
    const files = async (of: Image) => Object.keys((await planned(of))?.contextMount?.files ?? {});
    expect(await files(make(base.env({ DIR: 'sub' })))).toEqual(['/app.py', '/sub/notes.txt']);
    const exported = bench.at('base-layout');
    await engine.exportTo(base.env({ OF_BASE: 'sub/' }), exported, { format: 'oci-layout' });
    const whole = make(Image.fromOciLayout(exported).env({ DIR: 'sub' }));
    expect(await files(whole)).toEqual(['/app.py', '/sub/notes.txt']);
    expect(await shell(whole, 'cat /notes')).toBe('notes');
    expect(await failure(make(base.env({ DIR: 'sub' })))).toBe('E_COPY_SOURCE_MISSING');
  });

  test('lines of a Dockerfile: the plan, secrets of this call only, several stages (C102) (C104) (C105)', async () => {
    const image = base
      .dockerfileCommands(['RUN echo ${#TOKEN} > /size', 'COPY app.py /app.py'], {
        contextDir: bench.at('ctx'),
        secrets: [Secret.fromDict({ TOKEN: 'four-by-four' })],
      })
      .dockerfileCommands([
        'FROM base AS b',
        'RUN echo made > /made; echo waste > /waste',
        'FROM base',
        'COPY --from=b /made /kept',
      ])
      .runCommands('echo "[$TOKEN]" >> /size');
    expect((await engine.plan(image)).layers.slice(3).map(({ commands }) => commands)).toEqual([
      ['FROM base', 'RUN echo ${#TOKEN} > /size', 'COPY app.py /app.py'],
      [
        'FROM base',
        'FROM base AS b',
        'RUN echo made > /made; echo waste > /waste',
        'FROM base',
        'COPY --from=b /made /kept',
      ],
      ['FROM base', 'RUN echo "[$TOKEN]" >> /size'],
    ]);
    expect(await shell(image, 'cat /size /app.py /kept')).toBe('12\n[]\nappmade\n');
    expect(await engine.exists(image, '/waste')).toBe(false);
    expect(await engine.exists(image, '/made')).toBe(false);
  });
});
