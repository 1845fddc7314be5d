/**
 * A local build context: scanned once in a build, without a look into directories that the ignore file hides, and then asked by
 * each instruction for its files. Only those are opened and hashed, and only those are in the key.
 */
import { lstat } from 'node:fs/promises';
import { posix } from 'node:path';
import { nearName } from '../base/near-name.ts';
import { pathBytes } from '../base/path-bytes.ts';
import { EMPTY_SHA256, sha256Hex } from '../base/sha256.ts';
import { DefinitionError, type HostError } from '../errors.ts';
import type { ContextIgnore, ContextInput, ContextSelection } from '../frontend/dockerfile/context-input.ts';
import type { CancelToken, FileFacts, NativeAddon } from '../native/addon.ts';
import { fromNative } from '../native/error.ts';
import { type Digest, sha256Digest } from '../oci/digest.ts';
import { decidingPattern } from '../patterns/ignore-file.ts';
import { selectSources } from '../patterns/select.ts';
import type { SourceTree } from '../patterns/source-tree.ts';
import type { InputFile } from '../worker/protocol.ts';
import {
  type ContextEntry,
  type ContextTree,
  contextTree,
  directoryRoot,
  permissionDenied,
} from './context-tree.ts';
import { type HashTools, hashFiles } from './hash-files.ts';
import { ScanMemory, type ScanStore, type Walked } from './scan-memory.ts';

export interface ContextTools extends HashTools {
  readonly native: Pick<NativeAddon, 'scanDirectories' | 'fingerprintTree' | 'hashFiles' | 'CancelToken'>;
  /** Of what earlier scans found. @defaultValue none */
  readonly scans?: ScanStore;
  readonly signal?: AbortSignal;
}

/** Files of a context that one declaration selects. */
export interface ContextFiles {
  /** For the worker: paths as in the context. Directories and the links that lead to something are among them. Sorted. */
  readonly files: readonly InputFile[];
  /** Of paths, kinds, modes, link targets and contents. */
  readonly contentDigest: Digest;
  /** What the key sees, by path: `0644 sha256hex`, `-> target`; of a directory, whose path ends in `/`, the mode. */
  readonly summary: Readonly<Record<string, string>>;
  /** Pipes and devices below what was selected; they are not carried. */
  readonly leftOut: readonly string[];
  /** Ignore patterns that match nothing at the top of the context, though they would further down. */
  readonly rootOnlyPatterns: readonly string[];
}

/** What the key sees of {@link ContextFiles}. The list is made when somebody asks. */
export interface ContextContent {
  readonly contentDigest: Digest;
  readonly leftOut: readonly string[];
  readonly rootOnlyPatterns: readonly string[];
  /** Then its files were older than the scan that it is remembered from. */
  readonly isRemembered: boolean;
  /** @throws as `ScannedContext.files`; {DefinitionError} `E_FILE_CHANGED_DURING_BUILD` when they are not those any more. */
  list(): Promise<ContextFiles>;
}

const LITERAL = { wildcards: false, parents: false, exclude: [] };
const LINK_MODE = 0o777;

/** What all declarations of a build about one directory with one ignore file share. */
export class ScannedContext {
  readonly #input: Omit<ContextInput, 'kind' | 'selections'>;
  readonly #memory: ScanMemory | undefined;
  readonly #name: string;
  readonly #ignore: ContextIgnore | undefined;
  #tree: Promise<ContextTree> | undefined;
  /** By path, so that instructions that share files hash them once. */
  readonly #hashed = new Map<string, FileFacts>();
  #hashing: Promise<unknown> = Promise.resolve();

  private constructor(
    input: Omit<ContextInput, 'kind' | 'selections'>,
    memory: ScanMemory | undefined,
    tree: ContextTree | undefined,
  ) {
    this.#input = input;
    this.#memory = memory;
    this.#name = input.name;
    this.#ignore = input.ignore;
    this.#tree = tree === undefined ? undefined : Promise.resolve(tree);
  }

