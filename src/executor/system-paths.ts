/** What of the system's own file trees (`/proc`, `/sys`, `/dev`) a sandbox hides, protects, or has from the host. */
import { accessSync, constants, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';

/**
 * As runc and Docker mask them, but for `thermal_throttle` of every processor, which would be hundreds of mounts: the first to read what tells of
 * others' work. And the kernel's pages, which only the host's root can read.
 */
const MASKED = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/kpagecgroup',
  '/proc/kpagecount',
  '/proc/kpageflags',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];
/**
 * bubblewrap means to do it for `/proc/sys` too, but asks access(2) whether the directory can be written, and it cannot;
 * the files in it can, by the host's root without any capability: `kernel.core_pattern` is a program that the host runs.
 */
const READ_ONLY = ['/proc/fs', '/proc/sys'];
/** What bubblewrap makes read-only in a fresh /proc where it could be written. */
export const COVERED = ['/proc/sys', '/proc/sysrq-trigger', '/proc/irq', '/proc/bus'];
/** In the sandbox's own /dev; the host's would lead to its terminals and its shared memory. */
const OWN_DEVICES = [
  'console',
  'core',
  'fd',
  'full',
  'mqueue',
  'null',
  'ptmx',
  'pts',
  'random',
  'shm',
  'stderr',
  'stdin',
  'stdout',
  'tty',
  'urandom',
  'zero',
];

export interface MaskedPath {
  readonly path: string;
  readonly kind: 'directory' | 'file';
}

let masked: readonly MaskedPath[] | undefined;
let readOnly: readonly string[] | undefined;

/** What a kernel has differs; asked once. */
export function maskedPaths(): readonly MaskedPath[] {
  masked ??= [...MASKED, ...mountedInSys()].filter(isReadable).map((path) => ({
    path,
    kind: statSync(path).isDirectory() ? 'directory' : 'file',
  }));
  return masked;
}

/** Every mount costs a step some tenths of a millisecond; what nobody in the sandbox could read needs none. */
function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** debugfs, tracefs, bpffs, efivarfs and whatever else is no part of sysfs: the host's root has no business there while it is a step's. */
function mountedInSys(): readonly string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith('/sys/') && !/^\/sys\/fs\/cgroup(\/|$)/.test(path))
    .filter((path) => !MASKED.some((covered) => path.startsWith(`${covered}/`)));
}

export function readOnlyPaths(): readonly string[] {
  readOnly ??= READ_ONLY.filter((path) => existsSync(path));
  return readOnly;
}

/**
 * The devices of the host one by one, not its directory: what is mounted below `/dev` must not leave a mountpoint on the host.
 * Nodes that the user may not open are of no use and no harm.
 */
export function hostDevices(): readonly string[] {
  return readdirSync('/dev', { withFileTypes: true })
    .filter(
      (entry) =>
        !OWN_DEVICES.includes(entry.name) &&
        (entry.isCharacterDevice() || entry.isBlockDevice() || entry.isDirectory()),
    )
    .map(({ name }) => `/dev/${name}`);
}
