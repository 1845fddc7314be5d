// biome-ignore-all lint/suspicious/noTemplateCurlyInString: shells expand them, not JavaScript.
/** Secrets by name, from files and under a key, in real steps; and what is said when one ends up in a layer. */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findDotenv } from '../../src/engine/secret-sources.ts';
import { Engine } from '../../src/engine.ts';
import { Secret } from '../../src/secret/secret.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { busyboxImage } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';

const VALUE = 'hf_correct-horse-battery';
const code = (expected: string) => expect.objectContaining({ code: expected });

let dir: string;
let events: BuildEvent[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tsbuild-named-secrets-'));
  events = [];
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));
const open = (env: Record<string, string> = {}) =>
  Engine.open({
    storeDir: join(dir, 'store'),
    env: { PATH: process.env.PATH, HOME: dir, ...env },
    onEvent: (event) => events.push(event),
  });
const file = (name: string, environment = 'main') => join(dir, 'store/secrets', environment, `${name}.json`);

describe('the store', () => {
  test('is for its owner alone, and refuses what others may read (C119)', async () => {
    await using engine = await open();
    await engine.secrets.create('huggingface', { HF_TOKEN: VALUE });
    expect(statSync(file('huggingface')).mode & 0o7777).toBe(0o600);
    for (const directory of ['store/secrets', 'store/secrets/main']) {
      expect(statSync(join(dir, directory)).mode & 0o7777).toBe(0o700);
    }
    expect(readdirSync(join(dir, 'store/secrets/main'))).toEqual(['huggingface.json']);
    for (const mode of [0o640, 0o604, 0o620]) {
      chmodSync(file('huggingface'), mode);
      await expect(engine.secrets.info('huggingface')).rejects.toThrow(code('E_SECRET_STORE_MODE'));
      await expect(engine.secrets.update('huggingface', {})).rejects.toThrow(code('E_SECRET_STORE_MODE'));
    }
  });

  test('makes, lists, changes and deletes', async () => {
    await using engine = await open();
    const { secrets } = engine;
    await secrets.create('a', { A: '1', B: '2' });
    await expect(secrets.create('a', { A: 'x' })).rejects.toThrow(code('E_SECRET_EXISTS'));
    await secrets.create('a', { A: 'x' }, { allowExisting: true });
    const before = await secrets.info('a');
    await secrets.update('a', { B: '3', C: '4' });
    expect(JSON.parse(readFileSync(file('a'), 'utf8'))).toMatchObject({
      version: 1,
      values: { A: '1', B: '3', C: '4' },
    });
    expect(await secrets.info('a')).toEqual(before);
    await new Promise((resolve) => setTimeout(resolve, 10));
    await secrets.create('b', {});
    await secrets.create('a', {}, { environment: 'other' });
    expect((await secrets.list()).map(({ name }) => name)).toEqual(['b', 'a']);
    expect((await secrets.list({ maxObjects: 1 })).map(({ name }) => name)).toEqual(['b']);
    expect(await secrets.list({ environment: 'none' })).toEqual([]);
    await secrets.delete('a');
    await expect(secrets.delete('a')).rejects.toThrow(code('E_OBJECT_NOT_FOUND'));
    await secrets.delete('a', { allowMissing: true });
    await expect(secrets.info('a')).rejects.toThrow(code('E_SECRET_NOT_FOUND'));
    await expect(secrets.update('a', {})).rejects.toThrow(code('E_SECRET_NOT_FOUND'));
    await using elsewhere = await open({ TSBUILD_ENVIRONMENT: 'other' });
    expect((await elsewhere.secrets.list()).map(({ name }) => name)).toEqual(['a']);
    await expect(open({ TSBUILD_ENVIRONMENT: '../x' })).rejects.toThrow(code('E_USAGE'));
  });

  test('two changes at once are both kept', async () => {
    await using engine = await open();
    await engine.secrets.create('a', {});
    const names = ['A', 'B', 'C', 'D', 'E'];
    await Promise.all(names.map((name) => engine.secrets.update('a', { [name]: name })));
    expect(JSON.parse(readFileSync(file('a'), 'utf8')).values).toEqual(
      Object.fromEntries(names.map((name) => [name, name])),
    );
  });

  test('seals values under a key, and opens them with no other', async () => {
    writeFileSync(join(dir, 'key'), 'words of the key\n', { mode: 0o600 });
    {
      await using engine = await open({ TSBUILD_SECRETS_KEY: 'words of the key' });
      await engine.secrets.create('a', { TOKEN: VALUE });
      await engine.secrets.update('a', { MORE: 'x' });
    }
    const text = readFileSync(file('a'), 'utf8');
    expect(text).not.toContain(VALUE);
    expect(text).not.toContain('TOKEN');
    expect(JSON.parse(text).sealed).toMatchObject({ algorithm: 'aes-256-gcm', kdf: 'scrypt', cost: 32768 });
    const update = async (env: Record<string, string>, name = 'a') => {
      await using engine = await open(env);
      await engine.secrets.update(name, {});
    };
    await update({ TSBUILD_SECRETS_KEY_FILE: join(dir, 'key') });
    await expect(update({ TSBUILD_SECRETS_KEY: 'other words' })).rejects.toThrow(code('E_SECRET_STORE_KEY'));
    await expect(update({})).rejects.toThrow(code('E_SECRET_STORE_KEY'));
    await expect(update({ TSBUILD_SECRETS_KEY_FILE: join(dir, 'none') })).rejects.toThrow(
      code('E_SECRET_STORE_KEY'),
    );
    chmodSync(join(dir, 'key'), 0o644);
    await expect(update({ TSBUILD_SECRETS_KEY_FILE: join(dir, 'key') })).rejects.toThrow(
      code('E_SECRET_STORE_MODE'),
    );
    // A file that passes for another secret does not open.
    writeFileSync(file('b'), readFileSync(file('a')), { mode: 0o600 });
    await expect(update({ TSBUILD_SECRETS_KEY: 'words of the key' }, 'b')).rejects.toThrow(
      code('E_SECRET_STORE_KEY'),
    );
    // Names and times need no key.
    await using engine = await open();
    expect((await engine.secrets.list()).map(({ name }) => name).sort()).toEqual(['a', 'b']);
    writeFileSync(file('b'), '{"version":1}', { mode: 0o600 });
    await expect(engine.secrets.info('b')).rejects.toThrow(code('E_SECRET_STORE_DAMAGED'));
    writeFileSync(file('b'), '{"version":2,"createdAt":"2026-01-01T00:00:00Z"}', { mode: 0o600 });
    await expect(engine.secrets.info('b')).rejects.toThrow(code('E_STORE_VERSION'));
  });
});

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('in steps', () => {
  const texts = () => events.flatMap((event) => (event.kind === 'log' ? [event.text] : []));
  const warnings = () => events.flatMap((event) => (event.kind === 'warning' ? [event.code] : []));

  test('a stored secret is seen by its step alone, and its value nowhere (C63) (C115) (C119)', async () => {
    await using engine = await open();
    await engine.secrets.create('huggingface', { HF_TOKEN: VALUE });
    const image = busyboxImage()
      .runCommands(`[ "$HF_TOKEN" = "$(printf 'hf_%s' correct-horse-battery)" ] && echo "got $HF_TOKEN"`, {
        secrets: [Secret.fromName('huggingface')],
      })
      .runCommands('echo "after <$HF_TOKEN>"');
    const [built] = await engine.build([image]);
    expect(texts()).toEqual(expect.arrayContaining(['got ***', 'after <>']));
    expect(JSON.stringify([built?.config, built?.layers, built?.diagnostics, events])).not.toContain(VALUE);
    const log = readdirSync(join(dir, 'store/logs')).map((name) =>
      readFileSync(join(dir, 'store/logs', name), 'utf8'),
    );
    expect(log.join()).toContain('got ***');
    expect(log.join()).not.toContain(VALUE);
    // Another value runs nothing again.
    await engine.secrets.update('huggingface', { HF_TOKEN: 'another-value' });
    const [again] = await engine.build([image]);
    expect(again?.layers.every(({ cached }) => cached)).toBe(true);
    const { stdout } = await engine.run(busyboxImage(), ['/bin/sh', '-c', 'echo $HF_TOKEN'], {
      secrets: [Secret.fromName('huggingface')],
    });
    expect(stdout).toBe('***\n');
  });

  test('one that is not there, or lacks a variable (C115)', async () => {
    await using engine = await open();
    const build = (secret: Secret) =>
      engine.build([busyboxImage().runCommands('true', { secrets: [secret] })]);
    await expect(build(Secret.fromName('absent'))).rejects.toThrow(code('E_SECRET_NOT_FOUND'));
    await engine.secrets.create('half', { A: 'x' });
    await expect(build(Secret.fromName('half', { requiredKeys: ['A', 'B'] }))).rejects.toThrow(
      code('E_SECRET_MISSING_KEYS'),
    );
    await expect(build(Secret.fromName('half', { environment: 'other' }))).rejects.toThrow(
      code('E_SECRET_NOT_FOUND'),
    );
  });

  test('later in the list wins, and env over all', async () => {
    await using engine = await open();
    await engine.secrets.create('s', { A: 'stored', B: 'stored', C: 'stored' });
    const image = busyboxImage()
      .env({ A: 'image', B: 'image', D: 'image' })
      .runCommands('echo $A $B $C $D > /seen', {
        secrets: [
          Secret.fromDict({ A: 'first', B: 'first' }),
          Secret.fromName('s'),
          Secret.fromDict({ A: 'last' }),
        ],
        env: { C: 'own' },
      });
    await engine.build([image]);
    expect((await engine.readFile(image, '/seen')).toString()).toBe('last stored own image\n');
  });

  test('a variable in a package name must be in the secret', async () => {
    await using engine = await open();
    await engine.secrets.create('s', { TOKEN: VALUE });
    const install = (name: string) =>
      busyboxImage().pipInstall(`git+https://\${${name}}@example.com/x`, { secrets: [Secret.fromName('s')] });
    await expect(engine.build([install('OTHER')])).rejects.toThrow(code('E_UNDEFINED_VARIABLE'));
    // This one gets as far as the missing python.
    await expect(engine.build([install('TOKEN')])).rejects.toThrow(code('E_BUILD_FAILED'));
  });

  test('a file of variables, found upwards; a missing one is warned about (C117)', async () => {
    await using engine = await open();
    mkdirSync(join(dir, 'a/b'), { recursive: true });
    writeFileSync(join(dir, 'a/.env'), `TOKEN=${VALUE}`);
    const image = (secret: Secret) => busyboxImage().runCommands('echo "$TOKEN"', { secrets: [secret] });
    const [built] = await engine.build([image(Secret.fromDotenv(join(dir, 'a/b')))]);
    expect(texts()).toContain('***');
    expect(built?.diagnostics).toEqual([]);
    const missing = image(Secret.fromDotenv(join(dir, 'a'), { filename: '.none-of-this' }));
    const layer = 2;
    expect((await engine.plan(missing)).diagnostics).toEqual([
      expect.objectContaining({ code: 'W_DOTENV_MISSING', layer: layer + 1 }),
    ]);
    const [other] = await engine.build([missing]);
    expect(other?.diagnostics).toEqual([
      expect.objectContaining({ code: 'W_DOTENV_MISSING', layer: layer + 1 }),
    ]);
  });

  test('a file of variables that a stranger put above the project is passed over', async () => {
    const project = join(dir, 'shared/project');
    mkdirSync(project, { recursive: true });
    const above = join(dir, 'shared/.env');
    writeFileSync(above, 'TOKEN=theirs');
    expect((await findDotenv(project, '.env'))?.path).toBe(above);
    const stranger = 54_321;
    chownSync(above, stranger, stranger);
    expect((await findDotenv(project, '.env'))?.path).not.toBe(above);
    // In the project itself, and where the project is that user's, it is what was asked for.
    expect((await findDotenv(join(dir, 'shared'), '.env'))?.path).toBe(above);
    chownSync(project, stranger, stranger);
    expect((await findDotenv(project, '.env'))?.path).toBe(above);
  });

  test('a value that ends up in a layer is warned about, by the name of the file', async () => {
    await using engine = await open();
    const secrets = [Secret.fromDict({ TOKEN: VALUE, LINES: `${VALUE}-2\n`, SHORT: 'abc' })];
    const image = busyboxImage()
      .runCommands('mkdir -p /app/.git; echo "url = https://$TOKEN@host/" > /app/.git/config', { secrets })
      .runCommands(
        // Over the end of a chunk; a file that is not text; a value too short to mean anything; another line's end.
        [
          `head -c ${256 * 1024 - 10} /dev/zero | tr "\\\\0" a > /cut; printf %s "$TOKEN" >> /cut`,
          'printf "\\\\0$TOKEN" > /binary',
          'echo "$SHORT" > /short',
          'ln -s /cut /link',
          'echo fine > "/$TOKEN"; rm "/$TOKEN"',
        ].join('; '),
        { secrets },
      )
      .runCommands('echo nothing > /other', { secrets });
    const [built] = await engine.build([image]);
    const found = built?.diagnostics.filter((each) => each.code === 'W_SECRET_IN_LAYER');
    expect(found?.map(({ layer }) => layer)).toEqual([3, 4]);
    expect(found?.[0]?.message).toContain("'/app/.git/config'");
    expect(found?.[1]?.message).toContain("'/cut'");
    expect(found?.[1]?.message).not.toMatch(/binary|short|link/);
    expect(warnings().filter((each) => each === 'W_SECRET_IN_LAYER')).toHaveLength(2);
    const logs = readdirSync(join(dir, 'store/logs')).map((name) =>
      readFileSync(join(dir, 'store/logs', name), 'utf8'),
    );
    expect(logs.filter((log) => log.includes('W_SECRET_IN_LAYER'))).toHaveLength(2);
    expect(logs.join()).not.toContain(VALUE);
    expect(JSON.stringify([built?.diagnostics, events])).not.toContain(VALUE);
  });

  test('a variable that is not there stays so, whatever it is called', async () => {
    await using engine = await open();
    const secrets = [Secret.fromEnv(['constructor', 'toString'], { optional: true })];
    const image = busyboxImage().runCommands('echo "[$constructor$toString]" > /seen', { secrets });
    await engine.build([image]);
    expect((await engine.readFile(image, '/seen')).toString()).toBe('[]\n');
  });

  test('directories that are too deep for a path fail no build', async () => {
    await using engine = await open();
    const secrets = [Secret.fromDict({ TOKEN: VALUE })];
    const script = [
      'n=$(printf %0250d 0); for i in $(seq 1 20); do mkdir $n; cd $n; done; echo "$TOKEN" > file',
      'echo "$TOKEN" > /found',
    ].join('; ');
    const [built] = await engine.build([busyboxImage().runCommands(script, { secrets })]);
    expect(built?.diagnostics.map(({ message }) => message)).toEqual([expect.stringContaining("'/found'")]);
  });

  test('a value in the name of a file is masked there too, and many files are counted', async () => {
    await using engine = await open();
    const secrets = [Secret.fromDict({ TOKEN: VALUE })];
    const script = 'for i in 1 2 3 4 5 6 7; do echo "$TOKEN" > "/$i-$TOKEN"; done';
    const [built] = await engine.build([busyboxImage().runCommands(script, { secrets })]);
    expect(built?.diagnostics[0]?.message).toMatch(/'\/\d-\*\*\*'.* and 2 more/);
    expect(JSON.stringify(built?.diagnostics)).not.toContain(VALUE);
  });
});

