import { describe, expect, test } from 'vitest';
import { Image } from '../../../../src/frontend/fluent/image.ts';
import { formatImageName, parseImageName } from '../../../../src/frontend/fluent/image-name.ts';
import { planOf } from '../../../support/image-surroundings.ts';

const code = (expected: string) => expect.objectContaining({ code: expected });
const SIXTY_FOUR = 'a'.repeat(64);

describe('names of images', () => {
  test.each([
    ['web', { name: 'web', tag: 'latest' }],
    ['web:v1', { name: 'web', tag: 'v1' }],
    ['Web_1.2-x:V.1_2-3', { name: 'Web_1.2-x', tag: 'V.1_2-3' }],
    [`${SIXTY_FOUR}:${SIXTY_FOUR}`, { name: SIXTY_FOUR, tag: SIXTY_FOUR }],
    ['web:im-x', { name: 'web', tag: 'im-x' }],
    ['dev/web', { namespace: 'dev', name: 'web', tag: 'latest' }],
    ['acme/dev/web:v1', { namespace: 'acme/dev', name: 'web', tag: 'v1' }],
    ['not a name!/web', { namespace: 'not a name!', name: 'web', tag: 'latest' }],
    ['ap-short', { name: 'ap-short', tag: 'latest' }],
    [`ap-${'a'.repeat(23)}`, { name: `ap-${'a'.repeat(23)}`, tag: 'latest' }],
  ])('%s (C148)', (text, expected) => {
    const parsed = parseImageName('publish', text);
    expect(parsed).toEqual(expected);
    expect(parseImageName('publish', formatImageName(parsed))).toEqual(parsed);
  });

  test.each([
    ['', 'E_IMAGE_NAME'],
    [':v1', 'E_IMAGE_NAME'],
    ['/web', 'E_IMAGE_NAME'],
    ['dev/', 'E_IMAGE_NAME'],
    ['dev/:v1', 'E_IMAGE_NAME'],
    ['web app', 'E_IMAGE_NAME'],
    ['wéb', 'E_IMAGE_NAME'],
    ['web@sha256', 'E_IMAGE_NAME'],
    [`${SIXTY_FOUR}a`, 'E_IMAGE_NAME'],
    [`ap-${'a1B2'.repeat(6).slice(0, 22)}`, 'E_IMAGE_NAME'],
    ['im-web', 'E_IMAGE_NAME_PREFIX'],
    ['dev/im-web:v1', 'E_IMAGE_NAME_PREFIX'],
    ['web:', 'E_IMAGE_TAG'],
    ['web:v1:v2', 'E_IMAGE_TAG'],
    ['web:v1/x', 'E_IMAGE_TAG'],
    ['host:5000/web', 'E_IMAGE_TAG'],
    ['web:v 1', 'E_IMAGE_TAG'],
    [`web:${SIXTY_FOUR}a`, 'E_IMAGE_TAG'],
    [`web:ap-${'x'.repeat(22)}`, 'E_IMAGE_TAG'],
  ])('%j is %s (C148)', (text, expected) => {
    expect(() => parseImageName('publish', text)).toThrow(code(expected));
    expect(() => Image.fromName(text)).toThrow(code(expected));
  });

  test('something else than a string', () => {
    expect(() => Image.fromName(1 as unknown as string)).toThrow(code('E_IMAGE_NAME'));
    expect(() => Image.fromId('')).toThrow(code('E_ARG_TYPE'));
    expect(() => Image.fromId(1 as unknown as string)).toThrow(code('E_ARG_TYPE'));
  });

  test('the environment is an option or a namespace, not both', () => {
    expect(parseImageName('publish', 'web', 'dev')).toEqual({ namespace: 'dev', name: 'web', tag: 'latest' });
    expect(() => parseImageName('publish', 'dev/web', 'dev')).toThrow(code('E_ARG_TYPE'));
    expect(() => parseImageName('publish', 'web', 'a/b')).toThrow(code('E_NAME'));
    expect(() => parseImageName('publish', 'web', 1)).toThrow(code('E_NAME'));
    expect(() => Image.fromName('web', { env: 'dev' } as object)).toThrow(code('E_UNKNOWN_OPTION'));
  });
});

test('their plans name them, and no builder version is in their keys', async () => {
  const id = 'im-1QvBvzuiGs2TX5w0XPQKvz';
  const line = async (image: Image) => (await planOf(image)).layers.map(({ commands }) => commands);
  expect(await line(Image.fromId(id).env({ A: '1' }))).toEqual([[`FROM ${id}`], ['FROM base', 'ENV A=1']]);
  expect(await line(Image.fromName('web'))).toEqual([['FROM name:web:latest']]);
  expect(await line(Image.fromName('web:v1', { environment: 'dev' }))).toEqual([['FROM name:dev/web:v1']]);
  const hash = async (builderVersion: '2025.06' | '2026.10') =>
    (await planOf(Image.fromId(id), {}, { builderVersion })).layers[0]?.definitionHash;
  expect(await hash('2025.06')).toBe(await hash('2026.10'));
});

test('a handle has its id before it is built, a name has none', () => {
  expect(Image.fromId('im-x').id).toBe('im-x');
  expect(Image.fromId('im-x').env({ A: '1' }).id).toBeUndefined();
  expect(Image.fromName('web').id).toBeUndefined();
});
