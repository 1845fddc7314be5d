/**
 * Mountpoints that the image lacks. Making them in the changed tree would leave them in the layer and change the times of
 * their parents; so they come as one more layer directly below the changes (overlay), or are taken away again (copying).
 */
import { lstatSync, mkdirSync, rmdirSync, type Stats, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { DefinitionError } from '../errors.ts';
import { native } from '../native/addon.ts';
import type { Mountpoint } from './driver.ts';
import { type Resolved, resolveInTree } from './resolve.ts';

export interface Located {
  readonly mountpoint: Mountpoint;
  readonly resolved: Resolved;
}

/** Where the mountpoints are, or would be. @throws {DefinitionError} `E_MOUNT_TARGET` */
export function locate(root: string, mountpoints: readonly Mountpoint[]): readonly Located[] {
  return mountpoints.map((mountpoint) => {
    const resolved = resolveInTree(root, mountpoint.path);
    const { stat } = resolved;
    if (stat !== undefined && stat.isDirectory() !== (mountpoint.kind === 'directory')) {
      throw new DefinitionError(
        `cannot mount on '${mountpoint.path}': a ${mountpoint.kind} is needed, the image has something else there`,
        { code: 'E_MOUNT_TARGET' },
      );
    }
    return { mountpoint, resolved };
  });
}

/** The missing ones as a directory to be laid below the changes. Their existing parents look as they do in `root`. */
export function makeSkeleton(root: string, missing: readonly Located[], skeleton: string): void {
  const made = new Set(['/']);
  for (const { mountpoint, resolved } of missing) {
    const parts = resolved.path.split('/').filter(Boolean);
    let path = '';
    for (const [index, part] of parts.entries()) {
      path = `${path}/${part}`;
      if (made.has(path)) {
        continue;
      }
      made.add(path);
      if (index === parts.length - 1 && mountpoint.kind === 'file') {
        writeFileSync(join(skeleton, path), '', { mode: 0o644, flag: 'wx' });
        continue;
      }
      mkdirSync(join(skeleton, path), { mode: 0o755 });
      if (index < resolved.existing) {
        native().copyAttributes(join(root, path), join(skeleton, path));
      }
    }
  }
}

interface Made {
  readonly path: string;
  readonly kind: 'directory' | 'file';
  readonly parent: string;
  /** The parent's time before we came, and after. */
  readonly before: Stats;
  readonly after: Stats;
}

/** Makes what is missing in the changed tree itself. The result takes it away again, unless the step used it. */
export function makeInPlace(root: string, missing: readonly Located[]): () => void {
  const made: Made[] = [];
  for (const { mountpoint, resolved } of missing) {
    const parts = resolved.path.split('/').filter(Boolean);
    for (let depth = 1; depth <= parts.length; depth += 1) {
      const path = join(root, ...parts.slice(0, depth));
      if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
        continue;
      }
      const parent = posix.dirname(path);
      const before = lstatSync(parent);
      const kind = depth === parts.length ? mountpoint.kind : 'directory';
      if (kind === 'file') {
        writeFileSync(path, '', { mode: 0o644, flag: 'wx' });
      } else {
        mkdirSync(path, { mode: 0o755 });
      }
      made.push({ path, kind, parent, before, after: lstatSync(parent) });
    }
  }
  return () => {
    for (const { path, kind, parent, before, after } of made.reverse()) {
      const now = lstatSync(parent, { throwIfNoEntry: false });
      const self = lstatSync(path, { throwIfNoEntry: false });
      if (now === undefined || self === undefined || (kind === 'file' && self.size > 0)) {
        continue;
      }
      try {
        if (kind === 'file') {
          unlinkSync(path);
        } else {
          rmdirSync(path);
        }
      } catch {
        // It is not empty: the step put something in, which is the layer's.
        continue;
      }
      if (now.mtimeMs === after.mtimeMs) {
        utimesSync(parent, before.atime, before.mtimeMs / 1000);
      }
    }
  };
}
