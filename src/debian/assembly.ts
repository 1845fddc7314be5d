/**
 * How the packages of a plan become a root filesystem: steps as data, for whoever has a root and a sandbox.
 *
 * dpkg is not there yet when its own files are to be unpacked. debootstrap and mmdebstrap therefore unpack the base twice,
 * by hand and again with dpkg. Here the files are unpacked once, natively and in parallel, and registered as dpkg would
 * have left them; the packages' own scripts then run in the sandbox, in dpkg's order: every preinst, then
 * `dpkg --configure`.
 */
import type { DebianPlan, PlannedPackage } from './resolve.ts';

export interface SkeletonEntry {
  /** Relative to the root. Parents come first. */
  readonly path: string;
  readonly kind: 'directory' | 'symlink' | 'file';
  /** Of a directory or file. */
  readonly mode: number;
  /** Target of a symlink, content of a file. */
  readonly content: string;
}

export type AssemblyStep =
  /** Make these in the empty root, owned by root. */
  | { readonly kind: 'skeleton'; readonly entries: readonly SkeletonEntry[] }
  /** `native.unpackDebs` with these, in this order. */
  | {
      readonly kind: 'unpack';
      readonly packages: readonly { name: string; sha256: string; mayDefer: boolean }[];
    }
  /** Run in the sandbox, as root, in `/`, with exactly this environment, umask 022, no standard input, no network. */
  | {
      readonly kind: 'exec';
      readonly description: string;
      readonly argv: readonly string[];
      readonly env: Readonly<Record<string, string>>;
    }
  /** `native.clampTimes`. */
  | { readonly kind: 'clamp'; readonly epochSeconds: number };

/**
 * The steps, to be done in order on an empty directory of mode 0755 that belongs to root. The result depends on the
 * plan alone.
 */
export function assemblySteps(plan: DebianPlan): readonly AssemblyStep[] {
  const env = environment(plan);
  const exec = (description: string, script: string): AssemblyStep => ({
    kind: 'exec',
    description,
    argv: ['/bin/sh', '-euc', script],
    env,
  });
  return [
    { kind: 'skeleton', entries: skeleton(plan) },
    {
      kind: 'unpack',
      packages: unpackOrder(plan).map(({ name, sha256, minbase }) => ({ name, sha256, mayDefer: !minbase })),
    },
    exec('configure the packages', configureScript(plan)),
    exec('clean up', cleanScript(plan)),
    { kind: 'clamp', epochSeconds: plan.releaseDate },
  ];
}

/** base-files decides about the directories of the system; after it the base, then the rest, by name. */
function unpackOrder(plan: DebianPlan): readonly PlannedPackage[] {
  const rank = (one: PlannedPackage) => (one.name === 'base-files' ? 0 : one.minbase ? 1 : 2);
  return [...plan.packages].sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
}

const POLICY_RC_D = 'usr/sbin/policy-rc.d';

function skeleton(plan: DebianPlan): SkeletonEntry[] {
  const directory = (path: string): SkeletonEntry => ({ path, kind: 'directory', mode: 0o755, content: '' });
  const file = (path: string, content: string, mode = 0o644): SkeletonEntry => ({
    path,
    kind: 'file',
    mode,
    content,
  });
  // /usr is merged from the first file on: bookworm's packages still ship /bin and /lib, trixie's the links themselves.
  const merged = ['bin', 'lib', 'sbin', ...(plan.architecture === 'amd64' ? ['lib64'] : [])];
  return [
    directory('usr'),
    ...merged.map((name) => directory(`usr/${name}`)),
    ...merged.map(
      (name): SkeletonEntry => ({
        path: name,
        kind: 'symlink',
        mode: 0o777,
        content: `usr/${name}`,
      }),
    ),
    ...['etc', 'etc/apt', 'etc/apt/sources.list.d', 'var', 'var/lib', 'var/lib/dpkg'].map(directory),
    file('etc/apt/sources.list.d/debian.sources', aptSources(plan)),
    file('var/lib/dpkg/arch', `${plan.architecture}\n`),
    // No service is started while packages are configured.
    file(POLICY_RC_D, '#!/bin/sh\nexit 101\n', 0o755),
  ];
}

