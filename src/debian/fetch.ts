/** Fetches files of a Debian archive over HTTP: checked while they stream, resumed, retried, many at a time. */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdir, open, rename, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { backoffMs } from '../base/retry.ts';
import { HostError, IntegrityError, RemoteError } from '../errors.ts';
import { discardBody, HttpClient, type HttpResponse, header } from '../http/http-client.ts';

export interface ArchiveFile {
  readonly url: string;
  /** Hex, lower case. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface ArchiveFetch {
  /**
   * The whole body of a small file that carries its own proof (a signed release file).
   *
   * @throws {RemoteError} `E_ARCHIVE_FETCH`.
   */
  text(url: string, options: { readonly maxBytes: number; readonly signal?: AbortSignal }): Promise<string>;

  /**
   * Puts a file into `directory` under the name of its SHA-256 and gives the path. A file that is there already is not
   * fetched again and not read. What arrives is written beside it, and renamed only when size and digest are right, so
   * that a crash leaves nothing under the final name; several processes may share the directory.
   *
   * @throws {RemoteError} `E_ARCHIVE_FETCH` when it cannot be had, after several attempts.
   * @throws {IntegrityError} `E_DIGEST_MISMATCH`, `E_SIZE_MISMATCH` when it is not what it should be; nothing is kept.
   */
  file(
    file: ArchiveFile,
    directory: string,
    options?: { readonly signal?: AbortSignal; readonly onBytes?: (count: number) => void },
  ): Promise<string>;

  /** Closes idle connections. */
  close(): Promise<void>;
}

export interface ArchiveFetchOptions {
  /** Connections for each server. @defaultValue 12 */
  readonly connections?: number;
  /** Attempts for each file, the first included. @defaultValue 5 */
  readonly attempts?: number;
  /** About how long to wait before the second attempt; see `base/retry.ts`. @defaultValue 250 */
  readonly backoffBaseMs?: number;
}

/** The mirrors answer in milliseconds; a connection that is silent for this long is dead. */
const SILENCE_MS = 30_000;
const MAX_REDIRECTS = 5;

/** Proxies come from the environment (`http_proxy`, `https_proxy`, `no_proxy`), certificates from the system too. */
export function createArchiveFetch(options: ArchiveFetchOptions = {}): ArchiveFetch {
  const { connections = 12, attempts = 5, backoffBaseMs = 250 } = options;
  const http = new HttpClient({ connections, connectTimeoutMs: SILENCE_MS, idleTimeoutMs: SILENCE_MS });

  /** Tries again after an error that may pass; `attempt` says from where it can go on. */
  const retrying = async <T>(
    url: string,
    signal: AbortSignal | undefined,
    attempt: () => Promise<T>,
  ): Promise<T> => {
    for (let count = 1; ; count++) {
      try {
        signal?.throwIfAborted();
        return await attempt();
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof IntegrityError || error instanceof HostError) {
          throw error;
        }
        const transient = !(error instanceof RemoteError) || error.retryable;
        if (!transient || count >= attempts) {
          throw error instanceof RemoteError && count === 1
            ? error
            : new RemoteError(`cannot fetch '${url}': ${reason(error)}`, {
                code: 'E_ARCHIVE_FETCH',
                method: 'GET',
                url,
                status: error instanceof RemoteError ? error.status : undefined,
                attempts: count,
                retryable: transient,
                cause: error,
                hint: 'check the network and the mirror; TSBUILD_APT_MIRROR names another one',
              });
        }
        await sleep(
          backoffMs(count, Math.random(), backoffBaseMs),
          undefined,
          signal === undefined ? {} : { signal },
        );
      }
    }
  };

  return {
    async text(url, { maxBytes, signal }) {
      return retrying(url, signal, async () => {
        const { body } = await get(http, url, {}, signal);
        const chunks: Buffer[] = [];
        let size = 0;
        for await (const chunk of body as AsyncIterable<Buffer>) {
          size += chunk.length;
          if (size > maxBytes) {
            throw new IntegrityError(`'${url}' is larger than ${maxBytes} bytes`, {
              code: 'E_SIZE_MISMATCH',
              expected: `at most ${maxBytes} bytes`,
              source: url,
            });
          }
          chunks.push(chunk);
        }
        return Buffer.concat(chunks).toString('utf8');
      });
    },

    async file(file, directory, { signal, onBytes } = {}) {
      const path = `${directory}/${file.sha256}`;
      if (await exists(path)) {
        onBytes?.(file.sizeBytes);
        return path;
      }
      await mkdir(directory, { recursive: true });
      const partial = `${path}.${process.pid}-${Math.random().toString(36).slice(2, 8)}.part`;
      const handle = await open(partial, 'wx', 0o644);
      try {
        const hash = createHash('sha256');
        let written = 0;
        await retrying(file.url, signal, async () => {
          const range = written === 0 ? {} : { range: `bytes=${written}-` };
          const { status, headers, body } = await get(http, file.url, range, signal);
          // A server that ignores the range sends everything again; what we have is skipped, and checked by the digest.
          let skip = written === 0 || (status === 206 && startsAt(headers, written)) ? 0 : written;
          for await (const chunk of body as AsyncIterable<Buffer>) {
            const fresh = chunk.subarray(Math.min(skip, chunk.length));
            skip -= chunk.length - fresh.length;
            if (written + fresh.length > file.sizeBytes) {
              throw mismatch(file, 'E_SIZE_MISMATCH', `more than ${file.sizeBytes} bytes`);
            }
            hash.update(fresh);
            await handle.write(fresh, 0, fresh.length, written);
            written += fresh.length;
            onBytes?.(fresh.length);
          }
          if (written < file.sizeBytes) {
            throw new Error(`the connection ended after ${written} of ${file.sizeBytes} bytes`);
          }
        });
        const actual = hash.digest('hex');
        if (actual !== file.sha256) {
          throw mismatch(file, 'E_DIGEST_MISMATCH', actual);
        }
        await handle.close();
        await rename(partial, path);
        return path;
      } catch (error) {
        await handle.close().catch(() => undefined);
        await rm(partial, { force: true });
        throw asHostError(error, partial);
      }
    },

    async close() {
      await http.close();
    },
  };
}

