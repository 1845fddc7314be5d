import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { App } from '../../../../src/frontend/fluent/app.ts';
import type { RunFunctionOptions } from '../../../../src/frontend/fluent/function-layer.ts';
import { jsFunction, pythonFunction } from '../../../../src/frontend/fluent/function-target.ts';
import { Image } from '../../../../src/frontend/fluent/image.ts';
import { provideDefaultEngine } from '../../../../src/frontend/fluent/image-engine.ts';
import { imageImports } from '../../../../src/frontend/fluent/image-imports.ts';
import { Volume } from '../../../../src/frontend/fluent/volume.ts';
import { Secret, type SecretSources, secretValues } from '../../../../src/secret/secret.ts';
import { graphOf, planOf } from '../../../support/image-surroundings.ts';
import { temporaryTree } from '../../../support/temporary-tree.ts';

/** Nothing but what is in the definition. */
const SOURCES: SecretSources = {
  environment: {},
  stored: async () => ({}),
  dotenv: async () => undefined,
};
const base = Image.fromScratch();
const code = (expected: string) => expect.objectContaining({ code: expected });
const last = async (image: Image) => (await planOf(image)).layers.at(-1);
const hash = async (image: Image) => (await last(image))?.definitionHash;
const codes = async (image: Image) => (await planOf(image)).diagnostics.map((each) => each.code);
const download = (size: string) => size;

