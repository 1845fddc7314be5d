/** What `doctor` shows: each thing that builds need is tried, not read about, and each failure comes with what mends it. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, statfsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { Isolation } from '../base/isolation.ts';
import { TsbuildError } from '../errors.ts';
import { native } from '../native/addon.ts';
import { launcherPath } from '../native/launcher-path.ts';
import { PROBE_ARGUMENTS } from './bubblewrap.ts';
import { CDI_DIRS } from './cdi.ts';
import { DELEGATION_FIX, findCgroupPlace } from './cgroup-place.ts';
import { type EmulationHost, executablePlatforms, THIS_MACHINE } from './emulation.ts';
import type { DeviceSources } from './find-devices.ts';
import { checkMachine } from './private-network.ts';
import { probeDevices } from './probe-gpu.ts';
import { type FoundIsolation, probeIsolations } from './probe-isolation.ts';
import { probeRuntime } from './probe-runtime.ts';
import { keptLimits } from './step-cgroup.ts';

export interface HostCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** The one command or setting that mends it. */
  readonly fix?: string;
  /** False: builds work without it. */
  readonly required: boolean;
  /** More of it, for those who asked. */
  readonly lines?: readonly string[];
}

export interface ProbeOptions {
  /** @defaultValue process.env */
  readonly env?: NodeJS.ProcessEnv;
  /** @defaultValue the directories of the Container Device Interface, and `/` */
  readonly deviceSources?: DeviceSources;
  /** All of GPUs. @defaultValue false */
  readonly wholeGpu?: boolean;
}

const MIN_FREE_BYTES = 2 * 1024 ** 3;
const PROBE_TIMEOUT_MS = 10_000;

export async function probeHost({
  env = process.env,
  deviceSources = { cdiDirs: CDI_DIRS, driverRoot: '/' },
  wholeGpu = false,
}: ProbeOptions = {}): Promise<readonly HostCheck[]> {
  const checks: HostCheck[] = [];
  const launcher = probeNative(checks);
  if (launcher !== undefined) {
    const found = probeIsolations(checks, launcher, tryBubblewrap);
    if (found !== undefined) {
      const runtimes = [probeRuntime('runc', launcher), probeRuntime('crun', launcher)];
      const bubblewrap = tryBubblewrap(launcher, found.isolation);
      // One is enough.
      checks.push({ ...bubblewrap, required: bubblewrap.required && !runtimes.some(({ ok }) => ok) });
      checks.push(...runtimes);
      probeConfinement(checks);
      probeOverlay(checks, launcher, found, storeDirOf(env));
    }
  }
  checks.push(...(await probeDevices({ ...deviceSources, whole: wholeGpu })), probePlatforms());
  checks.push(probeLimits(), probePasta());
  probeDisk(checks, storeDirOf(env));
  return checks;
}

function probeNative(checks: HostCheck[]): string | undefined {
  try {
    const path = launcherPath();
    checks.push({ name: 'native helper', ok: true, detail: path, required: true });
    return path;
  } catch (error) {
    const fix = error instanceof TsbuildError ? error.hint : undefined;
    checks.push({
      name: 'native helper',
      ok: false,
      detail: (error as Error).message,
      required: true,
      ...(fix === undefined ? {} : { fix }),
    });
    return undefined;
  }
}

function tryBubblewrap(launcher: string, isolation: Isolation): HostCheck {
  // Without it the launcher makes the sandbox itself.
  const required = isolation !== 'chroot';
  const version = spawnSync('bwrap', ['--version'], { encoding: 'utf8' });
  if (version.error !== undefined) {
    return {
      name: 'bubblewrap',
      ok: false,
      detail: 'not installed',
      fix: 'sudo apt-get install bubblewrap',
      required,
    };
  }
  const tried = spawnSync(launcher, ['--', '/usr/bin/env', 'bwrap', ...PROBE_ARGUMENTS, 'true'], {
    encoding: 'utf8',
    timeout: PROBE_TIMEOUT_MS,
  });
  const ok = tried.status === 0;
  return {
    name: 'bubblewrap',
    ok,
    detail: ok ? version.stdout.trim() : tried.stderr.trim().slice(-500),
    required,
    ...(ok ? {} : { fix: 'start the container with --security-opt seccomp=unconfined' }),
  };
}

