// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the file's own syntax.
import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { parseDotenv } from '../../../src/secret/dotenv.ts';
import { readSecret, Secret, type SecretSources, secretValues } from '../../../src/secret/secret.ts';

const valuesOf = async (
  secret: Secret,
  environment: Record<string, string> = {},
  more: Partial<SecretSources> = {},
) => {
  const none = async () => {
    throw new Error('asked for something else');
  };
  return { ...(await readSecret(secret, { environment, stored: none, dotenv: none, ...more })).values };
};
const code = (expected: string) => expect.objectContaining({ code: expected });

test('a dictionary; null entries are dropped, other values refused (C116)', async () => {
  const values: Record<string, string | null | undefined> = { B: 'x', A: 'y', N: null, U: undefined };
  const secret = Secret.fromDict(values);
  values.B = 'changed';
  expect(secret.identity).toEqual({ kind: 'dict', keys: ['A', 'B'] });
  expect(await valuesOf(secret)).toEqual({ A: 'y', B: 'x' });
  expect(() => Secret.fromDict({ A: 3 } as never)).toThrow(code('E_SECRET_VALUE'));
  expect(() => Secret.fromDict(['a'] as never)).toThrow(code('E_SECRET_VALUE'));
  expect(() => Secret.fromDict({ 'A B': 'x' })).toThrow(code('E_SECRET_KEY'));
  expect(() => Secret.fromDict({ A: 'x\0B=y' })).toThrow(code('E_SECRET_VALUE'));
});

test('variables of this process, now (C117)', async () => {
  const environment = { A: '1' };
  expect(await valuesOf(Secret.fromLocalEnviron(['A'], environment))).toEqual({ A: '1' });
  expect(() => Secret.fromLocalEnviron(['A', 'MISSING_ONE'], environment)).toThrow(/'MISSING_ONE'/);
  expect(() => Secret.fromLocalEnviron(['B'], environment)).toThrow(code('E_ENVIRON_MISSING'));
  const inside = Secret.fromLocalEnviron(['B'], { TSBUILD_IS_CONTAINER: '1' });
  expect([inside.identity, await valuesOf(inside)]).toEqual([{ kind: 'environ', keys: ['B'] }, {}]);
});

test('variables of this process, later, under other names', async () => {
  const secret = Secret.fromEnv({ TARGET: 'SOURCE' });
  expect(secret.identity).toEqual({ kind: 'env', keys: ['TARGET'] });
  expect(await valuesOf(secret, { SOURCE: 'v' })).toEqual({ TARGET: 'v' });
  await expect(valuesOf(secret)).rejects.toThrow(code('E_ENVIRON_MISSING'));
  expect(await valuesOf(Secret.fromEnv(['X'], { optional: true }))).toEqual({});
  expect(() => Secret.fromEnv(['a b'])).toThrow(code('E_SECRET_KEY'));
  expect(() => Secret.fromEnv([1] as never)).toThrow(code('E_NOT_STRINGS'));
  for (const neither of ['TOKEN', 1, null]) {
    expect(() => Secret.fromEnv(neither as never)).toThrow(code('E_NOT_STRINGS'));
  }
  expect(() => Secret.fromEnv(['X'], { optionl: true } as never)).toThrow(code('E_UNKNOWN_OPTION'));
  expect(() => Secret.fromEnv(['X'], { optional: 1 } as never)).toThrow(code('E_ARG_TYPE'));
});

test('what every object has is no variable', async () => {
  expect(() => Secret.fromLocalEnviron(['constructor'])).toThrow(code('E_ENVIRON_MISSING'));
  for (const name of ['constructor', 'toString', '__proto__']) {
    const sources: SecretSources = {
      environment: process.env,
      stored: async () => ({}),
      dotenv: async () => ({ path: '.env', text: `A=[\${${name}}]` }),
    };
    await expect(secretValues(Secret.fromEnv([name]), sources)).rejects.toThrow(code('E_ENVIRON_MISSING'));
    expect(await secretValues(Secret.fromEnv([name], { optional: true }), sources)).toEqual({});
    expect(await secretValues(Secret.fromDotenv(), sources)).toEqual({ A: '[]' });
  }
});

test('no text of a secret shows a value', () => {
  const secret = Secret.fromDict({ TOKEN: 'planted' });
  const texts = [String(secret), inspect(secret, { depth: 9, showHidden: true }), JSON.stringify({ secret })];
  expect(texts.join()).not.toContain('planted');
  expect(texts.every((text) => text.includes('TOKEN'))).toBe(true);
  expect(Object.keys(secret)).toEqual([]);
});

test('every secret has its own id, and none is made by hand', () => {
  expect(Secret.fromDict({}).id).not.toBe(Secret.fromDict({}).id);
  expect(() => Reflect.construct(Secret, [undefined, {}, {}])).toThrow(code('E_SECRET_TYPE'));
});