describe('runFunction()', () => {
  test('a plan names the function and holds what counts of it', async () => {
    const image = base.runFunction(download, { args: ['small', { a: [1] }] });
    expect(await last(image)).toMatchObject({
      method: 'runFunction',
      commands: ['FROM base', 'RUN tsbuild-function download'],
      buildFunction: {
        form: 'inline',
        name: 'download',
        args: ['small', { a: [1] }],
        kwargs: {},
        globals: {},
      },
    });
    expect((await last(image))?.buildFunction?.source).toBe(download.toString());
    expect((await last(base))?.buildFunction).toBeNull();
  });

  test('an inline function must stand by itself (C113)', () => {
    const limit = 3;
    const other = () => 1;
    const uses = () => limit + other();
    expect(() => base.runFunction(uses)).toThrow(
      expect.objectContaining({
        code: 'E_FN_CAPTURES',
        message: expect.stringContaining("'limit', 'other'"),
      }),
    );
    expect(() => base.runFunction(uses, { globals: { limit } })).toThrow(code('E_FN_CAPTURES'));
    expect(() => base.runFunction(uses, { globals: { limit, other } })).not.toThrow();
  });

  test('what is no plain function with a name is refused', () => {
    class Made {}
    for (const [target, expected] of [
      ['text', 'E_FN_NOT_FUNCTION'],
      [undefined, 'E_FN_NOT_FUNCTION'],
      [{}, 'E_FN_NOT_FUNCTION'],
      [Made, 'E_FN_NOT_FUNCTION'],
      [function* generate() {}, 'E_FN_NOT_FUNCTION'],
      [async function* generate() {}, 'E_FN_NOT_FUNCTION'],
      [() => 1, 'E_FN_ANONYMOUS'],
      [download.bind(undefined), 'E_FN_ANONYMOUS'],
      [Math.max, 'E_FN_ANONYMOUS'],
      [{ python: 'a.py', function: 'Class.method' }, 'E_FN_NOT_FUNCTION'],
      [{ python: 'a.py', function: 'f', other: 1 }, 'E_UNKNOWN_OPTION'],
      [{ pythonModule: 'a/b', function: 'f' }, 'E_ARG_TYPE'],
    ] as const) {
      expect(() => base.runFunction(target as never)).toThrow(code(expected));
    }
    expect(() => pythonFunction('a.py', 'Class.method')).toThrow(code('E_FN_NOT_FUNCTION'));
    expect(() => jsFunction('a.ts', 'f', { externals: [] } as never)).toThrow(code('E_UNKNOWN_OPTION'));
    expect(jsFunction('a.ts', { external: ['sharp'] })).toEqual({
      module: 'a.ts',
      export: 'default',
      external: ['sharp'],
    });
    expect(() => jsFunction('a.ts', { externals: [] } as never)).toThrow(code('E_UNKNOWN_OPTION'));
  });

  test.each([
    [{ kwargs: {} }, 'E_FN_KWARGS'],
    [{ args: ['x'.repeat(2 * 1024 * 1024)] }, 'E_FN_ARGS_TOO_LARGE'],
    [{ args: 'x' }, 'E_ARG_TYPE'],
    [{ args: [new Date(Number.NaN), () => 1] }, 'E_ARG_TYPE'],
    [{ globals: { 'not a name': 1 } }, 'E_ARG_TYPE'],
    [{ timeout: 0 }, 'E_ARG_TYPE'],
    [{ cpu: '2' }, 'E_ARG_TYPE'],
    [{ memory: -1 }, 'E_ARG_TYPE'],
    [{ node: 'mine' }, 'E_ARG_TYPE'],
    [{ includeSource: 1 }, 'E_ARG_TYPE'],
    [{ region: 3 }, 'E_ARG_TYPE'],
    [{ gpu: [] }, 'E_GPU_FORMAT'],
    [{ secrets: ['x'] }, 'E_SECRET_TYPE'],
    [{ include_source: true }, 'E_UNKNOWN_OPTION'],
    [{ volumes: { '/root': Volume.fromName('a') } }, 'E_VOLUME_PATH'],
  ])('%j is %s', (options, expected) => {
    expect(() => base.runFunction(download, options as RunFunctionOptions)).toThrow(code(expected));
  });

  test('keyword arguments and globals belong to one kind of function each', () => {
    const python = pythonFunction('a.py', 'f');
    expect(() => base.runFunction(python, { kwargs: { a: 1 } })).not.toThrow();
    expect(() => base.runFunction(python, { globals: { a: 1 } })).toThrow(code('E_ARG_TYPE'));
  });

  test('warnings: options without effect, and globals that cannot be carried', async () => {
    const uses = () => socket;
    const socket = new WeakMap();
    const image = base.runFunction(uses, { globals: { socket }, cloud: 'aws', region: ['eu', 'us'] });
    expect(await codes(image)).toEqual(['W_GLOBAL_UNSERIALIZABLE', 'W_IGNORED_OPTION', 'W_IGNORED_OPTION']);
    expect((await last(image))?.buildFunction?.globals).toEqual({});
  });

  test('resources: GPUs are an ordered list in the key, limits are not in it (C114)', async () => {
    const image = base.runFunction(download, { gpu: ['h100:2', 'a100'], timeout: 60, cpu: 2, memory: 512 });
    expect((await last(image))?.gpu).toEqual([
      { type: 'H100', count: 2 },
      { type: 'A100', count: 1 },
    ]);
    const plain = base.runFunction(download, { gpu: ['h100:2', 'a100'] });
    expect(await hash(image)).toBe(await hash(plain));
    expect(await hash(base.runFunction(download, { gpu: ['a100', 'h100:2'] }))).not.toBe(await hash(plain));
    const action = (await graphOf(image)).tip.vertex.operation;
    expect(action).toMatchObject({ actions: [{ timeoutMs: 60_000 }] });
    expect((await graphOf(plain)).tip.vertex.operation).toMatchObject({
      actions: [{ timeoutMs: 3_600_000 }],
    });
  });

  test('every part of a call that counts is in the hash, and the rest is not', async () => {
    const uses = (given: string) => given + text;
    const text = 'a';
    const plain: RunFunctionOptions = { args: ['a'], globals: { text } };
    const of = (options: RunFunctionOptions) => hash(base.runFunction(uses, { ...plain, ...options }));
    const same = await of({});
    for (const options of [
      { args: ['b'] },
      { globals: { text: 'b' } },
      { env: { A: '1' } },
      { secrets: [Secret.fromDict({ TOKEN: 'x' })] },
      { volumes: { '/cache': Volume.fromName('cache') } },
    ] satisfies RunFunctionOptions[]) {
      expect(await of(options)).not.toBe(same);
    }
    for (const options of [
      { node: 'host' },
      { includeSource: false },
      { timeout: 5 },
    ] satisfies RunFunctionOptions[]) {
      expect(await of(options)).toBe(same);
    }
    const other = (given: string) => given + given;
    expect(await hash(base.runFunction(other, { args: ['a'] }))).not.toBe(
      await hash(base.runFunction(uses, { args: ['a'], globals: { text } })),
    );
  });
});

