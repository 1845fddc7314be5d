/**
 * Git repositories as Dockerfiles and command lines write them: `https://host/repo.git#ref:subdir`, or with a query
 * (`?branch=main&subdir=docs`); `git://`, `ssh://` and `user@host:path`.
 *
 * Source: reference of the Dockerfile, "ADD" and "Adding files from a Git repository"; Docker's "Build context", "Git
 * repositories". A web URL is a repository only if its path ends in `.git`: `https://host/repo` is a file.
 */
import { posix } from 'node:path';
import { percentDecoded } from '../../base/percent-decoded.ts';
import { DefinitionError } from '../../errors.ts';

export interface GitSource {
  readonly transport: 'https' | 'http' | 'ssh' | 'git';
  /** What git is given: without credentials, query and fragment. */
  readonly remote: string;
  /** With the port, if the URL has one. */
  readonly host: string;
  /** Of a web URL. Never part of a key, a message or an argument of git. */
  readonly credentials?: GitCredentials;
  /** A branch, a tag, a full name below `refs/`, or a full commit id; absent for the repository's default branch. */
  readonly ref?: string;
  /** Directory of the repository, relative, without `.` and `..`; absent for all of it. */
  readonly subdir?: string;
  /** The beginning of the commit's id, in lower case. */
  readonly checksum?: string;
  readonly keepGitDir?: boolean;
  readonly submodules?: boolean;
  readonly mtime?: 'checkout' | 'commit';
  /** Trust the checksum as the commit, whatever the ref is now. */
  readonly fetchByCommit: boolean;
  /** `github.com/owner/repo`: could be a local path, and is a repository only as a build context. */
  readonly looksLocal: boolean;
}

export interface GitCredentials {
  readonly username: string;
  readonly password: string;
}

