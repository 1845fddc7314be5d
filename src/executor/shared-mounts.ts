/**
 * Mounts within a cache or a volume that other programs have too. Whoever finds a mountpoint by its path is led astray by one that puts a link in the
 * way in the last moment, and what makes the sandbox sees the host while it mounts. So these are mounted by the worker, on what it has found and holds.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { native } from '../native/addon.ts';
import type { SandboxMount } from './sandbox.ts';

export interface Staged {
  /** What to bind, with what is mounted in it. */
  readonly source: string;
  /** Mounts at a path within it. @throws of `moveMountWithin` */
  mount(mount: SandboxMount & { readonly targetKind: 'directory' | 'file' }, within: string): Staged;
}

/**
 * A place of our own on which `mount` is.
 *
 * @param place - Gives a path that is not there yet.
 * @param held - Gets what takes it away again.
 */
export function stageMount(
  mount: SandboxMount & { readonly targetKind: 'directory' | 'file' },
  place: () => string,
  held: (() => void)[],
): Staged {
  const source = mountAt(mount, place());
  held.push(() => native().unmount(source, true));
  const within = (root: string): Staged => ({
    source: `${source}${root}`,
    mount: (inner, path) => {
      const from = mountAt(inner, place());
      try {
        native().moveMountWithin(from, source, `${root}${path}`, inner.targetKind === 'directory');
      } catch (error) {
        native().unmount(from, true);
        throw error;
      }
      return within(`${root}${path}`);
    },
  });
  return within('');
}

function mountAt(
  { kind, source, readOnly, sizeBytes, targetKind }: Parameters<Staged['mount']>[0],
  path: string,
): string {
  if (targetKind === 'directory') {
    mkdirSync(path, { mode: 0o700 });
  } else {
    writeFileSync(path, '', { mode: 0o600, flag: 'wx' });
  }
  if (kind === 'tmpfs') {
    native().mountTmpfs(path, 0o1777, sizeBytes);
  } else {
    native().mountBind(source ?? '', path, readOnly, true);
  }
  return path;
}
