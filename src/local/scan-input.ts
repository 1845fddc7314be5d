/**
 * Looks at local files that a definition declares: selects, reads what `stat` does not already answer, and names the
 * content (A2.14 and B8 of the Image API). Only selected files are opened.
 */
import { isUtf8 } from 'node:buffer';
import { readFile, realpath, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { EMPTY_SHA256, sha256Hex } from '../base/sha256.ts';
import { DefinitionError, HostError } from '../errors.ts';
import {
  type InputEntry,
  type InputFindings,
  type LocalInput,
  MAX_TEXT_BYTES,
  type ScannedFiles,
} from '../frontend/fluent/local-input.ts';
import type { CancelToken, FileFacts, NativeAddon, ScanEntry } from '../native/addon.ts';
import { fromNative } from '../native/error.ts';
import { sha256Digest } from '../oci/digest.ts';
import type { InputFilter } from '../patterns/ignore-spec.ts';
import { rootOnlyPatterns } from '../patterns/root-only.ts';
import type { InputFile } from '../worker/protocol.ts';
import { type HashTools, hashFiles, type ToHash } from './hash-files.ts';
import { selectPythonModules } from './select-python-modules.ts';
import { factsOf } from './stat-facts.ts';

export interface ScannedInput extends ScannedFiles {
  /** For the worker, which reads the user's files when it copies them. Sorted by path. */
  readonly files: readonly InputFile[];
}

export interface ScanTools extends HashTools {
  readonly native: Pick<NativeAddon, 'scanTree' | 'hashFiles' | 'CancelToken'>;
  readonly signal?: AbortSignal;
}

const FILE_MODE = 0o644;
const EXECUTABLE_MODE = 0o755;

/** What was selected and still has to be hashed. */
interface Candidate extends ToHash {
  /** Path in the input. */
  readonly path: string;
  readonly hostPath: string;
}

interface KeptLink {
  readonly path: string;
  readonly link: string;
}

export interface Selection {
  readonly form: ScannedFiles['form'];
  readonly files: readonly Candidate[];
  readonly links: readonly KeptLink[];
  /** Directories with nothing in them. Others come with their files. */
  readonly emptyDirectories: readonly string[];
  readonly findings: InputFindings;
}

/**
 * @throws {DefinitionError} `E_LOCAL_FILE_MISSING`, `E_LOCAL_DIR_MISSING`, `E_LOCAL_NOT_DIR`, `E_BAD_PATTERN`,
 * `E_MODULE_NOT_FOUND`, `E_MODULE_BINARY`; `E_LAYER_UNREPRESENTABLE` for a selected name that is not UTF-8.
 * @throws the signal's reason when it is aborted.
 */
export async function scanInput(input: LocalInput, tools: ScanTools): Promise<ScannedInput> {
  tools.signal?.throwIfAborted();
  const cancel = new tools.native.CancelToken();
  const onAbort = () => cancel.cancel();
  tools.signal?.addEventListener('abort', onAbort, { once: true });
  try {
    const selection = await select(input, tools, cancel);
    const text = input.wantsText === true ? await textOf(selection) : undefined;
    const scanned = assemble(selection, await hashFiles(selection.files, tools, cancel));
    return text === undefined ? scanned : { ...scanned, text };
  } catch (error) {
    // The native code reports its own cancellation; the caller is owed the reason that it gave.
    tools.signal?.throwIfAborted();
    throw fromNative(error, `cannot read '${input.hostPath}'`);
  } finally {
    tools.signal?.removeEventListener('abort', onAbort);
  }
}

async function select(input: LocalInput, tools: ScanTools, cancel: CancelToken): Promise<Selection> {
  if (input.python !== undefined) {
    return await selectPythonModules(input, input.python, (part) => select(part, tools, cancel));
  }
  const found = await statOrMissing(input);
  if (found === undefined) {
    return NOTHING_THERE;
  }
  if (found.isDirectory()) {
    if (input.expects === 'file') {
      throw new DefinitionError(`'${input.hostPath}' is a directory; a file is expected`, {
        code: 'E_LOCAL_FILE_MISSING',
        hint: 'addLocalDir() and copyLocalDir() take directories',
      });
    }
    return selectBelow(input, tools, cancel);
  }
  if (input.expects === 'directory') {
    throw new DefinitionError(`'${input.hostPath}' is not a directory`, { code: 'E_LOCAL_NOT_DIR' });
  }
  if (!found.isFile()) {
    throw new DefinitionError(`'${input.hostPath}' is neither a file nor a directory`, {
      code: 'E_LOCAL_FILE_MISSING',
    });
  }
  // What the user named may be a link to the file: the content is meant.
  const hostPath = await realpath(input.hostPath);
  const file = { path: input.fileAt, hostPath, mode: normalMode(Number(found.mode)), facts: factsOf(found) };
  return { form: 'file', files: [file], links: [], emptyDirectories: [], findings: NOTHING_FOUND };
}

const NOTHING_FOUND: InputFindings = { linksOutside: [], unfiltered: [], rootOnlyPatterns: [] };
const NOTHING_THERE: Selection = {
  form: 'missing',
  files: [],
  links: [],
  emptyDirectories: [],
  findings: NOTHING_FOUND,
};

type BigStats = Awaited<ReturnType<typeof bigStat>>;

function bigStat(path: string) {
  return stat(path, { bigint: true });
}

async function statOrMissing(input: LocalInput): Promise<BigStats | undefined> {
  try {
    return await bigStat(input.hostPath);
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code;
    if (errno !== 'ENOENT' && errno !== 'ENOTDIR') {
      throw new HostError(`cannot look at '${input.hostPath}'`, {
        code: 'E_IO',
        errno,
        path: input.hostPath,
        cause,
      });
    }
    if (input.mayBeMissing === true) {
      return undefined;
    }
    const [what, code] =
      input.expects === 'directory'
        ? (['directory', 'E_LOCAL_DIR_MISSING'] as const)
        : (['file', 'E_LOCAL_FILE_MISSING'] as const);
    throw new DefinitionError(`there is no ${what} '${input.hostPath}'`, {
      code,
      cause,
      hint: 'relative paths are below the directory in which the command was started, not that of the definition',
    });
  }
}

async function selectBelow(input: LocalInput, tools: ScanTools, cancel: CancelToken): Promise<Selection> {
  const root = await realpath(input.hostPath);
  const entries = (await tools.native.scanTree(root, cancel)).map((entry) => ({
    entry,
    path: entry.path.toString('utf8'),
  }));
  const parents = new Set(entries.map(({ path }) => path.slice(0, Math.max(path.lastIndexOf('/'), 0))));
  const ignores = filterFunction(input.filter);
  const prefix = input.directoryAt.replace(/\/$/, '');
  const at = (path: string) => `${prefix}/${path}`;

  const files: Candidate[] = [];
  const links: KeptLink[] = [];
  const emptyDirectories: string[] = [];
  const linksOutside: string[] = [];
  // Directories of this kind, and whether a file in them was selected.
  const bulky = new Map<string, boolean>();

  for (const { entry, path } of entries) {
    tools.signal?.throwIfAborted();
    if (entry.kind === 'directory') {
      const ignored = ignores(path, entry);
      if (!ignored && ['.git', 'node_modules'].includes(posix.basename(path)) && parents.has(path)) {
        bulky.set(path, false);
      }
      // A predicate is asked about files only, so that it cannot have meant an empty directory.
      if (!ignored && !parents.has(path) && input.filter.kind !== 'predicate') {
        requireUtf8(entry, root);
        emptyDirectories.push(at(path));
      }
      continue;
    }
    const resolved = entry.kind === 'symlink' ? await followLink(root, path, entry) : undefined;
    if (entry.kind !== 'file' && resolved === undefined) {
      // Sockets, pipes and devices of a working directory are never meant.
      continue;
    }
    const sizeBytes = resolved?.kind === 'file' ? resolved.facts.sizeBytes : entry.sizeBytes;
    if (ignores(path, { ...entry, sizeBytes })) {
      continue;
    }
    requireUtf8(entry, root);
    if (bulky.size > 0) {
      markAncestors(bulky, path);
    }
    if (resolved === undefined) {
      files.push({ path: at(path), hostPath: `${root}/${path}`, mode: normalMode(entry.mode), facts: entry });
    } else if (resolved.kind === 'file') {
      files.push({ path: at(path), hostPath: resolved.hostPath, mode: resolved.mode, facts: resolved.facts });
    } else if (resolved.kind === 'inside') {
      links.push({ path: at(path), link: resolved.link });
    } else {
      linksOutside.push(path);
    }
  }
  if (entries.length === 0 && input.directoryAt !== '/') {
    emptyDirectories.push(input.directoryAt);
  }
  return {
    form: 'directory',
    files,
    links,
    emptyDirectories,
    findings: {
      linksOutside,
      unfiltered: [...bulky].filter(([, selected]) => selected).map(([directory]) => directory),
      rootOnlyPatterns: missedPatterns(
        input.filter,
        entries.map(({ path }) => path),
      ),
    },
  };
}

/** Only the outermost: a `node_modules` within another is the same mistake. */
function markAncestors(directories: Map<string, boolean>, path: string): void {
  for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) {
    const directory = path.slice(0, slash);
    if (directories.has(directory)) {
      directories.set(directory, true);
      return;
    }
  }
}

