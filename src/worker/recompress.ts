/** Another compression for a blob that exists. The tar stays byte for byte: its digest names the layer. */
import { native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { CompressResult, RecompressParams } from './protocol.ts';

export async function recompress(
  _context: WorkerContext,
  { blobPath, diffId, output, compression, level }: RecompressParams,
  request: RequestContext,
): Promise<CompressResult> {
  let doneBytes = 0;
  const progress = (state: 'running' | 'done') =>
    request.emit({
      kind: 'progress',
      id: `compress ${diffId}`,
      activity: 'compress',
      subject: diffId,
      doneBytes,
      state,
    });
  const written = await callNative(request.signal, `cannot compress layer ${diffId} anew`, (cancel) =>
    native().recompressLayer(
      { blob: blobPath, expectedDiffId: diffId, output, compression, level },
      cancel,
      (done) => {
        doneBytes = done;
        progress('running');
      },
    ),
  );
  progress('done');
  return written;
}
