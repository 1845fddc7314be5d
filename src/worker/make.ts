/** Directories and files that a step makes out of nothing. */
import { rmSync, writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { lookupOwner } from '../executor/user.ts';
import type { MkdirAction, MkfileAction } from '../graph/action.ts';
import { native } from '../native/addon.ts';
import { fromNative } from '../native/error.ts';
import { resolveInTree } from '../snapshot/resolve.ts';
import type { ChangedTree } from './changed-tree.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import { placeSources } from './copy.ts';

const FILE_MODE = 0o644;

/** With those above it, made alike, as BuildKit does; what exists is left alone. */
export function makeDirectory(
  { root, owners }: ChangedTree,
  { path, mode, owner, mtimeSeconds }: MkdirAction,
): void {
  const { uid, gid } = lookupOwner(root, owner);
  try {
    // A link that leads nowhere yet is followed too.
    native().makeDirectories(root, resolveInTree(root, path).path, {
      mode,
      uid,
      gid,
      owners,
      ...(mtimeSeconds === undefined ? {} : { mtimeNs: `${mtimeSeconds}000000000` }),
    });
  } catch (error) {
    throw fromNative(error, `cannot make directory '${path}' in the image`);
  }
}

export async function makeFile(
  context: WorkerContext,
  action: MkfileAction,
  target: ChangedTree,
  request: RequestContext,
): Promise<void> {
  const { path, name = posix.basename(path), mode, owner } = action;
  const dir = context.snapshots.scratch('mkfile');
  const source = join(dir, 'data');
  try {
    writeFileSync(source, Buffer.from(action.data, 'base64'));
    await placeSources(
      context,
      {
        destination: path,
        owner,
        modes: typeof mode === 'number' ? 'keep' : mode,
        times: 'epoch',
        doing: `cannot write '${path}' in the image`,
        followsDestination: true,
        unpack: false,
      },
      [
        {
          path: `/${name}`,
          top: { path: '', kind: 'file', mode: typeof mode === 'number' ? mode : FILE_MODE, source },
          below: [],
        },
      ],
      { sourceRoot: undefined, owners: undefined, isImage: false },
      target,
      request,
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
