/**
 * Commits of git repositories. {@link GitRepositories.resolve} finds out which commit a branch or tag is; its files come out
 * of a bare repository for each remote below `git/` in the store, which holds what was fetched before
 * (docs/reference/store.md).
 *
 * Whatever a repository holds is hostile: see `git-program.ts` for what git may do, and below for what we do with its files.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, utimesSync } from 'node:fs';
import { copyFile, lstat, lutimes, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { sha256Hex } from '../base/sha256.ts';
import type { GitRefRecord, SourceRecords } from '../content/source-records.ts';
import { DefinitionError, IntegrityError, RemoteError } from '../errors.ts';
import { type GitSource, isCommitId, parseCommitChecksum } from '../frontend/dockerfile/git-url.ts';
import type { SourceGit } from '../graph/vertex.ts';
import { native } from '../native/addon.ts';
import { callNative, lockFile } from '../native/call-native.ts';
import { type GitCall, GitProgram, gitError } from './git-program.ts';
import type { SourceContext } from './http-files.ts';
import { type AuthSecrets, gitAuthorization } from './source-auth.ts';
import { gitDir, gitLockPath } from './store.ts';

export interface GitRepositoriesOptions {
  readonly storeDir: string;
  readonly records: SourceRecords;
  /** A path for something unfinished, on the file system of the store. */
  readonly scratchFile: (name: string) => string;
  readonly offline: boolean;
  readonly environment: NodeJS.ProcessEnv;
  readonly secrets: AuthSecrets;
  /** Where the build's agent listens; asked when a remote is reached by ssh. */
  readonly sshAuthSock?: () => Promise<string | undefined>;
}

/** What an instruction or option says beside the URL. */
export interface GitWishes {
  /** `--checksum`. */
  readonly checksum?: string;
  /** `--keep-git-dir`. */
  readonly keepGitDir?: boolean;
  /** Where the URL does not say. */
  readonly mtime?: 'checkout' | 'commit';
}

export interface CheckedOut {
  /** The directory with the files. */
  readonly path: string;
  /** When the commit was made, in seconds since the epoch. */
  readonly commitSeconds: number;
}

/** What one call of git needs to know of a remote. */
interface Access {
  readonly authorization?: NonNullable<GitCall['authorization']>;
}

/** A token for one repository there is taken for the others, so that submodules can be private. */
const SHARED_SCOPES: readonly string[] = ['https://github.com/', 'https://www.github.com/'];
/** Enough of a hash to name a directory. */
const NAME_LENGTH = 32;
/** Of a git that was killed. Nobody else is at work while we hold the repository's lock. */
const STALE_LOCKS = ['shallow.lock', 'packed-refs.lock', 'config.lock', 'HEAD.lock'] as const;
const SHA256_ID_LENGTH = 64;

export class GitRepositories {
  readonly #options: GitRepositoriesOptions;
  readonly #git: GitProgram;
  /** Credentials of the remotes of this build; the graph does not have them. */
  readonly #access = new Map<string, Access>();
  readonly #looked = new Map<string, Promise<GitRefRecord>>();

