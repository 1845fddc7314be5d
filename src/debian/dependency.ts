/** Relationship fields of Debian packages (Debian Policy, section 7.1). */
import { IntegrityError } from '../errors.ts';
import type { Relation } from './version.ts';

/** One alternative: a package or virtual package, perhaps with a version. */
export interface Dependency {
  readonly name: string;
  /** `any`, `native` or an architecture, where one is written. */
  readonly qualifier?: string;
  readonly relation?: Relation;
  readonly version?: string;
}

/** Alternatives; one of them suffices. */
export type DependencyGroup = readonly Dependency[];

const ALTERNATIVE =
  /^([a-z0-9][a-z0-9+.-]*)(?::([a-z0-9-]+))?\s*(?:\(\s*(<<|<=|=|>=|>>|<|>)\s*([0-9A-Za-z.+:~-]+)\s*\))?$/i;

/**
 * `a (>= 1) | b, c` → two groups.
 *
 * @throws {IntegrityError} `E_BAD_ARCHIVE` when the text is not a relationship field.
 */
export function parseDependencies(field: string | undefined): readonly DependencyGroup[] {
  if (field === undefined) {
    return [];
  }
  const groups: DependencyGroup[] = [];
  for (const part of field.split(',')) {
    // A trailing comma is allowed by dpkg.
    if (part.trim() !== '') {
      groups.push(part.split('|').map(parseAlternative));
    }
  }
  return groups;
}

function parseAlternative(text: string): Dependency {
  const match = ALTERNATIVE.exec(text.trim());
  const name = match?.[1];
  if (match === null || name === undefined) {
    throw new IntegrityError(`cannot parse the package relationship '${text.trim().slice(0, 200)}'`, {
      code: 'E_BAD_ARCHIVE',
    });
  }
  const [, , qualifier, relation, version] = match;
  return {
    name,
    ...(qualifier === undefined ? {} : { qualifier }),
    // `<` and `>` are obsolete spellings of `<=` and `>=`.
    ...(relation === undefined
      ? {}
      : { relation: (relation === '<' ? '<=' : relation === '>' ? '>=' : relation) as Relation }),
    ...(version === undefined ? {} : { version }),
  };
}
