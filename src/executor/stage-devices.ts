/**
 * What a step gets for its devices, beyond the nodes.
 *
 * Libraries and programs of a driver are laid in directories of their own, with the links that a loader looks for; the loader is sent
 * there by `LD_LIBRARY_PATH`, the shell by `PATH`, and nobody else knows them. NVIDIA's own hooks run ldconfig in the container instead;
 * with libraries bound into its directories the next package that does the same fails, and leaves links and empty files in the layer
 * (docs/adr/0021-drivers-lent-to-steps.md).
 */
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, posix } from 'node:path';
import { resolveInTree } from '../snapshot/resolve.ts';
import type { DeviceEdits } from './device-edits.ts';
import { sonameOf } from './elf-soname.ts';
import type { SandboxMount } from './sandbox.ts';

export interface StagedDevices {
  readonly mounts: readonly (SandboxMount & { readonly targetKind: 'directory' | 'file' })[];
  /** Stands over what image and step say. */
  readonly env: readonly (readonly [name: string, value: string])[];
}

export interface StageOptions {
  /** Of the step, made here; what is in it is seen in the sandbox under `target`. */
  readonly dir: string;
  readonly target: string;
  /** The image. */
  readonly root: string;
  /** Of the step, without what its devices add. */
  readonly env: ReadonlyMap<string, string | Buffer>;
}

/** Where steps see what is staged. */
export const DEVICES_DIR = '/run/tsbuild/devices';
const LIBRARIES = 'lib64';
const PROGRAMS = 'bin';
/** Where loaders look without being told, in any image. */
const LOADER_DIR = /^(?:\/usr)?\/lib(?:64|32)?(?:\/[a-z0-9_]+-linux-gnu[a-z0-9]*)?$/;
const PROGRAM_DIRS = [
  '/bin',
  '/sbin',
  '/usr/bin',
  '/usr/sbin',
  '/usr/local/bin',
  '/usr/local/sbin',
  '/opt/bin',
];

const COMPAT_DIR = '/usr/local/cuda/compat';
/** Tells the driver's libraries to make no nodes. */
export const NVIDIA_PARAMS = '/proc/driver/nvidia/params';

/** What is mounted in the image's own directories, whose mountpoints must be there. */
export function deviceMounts(edits: DeviceEdits): StagedDevices['mounts'] {
  return [
    ...edits.nodes.map(({ source, target }) => ({
      kind: 'device' as const,
      source,
      target,
      readOnly: false,
      targetKind: 'file' as const,
    })),
    ...edits.mounts
      .filter((mount) => stagedIn(edits, mount) === undefined)
      .map(({ source, sourceKind, target, readOnly }) => ({
        kind: 'bind' as const,
        source,
        target,
        readOnly,
        targetKind: sourceKind,
      })),
    ...otherLinks(edits),
  ];
}

/** Where all of it is seen, for people: nodes, what is staged, and what is mounted in the image's own directories. */
export function lentFiles(
  edits: DeviceEdits,
): readonly { readonly source: string; readonly target: string }[] {
  return [
    ...edits.nodes,
    ...edits.mounts.map((mount) => {
      const part = stagedIn(edits, mount);
      return {
        source: mount.source,
        target: part === undefined ? mount.target : posix.join(DEVICES_DIR, part, basename(mount.target)),
      };
    }),
  ];
}

export function stageDevices(edits: DeviceEdits, options: StageOptions): StagedDevices {
  const mounts: StagedDevices['mounts'][number][] = [...deviceMounts(edits)];
  const env = new Map(edits.env);
  for (const [name, value] of edits.defaultEnv ?? []) {
    if (!env.has(name) && !options.env.has(name)) {
      env.set(name, value);
    }
  }
  const own = (name: string) => env.get(name) ?? options.env.get(name)?.toString() ?? '';
  const libraries = stage(LIBRARIES, edits, options, mounts);
  if (libraries !== undefined) {
    const compat = hasNewerCuda(options.root, edits.driverVersion) ? [COMPAT_DIR] : [];
    env.set('LD_LIBRARY_PATH', joined(...compat, own('LD_LIBRARY_PATH'), libraries));
  }
  const programs = stage(PROGRAMS, edits, options, mounts);
  if (programs !== undefined) {
    env.set('PATH', joined(own('PATH'), programs));
  }
  const params = edits.fixedNodes ? readIfThere(NVIDIA_PARAMS) : undefined;
  if (params !== undefined) {
    const source = `${options.dir}-params`;
    writeFileSync(source, params.replace(/^ModifyDeviceFiles: .*$/m, 'ModifyDeviceFiles: 0'), {
      mode: 0o444,
    });
    mounts.push({ kind: 'bind', source, target: NVIDIA_PARAMS, readOnly: true, targetKind: 'file' });
  }
  return { mounts, env: [...env] };
}

