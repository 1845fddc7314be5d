import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { sha256Hex } from '../../../../src/base/sha256.ts';
import { Image } from '../../../../src/frontend/fluent/image.ts';
import type { AddLocalPythonSourceOptions } from '../../../../src/frontend/fluent/python-source-layer.ts';
import { inRecipeDirectory } from '../../../../src/frontend/fluent/recipe-directory.ts';
import { FilePatternMatcher } from '../../../../src/patterns/file-pattern-matcher.ts';
import { graphOf, planOf } from '../../../support/image-surroundings.ts';
import { temporaryTree } from '../../../support/temporary-tree.ts';

const base = Image.fromScratch();
const code = (expected: string) => expect.objectContaining({ code: expected });

const mounted = async (image: Image) => {
  const { mounts } = await planOf(image);
  return mounts.map(({ kind, files }) => [kind, ...Object.keys(files)]);
};
const found = async (modules: string | readonly string[], options: AddLocalPythonSourceOptions) =>
  (await mounted(base.addLocalPythonSource(modules, options)))[0]?.slice(1);

describe('addLocalPythonSource', () => {
  test('a package and a single module land below /root, in one mount (C87) (C88)', async () => {
    await using tree = await temporaryTree({
      'app/__init__.py': '',
      'app/core/__init__.py': '',
      'app/core/run.py': 'x = 1\n',
      'standalone.py': 'y = 2\n',
      'src/no_init.py': '',
      'other/ignored.py': '',
    });
    const searchPaths = [tree.path];
    expect(await mounted(base.addLocalPythonSource('app', ['standalone', 'src'], { searchPaths }))).toEqual([
      [
        'pythonSource',
        '/root/app/__init__.py',
        '/root/app/core/__init__.py',
        '/root/app/core/run.py',
        '/root/src/no_init.py',
        '/root/standalone.py',
      ],
    ]);
    expect(await found('app.core', { searchPaths })).toEqual([
      '/root/app/core/__init__.py',
      '/root/app/core/run.py',
    ]);
    expect(await found('app.core.run', { searchPaths })).toEqual(['/root/app/core/run.py']);
  });

  test('only pure Python files; dot files and __pycache__ are left out, a dot directory above does not matter (C89)', async () => {
    await using tree = await temporaryTree({
      '.venv/lib/m/__init__.py': '',
      '.venv/lib/m/data.json': '',
      '.venv/lib/m/.hidden/x.py': '',
      '.venv/lib/m/.dot.py': '',
      '.venv/lib/m/__pycache__/m.cpython-313.pyc': '',
      '.venv/lib/m/__pycache__/trap.py': '',
      '.venv/lib/m/sub/y.py': '',
      '.venv/lib/m/empty': null,
    });
    const searchPaths = [join(tree.path, '.venv/lib')];
    expect(await found('m', { searchPaths })).toEqual(['/root/m/__init__.py', '/root/m/sub/y.py']);
    // What is given takes the place of the default, and sees paths relative to the module.
    expect(await found('m', { searchPaths, ignore: ['sub', '__pycache__'] })).toEqual([
      '/root/m/.dot.py',
      '/root/m/.hidden/x.py',
      '/root/m/__init__.py',
      '/root/m/data.json',
      '/root/m/empty/',
    ]);
    const seen: string[] = [];
    const ignore = (path: string) => {
      seen.push(path);
      return !path.endsWith('.json');
    };
    expect(await found('m', { searchPaths, ignore })).toEqual(['/root/m/data.json']);
    expect(seen).toContain('sub/y.py');
    const gitignore = { ignore: ['*.py', '*.pyc'], ignoreSyntax: 'gitignore' } as const;
    expect(await found('m', { searchPaths, ...gitignore })).toContain('/root/m/data.json');
    expect(await found('m', { searchPaths, ignore: new FilePatternMatcher('sub/*.py').negate() })).toEqual([
      '/root/m/sub/y.py',
    ]);
  });

  test('modules are looked up as Python does (C90)', async () => {
    await using tree = await temporaryTree({
      'one/other.py': '',
      'one/both/in_dir.py': '',
      'one/name/a.py': 'first',
      'two/wanted.py': 'second entry',
      'two/both.py': '',
      'two/name/a.py': 'hidden by the first',
      'two/name/b.py': '',
      'env/by_variable.py': '',
      'linked.py': '',
      'two/linked.py': { link: '../linked.py' },
    });
    const at = (...names: string[]) => names.map((name) => join(tree.path, name));
    const searchPaths = at('one', 'two');
    expect(await found('wanted', { searchPaths })).toEqual(['/root/wanted.py']);
    // A module of a later entry comes before a directory without __init__.py of an earlier one.
    expect(await found('both', { searchPaths })).toEqual(['/root/both.py']);
    expect(await found('linked', { searchPaths })).toEqual(['/root/linked.py']);
    const plan = await planOf(base.addLocalPythonSource('name', { searchPaths }));
    expect(Object.keys(plan.mounts[0]?.files ?? {})).toEqual(['/root/name/a.py', '/root/name/b.py']);
    const turned = await planOf(base.addLocalPythonSource('name', { searchPaths: at('two', 'one') }));
    expect(turned.mounts[0]?.files['/root/name/a.py']).not.toEqual(plan.mounts[0]?.files['/root/name/a.py']);

    const before = { cwd: process.cwd(), path: process.env.PYTHONPATH };
    process.chdir(join(tree.path, 'two'));
    process.env.PYTHONPATH = `/nowhere:${join(tree.path, 'env')}`;
    let byVariable: Image;
    try {
      byVariable = base.addLocalPythonSource('by_variable', 'wanted');
    } finally {
      process.chdir(before.cwd);
      process.env.PYTHONPATH = before.path ?? '';
    }
    // Where is remembered at the call.
    expect((await mounted(byVariable))[0]).toEqual([
      'pythonSource',
      '/root/by_variable.py',
      '/root/wanted.py',
    ]);

    for (const missing of ['wantde', 'wanted.inner', 'name.nothing']) {
      await expect(planOf(base.addLocalPythonSource(missing, { searchPaths }))).rejects.toThrow(
        code('E_MODULE_NOT_FOUND'),
      );
    }
    await expect(planOf(base.addLocalPythonSource('wantde', { searchPaths }))).rejects.toThrow(
      expect.objectContaining({ hint: "did you mean 'wanted'?" }),
    );
  });

  test('the directory of the definition file comes before the working directory', async () => {
    await using tree = await temporaryTree({ 'recipes/mine.py': 'recipe', 'cwd/mine.py': 'cwd' });
    const define = async () => base.addLocalPythonSource('mine');
    const cwd = process.cwd();
    process.chdir(join(tree.path, 'cwd'));
    const [byRecipe, byDirectory] = await inRecipeDirectory(join(tree.path, 'recipes'), define)
      .then(async (first) => [first, await define()] as const)
      .finally(() => process.chdir(cwd));
    const content = async (image: Image) => (await planOf(image)).mounts[0]?.files['/root/mine.py']?.sha256;
    expect(await content(byRecipe)).toBe(sha256Hex('recipe'));
    expect(await content(byDirectory)).toBe(sha256Hex('cwd'));
  });

  test('compiled parts are refused, unless ignore leaves them out', async () => {
    await using tree = await temporaryTree({
      'p/__init__.py': '',
      'p/fast.cpython-313-x86_64-linux-gnu.so': '',
      'p/.cache/x.so': '',
      'single.abi3.so': '',
      'w/__init__.py': '',
      'w/w.pyd': '',
      'pure/__init__.py': '',
      'pure/.cache/x.so': '',
    });
    const searchPaths = [tree.path];
    for (const name of ['p', 'single', 'w']) {
      await expect(planOf(base.addLocalPythonSource(name, { searchPaths }))).rejects.toThrow(
        code('E_MODULE_BINARY'),
      );
    }
    expect(await found('p', { searchPaths, ignore: ['*.so', '.cache'] })).toEqual(['/root/p/__init__.py']);
    await expect(
      planOf(base.addLocalPythonSource('p', { searchPaths, ignore: FilePatternMatcher.NOTHING })),
    ).rejects.toThrow(code('E_MODULE_BINARY'));
    expect(await found('pure', { searchPaths })).toEqual(['/root/pure/__init__.py']);
  });

  test('a directory without Python files is no module', async () => {
    await using tree = await temporaryTree({ 'docs/readme.md': '' });
    await expect(planOf(base.addLocalPythonSource('docs', { searchPaths: [tree.path] }))).rejects.toThrow(
      code('E_MODULE_NOT_FOUND'),
    );
  });

  test('copy: true is a layer that puts /root on PYTHONPATH', async () => {
    await using tree = await temporaryTree({ 'm.py': 'x' });
    const searchPaths = [tree.path];
    const image = base.addLocalPythonSource('m', { copy: true, searchPaths }).runCommands('x');
    const layer = (await planOf(image)).layers[1];
    expect(layer?.commands).toEqual(['FROM base', 'COPY . /', 'ENV PYTHONPATH=/root:$PYTHONPATH']);
    expect(Object.keys(layer?.contextMount?.files ?? {})).toEqual(['/root/m.py']);
    expect((await graphOf(image)).config.Env).toEqual(['PYTHONPATH=/root']);
    const twice = Image.fromRegistry('b')
      .addLocalPythonSource('m', { copy: true, searchPaths })
      .addLocalPythonSource('m', { copy: true, searchPaths });
    expect((await graphOf(twice, { base: { Env: ['A=1', 'PYTHONPATH=/opt/lib'] } })).config.Env).toEqual([
      'A=1',
      'PYTHONPATH=/root:/opt/lib',
    ]);
    await writeFile(join(tree.path, 'm.py'), 'y');
    expect((await planOf(image)).layers[1]?.definitionHash).not.toBe(layer?.definitionHash);
  });

  test('no module is no layer; wrong arguments are told at the call', async () => {
    const pending = base.addLocalDir('/somewhere', '/x');
    expect(pending.addLocalPythonSource()).toBe(pending);
    expect(pending.addLocalPythonSource([], { copy: true })).toBe(pending);
    const add =
      (...args: unknown[]) =>
      () =>
        base.addLocalPythonSource(...(args as string[]));
    expect(add(7)).toThrow(code('E_NOT_STRINGS'));
    expect(add([['a']])).toThrow(code('E_NOT_STRINGS'));
    expect(add('a', { search_paths: [] })).toThrow(code('E_UNKNOWN_OPTION'));
    expect(add('a', { copy: 1 })).toThrow(code('E_ARG_TYPE'));
    expect(add('a', { searchPaths: '/x' })).toThrow(code('E_ARG_TYPE'));
    expect(add('a', { ignore: 7 })).toThrow(code('E_ARG_TYPE'));
    for (const path of ['./app', 'app/', 'app.py/x', '../app', '', 'a..b', '1a']) {
      expect(add(path)).toThrow(code('E_ARG_TYPE'));
    }
    expect(() => base.addLocalPythonSource('a').addLocalPythonSource('b', { copy: true })).toThrow(
      code('E_STEP_AFTER_MOUNT'),
    );
    expect(base.addLocalPythonSource('a', { forceBuild: true }).forceBuild).toBe(false);
    expect(base.addLocalPythonSource('größe').mounts).toHaveLength(1);
  });

  test('the recipe hash knows the modules, not where they were found', async () => {
    await using tree = await temporaryTree({ 'm.py': '' });
    await mkdir(join(tree.path, 'else'));
    const hash = (name: string, ...searchPaths: string[]) =>
      base.addLocalPythonSource(name, { searchPaths }).recipeHash;
    expect(hash('m', tree.path)).toBe(hash('m', join(tree.path, 'else')));
    expect(hash('m', tree.path)).not.toBe(hash('n', tree.path));
  });
});
