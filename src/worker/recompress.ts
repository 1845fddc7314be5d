/** Another compression for a blob that exists. The tar stays byte for byte: its digest names the layer. */
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, createWriteStream, openSync, readSync, rmSync } from 'node:fs';
import type { Readable, Transform } from 'node:stream';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createGunzip, createGzip, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { IntegrityError } from '../errors.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { CompressResult, RecompressParams } from './protocol.ts';

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
  const countTar = async function* (source: Readable) {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      tarHash.update(chunk);
      uncompressedSizeBytes += chunk.length;
      if (Date.now() - lastMs > 100) {
        lastMs = Date.now();
        request.emit({
          kind: 'progress',
          id: `compress ${params.diffId}`,
          activity: 'compress',
          subject: params.diffId,
          doneBytes: uncompressedSizeBytes,
          state: 'running',
        });
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
  try {
    await pipeline(
      createReadStream(params.blobPath),
      decompressor(params.blobPath),
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
    return { digest: `sha256:${blobHash.digest('hex')}`, sizeBytes, diffId, uncompressedSizeBytes };
  } catch (error) {
    rmSync(params.output, { force: true });
    throw request.signal.aborted ? request.signal.reason : error;
  }
}

/** By magic bytes. */
function decompressor(path: string): Transform {
  const head = Buffer.alloc(4);
  const fd = openSync(path, 'r');
  try {
    readSync(fd, head, 0, 4, 0);
  } finally {
    closeSync(fd);
  }
  if (head.readUInt16BE(0) === 0x1f8b) {
    return createGunzip();
  }
  return head.readUInt32LE(0) === 0xfd2fb528 ? createZstdDecompress() : new PassThrough();
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
