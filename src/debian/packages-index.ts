/**
 * The index of one suite (`Packages`): tens of thousands of stanzas of which a build needs a hundred.
 *
 * The whole text is kept as one string of one-byte characters and searched for the few fields that are needed to find
 * packages; a stanza is parsed when somebody asks for it. That is several times faster than parsing all, and the text
 * is garbage as soon as the plan is made.
 */
import { IntegrityError } from '../errors.ts';
import { type DependencyGroup, parseDependencies } from './dependency.ts';
import { compareVersions } from './version.ts';

export interface IndexedPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly essential: boolean;
  readonly priority: string;
  readonly preDepends: readonly DependencyGroup[];
  readonly depends: readonly DependencyGroup[];
  /** Conflicts and Breaks, which differ only in what may be on disk at the same time. */
  readonly conflicts: readonly DependencyGroup[];
  readonly provides: readonly DependencyGroup[];
  /** Relative to the mirror. */
  readonly filename: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** What the resolver needs to know of an archive. */
export interface PackagesIndex {
  /** The newest version of the package of exactly that name. */
  package(name: string): IndexedPackage | undefined;
  /** Names of the packages that provide a virtual package, sorted. */
  providers(virtual: string): readonly string[];
  /** Names of the packages that are essential or of priority `required`, sorted. */
  readonly base: readonly string[];
  names(): Iterable<string>;
}

/** @param texts - The decompressed indices, one for each component; bytes read as Latin-1. */
export function parsePackages(texts: readonly string[]): PackagesIndex {
  const places = new Map<string, Place[]>();
  const base = new Set<string>();
  const providers = new Map<string, Set<string>>();
  for (const text of texts) {
    const { starts, names } = stanzas(text);
    for (const [index, name] of names.entries()) {
      const place = { text, start: starts[index] ?? 0, end: starts[index + 1] ?? text.length };
      const others = places.get(name);
      if (others === undefined) {
        places.set(name, [place]);
      } else {
        others.push(place);
      }
    }
    const owner = ownerFinder(starts, names);
    for (const field of ['\nEssential: yes\n', '\nPriority: required\n']) {
      for (let at = text.indexOf(field); at >= 0; at = text.indexOf(field, at + field.length - 1)) {
        base.add(owner(at));
      }
      owner(-1);
    }
    const provides = '\nProvides: ';
    for (let at = text.indexOf(provides); at >= 0; at = text.indexOf(provides, at + provides.length)) {
      const line = text.slice(at + provides.length, lineEnd(text, at + provides.length));
      for (const part of line.split(',')) {
        const virtual = (/^\s*([^\s(:]+)/.exec(part)?.[1] ?? '').toLowerCase();
        let set = providers.get(virtual);
        if (set === undefined) {
          set = new Set();
          providers.set(virtual, set);
        }
        set.add(owner(at));
      }
    }
  }

  const parsed = new Map<string, IndexedPackage>();
  return {
    base: [...base].sort(),
    names: () => places.keys(),
    providers: (virtual) => [...(providers.get(virtual) ?? [])].sort(),
    package(name) {
      let known = parsed.get(name);
      if (known === undefined) {
        for (const place of places.get(name) ?? []) {
          const candidate = parseStanza(place.text.slice(place.start, place.end));
          if (known === undefined || compareVersions(candidate.version, known.version) > 0) {
            known = candidate;
          }
        }
        if (known !== undefined) {
          parsed.set(name, known);
        }
      }
      return known;
    },
  };
}

interface Place {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Where the stanzas begin, and whose they are. */
function stanzas(text: string): { starts: number[]; names: string[] } {
  const starts: number[] = [];
  const names: string[] = [];
  let start = 0;
  while (start < text.length) {
    if (text.charCodeAt(start) === 0x0a) {
      start++;
      continue;
    }
    const end = text.indexOf('\n\n', start);
    // Nearly always the first field.
    const first = text.startsWith('Package: ', start);
    const at = first ? start : text.indexOf('\nPackage: ', start) + 1;
    if (!first && (at === 0 || (end >= 0 && at > end))) {
      throw new IntegrityError('a stanza of the package index has no field Package', {
        code: 'E_BAD_ARCHIVE',
      });
    }
    starts.push(start);
    names.push(text.slice(at + 'Package: '.length, lineEnd(text, at)).trim());
    start = end < 0 ? text.length : end + 2;
  }
  return { starts, names };
}

/** Whose stanza a position is in; positions must ascend, and a negative one starts over. */
function ownerFinder(starts: readonly number[], names: readonly string[]): (at: number) => string {
  let index = 0;
  return (at) => {
    if (at < 0) {
      index = 0;
    }
    while ((starts[index + 1] ?? Number.POSITIVE_INFINITY) <= at) {
      index++;
    }
    return names[index] ?? '';
  };
}

function lineEnd(text: string, from: number): number {
  const end = text.indexOf('\n', from);
  return end < 0 ? text.length : end;
}

const NAME = /^[a-z0-9][a-z0-9+.-]*$/;
const SHA256 = /^[0-9a-f]{64}$/;
/** No `..`, no URL, no query: the mirror's own pool, and nothing else. */
const FILENAME = /^(?!.*(?:^|\/)\.\.?(?:\/|$))[A-Za-z0-9._~+/-]+\.deb$/;

/** @throws {IntegrityError} `E_BAD_ARCHIVE`. */
export function parseStanza(stanza: string): IndexedPackage {
  const fields = new Map<string, string>();
  for (const line of stanza.split('\n')) {
    const colon = line.indexOf(':');
    // Continuation lines belong to fields that nobody here reads.
    if (colon > 0 && !line.startsWith(' ') && !line.startsWith('\t')) {
      fields.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
  }
  const field = (name: string, pattern: RegExp): string => {
    const value = fields.get(name) ?? '';
    if (!pattern.test(value)) {
      throw new IntegrityError(
        `the package index says '${value.slice(0, 100)}' for ${name} of '${fields.get('package')?.slice(0, 100)}'`,
        { code: 'E_BAD_ARCHIVE' },
      );
    }
    return value;
  };
  const filename = field('filename', FILENAME);
  return {
    name: field('package', NAME),
    version: field('version', /^[0-9A-Za-z.+:~-]+$/),
    architecture: field('architecture', /^[a-z0-9-]+$/),
    essential: fields.get('essential') === 'yes',
    priority: fields.get('priority') ?? 'optional',
    preDepends: parseDependencies(fields.get('pre-depends')),
    depends: parseDependencies(fields.get('depends')),
    conflicts: [...parseDependencies(fields.get('conflicts')), ...parseDependencies(fields.get('breaks'))],
    provides: parseDependencies(fields.get('provides')),
    filename: filename.startsWith('./') ? filename.slice(2) : filename,
    sizeBytes: Number(field('size', /^\d{1,12}$/)),
    sha256: field('sha256', SHA256),
  };
}
