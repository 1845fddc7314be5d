/** Blobs become snapshots, and snapshots blobs. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  native,
  type UnpackLayerOptions,
  type WriteLayerOptions,
  type WrittenLayer,
} from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import { ownersBeside } from '../snapshot/owners.ts';
import type { LayerId } from '../solver/op.ts';
import { type BlobNotes, notesText, parseNotes } from './blob-notes.ts';
import { recordedOwners } from './changed-tree.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { BlobParams, CompressParams, CompressResult, UnpackParams, UnpackResult } from './protocol.ts';

/** Layers that are being unpacked now: those above wait for them before they are mended. */
const unpacking = new Map<LayerId, Promise<unknown>>();

export function unpack(
  context: WorkerContext,
  params: UnpackParams,
  request: RequestContext,
): Promise<UnpackResult> {
  const work = unpackOne(context, params, request);
  // Nobody waits for it but layers above; its failure is the request's.
  const settled = work.catch(() => {});
  unpacking.set(params.layer, settled);
  settled.finally(() => {
    if (unpacking.get(params.layer) === settled) {
      unpacking.delete(params.layer);
    }
  });
  return work;
}

async function unpackOne(
  context: WorkerContext,
  params: UnpackParams,
  request: RequestContext,
): Promise<UnpackResult> {
  const { snapshots, overlayXattrs, executor } = context;
  if (snapshots.has(params.layer)) {
    return { existed: true, uncompressedSizeBytes: 0 };
  }
  const dir = snapshots.scratch('unpack');
  const root = join(dir, 'fs');
  const owners = ownersBeside(root);
  const doing = `cannot unpack layer ${params.digest}`;
  mkdirSync(root, { mode: 0o755 });
  const progress = (state: 'running' | 'done') => (doneBytes: number) =>
    request.emit({
      kind: 'progress',
      id: `unpack ${params.digest}`,
      activity: 'unpack',
      subject: params.digest,
      doneBytes,
      state,
    });
  try {
    const unpacked = await callNative(request.signal, doing, (cancel) =>
      native().unpackLayer(
        {
          blob: params.blobPath,
          ...(params.arriving === undefined
            ? { expectedDigest: params.digest }
            : { arriving: params.arriving }),
          compression: compressionOf(params.mediaType),
          root,
          expectedDiffId: params.diffId,
          overlayXattrs,
          devices: executor.idMode === 'root' ? 'create' : 'record',
          owners: recordedOwners(context, owners),
        },
        cancel,
        progress('running'),
      ),
    );
    await Promise.all(params.parents.map((parent) => unpacking.get(parent)));
    request.signal.throwIfAborted();
    await callNative(request.signal, doing, () =>
      native().reconcileLayer({
        root,
        lowers: params.parents.map((parent) => snapshots.layerDir(parent)).reverse(),
        implicitDirectories: unpacked.implicitDirectories,
        overlayXattrs,
        owners,
      }),
    );
    if (unpacked.recordedDevices.length > 0) {
      request.emit({
        kind: 'warning',
        code: 'W_DEVICES_RECORDED',
        message: `${unpacked.recordedDevices.length} device nodes of layer ${params.digest} are empty files here`,
      });
    }
    const existed = !snapshots.publish(dir, params.layer);
    progress('done')(unpacked.uncompressedSizeBytes);
    return { existed, uncompressedSizeBytes: unpacked.uncompressedSizeBytes };
  } finally {
    await native().removeTree(dir);
  }
}

function compressionOf(mediaType: string): UnpackLayerOptions['compression'] {
  if (/[+.]zstd(:chunked)?$/.test(mediaType)) {
    return 'zstd';
  }
  if (/[+.]gzip$/.test(mediaType)) {
    return 'gzip';
  }
  return mediaType.endsWith('.tar') ? 'none' : 'auto';
}

export async function compress(
  { snapshots }: WorkerContext,
  params: CompressParams,
  request: RequestContext,
): Promise<CompressResult> {
  const written = await callNative(request.signal, `cannot write layer ${params.layer}`, (cancel) =>
    native().writeLayer(
      {
        root: snapshots.layerDir(params.layer),
        owners: snapshots.ownersFile(params.layer),
        lowers: params.parents.map((parent) => snapshots.layerDir(parent)).reverse(),
        ...blobOptions(params),
      },
      cancel,
      compressing(params.layer, request, 'running'),
    ),
  );
  compressing(params.layer, request, 'done')(written.uncompressedSizeBytes);
  return compressResult(written);
}

/** What native code needs to write a blob. */
export function blobOptions({
  output,
  compression,
  level,
  clampMtimeSeconds,
  previous,
}: BlobParams): Pick<
  WriteLayerOptions,
  'output' | 'compression' | 'level' | 'clampMtimeSeconds' | 'previous'
> {
  const { blob, notes } = previous ?? {};
  const { frames } = parseNotes(notes) ?? {};
  return {
    output,
    compression,
    level,
    ...(clampMtimeSeconds === undefined ? {} : { clampMtimeSeconds }),
    ...(blob === undefined ? {} : { previous: { blob, ...(frames === undefined ? {} : { frames }) } }),
  };
}

/** @param madeSeconds - As {@link BlobNotes} has it, of copied files. */
export function compressResult(written: WrittenLayer, madeSeconds?: number): CompressResult {
  const { digest, sizeBytes, diffId, uncompressedSizeBytes, annotations, frames } = written;
  return {
    digest,
    sizeBytes,
    diffId,
    uncompressedSizeBytes,
    annotations,
    ...(frames.length === 0 || madeSeconds === undefined
      ? {}
      : { notes: notesText({ madeSeconds, frames }) }),
  };
}

function compressing(
  subject: string,
  request: RequestContext,
  state: 'running' | 'done',
): (doneBytes: number) => void {
  return (doneBytes) =>
    request.emit({
      kind: 'progress',
      id: `compress ${subject}`,
      activity: 'compress',
      subject,
      doneBytes,
      state,
    });
}

export async function treeDigest(
  { snapshots }: WorkerContext,
  { layer }: { readonly layer: LayerId },
  { signal }: RequestContext,
): Promise<{ digest: string }> {
  const digest = await callNative(signal, `cannot read layer ${layer}`, (cancel) =>
    native().treeDigest(snapshots.layerDir(layer), { file: snapshots.ownersFile(layer), path: '' }, cancel),
  );
  return { digest };
}
