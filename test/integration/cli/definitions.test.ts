/** Definition files, loaded by the command as users have it: kinds of exports, parameters, kinds of files, mistakes. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ImagePlan } from '../../../src/index.ts';
import { type Ran, run } from '../../support/tsbuild.ts';

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tsbuild-definitions-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function write(name: string, text: string): string {
  const path = join(directory, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return name;
}

async function command(...args: readonly string[]): Promise<Ran> {
  const ran = await run(args, { cwd: directory, env: { TSBUILD_HOME: join(directory, 'store') } });
  return { ...ran, stderr: ran.stderr.replaceAll(directory, 'DIR') };
}

/** The name of each image, and what its second layer runs. */
async function planned(...args: readonly string[]): Promise<Record<string, string>> {
  const { status, stdout, stderr } = await command('plan', '--json', ...args);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  const plans = JSON.parse(stdout) as Record<string, ImagePlan>;
  return Object.fromEntries(
    Object.entries(plans).map(([name, { layers }]) => [name, layers[1]?.commands.at(-1) ?? '']),
  );
}

/** An image that runs `text`, an expression. */
const says = (text: string) => `Image.fromScratch().runCommands(${text})`;
const IMPORT = "import { Image } from 'tsbuild';\n";

describe('exports', () => {
  test.each([
    [
      'plain.ts',
      `export const b = ${says("'b'")};\nexport default ${says("'a'")};`,
      { default: 'a', b: 'b' },
    ],
    ['promise.ts', `export default Promise.resolve(${says("'later'")});`, { default: 'later' }],
    [
      'await.ts',
      `const text = await Promise.resolve('up');\nexport const up = ${says('text')};`,
      { up: 'up' },
    ],
    ['function.ts', `export default () => ${says("'made'")};`, { default: 'made' }],
    ['async.ts', `export default async () => { await null; return ${says("'made'")}; }`, { default: 'made' }],
    [
      'object.ts',
      `export default async function make() { return { web: ${says("'w'")}, job: ${says("'j'")} }; }`,
      { web: 'w', job: 'j' },
    ],
    ['inner.ts', `export const all = { web: ${says("'w'")} };`, { 'all.web': 'w' }],
    [
      'twice.ts',
      `export const web = ${says("'w'")};\nexport default web;\nexport const n = 4, step = () => { throw new Error('nobody called me'); };`,
      { default: 'w' },
    ],
  ])('%s', async (name, text, expected) => {
    const runs = Object.entries(expected).map(([each, line]) => [each, `RUN ${line}`]);
    expect(await planned(write(name, IMPORT + text))).toEqual(Object.fromEntries(runs));
  });

  test("are chosen by name: an export, one of an object, one of the default's, a function", async () => {
    const file = write(
      'choose.ts',
      `${IMPORT}let calls = 0;
      export const one = ${says("'one'")};
      export const group = { a: ${says("'a'")}, b: ${says("'b'")} };
      export function made() { calls += 1; return { x: ${says("'x' + calls")}, y: ${says("'y' + calls")} }; }
      export default () => ({ web: ${says("'w'")}, job: ${says("'j'")} });`,
    );
    expect(await planned(`${file}::one`)).toEqual({ one: 'RUN one' });
    expect(await planned(`${file}::web`)).toEqual({ web: 'RUN w' });
    expect(await planned(`${file}::group.b`)).toEqual({ 'group.b': 'RUN b' });
    expect(await planned(`${file}::made.x::made.y`)).toEqual({ 'made.x': 'RUN x1', 'made.y': 'RUN y1' });
    const wrong = await command('plan', `${file}::wbe`);
    expect(wrong).toMatchObject({ status: 2, stderr: expect.stringContaining("did you mean '::web'?") });
  });

  test.each([
    ['number.ts', 'export default () => 4;', "export 'default' of 'number.ts' returned a number"],
    ['mixed.ts', `export default () => ({ web: ${says("'w'")}, port: 80 });`, "whose 'port' is a number"],
    ['nothing.ts', 'export default async () => {};', 'returned undefined, not an image'],
    [
      'uncalled.ts',
      `export const web = () => ${says("'w'")};`,
      'called when they are named: uncalled.ts::web',
    ],
  ])('%s is refused', async (name, text, reason) => {
    const { status, stderr } = await command('plan', write(name, IMPORT + text));
    expect(stderr).toContain(reason);
    expect(stderr).toContain('E_DEFINITION_LOAD');
    expect(status).toBe(2);
  });

  test('a class that was asked for is refused', async () => {
    const file = write('class.ts', `${IMPORT}export class Web {}\nexport default ${says("'w'")};`);
    const { status, stderr } = await command('plan', `${file}::Web`);
    expect(stderr).toContain("export 'Web' of 'class.ts' is a class, not an image");
    expect(status).toBe(2);
  });
});