describe('functions of files', () => {
  test('Python: the function and the globals that it mentions are in the key, others are not (C111)', async () => {
    await using tree = await temporaryTree({});
    const path = join(tree.path, 'models.py');
    const of = async (text: string) => {
      await writeFile(path, text);
      return await hash(base.runFunction(pythonFunction(path, 'download')));
    };
    const text = (limit: number, unused: number, body = 'return LIMIT') =>
      `LIMIT = ${limit}\nUNUSED = ${unused}\n\ndef other():\n    return UNUSED\n\ndef download():\n    ${body}\n`;
    const first = await of(text(1, 1));
    expect(await of(text(1, 2))).toBe(first);
    expect(await of(text(1, 1).replaceAll('\n', ' \r\n'))).toBe(first);
    expect(await of(text(2, 1))).not.toBe(first);
    expect(await of(text(1, 1, 'return LIMIT + 1'))).not.toBe(first);
    expect(await of(text(1, 3))).toBe(first);
    await expect(of('def other(): pass\n')).rejects.toThrow(code('E_FN_NOT_FOUND'));
    await expect(planOf(base.runFunction(pythonFunction('/nowhere.py', 'f')))).rejects.toThrow(
      code('E_LOCAL_FILE_MISSING'),
    );
  });

  test('Python modules are found, or said to be missing', async () => {
    await using tree = await temporaryTree({ 'pkg/__init__.py': '', 'pkg/mod.py': 'def f():\n    pass\n' });
    const env = { PYTHONPATH: tree.path };
    const image = base.runFunction(pythonFunction({ module: 'pkg.mod', function: 'f' }));
    expect((await planOf(image, { env })).layers.at(-1)?.buildFunction?.source).toBe('def f():\n    pass');
    const missing = pythonFunction({ module: 'pkg.none', function: 'f' });
    await expect(planOf(base.runFunction(missing), { env })).rejects.toThrow(code('E_MODULE_NOT_FOUND'));
    const inImage = async (module: string) => {
      const image = base.runFunction(pythonFunction({ module, function: 'f' }), { includeSource: false });
      const [vertex] = (await graphOf(image)).layerVertices.at(-1) ?? [];
      return [await hash(image), vertex?.digest];
    };
    const [planned, built] = await inImage('pkg.none');
    expect(await inImage('pkg.none')).toEqual([planned, built]);
    // Nothing else tells the functions of modules apart that only the image has.
    const other = await inImage('other.none');
    expect(other[0]).not.toBe(planned);
    expect(other[1]).not.toBe(built);
  });

  test('JavaScript: what the export needs is in the key, comments, names of files and others are not', async () => {
    await using tree = await temporaryTree({});
    const of = async (name: string, text: string) => {
      await writeFile(join(tree.path, name), text);
      return await hash(base.runFunction(jsFunction(join(tree.path, name), 'run')));
    };
    const text = (limit: number, unused: number) =>
      `import { Image } from 'tsbuild';\nimport missing from 'not-installed';\n// ${unused}\nconst A: number = ${limit};
export const unused = () => missing(${unused});\nexport function run(): string { return \`\n// not a comment ${limit}\n\` + A; }\n`;
    const first = await of('a.ts', text(1, 1));
    expect(await of('b.ts', text(1, 2))).toBe(first);
    expect(await of('a.ts', text(2, 1))).not.toBe(first);
    await expect(of('a.ts', 'export const other = 1;')).rejects.toThrow(code('E_FN_NOT_FOUND'));
    await expect(of('a.ts', 'export const run = (;')).rejects.toThrow(code('E_FN_BUNDLE'));
    await expect(of('a.ts', "import './none.ts';\nexport const run = () => 1;")).rejects.toThrow(
      code('E_FN_BUNDLE'),
    );
    await expect(planOf(base.runFunction(jsFunction('/nowhere.ts')))).rejects.toThrow(
      code('E_LOCAL_FILE_MISSING'),
    );
  });
});