  constructor(options: GitRepositoriesOptions) {
    this.#options = options;
    this.#git = new GitProgram({
      environment: options.environment,
      knownHostsFile: join(gitDir(options.storeDir), 'known_hosts'),
      ...(options.sshAuthSock === undefined ? {} : { sshAuthSock: options.sshAuthSock }),
    });
  }

  /**
   * Finds out which commit is meant; asks nobody where the URL names it in full.
   *
   * @returns The operation of a vertex.
   * @throws {DefinitionError} `E_GIT_NOT_FOUND`, `E_GIT_URL`. @throws {IntegrityError} `E_DIGEST_MISMATCH` for another commit
   * than the checksum. @throws {RemoteError} `E_GIT`, `E_OFFLINE`. @throws {HostError} `E_TOOL_MISSING`.
   */
  async resolve(source: GitSource, wishes: GitWishes, { signal }: SourceContext): Promise<SourceGit> {
    const { remote, subdir } = source;
    const checksum = agreed(
      'checksum',
      remote,
      source.checksum,
      wishes.checksum === undefined ? undefined : parseCommitChecksum(wishes.checksum),
    );
    const keepGitDir = agreed('keep-git-dir', remote, source.keepGitDir, wishes.keepGitDir) ?? false;
    const mtime = source.mtime ?? wishes.mtime;
    const header = ['http', 'https'].includes(source.transport)
      ? await gitAuthorization(source.host, source.credentials, this.#options.secrets)
      : undefined;
    this.#access.set(
      remote,
      header === undefined ? {} : { authorization: { scope: scopeOf(remote), header } },
    );
    const { commit, fullRef, tagId } = await this.#commitOf(source, checksum, signal);
    if (checksum !== undefined && !commit.startsWith(checksum) && tagId?.startsWith(checksum) !== true) {
      throw new IntegrityError(
        `${remote} has the commit ${commit} at ${fullRef ?? commit}, which does not begin with ${checksum}`,
        {
          code: 'E_DIGEST_MISMATCH',
          expected: checksum,
          actual: commit,
          source: remote,
          hint: 'the branch or tag moved; if that is right, change the checksum',
        },
      );
    }
    return Object.freeze({
      kind: 'source-git',
      remote,
      commit,
      ...(fullRef === undefined ? {} : { ref: fullRef }),
      ...(subdir === undefined ? {} : { subdir }),
      keepGitDir,
      submodules: source.submodules ?? true,
      ...(mtime === undefined ? {} : { mtime }),
    });
  }

  /**
   * Puts the files of a commit below `directory`, which exists and is the caller's to remove. Fetches what the store does not
   * have.
   *
   * @throws {DefinitionError} `E_GIT_NOT_FOUND`. @throws {RemoteError} `E_GIT`, `E_OFFLINE`.
   */
  async checkout(source: SourceGit, directory: string, context: SourceContext): Promise<CheckedOut> {
    const { signal, emit } = context;
    const name = repositoryName(source);
    const tree = join(directory, 'tree');
    const progress = (state: 'running' | 'done' | 'failed') =>
      emit({
        kind: 'progress',
        id: `git ${source.remote}`,
        activity: 'download',
        subject: source.remote,
        doneBytes: 0,
        state,
      });
    progress('running');
    try {
      let commitSeconds: number;
      const lock = await lockFile(gitLockPath(this.#options.storeDir, name), false, signal);
      try {
        const repository = await this.#open(name, source, signal);
        await this.#fetch(repository, source, signal);
        await this.#fetchTag(repository, source, signal);
        await this.#populate(tree, repository, source, signal);
        commitSeconds = await this.#commitSeconds(repository, source, signal);
      } finally {
        lock.release();
      }
      if (source.submodules) {
        await this.#updateSubmodules(tree, source, signal);
      }
      const keep = source.keepGitDir && source.subdir === undefined;
      await (keep ? forgetFetch(tree) : removeGitDirs(tree, signal));
      const path = await directoryIn(tree, source);
      if (source.mtime === 'commit') {
        await setTimes(path, commitSeconds, signal);
      }
      progress('done');
      return { path, commitSeconds };
    } catch (error) {
      progress('failed');
      throw error;
    }
  }

  /**
   * When a commit was made, in seconds since the epoch: what `SOURCE_DATE_EPOCH` of a context or stage means. Fetches the
   * commit if the store does not have it.
   *
   * @throws as {@link checkout}.
   */
  async commitTime(source: SourceGit, { signal }: SourceContext): Promise<number> {
    const name = repositoryName(source);
    const lock = await lockFile(gitLockPath(this.#options.storeDir, name), false, signal);
    try {
      const repository = await this.#open(name, source, signal);
      await this.#fetch(repository, source, signal);
      return await this.#commitSeconds(repository, source, signal);
    } finally {
      lock.release();
    }
  }

  async #commitOf(
    source: GitSource,
    checksum: string | undefined,
    signal: AbortSignal,
  ): Promise<{ readonly commit: string; readonly fullRef?: string; readonly tagId?: string }> {
    const { remote, ref, fetchByCommit } = source;
    if (ref !== undefined && isCommitId(ref)) {
      return { commit: ref };
    }
    if (fetchByCommit && checksum !== undefined && isCommitId(checksum)) {
      return {
        commit: checksum,
        ...(ref === undefined ? {} : { fullRef: ref.startsWith('refs/') ? ref : `refs/heads/${ref}` }),
      };
    }
    const key = `${remote}\n${ref ?? ''}`;
    const looking = this.#looked.get(key) ?? this.#lookUp(remote, ref, signal);
    this.#looked.set(key, looking);
    looking.catch(() => this.#looked.delete(key));
    return await looking;
  }

  async #lookUp(remote: string, ref: string | undefined, signal: AbortSignal): Promise<GitRefRecord> {
    const { records, offline, storeDir } = this.#options;
    const asked = ref ?? 'HEAD';
    if (offline) {
      const known = records.gitRef(remote, asked);
      if (known === undefined) {
        throw forbidden(`${remote} has to be asked for ${asked}`);
      }
      return known;
    }
    // ssh writes down the hosts that it meets.
    await mkdir(gitDir(storeDir), { recursive: true, mode: 0o700 });
    const listed = await this.#git.run({
      doing: `cannot look up ${asked} of ${remote}`,
      args: ['ls-remote', '--symref', '--', remote, asked, `${asked}^{}`],
      cwd: storeDir,
      reach: 'network',
      ...this.#access.get(remote),
      signal,
    });
    const found = ref === undefined ? defaultBranch(listed) : namedRef(listed, ref);
    if (found === undefined) {
      throw new DefinitionError(`${remote} has no ${ref === undefined ? 'default branch' : `'${ref}'`}`, {
        code: 'E_GIT_NOT_FOUND',
        hint:
          ref !== undefined && /^[a-f0-9]{4,39}$/.test(ref)
            ? 'a commit is named by all of its digits'
            : '`git ls-remote` shows what a repository has',
      });
    }
    records.putGitRef(remote, asked, found);
    return found;
  }

  /** The bare repository in which what was fetched from a remote is kept. Its lock is held. */
  async #open(name: string, { remote, commit }: SourceGit, signal: AbortSignal): Promise<string> {
    const { storeDir, scratchFile } = this.#options;
    const path = join(gitDir(storeDir), name);
    if (existsSync(join(path, 'HEAD'))) {
      for (const stale of STALE_LOCKS) {
        await rm(join(path, stale), { force: true });
      }
    } else {
      await mkdir(gitDir(storeDir), { recursive: true, mode: 0o700 });
      const unfinished = scratchFile(`git-${randomUUID()}`);
      await this.#git.run({
        doing: `cannot make a repository for ${remote}`,
        args: ['init', '--quiet', '--bare', '--template=', ...objectFormat(commit), unfinished],
        cwd: storeDir,
        signal,
      });
      await rm(path, { recursive: true, force: true });
      await rename(unfinished, path);
    }
    // What prune goes by.
    const now = new Date();
    utimesSync(path, now, now);
    return path;
  }

  /** By its id if the server gives it, otherwise by what was asked for, otherwise everything. */
  async #fetch(repository: string, { remote, commit, ref }: SourceGit, signal: AbortSignal): Promise<void> {
    const has = async () => {
      const { exitCode } = await this.#git.try({
        doing: `cannot look for ${commit}`,
        args: ['--git-dir', repository, 'cat-file', '-e', `${commit}^{commit}`],
        cwd: repository,
        signal,
      });
      return exitCode === 0;
    };
    if (await has()) {
      return;
    }
    if (this.#options.offline) {
      throw forbidden(`commit ${commit} of ${remote} has to be fetched`);
    }
    const doing = `cannot fetch ${ref ?? commit} of ${remote}`;
    const fetch = (...args: string[]) => this.#fetchInto(repository, remote, args, signal);
    const kept = `refs/tsbuild/${commit}`;
    await fetch('--depth=1', '--', remote, `+${commit}:${kept}`);
    if (await has()) {
      return;
    }
    if (ref !== undefined) {
      await fetch('--depth=1', '--', remote, `+${ref}:refs/tsbuild/tip`);
      if (await has()) {
        return;
      }
    }
    const shallow = existsSync(join(repository, 'shallow'));
    const { exitCode, complaint } = await fetch(
      ...(shallow ? ['--unshallow'] : []),
      '--',
      remote,
      '+refs/heads/*:refs/tsbuild/heads/*',
      '+refs/tags/*:refs/tsbuild/tags/*',
    );
    if (await has()) {
      return;
    }
    if (exitCode !== 0) {
      throw gitError(doing, complaint);
    }
    throw new DefinitionError(`${remote} has no commit ${commit}`, {
      code: 'E_GIT_NOT_FOUND',
      hint: 'if a branch was pushed anew meanwhile, build again',
    });
  }

  /** An annotated tag is an object of its own, which a `.git` that stays should have. Without it the tag is a plain one. */
  async #fetchTag(
    repository: string,
    { remote, ref, keepGitDir }: SourceGit,
    signal: AbortSignal,
  ): Promise<void> {
    if (keepGitDir && ref?.startsWith('refs/tags/') && !this.#options.offline) {
      await this.#fetchInto(
        repository,
        remote,
        ['--depth=1', '--', remote, `+${ref}:${keptTag(ref)}`],
        signal,
      );
    }
  }

  #fetchInto(repository: string, remote: string, args: readonly string[], signal: AbortSignal) {
    return this.#git.try({
      doing: `cannot fetch from ${remote}`,
      args: ['--git-dir', repository, 'fetch', '--quiet', '--no-tags', '--no-write-fetch-head', ...args],
      cwd: repository,
      reach: 'network',
      ...this.#access.get(remote),
      signal,
    });
  }

  /** A repository with files at `tree`: borrowing its objects, or with its own if its `.git` is to stay. */
  async #populate(tree: string, repository: string, source: SourceGit, signal: AbortSignal): Promise<void> {
    const { remote, commit, ref, keepGitDir, subdir } = source;
    const own = keepGitDir && subdir === undefined;
    const git = (reach: 'local' | 'none', ...args: string[]) =>
      this.#git.run({ doing: `cannot check out ${commit} of ${remote}`, args, cwd: tree, reach, signal });
    await mkdir(tree, { mode: 0o700 });
    await git('none', 'init', '--quiet', '--template=', ...objectFormat(commit));
    await git('none', 'config', 'remote.origin.url', remote);
    if (own) {
      await git('none', 'config', 'remote.origin.fetch', '+refs/heads/*:refs/remotes/origin/*');
      // By URL: from a path git would link files, which follows links of the other repository.
      const url = pathToFileURL(repository).href;
      await git('local', 'fetch', '--quiet', '--no-tags', '--depth=1', '--', url, commit);
      if (ref?.startsWith('refs/heads/') || ref?.startsWith('refs/tags/')) {
        const tag = keptTag(ref);
        const { stdout } = await this.#git.try({
          doing: '',
          args: ['--git-dir', repository, 'rev-parse', '--quiet', '--verify', `${tag}^{commit}`],
          cwd: repository,
          signal,
        });
        await (stdout.trim() === commit
          ? git('local', 'fetch', '--quiet', '--no-tags', '--depth=1', '--', url, `${tag}:${ref}`)
          : git('none', 'update-ref', '--no-deref', ref, commit));
      }
    } else {
      await mkdir(join(tree, '.git/objects/info'), { recursive: true });
      await writeFile(join(tree, '.git/objects/info/alternates'), `${join(repository, 'objects')}\n`);
      await copyFile(join(repository, 'shallow'), join(tree, '.git/shallow')).catch(() => undefined);
    }
    await git('none', 'checkout', '--quiet', '--force', '--detach', commit);
  }

  async #commitSeconds(
    repository: string,
    { commit, remote }: SourceGit,
    signal: AbortSignal,
  ): Promise<number> {
    const text = await this.#git.run({
      doing: `cannot read ${commit} of ${remote}`,
      args: ['--git-dir', repository, 'show', '--no-patch', '--format=%ct', `${commit}^{commit}`],
      cwd: repository,
      signal,
    });
    const seconds = Number(text.trim());
    return Number.isSafeInteger(seconds) && seconds > 0 ? seconds : 0;
  }

  async #updateSubmodules(tree: string, { remote }: SourceGit, signal: AbortSignal): Promise<void> {
    if ((await lstat(join(tree, '.gitmodules')).catch(() => undefined))?.isFile() !== true) {
      return;
    }
    if (this.#options.offline) {
      throw forbidden(`submodules of ${remote} have to be fetched`);
    }
    const git = (...args: string[]) =>
      this.#git.try({
        doing: '',
        args: ['submodule', '--quiet', ...args],
        cwd: tree,
        reach: 'network',
        ...this.#access.get(remote),
        signal,
      });
    const update = ['update', '--init', '--recursive', '--force'];
    if ((await git(...update, '--depth=1')).exitCode !== 0) {
      // A server that gives no commits by their ids: everything, from the beginning.
      await git('deinit', '--force', '--all');
      await rm(join(tree, '.git/modules'), { recursive: true, force: true });
      const { exitCode, complaint } = await git(...update);
      if (exitCode !== 0) {
        throw gitError(`cannot fetch the submodules of ${remote}`, complaint);
      }
    }
  }
}

