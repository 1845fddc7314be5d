/** Files of web servers as ADD names them. */
import { percentDecoded } from '../../base/percent-decoded.ts';
import { DefinitionError } from '../../errors.ts';
import { type Digest, isDigest } from '../../oci/digest.ts';

/** What a file is called whose URL has no path. */
const UNNAMED = '__unnamed__';

/** Whether ADD fetches it: a web URL, unless `parseGitUrl` takes it for a repository. */
export function isHttpUrl(text: string): boolean {
  return /^https?:\/\//i.test(text);
}

/** The last component of the URL's path, percent-decoded. What the server calls the file does not count: it may change. */
export function httpFileName(url: string): string {
  if (!URL.canParse(url)) {
    return UNNAMED;
  }
  const name = percentDecoded(new URL(url).pathname)
    .split('/')
    .findLast((part) => part !== '');
  return name === undefined || name === '.' || name === '..' || name.includes('\0') ? UNNAMED : name;
}

/**
 * The value of `ADD --checksum` for a web URL.
 *
 * @throws {DefinitionError} `E_CHECKSUM`
 */
export function parseChecksum(text: string): Digest {
  const lower = text.toLowerCase();
  if (isDigest(lower)) {
    return lower;
  }
  const algorithm = /^([a-z0-9]+):/.exec(lower)?.[1];
  throw new DefinitionError(
    algorithm === undefined || algorithm === 'sha256'
      ? `'${text}' is not a checksum: it takes 'sha256:' and 64 hexadecimal digits`
      : `checksums by ${algorithm} are not checked; only sha256 is`,
    { code: 'E_CHECKSUM', hint: "write '--checksum=sha256:' and what sha256sum(1) says" },
  );
}
