/**
 * The tree of files that a build context is: a directory without what is ignored, or what a definition put together, and
 * single files over it. Contents are not opened.
 */
import { lstatSync, realpathSync, statSync } from 'node:fs';
import { pathBytes } from '../base/path-bytes.ts';
import { DefinitionError, HostError } from '../errors.ts';
import type { ContextInput, ContextPart } from '../frontend/dockerfile/context-input.ts';
import type { CancelToken, ListingRow } from '../native/addon.ts';
import { FilePatternMatcher } from '../patterns/file-pattern-matcher.ts';
import { type IgnoreFile, ignoreFileLines, parseIgnoreFile } from '../patterns/ignore-file.ts';
import { rootOnlyPatterns } from '../patterns/root-only.ts';
import { MapTree, type SourceTree, type TreeEntry, walk, walkTop } from '../patterns/source-tree.ts';
import type { ContextTools } from './found-context.ts';
import type { ToHash } from './hash-files.ts';
import type { Listed } from './scan-memory.ts';
import { factsOf } from './stat-facts.ts';
import { walkFiltered } from './walk-filtered.ts';

/** The top has no facts: it is what the worker mounts or makes, and its mode is no business of the key's. */
export interface ContextEntry extends TreeEntry {
  readonly facts?: ToHash['facts'];
  readonly mode: number;
  /** Absent: where its path says, below the root of the context. */
  readonly hostPath?: string;
}

export interface ContextTree {
  /** The directory, links followed. */
  readonly root: string;
  readonly ignore: IgnoreFile | undefined;
  readonly tree: MapTree<ContextEntry>;
  /** Directories that this process may not look into. */
  readonly denied: ReadonlySet<string>;
  /** For `W_IGNORE_ROOT_ONLY`. */
  readonly rootOnlyPatterns: readonly string[];
  /** Of the directory; empty where the context was put together from parts. */
  readonly listed: readonly Listed[];
}

export const contextTop: ContextEntry = { kind: 'directory', mode: 0o755 };

/**
 * @throws {DefinitionError} `E_LOCAL_DIR_MISSING`, `E_LOCAL_FILE_MISSING`, `E_LOCAL_NOT_DIR`; `E_BAD_PATTERN`.
 * @throws {HostError} `E_IO`
 */
export async function contextTree(
  input: Omit<ContextInput, 'kind' | 'selections'>,
  tools: ContextTools,
  cancel: CancelToken,
): Promise<ContextTree> {
  const { directory, ignore: given, parts, files = {} } = input;
  const top = contextTop;
  const placed = new PlacedEntries();
  const denied = new Set<string>();
  const listed: Listed[] = [];
  let root = directory;
  let ignore: IgnoreFile | undefined;
  let matcher: FilePatternMatcher | undefined;
  const names = { top: [] as string[], below: new Set<string>() };
  if (parts === undefined) {
    root = directoryRoot(directory, 'context');
    const seen = noting(diskTree(root, top, { denied, listed }, tools, cancel), names);
    if (given === undefined || 'text' in given) {
      if (given !== undefined) {
        ignore = parseIgnoreFile(given.text, given.name);
        matcher = new FilePatternMatcher(ignoreFileLines(given.text));
      }
      await walk(seen, walkTop('/', top), { exclude: ignore?.matcher }, ({ at, entry }) =>
        placed.add(at, entry),
      );
    } else {
      matcher = given.filter.kind === 'patterns' ? given.filter.matcher : undefined;
      await walkFiltered(seen, '/', top, { filter: given.filter, recursive: true }, (at, entry) =>
        placed.add(at, entry),
      );
    }
  }
  for (const part of parts ?? []) {
    await placePart(placed, part, denied, tools, cancel);
  }
  for (const [at, hostPath] of Object.entries(files)) {
    placed.over(at, fileEntry(hostPath));
  }
  return {
    root,
    ignore,
    tree: new MapTree<ContextEntry>(placed.entries, top),
    denied,
    listed,
    rootOnlyPatterns: matcher === undefined ? [] : rootOnlyPatterns(matcher, names.top, names.below),
  };
}

/** By path. A file takes the place of what was there before, and of what stood where its directories are. */
class PlacedEntries {
  readonly entries = new Map<string, ContextEntry>();

  /** For what a walk gives: nothing stands in its way. */
  add(path: string, entry: ContextEntry): void {
    this.entries.set(path, entry);
  }

  over(path: string, entry: ContextEntry): void {
    for (let slash = path.lastIndexOf('/'); slash > 0; slash = path.lastIndexOf('/', slash - 1)) {
      const parent = path.slice(0, slash);
      if (this.entries.get(parent)?.kind !== 'directory') {
        this.entries.delete(parent);
      }
    }
    const existing = this.entries.get(path);
    if (existing?.kind === 'directory' && entry.kind !== 'directory') {
      for (const each of this.entries.keys()) {
        if (each.startsWith(`${path}/`)) {
          this.entries.delete(each);
        }
      }
    }
    this.entries.set(path, entry);
  }
}

