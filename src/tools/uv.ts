/**
 * uv from a Python package index. The statically linked build is taken, so that the same binary runs in every image
 * (docs/adr/0006-uv-from-pypi.md).
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { DefinitionError, IntegrityError, RemoteError, TsbuildError } from '../errors.ts';
import { type HttpClient, header, readBody } from '../http/http-client.ts';
import { withRetries } from '../http/retry.ts';
import type { Emit } from '../solver/event.ts';
import { type IndexFile, parseProjectPage, SIMPLE_ACCEPT } from './simple-index.ts';

export interface UvOptions {
  /** `latest` or an exact version. */
  readonly version: string;
  /** OCI's word, `amd64` or `arm64`. */
  readonly architecture: string;
  /** Of the "simple" API. */
  readonly indexUrl: string;
  readonly http: HttpClient;
  /** An existing directory for the wheel and what comes out of it; the caller removes it. */
  readonly directory: string;
  readonly signal: AbortSignal;
  readonly emit: Emit;
}

/** uv's page has some megabytes; ten times that is no index. */
const MAX_PAGE_BYTES = 64 * 1024 * 1024;
const MAX_WHEEL_BYTES = 512 * 1024 * 1024;
/** uv has some fifty megabytes; a wheel that unpacks to more than this is a bomb. */
const MAX_BINARY_BYTES = 1024 * 1024 * 1024;
/** Where wheels keep programs (PyPA, "Binary distribution format"). */
const WHEEL_SCRIPT = /^[^/]+\.data\/scripts\/([^/]+)$/;
const BINARIES = ['uv', 'uvx'] as const;

/**
 * Fetches uv.
 *
 * @returns Paths of the executables.
 * @throws {DefinitionError} `E_PACKAGE_NOT_FOUND` for a version that the index does not have.
 * @throws {RemoteError} `E_NETWORK`. @throws {IntegrityError} `E_DIGEST_MISMATCH`, `E_BAD_ARCHIVE`, `E_ARCHIVE_LIMIT`.
 */
export async function fetchUv(
  options: UvOptions,
): Promise<readonly { readonly name: string; readonly path: string }[]> {
  const wheel = await findWheel(options);
  const path = join(options.directory, 'uv.whl');
  await withRetries(options.signal, () => download(options, wheel, path));
  return await extract(path, options);
}

async function findWheel({ version, architecture, indexUrl, http, signal }: UvOptions): Promise<IndexFile> {
  const url = new URL('uv/', indexUrl.endsWith('/') ? indexUrl : `${indexUrl}/`);
  const { body, contentType, page } = await withRetries(signal, async () => {
    const response = await http.send({ method: 'GET', url, headers: { accept: SIMPLE_ACCEPT }, signal });
    if (response.status !== 200) {
      response.body.destroy();
      throw new RemoteError(`package index ${url.host} answered ${response.status} to a request for uv`, {
        code: 'E_NETWORK',
        status: response.status,
        method: 'GET',
        url: `${url.origin}${url.pathname}`,
        retryable: response.status >= 500 || response.status === 429,
      });
    }
    const { bytes } = await readBody(response, MAX_PAGE_BYTES);
    return {
      body: bytes.toString('utf8'),
      contentType: header(response.headers, 'content-type') ?? '',
      page: response.url,
    };
  });
  const machine = architecture === 'arm64' ? 'aarch64' : 'x86_64';
  const wheels = parseProjectPage(body, contentType, page).flatMap((file) => {
    const match = /^uv-(\d+(?:\.\d+)*)-py3-none-(.+)\.whl$/.exec(file.filename);
    return match?.[2]?.includes('musllinux') && match[2].endsWith(machine)
      ? [{ file, version: match[1] ?? '' }]
      : [];
  });
  const found =
    version === 'latest'
      ? wheels.toSorted((a, b) => compareReleases(a.version, b.version)).at(-1)
      : wheels.find((wheel) => wheel.version === version);
  if (found === undefined) {
    throw new DefinitionError(`package index ${url.host} has no uv ${version} for ${machine}`, {
      code: 'E_PACKAGE_NOT_FOUND',
      hint: 'leave `uvVersion` out, or name a released version',
    });
  }
  return found.file;
}

