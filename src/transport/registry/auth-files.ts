/**
 * Credential files of Docker and of containers (podman, skopeo, buildah), which share one format; and the helper
 * programs that they name.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { HostError, UsageError } from '../../errors.ts';
import { isObject } from '../../oci/json-document.ts';
import { canonicalHost, credentialsKey } from '../../oci/reference.ts';
import { type HelperAnswer, runCredentialHelper } from './credential-helper.ts';
import type { CredentialSource, Credentials } from './credentials.ts';

export interface AuthFilesOptions {
  readonly environment?: NodeJS.ProcessEnv;
  readonly homeDir?: string;
  /** A file that cannot be read, a helper that fails. The look-up goes on. */
  readonly onWarning?: (text: string) => void;
}

interface AuthFile {
  readonly auths: Readonly<Record<string, unknown>>;
  readonly credHelpers: Readonly<Record<string, unknown>>;
  readonly credsStore: string | undefined;
}

const MAX_FILE_BYTES = 4 * 1024 * 1024;

export class AuthFiles implements CredentialSource {
  readonly #environment: NodeJS.ProcessEnv;
  readonly #homeDir: string;
  readonly #warn: (text: string) => void;
  readonly #files = new Map<string, Promise<AuthFile | undefined>>();
  readonly #found = new Map<string, Promise<Credentials | undefined>>();

  constructor(options: AuthFilesOptions = {}) {
    this.#environment = options.environment ?? process.env;
    this.#homeDir = options.homeDir ?? this.#environment.HOME ?? homedir();
    this.#warn = options.onWarning ?? (() => {});
  }

  /** Where credentials are looked for, in this order. */
  get paths(): readonly string[] {
    const { REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR, XDG_CONFIG_HOME } = this.#environment;
    const paths = [
      this.#dockerConfig,
      REGISTRY_AUTH_FILE,
      XDG_RUNTIME_DIR && join(XDG_RUNTIME_DIR, 'containers', 'auth.json'),
      join(XDG_CONFIG_HOME || join(this.#homeDir, '.config'), 'containers', 'auth.json'),
    ];
    return paths.filter((path): path is string => path !== undefined && path !== '');
  }

  lookup(host: string, repository: string): Promise<Credentials | undefined> {
    const key = `${canonicalHost(host)}/${repository}`;
    let found = this.#found.get(key);
    if (found === undefined) {
      found = this.#lookup(canonicalHost(host), repository);
      this.#found.set(key, found);
    }
    return found;
  }

  /**
   * Saves credentials for `host`: in `REGISTRY_AUTH_FILE` when that is set, else in Docker's file, or in the helper that
   * the file names.
   *
   * @returns where they are now, for the user
   */
  async save(host: string, credentials: Credentials): Promise<string> {
    const { path, json, helper } = await this.#writable(host);
    const key = credentialsKey(host);
    this.#found.clear();
    if (helper !== undefined) {
      const username = credentials.identityToken === undefined ? (credentials.username ?? '') : '<token>';
      const secret = credentials.identityToken ?? credentials.password ?? '';
      await runCredentialHelper(
        helper,
        'store',
        JSON.stringify({ ServerURL: key, Username: username, Secret: secret }),
        this.#environment,
      );
      return `docker-credential-${helper}`;
    }
    const auth = Buffer.from(`${credentials.username ?? ''}:${credentials.password ?? ''}`, 'utf8').toString(
      'base64',
    );
    const entry = {
      ...(credentials.username === undefined && credentials.password === undefined ? {} : { auth }),
      ...(credentials.identityToken === undefined ? {} : { identitytoken: credentials.identityToken }),
    };
    await this.#write(path, {
      ...json,
      auths: { ...(isObject(json.auths) ? json.auths : {}), [key]: entry },
    });
    return path;
  }

