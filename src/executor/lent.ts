/**
 * What is lent to a step and is in no key, layer or history: certificates, proxies, mirrors, settings and caches of the
 * package managers. All of it lies in `/run/tsbuild`, outside of the image's paths, or in the step's environment.
 */
import { copyFileSync, linkSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { HostError } from '../errors.ts';
import type { ToolSupport } from '../graph/action.ts';
import { ownCacheId } from '../graph/cache-id.ts';
import type { CacheMountRequest } from '../volume/cache-mounts.ts';
import type { HostTrust } from '../worker/protocol.ts';
import { mergeBundles } from './ca-bundle.ts';
import { hostResolvers, isLoopback, namesElsewhere, privateResolvers } from './private-network.ts';
import type { NetworkMode } from './sandbox.ts';

/** In the sandbox. */
export const LENT_DIR = '/run/tsbuild';
/** Mounted, not captured. */
export const NETWORK_FILES = ['/etc/hosts', '/etc/resolv.conf'] as const;
const LAUNCHER = 'launcher';
const CA_BUNDLE = 'ca-certificates.crt';
const APT_CONFIG = 'apt.conf';
const MAX_CA_BYTES = 16 * 1024 * 1024;

/** What every program that reads certificates from a file named by a variable reads. */
const CA_VARIABLES = [
  'SSL_CERT_FILE',
  'CURL_CA_BUNDLE',
  'REQUESTS_CA_BUNDLE',
  'PIP_CERT',
  'NODE_EXTRA_CA_CERTS',
  'GIT_SSL_CAINFO',
  'CARGO_HTTP_CAINFO',
  'AWS_CA_BUNDLE',
  'npm_config_cafile',
  'DENO_CERT',
];

interface ToolFacts {
  readonly env: Readonly<Record<string, string>>;
  /** Variable that names the tool's own directory in the mount; apt is told in its own file. */
  readonly cacheVariable?: string;
  readonly cache: CacheName;
}

type CacheName = 'packages' | 'apt';

/**
 * One mount serves all tools that share: every mount costs a step some tenths of a millisecond. apt locks its archives
 * for as long as it runs and fails if it cannot, so that steps at the same time get one each.
 */
const CACHES: Readonly<Record<CacheName, CacheMountRequest['sharing']>> = {
  packages: 'shared',
  apt: 'private',
};

const TOOLS: Readonly<Record<ToolSupport, ToolFacts>> = {
  pip: {
    env: { PIP_DISABLE_PIP_VERSION_CHECK: '1', PIP_ROOT_USER_ACTION: 'ignore' },
    cacheVariable: 'PIP_CACHE_DIR',
    cache: 'packages',
  },
  // Links cannot lead from a mount into the layer.
  uv: { env: { UV_LINK_MODE: 'copy' }, cacheVariable: 'UV_CACHE_DIR', cache: 'packages' },
  poetry: { env: {}, cacheVariable: 'POETRY_CACHE_DIR', cache: 'packages' },
  npm: { env: {}, cacheVariable: 'npm_config_cache', cache: 'packages' },
  apt: { env: { DEBIAN_FRONTEND: 'noninteractive' }, cache: 'apt' },
  'apt-archives': { env: {}, cache: 'apt' },
};

export interface LentOptions {
  /** The worker's tmpfs. */
  readonly memoryDir: string;
  readonly launcherPath: string;
  readonly hostTrust: HostTrust;
  readonly withoutOtherUsers: boolean;
}

export interface LentToStep {
  /** On the host; to be bound read-only on {@link LENT_DIR}. */
  readonly dir: string;
  /** Files to be bound writable: what a step writes there goes nowhere. */
  readonly files: readonly { readonly source: string; readonly target: string }[];
  readonly caches: readonly { readonly request: CacheMountRequest; readonly target: string }[];
  /** Without those that the step has itself. */
  readonly env: readonly (readonly [string, string])[];
}

export interface LentRequest {
  readonly stepDir: string;
  readonly lend: readonly ToolSupport[];
  readonly env: ReadonlyMap<string, string | Buffer>;
  readonly network: NetworkMode;
  readonly hostname: string;
  /** Lines of `/etc/hosts` besides. */
  readonly extraHosts: readonly (readonly [name: string, address: string])[];
  readonly uid: number;
  readonly gid: number;
}

/** Made once per worker. */
export class Lent {
  readonly #options: LentOptions;
  readonly #common: string;
  readonly #caBundle: boolean;

  /** @throws {HostError} `E_CA_BUNDLE` */
  constructor(options: LentOptions) {
    this.#options = options;
    this.#common = join(options.memoryDir, 'common');
    mkdirSync(this.#common, { mode: 0o755 });
    copyFileSync(options.launcherPath, join(this.#common, LAUNCHER));
    const { caBundles = [] } = options.hostTrust;
    this.#caBundle = caBundles.length > 0;
    if (this.#caBundle) {
      const merged = mergeBundles(caBundles.map(readBundle));
      writeFileSync(join(this.#common, CA_BUNDLE), merged, { mode: 0o644 });
    }
  }

  /** The same file, on the host. */
  get launcherOutside(): string {
    return join(this.#common, LAUNCHER);
  }

  /** In the sandbox. */
  get launcher(): string {
    return `${LENT_DIR}/${LAUNCHER}`;
  }

  /** What is lent on this machine's loopback interface, and is to be reached from a network of the step's own too. */
  get loopbackPorts(): readonly number[] {
    const { aptProxy } = this.#options.hostTrust;
    const url = aptProxy === undefined ? undefined : new URL(aptProxy);
    return url === undefined || !isLoopback(url.hostname) ? [] : [Number(url.port)];
  }

  /** Of the proxies that steps are told. */
  get proxyHosts(): readonly string[] {
    return Object.entries(this.#options.hostTrust.proxies).flatMap(([name, url]) =>
      /^no_proxy$/i.test(name) ? [] : hostOf(url),
    );
  }

  toStep(request: LentRequest): LentToStep {
    const { hostTrust, withoutOtherUsers } = this.#options;
    const dir = join(request.stepDir, 'lent');
    mkdirSync(dir, { mode: 0o755 });
    linkSync(join(this.#common, LAUNCHER), join(dir, LAUNCHER));
    const lent = new Map<string, string>();
    if (this.#caBundle) {
      linkSync(join(this.#common, CA_BUNDLE), join(dir, CA_BUNDLE));
      for (const name of CA_VARIABLES) {
        lent.set(name, `${LENT_DIR}/${CA_BUNDLE}`);
      }
    }
    for (const [name, value] of [
      ...Object.entries(hostTrust.proxies),
      ...Object.entries(hostTrust.mirrors),
    ]) {
      lent.set(name, value);
    }
    const wanted = new Set<CacheName>();
    for (const tool of request.lend) {
      const { env, cacheVariable, cache } = TOOLS[tool];
      wanted.add(cache);
      for (const [name, value] of Object.entries(env)) {
        lent.set(name, value);
      }
      if (cacheVariable !== undefined) {
        lent.set(cacheVariable, `${cacheTarget(cache)}/${tool}`);
      }
    }
    const caches = [...wanted].map((cache) => {
      mkdirSync(join(dir, 'cache', cache), { recursive: true, mode: 0o755 });
      // pip refuses a cache that belongs to somebody else.
      const id = ownCacheId(request.uid === 0 ? cache : `${cache}-${request.uid}`);
      const { uid, gid } = request;
      return { request: { id, sharing: CACHES[cache], uid, gid }, target: cacheTarget(cache) };
    });
    const aptConfig = aptConfiguration({
      caBundle: this.#caBundle,
      withoutOtherUsers,
      proxy: hostTrust.aptProxy,
      archives: wanted.has('apt') ? cacheTarget('apt') : undefined,
      existing: request.env.get('APT_CONFIG')?.toString(),
    });
    if (aptConfig !== '') {
      writeFileSync(join(dir, APT_CONFIG), aptConfig, { mode: 0o644 });
    }
    const env = [...lent].filter(([name]) => !request.env.has(name));
    if (aptConfig !== '') {
      // An existing one is included by ours.
      env.push(['APT_CONFIG', `${LENT_DIR}/${APT_CONFIG}`]);
    }
    return { dir, files: networkFiles(request), caches, env };
  }
}

/** A scheme may be missing. None where it is no URL. */
function hostOf(url: string): string[] {
  const text = url.includes('://') ? url : `http://${url}`;
  return URL.canParse(text) ? [new URL(text).hostname] : [];
}

function cacheTarget(cache: CacheName): string {
  return `${LENT_DIR}/cache/${cache}`;
}

function readBundle(path: string): string {
  try {
    const bytes = readFileSync(path);
    if (bytes.length > MAX_CA_BYTES || !bytes.includes('-----BEGIN CERTIFICATE-----')) {
      throw new Error('it holds no PEM certificates');
    }
    return bytes.toString('latin1');
  } catch (cause) {
    throw new HostError(`cannot read the certificate bundle '${path}': ${(cause as Error).message}`, {
      code: 'E_CA_BUNDLE',
      path,
      cause,
      hint: 'name a PEM file with SSL_CERT_FILE, or use --host-ca never',
    });
  }
}

/** Read before the image's own configuration, which therefore wins. */
function aptConfiguration(options: {
  caBundle: boolean;
  withoutOtherUsers: boolean;
  proxy: string | undefined;
  archives: string | undefined;
  existing: string | undefined;
}): string {
  const lines: string[] = [];
  if (options.caBundle) {
    lines.push(`Acquire::https::CAInfo "${LENT_DIR}/${CA_BUNDLE}";`);
  }
  if (options.proxy !== undefined) {
    lines.push(`Acquire::http::Proxy::deb.debian.org "${options.proxy}";`);
  }
  if (options.withoutOtherUsers) {
    // There is no other user to drop to.
    lines.push('APT::Sandbox::User "root";');
  }
  if (options.archives !== undefined) {
    lines.push(
      `Dir::Cache::archives "${options.archives}";`,
      'APT::Keep-Downloaded-Packages "true";',
      'Binary::apt::APT::Keep-Downloaded-Packages "true";',
    );
  }
  if (lines.length === 0) {
    return '';
  }
  if (options.existing?.startsWith('/') && !/["\n]/.test(options.existing)) {
    lines.unshift(`#include "${options.existing}";`);
  }
  return `${lines.join('\n')}\n`;
}

/** The host's name service, names that were asked for, and those that lead to the step itself. */
function networkFiles({ stepDir, network, hostname, extraHosts }: LentRequest): LentToStep['files'] {
  const hostFile = (path: string) => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return '';
    }
  };
  const own =
    network === 'host'
      ? `${hostFile('/etc/hosts').trimEnd()}\n127.0.0.1 ${hostname}\n`
      : `127.0.0.1 localhost ${hostname}\n::1 localhost\n${network === 'private' ? namesElsewhere(hostFile('/etc/hosts')) : ''}`;
  // Whoever reads the file takes the first line that fits.
  const hosts = [...extraHosts.map(([name, address]) => `${address} ${name}\n`), own].join('');
  const resolver =
    network === 'none'
      ? '# This step has no network.\n'
      : network === 'private'
        ? privateResolvers(hostResolvers())
        : hostResolvers();
  const texts = [hosts, resolver];
  return NETWORK_FILES.map((target, index) => {
    const source = join(stepDir, basename(target));
    writeFileSync(source, texts[index] ?? '', { mode: 0o644 });
    return { source, target };
  });
}