const TRANSPORTS: readonly string[] = ['https', 'http', 'ssh', 'git'];
/** The only host that may be written without a scheme. */
const LOCAL_LOOKING_PREFIX = 'github.com/';
const SCHEME = /^([a-z0-9]+):\/\//i;
/** `user@host:path?query#fragment`. */
const SCP_STYLE = /^([A-Za-z0-9_-]+)@([A-Za-z0-9.-]+):([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/s;
const COMMIT = /^(?:[a-f0-9]{40}|[a-f0-9]{64})$/;
/** What git-check-ref-format(1) forbids, which would have a meaning of its own for git. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const BAD_REF = /^-|[\u0000-\u0020\u007f~^:?*[\\]|\.\.|@\{/;

/**
 * @returns Undefined for whatever is no git repository: a path, the URL of a file.
 * @throws {DefinitionError} `E_GIT_URL` for a repository with a query that cannot be understood or contradicts itself.
 */
export function parseGitUrl(text: string): GitSource | undefined {
  const looksLocal = text.startsWith(LOCAL_LOOKING_PREFIX);
  const found = SCHEME.test(text) || looksLocal ? fromUrl(text, looksLocal) : fromScpStyle(text);
  if (found === undefined) {
    return undefined;
  }
  const { query, fragment, ...place } = found;
  const settings = new Settings(place.remote);
  settings.readFragment(fragment);
  settings.readQuery(query);
  return Object.freeze({ ...place, looksLocal, ...settings.finish() });
}

/** Whether the text is all of a commit's id, in lower case as git prints it. */
export function isCommitId(text: string): boolean {
  return COMMIT.test(text);
}

interface Place extends Pick<GitSource, 'transport' | 'remote' | 'host' | 'credentials'> {
  readonly query: string;
  readonly fragment: string;
}

function fromUrl(text: string, looksLocal: boolean): Place | undefined {
  const transport = looksLocal ? 'https' : (SCHEME.exec(text)?.[1] ?? '').toLowerCase();
  if (!TRANSPORTS.includes(transport)) {
    return undefined;
  }
  const whole = looksLocal ? `https://${text}` : text;
  const web = transport === 'https' || transport === 'http';
  let url: URL;
  try {
    url = new URL(whole);
  } catch {
    // Web URLs that cannot be read are for whoever fetches files to complain about.
    return web ? undefined : fail(text, 'it is not a URL');
  }
  if (web && !looksLocal && !percentDecoded(url.pathname).endsWith('.git')) {
    return undefined;
  }
  if (url.hostname === '' || url.hostname.startsWith('-')) {
    return fail(text, 'it names no host');
  }
  // The user of ssh is part of the address.
  const user = transport === 'ssh' && url.username !== '' ? `${url.username}@` : '';
  const credentials =
    web && (url.username !== '' || url.password !== '')
      ? { credentials: { username: percentDecoded(url.username), password: percentDecoded(url.password) } }
      : {};
  return {
    transport: transport as GitSource['transport'],
    remote: `${transport}://${user}${url.host}${url.pathname}`,
    host: url.host,
    ...credentials,
    query: url.search.slice(1),
    fragment: percentDecoded(url.hash.slice(1)),
  };
}

function fromScpStyle(text: string): Place | undefined {
  const match = SCP_STYLE.exec(text);
  if (match === null) {
    return undefined;
  }
  const [, user = '', host = '', path = '', query = '', fragment = ''] = match;
  if (path === '' || host.startsWith('-')) {
    return fail(`${user}@${host}:${path}`, path === '' ? 'it names no repository' : 'it names no host');
  }
  return { transport: 'ssh', remote: `${user}@${host}:${path}`, host, query, fragment };
}

/** Collects what query and fragment say, and notices when they contradict each other. */
class Settings {
  readonly #remote: string;
  readonly #values = new Map<string, string>();

  constructor(remote: string) {
    this.#remote = remote;
  }

  /** `ref:subdir`. */
  readFragment(fragment: string): void {
    const colon = fragment.indexOf(':');
    this.#set('ref', colon < 0 ? fragment : fragment.slice(0, colon));
    this.#set('subdir', cleanDirectory(colon < 0 ? '' : fragment.slice(colon + 1)));
  }

  readQuery(query: string): void {
    const seen = new Set<string>();
    for (const [name, value] of new URLSearchParams(query)) {
      if (seen.has(name)) {
        fail(this.#remote, `'${name}' is given twice`);
      }
      seen.add(name);
      if (value === '' && !['keep-git-dir', 'submodules', 'fetch-by-commit'].includes(name)) {
        fail(this.#remote, `'${name}' has no value`);
      }
      this.#read(name, value);
    }
    if (seen.has('tag') && seen.has('branch')) {
      fail(this.#remote, "'tag' and 'branch' cannot both be given");
    }
  }

  finish(): Omit<GitSource, 'transport' | 'remote' | 'host' | 'looksLocal' | 'credentials'> {
    const text = (name: string) => this.#values.get(name);
    const flag = (name: string) => {
      const value = text(name);
      return value === undefined ? undefined : value === 'true';
    };
    const ref = text('ref');
    if (ref !== undefined && BAD_REF.test(ref)) {
      fail(this.#remote, `'${ref}' cannot be the name of a branch or tag`);
    }
    const fetchByCommit = flag('fetch-by-commit') ?? false;
    const commit = ref !== undefined && isCommitId(ref) ? ref : text('checksum');
    if (fetchByCommit && (commit === undefined || !isCommitId(commit))) {
      fail(this.#remote, "'fetch-by-commit' needs all digits of a commit as 'checksum'");
    }
    return {
      ...defined('ref', ref),
      ...defined('subdir', text('subdir')),
      ...defined('checksum', text('checksum')),
      ...defined('keepGitDir', flag('keep-git-dir')),
      ...defined('submodules', flag('submodules')),
      ...defined('mtime', text('mtime') as GitSource['mtime']),
      fetchByCommit,
    };
  }

  #read(name: string, value: string): void {
    switch (name) {
      case 'ref':
        this.#set('ref', value);
        break;
      case 'tag':
        this.#set('ref', value.startsWith('refs/tags/') ? value : `refs/tags/${value}`);
        break;
      case 'branch':
        this.#set('ref', value.startsWith('refs/heads/') ? value : `refs/heads/${value}`);
        break;
      case 'subdir':
        this.#set('subdir', cleanDirectory(value));
        break;
      case 'checksum':
      case 'commit':
        this.#set('checksum', parseCommitChecksum(value));
        break;
      case 'keep-git-dir':
      case 'submodules':
      case 'fetch-by-commit':
        this.#set(name, this.#flag(name, value));
        break;
      case 'mtime':
        if (value !== 'checkout' && value !== 'commit') {
          fail(this.#remote, `'mtime' is '${value}'; it can be checkout, commit`);
        }
        this.#set('mtime', value);
        break;
      default:
        fail(
          this.#remote,
          `it has an unknown '${name}'; known are ref, tag, branch, subdir, checksum, commit, keep-git-dir, submodules, mtime, fetch-by-commit`,
        );
    }
  }

  #set(name: string, value: string): void {
    const before = this.#values.get(name);
    if (value === '' || before === value) {
      return;
    }
    if (before !== undefined) {
      fail(this.#remote, `${name} is both '${before}' and '${value}'`);
    }
    this.#values.set(name, value);
  }

  #flag(name: string, value: string): string {
    if (/^(?:|1|t|T|true|True|TRUE)$/.test(value)) {
      return 'true';
    }
    if (/^(?:0|f|F|false|False|FALSE)$/.test(value)) {
      return 'false';
    }
    return fail(this.#remote, `'${name}' is '${value}'; it can be true, false`);
  }
}

/**
 * A commit as `--checksum` names it: its id or the beginning of it.
 *
 * @returns In lower case.
 * @throws {DefinitionError} `E_GIT_URL`
 */
export function parseCommitChecksum(text: string): string {
  if (!/^[a-fA-F0-9]{1,64}$/.test(text)) {
    throw new DefinitionError(`'${text}' is not a commit: it is not the beginning of a hexadecimal id`, {
      code: 'E_GIT_URL',
    });
  }
  return text.toLowerCase();
}

/** Relative, and never above its beginning. */
function cleanDirectory(path: string): string {
  return posix.resolve('/', path).slice(1);
}

function defined<K extends string, V>(key: K, value: V | undefined): { readonly [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { readonly [P in K]?: V });
}

function fail(url: string, reason: string): never {
  // Whatever is before an @ may be a password.
  const shown = url.replace(/^([a-z0-9]+:\/\/)[^/@]*@/i, '$1');
  throw new DefinitionError(`cannot use the git repository '${shown}': ${reason}`, { code: 'E_GIT_URL' });
}
