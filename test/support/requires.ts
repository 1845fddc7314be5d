/** Skips are for machines that lack something, never for CI: there `TSBUILD_TEST_NO_SKIPS` makes them failures. */
import { execFileSync } from 'node:child_process';

const CHECKS = {
  root: () => process.getuid?.() === 0,
  bwrap: () => has('bwrap'),
  newuidmap: () => has('newuidmap'),
  busybox: () => has('busybox'),
  skopeo: () => has('skopeo'),
  umoci: () => has('umoci'),
  'docker-registry': () => has('docker-registry'),
  mmdebstrap: () => has('mmdebstrap'),
  buildah: () => has('buildah'),
  openssl: () => has('openssl'),
  getfattr: () => has('getfattr'),
  setcap: () => has('setcap'),
  script: () => has('script'),
  'ssh-agent': () => has('ssh-agent') && has('ssh-add') && has('ssh-keygen'),
  podman: () => has('podman'),
  git: () => has('git'),
  python3: () => has('python3') && has('ldd') && has('zstd'),
  'qemu-aarch64-static': () => has('qemu-aarch64-static'),
} as const;

export type Requirement = keyof typeof CHECKS;

/**
 * For `describe.skipIf(lacks(…))`: why the tests cannot run here, or undefined.
 *
 * @throws when something lacks and skipping is forbidden.
 */
export function lacks(...requirements: readonly Requirement[]): boolean {
  const missing = requirements.filter((requirement) => !CHECKS[requirement]());
  if (missing.length > 0 && process.env.TSBUILD_TEST_NO_SKIPS === '1') {
    throw new Error(`this machine lacks ${missing.join(', ')}, and no test may be skipped`);
  }
  if (missing.length > 0) {
    console.warn(`skipped: this machine lacks ${missing.join(', ')}`);
  }
  return missing.length > 0;
}

function has(program: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