describe('parameters', () => {
  const FILE = 'params.ts';
  beforeAll(() => {
    write(
      FILE,
      `import { Image, type ParamValues } from 'tsbuild';
      export const params = {
        python: '3.12', debug: false, n: 4,
        size: { default: 'small', values: ['small', 'large'], help: 'how much goes in' },
      };
      type Params = ParamValues<typeof params>;
      export default ({ python, debug, n, size }: Params) => ${says(
        '[python, typeof debug, debug, typeof n, n + 1, size].join(" ")',
      )};
      export const other = async (given: Params) => ${says('`other ${given.python} ${Object.isFrozen(given)}`')};`,
    );
  });

  test('have defaults, names and types', async () => {
    expect(await planned(FILE)).toEqual({ default: 'RUN 3.12 boolean false number 5 small' });
    const given = ['--param', 'python=3.13=rc', '--param=debug', '--param', 'n=1.5', '--param', 'size=large'];
    expect(await planned(FILE, ...given)).toEqual({
      default: 'RUN 3.13=rc boolean true number 2.5 large',
    });
    expect(
      await planned(FILE, '--param', 'debug=true', '--param', 'debug=false', '--param', 'python='),
    ).toEqual({ default: 'RUN  boolean false number 5 small' });
    expect(await planned(`${FILE}::other`, '--param', 'python=x')).toEqual({ other: 'RUN other x true' });
  });

  test.each([
    ['pyton=3.13', 'E_PARAM_UNKNOWN', "did you mean 'python'?"],
    ['x=1', 'E_PARAM_UNKNOWN', 'it takes python=3.12, debug=false, n=4, size=small (how much goes in)'],
    ['n=four', 'E_PARAM_VALUE', "--param n: 'four' is not a number"],
    ['n=', 'E_PARAM_VALUE', "--param n: '' is not a number"],
    ['debug=yes', 'E_PARAM_VALUE', "--param debug: 'yes' is not true or false"],
    ['python', 'E_PARAM_VALUE', "--param 'python' has no value"],
    ['size=huge', 'E_PARAM_VALUE', "'huge' is not one of small, large"],
    ['=3', 'E_USAGE', "'=3' is not NAME=VALUE"],
  ])('%s is refused', async (param, code, reason) => {
    for (const verb of ['plan', 'build', 'run']) {
      const { status, stderr } = await command(verb, FILE, '--param', param);
      expect(stderr).toContain(reason);
      expect(stderr).toContain(code);
      expect(status).toBe(2);
    }
  });

  test('that nothing takes are refused', async () => {
    const plain = write(
      'plain-params.ts',
      `${IMPORT}export const params = { a: 1 };\nexport default ${says("'w'")};`,
    );
    const unread = await command('plan', plain, '--param', 'a=2');
    expect(unread).toMatchObject({ status: 2, stderr: expect.stringContaining('--param a reaches nothing') });
    const none = await command(
      'plan',
      write('none.ts', `${IMPORT}export default ${says("'w'")};`),
      '--param',
      'a=2',
    );
    expect(none).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("'none.ts' takes no parameters"),
    });
    write('dockerfile/Dockerfile', 'FROM scratch\n');
    const dockerfile = await command('build', 'dockerfile', '--param', 'a=2');
    expect(dockerfile).toMatchObject({ status: 2, stderr: expect.stringContaining('--build-arg') });
    const image = await command('run', 'some-image', '--param', 'a=2');
    expect(image).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('--param is for a definition'),
    });
  });

  test.each([
    ['[1]', 'is not an object of names and defaults'],
    ['{ a: null }', "the parameter 'a' of"],
    ['{ a: { default: 1, valeus: [1] } }', "'valeus' is none of default, values, help"],
    ['{ a: { default: 1, values: ["1"] } }', "its 'values' must be an array of what the default is"],
    ['{ a: { default: 1, values: [2] } }', "its default is none of its 'values'"],
    ['{ "a b": 1 }', 'its name needs letters'],
  ])('params = %s is refused', async (params, reason) => {
    const file = write(
      'bad-params.ts',
      `${IMPORT}export const params = ${params};\nexport default ${says("'w'")};`,
    );
    const { status, stderr } = await command('plan', file);
    expect(stderr).toContain(reason);
    expect(stderr).toContain('E_DEFINITION_LOAD');
    expect(status).toBe(2);
  });
});

