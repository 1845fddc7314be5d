import { UsageError } from '../../errors.ts';
import { canonicalHost } from '../../oci/reference.ts';

/** Another place to pull from. Pushes always go to the origin. */
export interface Mirror {
  /** The registry that it mirrors: `docker.io`, `registry.example:5000`. */
  readonly host: string;
  /** `https://mirror.example` or `https://mirror.example/prefix`, where the prefix goes before the repository. */
  readonly url: string;
  /** @defaultValue 'all' */
  readonly pull?: 'all' | 'digest-only' | 'tag-only';
}

/**
 * Parses `TSBUILD_REGISTRY_MIRRORS`: `host=url[,host=url…]`, tried in this order. A url without a scheme means https.
 *
 * @throws {UsageError} `E_USAGE`
 */
export function parseMirrors(text: string | undefined): readonly Mirror[] {
  return (text ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const equals = part.indexOf('=');
      const host = part.slice(0, equals).trim();
      const given = part.slice(equals + 1).trim();
      const url = given.includes('://') ? given : `https://${given}`;
      if (equals < 1 || !URL.canParse(url) || !/^https?:/.test(url) || new URL(url).username !== '') {
        throw new UsageError(`cannot read the registry mirror '${part.slice(0, 100)}'`, {
          code: 'E_USAGE',
          hint: 'write TSBUILD_REGISTRY_MIRRORS=host=url, for instance docker.io=https://mirror.example',
        });
      }
      return { host: canonicalHost(host), url };
    });
}
