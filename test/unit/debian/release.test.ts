import { describe, expect, it } from 'vitest';
import { checkRelease, parseRelease } from '../../../src/debian/release.ts';

const DIGEST = 'a'.repeat(64);
const TEXT = `Origin: Debian
Suite: stable
Codename: trixie
Date: Sat, 12 Sep 2026 07:55:41 UTC
Valid-Until: Sat, 19 Sep 2026 07:55:41 UTC
Acquire-By-Hash: yes
Architectures: all amd64 arm64
Components: main contrib
MD5Sum:
 0ed6d4c8891eb86358b94bb35d9e4da4  1484322 main/binary-amd64/Packages.gz
SHA256:
 ${DIGEST}  123 main/binary-amd64/Packages.gz
 ${'B'.repeat(64)}  123 main/binary-arm64/Packages.gz
`;
const DATE = Date.UTC(2026, 8, 12, 7, 55, 41) / 1000;
const EXPECTED = { suite: 'trixie', nowSeconds: DATE + 60, snapshot: false, source: 'test' };

describe('parseRelease', () => {
  it('reads what the build needs, and only SHA-256 digests', () => {
    const release = parseRelease(TEXT);
    expect(release).toMatchObject({
      suite: 'stable',
      codename: 'trixie',
      architectures: ['all', 'amd64', 'arm64'],
      components: ['main', 'contrib'],
      dateSeconds: DATE,
      validUntilSeconds: DATE + 7 * 86_400,
      acquireByHash: true,
    });
    expect([...release.files.values()]).toEqual([
      { path: 'main/binary-amd64/Packages.gz', sha256: DIGEST, sizeBytes: 123 },
    ]);
  });

  it.each([
    ['Suite', TEXT.replace('Suite: stable\n', '')],
    ['Date', TEXT.replace(/^Date:.*\n/m, '')],
    ['a date without a zone', TEXT.replace('07:55:41 UTC\nValid', '07:55:41\nValid')],
    ['a date of nonsense', TEXT.replace(/^Date:.*$/m, 'Date: tomorrow UTC')],
  ])('refuses a file with a bad %s', (_, text) => {
    expect(() => parseRelease(text)).toThrow(expect.objectContaining({ code: 'E_BAD_ARCHIVE' }));
  });
});

describe('checkRelease', () => {
  const release = parseRelease(TEXT);

  it('accepts the suite by either name', () => {
    checkRelease(release, EXPECTED);
    checkRelease(release, { ...EXPECTED, suite: 'stable' });
  });

  it.each([
    ['another suite', { suite: 'bookworm' }],
    ['the future', { nowSeconds: DATE - 3600 }],
    ['long ago', { nowSeconds: DATE + 8 * 86_400 }],
  ])('refuses one of %s', (_, change) => {
    expect(() => checkRelease(release, { ...EXPECTED, ...change })).toThrow(
      expect.objectContaining({ code: 'E_SIGNATURE' }),
    );
  });

  it('takes an old one for a snapshot', () => {
    checkRelease(release, { ...EXPECTED, nowSeconds: DATE + 1e8, snapshot: true });
  });
});
