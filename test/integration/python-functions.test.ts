/** Functions of Python files in a Debian from its archive, which is fetched: build steps and calls of an app. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import { StepError } from '../../src/errors.ts';
import { App, type AppFunction, callValues } from '../../src/frontend/fluent/app.ts';
import { pythonFunction } from '../../src/frontend/fluent/function-target.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import { Secret } from '../../src/secret/secret.ts';
import { lacks } from '../support/requires.ts';

describe.skipIf(lacks('bwrap', 'root'))('functions in Python', () => {
  const base = Image.debianSlim({ source: 'archive' });
  let dir: string;
  let engine: Engine;

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-python-functions-'));
    engine = await Engine.open({ storeDir: join(dir, 'store') });
    await engine.build([base]);
  }, 300_000);
  afterAll(async () => {
    await engine.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const write = (name: string, text: string) => {
    mkdirSync(join(dir, name, '..'), { recursive: true });
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  const read = async (image: Image, path: string) => (await engine.readFile(image, path)).toString();

  test('its file is in the layer, its source and bytecode are not (C106) (C110)', async () => {
    const path = write(
      'build.py',
      `import os
import json

SIZES = ["small", "large"]

def note():
    return "module code runs here only"

async def download_models(where, *, size="none"):
    os.makedirs(where)
    with open(os.path.join(where, "model"), "w") as f:
        json.dump([SIZES, size, note(), __name__, __file__], f)
`,
    );
    const image = base.runFunction(pythonFunction(path, 'download_models'), {
      args: ['/models'],
      kwargs: { size: 'large' },
    });
    await engine.build([image]);
    expect(JSON.parse(await read(image, '/models/model'))).toEqual([
      ['small', 'large'],
      'large',
      'module code runs here only',
      'build',
      '/root/build.py',
    ]);
    const before = new Set(await engine.listFiles(base, '/'));
    const added = (await engine.listFiles(image, '/')).filter((name) => !before.has(name));
    expect(added.filter((name) => !name.endsWith('/'))).toEqual(['/models/model']);
  });

  test('it imports in its body what an earlier layer installed, and this machine does not have (C107) (C132)', async () => {
    const path = write(
      'uses.py',
      `def run():
    import only_in_the_image
    open("/answer", "w").write(str(only_in_the_image.ANSWER))
`,
    );
    const image = base
      .runCommands(
        `python -c "import sysconfig; open(sysconfig.get_paths()['purelib'] + '/only_in_the_image.py', 'w').write('ANSWER = 42')"`,
      )
      .runFunction(pythonFunction(path, 'run'));
    await engine.build([image]);
    expect(await read(image, '/answer')).toBe('42');
  });

  test('it sees its secret, a later container does not (C108)', async () => {
    const path = write(
      'secretive.py',
      `import os
def run():
    open("/length", "w").write(str(len(os.environ["HF_TOKEN"])))
`,
    );
    const image = base.runFunction(pythonFunction(path, 'run'), {
      secrets: [Secret.fromDict({ HF_TOKEN: 'hush-hush' })],
    });
    await engine.build([image]);
    expect(await read(image, '/length')).toBe('9');
    const { stdout } = await engine.run(image, ['sh', '-c', 'echo "[$HF_TOKEN]"']);
    expect(stdout).toBe('[]\n');
  });

  test('an exception names the line of the file, with its stack', async () => {
    const path = write(
      'broken.py',
      `def inner(value):
    raise ValueError(f"bad {value}")

def run():
    inner("apple")
`,
    );
    const error = await engine
      .build([base.runFunction(pythonFunction(path, 'run'))])
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'E_BUILD_FAILED', exitCode: 1, file: path, line: 2 });
    const { message, remoteStack } = error as StepError;
    expect(error).toBeInstanceOf(StepError);
    expect(message).toContain('ValueError: bad apple');
    expect(remoteStack).toContain(`File "${path}", line 5, in run`);
    expect(remoteStack).not.toContain('/run/tsbuild');
  });

  test('a function of a package sees the whole package, which is not in the layer', async () => {
    write('pkg/__init__.py', 'NAME = "pkg"\n');
    write('pkg/deep/__init__.py', '');
    write('pkg/deep/steps.py', 'from .. import NAME\ndef run():\n    open("/name", "w").write(NAME)\n');
    const here = process.cwd();
    process.chdir(dir);
    const image = base.runFunction(pythonFunction({ module: 'pkg.deep.steps', function: 'run' }));
    process.chdir(here);
    await engine.build([image]);
    expect(await read(image, '/name')).toBe('pkg');
    expect(await engine.exists(image, '/root/pkg')).toBe(false);
  });

  test('a function of an app gives its result, with what Python has and JSON does not', async () => {
    const path = write(
      'answers.py',
      `import datetime

async def echo(*args, **kwargs):
    print("echoing")
    kinds = [type(one).__name__ for one in args]
    when = datetime.datetime.fromtimestamp(5, datetime.timezone.utc)
    return {"args": args, "kwargs": kwargs, "kinds": kinds, "more": [when, {1: 2}, {3}, b"x", 2 ** 70, float("nan"), None]}

def fail():
    return object()
`,
    );
    const app = new App('demo', { image: base });
    const echo: AppFunction = app.function({}, pythonFunction(path, 'echo'));
    const args = [
      1,
      'a',
      [true],
      { b: 0.5 },
      new Map([[1, 2]]),
      new Uint8Array([7]),
      2n ** 70n,
      new Date(7000),
      undefined,
    ];
    let printed = '';
    const result = await engine.callFunction(echo, callValues(echo, { args, kwargs: { size: 'large' } }), {
      onOutput: (_stream, chunk) => {
        printed += chunk.toString();
      },
    });
    expect(printed).toBe('echoing\n');
    expect(result).toEqual({
      args: [...args.slice(0, -1), null],
      kwargs: { size: 'large' },
      kinds: ['int', 'str', 'list', 'dict', 'dict', 'bytes', 'int', 'datetime', 'NoneType'],
      more: [
        new Date(5000),
        new Map([[1, 2]]),
        new Set([3]),
        new Uint8Array([120]),
        2n ** 70n,
        Number.NaN,
        null,
      ],
    });
    const fail: AppFunction = app.function({}, pythonFunction(path, 'fail'));
    await expect(engine.callFunction(fail, callValues(fail, {}))).rejects.toMatchObject({
      code: 'E_FN_RESULT',
    });
  });

  test('an exit status of the function is the status of the step', async () => {
    const path = write('exits.py', 'import sys\ndef run():\n    sys.exit(7)\n');
    await expect(engine.build([base.runFunction(pythonFunction(path, 'run'))])).rejects.toMatchObject({
      code: 'E_BUILD_FAILED',
      exitCode: 7,
    });
  });
});
