/** Functions of the user's that make layers: real containers, this machine's Node, no network. */
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import { StepError } from '../../src/errors.ts';
import { jsFunction } from '../../src/frontend/fluent/function-target.ts';
import { Volume } from '../../src/frontend/fluent/volume.ts';
import { Secret } from '../../src/secret/secret.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { glibcImage } from '../support/glibc-image.ts';
import { lacks } from '../support/requires.ts';

const code = (expected: string) => expect.objectContaining({ code: expected });

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('functions in JavaScript', () => {
  let dir: string;
  let events: BuildEvent[];

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-functions-'));
    events = [];
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const open = () =>
    Engine.open({
      storeDir: join(dir, 'store'),
      env: { PATH: process.env.PATH, HOME: process.env.HOME },
      onEvent: (event) => events.push(event),
    });
  const write = (name: string, text: string) => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  const logged = () => events.flatMap((event) => (event.kind === 'log' ? [event.text] : []));

  test('a function of a TypeScript module makes a layer, and nothing else stays (C112)', async () => {
    write('names.ts', 'export const nameOf = (size: string): string => `${size}.bin`;\n');
    const path = write(
      'steps.ts',
      `import { writeFileSync, mkdirSync } from 'node:fs';
       import { nameOf } from './names.ts';
       interface Model { readonly size: string }
       export async function fetchModel(size: string, extra: Model): Promise<void> {
         mkdirSync('/models');
         await Promise.resolve();
         console.log('fetching', size);
         writeFileSync(\`/models/\${nameOf(size)}\`, JSON.stringify({ size, extra, file: import.meta.url }));
       }
       export function other(): void {}\n`,
    );
    await using engine = await open();
    const base = glibcImage();
    const image = base.runFunction(jsFunction(path, 'fetchModel'), { args: ['small', { size: 'x' }] });
    await engine.build([image]);
    expect(JSON.parse((await engine.readFile(image, '/models/small.bin')).toString())).toMatchObject({
      size: 'small',
      extra: { size: 'x' },
    });
    expect(logged()).toContain('fetching small');
    const before = await engine.listFiles(base, '/');
    const added = (await engine.listFiles(image, '/')).filter((name) => !before.includes(name));
    expect(added.filter((name) => !name.endsWith('/'))).toEqual(['/models/small.bin']);
  });

  test('an inline function gets its globals, and sees secrets and env only while it runs (C113)', async () => {
    const limit = 3;
    const write = async (name: string) => {
      const { writeFileSync } = require('node:fs');
      const { TOKEN, MODE } = process.env;
      writeFileSync(`/${name}`, JSON.stringify({ limit, token: TOKEN?.length, MODE, when: when.getTime() }));
    };
    const when = new Date(5);
    const base = glibcImage();
    expect(() => base.runFunction(write, { globals: { limit } })).toThrow(code('E_FN_CAPTURES'));
    const image = base.runFunction(write, {
      args: ['out'],
      globals: { limit, when },
      env: { MODE: 'fast' },
      secrets: [Secret.fromDict({ TOKEN: 'hush-hush' })],
    });
    await using engine = await open();
    await engine.build([image]);
    expect(JSON.parse((await engine.readFile(image, '/out')).toString())).toEqual({
      limit: 3,
      token: 9,
      MODE: 'fast',
      when: 5,
    });
    const { stdout } = await engine.run(image, ['/bin/sh', '-c', 'echo $TOKEN$MODE.']);
    expect(stdout).toBe('.\n');
  });

  test('an exception names the line of the module, with its stack; secrets are masked', async () => {
    const path = write(
      'broken.ts',
      [
        'interface Unused {',
        '  readonly a: string;',
        '}',
        'function inner(token: string | undefined): never {',
        '  throw new RangeError(`bad token ${token}`);',
        '}',
        'export default async function work(): Promise<void> {',
        '  inner(process.env.TOKEN);',
        '}',
        '',
      ].join('\n'),
    );
    await using engine = await open();
    const image = glibcImage().runFunction(jsFunction(path), {
      secrets: [Secret.fromDict({ TOKEN: 'hush-hush' })],
    });
    const error = await engine.build([image]).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(StepError);
    expect(error).toMatchObject({ code: 'E_BUILD_FAILED', exitCode: 1, file: path, line: 5 });
    const { message, remoteStack, excerpt, logTail } = error as StepError;
    expect(message).toContain('RangeError: bad token ***');
    expect(remoteStack).toContain(`${path}:5:9`);
    expect(remoteStack).toContain(`${path}:8:3`);
    expect(excerpt).toContain('> 5 |   throw new RangeError');
    expect(logTail).toContain('RangeError: bad token ***');
    expect(JSON.stringify(error)).not.toContain('hush');
  });

  test('what a function writes into a volume is there and not in the layer, and the next build sees it (C109)', async () => {
    const fill = () => {
      const fs = require('node:fs');
      const seen = fs.readdirSync('/root/.cache/huggingface');
      fs.writeFileSync('/root/.cache/huggingface/model', 'weights');
      fs.writeFileSync('/seen', JSON.stringify(seen));
    };
    const hub = Volume.fromName('hf-cache', { createIfMissing: true });
    const image = glibcImage().runFunction(fill, { volumes: { '/root/.cache/huggingface': hub } });
    await using engine = await open();
    await engine.build([image]);
    expect((await engine.readFile(image, '/seen')).toString()).toBe('[]');
    expect(await engine.exists(image, '/root')).toBe(false);
    expect(readFileSync(join(dir, 'store/volumes/main/hf-cache/model'), 'utf8')).toBe('weights');
    await engine.build([image], { forceBuild: true });
    expect((await engine.readFile(image, '/seen')).toString()).toBe('["model"]');
  });

  test('a function that is cancelled leaves nothing behind', async () => {
    const wait = () => {
      console.log('waiting');
      return new Promise((resolve) => setTimeout(resolve, 600_000));
    };
    const stop = new AbortController();
    const engine = await open();
    const image = glibcImage().runFunction(wait);
    const building = engine.build([image], {
      signal: stop.signal,
      logger: (event) => {
        if (event.kind === 'log' && event.text === 'waiting') {
          stop.abort(new Error('enough'));
        }
      },
    });
    await expect(building).rejects.toThrow('enough');
    await engine.close();
    expect(readdirSync(join(dir, 'store/tmp'))).toEqual([]);
  });

  test('an image without Node is refused where its own was asked for', async () => {
    const nothing = () => undefined;
    await using engine = await open();
    const image = glibcImage().runFunction(nothing, { node: 'image' });
    await expect(engine.build([image])).rejects.toThrow(code('E_STEP_NOT_STARTED'));
    const own = glibcImage()
      .addLocalFile(realpathSync(process.execPath), '/bin/node', { copy: true })
      .runFunction(nothing, { node: 'image' });
    await expect(engine.build([own])).resolves.toHaveLength(1);
  });

  test('what does not change the function is in no key', async () => {
    const steps = (limit: number, unused: number, comment: string) =>
      write(
        'keyed.ts',
        `import { writeFileSync } from 'node:fs';\n// ${comment}\nconst LIMIT = ${limit};\nconst UNUSED = ${unused};
export function run(): void { writeFileSync('/limit', String(LIMIT)); }
export function other(): number { return UNUSED; }\n`,
      );
    const cached = async () => {
      await using engine = await open();
      const image = glibcImage().runFunction(jsFunction(join(dir, 'keyed.ts'), 'run'), { timeout: 60 });
      return (await engine.build([image]))[0]?.layers.at(-1)?.cached;
    };
    steps(1, 1, 'a');
    expect(await cached()).toBe(false);
    steps(1, 2, 'b');
    expect(await cached()).toBe(true);
    steps(2, 2, 'b');
    expect(await cached()).toBe(false);
    steps(1, 3, 'c');
    expect(await cached()).toBe(true);
  });
});
