/** Reading a stack without changing it, and taking it out of the store. */
import { mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DefinitionError, UsageError } from '../errors.ts';
import { native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import type { View } from '../snapshot/driver.ts';
import { ownersBeside } from '../snapshot/owners.ts';
import type { LayerId } from '../solver/op.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { ExportTreeParams, WorkerMethods } from './protocol.ts';

type Params<M extends keyof WorkerMethods> = WorkerMethods[M]['params'];
type Result<M extends keyof WorkerMethods> = WorkerMethods[M]['result'];

async function withView<T>(
  context: WorkerContext,
  layers: readonly LayerId[],
  signal: AbortSignal,
  use: (view: View) => Promise<T>,
): Promise<T> {
  const view = await context.driver.view(layers, signal);
  try {
    return await use(view);
  } finally {
    await view.close();
  }
}

export function readFile(
  context: WorkerContext,
  { layers, path, maxBytes }: Params<'readFile'>,
  { signal }: RequestContext,
): Promise<Result<'readFile'>> {
  return withView(context, layers, signal, async ({ root }) => {
    const found = native().statInRoot(root, path);
    if (found === undefined) {
      throw new DefinitionError(`no such file in the image: '${path}'`, { code: 'E_FILE_NOT_FOUND' });
    }
    const bytes = await callNative(signal, `cannot read '${path}' of the image`, () =>
      native().readInRoot(root, path, maxBytes),
    );
    return { base64: bytes.toString('base64') };
  });
}

export function exists(
  context: WorkerContext,
  { layers, path }: Params<'exists'>,
  { signal }: RequestContext,
): Promise<Result<'exists'>> {
  return withView(context, layers, signal, async ({ root }) => ({
    exists: native().statInRoot(root, path) !== undefined,
  }));
}

/** Absolute paths of files and links below the prefix, sorted by their bytes. */
export function listFiles(
  context: WorkerContext,
  { layers, prefix }: Params<'listFiles'>,
  { signal }: RequestContext,
): Promise<Result<'listFiles'>> {
  return withView(context, layers, signal, async ({ root }) => {
    const base = native().statInRoot(root, prefix);
    if (base === undefined) {
      return { paths: [] };
    }
    const inside = base.path.toString('utf8');
    const entries = await callNative(signal, `cannot list '${prefix}' of the image`, (cancel) =>
      native().scanTree(join(root, inside), cancel),
    );
    const start = prefix === '/' ? '/' : `${prefix.replace(/\/+$/, '')}/`;
    return {
      paths: entries
        .filter(({ kind }) => kind !== 'directory')
        .map(({ path }) => `${start}${path.toString('utf8')}`),
    };
  });
}

/**
 * The merged trees. As a tar file, complete with owners, they are one uncompressed layer of everything.
 */
export async function exportTree(
  context: WorkerContext,
  params: Params<'exportTree'>,
  request: RequestContext,
): Promise<Result<'exportTree'>> {
  const { destination, form } = params;
  const progress = (state: 'running' | 'done') => (doneBytes: number) =>
    request.emit({
      kind: 'progress',
      id: `export ${destination}`,
      activity: 'write',
      subject: destination,
      doneBytes,
      state,
    });
  // At once: a directory reports nothing until it is there.
  progress('running')(0);
  const exported =
    form === 'tar'
      ? await exportTar(context, params, request.signal, progress('running'))
      : await exportDirectory(context, params, request.signal);
  progress('done')(exported.sizeBytes);
  return exported;
}

async function exportTar(
  context: WorkerContext,
  { trees, destination, clampMtimeSeconds }: ExportTreeParams,
  signal: AbortSignal,
  onBytes: (doneBytes: number) => void,
): Promise<Result<'exportTree'>> {
  const write = async (root: string, owners: string) => {
    const { sizeBytes } = await callNative(signal, `cannot write '${destination}'`, (cancel) =>
      native().writeLayer(
        {
          root,
          owners,
          lowers: [],
          output: destination,
          compression: 'none',
          level: 1,
          ...(clampMtimeSeconds === undefined ? {} : { clampMtimeSeconds }),
        },
        cancel,
        onBytes,
      ),
    );
    return { sizeBytes, written: 0, unchanged: 0, removed: 0 };
  };
  const [only] = trees;
  if (trees.length === 1 && only?.prefix === '') {
    return withView(context, only.layers, signal, ({ root, owners }) => write(root, owners));
  }
  const scratch = context.snapshots.scratch('export');
  const root = join(scratch, 'root');
  const owners = ownersBeside(root);
  mkdirSync(root, { mode: 0o700 });
  try {
    await callNative(signal, `cannot write '${destination}'`, (cancel) =>
      native().exportTrees(
        { trees: stacksOf(context, trees), target: root, delete: false, ownRoot: true, owners },
        cancel,
      ),
    );
    return await write(root, owners);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function exportDirectory(
  context: WorkerContext,
  { trees, destination, extraFiles, clampMtimeSeconds }: ExportTreeParams,
  signal: AbortSignal,
): Promise<Result<'exportTree'>> {
  const made = makeDirectory(destination);
  return await callNative(signal, `cannot write '${destination}'`, (cancel) =>
    native().exportTrees(
      {
        trees: stacksOf(context, trees),
        target: destination,
        delete: extraFiles === 'remove',
        ownRoot: made,
        // Files of subordinate ids could not be removed by the user who asked for them. Id 0 is the user's own; a tar or
        // an image keeps the owners.
        ...(context.executor.idMode === 'root' ? {} : { uid: 0, gid: 0 }),
        ...(clampMtimeSeconds === undefined ? {} : { clampMtimeSeconds }),
      },
      cancel,
    ),
  );
}

function stacksOf(context: WorkerContext, trees: ExportTreeParams['trees']) {
  return trees.map(({ layers, prefix }) => ({
    lowers: layers.map((layer) => context.snapshots.layerDir(layer)).reverse(),
    prefix,
  }));
}

/**
 * A directory of the user's keeps its own mode, owner and time.
 *
 * @returns Whether the directory was made.
 * @throws {UsageError} `E_OUTPUT_EXISTS`
 */
function makeDirectory(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found !== undefined && !found.isDirectory()) {
    throw new UsageError(`cannot write the tree to '${path}': it exists and is no directory`, {
      code: 'E_OUTPUT_EXISTS',
      hint: 'remove it first, or name another destination',
    });
  }
  return mkdirSync(path, { recursive: true }) !== undefined;
}

export async function usage(context: WorkerContext, request: RequestContext): Promise<Result<'usage'>> {
  const layers: Record<string, number> = {};
  for (const layer of context.snapshots.layers()) {
    request.signal.throwIfAborted();
    // One that is removed meanwhile has no size.
    if (context.snapshots.has(layer)) {
      const entries = await native().scanTree(context.snapshots.layerDir(layer));
      layers[layer] = entries.reduce(
        (sum, { kind, sizeBytes }) => sum + (kind === 'file' ? sizeBytes : 0),
        0,
      );
    }
  }
  const { caches, volumes } = context.executor;
  return { layers, mounts: await caches.list(), volumes: await volumes.sizes(request.signal) };
}

export async function removeLayers(
  context: WorkerContext,
  { layers }: Params<'removeLayers'>,
): Promise<Result<'removeLayers'>> {
  let removed = 0;
  for (const layer of layers) {
    removed += (await context.snapshots.remove(layer)) ? 1 : 0;
  }
  return { removed };
}
