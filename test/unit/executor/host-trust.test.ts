import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { mergeBundles } from '../../../src/executor/ca-bundle.ts';
import { discoverHostTrust } from '../../../src/executor/host-trust.ts';
import { lacks } from '../../support/requires.ts';

const DEBIAN = 'etc/ssl/certs/ca-certificates.crt';
const FEDORA = 'etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem';
const PACKAGED = 'usr/share/ca-certificates/mozilla/One.crt';
const PUBLIC = `${rootCertificates.slice(0, 3).join('\n')}\n`;

describe.skipIf(lacks('openssl'))('certificates', () => {
  let dir: string;
  /** PEM texts of a company and of another. */
  let company: string;
  let other: string;
  let root: string;
  let count = 0;

  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-trust-'));
    company = certificate('Company');
    other = certificate('Other');
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  beforeEach(() => {
    count += 1;
    root = join(dir, `root-${count}`);
    mkdirSync(root);
  });

  function certificate(name: string): string {
    const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ${name}.key -out ${name}.pem`;
    execFileSync('openssl', [...words.split(' '), '-subj', `/CN=${name}`], { cwd: dir, stdio: 'pipe' });
    return readFileSync(join(dir, `${name}.pem`), 'utf8');
  }

  function put(path: string, text: string): string {
    const full = join(root, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, text);
    return full;
  }

  const bundles = (mode: 'auto' | 'always' | 'never', env: Record<string, string> = {}) =>
    discoverHostTrust(mode, env, {}, root).caBundles;

  test('auto lends the bundle when it holds more than the public ones', () => {
    const system = put(DEBIAN, PUBLIC);
    expect(bundles('auto')).toBeUndefined();
    put(DEBIAN, PUBLIC + company);
    expect(bundles('auto')).toEqual([system]);
  });

  test('auto lends nothing where there is nothing', () => {
    expect(discoverHostTrust('auto', {}, {}, root)).toEqual({ proxies: {}, mirrors: {} });
  });

  test('what the distribution packages counts as public, however its lines break', () => {
    const base64 = company.replace(/-----[A-Z ]+-----/g, '').replace(/\s/g, '');
    put(DEBIAN, company);
    put(PACKAGED, `-----BEGIN CERTIFICATE-----\r\n${base64}\r\n-----END CERTIFICATE-----\r\n`);
    expect(bundles('auto')).toBeUndefined();
  });

  test('always lends the bundle, whatever it holds, and never does not', () => {
    const system = put(DEBIAN, PUBLIC);
    expect(bundles('always')).toEqual([system]);
    put(DEBIAN, company);
    expect(bundles('never')).toBeUndefined();
  });

  test('always needs one', () => {
    expect(() => bundles('always')).toThrow(
      expect.objectContaining({
        name: 'HostError',
        code: 'E_CA_BUNDLE',
        hint: expect.stringContaining('SSL_CERT_FILE'),
      }),
    );
    put(DEBIAN, 'no certificate\n');
    expect(() => bundles('always')).toThrow(expect.objectContaining({ code: 'E_CA_BUNDLE' }));
  });

  test("the first of the distributions' places that holds certificates is taken", () => {
    const fedora = put(FEDORA, PUBLIC);
    expect(bundles('always')).toEqual([fedora]);
    put(DEBIAN, '');
    expect(bundles('always')).toEqual([fedora]);
    const debian = put(DEBIAN, company);
    expect(bundles('always')).toEqual([debian]);
  });

  test("what the environment names comes after the system's, each once", () => {
    const system = put(DEBIAN, PUBLIC);
    const named = put('company.pem', company);
    const extra = put('other.pem', other);
    expect(bundles('auto', { NODE_EXTRA_CA_CERTS: named })).toEqual([system, named]);
    expect(bundles('auto', { SSL_CERT_FILE: named, NODE_EXTRA_CA_CERTS: extra })).toEqual([
      system,
      named,
      extra,
    ]);
    expect(bundles('always', { SSL_CERT_FILE: system, NODE_EXTRA_CA_CERTS: system })).toEqual([system]);
    expect(bundles('auto', { SSL_CERT_FILE: '' })).toBeUndefined();
    const known = put('known.pem', rootCertificates[0] ?? '');
    expect(bundles('auto', { SSL_CERT_FILE: known })).toBeUndefined();
  });

  test('a named bundle that cannot be read is an error, but not when nothing is lent', () => {
    put(DEBIAN, company);
    const missing = join(root, 'missing.pem');
    const nothing = put('nothing.pem', 'PRIVATE\n');
    for (const [mode, path] of [
      ['auto', missing],
      ['always', missing],
      ['auto', nothing],
      ['auto', root],
    ] as const) {
      expect(() => bundles(mode, { NODE_EXTRA_CA_CERTS: path })).toThrow(
        expect.objectContaining({ name: 'HostError', code: 'E_CA_BUNDLE', path }),
      );
    }
    expect(bundles('never', { NODE_EXTRA_CA_CERTS: missing })).toBeUndefined();
  });

  test('bundles are merged, each certificate once, in their order, without what is around', () => {
    const merged = mergeBundles([
      `# Company\n${company}junk\n${other}`,
      PUBLIC,
      company.replaceAll('\n', '\r\n'),
    ]);
    expect(merged.match(/BEGIN CERTIFICATE/g)).toHaveLength(5);
    expect(merged).not.toContain('junk');
    // A later copy of one, with other line breaks, takes its place.
    const names = [company, other, ...rootCertificates.slice(0, 3)].map((pem) => pem.replace(/\s/g, ''));
    expect(
      merged
        .replace(/\s/g, '')
        .split(/(?=-----BEGIN)/)
        .filter(Boolean),
    ).toEqual(names);
    const file = put('merged.pem', merged);
    expect(
      execFileSync('openssl', ['x509', '-in', file, '-noout', '-subject'], { encoding: 'utf8' }),
    ).toMatch(/Company/);
  });

  test('nothing merged is nothing', () => {
    expect(mergeBundles([])).toBe('');
    expect(mergeBundles(['no certificate', ''])).toBe('');
  });
});