describe('files', () => {
  const ESM = `import { Image } from 'tsbuild';\nexport default ${says("'esm'")};`;
  const TYPED = `import { Image } from 'tsbuild';\nconst text: string = 'typed';\nexport const web: Image = ${says('text')};`;
  const COMMONJS = `const { Image } = require('tsbuild');\nmodule.exports = { web: ${says("'cjs'")} };`;
  test.each([
    ['a.mts', TYPED, { web: 'RUN typed' }],
    ['a.mjs', ESM, { default: 'RUN esm' }],
    ['esm.js', ESM, { default: 'RUN esm' }],
    ['a.cjs', COMMONJS, { web: 'RUN cjs' }],
    ['commonjs.js', COMMONJS, { web: 'RUN cjs' }],
    ['a.cts', `const text: string = 'cts';\n${COMMONJS.replace("'cjs'", 'text')}`, { web: 'RUN cts' }],
    [
      'function.cjs',
      `const { Image } = require('tsbuild');\nmodule.exports = ({ n }) => ${says('`n${n}`')};\nmodule.exports.params = { n: 3 };`,
      { default: 'RUN n3' },
    ],
  ])('%s', async (name, text, expected) => {
    expect(await planned(write(name, text))).toEqual(expected);
  });
});

describe('mistakes', () => {
  test.each([
    ['factory.ts', "export default (): never => {\n  throw new RangeError('too far');\n};", 'factory.ts:2:9'],
    [
      'rejects.ts',
      "export default (async () => {\n  await null;\n  throw new Error('no answer');\n})();",
      'rejects.ts:3:9',
    ],
    [
      'floating.ts',
      `${IMPORT}void (async () => {\n  await null;\n  throw new Error('nobody looks');\n})();\nawait new Promise((done) => setTimeout(done, 50));\nexport default ${says("'w'")};`,
      'floating.ts:4:9',
    ],
    [
      'lazy.ts',
      "export default async () => {\n  return (await import('./not-there.ts')).default;\n};",
      'lazy.ts:2:24',
    ],
    ['broken.cjs', 'module.exports = {\n  a: = 1,\n};', 'broken.cjs:2'],
    ['namespace.cts', 'namespace A {\n  export const a = 1;\n}\nmodule.exports = A;', 'namespace.cts:1'],
    [
      'call.ts',
      `${IMPORT}const packages = ['git'];\nexport default () =>\n  Image.fromScratch().aptInstall([packages] as never);`,
      'call.ts:4:23',
    ],
  ])('%s is shown with its line, and without a stack of ours', async (name, text, place) => {
    const { status, stderr, stdout } = await command('plan', write(name, text));
    expect(stderr).toContain(`DIR/${place}`);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(stderr).not.toContain('dist/');
    expect(stdout).toBe('');
    expect(status).toBe(2);
  });

  test('a definition that waits for ever is no success', async () => {
    const { status, stderr } = await command('build', write('stuck.ts', 'await new Promise(() => {});'));
    expect(stderr).toContain("'stuck.ts' never ends");
    expect(status).toBe(2);
  });

  test('a definition that takes long is cancelled by one Ctrl-C', async () => {
    const file = write(
      'slow.ts',
      "export default async () => {\n  process.stderr.write('started');\n  await new Promise((done) => setTimeout(done, 100_000));\n};",
    );
    const ran = await run(['build', file], {
      cwd: directory,
      signalAt: { text: 'started', signal: 'SIGINT' },
    });
    expect(ran.status).toBe(130);
  });
});
