/** Another compression for a blob that exists. The tar stays byte for byte: its digest names the layer. */
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, createWriteStream, openSync, readSync, rmSync } from 'node:fs';
import { PassThrough, Readable, type Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createGunzip, createGzip, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { splitZstdFrames } from '../base/zstd-frames.ts';
import { IntegrityError } from '../errors.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { CompressResult, RecompressParams } from './protocol.ts';

/** RFC 8878, sections 3.1.1 and 3.1.2; the last digit of a skippable frame's is free. */
const ZSTD_MAGIC = 0xfd2fb528;
const ZSTD_SKIPPABLE_MAGIC = 0x184d2a5;

export async function recompress(
  _context: WorkerContext,
  params: RecompressParams,
  request: RequestContext,
): Promise<CompressResult> {
  const tarHash = createHash('sha256');
  const blobHash = createHash('sha256');
  let uncompressedSizeBytes = 0;
  let sizeBytes = 0;
  let lastMs = 0;
  const progress = (state: 'running' | 'done') =>
    request.emit({
      kind: 'progress',
      id: `compress ${params.diffId}`,
      activity: 'compress',
      subject: params.diffId,
      doneBytes: uncompressedSizeBytes,
      state,
    });
  const countTar = async function* (source: Readable) {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      tarHash.update(chunk);
      uncompressedSizeBytes += chunk.length;
      if (Date.now() - lastMs > 100) {
        lastMs = Date.now();
        progress('running');
      }
      yield chunk;
    }
  };
  const countBlob = async function* (source: Readable) {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      blobHash.update(chunk);
      sizeBytes += chunk.length;
      yield chunk;
    }
  };
  const [blob, decompressor] = openBlob(params.blobPath);
  try {
    await pipeline(
      blob,
      decompressor,
      countTar,
      compressor(params),
      countBlob,
      createWriteStream(params.output, { flags: 'wx' }),
      { signal: request.signal },
    );
    const diffId = `sha256:${tarHash.digest('hex')}`;
    if (diffId !== params.diffId) {
      throw new IntegrityError(`blob '${params.blobPath}' unpacks to ${diffId}, expected ${params.diffId}`, {
        code: 'E_DIGEST_MISMATCH',
        expected: params.diffId,
        actual: diffId,
        source: params.blobPath,
      });
    }
    progress('done');
    return { digest: `sha256:${blobHash.digest('hex')}`, sizeBytes, diffId, uncompressedSizeBytes };
  } catch (error) {
    rmSync(params.output, { force: true });
    throw request.signal.aborted ? request.signal.reason : error;
  }
}

/** The blob and what decompresses it, by magic bytes. */
function openBlob(path: string): [Readable, Transform] {
  const head = Buffer.alloc(4);
  const fd = openSync(path, 'r');
  try {
    readSync(fd, head, 0, 4, 0);
  } finally {
    closeSync(fd);
  }
  const source = createReadStream(path);
  if (head.readUInt16BE(0) === 0x1f8b) {
    return [source, createGunzip()];
  }
  const magic = head.readUInt32LE(0);
  if (magic === ZSTD_MAGIC || magic >>> 4 === ZSTD_SKIPPABLE_MAGIC) {
    // Layers of ours hold many frames, of which Node's decompressor would take the first.
    return [Readable.from(splitZstdFrames(source), { objectMode: false }), createZstdDecompress()];
  }
  return [source, new PassThrough()];
}

function compressor({ compression, level }: RecompressParams): Transform {
  switch (compression) {
    case 'gzip':
      return createGzip({ level });
    case 'zstd':
      return createZstdCompress({
        params: { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 },
      });
    case 'none':
      return new PassThrough();
  }
}
