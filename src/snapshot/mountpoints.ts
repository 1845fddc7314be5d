/**
 * Mountpoints that the image lacks. Making them in the changed tree would leave them in the layer and change the times of
 * their parents. So they come as one more layer at the very bottom, where whatever the image has goes before it; where the
 * image's links lead elsewhere, as one directly below the changes; and without overlay they are taken away again afterwards.
 */
import { existsSync, lstatSync, mkdirSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
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
    const { stat, existing } = resolved;
    const parent = resolved.path
      .split('/')
      .slice(0, existing + 1)
      .join('/');
    if (stat === undefined && !lstatSync(join(root, parent)).isDirectory()) {
      throw new DefinitionError(
        `cannot mount on '${mountpoint.path}': '${parent}' of the image is not a directory`,
        { code: 'E_MOUNT_TARGET' },
      );
    }
    if (stat !== undefined && stat.isDirectory() !== (mountpoint.kind === 'directory')) {
      throw new DefinitionError(
        `cannot mount on '${mountpoint.path}': a ${mountpoint.kind} is needed, the image has something else there`,
        { code: 'E_MOUNT_TARGET' },
      );
    }
    return { mountpoint, resolved };
  });
}

/** A layer that goes below all others and holds nothing but mountpoints. */
export function makeBottomSkeleton(mountpoints: readonly Mountpoint[], skeleton: string): void {
  for (const { path, kind } of mountpoints) {
    const place = join(skeleton, posix.normalize(`/${path}`));
    mkdirSync(kind === 'directory' ? place : dirname(place), { recursive: true, mode: 0o755 });
    if (kind === 'file' && !existsSync(place)) {
      writeFileSync(place, '', { mode: 0o644 });
    }
  }
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
}

/** Makes what is missing in the changed tree itself. The result takes it away again, unless the step used it. */
export function makeInPlace(root: string, missing: readonly Located[]): () => void {
  const made: Made[] = [];
  /** Times of parents that were there before us. */
  const before = new Map<string, bigint>();
  for (const { mountpoint, resolved } of missing) {
    const parts = resolved.path.split('/').filter(Boolean);
    for (let depth = 1; depth <= parts.length; depth += 1) {
      const path = join(root, ...parts.slice(0, depth));
      if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
        continue;
      }
      const parent = dirname(path);
      if (!before.has(parent) && !made.some((one) => one.path === parent)) {
        before.set(parent, mtimeOf(parent));
      }
      const kind = depth === parts.length ? mountpoint.kind : 'directory';
      if (kind === 'file') {
        writeFileSync(path, '', { mode: 0o644, flag: 'wx' });
      } else {
        mkdirSync(path, { mode: 0o755 });
      }
      made.push({ path, kind, parent });
    }
  }
  // At once, so that the step too sees the time that was.
  for (const [parent, time] of before) {
    native().setMtime(parent, String(time));
  }
  return () => {
    // A parent that the step changed keeps the time of that; taking away what was made must not be seen either.
    const times = [...before.keys()]
      .filter((parent) => leadsNowhereElse(root, parent))
      .map((parent) => [parent, mtimeOf(parent)] as const);
    for (const one of made.reverse()) {
      if (leadsNowhereElse(root, one.parent)) {
        takeAway(one);
      }
    }
    for (const [parent, time] of times) {
      native().setMtime(parent, String(time));
    }
  };
}

/**
 * Whether the directory `path`, which is below `root`, is still there and no part of it a link by now. A step may put
 * a link or a file in the place of a directory that holds a mountpoint; what was made there has gone with the
 * directory, and the link may lead out of the root.
 */
function leadsNowhereElse(root: string, path: string): boolean {
  const inside = path.slice(root.length) || '/';
  const { path: real, stat } = resolveInTree(root, inside);
  return real === inside && stat !== undefined && stat.isDirectory();
}

function takeAway({ path, kind }: Made): void {
  const self = lstatSync(path, { throwIfNoEntry: false });
  if (self === undefined || (kind === 'file' && self.size > 0)) {
    return;
  }
  try {
    if (kind === 'file') {
      unlinkSync(path);
    } else {
      rmdirSync(path);
    }
  } catch {
    // It is not empty: the step put something in, which is the layer's.
  }
}

/** -1 once it is gone. */
function mtimeOf(path: string): bigint {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false })?.mtimeNs ?? -1n;
}