function repositoryName({ remote, commit }: SourceGit): string {
  return sha256Hex(`${commit.length} ${remote}`).slice(0, NAME_LENGTH);
}

function keptTag(ref: string): string {
  return `refs/tsbuild/kept/${ref}`;
}

function objectFormat(commit: string): string[] {
  return commit.length === SHA256_ID_LENGTH ? ['--object-format=sha256'] : [];
}

function scopeOf(remote: string): string {
  return SHARED_SCOPES.find((scope) => remote.startsWith(scope)) ?? remote;
}

function agreed<T extends string | boolean>(
  what: string,
  remote: string,
  inUrl: T | undefined,
  beside: T | undefined,
): T | undefined {
  if (inUrl !== undefined && beside !== undefined && inUrl !== beside) {
    throw new DefinitionError(`${what} is '${beside}', and '${inUrl}' in the URL of ${remote}`, {
      code: 'E_GIT_URL',
    });
  }
  return inUrl ?? beside;
}

function forbidden(what: string): RemoteError {
  return new RemoteError(`${what}, and the network is forbidden`, {
    code: 'E_OFFLINE',
    hint: 'build once without --offline',
  });
}

interface ListedRefs {
  readonly ids: ReadonlyMap<string, string>;
  /** What HEAD stands for, where the server says it. */
  readonly head: string | undefined;
}