  /** @throws as {@link contextTree}. */
  static async scan(
    input: Omit<ContextInput, 'kind' | 'selections'>,
    tools: ContextTools,
  ): Promise<ScannedContext> {
    return cancellable(tools, `cannot list the context '${input.directory}'`, async (cancel) => {
      const memory = await memoryOf(input, tools, cancel);
      const tree = memory?.isKnown === true ? undefined : await contextTree(input, tools, cancel);
      return new ScannedContext(input, memory, tree);
    });
  }

  /** Whether an earlier scan is remembered, be it still true or not. */
  static isRemembered(input: Omit<ContextInput, 'kind' | 'selections'>, { scans }: ContextTools): boolean {
    return (
      scans !== undefined &&
      canBeRemembered(input) &&
      ScanMemory.knows(scans, directoryRoot(input.directory, 'context'), textOf(input))
    );
  }

  /**
   * As {@link files}, without making a list of what is remembered.
   *
   * @throws as {@link files}
   */
  async content(selections: readonly ContextSelection[], tools: ContextTools): Promise<ContextContent> {
    const known = this.#memory?.recall(selections);
    if (known === undefined) {
      const files = await this.files(selections, tools);
      const { contentDigest, leftOut, rootOnlyPatterns } = files;
      return { contentDigest, leftOut, rootOnlyPatterns, isRemembered: false, list: async () => files };
    }
    return {
      ...known,
      isRemembered: true,
      list: async () => {
        const files = await this.files(selections, tools);
        if (files.contentDigest !== known.contentDigest) {
          throw new DefinitionError(
            `files of the context '${this.#input.directory}' changed after the build looked at them`,
            {
              code: 'E_FILE_CHANGED_DURING_BUILD',
              hint: 'build again when nothing writes them',
            },
          );
        }
        return files;
      },
    };
  }

  /**
   * @throws {DefinitionError} `E_COPY_SOURCE_MISSING`, `E_BAD_PATTERN`; `E_LAYER_UNREPRESENTABLE` for a selected name that is
   * not UTF-8; `E_LOCAL_FILE_MISSING` for a source that is neither a file nor a directory.
   * @throws {HostError} `E_IO`
   * @throws the signal's reason when it is aborted.
   */
  async files(selections: readonly ContextSelection[], tools: ContextTools): Promise<ContextFiles> {
    const found = await this.#found(tools);
    const selected = new Map<string, ContextEntry>();
    for (const selection of selections) {
      await this.#select(found, selection, selected);
    }
    const leftOut: string[] = [];
    const paths: string[] = [];
    for (const [path, { kind }] of selected) {
      if (kind === 'fifo' || kind === 'char' || kind === 'block') {
        leftOut.push(path);
      } else {
        paths.push(path);
      }
    }
    paths.sort();
    for (const path of paths) {
      this.#requireUtf8(found, path, selected.get(path)?.link);
    }
    const files = paths.filter((path) => selected.get(path)?.kind === 'file');
    await this.#hash(found, files, selected, tools);
    const { rootOnlyPatterns } = found;
    leftOut.sort();
    const assembled = this.#assemble(found, paths, selected);
    this.#memory?.remember(
      selections,
      { contentDigest: assembled.contentDigest, leftOut },
      walkedOf(found),
      files.map((path) => [selected.get(path)?.facts as FileFacts, this.#hashed.get(path) as FileFacts]),
    );
    return { ...assembled, leftOut, rootOnlyPatterns };
  }

  /** Looked at when the first asks whose selection is not remembered. */
  #found(tools: ContextTools): Promise<ContextTree> {
    this.#tree ??= cancellable(tools, `cannot list the context '${this.#input.directory}'`, (cancel) =>
      contextTree(this.#input, tools, cancel),
    );
    return this.#tree;
  }

