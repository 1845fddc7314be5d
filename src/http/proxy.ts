/** Which proxy a URL goes through, by the usual variables. undici's own reader knows no address ranges in `NO_PROXY`. */
import { BlockList, isIP } from 'node:net';
import { isLoopbackHost } from '../oci/reference.ts';

/** The proxy's URL, or undefined for a direct connection. Loopback is always direct, as in Go's clients. */
export function proxyFor(url: URL, environment: NodeJS.ProcessEnv = process.env): string | undefined {
  const lower = url.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  const proxy =
    environment[lower] ?? environment[lower.toUpperCase()] ?? environment.all_proxy ?? environment.ALL_PROXY;
  if (proxy === undefined || proxy === '' || isLoopbackHost(url.hostname)) {
    return undefined;
  }
  if (isExcluded(url, environment.no_proxy ?? environment.NO_PROXY ?? '')) {
    return undefined;
  }
  return proxy.includes('://') ? proxy : `http://${proxy}`;
}

function isExcluded(url: URL, noProxy: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return noProxy
    .split(/[,\s]+/)
    .filter((entry) => entry !== '')
    .some((entry) => entry === '*' || matches(entry.toLowerCase(), host, port));
}

function matches(entry: string, host: string, port: string): boolean {
  const family = isIP(host) === 6 ? 'ipv6' : 'ipv4';
  const range = /^(.+)\/(\d{1,3})$/.exec(entry);
  if (range?.[1] !== undefined) {
    const rangeFamily = isIP(range[1]) === 6 ? 'ipv6' : 'ipv4';
    if (
      isIP(host) === 0 ||
      isIP(range[1]) === 0 ||
      family !== rangeFamily ||
      Number(range[2]) > (family === 'ipv6' ? 128 : 32)
    ) {
      return false;
    }
    const list = new BlockList();
    list.addSubnet(range[1], Number(range[2]), family);
    return list.check(host, family);
  }
  const withPort = isIP(entry) === 6 ? null : /^(.+):(\d+)$/.exec(entry);
  if (withPort !== null && withPort[2] !== port) {
    return false;
  }
  const name = (withPort?.[1] ?? entry).replace(/^\[|\]$/g, '').replace(/^\*?\./, '');
  return host === name || host.endsWith(`.${name}`);
}
