/** What of the system's own file trees (`/proc`, `/sys`, `/dev`) a sandbox hides, protects, or has from the host. */
import { existsSync, readdirSync, statSync } from 'node:fs';

/** As runc masks them. */
const MASKED = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/kcore',
  '/proc/keys',
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
  masked ??= MASKED.filter((path) => existsSync(path)).map((path) => ({
    path,
    kind: statSync(path).isDirectory() ? 'directory' : 'file',
  }));
  return masked;
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
