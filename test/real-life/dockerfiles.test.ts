/**
 * Dockerfiles as people write them, built by an unprivileged user on bases from Debian's archive, and run. Packages come from
 * the archives and registries of each language, so that these tests need the network.
 */
import { chmodSync, cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Account, makeAccount } from '../support/account.ts';
import { lacks } from '../support/requires.ts';
import { installTsbuild, networkEnvironment, succeed, type Tsbuild } from '../support/tsbuild.ts';

const EXAMPLES = join(import.meta.dirname, '../../examples/dockerfiles');

interface Example {
  readonly name: string;
  readonly build?: readonly string[];
  /** What follows the entrypoint instead of the image's own command. */
  readonly run?: readonly string[];
  readonly says: string | RegExp;
}

const SITE = `<!doctype html>
<nav><a href="about.html">about</a> <a href="index.html">index</a></nav>
<h1>Hello</h1>
<p>A page of <em>few</em> words.</p>
`;

const EXAMPLES_AND_WHAT_THEY_SAY: readonly Example[] = [
  { name: 'c-ccache', run: ['20', '22'], says: '42\n' },
  { name: 'go-service', build: ['--build-arg', 'VERSION=1.2'], says: 'service 1.2\n' },
  { name: 'nginx', build: ['--build-arg', 'TITLE=tried'], run: ['check'], says: '<h1>tried</h1>\n' },
  { name: 'postgres-client', run: ['list'], says: /^psql\ndb\n\\echo 001-people.sql\n/ },
  { name: 'python-uv', run: ['you'], says: 'app greets you for the 3rd time\n' },
  { name: 'python-wheels', says: 'mean 4.5\n' },
  { name: 'rust-cli', run: ['hello', 'world'], says: '3610a686 hello\n3a771143 world\n' },
  { name: 'node-app', run: ['2h', '1 min'], says: '2h is 7200000 ms\n1 min is 60000 ms\n' },
  { name: 'node-monorepo', build: ['--target', 'hello'], says: 'hello world, for 1 day\n' },
  { name: 'cmake-app', build: ['--build-arg', 'BUILD_TYPE=MinSizeRel'], run: ['84'], says: '84: 2 2 3 7\n' },
  { name: 'static-site', run: ['check'], says: SITE },
  {
    name: 'backup-tool',
    run: ['bash', '-ec', 'backup; rm *; restore >&2; sqlite3 notes.db "select text from notes"'],
    says: 'backed up 2 files\nremember me\n',
  },
];

describe.skipIf(lacks('root', 'bwrap', 'newuidmap'))('Dockerfiles as people write them', () => {
  let directory: string;
  let installed: Tsbuild;
  let account: Account;
  const at = (...parts: string[]) => join(directory, ...parts);
  const setting = () => ({
    tsbuild: installed,
    account,
    cwd: account.home,
    env: { ...networkEnvironment(), TSBUILD_HOME: join(account.home, 'store'), TMPDIR: account.home },
  });
  const base = (name: string, tag: string) => [
    '--build-context',
    `${tag}=oci-layout://${join(account.home, name)}:${tag}`,
  ];

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-real-life-'));
    chmodSync(directory, 0o755);
    installed = installTsbuild(at('package'));
    account = makeAccount({ subordinateIds: true });
    cpSync(EXAMPLES, at('package/examples'), { recursive: true });
    for (const [name, tag] of [
      ['debian', 'debian:trixie-slim'],
      ['python', 'python:3.13-slim'],
    ]) {
      const output = `type=oci,dest=${join(account.home, name ?? '')},tar=false`;
      await succeed(
        ['build', at(`package/examples/bases.ts::${name}`), '-t', tag ?? '', '-o', output],
        setting(),
      );
    }
  }, 600_000);
  afterAll(async () => {
    // Files of subordinate ids can only be removed from within the namespace that made them.
    await succeed(['prune', '--all'], setting());
    account?.[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  test('are all tried', () => {
    const directories = readdirSync(EXAMPLES, { withFileTypes: true }).filter((each) => each.isDirectory());
    expect(directories.map((each) => each.name).sort()).toEqual(
      EXAMPLES_AND_WHAT_THEY_SAY.map(({ name }) => name).sort(),
    );
  });

  test.each(EXAMPLES_AND_WHAT_THEY_SAY)(
    '$name',
    { timeout: 600_000 },
    async ({ name, build = [], run = [], says }) => {
      const command = [
        'build',
        at('package/examples', name),
        ...['-t', name],
        ...base('debian', 'debian:trixie-slim'),
        ...base('python', 'python:3.13-slim'),
        ...build,
      ];
      const first = await succeed(command, setting());
      const { stdout } = await succeed(['run', name, ...(run.length === 0 ? [] : ['--', ...run])], setting());
      expect(stdout).toEqual(typeof says === 'string' ? says : expect.stringMatching(says));
      const again = await succeed([...command, '--progress=json'], setting());
      expect(again.stdout).toBe(first.stdout);
      expect(again.stderr).not.toContain('"kind":"vertex-started"');
    },
  );
});