async function download({ http, signal, emit }: UvOptions, wheel: IndexFile, path: string): Promise<void> {
  const response = await http.send({ method: 'GET', url: wheel.url, headers: {}, signal });
  if (response.status !== 200) {
    response.body.destroy();
    throw new RemoteError(
      `${wheel.url.host} answered ${response.status} to a request for ${wheel.filename}`,
      {
        code: 'E_NETWORK',
        status: response.status,
        retryable: response.status >= 500 || response.status === 429,
      },
    );
  }
  const hash = createHash('sha256');
  const length = Number(header(response.headers, 'content-length'));
  const report = (doneBytes: number, state: 'running' | 'done') =>
    emit({
      kind: 'progress',
      id: `download ${wheel.filename}`,
      activity: 'download',
      subject: wheel.filename,
      doneBytes,
      ...(Number.isFinite(length) ? { totalBytes: length } : {}),
      state,
    });
  let doneBytes = 0;
  const check = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      doneBytes += chunk.length;
      report(doneBytes, 'running');
      done(
        doneBytes > MAX_WHEEL_BYTES
          ? new IntegrityError(`${wheel.filename} is larger than ${MAX_WHEEL_BYTES} bytes`, {
              code: 'E_SIZE_MISMATCH',
            })
          : null,
        chunk,
      );
    },
  });
  await pipeline(response.body, check, createWriteStream(path), { signal });
  const actual = hash.digest('hex');
  if (actual !== wheel.sha256) {
    throw new IntegrityError(`${wheel.filename} from ${wheel.url.host} is not what the index says`, {
      code: 'E_DIGEST_MISMATCH',
      expected: wheel.sha256,
      actual,
      source: `${wheel.url.origin}${wheel.url.pathname}`,
    });
  }
  report(doneBytes, 'done');
}

async function extract(
  wheel: string,
  { directory, signal }: UvOptions,
): Promise<{ name: string; path: string }[]> {
  const found: { name: string; path: string }[] = [];
  try {
    const { openPromise } = await import('yauzl');
    const zip = await openPromise(wheel, { lazyEntries: true, autoClose: false });
    try {
      for await (const entry of zip.eachEntry()) {
        const name = BINARIES.find((binary) => WHEEL_SCRIPT.exec(entry.fileName)?.[1] === binary);
        if (name === undefined) {
          continue;
        }
        if (found.some((binary) => binary.name === name)) {
          throw badWheel(`the wheel of uv holds ${name} twice`, wheel);
        }
        if (entry.uncompressedSize > MAX_BINARY_BYTES) {
          throw new IntegrityError(`${name} in its wheel is larger than ${MAX_BINARY_BYTES} bytes`, {
            code: 'E_ARCHIVE_LIMIT',
            source: wheel,
          });
        }
        const path = join(directory, name);
        // The reader ends with an error when there are more bytes than the entry says.
        const content = await zip.openReadStreamPromise(entry);
        await pipeline(content, createWriteStream(path, { mode: 0o755 }), { signal });
        await chmod(path, 0o755);
        found.push({ name, path });
      }
    } finally {
      zip.close();
    }
  } catch (error) {
    signal.throwIfAborted();
    // Errors of the system, such as a full disk, say nothing about the wheel.
    if (error instanceof TsbuildError || (error as NodeJS.ErrnoException).syscall !== undefined) {
      throw error;
    }
    throw badWheel(`the wheel of uv cannot be read: ${(error as Error).message}`, wheel, error);
  }
  if (!found.some((binary) => binary.name === 'uv')) {
    throw badWheel('the wheel of uv holds no uv', wheel);
  }
  return found;
}

function badWheel(message: string, source: string, cause?: unknown): IntegrityError {
  return new IntegrityError(message, { code: 'E_BAD_ARCHIVE', source, cause });
}

function compareReleases(a: string, b: string): number {
  const left = a.split('.').map(Number);
  const right = b.split('.').map(Number);
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) {
      return difference;
    }
  }
  return 0;
}