/**
 * Where apt finds more packages later. The mirror that the base was fetched from is not written down: it is a matter of
 * the machine that builds, not of the image.
 */
export function aptSources(plan: DebianPlan): string {
  const { codename, components, hasUpdates, snapshot } = plan;
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
  const base = (archive: string) =>
    snapshot === undefined
      ? `http://deb.debian.org/${archive}`
      : `http://snapshot.debian.org/archive/${archive}/${snapshot}`;
  const stanza = (uri: string, suites: string) =>
    [
      'Types: deb',
      `URIs: ${uri}`,
      `Suites: ${suites}`,
      `Components: ${components.join(' ')}`,
      `Signed-By: ${keyring}`,
      // A snapshot's release files have expired by intention.
      ...(snapshot === undefined ? [] : ['Check-Valid-Until: no']),
      '',
    ].join('\n');
  return hasUpdates
    ? [
        stanza(base('debian'), `${codename} ${codename}-updates`),
        stanza(base('debian-security'), `${codename}-security`),
      ].join('\n')
    : stanza(base('debian'), codename);
}

function environment(plan: DebianPlan): Readonly<Record<string, string>> {
  return {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    LC_ALL: 'C.UTF-8',
    DEBIAN_FRONTEND: 'noninteractive',
    DEBCONF_NONINTERACTIVE_SEEN: 'true',
    DEBCONF_NOWARNINGS: 'yes',
    // Dates in /etc/shadow, in generated caches.
    SOURCE_DATE_EPOCH: String(plan.releaseDate),
    // Orders that depend on where things lie in a hash table.
    PYTHONHASHSEED: '0',
    PERL_HASH_SEED: '0',
  };
}

/**
 * Preinst scripts of debhelper that call these helpers do nothing on a first installation (they compare with the version
 * before, and there is none), so starting a shell and perl for each is saved: two thirds of all preinsts.
 */
const PREINST_NOTHING =
  "''|'#'*|'set -e'|'exit 0'|'dpkg-maintscript-helper rm_conffile '*|'dpkg-maintscript-helper mv_conffile '*|" +
  "'dpkg-maintscript-helper symlink_to_dir '*|'dpkg-maintscript-helper dir_to_symlink '*";

/** One shell for everything: a sandbox costs more than a script. */
function configureScript(plan: DebianPlan): string {
  const base = unpackOrder(plan).filter((one) => one.minbase);
  const extra = preDependsFirst(plan.packages.filter((one) => !one.minbase));
  const isBase = new Set(base.map((one) => one.name));
  // base-passwd's makes /etc/passwd, which others need.
  const first = base.filter((one) => one.name === 'base-passwd');
  const preinst = (one: PlannedPackage) => {
    const needed = one.preDepends.filter((name) => !isBase.has(name));
    return `preinst ${one.name} ${one.architecture} ${needed.join(' ')}`.trimEnd();
  };
  const dpkgVersion = plan.packages.find((one) => one.name === 'dpkg')?.version.replace(/^\d+:|-[^-]*$/g, '');
  return [
    // What dpkg tells a preinst: see dpkg(1), "ENVIRONMENT", "Internal environment".
    `export DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= DPKG_RUNNING_VERSION=${dpkgVersion ?? ''}`,
    'deferred=" "',
    'preinst() {',
    '  package=$1 arch=$2; shift 2',
    '  case $deferred in *" $package "*) return 0 ;; esac',
    '  script=/var/lib/dpkg/info/$package.preinst',
    '  [ -e "$script" ] || script=/var/lib/dpkg/info/$package:$arch.preinst',
    '  [ -e "$script" ] || return 0',
    '  while IFS= read -r line; do',
    `    case $line in ${PREINST_NOTHING}) ;; *) line=more; break ;; esac`,
    '  done < "$script"',
    '  [ "$line" = more ] || return 0',
    '  [ $# = 0 ] || dpkg --configure "$@"',
    '  echo "Running the preinst of $package ..."',
    '  DPKG_MAINTSCRIPT_PACKAGE=$package DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_MAINTSCRIPT_ARCH=$arch \\',
    '    DPKG_MAINTSCRIPT_NAME=preinst "$script" install || {',
    '      echo "the preinst of $package failed" >&2; exit 1; }',
    '}',
    ...[...first, ...base.filter((one) => !first.includes(one))].map(preinst),
    ...(extra.length === 0
      ? []
      : [
          // The scripts of other packages may rely on a working base.
          `dpkg --configure ${base.map((one) => one.name).join(' ')}`,
          'if [ -d /var/tmp/tsbuild-deferred ]; then',
          // Their preinst moves files of other packages out of the way of their own: only dpkg keeps that order. What
          // they depend on is there, if not configured; that they are themselves needed by others is why they come first.
          '  dpkg --force-unsafe-io --force-depends --unpack /var/tmp/tsbuild-deferred/*.deb',
          '  for file in /var/tmp/tsbuild-deferred/*.deb; do',
          '    deferred="$deferred$(dpkg-deb --field "$file" Package) "',
          '  done',
          '  rm -r /var/tmp/tsbuild-deferred',
          'fi',
          ...extra.map(preinst),
        ]),
    'dpkg --configure -a',
    'audit=$(dpkg --audit); [ -z "$audit" ] || { echo "$audit" >&2; exit 1; }',
  ].join('\n');
}

