/**
 * Copy actions: sources go to their places in the root, and archives are unpacked there.
 *
 * Source: reference of the Dockerfile, "COPY" and "ADD"; where that is silent, what BuildKit does.
 */
import { join, posix } from 'node:path';
import { octalMode, parseChmod } from '../base/chmod.ts';
import { pathBytes } from '../base/path-bytes.ts';
import { DefinitionError, InternalError } from '../errors.ts';
import { lookupOwner, type OwnerIds } from '../executor/user.ts';
import type { CopyAction } from '../graph/action.ts';
import { type CopyBelow, type CopyEntry, native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import { encodeCopyEntries } from '../native/copy-entries.ts';
import type { Everything } from '../patterns/source-tree.ts';
import { resolveInTree } from '../snapshot/resolve.ts';
import type { ChangedTree } from './changed-tree.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { CopySource, SourceEntry, StepInputTree } from './step-input.ts';

const EPOCH_NS = '0';
const NEW_DIRECTORY_MODE = 0o755;
const PERMISSIONS = 0o777;
/** `/a/.` is as good as `/a/`. */
const NAMES_DIRECTORY = /\/\.{0,2}$/;

/** What is said about everything that one action copies. */
export type Placing = Pick<CopyAction, 'destination' | 'owner' | 'modes' | 'times'> & {
  /** What messages say. */
  readonly doing: string;
  /** A link at the destination is followed, also where it leads to nothing; otherwise a file replaces it. */
  readonly followsDestination: boolean;
  readonly unpack: boolean;
  /** When what is made on the way was made, in seconds since the epoch. @defaultValue now */
  readonly madeSeconds?: number;
};

type CopiedFrom = Pick<StepInputTree, 'sourceRoot' | 'isImage' | 'owners' | 'index'>;

export async function copyFromInput(
  context: WorkerContext,
  action: CopyAction,
  input: StepInputTree,
  target: ChangedTree,
  request: RequestContext,
): Promise<void> {
  const sources = await input.select(action.source, action.select, request);
  await placeSources(context, placingOf(action), sources, input, target, request);
}

/** What {@link copyFromInput} would copy, of an action that unpacks nothing. The root of `target` is only looked at. */
export async function entriesOfCopy(
  context: WorkerContext,
  action: CopyAction & Pick<Placing, 'madeSeconds'>,
  input: StepInputTree,
  target: ChangedTree,
  request: RequestContext,
): Promise<{
  readonly entries: readonly (CopyEntry | CopyBelow)[];
  readonly doing: string;
  readonly progress: (doneBytes: number) => void;
}> {
  const { source, select } = action;
  const placing = placingOf(action);
  const placer = new Placer(context, placing, input, target, request);
  for (const [tree, each] of (await input.select(source, select, request)).entries()) {
    placer.add(each, tree);
  }
  return { entries: placer.take(), doing: placing.doing, progress: placer.progress };
}

function placingOf(action: CopyAction): Placing {
  const { source, destination, select, unpack = false } = action;
  const doing = `cannot copy '${source}' to '${destination}'`;
  return { ...action, doing, followsDestination: select !== undefined, unpack };
}

/**
 * A file lands at the destination, or in it where that is a directory by its name or in the root; the contents of a
 * directory land in it. Of several files for one place the last one stays.
 */
export async function placeSources(
  context: WorkerContext,
  placing: Placing,
  sources: readonly CopySource[],
  input: CopiedFrom,
  target: ChangedTree,
  request: RequestContext,
): Promise<void> {
  const placer = new Placer(context, placing, input, target, request);
  for (const [tree, source] of sources.entries()) {
    if (placing.unpack && source.top.kind === 'file' && (await placer.isArchive(source.top))) {
      await placer.unpack(source);
    } else {
      placer.add(source, tree);
    }
  }
  await placer.flush();
}

class Placer {
  readonly #context: WorkerContext;
  readonly #placing: Placing;
  readonly #input: CopiedFrom;
  readonly #target: ChangedTree;
  readonly #root: string;
  readonly #request: RequestContext;
  /** In the root, links followed. */
  readonly #destination: string;
  readonly #owner: OwnerIds;
  readonly #mode: ModeOf;
  /** Of directories that are made on the way. */
  readonly #newDirectory: Pick<CopyEntry, 'kind' | 'mode' | 'uid' | 'gid'>;
  #isDirectory: boolean;
  /** Directories that do not exist yet, shallowest first, and that no entry makes so far. */
  #missing: string[];
  readonly #entries: (CopyEntry | CopyBelow)[] = [];
  #doneBytes = 0;

  constructor(
    context: WorkerContext,
    placing: Placing,
    input: CopiedFrom,
    target: ChangedTree,
    request: RequestContext,
  ) {
    const { root } = target;
    this.#context = context;
    this.#placing = placing;
    this.#input = input;
    this.#target = target;
    this.#root = root;
    this.#request = request;
    this.#owner = lookupOwner(root, placing.owner);
    this.#mode = modeFunction(placing);
    const asked = posix.normalize(`/${placing.destination}`);
    const namesDirectory = NAMES_DIRECTORY.test(`/${placing.destination}`);
    const found = resolveInTree(root, asked);
    this.#isDirectory = namesDirectory || found.stat?.isDirectory() === true;
    let { path, existing } = found;
    if (!this.#isDirectory && !placing.followsDestination) {
      const parent = resolveInTree(root, posix.dirname(asked));
      path = posix.join(parent.path, posix.basename(asked));
      existing = parent.existing;
    }
    this.#destination = path;
    const parts = path.split('/').filter(Boolean);
    this.#missing = parts.map((_, index) => `/${parts.slice(0, index + 1).join('/')}`).slice(existing);
    const octal = typeof placing.modes === 'object' ? octalMode(placing.modes.chmod) : undefined;
    // A symbolic mode has nothing to change here. Set-id and sticky bits are for what is copied.
    const mode = octal === undefined ? NEW_DIRECTORY_MODE : octal & PERMISSIONS;
    this.#newDirectory = { kind: 'directory', mode, ...this.#owner };
  }

  add(source: CopySource, tree: number): void {
    if (source.top.kind === 'directory') {
      this.#addTop(source);
      const base = posix.join(this.#destination, '/');
      if ('directory' in source.below) {
        this.#entries.push(this.#everything(source.below, base.slice(0, -1), tree));
        return;
      }
      for (const entry of source.below) {
        // Names that are not UTF-8 are escaped in it.
        this.#entries.push(this.#entry(entry, `${base}${entry.path}`, tree));
      }
      return;
    }
    const name = source.path.slice(source.path.lastIndexOf('/') + 1);
    if (this.#isDirectory) {
      this.#makeMissing(source, this.#missing.length);
    } else {
      this.#makeMissing(source, Math.max(this.#missing.length - 1, 0));
      // What is made here is a file, or there is one.
      this.#missing = [];
    }
    const destination = this.#isDirectory
      ? `${posix.join(this.#destination, '/')}${name}`
      : this.#destination;
    this.#entries.push(this.#entry(source.top, destination, tree));
  }

  isArchive({ source, expect }: SourceEntry): Promise<boolean> {
    return this.#native((cancel) =>
      native().isArchive(
        { path: this.#hostPath(source), ...(expect === undefined ? {} : { expect }) },
        cancel,
      ),
    );
  }

  /** Into the destination, which is a directory then. An archive says itself whose its files are, unless the action does. */
  async unpack(source: CopySource): Promise<void> {
    const { source: path, expect } = source.top;
    if (resolveInTree(this.#root, this.#destination).stat?.isDirectory() === false) {
      const { doing } = this.#placing;
      throw new DefinitionError(`${doing}: '${this.#destination}' in the image is not a directory`, {
        code: 'E_PATH_BLOCKED',
      });
    }
    this.#isDirectory = true;
    this.#makeMissing(source, this.#missing.length);
    await this.flush();
    const { idMode } = this.#context.executor;
    const { recordedDevices } = await this.#native((cancel) =>
      native().unpackArchive(
        {
          archive: { path: this.#hostPath(path), ...(expect === undefined ? {} : { expect }) },
          root: this.#root,
          directory: this.#destination,
          ...(this.#placing.owner.kind === 'keep' ? {} : this.#owner),
          madeAtNs: this.#nowNs(),
          devices: idMode === 'root' ? 'create' : 'record',
          owners: this.#target.owners,
        },
        cancel,
        (doneBytes) => this.progress(doneBytes),
      ),
    );
    this.#warnOfDevices(recordedDevices);
  }

  /** What was added, which is then no longer to be copied. */
  take(): readonly (CopyEntry | CopyBelow)[] {
    return this.#entries.splice(0);
  }

  /** Copies what was added. */
  async flush(): Promise<void> {
    const entries = this.take();
    if (entries.length === 0) {
      return;
    }
    const { sourceRoot, owners: sourceOwners, index } = this.#input;
    const before = this.#doneBytes;
    const { sizeBytes, recordedDevices } = await this.#native((cancel) =>
      native().copyInto(
        {
          root: this.#root,
          ...(this.#target.upper === undefined ? {} : { upper: this.#target.upper }),
          entries: encodeCopyEntries(entries),
          strict: this.#placing.followsDestination,
          ...(sourceRoot === undefined ? {} : { sourceRoot }),
          ...(sourceOwners === undefined ? {} : { sourceOwners }),
          owners: this.#target.owners,
        },
        cancel,
        (doneBytes) => this.progress(before + doneBytes),
        index,
      ),
    );
    this.#doneBytes += sizeBytes;
    this.#warnOfDevices(recordedDevices);
  }

  /**
   * The destination itself. It is made as a directory on the way would be and takes only the source's time, which it takes
   * too when it exists. In the API, whose copies have no times, what exists is left alone.
   */
  #addTop(source: CopySource): void {
    const exists = this.#missing.length === 0;
    this.#makeMissing(source, this.#missing.length - 1);
    this.#missing = [];
    this.#isDirectory = true;
    if (exists && (this.#placing.times === 'epoch' || source.top.mtimeNs === null)) {
      // Still an entry of the kind that fails where a file is.
      if (resolveInTree(this.#root, this.#destination).stat?.isDirectory() === true) {
        return;
      }
    }
    const { source: path, mtimeNs } = source.top;
    this.#entries.push({
      ...this.#newDirectory,
      source: path,
      destination: this.#destination,
      keepsExisting: true,
      ...(this.#placing.times === 'epoch' ? { mtimeNs: EPOCH_NS } : {}),
      ...(this.#placing.times === 'keep' && mtimeNs !== undefined
        ? { mtimeNs: mtimeNs ?? this.#nowNs() }
        : {}),
    });
  }

  /** The first `count` directories that are missing on the way. */
  #makeMissing({ top }: CopySource, count: number): void {
    for (const destination of this.#missing.splice(0, Math.max(count, 0))) {
      this.#entries.push({
        ...this.#newDirectory,
        source: top.source,
        destination,
        keepsExisting: true,
        mtimeNs: this.#nowNs(),
      });
    }
  }

  #entry(entry: SourceEntry, destination: string | Buffer, tree: number): CopyEntry {
    const { kind, source, link, mtimeNs, expect } = entry;
    const { owner, times } = this.#placing;
    const mode = this.#mode(entry, this.#input.isImage);
    return {
      source,
      destination,
      kind,
      tree,
      xattrs: this.#input.isImage,
      ...(this.#input.isImage && owner.kind === 'keep' ? {} : this.#owner),
      ...(mode === undefined ? {} : { mode }),
      ...(link === undefined ? {} : { link }),
      ...(times === 'epoch'
        ? { mtimeNs: EPOCH_NS }
        : mtimeNs === undefined
          ? {}
          : { mtimeNs: mtimeNs ?? EPOCH_NS }),
      ...(expect === undefined ? {} : { expect }),
    };
  }

  /** What {@link #entry} says of each. */
  #everything({ directory }: Everything, destination: string, tree: number): CopyBelow {
    const { index } = this.#input;
    if (index === undefined) {
      throw new InternalError('everything was chosen of a tree that has no index');
    }
    const found = JSON.parse(index.modes(pathBytes(directory.slice(1)))) as readonly [
      SourceEntry['kind'],
      number,
    ][];
    const modes = found.map(([kind, mode]) => {
      const changed = this.#mode({ path: '', source: '', kind, mode }, false) ?? mode;
      return [kind, mode, changed] as const;
    });
    return {
      kind: 'below',
      below: directory.slice(1),
      destination,
      modes,
      ...this.#owner,
      ...(this.#placing.times === 'epoch' ? { mtimeNs: EPOCH_NS } : {}),
      tree,
    };
  }

  #hostPath(source: string | Buffer): string | Buffer {
    const { sourceRoot } = this.#input;
    if (sourceRoot === undefined) {
      return source;
    }
    return typeof source === 'string'
      ? join(sourceRoot, source)
      : Buffer.concat([Buffer.from(`${sourceRoot}/`), source]);
  }

  /** Of what is made on the way: no source says. */
  #nowNs(): string {
    const { times, madeSeconds } = this.#placing;
    const nowMs = madeSeconds === undefined ? Date.now() : madeSeconds * 1000;
    return times === 'epoch' ? EPOCH_NS : `${nowMs}000000`;
  }

  #native<T>(call: Parameters<typeof callNative<T>>[2]): Promise<T> {
    return callNative(this.#request.signal, this.#placing.doing, call);
  }

  readonly progress = (doneBytes: number): void => {
    const { destination } = this.#placing;
    this.#request.emit({
      kind: 'progress',
      id: `copy ${destination}`,
      activity: 'copy',
      subject: destination,
      doneBytes,
      state: 'running',
    });
  };

  #warnOfDevices(count: number): void {
    if (count > 0) {
      this.#request.emit({
        kind: 'warning',
        code: 'W_DEVICES_RECORDED',
        message: `${count} device nodes copied to '${this.#placing.destination}' are empty files here`,
      });
    }
  }
}

/** Undefined keeps what the source has on disk. */
type ModeOf = (entry: SourceEntry, isImage: boolean) => number | undefined;

function modeFunction({ modes, doing }: Placing): ModeOf {
  if (modes === 'keep') {
    return (entry, isImage) => (isImage ? undefined : entry.mode);
  }
  if (modes === 'normalise') {
    return ({ kind, mode }) => (kind === 'directory' || (mode & 0o111) !== 0 ? 0o755 : 0o644);
  }
  const change = parseChmod(modes.chmod);
  if (change === undefined) {
    throw new DefinitionError(
      `${doing}: '${modes.chmod}' is no mode of chmod, octal up to 07777 or symbolic`,
      {
        code: 'E_BAD_MODE',
      },
    );
  }
  return ({ kind, mode }) => change(mode, kind === 'directory');
}
