/**
 * Blobs on disk, in the form of an OCI image layout: `blobs/sha256/HEX`, with `oci-layout` and `index.json` beside
 * them, so that any OCI tool can read the store. Blobs are written below `tmp/` and renamed into place.
 *
 * Several processes may use one directory at once. Two that write the same blob both do the work and the second rename
 * replaces equal bytes. A partial download belongs to one process at a time: it is claimed by renaming it.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  openSync,
  type ReadStream,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import * as fs from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { sha256Hex } from '../base/sha256.ts';
import { HostError, IntegrityError } from '../errors.ts';
import { type HashedFile, native } from '../native/addon.ts';
import { fromNative } from '../native/error.ts';
import { type Digest, encodedPart, isDigest, sha256Digest } from '../oci/digest.ts';
import { BLOB_MODE, BlobWriter } from './blob-writer.ts';

export interface OpenWriteOptions {
  /** What is to be written. Checked by `commit()`, and needed to go on with an earlier partial file. */
  readonly expected?: { readonly digest: Digest; readonly size: number };
}

export interface StoredBlob {
  readonly digest: Digest;
  readonly size: number;
}

/** A partial file that nobody went on with for so long is removed by {@link BlobStore.sweep}. */
const PARTIAL_MAX_AGE_MS = 7 * 24 * 3600 * 1000;
const OCI_LAYOUT = '{"imageLayoutVersion":"1.0.0"}';
const EMPTY_INDEX =
  '{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}';

export class BlobStore {
  readonly rootDir: string;
  #prepared: Promise<void> | undefined;

  /** Touches nothing on disk until something is written. */
  constructor(rootDir: string) {
    this.rootDir = rootDir;
  }

  /** Where the blob is, or would be. */
  path(digest: Digest): string {
    return join(this.rootDir, 'blobs', 'sha256', encodedPart(digest));
  }

  async has(digest: Digest): Promise<boolean> {
    return (await this.stat(digest)) !== undefined;
  }

  /** The size of the blob; undefined when it is not there. Says nothing about its content. */
  async stat(digest: Digest): Promise<{ readonly size: number } | undefined> {
    // Not off the thread: that takes longer than the call, and whoever asks has as many as an image has layers.
    const found = statOrUndefined(this.path(digest));
    return found?.isFile() ? { size: found.size } : undefined;
  }

  /**
   * The whole blob, its digest checked. For manifests and configs.
   *
   * @throws {HostError} `E_IO` when it is not there
   * @throws {IntegrityError} `E_BLOB_DAMAGED`; `E_SIZE_MISMATCH` when it is larger than `maxBytes`
   */
  async read(digest: Digest, maxBytes: number): Promise<Buffer> {
    const path = this.path(digest);
    let bytes: Buffer;
    let file: number | undefined;
    try {
      // Not off the thread either: for a document of some kilobytes that is five times there and back.
      file = openSync(path, 'r');
      const { size } = fstatSync(file);
      if (size > maxBytes) {
        throw new IntegrityError(`blob ${digest} has ${size} bytes, where at most ${maxBytes} are read`, {
          code: 'E_SIZE_MISMATCH',
          source: path,
        });
      }
      bytes = readFileSync(file);
    } catch (cause) {
      throw cause instanceof IntegrityError ? cause : notOpened(digest, path, cause);
    } finally {
      if (file !== undefined) {
        closeSync(file);
      }
    }
    const actual = sha256Digest(sha256Hex(bytes));
    if (actual !== digest) {
      throw damaged(digest, actual, path);
    }
    return bytes;
  }

  /** The blob as a stream; its digest is not checked. */
  async openRead(digest: Digest): Promise<ReadStream> {
    const file = await this.#open(digest);
    return file.createReadStream();
  }

