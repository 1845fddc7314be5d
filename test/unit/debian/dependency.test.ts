import { describe, expect, it } from 'vitest';
import { parseDependencies } from '../../../src/debian/dependency.ts';

describe('parseDependencies', () => {
  it('reads alternatives, versions and qualifiers', () => {
    expect(parseDependencies('libc6 (>= 2.36), python3:any | python3.11 (<<3.12~), awk')).toEqual([
      [{ name: 'libc6', relation: '>=', version: '2.36' }],
      [
        { name: 'python3', qualifier: 'any' },
        { name: 'python3.11', relation: '<<', version: '3.12~' },
      ],
      [{ name: 'awk' }],
    ]);
  });

  it('takes an absent field, a trailing comma and the obsolete relations', () => {
    expect(parseDependencies(undefined)).toEqual([]);
    expect(parseDependencies('g++,')).toEqual([[{ name: 'g++' }]]);
    expect(parseDependencies('a (< 1)')).toEqual([[{ name: 'a', relation: '<=', version: '1' }]]);
  });

  it.each(['a (>= )', 'a (1)', 'a b', 'a (>= 1', '../x'])('refuses %s', (text) => {
    expect(() => parseDependencies(text)).toThrow(expect.objectContaining({ code: 'E_BAD_ARCHIVE' }));
  });
});