  async #select(
    found: ContextTree,
    { source, select }: ContextSelection,
    into: Map<string, ContextEntry>,
  ): Promise<void> {
    const { denied } = found;
    const tree: SourceTree<ContextEntry> = {
      stat: (path) => found.tree.stat(path),
      list: (directories) => {
        for (const directory of directories) {
          if (denied.has(directory)) {
            throw permissionDenied(hostPath(found, directory));
          }
        }
        return found.tree.list(directories);
      },
    };
    const chosen = await selectSources(tree, source, select ?? LITERAL);
    if (chosen.kind === 'missing') {
      throw await this.#missing(found, source, chosen.at);
    }
    if (chosen.kind === 'loop') {
      throw new DefinitionError(`links lead in a circle from '${source}' in ${this.#shown(found)}`, {
        code: 'E_COPY_SOURCE_MISSING',
      });
    }
    const add = ({ at, entry }: { readonly at: string; readonly entry: ContextEntry }) => {
      if (entry.facts !== undefined) {
        into.set(at, entry);
      }
    };
    for (const match of chosen.matches) {
      if (!['file', 'directory', 'socket'].includes(match.entry.kind)) {
        throw new DefinitionError(
          `'${source}' in ${this.#shown(found)} is neither a file nor a directory: '${match.at.slice(1)}'`,
          { code: 'E_LOCAL_FILE_MISSING' },
        );
      }
      add(match);
      match.below.forEach(add);
    }
    chosen.links.forEach(add);
  }

  async #missing(found: ContextTree, source: string, at: string): Promise<DefinitionError | HostError> {
    const path = at.slice(1);
    const denied = [...found.denied].find((directory) =>
      at.startsWith(`${directory === '/' ? '' : directory}/`),
    );
    if (denied !== undefined) {
      return permissionDenied(hostPath(found, denied));
    }
    const message = `there is no '${source}' in ${this.#shown(found)}`;
    const { ignore } = found;
    const pattern = ignore === undefined ? undefined : decidingPattern(ignore.matcher, path);
    const exists = await lstat(hostPath(found, at)).then(
      () => true,
      () => false,
    );
    if (this.#ignore !== undefined && !('text' in this.#ignore) && exists) {
      return new DefinitionError(`${message}: ${this.#ignore.name} leaves it out`, {
        code: 'E_COPY_SOURCE_MISSING',
      });
    }
    if (ignore !== undefined && pattern !== undefined && exists) {
      const { name } = ignore;
      return new DefinitionError(
        `${message}: line ${pattern.line} of '${name}' hides it: '${pattern.text}'`,
        {
          code: 'E_COPY_SOURCE_MISSING',
          hint: `change that line, or write '!${path}' below it`,
        },
      );
    }
    const directory = posix.dirname(at);
    const names = (found.tree.list([directory])[0] ?? []).map(({ name }) => name);
    const near = nearName(posix.basename(at), names);
    return new DefinitionError(message, {
      code: 'E_COPY_SOURCE_MISSING',
      hint:
        near === undefined
          ? 'sources are paths below the directory of the context'
          : `did you mean '${posix.join(directory, near).slice(1)}'?`,
    });
  }

  #shown({ root }: ContextTree): string {
    if (this.#name === 'contextMount') {
      return 'the contextMount';
    }
    return this.#name === 'context'
      ? `the build context '${root}'`
      : `the context '${this.#name}' ('${root}')`;
  }

  /** Plans and messages to the worker are JSON; a name that is not text would silently become another. */
  #requireUtf8(found: ContextTree, path: string, link = ''): void {
    if (!path.isWellFormed() || !link.isWellFormed()) {
      const shown = pathBytes(path).toString('utf8').slice(1);
      throw new DefinitionError(
        path.isWellFormed()
          ? `the target of the link '${shown}' in ${this.#shown(found)} is not UTF-8`
          : `a name in ${this.#shown(found)} is not UTF-8: '${shown}'`,
        { code: 'E_LAYER_UNREPRESENTABLE', hint: 'leave it out with an ignore file, or rename it' },
      );
    }
  }

  /** One after the other: what two instructions share is hashed by the first. */
  async #hash(
    found: ContextTree,
    paths: readonly string[],
    selected: ReadonlyMap<string, ContextEntry>,
    tools: ContextTools,
  ): Promise<void> {
    const before = this.#hashing.catch(() => undefined);
    const hashing = before.then(async () => {
      const wanted = paths.filter((path) => !this.#hashed.has(path));
      const toHash = wanted.map((path) => {
        const { mode, facts } = selected.get(path) as Required<ContextEntry>;
        return { hostPath: hostPath(found, path), mode, facts };
      });
      const hashed = await cancellable(tools, `cannot read the context '${found.root}'`, (cancel) =>
        hashFiles(toHash, tools, cancel),
      );
      for (const [index, path] of wanted.entries()) {
        this.#hashed.set(path, hashed[index] as FileFacts);
      }
    });
    this.#hashing = hashing;
    await hashing;
  }

  #assemble(
    found: ContextTree,
    paths: readonly string[],
    selected: ReadonlyMap<string, ContextEntry>,
  ): Omit<ContextFiles, 'leftOut' | 'rootOnlyPatterns'> {
    const files: InputFile[] = [];
    const summary: [string, string][] = [];
    for (const path of paths) {
      const { kind, mode, facts: seen, link = '' } = selected.get(path) as Required<ContextEntry>;
      const { mtimeNs } = seen;
      const octal = mode.toString(8).padStart(4, '0');
      if (kind === 'directory') {
        files.push({ path, kind, hostPath: hostPath(found, path), mode, mtimeNs });
        summary.push([`${path}/`, octal]);
      } else if (kind === 'symlink') {
        files.push({ path, kind, link, mode: LINK_MODE, mtimeNs });
        summary.push([path, `-> ${link}`]);
      } else {
        const facts = this.#hashed.get(path);
        const sha256 = facts?.sha256 ?? EMPTY_SHA256;
        files.push(
          facts === undefined
            ? { path, kind: 'file', mode, mtimeNs }
            : {
                path,
                kind: 'file',
                hostPath: hostPath(found, path),
                mode,
                mtimeNs: facts.mtimeNs,
                expect: expectOf(facts),
              },
        );
        summary.push([path, `${octal} ${sha256}`]);
      }
    }
    return {
      files,
      // Arrays of strings: plain JSON of them is canonical already.
      contentDigest: sha256Digest(sha256Hex(JSON.stringify({ v: 1, context: summary }))),
      summary: Object.fromEntries(summary),
    };
  }
}