/** Stable; a cycle, which Policy forbids, is broken anywhere. */
function preDependsFirst(packages: readonly PlannedPackage[]): readonly PlannedPackage[] {
  const byName = new Map(packages.map((one) => [one.name, one]));
  const ordered = new Set<PlannedPackage>();
  const visiting = new Set<PlannedPackage>();
  const visit = (one: PlannedPackage) => {
    if (visiting.has(one)) {
      return;
    }
    visiting.add(one);
    for (const name of one.preDepends) {
      const needed = byName.get(name);
      if (needed !== undefined) {
        visit(needed);
      }
    }
    ordered.add(one);
  };
  packages.forEach(visit);
  return [...ordered];
}

/** Shell patterns of what tells one build from another, or is of no use in an image. */
export const REMOVED: readonly string[] = [
  `/${POLICY_RC_D}`,
  // Logs of this installation. Empty ones that packages made (wtmp and others) stay, emptied.
  '/var/log/alternatives.log',
  '/var/log/apt/*',
  '/var/log/bootstrap.log',
  '/var/log/dpkg.log',
  // Caches that their programs rebuild.
  '/var/cache/apt/*.bin',
  '/var/cache/apt/archives/*.deb',
  '/var/cache/ldconfig/aux-cache',
  '/var/lib/apt/lists/*_*',
  // Backups of files that were never different, and locks.
  '/etc/.pwd.lock',
  '/etc/group-',
  '/etc/gshadow-',
  '/etc/passwd-',
  '/etc/shadow-',
  '/etc/subgid-',
  '/etc/subuid-',
  '/var/cache/debconf/*-old',
  '/var/lib/dpkg/*-old',
  '/var/lib/dpkg/lock*',
  '/var/lib/dpkg/triggers/Lock',
  // Identities: each container must have its own.
  '/etc/ssh/ssh_host_*_key',
  '/etc/ssh/ssh_host_*_key.pub',
  '/etc/ssl/certs/ssl-cert-snakeoil.pem',
  '/etc/ssl/private/ssl-cert-snakeoil.key',
  '/var/lib/dbus/machine-id',
  '/var/lib/systemd/credential.secret',
  '/var/lib/systemd/random-seed',
  '/root/.cache',
  '/tmp/*',
  '/tmp/.[!.]*',
  '/var/tmp/*',
  '/var/tmp/.[!.]*',
];

/** Emptied where they exist: programs want to find them. An empty machine-id makes systemd ask for a new one. */
export const EMPTIED: readonly string[] = [
  '/etc/machine-id',
  '/var/log/btmp',
  '/var/log/faillog',
  '/var/log/lastlog',
  '/var/log/wtmp',
];

function cleanScript(_plan: DebianPlan): string {
  return [
    `rm -rf -- ${REMOVED.join(' ')}`,
    `for file in ${EMPTIED.join(' ')}; do [ ! -s "$file" ] || : > "$file"; done`,
  ].join('\n');
}