test('a stored secret by name: what is in it is asked for late', async () => {
  const secret = Secret.fromName('db', { requiredKeys: ['B', 'A', 'B'], environment: 'prod' });
  expect(secret.identity).toEqual({ kind: 'name', name: 'db', requiredKeys: ['A', 'B'] });
  expect([secret.name, secret.keys, Secret.fromDict({}).name]).toEqual(['db', undefined, undefined]);
  const stored = async (name: string, environment: string | undefined) => ({ A: name, B: environment ?? '' });
  expect(await valuesOf(secret, {}, { stored })).toEqual({ A: 'db', B: 'prod' });
  await expect(valuesOf(secret, {}, { stored: async () => ({ A: 'x' }) })).rejects.toThrow(
    code('E_SECRET_MISSING_KEYS'),
  );
  expect(() => Secret.fromName('a/b')).toThrow(code('E_NAME'));
  expect(() => Secret.fromName('a', { requiredKeys: ['A B'] })).toThrow(code('E_SECRET_KEY'));
  expect(() => Secret.fromName('a', { required_keys: [] } as never)).toThrow(code('E_UNKNOWN_OPTION'));
  await expect(Secret.fromDict({}).info()).rejects.toThrow(code('E_SECRET_TYPE'));
  await expect(Secret.fromDict({}).update({ A: 'x' })).rejects.toThrow(code('E_SECRET_TYPE'));
});

test('a file of variables: found upwards, missing with a warning or an error (C117)', async () => {
  const secret = Secret.fromDotenv('/start', { filename: '.env.prod' });
  expect(secret.identity).toEqual({ kind: 'dotenv', filename: '.env.prod' });
  const asked: string[] = [];
  const dotenv = async (start: string, filename: string) => {
    asked.push(start, filename);
    return { path: '/.env.prod', text: 'A=1' };
  };
  expect(await valuesOf(secret, {}, { dotenv })).toEqual({ A: '1' });
  expect(asked).toEqual(['/start', '.env.prod']);
  const missing = { environment: {}, stored: async () => ({}), dotenv: async () => undefined };
  expect(await readSecret(secret, missing)).toMatchObject({
    values: {},
    warnings: [{ code: 'W_DOTENV_MISSING' }],
  });
  await expect(readSecret(Secret.fromDotenv(undefined, { required: true }), missing)).rejects.toThrow(
    code('E_LOCAL_FILE_MISSING'),
  );
  expect(() => Secret.fromDotenv('x', { filename: '../.env' })).toThrow(code('E_ARG_TYPE'));
  expect(() => Secret.fromDotenv(3 as never)).toThrow(code('E_ARG_TYPE'));
  // Options may stand in the place of the path.
  expect(Secret.fromDotenv({ filename: '.env.test' }).identity).toEqual({
    kind: 'dotenv',
    filename: '.env.test',
  });
  expect(() => Secret.fromDotenv({ file: '.env' } as never)).toThrow(code('E_UNKNOWN_OPTION'));
});

test.each([
  [
    'A=1\n\n# comment\n  B = two words  # comment\nC=#none\nexport D=4',
    { A: '1', B: 'two words', C: '', D: '4' },
  ],
  ['A\nB=\nexport C', { A: '', B: '', C: '' }],
  ['A="x # y" # z\nB=\'$A ${A} \\n\'\nC=a#b', { A: 'x # y', B: '$A ${A} \\n', C: 'a#b' }],
  ['A="one\\ntwo\\t\\"q\\" \\\\ \\${A} \\x"', { A: 'one\ntwo\t"q" \\ ${A} \\x' }],
  ['A=1\nB=${A}-${HOST}-${NONE}-$A\nC="${B}"', { A: '1', B: '1-h--$A', C: '1-h--$A' }],
  ['KEY="-----BEGIN\nabc\n-----END"\r\nA=1\r\n', { KEY: '-----BEGIN\nabc\n-----END', A: '1' }],
  ['\uFEFFA=1\nA=2', { A: '2' }],
])('the rules of a file of variables: %j (C117)', (text, expected) => {
  expect({ ...parseDotenv(text, '.env', { HOST: 'h' }) }).toEqual(expected);
});

test.each([
  ['ok=1\nA B=planted', 'E_SECRET_VALUE', 2],
  ['1A=planted', 'E_SECRET_KEY', 1],
  ['=planted', 'E_SECRET_KEY', 1],
  ['\n\nA="planted', 'E_SECRET_VALUE', 3],
  ["A='planted' planted", 'E_SECRET_VALUE', 1],
])(
  'what is wrong in a file of variables is said with its line and without its text: %j',
  (text, expected, line) => {
    let thrown: Error | undefined;
    try {
      parseDotenv(text, '.env', {});
    } catch (error) {
      thrown = error as Error;
    }
    expect(thrown).toMatchObject({
      code: expected,
      message: expect.stringContaining(`line ${line} of '.env'`),
    });
    expect(thrown?.message).not.toContain('planted');
  },
);
