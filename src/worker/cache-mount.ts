/** Cache mounts by id: listed, removed, written to an archive and made from one. */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { IntegrityError } from '../errors.ts';
import { native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import { randomName } from '../native/random-name.ts';
import { recordedOwners } from './changed-tree.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { WorkerMethods } from './protocol.ts';

type Params<M extends keyof WorkerMethods> = WorkerMethods[M]['params'];
type Result<M extends keyof WorkerMethods> = WorkerMethods[M]['result'];

const LEVELS = { zstd: 3, gzip: 6, none: 1 } as const;

export async function listMounts({ executor }: WorkerContext): Promise<Result<'listMounts'>> {
  return { mounts: await executor.caches.list() };
}

export async function removeMounts(
  { executor }: WorkerContext,
  { ids, whenInUse }: Params<'removeMounts'>,
): Promise<Result<'removeMounts'>> {
  return { removed: await executor.caches.remove(ids, whenInUse) };
}

export async function exportMount(
  { executor }: WorkerContext,
  { id, output, compression }: Params<'exportMount'>,
  request: RequestContext,
): Promise<Result<'exportMount'>> {
  const held = executor.caches.hold(id);
  const unfinished = join(dirname(output), `.tsbuild-${randomName()}.partial`);
  try {
    const { sizeBytes } = await callNative(request.signal, `cannot write '${output}'`, (cancel) =>
      native().writeLayer(
        { root: held.dir, lowers: [], output: unfinished, compression, level: LEVELS[compression] },
        cancel,
        report(request, `export ${id}`, output, 'write'),
      ),
    );
    renameSync(unfinished, output);
    return { sizeBytes };
  } finally {
    rmSync(unfinished, { force: true });
    held.release();
  }
}

export async function importMount(
  context: WorkerContext,
  { id, input }: Params<'importMount'>,
  request: RequestContext,
): Promise<Result<'importMount'>> {
  const { executor, overlayXattrs } = context;
  let sizeBytes = 0;
  const scratch = context.snapshots.scratch('import');
  const owners = join(scratch, 'owners');
  try {
    await executor.caches.replace(id, async (root) => {
      const unpacked = await callNative(request.signal, `cannot read '${input}'`, (cancel) =>
        native().unpackLayer(
          {
            blob: input,
            compression: 'auto',
            root,
            overlayXattrs,
            devices: 'record',
            owners: recordedOwners(context, owners),
          },
          cancel,
          report(request, `import ${id}`, input, 'unpack'),
        ),
      );
      sizeBytes = unpacked.uncompressedSizeBytes;
      const entries = await native().scanTree(root);
      // The deletions of an image layer were made devices when it was unpacked.
      if (unpacked.recordedDevices.length > 0 || entries.some(({ kind }) => kind === 'char')) {
        throw new IntegrityError(`'${input}' holds devices or the deletions of an image layer`, {
          code: 'E_BAD_ARCHIVE',
          source: input,
          hint: 'import what `tsbuild cache-mount export` or tar wrote',
        });
      }
    });
    // Caches are of the machine, not of an image: whose their files are counts for nothing that is built.
    if (existsSync(owners)) {
      request.emit({
        kind: 'warning',
        code: 'W_OWNERS_FLATTENED',
        message: `files of other users in '${input}' belong to 0:0 in the cache mount, since there is one user id`,
      });
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return { sizeBytes };
}

function report(
  request: RequestContext,
  id: string,
  subject: string,
  activity: 'write' | 'unpack',
): (doneBytes: number) => void {
  return (doneBytes) =>
    request.emit({ kind: 'progress', id, activity, subject, doneBytes, state: 'running' });
}