function hostPath({ root, tree }: ContextTree, path: string): string {
  return tree.stat(path)?.hostPath ?? (path === '/' ? root : `${root}${path}`);
}

/** Only of one directory with an ignore file: what a definition puts together may hang on its functions. */
async function memoryOf(
  input: Omit<ContextInput, 'kind' | 'selections'>,
  { scans, native }: ContextTools,
  cancel: CancelToken,
): Promise<ScanMemory | undefined> {
  return scans === undefined || !canBeRemembered(input)
    ? undefined
    : await ScanMemory.of(scans, directoryRoot(input.directory, 'context'), textOf(input), native, cancel);
}

function canBeRemembered({ ignore, parts, files = {} }: Omit<ContextInput, 'kind' | 'selections'>): boolean {
  return parts === undefined && (ignore === undefined || 'text' in ignore) && Object.keys(files).length === 0;
}

function textOf({ ignore }: Pick<ContextInput, 'ignore'>): string | undefined {
  return ignore !== undefined && 'text' in ignore ? ignore.text : undefined;
}

const walks = new WeakMap<ContextTree, Walked>();

function walkedOf(found: ContextTree): Walked {
  let walked = walks.get(found);
  if (walked === undefined) {
    const { startedNs, listed, rootOnlyPatterns, tree } = found;
    walked = { startedNs, listed, rootOnlyPatterns, isKept: (path) => tree.stat(path) !== undefined };
    walks.set(found, walked);
  }
  return walked;
}

function expectOf({ sizeBytes, mtimeNs, ctimeNs }: FileFacts): NonNullable<InputFile['expect']> {
  return { sizeBytes, mtimeNs, ctimeNs };
}

async function cancellable<T>(
  { native, signal }: ContextTools,
  doing: string,
  work: (cancel: CancelToken) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const cancel = new native.CancelToken();
  const onAbort = () => cancel.cancel();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await work(cancel);
  } catch (error) {
    // The native code reports its own cancellation; the caller is owed the reason that it gave.
    signal?.throwIfAborted();
    throw fromNative(error, doing);
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}
