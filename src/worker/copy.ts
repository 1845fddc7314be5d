/** Copy actions, and what they and bind mounts read from: selected files of the user's, or another image. */
import { basename, posix } from 'node:path';
import { DefinitionError, InternalError } from '../errors.ts';
import { lookupOwner, type OwnerIds } from '../executor/user.ts';
import { type CopyAction, ROOT_OWNER } from '../graph/action.ts';
import { type CopyEntry, native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { InputFile, StepInput } from './protocol.ts';

/** An input of a step, open. */
export interface StepInputTree {
  /** What a copy of `source` consists of: paths relative to it, `''` for a file itself. */
  entries(source: string, request: RequestContext): Promise<SourceEntries>;
  /** All of it as a directory, for bind mounts. */
  directory(request: RequestContext): Promise<string>;
  close(): Promise<void>;
}

export interface SourceEntry {
  /** Relative to the source, bytes. Empty for the source itself. */
  readonly path: Buffer;
  readonly kind: 'file' | 'directory' | 'symlink';
  readonly mode: number;
  readonly hostPath: string | Buffer;
  readonly link?: string | Buffer;
  readonly mtimeNs?: string;
  readonly expect?: InputFile['expect'];
}

export interface SourceEntries {
  readonly kind: 'file' | 'directory';
  /** Parents before their children. */
  readonly entries: readonly SourceEntry[];
  /** Whether attributes are carried: from images, not from the user's disk. */
  readonly xattrs: boolean;
}

export async function openInput(
  context: WorkerContext,
  input: Exclude<StepInput, { kind: 'none' }>,
  signal: AbortSignal,
): Promise<StepInputTree> {
  if (input.kind === 'files') {
    return new FilesInput(context, input.files);
  }
  if (input.kind === 'directory') {
    return {
      entries: async (source, request) => ({
        ...(await entriesOfTree(input.hostPath, source, request)),
        xattrs: false,
      }),
      directory: async () => input.hostPath,
      close: async () => undefined,
    };
  }
  const view = await context.driver.view(input.layers, signal);
  return {
    entries: (source, request) => entriesOfTree(view.root, source, request),
    directory: async () => view.root,
    close: () => view.close(),
  };
}

const EPOCH_NS = '0';
const NO_SOURCE = '/';
const NEW_DIRECTORY_MODE = 0o755;

export async function copyFromInput(
  action: CopyAction,
  input: StepInputTree,
  root: string,
  request: RequestContext,
): Promise<void> {
  const { kind, entries, xattrs } = await input.entries(action.source, request);
  const asked = posix.normalize(`/${action.destination}`);
  const destination = asked === '/' ? asked : asked.replace(/\/$/, '');
  const asDirectory =
    kind === 'directory' ||
    asked.endsWith('/') ||
    native().statInRoot(root, destination)?.kind === 'directory';
  const base =
    kind === 'file' && asDirectory ? posix.join(destination, basename(action.source)) : destination;
  const owner = lookupOwner(root, action.owner);
  const wanted = [
    ...missingParents(root, kind === 'directory' ? base : posix.dirname(base), action, owner),
    ...entries
      .filter(({ path }) => kind === 'file' || path.length > 0)
      .map((entry) => copyEntry(entry, base, action, owner, xattrs)),
  ];
  await callNative(request.signal, `cannot copy '${action.source}' to '${action.destination}'`, (cancel) =>
    native().copyInto(root, wanted, cancel, (doneBytes) =>
      request.emit({
        kind: 'progress',
        id: `copy ${action.destination}`,
        activity: 'copy',
        subject: action.destination,
        doneBytes,
        state: 'running',
      }),
    ),
  );
}

function copyEntry(
  entry: SourceEntry,
  base: string,
  action: CopyAction,
  owner: OwnerIds,
  xattrs: boolean,
): CopyEntry {
  const mode = modeOf(entry, action.modes);
  return {
    source: entry.hostPath,
    destination:
      entry.path.length === 0
        ? base
        : Buffer.concat([Buffer.from(base === '/' ? '/' : `${base}/`), entry.path]),
    kind: entry.kind,
    ...owner,
    xattrs,
    ...(mode === undefined ? {} : { mode }),
    ...(entry.link === undefined ? {} : { link: entry.link }),
    ...mtimeOf(entry, action.times),
    ...(entry.expect === undefined ? {} : { expect: entry.expect }),
  };
}

/** Absent keeps what the source has. A link or directory that the front only describes has no time but the one it was given. */
function mtimeOf(
  { mtimeNs, hostPath }: SourceEntry,
  times: CopyAction['times'],
): { readonly mtimeNs?: string } {
  if (times === 'epoch') {
    return { mtimeNs: EPOCH_NS };
  }
  return mtimeNs !== undefined ? { mtimeNs } : hostPath === NO_SOURCE ? { mtimeNs: EPOCH_NS } : {};
}

function modeOf(entry: SourceEntry, modes: CopyAction['modes']): number | undefined {
  if (modes !== 'normalise') {
    return entry.mode;
  }
  return entry.kind === 'directory' || (entry.mode & 0o111) !== 0 ? 0o755 : 0o644;
}

/** Directories that the copy makes on the way get the copy's owner and a fixed time, not the clock's. */
function missingParents(root: string, path: string, { times }: CopyAction, owner: OwnerIds): CopyEntry[] {
  const missing: string[] = [];
  for (let at = path; at !== '/' && native().statInRoot(root, at) === undefined; at = posix.dirname(at)) {
    missing.unshift(at);
  }
  return missing.map((destination) => ({
    source: NO_SOURCE,
    destination,
    kind: 'directory',
    mode: NEW_DIRECTORY_MODE,
    ...owner,
    ...(times === 'epoch' ? { mtimeNs: EPOCH_NS } : { mtimeNs: nowNs() }),
  }));
}

function nowNs(): string {
  return `${Date.now()}000000`;
}

async function entriesOfTree(
  root: string,
  source: string,
  { signal }: RequestContext,
): Promise<SourceEntries> {
  const found = native().statInRoot(root, source);
  if (found === undefined) {
    throw notFound(source);
  }
  const real = posix.join(root, found.path.toString('utf8'));
  if (found.kind === 'file') {
    const entry: SourceEntry = { path: Buffer.alloc(0), kind: 'file', mode: found.mode, hostPath: real };
    return { kind: 'file', entries: [entry], xattrs: true };
  }
  if (found.kind !== 'directory') {
    throw new DefinitionError(`cannot copy '${source}': it is neither a file nor a directory`, {
      code: 'E_FILE_NOT_FOUND',
    });
  }
  const prefix = Buffer.from(`${real}/`);
  const scanned = await callNative(signal, `cannot list '${source}'`, (cancel) =>
    native().scanTree(real, cancel),
  );
  const entries = scanned.flatMap((entry): SourceEntry[] => {
    const { kind, path, mode, link } = entry;
    // Devices, sockets and FIFOs of an image are not copied, as Docker does not.
    return kind === 'file' || kind === 'directory' || kind === 'symlink'
      ? [
          {
            path,
            kind,
            mode,
            hostPath: Buffer.concat([prefix, path]),
            ...(link === undefined ? {} : { link }),
          },
        ]
      : [];
  });
  return { kind: 'directory', entries, xattrs: true };
}

class FilesInput implements StepInputTree {
  readonly #context: WorkerContext;
  readonly #files: readonly InputFile[];
  #copy: string | undefined;

  constructor(context: WorkerContext, files: readonly InputFile[]) {
    this.#context = context;
    this.#files = files;
  }

  async entries(source: string): Promise<SourceEntries> {
    const base = posix.normalize(`/${source}`).replace(/\/$/, '');
    const exact = this.#files.find(({ path }) => path === base);
    if (exact !== undefined && exact.kind !== 'directory') {
      return { kind: 'file', entries: [fileEntry(exact, base)], xattrs: false };
    }
    const below = this.#files.filter(({ path }) => path.startsWith(`${base}/`) && path !== '/');
    if (exact === undefined && below.length === 0 && base !== '') {
      throw notFound(source);
    }
    return { kind: 'directory', entries: below.map((file) => fileEntry(file, `${base}/`)), xattrs: false };
  }

  async directory(request: RequestContext): Promise<string> {
    if (this.#copy === undefined) {
      const dir = this.#context.snapshots.scratch('files');
      this.#copy = dir;
      await copyFromInput(
        {
          kind: 'copy',
          input: 0,
          source: '/',
          destination: '/',
          owner: ROOT_OWNER,
          modes: 'keep',
          times: 'keep',
        },
        this,
        dir,
        request,
      );
    }
    return this.#copy;
  }

  async close(): Promise<void> {
    if (this.#copy !== undefined) {
      await native().removeTree(this.#copy);
    }
  }
}

function fileEntry(file: InputFile, prefix: string): SourceEntry {
  if (file.kind === 'file' && file.hostPath === undefined) {
    throw new InternalError(`input file '${file.path}' has no host path`);
  }
  return {
    path: Buffer.from(file.path.slice(prefix.length)),
    kind: file.kind,
    mode: file.mode,
    hostPath: file.hostPath ?? NO_SOURCE,
    ...(file.link === undefined ? {} : { link: file.link }),
    ...(file.mtimeNs === undefined ? {} : { mtimeNs: file.mtimeNs }),
    ...(file.expect === undefined ? {} : { expect: file.expect }),
  };
}

function notFound(source: string): DefinitionError {
  return new DefinitionError(`cannot copy '${source}': no such file in the input`, {
    code: 'E_FILE_NOT_FOUND',
  });
}