  /**
   * A writer for a new blob. With `expected`, a partial file of an earlier attempt (also by a process that is gone) is
   * gone on with: the writer's `offset` is then above 0. Its hash is rebuilt by reading the partial file once.
   */
  async openWrite(options: OpenWriteOptions = {}): Promise<BlobWriter> {
    await this.prepare();
    const { expected } = options;
    const name = expected === undefined ? 'new' : encodedPart(expected.digest);
    const path = join(this.#tmpDir, `blob-${name}.${OWNER}.${randomBytes(6).toString('hex')}`);
    const partial = join(this.#tmpDir, `blob-${name}.partial`);
    const resumed = expected !== undefined && (await this.#claimPartial(name, path));
    const doing = `cannot write blob ${expected?.digest ?? ''}`.trimEnd();
    let file: HashedFile | undefined;
    try {
      file = new (native().HashedFile)(path, !resumed);
      let offset = resumed ? await file.takeIn() : 0;
      if (offset > (expected?.size ?? 0)) {
        await file.restart();
        offset = 0;
      }
      return new BlobWriter({ file, path, partial, offset, expected, target: (d) => this.path(d) });
    } catch (error) {
      file?.close();
      throw fromNative(error, doing);
    }
  }

  /** Small blobs in one call. */
  async put(bytes: Uint8Array): Promise<StoredBlob> {
    const digest = sha256Digest(sha256Hex(bytes));
    const present = await this.stat(digest);
    if (present?.size === bytes.byteLength) {
      return { digest, size: bytes.byteLength };
    }
    const writer = await this.openWrite();
    try {
      await writer.write(bytes);
      return await writer.commit();
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }

  /**
   * Takes over a file that was hashed while it was written (by the native layer writer, say): renames it. It must be on
   * the store's file system. An existing blob stays, and the file is removed.
   */
  async ingestFile(path: string, digest: Digest): Promise<StoredBlob> {
    await this.prepare();
    const { size } = await fs.stat(path);
    const present = await this.stat(digest);
    if (present?.size === size) {
      await fs.rm(path, { force: true });
      return { digest, size };
    }
    await fs.chmod(path, BLOB_MODE);
    await fs.rename(path, this.path(digest));
    return { digest, size };
  }

  /** Removes a blob. Missing is fine. Whoever calls this knows that nobody needs it. */
  async delete(digest: Digest): Promise<void> {
    await fs.rm(this.path(digest), { force: true });
  }

  /** All blobs, in no order. */
  async *list(): AsyncGenerator<StoredBlob> {
    let directory: Awaited<ReturnType<typeof fs.opendir>>;
    try {
      directory = await fs.opendir(join(this.rootDir, 'blobs', 'sha256'));
    } catch (error) {
      if (isMissing(error)) {
        return;
      }
      throw error;
    }
    for await (const entry of directory) {
      const digest = `sha256:${entry.name}`;
      if (entry.isFile() && isDigest(digest)) {
        const found = await this.stat(digest);
        if (found !== undefined) {
          yield { digest, size: found.size };
        }
      }
    }
  }

  /**
   * Reads the blob and compares its digest.
   *
   * @throws {IntegrityError} `E_BLOB_DAMAGED`
   * @throws {HostError} `E_IO` when it is not there
   */
  async verify(digest: Digest, signal?: AbortSignal): Promise<void> {
    const hash = createHash('sha256');
    const stream = await this.openRead(digest);
    try {
      for await (const chunk of stream) {
        signal?.throwIfAborted();
        hash.update(chunk as Buffer);
      }
    } finally {
      stream.destroy();
    }
    const actual = sha256Digest(hash.digest('hex'));
    if (actual !== digest) {
      throw damaged(digest, actual, this.path(digest));
    }
  }

  /** Removes what processes that are gone left in `tmp/`, but for young partial downloads. */
  async sweep(): Promise<void> {
    const names = await fs.readdir(this.#tmpDir).catch((error: unknown) => {
      if (isMissing(error)) {
        return [];
      }
      throw error;
    });
    for (const name of names.filter((name) => name.startsWith('blob-'))) {
      const path = join(this.#tmpDir, name);
      const found = await statOrUndefined(path);
      if (found === undefined) {
        continue;
      }
      const old = Date.now() - found.mtimeMs > PARTIAL_MAX_AGE_MS;
      const resumable = /^blob-[a-f0-9]{64}\./.test(name) && found.size > 0;
      if (name.endsWith('.partial') || ownerIsGone(name)) {
        if (old || !resumable) {
          await fs.rm(path, { force: true });
        }
      }
    }
  }

  /** Makes the directories, `oci-layout` and `index.json`. Idempotent; every writing method calls it. */
  prepare(): Promise<void> {
    this.#prepared ??= this.#prepare().catch((error: unknown) => {
      this.#prepared = undefined;
      throw error;
    });
    return this.#prepared;
  }

  get #tmpDir(): string {
    return join(this.rootDir, 'tmp');
  }

  async #prepare(): Promise<void> {
    await fs.mkdir(join(this.rootDir, 'blobs', 'sha256'), { recursive: true });
    await fs.mkdir(this.#tmpDir, { recursive: true });
    this.#createOnce('oci-layout', OCI_LAYOUT);
    this.#createOnce('index.json', EMPTY_INDEX);
  }

  /**
   * Appears whole or not at all, and never replaces what another process put there. Without a pause, in which the thread that does it could be
   * terminated: what it left would stay as long as its process.
   */
  #createOnce(name: string, text: string): void {
    const path = join(this.rootDir, name);
    if (existsSync(path)) {
      return;
    }
    const temporary = join(this.#tmpDir, `${name}.${OWNER}.${randomBytes(6).toString('hex')}`);
    writeFileSync(temporary, text, { flag: 'wx' });
    try {
      linkSync(temporary, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw error;
      }
    } finally {
      rmSync(temporary, { force: true });
    }
  }

  async #open(digest: Digest): Promise<fs.FileHandle> {
    const path = this.path(digest);
    try {
      return await fs.open(path, 'r');
    } catch (cause) {
      throw notOpened(digest, path, cause);
    }
  }

