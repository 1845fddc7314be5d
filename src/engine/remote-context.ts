/**
 * Build contexts that are no directory of this machine: a git repository, an archive of a web server, what comes through
 * standard input. Each becomes a directory that lives as long as the build; a Dockerfile alone is one without files.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { waitWith } from '../base/abort.ts';
import { DefinitionError, HostError } from '../errors.ts';
import { MAX_DOCKERFILE_BYTES } from '../frontend/dockerfile/declaration.ts';
import { type GitSource, parseGitUrl } from '../frontend/dockerfile/git-url.ts';
import { isHttpUrl } from '../frontend/dockerfile/http-url.ts';
import { native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import { ARCHIVE_HEADER_BYTES, type ArchiveForm, archiveForm, unpackContext } from './context-archive.ts';
import type { SourceContext } from './http-files.ts';
import type { RemoteSources } from './remote-sources.ts';

export type RemoteContext =
  | {
      readonly kind: 'directory';
      readonly path: string;
      /** What `SOURCE_DATE_EPOCH=context` stands for; undefined when nothing says it. */
      readonly sourceEpochSeconds?: number;
    }
  | { readonly kind: 'dockerfile'; readonly text: string; readonly sourceEpochSeconds?: number };

/** Its `close` removes what was made for it. */
export type OpenRemoteContext = RemoteContext & AsyncDisposable & { close(): Promise<void> };

export interface RemoteContextOptions extends SourceContext {
  readonly sources: RemoteSources;
  /** A directory of this build for unfinished things; made when it is missing. */
  readonly scratchDir: string;
  readonly environment: NodeJS.ProcessEnv;
  /** BUILDKIT_CONTEXT_KEEP_GIT_DIR. @defaultValue false */
  readonly keepGitDir?: boolean;
  /** Give files of a repository the time of their commit, as builds with SOURCE_DATE_EPOCH do. @defaultValue false */
  readonly commitTimes?: boolean;
}

/** How git keeps modes, whatever the umask was. */
const PLAIN_MODE = 0o644;
const EXECUTABLE_MODE = 0o755;

/**
 * Makes the context available.
 *
 * @param source - A URL, or the bytes that came through standard input: a tar, also compressed, or a Dockerfile.
 * @throws {DefinitionError} `E_CONTEXT`. @throws what fetching, git and unpacking throw.
 */
