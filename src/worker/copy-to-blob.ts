/** A layer of copies of the user's files, written as a blob straight from them: a file is read once, and none is made. */
import { releaseAll } from '../base/release-all.ts';
import { InternalError } from '../errors.ts';
import { native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import { encodeCopyEntries } from '../native/copy-entries.ts';
import { parseNotes } from './blob-notes.ts';
import { recordedOwners } from './changed-tree.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import { entriesOfCopy } from './copy.ts';
import { blobOptions, compressResult } from './layer-blobs.ts';
import type { BlobParams, CompressResult, StepParams } from './protocol.ts';
import { openInput } from './step-input.ts';

/** Undefined where only a snapshot can say what comes of the copy. */
export async function copyToBlob(
  context: WorkerContext,
  { actions, inputs, parents }: StepParams,
  blob: BlobParams,
  request: RequestContext,
): Promise<CompressResult | undefined> {
  const [action] = actions;
  const input = action?.kind === 'copy' ? inputs[action.input] : undefined;
  if (action?.kind !== 'copy' || actions.length > 1 || (input?.kind !== 'files' && input?.kind !== 'index')) {
    throw new InternalError('a blob was asked for of a step that does more than copy files');
  }
  const { driver, snapshots } = context;
  const tree = await openInput(context, input, request.signal);
  const cleanUps = [() => tree.close()];
  try {
    const { root, owners, close } = await driver.view(parents, request.signal);
    cleanUps.push(close);
    const target = { root, owners: recordedOwners(context, owners) };
    const { madeSeconds = Math.floor(Date.now() / 1000) } = parseNotes(blob.previous?.notes) ?? {};
    const placed = { ...action, madeSeconds };
    const { entries, doing, progress } = await entriesOfCopy(context, placed, tree, target, request);
    const written = await callNative(request.signal, doing, (cancel) =>
      native().writeCopiedLayer(
        {
          entries: encodeCopyEntries(entries),
          lowers: parents.map((parent) => snapshots.layerDir(parent)).reverse(),
          nowSeconds: madeSeconds,
          ...blobOptions(blob),
        },
        cancel,
        progress,
        tree.index,
      ),
    );
    return written === null ? undefined : compressResult(written, madeSeconds);
  } finally {
    await releaseAll(cleanUps);
  }
}