/** Lines of `git ls-remote --symref`. */
function parseListed(listed: string): ListedRefs {
  const ids = new Map<string, string>();
  let head: string | undefined;
  for (const line of listed.split('\n')) {
    const [value = '', name = ''] = line.split('\t');
    if (value.startsWith('ref: ') && name === 'HEAD') {
      head = value.slice('ref: '.length);
    } else if (isCommitId(value)) {
      ids.set(name, value);
    }
  }
  return { ids, head };
}

function defaultBranch(listed: string): GitRefRecord | undefined {
  const { ids, head } = parseListed(listed);
  const commit = ids.get('HEAD');
  const fullRef = head !== undefined && /^refs\/heads\/[^\s:]+$/.test(head) ? head : 'HEAD';
  return commit === undefined ? undefined : { fullRef, commit };
}

/** In the order in which git-checkout(1) prefers them; a tag is what it points to. */
function namedRef(listed: string, ref: string): GitRefRecord | undefined {
  const { ids } = parseListed(listed);
  const candidates = [
    `refs/${ref.replace(/^refs\//, '')}`,
    `refs/heads/${ref.replace(/^refs\/heads\//, '')}`,
    `refs/tags/${ref.replace(/^refs\/tags\//, '')}`,
  ];
  const fullRef = candidates.find((name) => ids.has(name));
  const id = fullRef === undefined ? undefined : ids.get(fullRef);
  if (fullRef === undefined || id === undefined) {
    return undefined;
  }
  const peeled = ids.get(`${fullRef}^{}`);
  return peeled === undefined ? { fullRef, commit: id } : { fullRef, commit: peeled, tagId: id };
}

