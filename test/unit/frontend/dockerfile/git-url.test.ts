import { describe, expect, it } from 'vitest';
import {
  type GitSource,
  isCommitId,
  parseCommitChecksum,
  parseGitUrl,
} from '../../../../src/frontend/dockerfile/git-url.ts';
import { isHttpUrl } from '../../../../src/frontend/dockerfile/http-url.ts';

const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const plain = { fetchByCommit: false, looksLocal: false };
const https = (host: string, path: string, more: Partial<GitSource> = {}) => ({
  ...plain,
  transport: 'https',
  host,
  remote: `https://${host}${path}`,
  ...more,
});
const repo = (more: Partial<GitSource> = {}) => https('h.example', '/a/b.git', more);
const ssh = (more: Partial<GitSource> = {}) => ({
  ...plain,
  transport: 'ssh',
  host: 'h.example',
  remote: 'git@h.example:a/b.git',
  ...more,
});

describe('parseGitUrl', () => {
  it.each<[string, unknown]>([
    ['https://h.example/a/b.git', repo()],
    ['HTTPS://H.example/a/b.git', repo()],
    ['https://h.example:8443/b.git', https('h.example:8443', '/b.git')],
    [
      'http://h.example/b.git',
      { ...https('h.example', '/b.git'), transport: 'http', remote: 'http://h.example/b.git' },
    ],
    ['https://h.example/a/b%2Egit', https('h.example', '/a/b%2Egit')],
    // Fragment.
    ['https://h.example/a/b.git#main', repo({ ref: 'main' })],
    ['https://h.example/a/b.git#release/1.2', repo({ ref: 'release/1.2' })],
    ['https://h.example/a/b.git#main:docs/x', repo({ ref: 'main', subdir: 'docs/x' })],
    ['https://h.example/a/b.git#:docs', repo({ subdir: 'docs' })],
    ['https://h.example/a/b.git#main:', repo({ ref: 'main' })],
    ['https://h.example/a/b.git#main:/docs/../x/./', repo({ ref: 'main', subdir: 'x' })],
    ['https://h.example/a/b.git#main:../../etc', repo({ ref: 'main', subdir: 'etc' })],
    ['https://h.example/a/b.git#main:a:b', repo({ ref: 'main', subdir: 'a:b' })],
    ['https://h.example/a/b.git#v%2B1', repo({ ref: 'v+1' })],
    [`https://h.example/a/b.git#${COMMIT}`, repo({ ref: COMMIT })],
    ['https://h.example/a/b.git#refs/pull/7/head', repo({ ref: 'refs/pull/7/head' })],
    ['https://h.example/a/b.git#', repo()],
    // Query.
    ['https://h.example/a/b.git?ref=v1&subdir=/docs', repo({ ref: 'v1', subdir: 'docs' })],
    ['https://h.example/a/b.git?subdir=docs#v1', repo({ ref: 'v1', subdir: 'docs' })],
    ['https://h.example/a/b.git?subdir=/docs#v1:docs', repo({ ref: 'v1', subdir: 'docs' })],
    ['https://h.example/a/b.git?ref=v1#v1', repo({ ref: 'v1' })],
    ['https://h.example/a/b.git?tag=v1', repo({ ref: 'refs/tags/v1' })],
    ['https://h.example/a/b.git?tag=refs/tags/v1', repo({ ref: 'refs/tags/v1' })],
    ['https://h.example/a/b.git?branch=v1', repo({ ref: 'refs/heads/v1' })],
    ['https://h.example/a/b.git?branch=a/b', repo({ ref: 'refs/heads/a/b' })],
    ['https://h.example/a/b.git?checksum=DEADbeef', repo({ checksum: 'deadbeef' })],
    ['https://h.example/a/b.git?commit=deadbeef', repo({ checksum: 'deadbeef' })],
    ['https://h.example/a/b.git?commit=deadbeef&checksum=deadbeef', repo({ checksum: 'deadbeef' })],
    ['https://h.example/a/b.git?keep-git-dir=true', repo({ keepGitDir: true })],
    ['https://h.example/a/b.git?keep-git-dir', repo({ keepGitDir: true })],
    ['https://h.example/a/b.git?keep-git-dir=0', repo({ keepGitDir: false })],
    ['https://h.example/a/b.git?submodules=false', repo({ submodules: false })],
    ['https://h.example/a/b.git?submodules=', repo({ submodules: true })],
    ['https://h.example/a/b.git?mtime=commit', repo({ mtime: 'commit' })],
    ['https://h.example/a/b.git?mtime=checkout', repo({ mtime: 'checkout' })],
    [
      `https://h.example/a/b.git?fetch-by-commit=true&checksum=${COMMIT}#main`,
      repo({ ref: 'main', checksum: COMMIT, fetchByCommit: true }),
    ],
    [`https://h.example/a/b.git?fetch-by-commit#${COMMIT}`, repo({ ref: COMMIT, fetchByCommit: true })],
    ['https://h.example/a/b.git?fetch-by-commit=false', repo()],
    // Credentials stay apart.
    ['https://me:p%40ss@h.example/a/b.git', repo({ credentials: { username: 'me', password: 'p@ss' } })],
    ['https://token@h.example/a/b.git', repo({ credentials: { username: 'token', password: '' } })],
    // Other transports need no .git.
    ['git://h.example/a', { ...plain, transport: 'git', host: 'h.example', remote: 'git://h.example/a' }],
    [
      'git://h.example:1234/a/b.git#v1',
      {
        ...plain,
        transport: 'git',
        host: 'h.example:1234',
        remote: 'git://h.example:1234/a/b.git',
        ref: 'v1',
      },
    ],
    [
      'ssh://git@h.example:22/a/b.git',
      { ...plain, transport: 'ssh', host: 'h.example:22', remote: 'ssh://git@h.example:22/a/b.git' },
    ],
    [
      'ssh://me:secret@h.example/~/b.git#x:y',
      {
        ...plain,
        transport: 'ssh',
        host: 'h.example',
        remote: 'ssh://me@h.example/~/b.git',
        ref: 'x',
        subdir: 'y',
      },
    ],
    ['git@h.example:a/b.git', ssh()],
    ['git@h.example:a/b', ssh({ remote: 'git@h.example:a/b' })],
    ['git@h.example:a/b.git#v1:docs', ssh({ ref: 'v1', subdir: 'docs' })],
    ['git@h.example:a/b.git?subdir=/docs#v1', ssh({ ref: 'v1', subdir: 'docs' })],
    ['me_2@h.example:/srv/x.git', ssh({ remote: 'me_2@h.example:/srv/x.git' })],
    // Only as a build context.
    ['github.com/a/b', { ...https('github.com', '/a/b'), looksLocal: true }],
    ['github.com/a/b.git#main', { ...https('github.com', '/a/b.git', { ref: 'main' }), looksLocal: true }],
    ['github.com/a/b?tag=v1', { ...https('github.com', '/a/b', { ref: 'refs/tags/v1' }), looksLocal: true }],
  ])('%s', (text, expected) => {
    expect(parseGitUrl(text)).toEqual(expected);
  });

  it.each([
    // Files of web servers.
    'https://h.example/',
    'https://h.example/foo',
    'https://h.example/foo.git/',
    'https://h.example/foo.git.bar',
    'https://h.example/foo?x=.git',
    'https://h.example/foo#.git',
    'https://github.com/a/b',
    'http://h.example/a.git:#branch',
    'https://',
  ])('%s is a file', (text) => {
    expect(parseGitUrl(text)).toBeUndefined();
    expect(isHttpUrl(text)).toBe(true);
  });

  it.each([
    '',
    '.',
    '-',
    './.git',
    '../a.git',
    '.git',
    '/srv/a.git',
    'a/b.git',
    'custom.example/a/b.git',
    'git.example:a/b.git',
    'a b@h.example:x',
    'httpx://h.example/a.git',
    'file:///srv/a.git',
    'ext::sh -c x',
    'ftp://h.example/a.git',
    'docker-image://alpine',
  ])('%s is a path', (text) => {
    expect(parseGitUrl(text)).toBeUndefined();
    expect(isHttpUrl(text)).toBe(false);
  });

  it.each<[string, RegExp]>([
    ['https://h.example/a.git?ref=v1#v2', /ref is both 'v2' and 'v1'/],
    ['https://h.example/a.git?ref=v1&tag=v2', /ref is both/],
    ['https://h.example/a.git?ref=v1&tag=v1', /ref is both/],
    ['https://h.example/a.git?tag=v1&branch=v1', /ref is both|cannot both/],
    ['https://h.example/a.git?subdir=a#:b', /subdir is both/],
    ['https://h.example/a.git?checksum=aa&commit=bb', /checksum is both/],
    ['https://h.example/a.git?checksum=xyz', /'xyz' is not a commit/],
    ['https://h.example/a.git?ref=', /'ref' has no value/],
    ['https://h.example/a.git?ref=a&ref=a', /'ref' is given twice/],
    ['https://h.example/a.git?depth=1', /unknown 'depth'/],
    ['https://h.example/a.git?mtime=now', /'mtime' is 'now'/],
    ['https://h.example/a.git?submodules=maybe', /'submodules' is 'maybe'/],
    ['https://h.example/a.git?fetch-by-commit', /needs all digits/],
    ['https://h.example/a.git?fetch-by-commit&checksum=dead', /needs all digits/],
    ['https://h.example/a.git#-upload-pack=x', /cannot be the name/],
    ['https://h.example/a.git#--output=x', /cannot be the name/],
    ['https://h.example/a.git#a..b', /cannot be the name/],
    ['https://h.example/a.git#a%0Ab', /cannot be the name/],
    ['https://h.example/a.git#main^', /cannot be the name/],
    ['https://h.example/a.git?ref=re*', /cannot be the name/],
    ['git://-oProxyCommand=x/a', /names no host/],
    ['git@-oProxyCommand:a', /names no host/],
    ['git@h.example:', /names no repository/],
    ['ssh:///a', /names no host|not a URL/],
  ])('%s is refused', (text, message) => {
    expect(() => parseGitUrl(text)).toThrow(expect.objectContaining({ code: 'E_GIT_URL' }));
    expect(() => parseGitUrl(text)).toThrow(message);
  });

  it('shows no credentials when it complains', () => {
    for (const url of ['https://me:hunter2@h.example/a.git?x=1', 'ssh://me:hunter2@h.example/a.git?x=1']) {
      expect(() => parseGitUrl(url)).toThrow(/^(?!.*hunter2).*h\.example\/a\.git/);
    }
  });
});

it('a commit is told by its length and lower case', () => {
  expect(isCommitId(COMMIT)).toBe(true);
  expect(isCommitId('a'.repeat(64))).toBe(true);
  expect(isCommitId(COMMIT.toUpperCase())).toBe(false);
  expect(isCommitId(COMMIT.slice(1))).toBe(false);
  expect(parseCommitChecksum('DEAD')).toBe('dead');
  expect(() => parseCommitChecksum('sha256:dead')).toThrow(expect.objectContaining({ code: 'E_GIT_URL' }));
});
