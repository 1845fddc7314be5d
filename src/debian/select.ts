/** Which packages make a system: the base, what was asked for, and what they depend on. Pure. */
import { DefinitionError } from '../errors.ts';
import type { Dependency, DependencyGroup } from './dependency.ts';
import type { IndexedPackage, PackagesIndex } from './packages-index.ts';
import { satisfiesRelation } from './version.ts';

export interface Selection {
  /** Sorted by name. */
  readonly packages: readonly IndexedPackage[];
  /** Names of the essential and required packages, apt, and what they need: what debootstrap calls minbase. */
  readonly minbase: ReadonlySet<string>;
}

/**
 * Chosen before their alternatives, whatever order a dependency lists them in. `usrmerge` converts an old system and
 * draws in perl; here /usr is merged from the start, which is what `usr-is-merged` asserts.
 */
const PREFERRED: ReadonlySet<string> = new Set(['usr-is-merged']);

const MAX_REQUEST_TEXT = 200;

/**
 * Selects as `debootstrap --variant=minbase` does, plus `requested` (`name` or `name=version`): no Recommends; where
 * alternatives are left open, the first that can be installed; for a virtual package the provider of the highest
 * priority, then of the first name.
 *
 * @throws {DefinitionError} `E_PACKAGE_NOT_FOUND` for an unknown package or a dependency that nothing satisfies,
 *   `E_PACKAGE_CONFLICT` when the result conflicts with itself.
 */