type Ignores = (path: string, entry: Pick<ScanEntry, 'kind' | 'sizeBytes'>) => boolean;

function filterFunction(filter: InputFilter): Ignores {
  switch (filter.kind) {
    case 'none':
      return () => false;
    case 'patterns':
      return (path, entry) => filter.matcher.matches(path, entry.kind === 'directory');
    case 'predicate':
      return (path, entry) =>
        entry.kind !== 'directory' && Boolean(filter.ignores(path, { size: entry.sizeBytes, isFile: true }));
  }
}

function missedPatterns(filter: InputFilter, paths: readonly string[]): string[] {
  if (filter.kind !== 'patterns') {
    return [];
  }
  const atTop = paths.filter((path) => !path.includes('/'));
  const below = paths.filter((path) => path.includes('/')).map((path) => posix.basename(path));
  return rootOnlyPatterns(filter.matcher, atTop, new Set(below));
}

type FollowedLink =
  | {
      readonly kind: 'file';
      readonly hostPath: string;
      readonly mode: number;
      readonly facts: Candidate['facts'];
    }
  | { readonly kind: 'inside'; readonly link: string }
  | { readonly kind: 'outside' };

/**
 * A link to a file is its content; one to a directory inside stays a link, one to a directory outside is left out
 * (A2.14). A link to nothing stays if it points inside, for the same reason that one to a directory does.
 */
