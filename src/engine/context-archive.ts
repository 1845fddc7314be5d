/**
 * Archives as build contexts: tar, plain or compressed, told by content. They come from anywhere, so that nothing in them
 * leads out of the directory that they are unpacked into, and none grows beyond bounds.
 */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import tar from 'tar-stream';
import { redactText } from '../base/redact.ts';
import { HostError, IntegrityError, TsbuildError } from '../errors.ts';
import { splitZstdFrames } from '../image/zstd-frames.ts';

export type ArchiveForm = 'tar' | 'gzip' | 'zstd' | 'bzip2' | 'xz';

export interface UnpackContextOptions {
  readonly form: ArchiveForm;
  /** An existing directory that is empty. */
  readonly directory: string;
  /** For errors. */
  readonly what: string;
  readonly signal: AbortSignal;
  /** PATH is where bzip2 and xz are looked for. */
  readonly environment: NodeJS.ProcessEnv;
  /** @defaultValue {@link ARCHIVE_LIMITS} */
  readonly limits?: ArchiveLimits;
}

export interface ArchiveLimits {
  readonly maxBytes: number;
  readonly maxEntries: number;
  /** Times the compressed bytes, once there are more than {@link freeBytes}. */
  readonly maxRatio: number;
  readonly freeBytes: number;
}

export interface UnpackedContext {
  /** When the newest file was changed, in seconds since the epoch; undefined when there is no file. */
  readonly newestSeconds: number | undefined;
  /** Devices and pipes, which a context cannot have. */
  readonly skipped: readonly string[];
}

/** No context is larger; what is, is a bomb. The ratio is that of the layers of images. */
export const ARCHIVE_LIMITS: ArchiveLimits = {
  maxBytes: 256 * 1024 ** 3,
  maxEntries: 2_000_000,
  maxRatio: 1000,
  freeBytes: 64 * 1024 ** 2,
};
/** How much of the beginning {@link archiveForm} needs. */
export const ARCHIVE_HEADER_BYTES = 512;

