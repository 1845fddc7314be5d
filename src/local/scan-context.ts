/**
 * A local build context: scanned once in a build, without a look into directories that the ignore file hides, and then asked by
 * each instruction for its files. Only those are opened and hashed, and only those are in the key.
 */
import { lstat } from 'node:fs/promises';
import { posix } from 'node:path';
import { nearName } from '../base/near-name.ts';
import { pathBytes } from '../base/path-bytes.ts';
import { DefinitionError, type HostError } from '../errors.ts';
import type { ContextIgnore, ContextInput, ContextSelection } from '../frontend/dockerfile/context-input.ts';
import type { CancelToken } from '../native/addon.ts';
import { pathList } from '../native/path-list.ts';
import type { Digest } from '../oci/digest.ts';
import { decidingPattern } from '../patterns/ignore-file.ts';
import { selectSources } from '../patterns/select.ts';
import type { Everything, SourceTree } from '../patterns/source-tree.ts';
import { cancellable } from './cancellable.ts';
import { type ContextEntry, contextTree, directoryRoot, permissionDenied } from './context-tree.ts';
import { type ContextFiles, type ContextTools, type FoundContext, NotText } from './found-context.ts';
import { IndexedContext } from './indexed-context.ts';
import { ListedContext } from './listed-context.ts';
import { decidedOf, ScanMemory } from './scan-memory.ts';

/** What the key sees of {@link ContextFiles}, which are found when somebody asks. */
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
/** What all declarations of a build about one directory with one ignore file share. */
export class ScannedContext {
  readonly #input: Omit<ContextInput, 'kind' | 'selections'>;
  readonly #memory: ScanMemory | undefined;
  readonly #name: string;
  readonly #ignore: ContextIgnore | undefined;
  #found: Promise<FoundContext> | undefined;

  private constructor(
    input: Omit<ContextInput, 'kind' | 'selections'>,
    memory: ScanMemory | undefined,
    found: FoundContext | undefined,
  ) {
    this.#input = input;
    this.#memory = memory;
    this.#name = input.name;
    this.#ignore = input.ignore;
    this.#found = found === undefined ? undefined : Promise.resolve(found);
  }

