import { describe, expect, it } from 'vitest';
import { imageId } from '../../../src/engine/image-id.ts';

const layer = { results: ['r1', 'r2'], config: { env: { A: '1' }, cmd: ['a'] } };

describe('imageId', () => {
  it('is the same on every machine and in every version', () => {
    expect(imageId('', layer)).toBe('im-04NnIfgKI87PO7OMjAL3xu');
  });

  it('has the form that the Image API says', () => {
    for (let index = 0; index < 200; index += 1) {
      expect(imageId(String(index), layer)).toMatch(/^im-[0-9A-Za-z]{22}$/);
    }
  });

  it('does not depend on the order of keys', () => {
    expect(imageId('', { config: { cmd: ['a'], env: { A: '1' } }, results: ['r1', 'r2'] })).toBe(
      imageId('', layer),
    );
  });

  it.each([
    ['its parent', 'im-1', layer],
    ['a result', '', { ...layer, results: ['r1', 'r3'] }],
    ['the order of results', '', { ...layer, results: ['r2', 'r1'] }],
    ['how results are divided', '', { ...layer, results: ['r1r2'] }],
    ['the configuration', '', { ...layer, config: { env: { A: '2' }, cmd: ['a'] } }],
    ['the order in a list', '', { ...layer, config: { env: { A: '1' }, cmd: ['a', 'b'] } }],
  ])('depends on %s', (_, parent, other) => {
    expect(imageId(parent, other)).not.toBe(imageId('', layer));
  });
});
