/** What copy actions and bind mounts of a step read from: selected files of the user's, or another image. */
import { chmodSync, lstatSync, readlinkSync, type Stats } from 'node:fs';
import { pathBytes, pathText } from '../base/path-bytes.ts';
import { DefinitionError, HostError, InternalError } from '../errors.ts';
import type { CopySelection } from '../graph/action.ts';
import {
  type CopyEntry,
  type Expectation,
  type ListingRow,
  type NativeTreeIndex,
  native,
} from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import { encodeCopyEntries } from '../native/copy-entries.ts';
import { IndexedTree } from '../patterns/indexed-tree.ts';
import { type SelectedSource, selectSources } from '../patterns/select.ts';
import { type Everything, MapTree, type SourceTree, type TreeEntry } from '../patterns/source-tree.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { InputFile, StepInput } from './protocol.ts';

/** An input of a step, open. */
export interface StepInputTree {
  /** @throws {DefinitionError} `E_COPY_SOURCE_MISSING` */
  select(
    source: string,
    selection: CopySelection | undefined,
    request: RequestContext,
  ): Promise<readonly CopySource[]>;
  /** What paths of entries are relative to; without it they are absolute. */
  readonly sourceRoot: string | undefined;
  /** Whether owners and attributes are carried: from images, not from the user's disk. */
  readonly isImage: boolean;
  /** The file of what the disk cannot say of the source root. */
  readonly owners: string | undefined;
  /** What everything below a directory is looked up in. */
  readonly index?: NativeTreeIndex;
  /** All of it as a directory, for bind mounts. */
  directory(request: RequestContext): Promise<string>;
  close(): Promise<void>;
}

/** A file, or a directory whose contents are meant. */
export interface CopySource {
  /** As it was asked for; its last component is what the file is called. */
  readonly path: string;
  readonly top: SourceEntry;
  /** Directories before what is in them. */
  readonly below: readonly SourceEntry[] | Everything;
}

export interface SourceEntry {
  /** Relative to the source; empty for the source itself. */
  readonly path: string;
  readonly kind: CopyEntry['kind'];
  readonly mode: number;
  /** Where the bytes are. */
  readonly source: string | Buffer;
  readonly link?: string | Buffer;
  /** Absent: as `source` has it. Null: nothing has a time. */
  readonly mtimeNs?: string | null;
  readonly expect?: Expectation;
}

/** `source` is one path, which must exist. */
const ONE_PATH: CopySelection = Object.freeze({ wildcards: false, parents: false, exclude: [] });

export async function openInput(
  context: WorkerContext,
  input: Exclude<StepInput, { kind: 'none' }>,
  signal: AbortSignal,
): Promise<StepInputTree> {
  switch (input.kind) {
    case 'files':
      return new FilesInput(context, input);
    case 'index': {
      const index = await callNative(signal, 'cannot read what is known of the files', () =>
        native().openTreeIndex(input.path),
      );
      return new IndexInput(index, input.name);
    }
    case 'directory':
      return new TreeInput({ root: input.hostPath, isImage: false, name: input.name });
    case 'layers': {
      const view = await context.driver.view(input.layers, signal);
      const { root, owners } = view;
      return new TreeInput({ root, owners, isImage: true, name: input.name, close: () => view.close() });
    }
  }
}

interface MountedEntry extends TreeEntry {
  readonly mode: number;
}

interface TreeInputOptions {
  readonly root: string;
  readonly owners?: string;
  readonly isImage: boolean;
  readonly name: string | undefined;
  readonly close?: () => Promise<void>;
}

/** A mounted image, or a directory that the front made for the step. */
class TreeInput implements StepInputTree {
  readonly isImage: boolean;
  readonly sourceRoot: string;
  readonly owners: string | undefined;
  readonly #options: TreeInputOptions;

  constructor(options: TreeInputOptions) {
    this.isImage = options.isImage;
    this.sourceRoot = options.root;
    this.owners = options.owners;
    this.#options = options;
  }

  async select(source: string, selection: CopySelection | undefined, request: RequestContext) {
    const tree = new MountedTree(this.sourceRoot, request.signal);
    return await selectFrom(
      tree,
      source,
      selection,
      this.#options.name ?? 'the image that it is copied from',
      toEntry,
    );
  }

  async directory(): Promise<string> {
    return this.sourceRoot;
  }