test('proxies are lent in both spellings, the small one first', () => {
  const { proxies } = discoverHostTrust('never', {
    http_proxy: 'http://small.test:1',
    HTTP_PROXY: 'http://capital.test:1',
    HTTPS_PROXY: 'http://capital.test:2',
    no_proxy: 'localhost,.test',
    all_proxy: '',
    ALL_PROXY: 'socks5://all.test:3',
    ftp_proxy: '',
    RSYNC_PROXY: 'rsync.test:4',
    http_proxy_password: 'x',
  });
  expect(proxies).toEqual({
    http_proxy: 'http://small.test:1',
    HTTP_PROXY: 'http://small.test:1',
    https_proxy: 'http://capital.test:2',
    HTTPS_PROXY: 'http://capital.test:2',
    no_proxy: 'localhost,.test',
    NO_PROXY: 'localhost,.test',
    all_proxy: 'socks5://all.test:3',
    ALL_PROXY: 'socks5://all.test:3',
  });
});

test("mirrors become each tool's own variables", () => {
  const mirrors = {
    pipIndexUrl: 'https://pip.test/simple',
    npmRegistry: 'https://npm.test/',
    aptMirror: 'http://apt.test/debian',
  };
  expect(discoverHostTrust('never', {}, mirrors).mirrors).toEqual({
    PIP_INDEX_URL: 'https://pip.test/simple',
    UV_DEFAULT_INDEX: 'https://pip.test/simple',
    npm_config_registry: 'https://npm.test/',
    TSBUILD_APT_MIRROR: 'http://apt.test/debian',
  });
  expect(discoverHostTrust('never', {}).mirrors).toEqual({});
});