export function selectPackages(index: PackagesIndex, requested: readonly string[]): Selection {
  const state = new Resolution(index);
  for (const name of index.base) {
    state.add(name, 'the base system');
  }
  state.add('apt', 'the base system');
  state.settle();
  const minbase = new Set(state.selected.keys());
  for (const request of requested) {
    state.request(request);
  }
  state.settle();
  state.checkConflicts();
  return {
    packages: [...state.selected.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    minbase,
  };
}

class Resolution {
  readonly selected = new Map<string, IndexedPackage>();
  readonly #index: PackagesIndex;
  /** Why each package is there, for messages. */
  readonly #reasons = new Map<string, string>();
  /** Virtual packages that selected packages provide. */
  readonly #provided = new Map<string, { by: IndexedPackage; version: string | undefined }[]>();
  readonly #queue: IndexedPackage[] = [];
  /** Groups with more than one way out, decided only when nothing else is left to do. */
  readonly #open: { group: DependencyGroup; by: IndexedPackage }[] = [];

  constructor(index: PackagesIndex) {
    this.#index = index;
  }

  request(text: string): void {
    const equals = text.indexOf('=');
    const name = equals < 0 ? text : text.slice(0, equals);
    const version = equals < 0 ? undefined : text.slice(equals + 1);
    const found = this.#index.package(name) ?? this.#bestProvider(name);
    if (found === undefined) {
      throw notFound(`the archive has no package '${text.slice(0, MAX_REQUEST_TEXT)}'`, name, this.#index);
    }
    if (version !== undefined && found.version !== version) {
      throw new DefinitionError(
        `the archive has '${name}' in version '${found.version}', not '${version.slice(0, MAX_REQUEST_TEXT)}'`,
        { code: 'E_PACKAGE_NOT_FOUND', hint: `ask for '${name}' or for '${name}=${found.version}'` },
      );
    }
    this.add(found.name, 'the list of packages');
  }

  add(name: string, reason: string): void {
    if (this.selected.has(name)) {
      return;
    }
    const found = this.#index.package(name);
    if (found === undefined) {
      throw notFound(`the archive has no package '${name}', needed by ${reason}`, name, this.#index);
    }
    this.selected.set(name, found);
    this.#reasons.set(name, reason);
    for (const { name: virtual, version } of found.provides.flat()) {
      const list = this.#provided.get(virtual) ?? [];
      list.push({ by: found, version });
      this.#provided.set(virtual, list);
    }
    this.#queue.push(found);
  }

  settle(): void {
    for (;;) {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        for (const group of [...next.preDepends, ...next.depends]) {
          if (this.#isSatisfied(group)) {
            continue;
          }
          const ways = this.#ways(group);
          const [only] = ways;
          if (only !== undefined && ways.length === 1) {
            this.add(only.name, `'${next.name}'`);
          } else {
            this.#open.push({ group, by: next });
          }
        }
      }
      const open = this.#open.shift();
      if (open === undefined) {
        return;
      }
      if (!this.#isSatisfied(open.group)) {
        this.#choose(open.group, open.by);
      }
    }
  }

  checkConflicts(): void {
    for (const conflicting of this.selected.values()) {
      for (const conflict of conflicting.conflicts.flat()) {
        const other = this.#matches(conflict).find((match) => match.name !== conflicting.name);
        if (other !== undefined) {
          const why = (name: string) => `'${name}' (for ${this.#reasons.get(name)})`;
          throw new DefinitionError(
            `the packages ${why(conflicting.name)} and ${why(other.name)} cannot be installed together`,
            { code: 'E_PACKAGE_CONFLICT', hint: 'ask for an alternative to one of them by name' },
          );
        }
      }
    }
  }

  #choose(group: DependencyGroup, by: IndexedPackage): void {
    const ways = this.#ways(group);
    const way =
      ways.find((candidate) => PREFERRED.has(candidate.name)) ??
      ways.find((candidate) => !this.#conflictsWithSelected(candidate)) ??
      ways[0];
    if (way === undefined) {
      const text = group.map(display).join(' | ');
      throw notFound(
        `nothing in the archive satisfies '${text}', needed by '${by.name}'`,
        group[0]?.name ?? '',
        this.#index,
      );
    }
    this.add(way.name, `'${by.name}'`);
  }

  #conflictsWithSelected(candidate: IndexedPackage): boolean {
    const names = new Set([candidate.name, ...candidate.provides.flat().map((provided) => provided.name)]);
    return (
      candidate.conflicts.flat().some((conflict) => this.#matches(conflict).length > 0) ||
      [...this.selected.values()].some((other) =>
        other.conflicts
          .flat()
          .some((conflict) => names.has(conflict.name) && satisfiedBy(conflict, candidate)),
      )
    );
  }

  #isSatisfied(group: DependencyGroup): boolean {
    return group.some((dependency) => this.#matches(dependency).length > 0);
  }

  /** The selected packages that a dependency (or a conflict) is about. */
  #matches(dependency: Dependency): IndexedPackage[] {
    const real = this.selected.get(dependency.name);
    const found = (this.#provided.get(dependency.name) ?? [])
      .filter(({ version }) => versionFits(dependency, version))
      .map(({ by }) => by);
    if (real !== undefined && versionFits(dependency, real.version)) {
      found.push(real);
    }
    return found;
  }

  /** Everything that would satisfy a group, best first. */
  #ways(group: DependencyGroup): IndexedPackage[] {
    const ways: IndexedPackage[] = [];
    for (const dependency of group) {
      const real = this.#index.package(dependency.name);
      if (real !== undefined && versionFits(dependency, real.version)) {
        ways.push(real);
      }
      ways.push(...this.#providers(dependency).filter((provider) => provider !== real));
    }
    return [...new Set(ways)];
  }

  #providers(dependency: Dependency): IndexedPackage[] {
    return this.#index
      .providers(dependency.name)
      .map((name) => this.#index.package(name))
      .filter((candidate) => candidate !== undefined)
      .filter((candidate) => satisfiedBy(dependency, candidate))
      .sort((a, b) => priorityRank(a.priority) - priorityRank(b.priority));
  }

  #bestProvider(name: string): IndexedPackage | undefined {
    return this.#providers({ name })[0];
  }
}

/** Whether a package, by its own name or a name that it provides, is what a dependency asks for. */
function satisfiedBy(dependency: Dependency, candidate: IndexedPackage): boolean {
  return (
    (candidate.name === dependency.name && versionFits(dependency, candidate.version)) ||
    candidate.provides
      .flat()
      .some((provided) => provided.name === dependency.name && versionFits(dependency, provided.version))
  );
}

/** A name that is provided without a version satisfies no versioned relationship (Policy, section 7.5). */
function versionFits(dependency: Dependency, version: string | undefined): boolean {
  if (dependency.relation === undefined || dependency.version === undefined) {
    return true;
  }
  return version !== undefined && satisfiesRelation(version, dependency.relation, dependency.version);
}

const PRIORITIES = ['required', 'important', 'standard', 'optional', 'extra'];

function priorityRank(priority: string): number {
  const rank = PRIORITIES.indexOf(priority);
  return rank < 0 ? PRIORITIES.length : rank;
}

function display(dependency: Dependency): string {
  return dependency.relation === undefined
    ? dependency.name
    : `${dependency.name} (${dependency.relation} ${dependency.version})`;
}

function notFound(message: string, name: string, index: PackagesIndex): DefinitionError {
  const near = nearest(name, index.names());
  return new DefinitionError(message, {
    code: 'E_PACKAGE_NOT_FOUND',
    hint:
      near === undefined
        ? 'look the name up on packages.debian.org; packages outside of `main` need `components`'
        : `did you mean '${near}'?`,
  });
}

/** The name with the smallest edit distance, when that is small enough to be a slip of the finger. */
function nearest(name: string, names: Iterable<string>): string | undefined {
  const limit = Math.max(1, Math.floor(name.length / 3));
  let best: string | undefined;
  let bestDistance = limit + 1;
  for (const candidate of names) {
    if (Math.abs(candidate.length - name.length) < bestDistance) {
      const distance = editDistance(name, candidate);
      if (distance < bestDistance) {
        best = candidate;
        bestDistance = distance;
      }
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(change, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
