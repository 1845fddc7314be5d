import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { discoverHostTrust, mergeBundles } from '../../../src/executor/host-trust.ts';

let dir: string;
let own: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tsbuild-trust-'));
  own = join(dir, 'own.pem');
  writeFileSync(own, certificate('bWluZQ=='));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function certificate(base64: string): string {
  return `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
}

describe('discoverHostTrust', () => {
  test('auto lends a bundle with a certificate that is not public', () => {
    expect(discoverHostTrust('auto', { SSL_CERT_FILE: own }).caBundles).toContain(own);
    expect(discoverHostTrust('auto', { NODE_EXTRA_CA_CERTS: own }).caBundles).toContain(own);
  });

  test('a bundle that two variables name is lent once, after the system’s', () => {
    const bundles = discoverHostTrust('always', { SSL_CERT_FILE: own, NODE_EXTRA_CA_CERTS: own }).caBundles;
    expect(bundles?.filter((path) => path === own)).toEqual([own]);
    expect(bundles?.at(-1)).toBe(own);
  });

  test('public certificates in a bundle of their own change nothing, however their lines are broken', () => {
    const path = join(dir, 'public.pem');
    const [first = '', second = ''] = rootCertificates;
    writeFileSync(path, `# a comment\n${first}\n${second.replace(/([A-Za-z0-9+/=]{40})/g, '$1\r\n')}\n`);
    expect(discoverHostTrust('auto', { SSL_CERT_FILE: path }).caBundles).toEqual(
      withNamed(discoverHostTrust('auto', {}).caBundles, path),
    );
    expect(discoverHostTrust('always', { SSL_CERT_FILE: path }).caBundles).toContain(path);
  });

  test('never lends none, and reads none', () => {
    expect(discoverHostTrust('never', { SSL_CERT_FILE: join(dir, 'missing') })).not.toHaveProperty(
      'caBundles',
    );
  });

  test.each(['auto', 'always'] as const)('%s says which named bundle cannot be read', (mode) => {
    const missing = join(dir, 'missing.pem');
    const failure = (path: string) =>
      expect.objectContaining({ code: 'E_CA_BUNDLE', path, hint: expect.any(String) });
    expect(() => discoverHostTrust(mode, { SSL_CERT_FILE: missing })).toThrow(failure(missing));
    writeFileSync(own, 'no certificate in here');
    expect(() => discoverHostTrust(mode, { NODE_EXTRA_CA_CERTS: own })).toThrow(failure(own));
  });

  test('proxies come in both spellings, lower case first; empty is none', () => {
    const { proxies } = discoverHostTrust('never', {
      http_proxy: 'http://lower:1',
      HTTP_PROXY: 'http://upper:1',
      HTTPS_PROXY: 'http://upper:2',
      no_proxy: '',
      PATH: '/bin',
    });
    expect(proxies).toEqual({
      http_proxy: 'http://lower:1',
      HTTP_PROXY: 'http://lower:1',
      https_proxy: 'http://upper:2',
      HTTPS_PROXY: 'http://upper:2',
    });
  });

  test('mirrors become the variables of the tools', () => {
    const mirrors = {
      pipIndexUrl: 'https://pip.test',
      npmRegistry: 'https://npm.test',
      aptMirror: 'https://apt.test',
    };
    expect(discoverHostTrust('never', {}, mirrors).mirrors).toEqual({
      PIP_INDEX_URL: 'https://pip.test',
      UV_DEFAULT_INDEX: 'https://pip.test',
      npm_config_registry: 'https://npm.test',
      TSBUILD_APT_MIRROR: 'https://apt.test',
    });
    expect(discoverHostTrust('never', {}).mirrors).toEqual({});
  });
});

test('merged bundles hold each certificate once and nothing else', () => {
  const merged = mergeBundles([
    `# comment\n${certificate('QUFB')}${certificate('QkJC')}`,
    `${certificate('QU\nFB')}-----BEGIN PRIVATE KEY-----\nQ0ND\n-----END PRIVATE KEY-----\n`,
    '',
  ]);
  expect(merged.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
  expect(merged).not.toMatch(/PRIVATE|comment/);
  expect(mergeBundles([merged])).toBe(merged);
});

/** Where the host itself trusts more than the public set, all of its bundles are lent, the named one too. */
function withNamed(bundles: readonly string[] | undefined, named: string): readonly string[] | undefined {
  return bundles === undefined ? undefined : [...bundles, named];
}