  /** True when a partial file is now ours, at `path`. */
  async #claimPartial(name: string, path: string): Promise<boolean> {
    const names = (await fs.readdir(this.#tmpDir)).filter(
      (entry) => entry.startsWith(`blob-${name}.`) && (entry.endsWith('.partial') || ownerIsGone(entry)),
    );
    for (const candidate of names) {
      try {
        await fs.rename(join(this.#tmpDir, candidate), path);
        return true;
      } catch (error) {
        // Another process was faster.
        if (!isMissing(error)) {
          throw error;
        }
      }
    }
    return false;
  }
}

/**
 * Who writes a temporary file: the pid namespace (pids of another one mean nothing to us) and the pid. After a process
 * with the same pid was started we merely believe that the owner lives, and download again.
 */
const OWNER = `${pidNamespace()}.${process.pid}`;

function pidNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '0';
  } catch {
    return '0';
  }
}

function ownerIsGone(name: string): boolean {
  const match = /^blob-[a-z0-9]+\.(\d+)\.(\d+)\.[a-f0-9]+$/.exec(name);
  if (match === null || match[1] !== pidNamespace() || match[1] === '0') {
    return false;
  }
  try {
    process.kill(Number(match[2]), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

function statOrUndefined(path: string) {
  try {
    return statSync(path);
  } catch (error) {
    if (isMissing(error)) {
      return undefined;
    }
    throw new HostError(`cannot look at '${path}' in '${dirname(path)}'`, {
      code: 'E_IO',
      syscall: 'stat',
      errno: (error as NodeJS.ErrnoException).code,
      path,
      cause: error,
    });
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

function notOpened(digest: Digest, path: string, cause: unknown): HostError {
  const { code: errno, syscall = 'open' } = cause as NodeJS.ErrnoException;
  return new HostError(`cannot open blob ${digest}: ${isMissing(cause) ? 'it is not in the store' : errno}`, {
    code: 'E_IO',
    syscall,
    errno,
    path,
    cause,
  });
}

function damaged(digest: Digest, actual: Digest, path: string): IntegrityError {
  return new IntegrityError(`blob ${digest} is damaged: its bytes have the digest ${actual}`, {
    code: 'E_BLOB_DAMAGED',
    expected: digest,
    actual,
    source: path,
    hint: 'remove the file and build or pull again',
  });
}
