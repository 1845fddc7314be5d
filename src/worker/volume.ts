/** Volumes by the user's word: listed, filled, read and deleted. Steps and containers may be using them meanwhile. */
import { lstatSync, mkdirSync } from 'node:fs';
import { basename, dirname, join, posix } from 'node:path';
import { DefinitionError, UsageError } from '../errors.ts';
import { type CopyEntry, type CopyOptions, native, type ScanEntry } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import { encodeCopyEntries } from '../native/copy-entries.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { WorkerMethods } from './protocol.ts';

type Params<M extends keyof WorkerMethods> = WorkerMethods[M]['params'];
type Result<M extends keyof WorkerMethods> = WorkerMethods[M]['result'];

export async function listVolume(
  { executor }: WorkerContext,
  { use, path }: Params<'listVolume'>,
  { signal }: RequestContext,
): Promise<Result<'listVolume'>> {
  const held = await executor.volumes.hold(use, signal);
  try {
    const { inside, kind } = find(held.dir, path);
    if (kind !== 'directory') {
      return { paths: [path] };
    }
    const start = path === '/' ? '/' : `${path}/`;
    const entries = await scan(join(held.dir, inside), `cannot list '${path}' of the volume`, signal);
    return {
      paths: entries.map((entry) => `${start}${text(entry)}${entry.kind === 'directory' ? '/' : ''}`),
    };
  } finally {
    held.release();
  }
}

/** What is written is the user's: id 0 is whoever runs tsbuild. */
export async function putVolume(
  { executor }: WorkerContext,
  { use, source, path }: Params<'putVolume'>,
  request: RequestContext,
): Promise<Result<'putVolume'>> {
  const held = await executor.volumes.hold(use, request.signal);
  const doing = `cannot write '${path}' of the volume`;
  try {
    const stat = lstatSync(source);
    const root: CopyEntry = { source, destination: path, kind: 'file', ...OWN };
    let entries: CopyEntry[] = [{ ...root, follow: true }];
    if (stat.isDirectory()) {
      const below = await scan(source, doing, request.signal);
      entries = [
        { ...root, kind: 'directory', keepsExisting: true },
        ...below.flatMap((entry) => copyOf(entry, `${source}/`, `${posix.join(path, '/')}`)),
      ];
    }
    return await copyAll({ root: held.dir, entries, strict: true }, doing, path, request);
  } finally {
    held.release();
  }
}

export async function getVolume(
  { executor }: WorkerContext,
  { use, path, destination }: Params<'getVolume'>,
  request: RequestContext,
): Promise<Result<'getVolume'>> {
  const held = await executor.volumes.hold(use, request.signal);
  const doing = `cannot write '${destination}'`;
  try {
    const { inside, kind, mode } = find(held.dir, path);
    const existing = lstatSync(destination, { throwIfNoEntry: false });
    if (existing !== undefined && existing.isDirectory() !== (kind === 'directory')) {
      throw new UsageError(`cannot write '${destination}': it is there, and no ${kind}`, {
        code: 'E_OUTPUT_EXISTS',
      });
    }
    // Links that came out of a volume before lead nowhere but there: nothing beside the destination can be reached.
    const root = kind === 'directory' ? destination : dirname(destination);
    mkdirSync(root, { recursive: true });
    const name = kind === 'directory' ? '/' : `/${basename(destination)}`;
    const entries: CopyEntry[] = [
      { source: inside, destination: name, kind, mode, keepsExisting: existing !== undefined, ...OWN },
    ];
    if (kind === 'directory') {
      const below = await scan(join(held.dir, inside), doing, request.signal);
      const copies = (entry: ScanEntry) =>
        copyOf(entry, inside === '' ? '' : `${inside}/`, '/').map((copy) => ({
          ...copy,
          mode: entry.mode & PLAIN_MODE,
        }));
      entries.push(...below.flatMap(copies));
    }
    return await copyAll(
      // Links that a step puts somewhere meanwhile lead nowhere.
      { root, sourceRoot: held.dir, entries, strict: true },
      doing,
      destination,
      request,
    );
  } finally {
    held.release();
  }
}

export async function removeFromVolume(
  { executor }: WorkerContext,
  { use, path }: Params<'removeFromVolume'>,
  { signal }: RequestContext,
): Promise<Result<'removeFromVolume'>> {
  const held = await executor.volumes.hold(use, signal);
  try {
    const removed = await callNative(signal, `cannot remove '${path}' from the volume`, (cancel) =>
      native().removeInRoot(held.dir, path, cancel),
    );
    if (!removed) {
      throw notThere(path);
    }
    return {};
  } finally {
    held.release();
  }
}

export async function deleteVolume(
  { executor }: WorkerContext,
  { place }: Params<'deleteVolume'>,
): Promise<Result<'deleteVolume'>> {
  return { existed: await executor.volumes.delete(place) };
}

const OWN = { uid: 0, gid: 0 } as const;
/** What a container made must not run with the rights of the user for others of this machine. */
const PLAIN_MODE = 0o1777;

async function copyAll(
  { entries, ...options }: Omit<CopyOptions, 'entries'> & { readonly entries: readonly CopyEntry[] },
  doing: string,
  subject: string,
  { signal, emit }: RequestContext,
): Promise<{ readonly sizeBytes: number }> {
  const id = `copy ${subject}`;
  return await callNative(signal, doing, (cancel) =>
    native().copyInto({ ...options, entries: encodeCopyEntries(entries) }, cancel, (doneBytes) =>
      emit({ kind: 'progress', id, activity: 'copy', subject, doneBytes, state: 'running' }),
    ),
  );
}

/** Sockets, pipes and devices are passed over. */
function copyOf(entry: ScanEntry, from: string, to: string): CopyEntry[] {
  const { kind, path, link } = entry;
  if (kind !== 'file' && kind !== 'directory' && kind !== 'symlink') {
    return [];
  }
  return [
    {
      source: Buffer.concat([Buffer.from(from), path]),
      destination: Buffer.concat([Buffer.from(to), path]),
      kind,
      ...(link === undefined ? {} : { link }),
      ...OWN,
    },
  ];
}

/** @throws {DefinitionError} `E_FILE_NOT_FOUND` */
function find(
  dir: string,
  path: string,
): { readonly inside: string; readonly kind: 'file' | 'directory'; readonly mode: number } {
  const found = native().statInRoot(dir, path);
  if (found?.kind !== 'file' && found?.kind !== 'directory') {
    throw notThere(path);
  }
  return {
    inside: found.path.toString('utf8').replace(/^\//, ''),
    kind: found.kind,
    mode: found.mode & PLAIN_MODE,
  };
}

function notThere(path: string): DefinitionError {
  return new DefinitionError(`the volume has no '${path}'`, { code: 'E_FILE_NOT_FOUND' });
}

async function scan(root: string, doing: string, signal: AbortSignal): Promise<readonly ScanEntry[]> {
  return await callNative(signal, doing, (cancel) => native().scanTree(root, cancel));
}

function text({ path }: ScanEntry): string {
  return path.toString('utf8');
}
