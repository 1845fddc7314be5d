/**
 * What this machine trusts and how it reaches the network, to be lent to steps: a company's own certificate authority,
 * proxies, mirrors. Only looks at files and the environment; no network, no process.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { HostError } from '../errors.ts';
import type { HostTrust } from '../worker/protocol.ts';
import { fingerprints } from './ca-bundle.ts';

export type HostCaMode = 'auto' | 'always' | 'never';

export interface Mirrors {
  readonly pipIndexUrl?: string;
  readonly npmRegistry?: string;
  readonly aptMirror?: string;
}

/** Where distributions keep the bundle that their tools read: Debian, Fedora, openSUSE, Alpine, older Red Hat. */
const SYSTEM_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
  '/etc/pki/tls/certs/ca-bundle.crt',
];
/** The public certificates as Debian packages them, one a file. */
const PUBLIC_SET_DIR = '/usr/share/ca-certificates/mozilla';
const NAMED_BUNDLES = ['SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS'];
const PROXY_VARIABLES = ['http_proxy', 'https_proxy', 'ftp_proxy', 'all_proxy', 'no_proxy'];

/**
 * @param mode - `auto` lends the host's bundle only when it holds certificates beyond the public set, because otherwise the
 * image's own serve as well.
 * @param root - Below it are the system's files; what the environment names is taken as it is.
 * @throws {HostError} `E_CA_BUNDLE` when `always` finds no bundle, or one that the environment names cannot be read.
 */
export function discoverHostTrust(
  mode: HostCaMode,
  env: Readonly<Record<string, string | undefined>>,
  mirrors: Mirrors = {},
  root = '/',
): HostTrust {
  const caBundles = mode === 'never' ? [] : findBundles(mode, env, root);
  return {
    ...(caBundles.length === 0 ? {} : { caBundles }),
    proxies: proxiesOf(env),
    mirrors: mirrorVariables(mirrors),
  };
}

/** What the environment names, with the system's: a file of extra certificates alone would replace the public ones. */
function findBundles(
  mode: Exclude<HostCaMode, 'never'>,
  env: Readonly<Record<string, string | undefined>>,
  root: string,
): readonly string[] {
  const named = NAMED_BUNDLES.flatMap((name) => env[name] || []);
  const unreadable = named.find((path) => readBundle(path) === undefined);
  if (unreadable !== undefined) {
    throw new HostError(`cannot read the certificate bundle '${unreadable}' that the environment names`, {
      code: 'E_CA_BUNDLE',
      path: unreadable,
      hint: 'mend SSL_CERT_FILE or NODE_EXTRA_CA_CERTS, or use --host-ca never',
    });
  }
  const system = SYSTEM_BUNDLES.map((path) => join(root, path)).find(
    (path) => readBundle(path) !== undefined,
  );
  const bundles = [...new Set([...(system === undefined ? [] : [system]), ...named])];
  if (mode === 'always') {
    if (bundles.length === 0) {
      throw new HostError('no certificate bundle is found on this machine', {
        code: 'E_CA_BUNDLE',
        hint: 'name a PEM file with SSL_CERT_FILE',
      });
    }
    return bundles;
  }
  const known = publicSet(join(root, PUBLIC_SET_DIR));
  const hasExtras = bundles.some((path) =>
    [...fingerprints(readBundle(path) ?? '')].some((one) => !known.has(one)),
  );
  return hasExtras ? bundles : [];
}

function readBundle(path: string): string | undefined {
  try {
    const text = readFileSync(path, 'latin1');
    return text.includes('-----BEGIN CERTIFICATE-----') ? text : undefined;
  } catch {
    return undefined;
  }
}

function publicSet(dir: string): Set<string> {
  const known = fingerprints(rootCertificates.join('\n'));
  try {
    for (const name of readdirSync(dir)) {
      for (const print of fingerprints(readFileSync(join(dir, name), 'latin1'))) {
        known.add(print);
      }
    }
  } catch {
    // Not a Debian, or without the package: Node's own list decides.
  }
  return known;
}

/** Both spellings, because tools differ in which one they read. */
function proxiesOf(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const proxies: Record<string, string> = {};
  for (const name of PROXY_VARIABLES) {
    const upper = name.toUpperCase();
    const value = env[name] || env[upper];
    if (value !== undefined && value !== '') {
      proxies[name] = value;
      proxies[upper] = value;
    }
  }
  return proxies;
}

function mirrorVariables({ pipIndexUrl, npmRegistry, aptMirror }: Mirrors): Record<string, string> {
  return {
    ...(pipIndexUrl === undefined ? {} : { PIP_INDEX_URL: pipIndexUrl, UV_DEFAULT_INDEX: pipIndexUrl }),
    ...(npmRegistry === undefined ? {} : { npm_config_registry: npmRegistry }),
    ...(aptMirror === undefined ? {} : { TSBUILD_APT_MIRROR: aptMirror }),
  };
}
