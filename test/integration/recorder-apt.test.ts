/**
 * Real packages with one user id: a Debian base, what maintainer scripts and tools for users and groups do to it, and a step of another
 * user have the layers that subordinate ids give. What differs from run to run (logs, caches with times, keys, the machine's id) is
 * emptied in the step, its owner is not.
 */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { assemblySteps } from '../../src/debian/assembly.ts';
import { createArchiveFetch } from '../../src/debian/fetch.ts';
import { downloadPackages, resolveDebian } from '../../src/debian/resolve.ts';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, runJson, stage } from '../support/unprivileged-user.ts';

const ASSEMBLY_TIMEOUT_MS = 240_000;

const INSTALL = `
apt-get update -q
apt-get install -yq --no-install-recommends at man-db ssl-cert postgresql-common systemd acl libcap2-bin
rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log /var/log/alternatives.log
rm -rf /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old /etc/ssl/certs/????????.0
for file in $(find /var/cache/man -name index.db) /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem /etc/machine-id /var/cache/debconf/*.dat; do : > $file; done
stat -c 'owner %n %u:%g %a' /var/spool/cron/atjobs /usr/bin/at /var/cache/man /etc/ssl/private/ssl-cert-snakeoil.key /var/log/journal
getfacl -pc /var/log/journal | grep 'default:group:adm'
`;

const MANAGE = `
useradd -m -u 1234 -s /bin/bash app; groupadd -g 777 team; usermod -aG team app
su app -c 'id; touch /home/app/mine; mkdir /home/app/dir'
install -d -o app -g team -m 2770 /srv/team; touch /srv/team/x; runuser -u app -- touch /srv/team/y
setfacl -m u:app:rwx /srv/team/y; cp /bin/true /srv/true; setcap cap_net_raw+ep /srv/true; mknod /srv/zero c 1 5
start-stop-daemon --start --chuid app --exec /usr/bin/touch -- /srv/team/started
mkdir /srv/x; tar -cf - home/app | tar -C /srv/x -xpf -; cp -a /srv/team /srv/copy
find /srv /home -xdev ! -name zero -exec stat -c 'owner %n %u:%g %a %F' {} + | sort
rm -rf /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid- /var/log/lastlog /var/log/faillog
`;

const AS_APP = 'id; cd; touch as-app; mkdir -p a/b; stat -c "owner %n %u:%g" as-app a/b';

interface Done {
  readonly digest?: string;
  readonly error?: unknown;
  readonly lines: readonly string[];
}

describe.runIf(canMakeUsers() && !lacks('bwrap', 'newuidmap'))('Debian packages', () => {
  let work: string;
  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), 'tsbuild-recorder-apt-'));
    chmodSync(work, 0o755);
    const fetch = createArchiveFetch();
    const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
    const plan = await resolveDebian(
      { suite: 'bookworm', architecture, packages: [] },
      { fetch, directory: work },
    );
    await downloadPackages(plan, { fetch, directory: work });
    await fetch.close();
    const packages = plan.packages.map(({ sha256 }) => ({ sha256, path: join(work, sha256) }));
    for (const { path } of packages) {
      chmodSync(path, 0o644);
    }
    const scripts = [
      { name: 'install', script: INSTALL },
      { name: 'manage', script: MANAGE },
      { name: 'as-app', script: AS_APP, user: 'app' },
    ];
    writeFileSync(join(work, 'plan.json'), JSON.stringify({ packages, steps: assemblySteps(plan), scripts }));
  }, ASSEMBLY_TIMEOUT_MS);
  afterAll(() => rmSync(work, { recursive: true, force: true }));

  const runAs = async (user: 'with-ids' | 'without-ids'): Promise<Record<string, Done>> => {
    const where = stage(user);
    try {
      const store = join(where.dir, 'store');
      const file = 'test/support/apt-scenario.ts';
      const { hello, ...layers } = (await runJson(
        where,
        file,
        store,
        'overlay',
        join(work, 'plan.json'),
      )) as Record<string, Done>;
      expect(hello).toMatchObject({ idMode: user === 'with-ids' ? 'multi' : 'single' });
      return layers;
    } finally {
      where.remove();
    }
  };

  test('have the same layers, and steps saw the same', { timeout: ASSEMBLY_TIMEOUT_MS }, async () => {
    const [recorded, real] = [await runAs('without-ids'), await runAs('with-ids')];
    const owners = ({ lines }: Done) => lines.filter((line) => /^(owner|uid=|default:)/.test(line));
    const seen = (layers: Record<string, Done>) =>
      Object.entries(layers).map(([name, done]) => ({
        name,
        digest: done.digest,
        error: done.error,
        owners: owners(done),
      }));
    expect(seen(real).map(({ name, error }) => [name, error])).toEqual(
      ['base', 'install', 'manage', 'as-app'].map((name) => [name, undefined]),
    );
    expect(owners(real.install as Done)).toContain('owner /usr/bin/at 1:1 6755');
    expect(seen(recorded)).toEqual(seen(real));
  });
});
