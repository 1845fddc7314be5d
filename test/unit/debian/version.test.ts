import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { compareVersions, satisfiesRelation } from '../../../src/debian/version.ts';

// In ascending order; every pair is compared both ways.
const ASCENDING = [
  '0~~',
  '0~',
  '0',
  '0.0.1',
  '1.0~~',
  '1.0~~a',
  '1.0~',
  '1.0~rc1-1',
  '1.0',
  '1.0-0ubuntu1',
  '1.0-1~bpo12+1',
  '1.0-1',
  '1.0-1+b1',
  '1.0-1+deb12u1',
  '1.0-1.1',
  '1.0-10',
  '1.0a',
  '1.0+dfsg-1',
  '1.0.1',
  '1.2.3',
  '1.10',
  '20240101000000000000000000000001',
  '20240101000000000000000000000002',
  '1:0.1',
  '2:0',
  '10:0',
];

describe('compareVersions', () => {
  it('orders every pair of the table', () => {
    for (const [i, a] of ASCENDING.entries()) {
      for (const [j, b] of ASCENDING.entries()) {
        expect(Math.sign(compareVersions(a, b)), `${a} against ${b}`).toBe(Math.sign(i - j));
      }
    }
  });

  it.each([
    ['1.0', '1.0-0'],
    ['0:1.0', '1.0'],
    ['1.00', '1.0'],
    ['1.0-01', '1.0-1'],
  ])('takes %s for %s', (a, b) => {
    expect(compareVersions(a, b)).toBe(0);
    expect(compareVersions(b, a)).toBe(0);
  });

  it.skipIf(!existsSync('/usr/bin/dpkg'))('agrees with dpkg on neighbours', () => {
    for (const [index, a] of ASCENDING.slice(1).entries()) {
      execFileSync('dpkg', ['--compare-versions', ASCENDING[index] ?? '', 'lt', a]);
    }
  });
});

describe('satisfiesRelation', () => {
  it.each([
    ['1', '<<', '2', true],
    ['2', '<<', '2', false],
    ['2', '<=', '2', true],
    ['2', '=', '2-0', true],
    ['2', '>=', '2~rc1', true],
    ['2', '>>', '2', false],
  ] as const)('%s %s %s is %s', (version, relation, wanted, expected) => {
    expect(satisfiesRelation(version, relation, wanted)).toBe(expected);
  });
});
