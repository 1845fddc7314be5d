import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { gzipSync } from 'node:zlib';
import { createCleartextMessage, generateKey, readPrivateKey, sign } from 'openpgp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ArchiveFetch } from '../../../src/debian/fetch.ts';
import { type DebianDependencies, downloadPackages, resolveDebian } from '../../../src/debian/resolve.ts';
import { RemoteError } from '../../../src/errors.ts';

const NOW = Math.floor(Date.UTC(2026, 8, 12, 8) / 1000);
const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex');

const stanza = (name: string, fields: string) => `Package: ${name}
Version: 1.0
Architecture: amd64
${fields}
Filename: pool/main/${name}+_1.0.deb
Size: ${name.length}
SHA256: ${sha256(name)}
`;
const INDEX = gzipSync(
  [
    stanza('apt', 'Depends: libc6'),
    stanza('base-files', 'Essential: yes\nPre-Depends: awk'),
    stanza('libc6', 'Section: libs'),
    stanza('mawk', 'Provides: awk\nDepends: libm'),
    stanza('libm', 'Section: libs'),
    stanza('tool', 'Section: admin'),
  ].join('\n'),
);
const RELEASE = `Suite: stable
Codename: trixie
Date: Sat, 12 Sep 2026 07:55:41 UTC
Acquire-By-Hash: yes
Architectures: amd64
Components: main
SHA256:
 ${sha256(INDEX)} ${INDEX.length} main/binary-amd64/Packages.gz
`;

describe('resolveDebian', () => {
  let directory: string;
  let keyring: readonly Uint8Array[];
  let files: Map<string, string | Buffer>;
  let asked: string[];
  const fetch: ArchiveFetch = {
    async text(url) {
      asked.push(url);
      return String(files.get(url));
    },
    async file({ url, sha256 }, into) {
      asked.push(url);
      const content = files.get(url);
      if (content === undefined) {
        throw new RemoteError(`no '${url}'`, { code: 'E_ARCHIVE_FETCH' });
      }
      writeFileSync(`${into}/${sha256}`, content);
      return `${into}/${sha256}`;
    },
    close: async () => {},
  };

  beforeAll(async () => {
    directory = mkdtempSync(`${tmpdir()}/tsbuild-resolve-`);
    const date = new Date((NOW - 3600) * 1000);
    const made = await generateKey({ type: 'ecc', userIDs: [{ name: 'Archive' }], date, format: 'armored' });
    keyring = [Buffer.from(made.publicKey)];
    const release = await sign({
      message: await createCleartextMessage({ text: RELEASE }),
      signingKeys: await readPrivateKey({ armoredKey: made.privateKey }),
      date,
    });
    const byHash = `dists/trixie/main/binary-amd64/by-hash/SHA256/${sha256(INDEX)}`;
    files = new Map<string, string | Buffer>();
    for (const mirror of ['http://deb.debian.org/debian', 'http://m/debian', 'http://s/20261015T000000Z']) {
      files.set(`${mirror}/dists/trixie/InRelease`, release);
      files.set(`${mirror}/${byHash}`, INDEX);
    }
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  const resolve = (options = {}, deps: Partial<DebianDependencies> = {}) => {
    asked = [];
    return resolveDebian(
      { suite: 'trixie', architecture: 'amd64', packages: ['tool'], ...options },
      { fetch, directory, keyring, nowSeconds: NOW, ...deps },
    );
  };

  it('plans the packages with what their preinst scripts need', async () => {
    const plan = await resolve();
    expect(plan).toMatchObject({ codename: 'trixie', releaseDate: 1_789_199_741, hasUpdates: true });
    expect(plan.packages.map((one) => [one.name, one.minbase, one.preDepends])).toEqual([
      ['apt', true, []],
      ['base-files', true, ['libm', 'mawk']],
      ['libc6', true, []],
      ['libm', true, []],
      ['mawk', true, []],
      ['tool', false, []],
    ]);
    expect(plan.packages[0]?.url).toBe('http://deb.debian.org/debian/pool/main/apt%2B_1.0.deb');
    expect(asked[1]).toContain('/by-hash/SHA256/');
  });

  it('gives the same digest from every mirror, and another for other packages, suites and snapshots', async () => {
    const { digest } = await resolve();
    expect((await resolve({ mirror: 'http://m/debian/' })).digest).toBe(digest);
    expect((await resolve({ packages: [] })).digest).not.toBe(digest);
    const snapshot = await resolve({ mirror: 'http://s', snapshot: '20261015T000000Z' });
    expect(snapshot.digest).not.toBe(digest);
    expect(asked[0]).toBe('http://s/20261015T000000Z/dists/trixie/InRelease');
  });

  it.each([
    ['E_PACKAGE_NOT_FOUND', { components: ['contrib'] }],
    ['E_PACKAGE_NOT_FOUND', { packages: ['toll'] }],
    ['E_NO_PLATFORM', { architecture: 'arm64' }],
    ['E_ARG_TYPE', { suite: '../sid' }],
    ['E_ARG_TYPE', { snapshot: 'yesterday' }],
    ['E_ARG_TYPE', { components: ['main/../..'] }],
  ])('throws %s for %j', async (code, options) => {
    await expect(resolve(options)).rejects.toThrow(expect.objectContaining({ code }));
  });

  it('throws E_SIGNATURE without the key', async () => {
    await expect(resolve({}, { keyring: [] })).rejects.toThrow(
      expect.objectContaining({ code: 'E_SIGNATURE' }),
    );
  });

  it('downloads each package once, counts bytes, and stops all at the first failure', async () => {
    const plan = await resolve();
    await expect(downloadPackages(plan, { fetch, directory })).rejects.toThrow(
      expect.objectContaining({ code: 'E_ARCHIVE_FETCH' }),
    );
    for (const one of plan.packages) {
      files.set(one.url, one.name);
    }
    asked = [];
    const paths = await downloadPackages(plan, { fetch, directory });
    expect(paths).toEqual(plan.packages.map((one) => `${directory}/${one.sha256}`));
    expect(asked.sort()).toEqual(plan.packages.map((one) => one.url).sort());
  });
});
