import { describe, expect, test } from 'vitest';
import { Image } from '../../../../src/frontend/fluent/image.ts';
import { Volume } from '../../../../src/frontend/fluent/volume.ts';
import { graphOf, planOf } from '../../../support/image-surroundings.ts';

const base = Image.fromScratch();
const code = (expected: string) => expect.objectContaining({ code: expected });
const with_ = (volumes: Record<string, Volume>) => base.runCommands('true', { volumes });
const planned = async (volumes: Record<string, Volume>) => (await planOf(with_(volumes))).layers.at(-1);
const cache = Volume.fromName('hf-cache', { createIfMissing: true });

describe('plans', () => {
  test('show path, name and mount options, sorted by path', async () => {
    const models = Volume.fromName('models').withMountOptions({ readOnly: true, subPath: '/a/b/' });
    expect((await planned({ '/models/': models, '/cache': cache }))?.volumes).toEqual([
      { path: '/cache', name: 'hf-cache', readOnly: false },
      { path: '/models', name: 'models', readOnly: true, subPath: 'a/b' },
    ]);
  });

  test('what of a volume is in the key', async () => {
    const hash = async (volumes: Record<string, Volume>) => (await planned(volumes))?.definitionHash;
    const before = await hash({ '/cache': cache });
    // Neither where the volume is nor whether it may be made.
    expect(await hash({ '/cache/': Volume.fromName('hf-cache', { environment: 'other' }) })).toBe(before);
    expect(await hash({ '/elsewhere': cache })).not.toBe(before);
    expect(await hash({ '/cache': Volume.fromName('other') })).not.toBe(before);
    expect(await hash({ '/cache': cache.withMountOptions({ readOnly: true }) })).not.toBe(before);
    expect(await hash({ '/cache': cache.withMountOptions({ subPath: 'a' }) })).not.toBe(before);
    expect(await hash({})).not.toBe(before);
    expect(await hash({ '/cache': Volume.ephemeral() })).toBe(await hash({ '/cache': Volume.ephemeral() }));
  });

  test('the recipe has the name, and no more changes with the order in which volumes are written', async () => {
    const other = Volume.fromName('other');
    const one = with_({ '/a': cache, '/b': other });
    const two = with_({ '/b': other, '/a': cache });
    expect(one.recipeHash).toBe(two.recipeHash);
    expect(one.recipeHash).not.toBe(with_({ '/a': other, '/b': cache }).recipeHash);
  });
});

test('the graph mounts them', async () => {
  const { tip, volumes } = await graphOf(with_({ '/cache': cache.withMountOptions({ subPath: 'x' }) }));
  expect(tip.vertex.operation).toMatchObject({
    actions: [
      {
        mounts: [
          {
            kind: 'volume',
            volume: cache.id,
            name: 'hf-cache',
            target: '/cache',
            readOnly: false,
            subPath: 'x',
          },
        ],
      },
    ],
  });
  expect([...volumes.keys()]).toEqual([cache.id]);
});

describe('mount paths (C153)', () => {
  test.each([
    '/',
    '',
    'cache',
    './cache',
    '/a/../b',
    '/a/./b',
    '/a//b',
    '/root',
    '/root/',
    '/tmp',
    '/a\0',
    '/cache//',
  ])('%j is refused', (path) => {
    expect(() => with_({ [path]: cache })).toThrow(code('E_VOLUME_PATH'));
  });

  test.each(['/cache', '/root/.cache/huggingface', '/tmp/x', '/cache/'])('%j is fine', (path) => {
    expect(() => with_({ [path]: cache })).not.toThrow();
  });

  test('the same path twice', () => {
    expect(() => with_({ '/a': cache, '/a/': Volume.fromName('b') })).toThrow(code('E_VOLUME_PATH'));
  });
});

describe('mistakes', () => {
  test('something that is not a Volume', () => {
    const wrong = { '/a': 'hf-cache' } as unknown as Record<string, Volume>;
    expect(() => with_(wrong)).toThrow(code('E_VOLUME_TYPE'));
    const list = [cache] as unknown as Record<string, Volume>;
    expect(() => with_(list)).toThrow(code('E_ARG_TYPE'));
    expect(() => new (Volume as unknown as new () => Volume)()).toThrow(code('E_VOLUME_TYPE'));
  });

  test('one handle at two paths is said at once, two handles of one name by the plan', async () => {
    expect(() => with_({ '/a': cache, '/b': cache })).toThrow(code('E_VOLUME_DUPLICATE'));
    expect(() => with_({ '/a': cache, '/b': cache.withMountOptions({ subPath: 'x' }) })).toThrow(
      code('E_VOLUME_DUPLICATE'),
    );
    const twice = with_({ '/a': Volume.fromName('v'), '/b': Volume.fromName('v', { environment: 'main' }) });
    await expect(planOf(twice)).rejects.toThrow(code('E_VOLUME_DUPLICATE'));
    await expect(graphOf(twice)).rejects.toThrow(code('E_VOLUME_DUPLICATE'));
    await planOf(twice, { env: { TSBUILD_ENVIRONMENT: 'other' } });
    await planOf(with_({ '/a': Volume.ephemeral(), '/b': Volume.ephemeral() }));
  });

  test.each(['', '.', '..', 'a/b', 'a b', 'ä', 'x'.repeat(65), `ap-${'x'.repeat(22)}`, 5])(
    'the name %j is refused',
    (name) => {
      expect(() => Volume.fromName(name as string)).toThrow(code('E_NAME'));
      expect(() => Volume.fromName('v', { environment: name as string })).toThrow(code('E_NAME'));
    },
  );

  test('options', () => {
    const options = (given: object) => () => Volume.fromName('v', given);
    expect(options({ create_if_missing: true })).toThrow(code('E_UNKNOWN_OPTION'));
    expect(options({ createIfMissing: 1 })).toThrow(code('E_ARG_TYPE'));
    const mounted = (given: object) => () => cache.withMountOptions(given);
    expect(mounted({ readonly: true })).toThrow(code('E_UNKNOWN_OPTION'));
    expect(mounted({ readOnly: 'yes' })).toThrow(code('E_ARG_TYPE'));
    for (const subPath of ['', '..', 'a/../b', 'a//b', './a', 'a\0']) {
      expect(mounted({ subPath })).toThrow(code('E_VOLUME_PATH'));
    }
  });
});

test('mount options stack, and leave the handle that they came from as it was', () => {
  const first = cache.withMountOptions({ subPath: 'a' });
  const second = first.withMountOptions({ readOnly: true });
  expect([second.subPath, second.readOnly, second.name, second.id]).toEqual([
    'a',
    true,
    'hf-cache',
    cache.id,
  ]);
  expect([first.readOnly, cache.subPath]).toEqual([false, undefined]);
  expect(second.withMountOptions({ subPath: '/' }).subPath).toBeUndefined();
  expect(second.withMountOptions({ readOnly: false }).subPath).toBe('a');
  expect(String(second)).toBe('Volume(hf-cache)');
});
