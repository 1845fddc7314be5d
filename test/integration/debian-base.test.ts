/**
 * Assembles bases from Debian's real archive, as root with plain chroot: what dpkg and apt say of them, and whether two of
 * them are the same.
 */
import { createHash } from 'node:crypto';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ArchiveFetch, createArchiveFetch } from '../../src/debian/fetch.ts';
import { type DebianPlan, downloadPackages, resolveDebian } from '../../src/debian/resolve.ts';
import { assembleDebian, runInRoot } from '../support/assemble-debian.ts';

const isRoot = process.getuid?.() === 0;
const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
const MINUTES = 60_000;

/** Path, mode, owner, links, time and content of everything but what is mounted over. */
function listing(root: string, directory = ''): string[] {
  return readdirSync(`${root}${directory}`)
    .sort()
    .flatMap((name) => {
      const path = `${directory}/${name}`;
      const facts = lstatSync(`${root}${path}`);
      const content = facts.isFile()
        ? createHash('sha256')
            .update(readFileSync(`${root}${path}`))
            .digest('hex')
        : facts.isSymbolicLink()
          ? readlinkSync(`${root}${path}`)
          : '';
      const links = facts.isFile() ? facts.nlink : '';
      const line = [path, facts.mode.toString(8), facts.uid, facts.gid, links, facts.mtimeMs, content].join(
        ' ',
      );
      return facts.isDirectory() ? [line, ...listing(root, path)] : [line];
    });
}

describe.skipIf(!isRoot).each(['bookworm', 'trixie'])('a base of %s', (suite) => {
  let work: string;
  let fetch: ArchiveFetch;
  let plan: DebianPlan;
  let root: string;
  /** Before any test ran a command in it. */
  let pristine: string[];
  beforeAll(async () => {
    work = mkdtempSync(`${tmpdir()}/tsbuild-debian-`);
    fetch = createArchiveFetch();
    const packages = ['python3', 'python3-pip', 'python3-venv'];
    const directory = `${work}/packages`;
    plan = await resolveDebian({ suite, architecture, packages }, { fetch, directory });
    await downloadPackages(plan, { fetch, directory });
    root = `${work}/root`;
    await assembleDebian(plan, { root, directory });
    pristine = listing(root);
  }, 5 * MINUTES);
  afterAll(async () => {
    await fetch.close();
    rmSync(work, { recursive: true });
  });

  it('is in order in the eyes of dpkg and apt', { timeout: 2 * MINUTES }, () => {
    expect(runInRoot(root, ['dpkg', '--audit'])).toBe('');
    expect(runInRoot(root, ['dpkg', '--verify'])).toBe('');
    expect(runInRoot(root, ['apt-get', 'check', '-qq'])).toBe('');
    const format = '${Package} ${Version} ${Status}\n';
    const installed = runInRoot(root, ['dpkg-query', '-W', '-f', format]);
    expect(installed.trim().split('\n').sort()).toEqual(
      plan.packages.map(({ name, version }) => `${name} ${version} install ok installed`).sort(),
    );
  });

  it('has the Python that was asked for, pip and venv', { timeout: 2 * MINUTES }, () => {
    expect(runInRoot(root, ['python3', '-m', 'pip', '--version'])).toContain(
      suite === 'trixie' ? 'python 3.13' : 'python 3.11',
    );
    runInRoot(root, ['sh', '-ec', 'python3 -m venv /tmp/venv; rm -r /tmp/venv']);
  });

  it('has no devices, logs, caches or identity', { timeout: 2 * MINUTES }, () => {
    const paths = pristine.map((line) => line.slice(0, line.indexOf(' ')));
    // Character and block devices, by the type in the mode.
    expect(pristine.filter((line) => / [26]0\d{3} \d+ \d+ /.test(line))).toEqual([]);
    expect(readdirSync(`${root}/dev`)).toEqual([]);
    expect(readdirSync(`${root}/proc`)).toEqual([]);
    for (const pattern of [
      /\.log$/,
      /\/var\/cache\/apt\/.*\.(bin|deb)$/,
      /-old$/,
      /policy-rc\.d$/,
      /resolv\.conf$/,
    ]) {
      expect(paths.filter((path) => pattern.test(path))).toEqual([]);
    }
    expect(paths.filter((path) => /^\/etc\/(hostname|machine-id)$/.test(path))).toEqual([]);
    expect(readFileSync(`${root}/etc/shadow`, 'utf8')).toMatch(/^root:\*:/);
  });

  it(
    'is the same the second time',
    async () => {
      const again = `${work}/again`;
      await assembleDebian(plan, { root: again, directory: `${work}/packages` });
      expect(listing(again)).toEqual(pristine);
    },
    5 * MINUTES,
  );
});
