import { expect, test } from 'vitest';
import { Image } from '../../../../src/frontend/fluent/image.ts';
import { Secret } from '../../../../src/secret/secret.ts';
import { graphOf, planOf } from '../../../support/image-surroundings.ts';

const with_ = (...secrets: Secret[]) => Image.fromScratch().runCommands('true', { secrets });
const planned = async (...secrets: Secret[]) => (await planOf(with_(...secrets))).layers.at(-1);
const hash = async (...secrets: Secret[]) => (await planned(...secrets))?.definitionHash;
const key = async (...secrets: Secret[]) => {
  const { tip } = await graphOf(with_(...secrets));
  const operation = tip.vertex.operation as unknown as {
    readonly actions: readonly { readonly secretEnv: readonly { readonly secretId: string }[] }[];
  };
  return operation.actions.flatMap(({ secretEnv }) => secretEnv.map(({ secretId: _, ...seen }) => seen));
};

test('a value that is rotated changes no hash; a name that is changed does (C118)', async () => {
  const one = Secret.fromDict({ TOKEN: 'one' });
  const two = Secret.fromDict({ TOKEN: 'two' });
  expect(await hash(one)).toBe(await hash(two));
  expect(await key(one)).toEqual(await key(two));
  expect(await hash(Secret.fromDict({ OTHER: 'one' }))).not.toBe(await hash(one));
  expect(await hash(Secret.fromDict({ TOKEN: 'one', NULL: null }))).toBe(await hash(one));
  expect(await hash(Secret.fromName('a'))).not.toBe(await hash(Secret.fromName('b')));
  expect(await hash(Secret.fromName('a', { requiredKeys: ['A'] }))).not.toBe(
    await hash(Secret.fromName('a')),
  );
  expect(await hash(Secret.fromName('a', { environment: 'other' }))).toBe(await hash(Secret.fromName('a')));
  expect(await hash(Secret.fromDotenv('/a', { required: true }))).toBe(await hash(Secret.fromDotenv('/b')));
  expect(await hash(Secret.fromDotenv('/a', { filename: '.env.x' }))).not.toBe(
    await hash(Secret.fromDotenv('/a')),
  );
});

test('a plan shows identities', async () => {
  const plan = await planned(
    Secret.fromName('hf', { requiredKeys: ['B', 'A'] }),
    Secret.fromDotenv(),
    Secret.fromEnv({ TARGET: 'SOURCE' }),
  );
  expect(plan?.secrets).toEqual([
    { kind: 'name', name: 'hf', requiredKeys: ['A', 'B'] },
    { kind: 'dotenv', filename: '.env' },
    { kind: 'env', keys: ['TARGET'] },
  ]);
});