const MAGIC: readonly (readonly [form: ArchiveForm, bytes: readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b, 0x08]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  // RFC 8878, section 3.1.2: a skippable frame, with which parallel compressors begin.
  ['zstd', [0x50, 0x2a, 0x4d, 0x18]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
];
const CHECKSUM_AT = 148;
const CHECKSUM_LENGTH = 8;
/** xz may be told to need any amount. */
const XZ_MEMORY = '1GiB';
/** Of the programs' complaints, what an error shows. */
const MAX_COMPLAINT_BYTES = 1024;
/** PATH_MAX. */
const MAX_PATH_BYTES = 4096;
/** How many names of devices are remembered. */
const MAX_SKIPPED = 10;

/** What the beginning of a file says that it is; undefined for whatever is no archive. */
export function archiveForm(head: Buffer): ArchiveForm | undefined {
  const compressed = MAGIC.find(([, magic]) => head.subarray(0, magic.length).equals(Buffer.from(magic)));
  return compressed?.[0] ?? (isTarHeader(head) ? 'tar' : undefined);
}

/** POSIX, "ustar Interchange Format": the sum of the header's bytes, its own field counted as spaces. Zeros are an end. */
function isTarHeader(head: Buffer): boolean {
  const block = head.subarray(0, ARCHIVE_HEADER_BYTES);
  if (block.length < ARCHIVE_HEADER_BYTES) {
    return false;
  }
  if (block.every((byte) => byte === 0)) {
    return true;
  }
  const field = block.subarray(CHECKSUM_AT, CHECKSUM_AT + CHECKSUM_LENGTH);
  const text = field.toString('latin1').replace(/^[ \0]+|[ \0].*$/gs, '');
  const sum = block.reduce((total, byte) => total + byte, 0) - field.reduce((total, byte) => total + byte, 0);
  return /^[0-7]{1,7}$/.test(text) && Number.parseInt(text, 8) === sum + CHECKSUM_LENGTH * 0x20;
}

/**
 * Unpacks an archive. Owners, extended attributes, devices and pipes are left out; what a directory or file says of its mode
 * is kept, but that its owner can read it.
 *
 * @throws {IntegrityError} `E_BAD_ARCHIVE`, `E_ARCHIVE_LIMIT`. @throws {HostError} `E_IO`, `E_DISK_FULL`, `E_TOOL_MISSING`.
 */
export async function unpackContext(
  source: AsyncIterable<Uint8Array>,
  options: UnpackContextOptions,
): Promise<UnpackedContext> {
  const { form, what, signal, limits = ARCHIVE_LIMITS } = options;
  const extract = tar.extract(EXTRACT_OPTIONS);
  const counter = new Counter(what, limits);
  const feeding = pipeline(
    [
      Readable.from(decompressible(counter.compressed(source), options), { objectMode: false }),
      ...decompressor(form),
      counter.expanded(),
      // A stream by every measure but its type.
      extract as unknown as NodeJS.WritableStream,
    ],
    { signal },
  );
  const fed = feeding.catch((error: unknown) => error);
  const tree = new ContextTree(options);
  try {
    for await (const entry of extract) {
      counter.entry();
      await tree.add(entry.header, entry as AsyncIterable<Buffer>);
      entry.resume();
    }
    await feeding;
    return tree.finish();
  } catch (error) {
    signal.throwIfAborted();
    // The unpacking ends when the feeding does, and the other way round: the one that says more was the first.
    const other = await fed;
    signal.throwIfAborted();
    throw asOurs([error, other], what);
  }
}

function asOurs(errors: readonly unknown[], what: string): Error {
  const ours = errors.find((error) => error instanceof TsbuildError);
  const ofSystem = errors.find(
    (error) => (error as NodeJS.ErrnoException | undefined)?.syscall !== undefined,
  );
  return (
    ours ?? (ofSystem === undefined ? malformed(what, errors) : ioError(ofSystem as NodeJS.ErrnoException))
  );
}

function malformed(what: string, errors: readonly unknown[]): IntegrityError {
  // What a stream says whose neighbour failed.
  const cause = errors.find(
    (error) => (error as NodeJS.ErrnoException | undefined)?.code !== 'ERR_STREAM_PREMATURE_CLOSE',
  );
  return bad(what, redactText((cause as Error | undefined)?.message ?? 'it ends too early', 200), cause);
}

/** Names byte for byte; also tars from before POSIX. The types of tar-stream have not heard of either. */
const EXTRACT_OPTIONS: object = { filenameEncoding: 'latin1', allowUnknownFormat: true };

class Counter {
  readonly #what: string;
  readonly #limits: ArchiveLimits;
  #compressed = 0;
  #expanded = 0;
  #entries = 0;

  constructor(what: string, limits: ArchiveLimits) {
    this.#what = what;
    this.#limits = limits;
  }

  async *compressed(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      this.#compressed += chunk.length;
      yield chunk;
    }
  }

  expanded(): Transform {
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        this.#expanded += chunk.length;
        const { maxBytes, maxRatio, freeBytes } = this.#limits;
        const most = Math.min(maxBytes, Math.max(freeBytes, this.#compressed * maxRatio));
        done(
          this.#expanded > most
            ? limit(this.#what, `its ${this.#compressed} bytes expand to more than ${most}`)
            : null,
          chunk,
        );
      },
    });
  }

  entry(): void {
    this.#entries += 1;
    if (this.#entries > this.#limits.maxEntries) {
      throw limit(this.#what, `it has more than ${this.#limits.maxEntries} entries`);
    }
  }
}

/** What Node decompresses itself, in pieces that it can take; the rest goes through a program. */
function decompressible(
  input: AsyncIterable<Uint8Array>,
  options: UnpackContextOptions,
): AsyncIterable<Uint8Array> {
  switch (options.form) {
    case 'tar':
    case 'gzip':
      return input;
    case 'zstd':
      return splitZstdFrames(input);
    case 'bzip2':
      return throughProgram('bzip2', ['-dc'], input, options);
    case 'xz':
      return throughProgram('xz', ['-dc', `--memlimit-decompress=${XZ_MEMORY}`], input, options);
  }
}

function decompressor(form: ArchiveForm): readonly NodeJS.ReadWriteStream[] {
  return form === 'gzip' ? [createGunzip()] : form === 'zstd' ? [createZstdDecompress()] : [];
}

/** Node decompresses neither; every machine has both programs. */
async function* throughProgram(
  program: string,
  args: readonly string[],
  input: AsyncIterable<Uint8Array>,
  { what, environment }: UnpackContextOptions,
): AsyncGenerator<Buffer> {
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: environment.PATH, LC_ALL: 'C' },
  });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString('utf8')).slice(0, MAX_COMPLAINT_BYTES);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  ended.catch(() => undefined);
  // A program that ends early closes its input, and has its reason; its status says so.
  const feeding = pipeline(Readable.from(input, { objectMode: false }), child.stdin).then(
    () => undefined,
    (error: unknown) => error,
  );
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    const status = await ended;
    const notFed = await feeding;
    if (notFed instanceof TsbuildError || (status === 0 && notFed !== undefined)) {
      throw notFed;
    }
    if (status !== 0) {
      throw bad(what, redactText(complaint.trim(), 200) || `${program} cannot read it`);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall?.startsWith('spawn')) {
      throw new HostError(`${what} is compressed by ${program}, which is not on this machine's PATH`, {
        code: 'E_TOOL_MISSING',
        hint: `install ${program}, or compress the context with gzip or zstd`,
        cause: error,
      });
    }
    throw error;
  } finally {
    child.kill();
  }
}