export async function openRemoteContext(
  source: string | AsyncIterable<Uint8Array>,
  options: RemoteContextOptions,
): Promise<OpenRemoteContext> {
  const directory = join(options.scratchDir, `context-${randomUUID()}`);
  const close = async () => {
    await native().removeTree(directory);
  };
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new HostError(`cannot make '${directory}'`, { code: 'E_IO', path: directory, cause });
  }
  try {
    const context = await make(source, directory, options);
    return { ...context, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function make(
  source: string | AsyncIterable<Uint8Array>,
  directory: string,
  options: RemoteContextOptions,
): Promise<RemoteContext> {
  if (typeof source !== 'string') {
    return await fromBytes(until(options.signal, source), 'standard input', directory, options);
  }
  const repository = parseGitUrl(source);
  if (repository !== undefined) {
    return await fromRepository(repository, directory, options);
  }
  if (!isHttpUrl(source)) {
    throw new DefinitionError(`'${source}' is not a git repository or web URL`, { code: 'E_CONTEXT' });
  }
  return await fromWeb(source, directory, options);
}

async function fromRepository(
  repository: GitSource,
  directory: string,
  { sources, keepGitDir, commitTimes, signal, emit }: RemoteContextOptions,
): Promise<RemoteContext> {
  const context = { signal, emit };
  const commit = await sources.git.resolve(
    keepGitDir === true ? { ...repository, keepGitDir } : repository,
    commitTimes === true ? { mtime: 'commit' } : {},
    context,
  );
  const { path, commitSeconds } = await sources.git.checkout(commit, directory, context);
  await plainModes(path, signal);
  return { kind: 'directory', path, sourceEpochSeconds: commitSeconds };
}

async function fromWeb(
  url: string,
  directory: string,
  options: RemoteContextOptions,
): Promise<RemoteContext> {
  const { sources, signal, emit } = options;
  const file = await sources.http.resolve({ url }, { signal, emit });
  const { path, mtimeSeconds } = await sources.http.contents(file, { signal, emit });
  const context = await fromBytes(createReadStream(path), file.url, directory, options);
  return mtimeSeconds === 0 ? context : { ...context, sourceEpochSeconds: mtimeSeconds };
}

async function fromBytes(
  bytes: AsyncIterable<Uint8Array>,
  what: string,
  directory: string,
  options: RemoteContextOptions,
): Promise<RemoteContext> {
  const { head, whole } = await peek(bytes);
  if (head.length === 0) {
    throw new DefinitionError(`${what} is empty: there is neither a context nor a Dockerfile in it`, {
      code: 'E_CONTEXT',
    });
  }
  const form = archiveForm(head);
  return form === undefined
    ? { kind: 'dockerfile', text: await textOf(whole, what) }
    : await unpacked(whole, form, what, directory, options);
}

async function unpacked(
  bytes: AsyncIterable<Uint8Array>,
  form: ArchiveForm,
  what: string,
  directory: string,
  { signal, emit, environment }: RemoteContextOptions,
): Promise<RemoteContext> {
  const { newestSeconds, skipped } = await unpackContext(bytes, {
    form,
    directory,
    what,
    signal,
    environment,
  });
  if (skipped.length > 0) {
    emit({
      kind: 'warning',
      code: 'W_CONTEXT',
      message: `devices and pipes of ${what} are left out: ${skipped.join(', ')}`,
    });
  }
  return {
    kind: 'directory',
    path: directory,
    ...(newestSeconds === undefined ? {} : { sourceEpochSeconds: newestSeconds }),
  };
}

/** The same, but that it ends with the signal's reason: whoever is to write may never do so. */
async function* until(
  signal: AbortSignal,
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = bytes[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { value, done } = await waitWith(iterator.next(), signal);
      if (done === true) {
        return;
      }
      yield value;
    }
  } finally {
    // Not waited for: it may wait itself.
    iterator.return?.().catch(() => undefined);
  }
}

/** The beginning of a stream, and all of it. */
async function peek(
  bytes: AsyncIterable<Uint8Array>,
): Promise<{ readonly head: Buffer; readonly whole: AsyncIterable<Uint8Array> }> {
  const iterator = bytes[Symbol.asyncIterator]();
  const chunks: Uint8Array[] = [];
  let size = 0;
  while (size < ARCHIVE_HEADER_BYTES) {
    const { value, done } = await iterator.next();
    if (done === true) {
      break;
    }
    chunks.push(value);
    size += value.length;
  }
  async function* all(): AsyncGenerator<Uint8Array> {
    yield* chunks;
    yield* { [Symbol.asyncIterator]: () => iterator };
  }
  return { head: Buffer.concat(chunks).subarray(0, ARCHIVE_HEADER_BYTES), whole: all() };
}

async function textOf(bytes: AsyncIterable<Uint8Array>, what: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of bytes) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_DOCKERFILE_BYTES) {
      throw new DefinitionError(
        `${what} is no archive, and larger than a Dockerfile can be (${MAX_DOCKERFILE_BYTES} bytes)`,
        { code: 'E_CONTEXT' },
      );
    }
  }
  const all = Buffer.concat(chunks);
  if (all.includes(0)) {
    throw new DefinitionError(`${what} is neither an archive that is known nor a Dockerfile`, {
      code: 'E_CONTEXT',
      hint: 'a context can be a tar, plain or compressed by gzip, bzip2, xz or zstd',
    });
  }
  return all.toString('utf8');
}

/** Files of local contexts keep their modes, and git made these under the umask of the user. */
async function plainModes(path: string, signal: AbortSignal): Promise<void> {
  await chmod(path, EXECUTABLE_MODE);
  const entries = await callNative(signal, `cannot list '${path}'`, (cancel) =>
    native().scanTree(path, cancel),
  );
  for (const entry of entries) {
    const executable = entry.kind === 'directory' || (entry.mode & 0o111) !== 0;
    const mode = executable ? EXECUTABLE_MODE : PLAIN_MODE;
    if (entry.kind !== 'symlink' && entry.mode !== mode) {
      await chmod(Buffer.concat([Buffer.from(`${path}/`), entry.path]), mode);
    }
  }
}