  async close(): Promise<void> {
    await this.#options.close?.();
  }
}

/** A mounted root, which nobody changes. */
class MountedTree implements SourceTree<MountedEntry> {
  readonly #root: string;
  readonly #signal: AbortSignal;

  constructor(root: string, signal: AbortSignal) {
    this.#root = root;
    this.#signal = signal;
  }

  stat(path: string): MountedEntry | undefined {
    const place = Buffer.concat([Buffer.from(this.#root), pathBytes(path)]);
    const found = lstatSync(place, { throwIfNoEntry: false });
    if (found === undefined) {
      return undefined;
    }
    const kind = kindOf(found);
    const link = kind === 'symlink' ? { link: pathText(readlinkSync(place, { encoding: 'buffer' })) } : {};
    return { kind, mode: found.mode & 0o7777, ...link };
  }

  async list(directories: readonly string[]) {
    const json = await callNative(this.#signal, 'cannot list what is to be copied', (cancel) =>
      native().scanDirectories(
        this.#root,
        directories.map((path) => pathBytes(path.slice(1))),
        cancel,
      ),
    );
    return (JSON.parse(json) as (readonly ListingRow[] | null)[]).map((rows, index) => {
      if (rows === null) {
        throw new HostError(`cannot list '${directories[index]}', which is to be copied: permission denied`, {
          code: 'E_IO',
          errno: 'EACCES',
        });
      }
      return rows.map(([name, kind, mode, , , , , , link]) => ({
        name,
        entry: { kind, mode, ...(link === undefined ? {} : { link }) },
      }));
    });
  }
}

function kindOf(stat: Stats): TreeEntry['kind'] {
  if (stat.isFile()) {
    return 'file';
  }
  if (stat.isDirectory()) {
    return 'directory';
  }
  if (stat.isSymbolicLink()) {
    return 'symlink';
  }
  if (stat.isFIFO()) {
    return 'fifo';
  }
  if (stat.isSocket()) {
    return 'socket';
  }
  return stat.isCharacterDevice() ? 'char' : 'block';
}

function toEntry(path: string, at: string, { kind, mode, link }: MountedEntry): SourceEntry {
  const isNode = kind !== 'file' && kind !== 'directory' && kind !== 'symlink';
  return {
    path,
    kind: isNode ? 'node' : kind,
    mode,
    source: pathBytes(at),
    ...(link === undefined ? {} : { link: pathBytes(link) }),
  };
}

interface ListedEntry extends TreeEntry {
  readonly file: InputFile | undefined;
}

/** Directories that lead to a file and that nobody described. */
const IMPLIED: ListedEntry = Object.freeze({ kind: 'directory', file: undefined });
const IMPLIED_MODE = 0o755;

class FilesInput implements StepInputTree {
  readonly isImage = false;
  readonly sourceRoot = undefined;
  readonly owners = undefined;
  readonly #context: WorkerContext;
  readonly #name: string | undefined;
  /** Indexed once, however many actions read from it. */
  readonly #tree: MapTree<ListedEntry>;
  #copy: string | undefined;

  constructor(context: WorkerContext, { files, name }: Extract<StepInput, { kind: 'files' }>) {
    this.#context = context;
    this.#name = name;
    this.#tree = new MapTree(
      files.map((file): [string, ListedEntry] => [
        file.path,
        { kind: file.kind, file, ...(file.link === undefined ? {} : { link: file.link }) },
      ]),
      IMPLIED,
    );
  }

  select(source: string, selection: CopySelection | undefined) {
    return selectFrom(
      this.#tree,
      source,
      selection,
      this.#name ?? 'the files that it is copied from',
      fileEntry,
    );
  }

  async directory(request: RequestContext): Promise<string> {
    if (this.#copy === undefined) {
      const root = this.#context.snapshots.scratch('files');
      this.#copy = root;
      // The user of a step is not always root.
      chmodSync(root, IMPLIED_MODE);
      const entries = (await this.select('/', undefined)).flatMap(({ below }) =>
        'directory' in below ? [] : below,
      );
      await callNative(request.signal, 'cannot lay out the files of a mount', (cancel) =>
        native().copyInto(
          {
            root,
            entries: encodeCopyEntries(
              entries.map(({ path, mtimeNs, ...entry }) => ({
                ...entry,
                destination: pathBytes(path),
                uid: 0,
                gid: 0,
                ...(mtimeNs === undefined ? {} : { mtimeNs: mtimeNs ?? '0' }),
              })),
            ),
          },
          cancel,
        ),
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

interface IndexedEntry extends TreeEntry {
  readonly row: ListingRow | undefined;
}

/** Directories of the user's, of which native code knows everything. */
class IndexInput implements StepInputTree {
  readonly isImage = false;
  readonly sourceRoot = undefined;
  readonly owners = undefined;
  readonly index: NativeTreeIndex;
  readonly #name: string | undefined;
  readonly #tree: IndexedTree<IndexedEntry, ListingRow>;

  constructor(index: NativeTreeIndex, name: string | undefined) {
    this.index = index;
    this.#name = name;
    this.#tree = new IndexedTree<IndexedEntry, ListingRow>(
      index,
      { kind: 'directory', row: undefined },
      (row) => {
        const [, kind, , , , , , , link] = row;
        return link === undefined ? { kind, row } : { kind, row, link };
      },
    );
  }

  async select(source: string, selection: CopySelection | undefined): Promise<readonly CopySource[]> {
    const { root } = this.index;
    const selected = await selectFrom(
      this.#tree,
      source,
      selection,
      this.#name ?? 'the files that it is copied from',
      (path, at, { row }) => indexedEntry(path, root, at, row),
    );
    // Pipes and devices are left out.
    return selected.map(({ below, ...more }) => ({
      ...more,
      below: 'directory' in below ? below : below.filter(({ kind }) => kind !== 'node'),
    }));
  }

  async directory(): Promise<string> {
    throw new InternalError('an index is only copied from');
  }

  async close(): Promise<void> {}
}

function indexedEntry(path: string, root: string, at: string, row: ListingRow | undefined): SourceEntry {
  const source = at === '/' ? root : `${root}${at}`;
  if (row === undefined) {
    return { path, kind: 'directory', mode: IMPLIED_MODE, source, mtimeNs: null };
  }
  const [, kind, mode, sizeBytes, , , mtimeNs, ctimeNs, link] = row;
  return {
    path,
    kind:
      kind === 'socket' ? 'empty' : kind === 'fifo' || kind === 'char' || kind === 'block' ? 'node' : kind,
    mode,
    source,
    mtimeNs,
    ...(link === undefined ? {} : { link }),
    ...(kind === 'file' ? { expect: { sizeBytes, mtimeNs, ctimeNs } } : {}),
  };
}

function fileEntry(path: string, at: string, { kind, file }: ListedEntry): SourceEntry {
  const { hostPath, link, mode = IMPLIED_MODE, mtimeNs, expect } = file ?? { path: at };
  const isEmpty = kind === 'file' && hostPath === undefined;
  return {
    path,
    kind: isEmpty ? 'empty' : (kind as 'file' | 'directory' | 'symlink'),
    mode,
    source: hostPath ?? at,
    ...(link === undefined ? {} : { link }),
    // What the front only describes has no times to keep.
    ...(mtimeNs !== undefined ? { mtimeNs } : hostPath === undefined ? { mtimeNs: null } : {}),
    ...(expect === undefined ? {} : { expect }),
  };
}

async function selectFrom<E extends TreeEntry>(
  tree: SourceTree<E>,
  source: string,
  selection: CopySelection | undefined,
  from: string,
  toSource: (path: string, at: string, entry: E) => SourceEntry,
): Promise<readonly CopySource[]> {
  const selected = await selectSources(tree, source, selection ?? ONE_PATH);
  switch (selected.kind) {
    case 'selected':
      return selected.matches.map(({ path, at, entry, below }: SelectedSource<E>) => ({
        path,
        top: toSource('', at, entry),
        below: 'directory' in below ? below : below.map((each) => toSource(each.path, each.at, each.entry)),
      }));
    case 'missing': {
      const { path, at } = selected;
      const why = at === path ? 'no such file' : `it leads to '${at}', where there is nothing`;
      throw new DefinitionError(`cannot copy '${path}' from ${from}: ${why}`, {
        code: 'E_COPY_SOURCE_MISSING',
      });
    }
    case 'loop':
      throw new DefinitionError(`cannot copy '${selected.path}' from ${from}: its links lead in a circle`, {
        code: 'E_COPY_SOURCE_MISSING',
      });
  }
}