function probeConfinement(checks: HostCheck[]): void {
  const { seccomp, scopes } = native().confinement();
  checks.push(
    {
      name: 'seccomp',
      ok: seccomp,
      detail: seccomp
        ? 'steps get the system calls of a profile'
        : 'the kernel has no filters: steps get every system call',
      required: false,
      ...(seccomp ? {} : { fix: 'a kernel with CONFIG_SECCOMP_FILTER' }),
    },
    {
      name: 'landlock scopes',
      ok: scopes,
      detail: scopes
        ? 'steps reach no abstract socket and no process of others'
        : 'steps with the network of the host reach its abstract sockets',
      required: false,
      ...(scopes
        ? {}
        : { fix: 'Linux 6.12 or later with landlock among its lsm=; or --network=none for steps' }),
    },
  );
}

function probeOverlay(
  checks: HostCheck[],
  launcher: string,
  { root }: FoundIsolation,
  storeDir: string,
): void {
  const script = `
    d=$(mktemp -d "$1/tmp/probe-XXXXXX") && mkdir "$d/l" "$d/u" "$d/w" "$d/m" &&
    mount -t overlay overlay -o "$2lowerdir=$d/l,upperdir=$d/u,workdir=$d/w" "$d/m"
    status=$?; umount "$d/m" 2>/dev/null; rm -rf "$d"; exit $status`;
  let tried: ReturnType<typeof spawnSync>;
  try {
    mkdirSync(join(storeDir, 'tmp'), { recursive: true, mode: 0o700 });
    const options = root ? '' : 'userxattr,';
    tried = spawnSync(launcher, ['--', '/bin/sh', '-c', script, 'sh', storeDir, options], {
      encoding: 'utf8',
      timeout: PROBE_TIMEOUT_MS,
    });
  } catch (error) {
    checks.push({ name: 'overlay', ok: false, detail: (error as Error).message, required: false });
    return;
  }
  const ok = tried.status === 0;
  checks.push({
    name: 'overlay',
    ok,
    detail: ok ? `mounts on ${storeDir}` : String(tried.stderr).trim().slice(-500),
    required: false,
    ...(ok
      ? {}
      : { fix: 'set TSBUILD_HOME to a directory on ext4, xfs or btrfs; layers are copied otherwise' }),
  });
}

/** Which limits of steps can be kept. */
function probeLimits(): HostCheck {
  const { place, restore } = findCgroupPlace();
  restore();
  const kept = keptLimits(place);
  const ok = place.reason === '';
  return {
    name: 'limits',
    ok,
    detail: ok
      ? `${kept.join(', ')}, by control groups of version ${place.version}`
      : `${kept.length === 0 ? 'none' : kept.join(', ')}: ${place.reason}`,
    required: false,
    ...(ok ? {} : { fix: DELEGATION_FIX }),
  };
}

function probePasta(): HostCheck {
  const check = { name: 'private network', required: false };
  if (spawnSync('pasta', ['--version']).error !== undefined) {
    return { ...check, ok: false, detail: 'pasta is not installed', fix: 'sudo apt-get install passt' };
  }
  try {
    checkMachine();
    return { ...check, ok: true, detail: 'by pasta' };
  } catch (error) {
    const { message, hint } = error as TsbuildError;
    return { ...check, ok: false, detail: message, ...(hint === undefined ? {} : { fix: hint }) };
  }
}

/** Of which platforms steps can be run. Images that only hold files are built for any. */
export function probePlatforms(host: EmulationHost = THIS_MACHINE): HostCheck {
  const platforms = executablePlatforms(host).map(({ platform, execution }) =>
    execution.kind === 'emulated'
      ? `${platform} (by ${execution.interpreter})`
      : execution.kind === 'emulated-from-image'
        ? `${platform} (by ${execution.interpreter}, where the image has it)`
        : platform,
  );
  return { name: 'platforms', ok: true, detail: platforms.join(', '), required: false };
}

function probeDisk(checks: HostCheck[], storeDir: string): void {
  try {
    mkdirSync(storeDir, { recursive: true, mode: 0o700 });
    const { bavail, bsize } = statfsSync(storeDir);
    const free = bavail * bsize;
    const ok = free >= MIN_FREE_BYTES;
    checks.push({
      name: 'disk space',
      ok,
      detail: `${(free / 1024 ** 3).toFixed(1)} GiB free for ${storeDir}`,
      required: true,
      ...(ok ? {} : { fix: '`tsbuild prune`, or set TSBUILD_HOME to a larger disk' }),
    });
  } catch (error) {
    checks.push({
      name: 'disk space',
      ok: false,
      detail: (error as Error).message,
      fix: 'set TSBUILD_HOME to a directory that you may write to',
      required: true,
    });
  }
}

function storeDirOf(env: NodeJS.ProcessEnv): string {
  return (
    env.TSBUILD_HOME ||
    join(env.XDG_DATA_HOME || join(env.HOME || userInfo().homedir, '.local/share'), 'tsbuild')
  );
}