  /** Forgets the credentials of `host`. @returns false when there were none */
  async remove(host: string): Promise<boolean> {
    const { path, json, helper } = await this.#writable(host);
    const key = credentialsKey(host);
    this.#found.clear();
    if (helper !== undefined) {
      await runCredentialHelper(helper, 'erase', key, this.#environment);
      return true;
    }
    const auths = isObject(json.auths) ? json.auths : {};
    const kept = Object.fromEntries(
      Object.entries(auths).filter(([name]) => keyHost(name) !== canonicalHost(host)),
    );
    if (Object.keys(kept).length === Object.keys(auths).length) {
      return false;
    }
    await this.#write(path, { ...json, auths: kept });
    return true;
  }

  get #dockerConfig(): string {
    return join(this.#environment.DOCKER_CONFIG || join(this.#homeDir, '.docker'), 'config.json');
  }

  async #lookup(host: string, repository: string): Promise<Credentials | undefined> {
    for (const path of this.paths) {
      const file = await this.#file(path);
      const found = file === undefined ? undefined : await this.#lookupIn(file, path, host, repository);
      if (found !== undefined) {
        return found;
      }
    }
    return undefined;
  }

  async #lookupIn(
    file: AuthFile,
    path: string,
    host: string,
    repository: string,
  ): Promise<Credentials | undefined> {
    const ownHelper = Object.entries(file.credHelpers).find(([name]) => keyHost(name) === host)?.[1];
    if (typeof ownHelper === 'string') {
      return this.#askHelper(ownHelper, host);
    }
    const entry = bestEntry(file.auths, host, repository);
    const credentials = entry === undefined ? undefined : parseEntry(entry);
    if (entry !== undefined && credentials === undefined && file.credsStore === undefined) {
      this.#warn(`the credentials for '${host}' in '${path}' cannot be read`);
    }
    return (
      credentials ?? (file.credsStore === undefined ? undefined : this.#askHelper(file.credsStore, host))
    );
  }

  async #askHelper(helper: string, host: string): Promise<Credentials | undefined> {
    let answer: HelperAnswer | undefined;
    try {
      answer = await runCredentialHelper(helper, 'get', credentialsKey(host), this.#environment);
    } catch (error) {
      this.#warn(`${(error as Error).message}; going on without credentials for '${host}'`);
      return undefined;
    }
    if (answer === undefined || answer.secret === '') {
      return undefined;
    }
    return answer.username === '<token>'
      ? { identityToken: answer.secret }
      : { username: answer.username, password: answer.secret };
  }

  #file(path: string): Promise<AuthFile | undefined> {
    let file = this.#files.get(path);
    if (file === undefined) {
      file = readAuthJson(path).then(
        (json) => json && authFile(json),
        (error: Error) => {
          this.#warn(error.message);
          return undefined;
        },
      );
      this.#files.set(path, file);
    }
    return file;
  }

  async #writable(host: string) {
    const path = this.#environment.REGISTRY_AUTH_FILE || this.#dockerConfig;
    const json = (await readAuthJson(path)) ?? {};
    const file = authFile(json);
    const own = Object.entries(file.credHelpers).find(([name]) => keyHost(name) === canonicalHost(host))?.[1];
    return { path, json, helper: typeof own === 'string' ? own : file.credsStore };
  }

  async #write(path: string, json: unknown): Promise<void> {
    this.#files.delete(path);
    // A link to a file elsewhere (dotfiles under version control) stays a link.
    const target = await fs.realpath(path).catch(() => path);
    const temporary = `${target}.${randomBytes(6).toString('hex')}.tmp`;
    try {
      await fs.mkdir(dirname(target), { recursive: true, mode: 0o700 });
      await fs.writeFile(temporary, `${JSON.stringify(json, null, '\t')}\n`, { mode: 0o600, flag: 'wx' });
      await fs.rename(temporary, target);
    } catch (cause) {
      await fs.rm(temporary, { force: true });
      const { code: errno, syscall } = cause as NodeJS.ErrnoException;
      throw new HostError(`cannot write credentials to '${path}': ${errno}`, {
        code: 'E_IO',
        errno,
        syscall,
        path,
        cause,
      });
    }
  }
}