/** @returns Where it is in the sandbox; undefined when nothing belongs there. */
function stage(
  part: typeof LIBRARIES | typeof PROGRAMS,
  edits: DeviceEdits,
  options: StageOptions,
  mounts: StagedDevices['mounts'][number][],
): string | undefined {
  const files = filesOf(part, edits);
  if (files.length === 0) {
    return undefined;
  }
  const dir = join(options.dir, part);
  const target = posix.join(options.target, part);
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  const sources = new Map<string, string>();
  for (const { source, target: path } of files) {
    // Of two with one name the last counts, as for mounts, but no 32-bit library hides one that is not.
    if (!sources.has(basename(path)) || part === PROGRAMS || sonameOf(source) !== undefined) {
      sources.set(basename(path), source);
    }
  }
  for (const [name, source] of sources) {
    writeFileSync(join(dir, name), '', { mode: 0o644 });
    mounts.push({
      kind: 'bind',
      source,
      target: posix.join(target, name),
      readOnly: true,
      targetKind: 'file',
    });
  }
  if (part === LIBRARIES) {
    for (const [name, source] of sources) {
      linkOnce(dir, sonameOf(source), name);
    }
  }
  for (const link of edits.links.filter(({ path }) => partOf(edits, path) === part)) {
    linkOnce(dir, basename(link.path), basename(link.target));
  }
  return target;
}

/** What is staged there, and what links there lead to and lies elsewhere. */
function filesOf(
  part: typeof LIBRARIES | typeof PROGRAMS,
  edits: DeviceEdits,
): readonly { readonly source: string; readonly target: string }[] {
  const places = new Map(edits.mounts.map((mount) => [mount.target, mount]));
  const linked = edits.links
    .filter(({ path }) => partOf(edits, path) === part)
    .flatMap(({ target, path }) => {
      const mount = places.get(posix.resolve(dirname(path), target));
      return mount === undefined || mount.sourceKind === 'directory' || stagedIn(edits, mount) === part
        ? []
        : [{ source: mount.source, target: path }];
    });
  return [...edits.mounts.filter((mount) => stagedIn(edits, mount) === part), ...linked];
}

function stagedIn(
  edits: DeviceEdits,
  { sourceKind, target }: DeviceEdits['mounts'][number],
): typeof LIBRARIES | typeof PROGRAMS | undefined {
  const part = sourceKind === 'file' ? partOf(edits, target) : undefined;
  return part === LIBRARIES && !/\.so(\.|$)/.test(basename(target)) ? undefined : part;
}

function partOf({ libraryDirs }: DeviceEdits, path: string): typeof LIBRARIES | typeof PROGRAMS | undefined {
  const directory = dirname(path);
  if (libraryDirs.includes(directory) || LOADER_DIR.test(directory)) {
    return LIBRARIES;
  }
  return PROGRAM_DIRS.includes(directory) ? PROGRAMS : undefined;
}

function joined(...paths: readonly string[]): string {
  return paths.filter((path) => path !== '').join(':');
}

/** Elsewhere a link would stay in the layer; the file that it leads to is bound in its place. */
function otherLinks(edits: DeviceEdits): StagedDevices['mounts'] {
  const files = new Map(edits.mounts.map((mount) => [mount.target, mount]));
  return edits.links
    .filter(({ path }) => partOf(edits, path) === undefined)
    .flatMap(({ target, path }) => {
      const mount = files.get(posix.resolve(dirname(path), target));
      return mount === undefined
        ? []
        : [
            {
              kind: 'bind' as const,
              source: mount.source,
              target: path,
              readOnly: true,
              targetKind: mount.sourceKind,
            },
          ];
    });
}

function linkOnce(dir: string, name: string | undefined, target: string): void {
  if (name === undefined || name === target || name.includes('/') || readdirSync(dir).includes(name)) {
    return;
  }
  symlinkSync(target, join(dir, name));
}

/** Whether the devices have libraries and the image has musl, and no glibc beside it. @param root - The image. */
export function needsOtherLoader(root: string, edits: DeviceEdits): boolean {
  const names = (directory: string) => {
    const { path, stat } = resolveInTree(root, directory);
    return stat?.isDirectory() === true ? readdirSync(join(root, path)) : [];
  };
  return (
    edits.mounts.some((mount) => stagedIn(edits, mount) === LIBRARIES) &&
    names('/lib').some((name) => name.startsWith('ld-musl-')) &&
    ![...names('/lib'), ...names('/lib64')].some((name) => name.startsWith('ld-linux'))
  );
}

/** Whether the image brings `libcuda` of a later driver series than the host's. */
function hasNewerCuda(root: string, driverVersion: string | undefined): boolean {
  const { path, stat } = resolveInTree(root, COMPAT_DIR);
  if (driverVersion === undefined || stat === undefined || !stat.isDirectory()) {
    return false;
  }
  return readdirSync(join(root, path)).some(
    (name) => Number(/^libcuda\.so\.(\d+)\./.exec(name)?.[1] ?? 0) > Number.parseInt(driverVersion, 10),
  );
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