interface Attributes {
  readonly mode: number;
  readonly seconds: number;
}

/**
 * The directory as it grows. Paths are strings of bytes (latin1), so that names need not be UTF-8. Its system calls are
 * synchronous: there are five for a file, and nothing else is going on that would have to wait.
 */
class ContextTree {
  readonly #options: UnpackContextOptions;
  /** Real directories, by path; they stay. */
  readonly #directories = new Set<string>(['']);
  /** What is set when nothing more is written into them. */
  readonly #attributes = new Map<string, Attributes>();
  readonly #skipped: string[] = [];
  #newest: number | undefined;

  constructor(options: UnpackContextOptions) {
    this.#options = options;
  }

  async add(header: tar.Header, content: AsyncIterable<Buffer>): Promise<void> {
    const parts = this.#parts(bytesOf(header.name, paxOf(header).path));
    const target = bytesOf(header.linkname ?? '', paxOf(header).linkpath);
    const path = parts.join('/');
    const attributes = { mode: (header.mode ?? 0o644) & 0o7777, seconds: secondsOf(header) };
    if (path === '') {
      return;
    }
    this.#makeDirectories(parts.slice(0, -1));
    switch (header.type) {
      case 'directory':
        this.#directory(path, attributes);
        break;
      case 'file':
      case 'contiguous-file':
        await this.#file(path, attributes, content);
        break;
      case 'symlink':
        this.#clear(path);
        fs.symlinkSync(Buffer.from(target, 'latin1'), this.#real(path));
        fs.lutimesSync(this.#real(path), attributes.seconds, attributes.seconds);
        break;
      case 'link':
        this.#link(path, this.#parts(target));
        break;
      case 'character-device':
      case 'block-device':
      case 'fifo':
        if (this.#skipped.length < MAX_SKIPPED) {
          this.#skipped.push(shown(path));
        }
        break;
      default:
        throw this.#bad(`'${shown(path)}' is of a kind that is not read`);
    }
  }

  finish(): UnpackedContext {
    // Those inside first: a directory that cannot be written any more is done.
    for (const [path, { mode, seconds }] of [...this.#attributes].toSorted(
      ([a], [b]) => b.length - a.length,
    )) {
      fs.chmodSync(this.#real(path), mode | 0o500);
      fs.utimesSync(this.#real(path), seconds, seconds);
    }
    return { newestSeconds: this.#newest, skipped: this.#skipped };
  }

  #directory(path: string, attributes: Attributes): void {
    if (!this.#directories.has(path)) {
      if (this.#stat(path)?.isDirectory() !== true) {
        this.#clear(path);
        fs.mkdirSync(this.#real(path), { mode: 0o700 });
      }
      this.#directories.add(path);
    }
    this.#attributes.set(path, attributes);
  }

  async #file(path: string, { mode, seconds }: Attributes, content: AsyncIterable<Buffer>): Promise<void> {
    this.#clear(path);
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = fs.constants;
    const fd = fs.openSync(this.#real(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      for await (const chunk of content) {
        this.#options.signal.throwIfAborted();
        for (let done = 0; done < chunk.length; ) {
          done += fs.writeSync(fd, chunk, done);
        }
      }
      fs.fchmodSync(fd, mode | 0o400);
      fs.futimesSync(fd, seconds, seconds);
    } finally {
      fs.closeSync(fd);
    }
    this.#newest = Math.max(this.#newest ?? 0, Math.floor(seconds));
  }

  #link(path: string, target: readonly string[]): void {
    const to = target.join('/');
    const parent = target.slice(0, -1).join('/');
    if (!this.#directories.has(parent) || this.#stat(to)?.isFile() !== true) {
      throw this.#bad(`'${shown(path)}' is a link to '${shown(to)}', which is no file of it`);
    }
    if (to !== path) {
      this.#clear(path);
      fs.linkSync(this.#real(to), this.#real(path));
    }
  }

  #makeDirectories(parts: readonly string[]): void {
    for (let depth = 1; depth <= parts.length; depth += 1) {
      const path = parts.slice(0, depth).join('/');
      if (this.#directories.has(path)) {
        continue;
      }
      const found = this.#stat(path);
      if (found === undefined) {
        fs.mkdirSync(this.#real(path), { mode: 0o755 });
      } else if (!found.isDirectory()) {
        throw this.#bad(`something lies below '${shown(path)}', which is no directory`);
      }
      this.#directories.add(path);
    }
  }

  /** Later entries replace earlier ones, but no directories. */
  #clear(path: string): void {
    const found = this.#stat(path);
    if (found?.isDirectory()) {
      throw this.#bad(`'${shown(path)}' is a directory and something else`);
    }
    if (found !== undefined) {
      fs.unlinkSync(this.#real(path));
    }
  }

  #stat(path: string): fs.Stats | undefined {
    return fs.lstatSync(this.#real(path), { throwIfNoEntry: false });
  }

  #parts(path: string): string[] {
    const parts = path.split('/').filter((part) => part !== '' && part !== '.');
    if (parts.includes('..') || path.includes('\0') || path.length > MAX_PATH_BYTES) {
      throw this.#bad(`'${shown(path)}' is not a path inside of it`);
    }
    return parts;
  }

  #real(path: string): Buffer {
    return Buffer.concat([Buffer.from(`${this.#options.directory}/`), Buffer.from(path, 'latin1')]);
  }

  #bad(reason: string): IntegrityError {
    return bad(this.#options.what, reason);
  }
}

/** PAX records are UTF-8, and were decoded; everything else is bytes. */
function bytesOf(name: string, pax: string | undefined): string {
  return pax === undefined ? name : Buffer.from(pax, 'utf8').toString('latin1');
}

function paxOf(header: tar.Header): Readonly<Record<string, string | undefined>> {
  return (header.pax ?? {}) as Record<string, string>;
}

function secondsOf(header: tar.Header): number {
  const exact = paxOf(header).mtime;
  const seconds = exact === undefined ? (header.mtime?.getTime() ?? 0) / 1000 : Number(exact);
  return Number.isFinite(seconds) && seconds > 0 ? seconds : 0;
}

function shown(path: string): string {
  return redactText(Buffer.from(path, 'latin1').toString('utf8'), 200);
}

function bad(what: string, reason: string, cause?: unknown): IntegrityError {
  return new IntegrityError(`cannot unpack ${what}: ${reason}`, {
    code: 'E_BAD_ARCHIVE',
    source: what,
    cause,
  });
}

function limit(what: string, reason: string): IntegrityError {
  return new IntegrityError(`cannot unpack ${what}: ${reason}`, { code: 'E_ARCHIVE_LIMIT', source: what });
}

function ioError(error: NodeJS.ErrnoException): HostError {
  return new HostError(`cannot unpack a build context: ${error.message}`, {
    code: error.code === 'ENOSPC' || error.code === 'EDQUOT' ? 'E_DISK_FULL' : 'E_IO',
    syscall: error.syscall,
    errno: error.code,
    path: error.path,
    cause: error,
  });
}
