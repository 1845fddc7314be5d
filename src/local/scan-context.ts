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
import { type ContextEntry, type ContextTree, contextTree, permissionDenied } from './context-tree.ts';
import { type HashTools, hashFiles } from './hash-files.ts';

export interface ContextTools extends HashTools {
  readonly native: Pick<NativeAddon, 'scanDirectories' | 'hashFiles' | 'CancelToken'>;
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

const LITERAL = { wildcards: false, parents: false, exclude: [] };
const LINK_MODE = 0o777;

/** What all declarations of a build about one directory with one ignore file share. */
export class ScannedContext {
  readonly #root: string;
  readonly #name: string;
  readonly #ignore: ContextIgnore | undefined;
  readonly #found: ContextTree;
  /** By path, so that instructions that share files hash them once. */
  readonly #hashed = new Map<string, FileFacts>();
  #hashing: Promise<unknown> = Promise.resolve();

  private constructor(name: string, ignore: ContextIgnore | undefined, found: ContextTree) {
    this.#root = found.root;
    this.#name = name;
    this.#ignore = ignore;
    this.#found = found;
  }

  /** @throws as {@link contextTree}. */
  static async scan(
    input: Omit<ContextInput, 'kind' | 'selections'>,
    tools: ContextTools,
  ): Promise<ScannedContext> {
    return cancellable(tools, `cannot list the context '${input.directory}'`, async (cancel) => {
      return new ScannedContext(input.name, input.ignore, await contextTree(input, tools, cancel));
    });
  }

  /**
   * @throws {DefinitionError} `E_COPY_SOURCE_MISSING`, `E_BAD_PATTERN`; `E_LAYER_UNREPRESENTABLE` for a selected name that is
   * not UTF-8; `E_LOCAL_FILE_MISSING` for a source that is neither a file nor a directory.
   * @throws {HostError} `E_IO`
   * @throws the signal's reason when it is aborted.
   */
  async files(selections: readonly ContextSelection[], tools: ContextTools): Promise<ContextFiles> {
    const selected = new Map<string, ContextEntry>();
    for (const selection of selections) {
      await this.#select(selection, selected);
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
      this.#requireUtf8(path, selected.get(path)?.link);
    }
    const files = paths.filter((path) => selected.get(path)?.kind === 'file');
    await this.#hash(files, selected, tools);
    const { rootOnlyPatterns } = this.#found;
    return { ...this.#assemble(paths, selected), leftOut: leftOut.sort(), rootOnlyPatterns };
  }

  async #select({ source, select }: ContextSelection, into: Map<string, ContextEntry>): Promise<void> {
    const { denied } = this.#found;
    const tree: SourceTree<ContextEntry> = {
      stat: (path) => this.#found.tree.stat(path),
      list: (directories) => {
        for (const directory of directories) {
          if (denied.has(directory)) {
            throw this.#permissionDenied(directory);
          }
        }
        return this.#found.tree.list(directories);
      },
    };
    const found = await selectSources(tree, source, select ?? LITERAL);
    if (found.kind === 'missing') {
      throw await this.#missing(source, found.at);
    }
    if (found.kind === 'loop') {
      throw new DefinitionError(`links lead in a circle from '${source}' in ${this.#shown()}`, {
        code: 'E_COPY_SOURCE_MISSING',
      });
    }
    const add = ({ at, entry }: { readonly at: string; readonly entry: ContextEntry }) => {
      if (entry.facts !== undefined) {
        into.set(at, entry);
      }
    };
    for (const match of found.matches) {
      if (!['file', 'directory', 'socket'].includes(match.entry.kind)) {
        throw new DefinitionError(
          `'${source}' in ${this.#shown()} is neither a file nor a directory: '${match.at.slice(1)}'`,
          { code: 'E_LOCAL_FILE_MISSING' },
        );
      }
      add(match);
      match.below.forEach(add);
    }
    found.links.forEach(add);
  }

  async #missing(source: string, at: string): Promise<DefinitionError | HostError> {
    const path = at.slice(1);
    const denied = [...this.#found.denied].find((directory) =>
      at.startsWith(`${directory === '/' ? '' : directory}/`),
    );
    if (denied !== undefined) {
      return this.#permissionDenied(denied);
    }
    const message = `there is no '${source}' in ${this.#shown()}`;
    const { ignore } = this.#found;
    const pattern = ignore === undefined ? undefined : decidingPattern(ignore.matcher, path);
    const exists = await lstat(this.#hostPath(at)).then(
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
    const names = (this.#found.tree.list([directory])[0] ?? []).map(({ name }) => name);
    const near = nearName(posix.basename(at), names);
    return new DefinitionError(message, {
      code: 'E_COPY_SOURCE_MISSING',
      hint:
        near === undefined
          ? 'sources are paths below the directory of the context'
          : `did you mean '${posix.join(directory, near).slice(1)}'?`,
    });
  }

  #permissionDenied(directory: string): HostError {
    return permissionDenied(this.#hostPath(directory));
  }

  #shown(): string {
    if (this.#name === 'contextMount') {
      return 'the contextMount';
    }
    return this.#name === 'context'
      ? `the build context '${this.#root}'`
      : `the context '${this.#name}' ('${this.#root}')`;
  }

  #hostPath(path: string): string {
    const { hostPath } = this.#found.tree.stat(path) ?? {};
    return hostPath ?? (path === '/' ? this.#root : `${this.#root}${path}`);
  }

  /** Plans and messages to the worker are JSON; a name that is not text would silently become another. */
  #requireUtf8(path: string, link = ''): void {
    if (!path.isWellFormed() || !link.isWellFormed()) {
      const shown = pathBytes(path).toString('utf8').slice(1);
      throw new DefinitionError(
        path.isWellFormed()
          ? `the target of the link '${shown}' in ${this.#shown()} is not UTF-8`
          : `a name in ${this.#shown()} is not UTF-8: '${shown}'`,
        { code: 'E_LAYER_UNREPRESENTABLE', hint: 'leave it out with an ignore file, or rename it' },
      );
    }
  }

  /** One after the other: what two instructions share is hashed by the first. */
  async #hash(
    paths: readonly string[],
    selected: ReadonlyMap<string, ContextEntry>,
    tools: ContextTools,
  ): Promise<void> {
    const before = this.#hashing.catch(() => undefined);
    const hashing = before.then(async () => {
      const wanted = paths.filter((path) => !this.#hashed.has(path));
      const toHash = wanted.map((path) => {
        const { mode, facts } = selected.get(path) as Required<ContextEntry>;
        return { hostPath: this.#hostPath(path), mode, facts };
      });
      const hashed = await cancellable(tools, `cannot read the context '${this.#root}'`, (cancel) =>
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
        files.push({ path, kind, hostPath: this.#hostPath(path), mode, mtimeNs });
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
                hostPath: this.#hostPath(path),
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
