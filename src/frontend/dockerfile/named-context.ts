/** Values of `--build-context NAME=VALUE`. Source: buildx, "--build-context". */
import { UsageError } from '../../errors.ts';
import { parseGitUrl } from './git-url.ts';

export type NamedContextSpec =
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 'image'; readonly reference: string }
  /** `oci-layout://PATH[:TAG][@DIGEST]`, the digest as tag; an archive if the path is a file. */
  | { readonly kind: 'layout'; readonly path: string; readonly tag: string | undefined }
  /** A git repository, or an archive of a web server. */
  | { readonly kind: 'remote'; readonly url: string }
  | { readonly kind: 'stage'; readonly name: string };

/** @throws {UsageError} `E_USAGE` */
export function parseNamedContext(text: string): NamedContextSpec {
  if (text.startsWith('docker-image://')) {
    return { kind: 'image', reference: nonEmpty(text, text.slice('docker-image://'.length)) };
  }
  if (text.startsWith('oci-layout://')) {
    return layoutOf(text, text.slice('oci-layout://'.length));
  }
  if (text.startsWith('target:')) {
    return { kind: 'stage', name: nonEmpty(text, text.slice('target:'.length)) };
  }
  if (/^https?:\/\//.test(text) || isGit(text)) {
    return { kind: 'remote', url: text };
  }
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1];
  if (scheme !== undefined) {
    throw usage(`'${scheme}://' is no kind of context`);
  }
  return { kind: 'directory', path: nonEmpty(text, text.replace(/^local:/, '')) };
}

/** `NAME=VALUE`; the name in lower case, for that is how contexts are found. @throws {UsageError} `E_USAGE` */
export function parseNamedContextFlag(text: string): readonly [name: string, context: NamedContextSpec] {
  const equals = text.indexOf('=');
  if (equals <= 0) {
    throw usage(`'${text}' is not NAME=VALUE`);
  }
  return [text.slice(0, equals).toLowerCase(), parseNamedContext(text.slice(equals + 1))];
}

function layoutOf(whole: string, rest: string): NamedContextSpec {
  const at = rest.lastIndexOf('@');
  const digest = at > 0 ? rest.slice(at + 1) : undefined;
  const located = at > 0 ? rest.slice(0, at) : rest;
  // A colon after the last slash begins a tag, which says nothing beside a digest.
  const colon = located.indexOf(':', located.lastIndexOf('/') + 1);
  const path = nonEmpty(whole, colon < 0 ? located : located.slice(0, colon));
  return { kind: 'layout', path, tag: digest ?? (colon < 0 ? undefined : located.slice(colon + 1)) };
}

function isGit(text: string): boolean {
  const git = parseGitUrl(text);
  return git !== undefined && !git.looksLocal;
}

function nonEmpty(whole: string, part: string): string {
  if (part === '') {
    throw usage(`'${whole}' names nothing`);
  }
  return part;
}

function usage(problem: string): UsageError {
  return new UsageError(`bad build context: ${problem}`, {
    code: 'E_USAGE',
    hint: 'write NAME=DIRECTORY, docker-image://IMAGE, oci-layout://PATH:TAG, target:STAGE, or the URL of a git repository or archive',
  });
}
