/** Reads a project page of a Python package index. Source: "Simple repository API", PEP 503 (HTML) and PEP 691 (JSON). */
import { RemoteError } from '../errors.ts';

export interface IndexFile {
  readonly filename: string;
  readonly url: URL;
  readonly sha256: string;
}

export const SIMPLE_ACCEPT = 'application/vnd.pypi.simple.v1+json, text/html;q=0.5';

const SHA256_HEX = /^[a-f0-9]{64}$/;

/**
 * Files of a project that have a SHA-256 and were not yanked, in the page's order.
 *
 * @param base - Address of the page, for relative links.
 * @throws {RemoteError} `E_NETWORK` when the page is not what an index answers.
 */
export function parseProjectPage(body: string, contentType: string, base: URL): IndexFile[] {
  return contentType.includes('json') ? parseJson(body, base) : parseHtml(body, base);
}

function parseJson(body: string, base: URL): IndexFile[] {
  let page: unknown;
  try {
    page = JSON.parse(body);
  } catch (cause) {
    throw new RemoteError(`package index ${base.host} sent a page that is not JSON`, {
      code: 'E_NETWORK',
      cause,
    });
  }
  const files = (page as { files?: unknown } | null)?.files;
  if (!Array.isArray(files)) {
    throw new RemoteError(`package index ${base.host} sent a page without files`, { code: 'E_NETWORK' });
  }
  return files.flatMap((file: JsonFile | null) => {
    const sha256 = file?.hashes?.sha256;
    return typeof file?.filename === 'string' &&
      typeof file.url === 'string' &&
      typeof sha256 === 'string' &&
      !file.yanked
      ? indexFile(file.filename, file.url, sha256, base)
      : [];
  });
}

/** Nothing of it is known to be so. */
interface JsonFile {
  readonly filename?: unknown;
  readonly url?: unknown;
  readonly hashes?: { readonly sha256?: unknown } | null;
  readonly yanked?: unknown;
}

function parseHtml(body: string, base: URL): IndexFile[] {
  const files: IndexFile[] = [];
  for (const [, attributes = '', text = ''] of body.matchAll(/<a\s([^>]{1,4000})>([^<]{1,500})<\/a>/gi)) {
    const href = /\bhref\s*=\s*"([^"]+)"/i.exec(attributes)?.[1];
    if (href === undefined || /\bdata-yanked\b/i.test(attributes)) {
      continue;
    }
    const sha256 = /#sha256=([a-f0-9]{64})/.exec(href)?.[1];
    if (sha256 !== undefined) {
      files.push(...indexFile(text.trim(), href.replaceAll('&amp;', '&'), sha256, base));
    }
  }
  return files;
}

function indexFile(filename: string, href: string, sha256: string, base: URL): IndexFile[] {
  const url = URL.canParse(href, base.href) ? new URL(href, base) : undefined;
  // An index on https must not send us to a place where bytes can be changed on the way; their hash is from the same page.
  const allowed = url?.protocol === 'https:' || (url?.protocol === 'http:' && base.protocol === 'http:');
  return url !== undefined && allowed && SHA256_HEX.test(sha256) ? [{ filename, url, sha256 }] : [];
}