test('the class works on the store of the process', async () => {
  const { TSBUILD_HOME: before } = process.env;
  process.env.TSBUILD_HOME = join(dir, 'store');
  try {
    const tsbuild = await import('../../src/index.ts');
    await tsbuild.Secret.objects.create('s', { A: VALUE, N: null });
    const secret = tsbuild.Secret.fromName('s');
    await secret.update({ B: 'x', M: undefined });
    expect(await secret.info()).toEqual({ name: 's', createdAt: expect.any(Date) });
    expect(Object.keys(JSON.parse(readFileSync(file('s'), 'utf8')).values)).toEqual(['A', 'B']);
    expect(await tsbuild.Secret.objects.list()).toEqual([await secret.info()]);
    await expect(tsbuild.Secret.objects.create('s', { A: 3 } as never)).rejects.toThrow(
      code('E_SECRET_VALUE'),
    );
    await expect(tsbuild.Secret.objects.create('a/b', {})).rejects.toThrow(code('E_NAME'));
    await expect(secret.update({ 'A B': 'x' })).rejects.toThrow(code('E_SECRET_KEY'));
    await tsbuild.Secret.objects.delete('s');
    expect(existsSync(file('s'))).toBe(false);
  } finally {
    process.emit('beforeExit', 0);
    if (before === undefined) {
      delete process.env.TSBUILD_HOME;
    } else {
      process.env.TSBUILD_HOME = before;
    }
    await expect
      .poll(() => readdirSync(join(dir, 'store/locks')).filter((name) => name.startsWith('engine')), {
        timeout: 60_000,
      })
      .toEqual([]);
  }
});
