import { describe, expect, it } from 'vitest';
import { parseAnnotation } from '../../../src/cli/annotation.ts';
import { BadValue } from '../../../src/cli/option.ts';

describe('parseAnnotation', () => {
  it.each([
    ['a.b=c', [{ target: 'manifest', key: 'a.b', value: 'c' }]],
    ['a.b=https://x/?y=z', [{ target: 'manifest', key: 'a.b', value: 'https://x/?y=z' }]],
    ['a.b=', [{ target: 'manifest', key: 'a.b', value: '' }]],
    ['index:a=b', [{ target: 'index', key: 'a', value: 'b' }]],
    [
      'index,manifest[linux/arm64]:a=two words',
      [
        { target: 'index', key: 'a', value: 'two words' },
        {
          target: 'manifest',
          platform: { os: 'linux', architecture: 'arm64' },
          key: 'a',
          value: 'two words',
        },
      ],
    ],
  ])('reads %s', (text, expected) => {
    expect(parseAnnotation(text)).toEqual(expected);
  });

  it.each([
    ['a', 'is not KEY=VALUE'],
    ['=b', 'is not KEY=VALUE'],
    ['layer:a=b', "'layer' cannot be annotated"],
    ['index[linux/amd64]:a=b', 'for all platforms'],
    ['manifest[x]:a=b', 'is not a platform'],
  ])('refuses %s', (text, reason) => {
    expect(() => parseAnnotation(text)).toThrow(reason);
    expect(() => parseAnnotation(text)).toThrow(BadValue);
  });
});