/** Leaves a `.git` as a clone would have it: nothing says where its objects came from. */
async function forgetFetch(tree: string): Promise<void> {
  await rm(join(tree, '.git/FETCH_HEAD'), { force: true });
  await rm(join(tree, '.git/logs'), { recursive: true, force: true });
}

/** Also those of submodules, which are files that name a directory of ours. A repository has no files of that name. */
async function removeGitDirs(tree: string, signal: AbortSignal): Promise<void> {
  await rm(join(tree, '.git'), { recursive: true, force: true });
  for (const { path } of await scan(tree, signal)) {
    if (path.equals(GIT) || path.subarray(-GIT.length - 1).equals(BELOW_GIT)) {
      await rm(Buffer.concat([Buffer.from(`${tree}/`), path]), { recursive: true, force: true });
    }
  }
}

const GIT = Buffer.from('.git');
const BELOW_GIT = Buffer.from('/.git');

/** The directory of the repository that was asked for. Links lead nowhere. */
async function directoryIn(tree: string, { subdir, remote, commit }: SourceGit): Promise<string> {
  let path = tree;
  for (const part of subdir?.split('/') ?? []) {
    path = join(path, part);
    if ((await lstat(path).catch(() => undefined))?.isDirectory() !== true) {
      throw new DefinitionError(`commit ${commit} of ${remote} has no directory '${subdir}'`, {
        code: 'E_GIT_NOT_FOUND',
      });
    }
  }
  return path;
}

async function setTimes(path: string, seconds: number, signal: AbortSignal): Promise<void> {
  // Children first: touching them touches no directory, but only directories that are done stay so.
  for (const entry of (await scan(path, signal)).toReversed()) {
    await lutimes(Buffer.concat([Buffer.from(`${path}/`), entry.path]), seconds, seconds);
  }
  await lutimes(path, seconds, seconds);
}

function scan(path: string, signal: AbortSignal) {
  return callNative(signal, `cannot list '${path}'`, (cancel) => native().scanTree(path, cancel));
}