/** The server's answer behind redirects; the digests are of the stored bytes, so who redirects need not be trusted. */
async function get(
  http: HttpClient,
  url: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): Promise<HttpResponse> {
  let target = new URL(url);
  for (let redirects = 0; ; redirects++) {
    const response = await http.send({ method: 'GET', url: target, headers, signal });
    if (response.status === 200 || response.status === 206) {
      return response;
    }
    await discardBody(response);
    const location = header(response.headers, 'location');
    if ([301, 302, 303, 307, 308].includes(response.status) && location !== undefined) {
      const next = URL.canParse(location, target.href) ? new URL(location, target) : undefined;
      if (redirects < MAX_REDIRECTS && next !== undefined && ['http:', 'https:'].includes(next.protocol)) {
        target = next;
        continue;
      }
    }
    throw new RemoteError(`cannot fetch '${url}': the server answered ${response.status}`, {
      code: 'E_ARCHIVE_FETCH',
      method: 'GET',
      url,
      status: response.status,
      retryable: response.status >= 500 || [408, 416, 429].includes(response.status),
    });
  }
}

function startsAt(headers: HttpResponse['headers'], offset: number): boolean {
  const range = headers['content-range'];
  return typeof range === 'string' && range.startsWith(`bytes ${offset}-`);
}

function mismatch(file: ArchiveFile, code: 'E_DIGEST_MISMATCH' | 'E_SIZE_MISMATCH', actual: string) {
  const expected = code === 'E_SIZE_MISMATCH' ? `${file.sizeBytes} bytes` : file.sha256;
  return new IntegrityError(`'${file.url}' is not the file that the signed index promises`, {
    code,
    expected,
    actual,
    source: file.url,
    hint: 'the mirror may be in the middle of an update; try again in some minutes',
  });
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path, constants.F_OK);
    return true;
  } catch {
    return false;
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A failed write is the machine's affair, whatever we were fetching. */
function asHostError(error: unknown, path: string): unknown {
  const { code: errno, syscall } = error as NodeJS.ErrnoException;
  if (syscall === 'write' && (errno === 'ENOSPC' || errno === 'EDQUOT' || errno === 'EIO')) {
    return new HostError(`cannot write '${path}': ${reason(error)}`, {
      code: errno === 'EIO' ? 'E_IO' : 'E_DISK_FULL',
      errno,
      syscall,
      path,
      cause: error,
    });
  }
  return error;
}
