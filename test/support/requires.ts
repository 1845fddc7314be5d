/**
 * Skips are for machines that lack something, never for CI: there `TSBUILD_TEST_NO_SKIPS` makes them failures. Only what no package
 * brings is skipped there too, with its reason printed, and counted like any other skip.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { findCgroupPlace } from '../../src/executor/cgroup-place.ts';

const CHECKS = {
  root: () => process.getuid?.() === 0,
  bwrap: () => has('bwrap'),
  runc: () => has('runc'),
  crun: () => has('crun'),
  newuidmap: () => has('newuidmap'),
  busybox: () => has('busybox'),
  'mkfs.xfs': () => has('mkfs.xfs'),
  skopeo: () => has('skopeo'),
  umoci: () => has('umoci'),
  'docker-registry': () => has('docker-registry'),
  mmdebstrap: () => has('mmdebstrap'),
  buildah: () => has('buildah'),
  openssl: () => has('openssl'),
  getfattr: () => has('getfattr'),
  setcap: () => has('setcap'),
  setfacl: () => has('setfacl'),
  setpriv: () => has('setpriv'),
  script: () => has('script'),
  'ssh-agent': () => has('ssh-agent') && has('ssh-add') && has('ssh-keygen'),
  podman: () => has('podman'),
  git: () => has('git'),
  cc: () => has('cc'),
  pasta: () => has('pasta'),
  'user-mode-linux': () => has('linux.uml'),
  cgroups: () => {
    const { place, restore } = findCgroupPlace();
    restore();
    return place.reason === '';
  },
  python3: () => has('python3') && has('ldd') && has('zstd'),
  'qemu-aarch64-static': () => has('qemu-aarch64-static'),
  'default-route': () => /^\S+\t00000000\t/m.test(readFileSync('/proc/net/route', 'utf8')),
  'nvidia-gpu': () =>
    ['nvidiactl', 'nvidia-uvm'].every(isDevice) &&
    readdirSync('/dev').some((name) => /^nvidia\d+$/.test(name)),
} as const;

export type Requirement = keyof typeof CHECKS;

/** What no package brings. */
const OF_THE_MACHINE: readonly Requirement[] = ['nvidia-gpu', 'cgroups', 'default-route'];

/**
 * For `describe.skipIf(lacks(…))`: why the tests cannot run here, or undefined.
 *
 * @throws when something lacks and skipping is forbidden.
 */
export function lacks(...requirements: readonly Requirement[]): boolean {
  const missing = requirements.filter((requirement) => !CHECKS[requirement]());
  const mended = missing.filter((requirement) => !OF_THE_MACHINE.includes(requirement));
  if (mended.length > 0 && process.env.TSBUILD_TEST_NO_SKIPS === '1') {
    throw new Error(`this machine lacks ${mended.join(', ')}, and no test may be skipped`);
  }
  if (missing.length > 0) {
    console.warn(`skipped: this machine lacks ${missing.join(', ')}`);
  }
  return missing.length > 0;
}

function isDevice(name: string): boolean {
  return statSync(`/dev/${name}`, { throwIfNoEntry: false })?.isCharacterDevice() === true;
}

function has(program: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
