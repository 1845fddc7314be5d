/** A context of which a list was made here: put together from parts, ignored by a function, or seen differently by two walks. */
import { listingOf } from '../base/listing.ts';
import { EMPTY_SHA256, sha256Hex } from '../base/sha256.ts';
import type { FileFacts } from '../native/addon.ts';
import { sha256Digest } from '../oci/digest.ts';
import type { InputFile } from '../worker/protocol.ts';
import { cancellable } from './cancellable.ts';
import type { ContextEntry, ContextTree } from './context-tree.ts';
import {
  type Chosen,
  type ContextFiles,
  type ContextTools,
  type FoundContext,
  NotText,
} from './found-context.ts';
import { hashFiles } from './hash-files.ts';
import { laterFiles } from './later-files.ts';

const LINK_MODE = 0o777;

export class ListedContext implements FoundContext {
  readonly #found: ContextTree;
  /** By path, so that instructions that share files hash them once. */
  readonly #hashed = new Map<string, FileFacts>();
  #hashing: Promise<unknown> = Promise.resolve();

  constructor(found: ContextTree) {
    this.#found = found;
  }

  get root() {
    return this.#found.root;
  }

  get ignore() {
    return this.#found.ignore;
  }

  get tree() {
    return this.#found.tree;
  }

  get denied() {
    return this.#found.denied;
  }

  hostPath(path: string): string {
    const { root, tree } = this.#found;
    return tree.stat(path)?.hostPath ?? (path === '/' ? root : `${root}${path}`);
  }

  async filesOf({ entries }: Chosen, tools: ContextTools): Promise<ContextFiles> {
    const leftOut: string[] = [];
    const paths: string[] = [];
    for (const [path, { kind }] of entries) {
      if (kind === 'fifo' || kind === 'char' || kind === 'block') {
        leftOut.push(path);
      } else {
        paths.push(path);
      }
    }
    paths.sort();
    leftOut.sort();
    const notText = paths.find(
      (path) => !path.isWellFormed() || entries.get(path)?.link?.isWellFormed() === false,
    );
    if (notText !== undefined) {
      throw new NotText(notText);
    }
    const files = paths.filter((path) => entries.get(path)?.kind === 'file');
    await this.#hash(files, entries, tools);
    const { rootOnlyPatterns } = this.#found;
    return { ...this.#assemble(paths, entries), leftOut, rootOnlyPatterns };
  }

  /** One after the other: what two instructions share is hashed by the first. */
  async #hash(
    paths: readonly string[],
    chosen: ReadonlyMap<string, ContextEntry>,
    tools: ContextTools,
  ): Promise<void> {
    const before = this.#hashing.catch(() => undefined);
    const hashing = before.then(async () => {
      const wanted = paths.filter((path) => !this.#hashed.has(path));
      const toHash = wanted.map((path) => {
        const { mode, facts } = chosen.get(path) as Required<ContextEntry>;
        return { hostPath: this.hostPath(path), mode, facts };
      });
      const hashed = await cancellable(tools, `cannot read the context '${this.root}'`, (cancel) =>
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
    chosen: ReadonlyMap<string, ContextEntry>,
  ): Omit<ContextFiles, 'leftOut' | 'rootOnlyPatterns'> {
    const files: InputFile[] = [];
    const summary: [string, string][] = [];
    for (const path of paths) {
      const { kind, mode, facts: seen, link = '' } = chosen.get(path) as Required<ContextEntry>;
      const { mtimeNs } = seen;
      const octal = mode.toString(8).padStart(4, '0');
      if (kind === 'directory') {
        files.push({ path, kind, hostPath: this.hostPath(path), mode, mtimeNs });
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
                hostPath: this.hostPath(path),
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
      get listing() {
        return listingOf(summary);
      },
      later: (ns) => laterFiles(files, ns),
    };
  }
}

function expectOf({ sizeBytes, mtimeNs, ctimeNs }: FileFacts): NonNullable<InputFile['expect']> {
  return { sizeBytes, mtimeNs, ctimeNs };
}
