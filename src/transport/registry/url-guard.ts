/**
 * A server hands us URLs: token realms, upload locations, redirects, pages, foreign layers. None of them may point our
 * requests at something that only we can reach, unless the registry itself is such a place.
 */
import { isIP } from 'node:net';
import { redactUrl } from '../../base/redact.ts';
import { RemoteError } from '../../errors.ts';
import { isLoopbackHost } from '../../oci/reference.ts';

/**
 * @param given - What the server sent; resolved against `base`, the URL of the request that it answered.
 * @param registry - The origin that the user named.
 * @throws {RemoteError} `E_REFUSED_URL`
 */
export function guardUrl(given: string, base: URL, registry: URL, what: string): URL {
  let url: URL;
  try {
    url = new URL(given, base);
  } catch (cause) {
    throw refused(what, 'it is not a URL', '(unreadable)', registry, cause);
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw refused(what, `the scheme is ${url.protocol}`, redactUrl(url), registry);
  }
  if (url.username !== '' || url.password !== '') {
    throw refused(what, 'it holds credentials', redactUrl(url), registry);
  }
  if (url.origin === registry.origin) {
    return url;
  }
  if (url.protocol === 'http:' && registry.protocol === 'https:') {
    throw refused(what, 'it leaves https', redactUrl(url), registry);
  }
  if (isPrivateHost(url.hostname) && !isPrivateHost(registry.hostname)) {
    throw refused(what, 'it is a private address', redactUrl(url), registry);
  }
  // Metadata services answer at link-local addresses; no registry lives there.
  if (isLinkLocal(url.hostname) && !isLinkLocal(registry.hostname)) {
    throw refused(what, 'it is a link-local address', redactUrl(url), registry);
  }
  return url;
}

/** Literals of private, loopback, link-local, shared and unspecified addresses, and names that mean this machine. */
export function isPrivateHost(hostname: string): boolean {
  const name = hostname
    .replace(/^\[|\]$/g, '')
    .toLowerCase()
    .replace(/\.$/, '');
  if (isLoopbackHost(name) || isLoopbackHost(hostname) || isLinkLocal(hostname)) {
    return true;
  }
  if (isIP(name) === 4) {
    const [a = 0, b = 0] = name.split('.').map(Number);
    return (
      a === 0 ||
      a === 10 ||
      a === 127 ||
      (a === 100 && b >= 64 && b < 128) ||
      (a === 172 && b >= 16 && b < 32) ||
      (a === 192 && b === 168) ||
      a >= 224
    );
  }
  if (isIP(name) === 6) {
    const mapped = mappedIpv4(name);
    return mapped !== undefined
      ? isPrivateHost(mapped)
      : name === '::' || name === '::1' || /^f[cd]/.test(name) || name.startsWith('ff');
  }
  return false;
}

function isLinkLocal(hostname: string): boolean {
  const name = hostname.replace(/^\[|\]$/g, '').toLowerCase();
  if (isIP(name) === 6) {
    const mapped = mappedIpv4(name);
    return mapped !== undefined ? isLinkLocal(mapped) : /^fe[89ab]/.test(name);
  }
  return name.startsWith('169.254.') && isIP(name) === 4;
}

/** WHATWG URLs spell `::ffff:127.0.0.1` as `::ffff:7f00:1`. Also the NAT64 prefix 64:ff9b::/96. */
function mappedIpv4(name: string): string | undefined {
  const match = /^(?:::ffff|64:ff9b:):([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(name);
  if (match?.[1] === undefined || match[2] === undefined) {
    return undefined;
  }
  const high = Number.parseInt(match[1], 16);
  const low = Number.parseInt(match[2], 16);
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

function refused(what: string, reason: string, url: string, registry: URL, cause?: unknown): RemoteError {
  return new RemoteError(`${registry.host} sent us to ${url} as ${what}, which is refused: ${reason}`, {
    code: 'E_REFUSED_URL',
    url,
    cause,
  });
}