async function placePart(
  placed: PlacedEntries,
  { kind, hostPath, at, filter, recursive }: ContextPart,
  denied: Set<string>,
  tools: ContextTools,
  cancel: CancelToken,
): Promise<void> {
  if (kind === 'file') {
    placed.over(at, fileEntry(hostPath));
    return;
  }
  const root = directoryRoot(hostPath, 'directory of a Mount');
  const top = entryOf(root);
  const deniedHere = new Set<string>();
  if (at !== '/') {
    placed.over(at, top);
  }
  const prefix = at === '/' ? '' : at;
  const disk = diskTree(root, top, { denied: deniedHere, listed: [] }, tools, cancel);
  await walkFiltered(disk, '/', top, { filter, recursive }, (path, entry) =>
    placed.over(`${prefix}${path}`, { ...entry, hostPath: `${root}${path}` }),
  );
  for (const directory of deniedHere) {
    denied.add(directory === '/' ? at : `${prefix}${directory}`);
  }
}

/** What the user named may be a link to the file: the content is meant. */
function fileEntry(path: string): ContextEntry {
  const hostPath = existing(path, 'E_LOCAL_FILE_MISSING', `there is no file at '${path}'`);
  const found = lstatSync(hostPath);
  if (!found.isFile()) {
    throw new DefinitionError(`'${path}' is not a file`, { code: 'E_LOCAL_FILE_MISSING' });
  }
  return entryOf(hostPath);
}

function entryOf(hostPath: string): ContextEntry {
  const found = lstatSync(hostPath, { bigint: true });
  return {
    kind: found.isDirectory() ? 'directory' : 'file',
    mode: Number(found.mode) & 0o7777,
    hostPath,
    facts: factsOf(found),
  };
}

/** What the user named may be a link to the directory. */
export function directoryRoot(directory: string, what: string): string {
  const root = existing(directory, 'E_LOCAL_DIR_MISSING', `there is no ${what} at '${directory}'`);
  if (!statSync(root).isDirectory()) {
    throw new DefinitionError(`the ${what} '${directory}' is not a directory`, { code: 'E_LOCAL_NOT_DIR' });
  }
  return root;
}

function existing(
  path: string,
  code: 'E_LOCAL_DIR_MISSING' | 'E_LOCAL_FILE_MISSING',
  message: string,
): string {
  try {
    return realpathSync(path);
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code;
    if (errno === 'ENOENT' || errno === 'ENOTDIR') {
      throw new DefinitionError(message, { code, cause });
    }
    throw new HostError(`cannot look at '${path}'`, { code: 'E_IO', errno, path, cause });
  }
}

export function permissionDenied(path: string): HostError {
  return new HostError(`cannot list '${path}': permission denied`, {
    code: 'E_IO',
    errno: 'EACCES',
    path,
    hint: 'an ignore file can leave it out',
  });
}

/** Notes the names that a walk comes to. */
function noting(
  tree: SourceTree<ContextEntry>,
  names: { readonly top: string[]; readonly below: Set<string> },
): SourceTree<ContextEntry> {
  return {
    stat: (path) => tree.stat(path),
    async list(directories) {
      const listings = await tree.list(directories);
      for (const [index, rows] of listings.entries()) {
        for (const { name } of rows) {
          if (directories[index] === '/') {
            names.top.push(name);
          } else {
            names.below.add(name);
          }
        }
      }
      return listings;
    },
  };
}

function diskTree(
  root: string,
  top: ContextEntry,
  { denied, listed }: { readonly denied: Set<string>; readonly listed: Listed[] },
  { native, signal }: ContextTools,
  cancel: CancelToken,
): SourceTree<ContextEntry> {
  return {
    stat: () => top,
    async list(directories) {
      signal?.throwIfAborted();
      const wanted = directories.map((path) => pathBytes(path.slice(1)));
      const listings = JSON.parse(await native.scanDirectories(root, wanted, cancel)) as (
        | ListingRow[]
        | null
      )[];
      return listings.map((rows, index) => {
        listed.push({ path: directories[index] as string, rows });
        if (rows === null) {
          denied.add(directories[index] as string);
          return [];
        }
        return rows.map(([name, kind, mode, sizeBytes, dev, ino, mtimeNs, ctimeNs, link]) => {
          const facts = { sizeBytes, dev, ino, mtimeNs, ctimeNs };
          return { name, entry: link === undefined ? { kind, mode, facts } : { kind, mode, facts, link } };
        });
      });
    },
  };
}
