import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { Secret, secretValues } from '../../../src/secret/secret.ts';

const code = (expected: string) => expect.objectContaining({ code: expected });

test('row 116: a dictionary; null entries are dropped, other values refused', () => {
  const values: Record<string, string | null | undefined> = { B: 'x', A: 'y', N: null, U: undefined };
  const secret = Secret.fromDict(values);
  values.B = 'changed';
  expect(secret.identity).toEqual({ kind: 'dict', keys: ['A', 'B'] });
  expect({ ...secretValues(secret, {}) }).toEqual({ A: 'y', B: 'x' });
  expect(() => Secret.fromDict({ A: 3 } as never)).toThrow(code('E_SECRET_VALUE'));
  expect(() => Secret.fromDict(['a'] as never)).toThrow(code('E_SECRET_VALUE'));
  expect(() => Secret.fromDict({ 'A B': 'x' })).toThrow(code('E_SECRET_KEY'));
  expect(() => Secret.fromDict({ A: 'x\0B=y' })).toThrow(code('E_SECRET_VALUE'));
});

test('row 117: variables of this process, now', () => {
  const environment = { A: '1' };
  expect({ ...secretValues(Secret.fromLocalEnviron(['A'], environment), {}) }).toEqual({ A: '1' });
  expect(() => Secret.fromLocalEnviron(['A', 'MISSING_ONE'], environment)).toThrow(/'MISSING_ONE'/);
  expect(() => Secret.fromLocalEnviron(['B'], environment)).toThrow(code('E_ENVIRON_MISSING'));
  const inside = Secret.fromLocalEnviron(['B'], { TSBUILD_IS_CONTAINER: '1' });
  expect([inside.identity, { ...secretValues(inside, {}) }]).toEqual([{ kind: 'environ', keys: ['B'] }, {}]);
});

test('variables of this process, later, under other names', () => {
  const secret = Secret.fromEnv({ TARGET: 'SOURCE' });
  expect(secret.identity).toEqual({ kind: 'env', keys: ['TARGET'] });
  expect({ ...secretValues(secret, { SOURCE: 'v' }) }).toEqual({ TARGET: 'v' });
  expect(() => secretValues(secret, {})).toThrow(code('E_ENVIRON_MISSING'));
  expect({ ...secretValues(Secret.fromEnv(['X'], { optional: true }), {}) }).toEqual({});
  expect(() => Secret.fromEnv(['a b'])).toThrow(code('E_SECRET_KEY'));
  expect(() => Secret.fromEnv([1] as never)).toThrow(code('E_NOT_STRINGS'));
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
