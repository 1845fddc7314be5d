import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { aptSources, assemblySteps, REMOVED } from '../../../src/debian/assembly.ts';
import type { DebianPlan, PlannedPackage } from '../../../src/debian/resolve.ts';

const planned = (name: string, change: Partial<PlannedPackage> = {}): PlannedPackage => ({
  name,
  version: '1.0-1',
  architecture: 'amd64',
  url: `http://mirror.example/${name}.deb`,
  sha256: '0'.repeat(64),
  sizeBytes: 1,
  essential: false,
  minbase: false,
  preDepends: [],
  ...change,
});

const PLAN: DebianPlan = {
  suite: 'trixie',
  codename: 'trixie',
  components: ['main'],
  architecture: 'amd64',
  releaseDate: 1_789_000_000,
  hasUpdates: true,
  digest: 'sha256:0',
  packages: [
    planned('apt', { minbase: true }),
    planned('base-files', { minbase: true }),
    planned('base-passwd', { minbase: true, preDepends: ['libc6'] }),
    planned('dpkg', { minbase: true, version: '1.22.21+b1' }),
    planned('a-late', { preDepends: ['z-early', 'libc6'] }),
    planned('libc6', { minbase: true }),
    planned('z-early'),
  ],
};

describe('assemblySteps', () => {
  const steps = assemblySteps(PLAN);

  it('unpacks base-files first, then the base, then the rest, which dpkg may unpack itself', () => {
    const unpack = steps.find((step) => step.kind === 'unpack');
    expect(unpack?.packages.map(({ name, mayDefer }) => (mayDefer ? `(${name})` : name))).toEqual([
      'base-files',
      'apt',
      'base-passwd',
      'dpkg',
      'libc6',
      '(a-late)',
      '(z-early)',
    ]);
  });

  it('runs the preinst of base-passwd first, and those of the rest after what they need', () => {
    const configure = steps.find((step) => step.kind === 'exec');
    const lines = configure?.argv[2]?.split('\n') ?? [];
    expect(lines.filter((line) => line.startsWith('preinst '))).toEqual([
      'preinst base-passwd amd64',
      'preinst base-files amd64',
      'preinst apt amd64',
      'preinst dpkg amd64',
      'preinst libc6 amd64',
      'preinst z-early amd64',
      'preinst a-late amd64 z-early',
    ]);
    expect(lines[0]).toContain('DPKG_RUNNING_VERSION=1.22.21');
  });

  it('makes shell that a shell can parse, and no host in the environment', () => {
    for (const step of steps) {
      if (step.kind === 'exec') {
        const [shell = '', , script = ''] = step.argv;
        expect(spawnSync(shell, ['-n', '-c', script]).status).toBe(0);
        expect(step.env).toMatchObject({
          DEBIAN_FRONTEND: 'noninteractive',
          SOURCE_DATE_EPOCH: '1789000000',
        });
      }
    }
  });

  it('depends on the plan, not on the mirror', () => {
    const elsewhere = { ...PLAN, packages: PLAN.packages.map((one) => ({ ...one, url: 'http://other/' })) };
    expect(assemblySteps(elsewhere)).toEqual(steps);
    expect(JSON.stringify(steps)).not.toContain('mirror.example');
  });

  it('clamps to the date of the release, last', () => {
    expect(steps.at(-1)).toEqual({ kind: 'clamp', epochSeconds: PLAN.releaseDate });
  });

  it('removes nothing but what lies inside a directory of the root', () => {
    expect(REMOVED.filter((pattern) => !/^\/[a-z]+\/.+/.test(pattern))).toEqual([]);
  });
});

describe('aptSources', () => {
  it('adds updates and security to a stable suite', () => {
    expect(aptSources(PLAN)).toBe(`Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`);
  });

  it('names unstable alone, and a snapshot by its date', () => {
    const sid = aptSources({ ...PLAN, codename: 'sid', hasUpdates: false });
    expect(sid).toContain('Suites: sid\n');
    expect(sid).not.toContain('security');
    const snapshot = aptSources({ ...PLAN, snapshot: '20261015T000000Z' });
    expect(snapshot).toContain('URIs: http://snapshot.debian.org/archive/debian/20261015T000000Z\n');
    expect(snapshot).toContain('Check-Valid-Until: no\n');
  });
});
