/** Functions of apps, called in real containers with this machine's Node; no network. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import type { StepError } from '../../src/errors.ts';
import { App, type AppFunction, callValues } from '../../src/frontend/fluent/app.ts';
import { jsFunction } from '../../src/frontend/fluent/function-target.ts';
import { Volume } from '../../src/frontend/fluent/volume.ts';
import { Secret } from '../../src/secret/secret.ts';
import { glibcImage } from '../support/glibc-image.ts';
import { lacks } from '../support/requires.ts';

const code = (expected: string) => expect.objectContaining({ code: expected });

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('functions of an app', () => {
  const image = glibcImage().runCommands('mkdir /data', 'echo from the image > /data/name');
  let dir: string;
  let engine: Engine;
  let printed: string;

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-app-'));
    engine = await Engine.open({
      storeDir: join(dir, 'store'),
      env: { PATH: process.env.PATH, HOME: process.env.HOME },
      // A machine without GPUs, whichever this one is.
      cdiDirs: [],
      driverRoot: dir,
    });
  });
  afterAll(async () => {
    await engine.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const call = (of: AppFunction, ...args: readonly unknown[]) => {
    printed = '';
    return engine.callFunction(of, callValues(of, { args }), {
      onOutput: (stream, chunk) => {
        printed += `${stream}: ${chunk.toString()}`;
      },
    });
  };
  const write = (name: string, text: string) => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };

  test('the result is computed in the image, which the function inherits, with the secrets in order (C133) (C134)', async () => {
    const app = new App({
      name: 'demo',
      image,
      secrets: [Secret.fromDict({ ONE: 'app', TWO: 'app' })],
    });
    const look = app.function(
      { secrets: [Secret.fromDict({ TWO: 'own' })], env: { THREE: 'env' } },
      function look(from: string, when: Date) {
        const { readFileSync } = require('node:fs');
        console.log('looking');
        const { ONE, TWO, THREE, TSBUILD_IS_CONTAINER, TSBUILD_IS_BUILD } = process.env;
        return {
          name: readFileSync(from, 'utf8').trim(),
          env: [ONE, TWO, THREE, TSBUILD_IS_CONTAINER, TSBUILD_IS_BUILD],
          map: new Map([[when, new Set([1n, Number.NaN, undefined])]]),
          bytes: new Uint8Array([1, 2]),
        };
      },
    );
    expect(look.image).toBe(image);
    const when = new Date(7);
    expect(await call(look as AppFunction, '/data/name', when)).toEqual({
      name: 'from the image',
      env: ['app', 'own', 'env', '1', undefined],
      map: new Map([[when, new Set([1n, Number.NaN, undefined])]]),
      bytes: new Uint8Array([1, 2]),
    });
    expect(printed).toBe('stdout: looking\n');
  });

  test('what it changes is thrown away', async () => {
    const app = new App('demo', { image });
    const count = app.function({}, function count() {
      const { existsSync, writeFileSync } = require('node:fs');
      const existed = existsSync('/data/left');
      writeFileSync('/data/left', '');
      return existed;
    });
    expect(await call(count as AppFunction)).toBe(false);
    expect(await call(count as AppFunction)).toBe(false);
  });

  test('an exception is a step error with the stack and the line of the module', async () => {
    const path = write(
      'throws.ts',
      "export class Odd extends Error { override name = 'Odd'; }\nexport function fail(value: string): never {\n  throw new Odd(value);\n}\n",
    );
    const fail = new App('demo', { image }).function({}, jsFunction(path, 'fail'));
    await expect(call(fail as AppFunction, 'no')).rejects.toMatchObject({
      code: 'E_BUILD_FAILED',
      message: expect.stringContaining('Odd: no'),
      remoteStack: expect.stringContaining(`${path}:3:9`),
      file: path,
      line: 3,
    });
  });

  test('a result that cannot be carried, an early end and a time limit are said', async () => {
    const app = new App('demo', { image });
    const odd = app.function({}, function odd() {
      return () => 1;
    });
    await expect(call(odd as AppFunction)).rejects.toThrow(code('E_FN_RESULT'));
    const ends = app.function({}, function ends() {
      process.exit(0);
    });
    await expect(call(ends as AppFunction)).rejects.toMatchObject({
      code: 'E_BUILD_FAILED',
      message: expect.stringContaining('before it returned'),
    });
    const slow = app.function({ timeout: 0.5 }, function slow() {
      return new Promise((resolve) => setTimeout(resolve, 60_000));
    });
    await expect(call(slow as AppFunction)).rejects.toMatchObject({
      code: 'E_BUILD_TIMEOUT',
      reason: 'timeout',
    });
  });

  test('a volume is shared between calls, and a GPU that is not there is said before the call (C135)', async () => {
    const app = new App('demo', { image });
    const volumes = { '/state': Volume.fromName('state', { createIfMissing: true }) };
    const count = app.function({ volumes }, function count() {
      const fs = require('node:fs');
      const before = fs.existsSync('/state/n') ? Number(fs.readFileSync('/state/n', 'utf8')) : 0;
      fs.writeFileSync('/state/n', String(before + 1));
      return before;
    });
    expect(await call(count as AppFunction)).toBe(0);
    expect(await call(count as AppFunction)).toBe(1);
    const fast = app.function({ gpu: 'T4' }, function fast() {
      return 1;
    });
    await expect(call(fast as AppFunction)).rejects.toThrow(code('E_GPU_UNAVAILABLE'));
  });

  test('what a function does to its own report is its own harm', async () => {
    const app = new App('demo', { image });
    const forge = app.function({}, function forge(text: string, times: number) {
      const fs = require('node:fs');
      fs.writeFileSync(
        '/run/tsbuild/function/report',
        text.replace('NEST', '['.repeat(times) + ']'.repeat(times)),
      );
      process.exit(0);
    }) as AppFunction;
    expect(await call(forge, '{"ok":true,"value":[1]}', 0)).toEqual([1]);
    await expect(call(forge, '{"ok":true,"value":{"$tsbuild":"nonsense"}}', 0)).rejects.toThrow(
      code('E_FN_RESULT'),
    );
    await expect(call(forge, '{"ok":true,"value":{"$tsbuild":"bigint","value":"x"}}', 0)).rejects.toThrow(
      code('E_FN_RESULT'),
    );
    await expect(call(forge, 'no JSON', 0)).rejects.toThrow(code('E_BUILD_FAILED'));
    await expect(call(forge, '{"ok":true,"value":NEST}', 200_000)).rejects.toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^E_(BUILD_FAILED|FN_RESULT)$/) }),
    );
    const replace = app.function({}, function replace() {
      const fs = require('node:fs');
      const tried: string[] = [];
      for (const act of [
        () => fs.unlinkSync('/run/tsbuild/function/report'),
        () => fs.symlinkSync('/etc', '/run/tsbuild/function/other'),
        () => fs.writeFileSync('/run/tsbuild/function/driver.mjs', ''),
      ]) {
        try {
          act();
        } catch (error) {
          tried.push((error as NodeJS.ErrnoException).code ?? '');
        }
      }
      return tried;
    }) as AppFunction;
    expect(await call(replace)).toEqual([expect.stringMatching(/EBUSY|EROFS/), 'EROFS', 'EROFS']);
  });

  test('a forged report is an error of the function, whatever is in it', async () => {
    const path = write(
      'forge-report.ts',
      `import { writeFileSync } from 'node:fs';
      export default (text: string, times: number, status: number) => {
        writeFileSync('/run/tsbuild/function/report', text.replace('MANY', () => '1e20,'.repeat(times)));
        process.reallyExit(status);
      };\n`,
    );
    const forge = new App('demo', { image }).function({}, jsFunction(path)) as AppFunction;
    const textless = { toString: 1, valueOf: 1 };
    await expect(
      call(
        forge,
        JSON.stringify({
          ok: false,
          error: { type: textless, message: textless, stack: '', stage: textless },
        }),
        0,
        1,
      ),
    ).rejects.toMatchObject({ code: 'E_BUILD_FAILED', message: 'object: object' });
    // Short as it was written, too long as we write it.
    await expect(call(forge, '{"ok":true,"value":[MANY0]}', 2_000_000, 0)).rejects.toMatchObject({
      code: 'E_FN_RESULT',
      message: expect.stringContaining('bytes'),
    });
    await expect(
      call(forge, JSON.stringify({ ok: true, value: { $tsbuild: '\u001b[31m'.repeat(1000) } }), 0, 0),
    ).rejects.toMatchObject({
      code: 'E_FN_RESULT',
      // biome-ignore lint/suspicious/noControlCharactersInRegex: it must hold none.
      message: expect.not.stringMatching(/\u001b|.{400}/),
    });
  });

  test('a forged stack shows no file of this machine but those of the function', async () => {
    write('other.ts', 'another file of the same directory\n');
    const source = `import { writeFileSync } from 'node:fs';
      export default (stack: string) => {
        const error = { type: 'E', message: 'm', stack };
        writeFileSync('/run/tsbuild/function/report', JSON.stringify({ ok: false, error }));
        process.reallyExit(1);
      };\n`;
    const own = write('own.ts', source);
    const forge = new App('demo', { image }).function({}, jsFunction(own)) as AppFunction;
    const failure = async (frames: string) =>
      (await call(forge, `E: m\n${frames}`).catch((error: unknown) => error)) as StepError;
    for (const path of ['/etc/passwd', '/dev/zero', '/proc/self/environ', join(dir, 'other.ts')]) {
      const error = await failure(`    at f (${path}:1:1)\n  File "${path}", line 1, in f`);
      expect(error).toMatchObject({ code: 'E_BUILD_FAILED', remoteStack: expect.stringContaining(path) });
      expect(error.excerpt).toBeUndefined();
    }
    expect((await failure(`    at f (${own}:2:7)`)).excerpt).toContain('> 2 |       export default');
  });

  test('packages are found in the working directory of the image', async () => {
    const path = write(
      'uses-package.ts',
      "import { answer } from 'only-in-the-image';\nexport default async () => answer + (await import('also-there')).more;\n",
    );
    const withPackages = image
      .workdir('/app')
      .runCommands(
        [
          'mkdir -p node_modules/only-in-the-image /usr/lib/node_modules/also-there',
          'echo "export const answer = 40" > node_modules/only-in-the-image/index.mjs',
          'echo "{\\"exports\\":\\"./index.mjs\\"}" > node_modules/only-in-the-image/package.json',
          'echo "export const more = 2" > /usr/lib/node_modules/also-there/index.mjs',
          'echo "{\\"exports\\":\\"./index.mjs\\"}" > /usr/lib/node_modules/also-there/package.json',
        ].join(' && '),
      );
    const uses = new App('demo', { image: withPackages }).function({}, jsFunction(path));
    expect(await call(uses as AppFunction)).toBe(42);
  });

  describe('image.imports()', () => {
    const definition = (loader: string, of = 'image') =>
      `import { Image } from 'tsbuild';
const image = Image.fromScratch().env({ NAME: 'this' });
const other = Image.fromScratch().env({ NAME: 'other' });
const libs = ${of}.imports(${loader});
export async function probe() {
  await libs.ready.catch(() => undefined);
  let value;
  try { value = libs.get().value; } catch (error) { value = error.code ?? error.message; }
  return { loaded: libs.loaded, value, here: process.env.TSBUILD_IMAGE_RECIPE === image.recipeHash };
}
export { image };
`;
    /** The module's recipe stands for an image that has what a container needs. */
    const run = async (name: string, text: string, recipe?: string) => {
      const path = write(name, text);
      const probe = new App('demo', { image }).function({}, jsFunction(path, 'probe'));
      const spec = probe as AppFunction;
      return await engine.callFunction(spec, callValues(spec, {}), {
        onOutput: (_stream, chunk) => {
          printed += chunk.toString();
        },
        ...(recipe === undefined ? {} : { env: { TSBUILD_IMAGE_RECIPE: recipe } }),
      });
    };
    /** What the recipe of `image` in the definition is here. */
    const recipe = async () => {
      const { Image } = await import('../../src/frontend/fluent/image.ts');
      return Image.fromScratch().env({ NAME: 'this' }).recipeHash;
    };

    test('inside of the image the value is there, and the recipe is the same as here (C131)', async () => {
      expect(await run('in.ts', definition('async () => ({ value: 5 })'), await recipe())).toEqual({
        loaded: true,
        value: 5,
        here: true,
      });
    });

    test('inside of the image what is missing fails before the call (C131)', async () => {
      const missing = definition("async () => ({ value: (await import('nowhere-at-all')).default })");
      await expect(run('missing.ts', missing, await recipe())).rejects.toMatchObject({
        code: 'E_BUILD_FAILED',
        remoteStack: expect.stringContaining('nowhere-at-all'),
      });
      const broken = definition("async () => { throw new Error('broken loader'); }");
      await expect(run('broken.ts', broken, await recipe())).rejects.toMatchObject({
        message: expect.stringContaining('broken loader'),
      });
    });

    test('in a container of another image what is missing is swallowed, the rest is a warning (C131)', async () => {
      printed = '';
      const missing = definition(
        "async () => ({ value: (await import('nowhere-at-all')).default })",
        'other',
      );
      expect(await run('elsewhere.ts', missing, await recipe())).toEqual({
        loaded: false,
        value: 'E_IMPORT_UNAVAILABLE',
        here: true,
      });
      expect(printed).not.toContain('W_IMPORTS_ERROR');
      const broken = definition("async () => { throw new Error('broken loader'); }", 'other');
      expect(await run('elsewhere-broken.ts', broken, await recipe())).toMatchObject({
        value: 'E_IMPORT_UNAVAILABLE',
      });
      expect(printed).toContain('W_IMPORTS_ERROR');
    });
  });
});