  /** @throws as {@link contextTree}. */
  static async scan(
    input: Omit<ContextInput, 'kind' | 'selections'>,
    tools: ContextTools,
  ): Promise<ScannedContext> {
    return cancellable(tools, `cannot list the context '${input.directory}'`, async (cancel) => {
      const memory = await memoryOf(input, tools, cancel);
      if (memory?.isChanged === true) {
        tools.onChanged?.();
      }
      const found = memory?.isKnown === true ? undefined : await findContext(input, memory, tools, cancel);
      return new ScannedContext(input, memory, found);
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
    const found = await this.#findOnce(tools);
    const chosen = { entries: new Map<string, ContextEntry>(), below: [] };
    for (const selection of selections) {
      await this.#select(found, selection, chosen);
    }
    const files = await found.filesOf(chosen, tools).catch((error: unknown) => {
      throw error instanceof NotText ? this.#notText(found, error) : error;
    });
    const { contentDigest, leftOut, walked } = files;
    if (walked !== undefined) {
      this.#memory?.remember(selections, { contentDigest, leftOut }, walked);
    }
    return files;
  }

  /** Looked at when the first asks whose selection is not remembered. */
  #findOnce(tools: ContextTools): Promise<FoundContext> {
    this.#found ??= cancellable(tools, `cannot list the context '${this.#input.directory}'`, (cancel) =>
      findContext(this.#input, this.#memory, tools, cancel),
    );
    return this.#found;
  }

  async #select(
    found: FoundContext,
    { source, select }: ContextSelection,
    into: { readonly entries: Map<string, ContextEntry>; readonly below: Everything[] },
  ): Promise<void> {
    const { denied } = found;
    const tree: SourceTree<ContextEntry> = {
      ...(found.tree.isIndexed === true ? { isIndexed: true } : {}),
      stat: (path) => found.tree.stat(path),
      list: (directories) => {
        for (const directory of directories) {
          if (denied.has(directory)) {
            throw permissionDenied(found.hostPath(directory));
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
        into.entries.set(at, entry);
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
      if ('directory' in match.below) {
        const { directory } = match.below;
        for (const path of denied) {
          if (path === directory || path.startsWith(directory === '/' ? directory : `${directory}/`)) {
            throw permissionDenied(found.hostPath(path));
          }
        }
        into.below.push(match.below);
      } else {
        match.below.forEach(add);
      }
    }
    chosen.links.forEach(add);
  }

  async #missing(found: FoundContext, source: string, at: string): Promise<DefinitionError | HostError> {
    const path = at.slice(1);
    const denied = [...found.denied].find((directory) =>
      at.startsWith(`${directory === '/' ? '' : directory}/`),
    );
    if (denied !== undefined) {
      return permissionDenied(found.hostPath(denied));
    }
    const message = `there is no '${source}' in ${this.#shown(found)}`;
    const { ignore } = found;
    const pattern = ignore === undefined ? undefined : decidingPattern(ignore.matcher, path);
    const exists = await lstat(found.hostPath(at)).then(
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
    const [rows = []] = await found.tree.list([directory]);
    const names = rows.map(({ name }) => name);
    const near = nearName(posix.basename(at), names);
    return new DefinitionError(message, {
      code: 'E_COPY_SOURCE_MISSING',
      hint:
        near === undefined
          ? 'sources are paths below the directory of the context'
          : `did you mean '${posix.join(directory, near).slice(1)}'?`,
    });
  }

  #shown({ root }: FoundContext): string {
    if (this.#name === 'contextMount') {
      return 'the contextMount';
    }
    return this.#name === 'context'
      ? `the build context '${root}'`
      : `the context '${this.#name}' ('${root}')`;
  }

  #notText(found: FoundContext, { path }: NotText): DefinitionError {
    const shown = pathBytes(path).toString('utf8').slice(1);
    return new DefinitionError(
      path.isWellFormed()
        ? `the target of the link '${shown}' in ${this.#shown(found)} is not UTF-8`
        : `a name in ${this.#shown(found)} is not UTF-8: '${shown}'`,
      { code: 'E_LAYER_UNREPRESENTABLE', hint: 'leave it out with an ignore file, or rename it' },
    );
  }
}

/**
 * By an index where that is known to see what a list would: an ignore file is asked about every name the first time, and later only when a name changed.
 *
 * @throws as {@link contextTree}
 */
async function findContext(
  input: Omit<ContextInput, 'kind' | 'selections'>,
  memory: ScanMemory | undefined,
  tools: ContextTools,
  cancel: CancelToken,
): Promise<FoundContext> {
  const { ignore } = input;
  if (memory === undefined) {
    return new ListedContext(await contextTree(input, tools, cancel));
  }
  const { root, earlier, walk } = memory;
  if (earlier !== undefined && walk !== undefined && (ignore === undefined || earlier.names === walk.names)) {
    return await IndexedContext.of(walk, earlier, memory, ignore);
  }
  if (ignore === undefined) {
    const names = { skip: [], hidden: [], rootOnlyPatterns: [] };
    return await IndexedContext.of(
      await tools.native.walkTree(root, pathList([]), cancel),
      names,
      memory,
      ignore,
    );
  }
  const listed = await contextTree(input, tools, cancel);
  const decided = decidedOf(listed.listed, (path) => listed.tree.stat(path) !== undefined);
  if (decided !== undefined) {
    const again = await tools.native.walkTree(root, pathList(decided.skip), cancel);
    // Otherwise something came or went between the two, about which the ignore file was not asked.
    if (again.fingerprint === decided.fingerprint) {
      const { rootOnlyPatterns } = listed;
      return await IndexedContext.of(again, { ...decided, rootOnlyPatterns }, memory, ignore);
    }
  }
  return new ListedContext(listed);
}

/** Only of one directory with an ignore file: what a definition puts together may hang on its functions. */
async function memoryOf(
  input: Omit<ContextInput, 'kind' | 'selections'>,
  tools: ContextTools,
  cancel: CancelToken,
): Promise<ScanMemory | undefined> {
  const { scans } = tools;
  return scans === undefined || !canBeRemembered(input)
    ? undefined
    : await ScanMemory.of(scans, directoryRoot(input.directory, 'context'), textOf(input), tools, cancel);
}

function canBeRemembered({ ignore, parts, files = {} }: Omit<ContextInput, 'kind' | 'selections'>): boolean {
  return parts === undefined && (ignore === undefined || 'text' in ignore) && Object.keys(files).length === 0;
}

function textOf({ ignore }: Pick<ContextInput, 'ignore'>): string | undefined {
  return ignore !== undefined && 'text' in ignore ? ignore.text : undefined;
}
