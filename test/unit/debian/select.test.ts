import { describe, expect, it } from 'vitest';
import { parsePackages } from '../../../src/debian/packages-index.ts';
import { selectPackages } from '../../../src/debian/select.ts';

/** An index of packages given as `name: extra fields`. */
function index(packages: Readonly<Record<string, string>>) {
  const stanzas = Object.entries(packages).map(([name, fields]) => {
    const [version = '1.0', ...rest] = fields.split('\n');
    return [
      `Package: ${name.replace(/#.*/, '')}`,
      `Version: ${version}`,
      'Architecture: amd64',
      ...rest,
      'Description: text',
      ' Package: not-a-package',
      `Filename: pool/main/${name.replace('#', '_')}.deb`,
      'Size: 10',
      `SHA256: ${'0'.repeat(64)}`,
    ].join('\n');
  });
  return parsePackages([`${stanzas.join('\n\n')}\n\n`]);
}

const BASE = {
  apt: '1.0',
  'base-files': '1.0\nEssential: yes\nPre-Depends: awk',
  mawk: '1.0\nProvides: awk',
};

function names(packages: Readonly<Record<string, string>>, ...requested: string[]) {
  return selectPackages(index({ ...BASE, ...packages }), requested).packages.map((one) => one.name);
}

describe('selectPackages', () => {
  it('takes essential and required packages, apt and what they need, and tells them from the rest', () => {
    const { packages, minbase } = selectPackages(
      index({ ...BASE, tar: '1.0\nPriority: required', vim: '1.0\nPriority: important', curl: '1.0' }),
      ['curl'],
    );
    expect(packages.map((one) => one.name)).toEqual(['apt', 'base-files', 'curl', 'mawk', 'tar']);
    expect([...minbase].sort()).toEqual(['apt', 'base-files', 'mawk', 'tar']);
  });

  it('follows dependencies, and neither recommendations nor suggestions', () => {
    const packages = { a: '1\nDepends: b\nRecommends: c\nSuggests: d', b: '1', c: '1', d: '1' };
    expect(names(packages, 'a')).toEqual(['a', 'apt', 'b', 'base-files', 'mawk']);
  });

  it('prefers what is there, then the first alternative that exists', () => {
    const packages = {
      a: '1\nDepends: nothing | b | c',
      b: '1',
      c: '1',
      d: '1\nDepends: b | c',
      e: '1\nDepends: awk | c',
    };
    expect(names(packages, 'a')).toContain('b');
    expect(names(packages, 'd', 'c')).not.toContain('b');
    expect(names(packages, 'e')).not.toContain('c');
  });

  it('knows versions of dependencies and of what is provided', () => {
    const packages = {
      a: '1\nDepends: b (>= 2) | c',
      b: '1.9',
      c: '1',
      d: '1\nDepends: v (>= 2)',
      old: '1\nProvides: v',
      older: '1\nProvides: v (= 1)',
      new: '1\nProvides: v (= 2)',
    };
    expect(names(packages, 'a')).toContain('c');
    const chosen = names(packages, 'd');
    expect(chosen).toContain('new');
    expect(chosen).not.toContain('old');
  });

  it('takes the provider of the highest priority, then of the first name', () => {
    const packages = {
      a: '1\nDepends: mta',
      exim: '1\nPriority: optional\nProvides: mta',
      postfix: '1\nPriority: standard\nProvides: mta',
      zmail: '1\nPriority: standard\nProvides: mta',
    };
    expect(names(packages, 'a')).toEqual(['a', 'apt', 'base-files', 'mawk', 'postfix']);
  });

  it('takes usr-is-merged where usrmerge is listed first', () => {
    const packages = { a: '1\nDepends: usrmerge | usr-is-merged', usrmerge: '1', 'usr-is-merged': '1' };
    expect(names(packages, 'a')).toContain('usr-is-merged');
    expect(names(packages, 'a')).not.toContain('usrmerge');
  });

  it('goes around an alternative that conflicts, and reports a conflict that it cannot avoid', () => {
    const packages = {
      a: '1\nDepends: b | c',
      b: '1\nConflicts: mawk',
      c: '1',
      d: '1\nDepends: b',
      e: '1\nProvides: x\nConflicts: x',
      f: '1\nBreaks: e (<< 1)',
    };
    expect(names(packages, 'a')).toContain('c');
    // A package does not conflict with the name that it provides itself.
    expect(names(packages, 'e', 'f')).toContain('e');
    expect(() => names(packages, 'd')).toThrow(expect.objectContaining({ code: 'E_PACKAGE_CONFLICT' }));
  });

  it('takes a version that was asked for, and the newest of several', () => {
    const packages = { a: '1.0', 'a#2': '2.0' };
    expect(selectPackages(index({ ...BASE, ...packages }), ['a=2.0']).packages[0]?.version).toBe('2.0');
    expect(() => names(packages, 'a=1.0')).toThrow(expect.objectContaining({ code: 'E_PACKAGE_NOT_FOUND' }));
  });

  it('says which package is missing, for whom, and what may have been meant', () => {
    expect(() => names({ python3: '1' }, 'pyhton3')).toThrow(
      expect.objectContaining({ code: 'E_PACKAGE_NOT_FOUND', hint: "did you mean 'python3'?" }),
    );
    expect(() => names({ a: '1\nDepends: b (>= 2)', b: '1' }, 'a')).toThrow(/'b \(>= 2\)', needed by 'a'/);
  });
});

describe('parsePackages', () => {
  it.each([
    ['a path out of the pool', 'Filename: pool/../../etc/passwd.deb'],
    ['another server', 'Filename: http://evil.example/x.deb'],
    ['a digest of another kind', 'SHA256: 00'],
  ])('refuses %s', (_, line) => {
    const [field = ''] = line.split(':');
    const stanza = [
      'Package: apt',
      'Version: 1',
      'Architecture: amd64',
      'Filename: pool/a.deb',
      'Size: 1',
      `SHA256: ${'0'.repeat(64)}`,
    ];
    const changed = stanza.map((one) => (one.startsWith(`${field}:`) ? line : one)).join('\n');
    const parsed = parsePackages([`${changed}\n\n`]);
    expect(() => parsed.package('apt')).toThrow(expect.objectContaining({ code: 'E_BAD_ARCHIVE' }));
  });

  it('refuses a stanza without a name', () => {
    expect(() => parsePackages(['Version: 1\n\nPackage: apt\n\n'])).toThrow(
      expect.objectContaining({ code: 'E_BAD_ARCHIVE' }),
    );
  });
});
