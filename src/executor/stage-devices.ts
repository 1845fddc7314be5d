/**
 * What a step gets for its devices, beyond the nodes.
 *
 * Libraries of a driver are laid in a directory of their own, with the links that a loader looks for, and the loader is sent there
 * by `LD_LIBRARY_PATH`. NVIDIA's own hooks run ldconfig in the container instead; with libraries bound into its directories the
 * next package that does the same fails, and leaves links and empty files in the layer.
 */
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, posix } from 'node:path';
import { resolveInTree } from '../snapshot/resolve.ts';
import type { DeviceEdits } from './cdi.ts';
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
  /** `LD_LIBRARY_PATH` of the step, if it has one. */
  readonly libraryPath: string | undefined;
}

const COMPAT_DIR = '/usr/local/cuda/compat';
const NVIDIA_PARAMS = '/proc/driver/nvidia/params';

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
      .filter((mount) => !isLibrary(edits, mount))
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

export function stageDevices(edits: DeviceEdits, options: StageOptions): StagedDevices {
  const libraries = edits.mounts.filter((mount) => isLibrary(edits, mount));
  const mounts: StagedDevices['mounts'][number][] = [...deviceMounts(edits)];
  const env = new Map(edits.env);
  if (libraries.length > 0) {
    mkdirSync(options.dir, { mode: 0o755 });
    for (const { source, target } of libraries) {
      const name = basename(target);
      writeFileSync(join(options.dir, name), '', { mode: 0o644 });
      mounts.push({
        kind: 'bind',
        source,
        target: posix.join(options.target, name),
        readOnly: true,
        targetKind: 'file',
      });
    }
    for (const { source, target } of libraries) {
      linkOnce(options.dir, sonameOf(source), basename(target));
    }
    for (const { target, path } of edits.links.filter((link) => isStaged(edits, link))) {
      linkOnce(options.dir, basename(path), basename(target));
    }
    const own = env.get('LD_LIBRARY_PATH') ?? options.libraryPath;
    const paths = [
      ...(hasNewerCuda(options.root, edits.driverVersion) ? [COMPAT_DIR] : []),
      ...(own === undefined || own === '' ? [] : [own]),
      options.target,
    ];
    env.set('LD_LIBRARY_PATH', paths.join(':'));
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

function isLibrary({ libraryDirs }: DeviceEdits, mount: DeviceEdits['mounts'][number]): boolean {
  return (
    mount.sourceKind === 'file' &&
    libraryDirs.includes(dirname(mount.target)) &&
    /\.so(\.|$)/.test(basename(mount.target))
  );
}

function isStaged({ libraryDirs }: DeviceEdits, { path }: DeviceEdits['links'][number]): boolean {
  return libraryDirs.includes(dirname(path));
}

/** Elsewhere a link would stay in the layer; the file that it leads to is bound in its place. */
function otherLinks(edits: DeviceEdits): StagedDevices['mounts'] {
  const files = new Map(edits.mounts.map((mount) => [mount.target, mount]));
  return edits.links
    .filter((link) => !isStaged(edits, link))
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