/** undefined when there is no such file. @throws {UsageError} `E_USAGE` with a readable reason */
async function readAuthJson(path: string): Promise<Record<string, unknown> | undefined> {
  let text: string;
  try {
    // A file that is there or not, and small: Node takes longer to load what would do it aside.
    const found = statSync(path);
    if (!found.isFile()) {
      throw new UsageError(`cannot read credentials from '${path}': it is not a file`, { code: 'E_USAGE' });
    }
    if (found.size > MAX_FILE_BYTES) {
      throw new UsageError(`cannot read credentials from '${path}': it is too large`, { code: 'E_USAGE' });
    }
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code;
    if (errno === 'ENOENT' || errno === 'ENOTDIR') {
      return undefined;
    }
    if (cause instanceof UsageError) {
      throw cause;
    }
    throw new UsageError(`cannot read credentials from '${path}': ${errno}`, { code: 'E_USAGE', cause });
  }
  if (text.trim() === '') {
    return {};
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // The parser's message quotes the file, which is full of secrets: no cause.
    throw new UsageError(`cannot read credentials from '${path}': it is not JSON`, { code: 'E_USAGE' });
  }
  if (!isObject(json)) {
    throw new UsageError(`cannot read credentials from '${path}': it is not a JSON object`, {
      code: 'E_USAGE',
    });
  }
  return json;
}

function authFile(json: Readonly<Record<string, unknown>>): AuthFile {
  const { auths, credHelpers, credsStore } = json;
  return {
    auths: isObject(auths) ? auths : {},
    credHelpers: isObject(credHelpers) ? credHelpers : {},
    credsStore: typeof credsStore === 'string' && credsStore !== '' ? credsStore : undefined,
  };
}

/** `host/ns/repo`, `host/ns`, `host`: the longest key that is a path prefix wins. Legacy keys are URLs. */
function bestEntry(auths: Readonly<Record<string, unknown>>, host: string, repository: string): unknown {
  const full = `${host}/${repository}`;
  let best: { readonly key: string; readonly entry: unknown } | undefined;
  for (const [name, entry] of Object.entries(auths)) {
    const key = normalizeKey(name);
    const matches = full === key || full.startsWith(`${key}/`);
    if (matches && (best === undefined || key.length > best.key.length)) {
      best = { key, entry };
    }
  }
  return best?.entry;
}

/** `https://index.docker.io/v1/` → `docker.io`; `https://host/v2/` → `host`; `host/ns` stays. */
function normalizeKey(name: string): string {
  const legacy = /^https?:\/\//.test(name);
  const path = name.replace(/^https?:\/\//, '').replace(/\/+$/, '');
  const slash = path.indexOf('/');
  const host = canonicalHost(slash < 0 ? path : path.slice(0, slash));
  const rest = slash < 0 ? '' : path.slice(slash);
  return legacy && /^\/v[12]$/.test(rest) ? host : `${host}${rest}`;
}

function keyHost(name: string): string {
  return normalizeKey(name).split('/')[0] ?? '';
}

function parseEntry(entry: unknown): Credentials | undefined {
  if (!isObject(entry)) {
    return undefined;
  }
  const text = (name: string): string | undefined => {
    const value = entry[name];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const identityToken = text('identitytoken');
  const registryToken = text('registrytoken');
  let username = text('username');
  let password = text('password');
  const auth = text('auth');
  if (auth !== undefined) {
    // Some writers pad with zero bytes.
    const decoded = Buffer.from(auth, 'base64').toString('utf8').replace(/\0+$/, '');
    const colon = decoded.indexOf(':');
    if (colon > 0) {
      username = decoded.slice(0, colon);
      password = decoded.slice(colon + 1);
    }
  }
  if (username === undefined && identityToken === undefined && registryToken === undefined) {
    return undefined;
  }
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(identityToken === undefined ? {} : { identityToken }),
    ...(registryToken === undefined ? {} : { registryToken }),
  };
}