async function followLink(root: string, path: string, entry: ScanEntry): Promise<FollowedLink | undefined> {
  const link = entry.link?.toString('utf8') ?? '';
  let hostPath: string;
  try {
    hostPath = await realpath(join(root, path));
  } catch {
    const target = relativeInside(path, link);
    return target === undefined ? { kind: 'outside' } : { kind: 'inside', link };
  }
  const found = await bigStat(hostPath);
  if (found.isFile()) {
    return { kind: 'file', hostPath, mode: normalMode(Number(found.mode)), facts: factsOf(found) };
  }
  if (!found.isDirectory()) {
    return undefined;
  }
  if (hostPath !== root && !hostPath.startsWith(`${root}/`)) {
    return { kind: 'outside' };
  }
  if (relativeInside(path, link) !== undefined) {
    return { kind: 'inside', link };
  }
  // An absolute link, or one that leaves the tree and comes back, would name a path of this machine.
  const target = posix.relative(posix.dirname(path), hostPath.slice(root.length + 1));
  return { kind: 'inside', link: target === '' ? '.' : target };
}

/** Where a relative link leads, or undefined when it is absolute or leaves the tree on its way. */
function relativeInside(path: string, link: string): string | undefined {
  if (link.startsWith('/')) {
    return undefined;
  }
  const parts = path.split('/').slice(0, -1);
  for (const part of link.split('/')) {
    if (part === '..') {
      if (parts.pop() === undefined) {
        return undefined;
      }
    } else if (part !== '' && part !== '.') {
      parts.push(part);
    }
  }
  return parts.join('/');
}

function assemble(selection: Selection, facts: readonly FileFacts[]): ScannedInput {
  const rows: { file: InputFile; entry: InputEntry; key: string }[] = [
    ...selection.files.map(({ path, hostPath, mode }, index) => {
      const { sha256, sizeBytes, mtimeNs, ctimeNs } = facts[index] as FileFacts;
      const file = { path, kind: 'file', hostPath, mode, expect: { sizeBytes, mtimeNs, ctimeNs } } as const;
      return { file, entry: { sha256, mode, sizeBytes }, key: path };
    }),
    ...selection.links.map(({ path, link }) => {
      const sha256 = sha256Hex(link);
      const file = { path, kind: 'symlink', link, mode: 0o777 } as const;
      return { file, entry: { sha256, mode: 0o777, sizeBytes: Buffer.byteLength(link), link }, key: path };
    }),
    ...selection.emptyDirectories.map((path) => {
      const file = { path, kind: 'directory', mode: EXECUTABLE_MODE } as const;
      return { file, entry: { sha256: EMPTY_SHA256, mode: EXECUTABLE_MODE, sizeBytes: 0 }, key: `${path}/` };
    }),
  ].sort((one, other) => (one.key < other.key ? -1 : 1));

  // Arrays of strings and numbers: plain JSON of them is canonical already.
  const content = rows.map(({ file, entry, key }) => [key, file.kind, entry.mode, entry.sha256]);
  return {
    form: selection.form,
    files: rows.map(({ file }) => file),
    entries: new Map(rows.map(({ key, entry }) => [key, entry])),
    contentDigest: sha256Digest(sha256Hex(JSON.stringify({ v: 1, content }))),
    findings: selection.findings,
  };
}

function normalMode(mode: number): number {
  return (mode & 0o111) === 0 ? FILE_MODE : EXECUTABLE_MODE;
}

/** Plans and messages to the worker are JSON; a name that is not text would silently become another. */
function requireUtf8(entry: ScanEntry, root: string): void {
  if (!isUtf8(entry.path)) {
    const text = entry.path.toString('utf8');
    throw new DefinitionError(`a name below '${root}' is not UTF-8: '${text}'`, {
      code: 'E_LAYER_UNREPRESENTABLE',
      hint: 'leave it out with ignore, or rename it',
    });
  }
}

async function textOf({ form, files: [file] }: Selection): Promise<string | undefined> {
  const isText = form === 'file' && file !== undefined && file.facts.sizeBytes <= MAX_TEXT_BYTES;
  return isText ? await readFile(file.hostPath, 'utf8') : undefined;
}
