/** What sandboxes of ours and bubblewrap's show, as the launcher is told (native/crates/launcher, `mounts.rs`): in order, on a root. */
import { BASIC_DEVICES, type OwnDevices } from './own-devices.ts';
import type { SandboxMount, SandboxSpec } from './sandbox.ts';
import { hostDevices, maskedPaths } from './system-paths.ts';

/** All but `/proc`, which belongs to whoever makes the pid namespace. */
export function mountWords(spec: SandboxSpec, devices: OwnDevices | undefined): string[] {
  const nodeOf = (path: string) => devices?.pathOf(path) ?? path;
  const insecure = spec.insecure === true;
  const { sys, cgroupView } = spec.place;
  return [
    ...deviceWords(nodeOf, spec.shmSizeBytes),
    ...[insecure ? '--bind' : '--ro-bind', sys, '/sys'],
    ...(cgroupView === undefined ? [] : ['--ro-bind', cgroupView, '/sys/fs/cgroup']),
    ...(insecure
      ? hostDevices().flatMap((path) => ['--device', path, path])
      : hidingWords((path) => path.startsWith('/sys/'))),
    ...spec.mounts.flatMap((mount) => wordsOf(mount, nodeOf)),
  ];
}

/** Hides what {@link maskedPaths} names. */
export function hidingWords(which: (path: string) => boolean): string[] {
  return maskedPaths()
    .filter(({ path }) => which(path))
    .flatMap(({ path, kind }) =>
      kind === 'directory' ? ['--read-only-tmpfs', path] : ['--ro-bind', '/dev/null', path],
    );
}

/** Its own, like that of other sandboxes: the machine's would show its disks, and shared memory is for writing. */
function deviceWords(nodeOf: (path: string) => string, shmSizeBytes: number | undefined): string[] {
  return [
    ...['--tmpfs', '755', '0', '/dev'],
    ...BASIC_DEVICES.flatMap((name) => ['--device', nodeOf(`/dev/${name}`), `/dev/${name}`]),
    ...[
      ['/proc/self/fd', '/dev/fd'],
      ['/proc/self/fd/0', '/dev/stdin'],
      ['/proc/self/fd/1', '/dev/stdout'],
      ['/proc/self/fd/2', '/dev/stderr'],
      ['/proc/kcore', '/dev/core'],
      ['pts/ptmx', '/dev/ptmx'],
    ].flatMap((link) => ['--link', ...link]),
    ...['--terminals', '/dev/pts'],
    // A part of `/dev`, unless its size is given.
    ...(shmSizeBytes === undefined
      ? ['--directory', '1777', '/dev/shm']
      : ['--tmpfs', '1777', String(shmSizeBytes), '/dev/shm']),
  ];
}

function wordsOf(mount: SandboxMount, nodeOf: (path: string) => string): string[] {
  switch (mount.kind) {
    case 'tmpfs':
      return ['--tmpfs', '1777', String(mount.sizeBytes ?? 0), mount.target];
    case 'bind':
      return [mount.readOnly ? '--ro-bind' : '--bind', mount.source ?? '', mount.target];
    case 'device':
      return ['--device', nodeOf(mount.source ?? ''), mount.target];
  }
}
