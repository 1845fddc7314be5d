/** Image references, `[host[:port]/]repository[:tag][@digest]`. Source: distribution-spec v1.1, "Pull"; Docker's completion of short names. */
import { DefinitionError } from '../errors.ts';
import { type Digest, isDigest } from './digest.ts';

export interface Reference {
  /** As it was given; plans and cache keys keep this. */
  readonly text: string;
  /** `docker.io` where none was given. Lower case, with a port where one was given. */
  readonly host: string;
  /** `library/ubuntu` for the text `ubuntu`. */
  readonly repository: string;
  /** `latest` where neither tag nor digest was given. A digest, when there is one, decides. */
  readonly tag?: string;
  readonly digest?: Digest;
}

const DOCKER_HUB = 'docker.io';
const DOCKER_HUB_ALIASES: ReadonlySet<string> = new Set([
  'docker.io',
  'index.docker.io',
  'registry-1.docker.io',
  'registry.hub.docker.com',
]);

const MAX_REFERENCE_LENGTH = 1024;
const MAX_NAME_LENGTH = 255;
const HOST =
  /^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/;
const PATH_COMPONENT = /^[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

/**
 * Parses and completes a reference: `ubuntu` becomes `docker.io/library/ubuntu:latest`.
 *
 * @throws {DefinitionError} `E_IMAGE_NAME`
 */
export function parseReference(text: string): Reference {
  if (text.length === 0 || text.length > MAX_REFERENCE_LENGTH) {
    throw invalid(text, text.length === 0 ? 'it is empty' : 'it is too long');
  }
  let rest = text;
  let digest: Digest | undefined;
  const at = rest.indexOf('@');
  if (at >= 0) {
    const digestText = rest.slice(at + 1);
    if (!isDigest(digestText)) {
      throw invalid(text, 'the digest must be sha256: and 64 lower-case hex digits');
    }
    digest = digestText;
    rest = rest.slice(0, at);
  }
  let tag: string | undefined;
  const colon = rest.lastIndexOf(':');
  if (colon > rest.lastIndexOf('/')) {
    tag = rest.slice(colon + 1);
    rest = rest.slice(0, colon);
    if (!TAG.test(tag)) {
      throw invalid(text, `'${tag.slice(0, 140)}' is not a tag`);
    }
  }
  const { host, path } = splitHost(text, rest);
  const repository = host === DOCKER_HUB && !path.includes('/') ? `library/${path}` : path;
  checkRepository(text, repository);
  if (tag === undefined && digest === undefined) {
    tag = 'latest';
  }
  return {
    text,
    host,
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** The complete form, `docker.io/library/ubuntu:latest`. {@link parseReference} of it gives the same reference but for `text`. */
export function formatReference(reference: Omit<Reference, 'text'>): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${reference.host}/${reference.repository}${tag}${digest}`;
}

/** The same repository by digest. */
export function withDigest(reference: Reference, digest: Digest): Reference {
  const { text: _text, ...complete } = reference;
  const pinned = { ...complete, digest };
  return { text: formatReference(pinned), ...pinned };
}

/** Where the registry's API is: Docker Hub's is not at its name. */
export function apiHost(host: string): string {
  return host === DOCKER_HUB ? 'registry-1.docker.io' : host;
}

/** Under which key credential files hold the host's credentials. */
export function credentialsKey(host: string): string {
  return canonicalHost(host) === DOCKER_HUB ? 'https://index.docker.io/v1/' : host;
}

/** `docker.io` for all of Docker Hub's names; lower case. */
export function canonicalHost(host: string): string {
  const lower = host.toLowerCase();
  return DOCKER_HUB_ALIASES.has(lower) ? DOCKER_HUB : lower;
}

/** `localhost`, `*.localhost`, 127.0.0.0/8 and ::1, with or without a port. Names are compared, never resolved. */
export function isLoopbackHost(host: string): boolean {
  const name = host.toLowerCase().replace(/:[0-9]+$/, '');
  if (name === 'localhost' || name.endsWith('.localhost')) {
    return true;
  }
  return /^127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$/.test(name) || name === '[::1]' || host === '::1';
}

function splitHost(text: string, name: string): { host: string; path: string } {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isHost = /[.:]/.test(first) || first === 'localhost';
  if (!isHost) {
    return { host: DOCKER_HUB, path: name };
  }
  const host = canonicalHost(first);
  const port = /:([0-9]+)$/.exec(host)?.[1];
  if (!HOST.test(host) || (port !== undefined && (Number(port) < 1 || Number(port) > 65_535))) {
    throw invalid(text, `'${first}' is not a host`);
  }
  return { host, path: name.slice(slash + 1) };
}

function checkRepository(text: string, repository: string): void {
  if (repository.length > MAX_NAME_LENGTH) {
    throw invalid(text, `the repository is longer than ${MAX_NAME_LENGTH} characters`);
  }
  for (const component of repository.split('/')) {
    if (!PATH_COMPONENT.test(component)) {
      const reason =
        component !== component.toLowerCase()
          ? 'a repository is lower case'
          : `'${component}' is not a part of a repository name`;
      throw invalid(text, reason);
    }
  }
}

function invalid(text: string, reason: string): DefinitionError {
  return new DefinitionError(`cannot parse image reference '${text.slice(0, 200)}': ${reason}`, {
    code: 'E_IMAGE_NAME',
  });
}

export function isReference(text: string): boolean {
  try {
    parseReference(text);
    return true;
  } catch {
    return false;
  }
}