describe('App', () => {
  test("a function has its own image, else the app's, else a slim Debian", () => {
    const own = base.env({ A: '1' });
    const app = new App({ name: 'demo', image: base });
    expect(app.function({ image: own }, download).image).toBe(own);
    expect(app.function({}, download).image).toBe(base);
    expect(app.images).toEqual([base, own]);
    expect(app.functions.map(({ name }) => name)).toEqual(['download', 'download']);
    const bare = new App('bare').function({}, download);
    expect(bare.image.recipeHash).toBe(Image.debianSlim().recipeHash);
  });

  test('local() is a plain call with the secrets as environment', async () => {
    provideDefaultEngine(
      async () =>
        ({
          secretValues: async (secrets: readonly Secret[]) =>
            Object.assign({}, ...(await Promise.all(secrets.map((each) => secretValues(each, SOURCES))))),
        }) as never,
    );
    await using tree = await temporaryTree({ 'm.mjs': 'export const twice = (n) => n * 2;\n' });
    const app = new App('demo', { image: base, secrets: [Secret.fromDict({ TSBUILD_TEST_ONE: 'a' })] });
    const read = app.function({ env: { TSBUILD_TEST_TWO: 'b' } }, async function read(more: string) {
      return [process.env.TSBUILD_TEST_ONE, process.env.TSBUILD_TEST_TWO, more];
    });
    expect(await read.local('c')).toEqual(['a', 'b', 'c']);
    expect([process.env.TSBUILD_TEST_ONE, process.env.TSBUILD_TEST_TWO]).toEqual([undefined, undefined]);
    expect(await app.function({}, jsFunction(join(tree.path, 'm.mjs'), 'twice')).local(4)).toBe(8);
    await expect(app.function({}, pythonFunction('a.py', 'f')).local()).rejects.toThrow(
      code('E_FN_NOT_FUNCTION'),
    );
  });

  test('mistakes are said by the call', async () => {
    const outside = 1;
    const app = new App('demo', { image: base });
    expect(() => app.function({}, () => 1)).toThrow(code('E_FN_ANONYMOUS'));
    expect(() =>
      app.function({}, function uses() {
        return outside;
      }),
    ).toThrow(code('E_FN_CAPTURES'));
    expect(() => app.function({ args: [] } as never, download)).toThrow(code('E_UNKNOWN_OPTION'));
    expect(() => app.function({ image: 'x' } as never, download)).toThrow(code('E_ARG_TYPE'));
    expect(() => new App('')).toThrow(code('E_ARG_TYPE'));
    expect(() => new App({ name: 'a' }, { image: base })).toThrow(code('E_ARG_TYPE'));
    expect(() => new App({ name: 'a', gpu: 'T4' } as never)).toThrow(code('E_UNKNOWN_OPTION'));
    const ready = app.function({}, download);
    await expect(ready.invoke({ kwargs: { a: 1 } })).rejects.toThrow(code('E_FN_KWARGS'));
    await expect(ready.remote((() => 1) as never)).rejects.toThrow(code('E_ARG_TYPE'));
  });
});

describe('image.imports()', () => {
  const notFound = () => Promise.reject(Object.assign(new Error('gone'), { code: 'ERR_MODULE_NOT_FOUND' }));
  const other = () => Promise.reject(new Error('broken'));
  const at = (recipe: string | undefined, loader: () => Promise<string>) => {
    const warnings: string[] = [];
    const imports = imageImports('this', loader, {
      environment: recipe === undefined ? {} : { TSBUILD_IMAGE_RECIPE: recipe },
      warn: (message) => warnings.push(message),
    });
    return { imports, warnings };
  };

  test.each([
    ['this machine', undefined],
    ['a container of another image', 'other'],
  ])('%s: a missing package is swallowed, the rest is a warning (C131)', async (_, recipe) => {
    const missing = at(recipe, notFound);
    await missing.imports.ready;
    expect(missing.warnings).toEqual([]);
    expect(() => missing.imports.get()).toThrow(code('E_IMPORT_UNAVAILABLE'));
    const broken = at(recipe, other);
    await broken.imports.ready;
    expect(broken.warnings).toHaveLength(1);
    expect(() => broken.imports.get()).toThrow(code('E_IMPORT_UNAVAILABLE'));
    expect(broken.imports.error).toMatchObject({ message: 'broken' });
  });

  test('a container of this image: everything is what the loader says (C131)', async () => {
    for (const [loader, message] of [
      [notFound, 'gone'],
      [other, 'broken'],
    ] as const) {
      const { imports, warnings } = at('this', loader);
      await expect(imports.ready).rejects.toThrow(message);
      expect(() => imports.get()).toThrow(message);
      expect(warnings).toEqual([]);
    }
    const { imports } = at('this', async () => 'value');
    expect(imports.loaded).toBe(false);
    expect(() => imports.get()).toThrow(code('E_IMPORT_UNAVAILABLE'));
    await imports.ready;
    expect([imports.loaded, imports.get()]).toEqual([true, 'value']);
  });

  test('the loader starts at once, and once', async () => {
    let started = 0;
    const imports = base.imports(() => {
      started += 1;
      return 'value';
    });
    expect(started).toBe(1);
    await imports.ready;
    expect([imports.get(), started]).toEqual(['value', 1]);
    expect(() => base.imports('x' as never)).toThrow(code('E_ARG_TYPE'));
  });

  test('a recipe is the same wherever the module lies', () => {
    const at = (directory: string) =>
      base.runFunction(jsFunction(new URL('steps.ts', `file://${directory}/`), 'run')).recipeHash;
    expect(at('/home/me/app')).toBe(at('/run/tsbuild/function'));
  });
});
