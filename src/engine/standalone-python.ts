/**
 * Archives of python-build-standalone, in the blob store (Image API, A5.2: `TSBUILD_PYTHON_STANDALONE_MIRROR`). Wherever one
 * comes from, it has the digest that tsbuild knows (docs/adr/0013-standalone-python.md).
 */
import { open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HostError, IntegrityError, RemoteError } from '../errors.ts';
import type { SourcePython } from '../graph/vertex.ts';
import type { OpContext } from '../solver/op.ts';
import type { HttpFiles } from './http-files.ts';
import type { EngineParts } from './parts.ts';

const PUBLISHED = 'https://github.com/astral-sh/python-build-standalone/releases/download';
const ANOTHER_MIRROR =
  'set TSBUILD_PYTHON_STANDALONE_MIRROR to a URL or a directory that has RELEASE/FILE as python-build-standalone names them';
const NOT_PUBLISHED =
  'the mirror has another file than was published, or a part of it: mend it, or take another mirror';
const READ_BYTES = 1024 * 1024;

/**
 * The path of the archive. Only what has the right digest becomes a blob; a cancelled or broken copy leaves nothing.
 *
 * @throws {RemoteError} `E_FETCH`, `E_NETWORK`, `E_OFFLINE`. @throws {IntegrityError} `E_DIGEST_MISMATCH`.
 * @throws {HostError} `E_IO` when a directory does not have it.
 */
export async function standalonePythonArchive(
  { store, settings }: Pick<EngineParts, 'store' | 'settings'>,
  openHttp: () => Promise<HttpFiles>,
  source: SourcePython,
  context: OpContext,
): Promise<string> {
  const mirror = settings.pythonStandaloneMirror ?? PUBLISHED;
  if (/^https?:/i.test(mirror)) {
    const http = await openHttp();
    try {
      await http.resolve({ url: urlBelow(mirror, source), checksum: source.digest }, context);
      return (await http.contents({ digest: source.digest, mtimeSeconds: 0 }, context)).path;
    } catch (error) {
      throw withHint(error);
    }
  }
  if (!(await store.blobs.has(source.digest))) {
    const directory = mirror.startsWith('file:') ? fileURLToPath(mirror) : resolve(mirror);
    await take(store.blobs, join(directory, source.release, source.file), source, context);
  }
  return store.blobs.path(source.digest);
}

/** A file that is fetched for an image is usually one that its author names; this one is ours. */
function withHint(error: unknown): unknown {
  if (error instanceof RemoteError) {
    const { message, code, cause } = error;
    return new RemoteError(message, { ...error, code, cause, hint: ANOTHER_MIRROR });
  }
  return error instanceof IntegrityError
    ? new IntegrityError(error.message, {
        ...error,
        code: error.code,
        cause: error.cause,
        hint: NOT_PUBLISHED,
      })
    : error;
}

/** `MIRROR/RELEASE/FILE`, as the project publishes them and as mirrors for uv have them. A query of the mirror stays. */
function urlBelow(mirror: string, { release, file }: SourcePython): string {
  const url = new URL(mirror);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${release}/${encodeURIComponent(file)}`;
  return url.href;
}

async function take(
  blobs: EngineParts['store']['blobs'],
  path: string,
  { digest, file: name }: SourcePython,
  { signal, emit }: OpContext,
): Promise<void> {
  const file = await open(path).catch((cause: NodeJS.ErrnoException) => {
    throw new HostError(`cannot read the archive '${path}': ${cause.message}`, {
      code: 'E_IO',
      errno: cause.code,
      path,
      cause,
      hint: ANOTHER_MIRROR,
    });
  });
  try {
    const writer = await blobs.openWrite();
    try {
      for await (const chunk of file.createReadStream({ autoClose: false, highWaterMark: READ_BYTES })) {
        signal.throwIfAborted();
        await writer.write(chunk as Buffer);
        emit({
          kind: 'progress',
          id: `read ${name}`,
          activity: 'copy',
          subject: name,
          doneBytes: writer.offset,
          state: 'running',
        });
      }
      const actual = await writer.digest();
      if (actual !== digest) {
        throw new IntegrityError(`${path} has the digest ${actual} instead of ${digest}`, {
          code: 'E_DIGEST_MISMATCH',
          expected: digest,
          actual,
          source: path,
          hint: NOT_PUBLISHED,
        });
      }
      await writer.commit();
    } catch (error) {
      await writer.abort();
      throw error;
    }
  } finally {
    await file.close();
  }
}
