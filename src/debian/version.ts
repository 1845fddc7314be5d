/**
 * Compares two Debian versions as dpkg does (deb-version(7)): negative, 0 or positive.
 *
 * `[epoch:]upstream[-revision]`: the epoch by number, then the other two by {@link compareParts}.
 */
export function compareVersions(a: string, b: string): number {
  const left = split(a);
  const right = split(b);
  return (
    left.epoch - right.epoch ||
    compareParts(left.upstream, right.upstream) ||
    compareParts(left.revision, right.revision)
  );
}

export type Relation = '<<' | '<=' | '=' | '>=' | '>>';

/** Whether `version` stands in `relation` to `wanted`. */
export function satisfiesRelation(version: string, relation: Relation, wanted: string): boolean {
  const order = compareVersions(version, wanted);
  switch (relation) {
    case '<<':
      return order < 0;
    case '<=':
      return order <= 0;
    case '=':
      return order === 0;
    case '>=':
      return order >= 0;
    case '>>':
      return order > 0;
  }
}

function split(version: string): { epoch: number; upstream: string; revision: string } {
  const colon = version.indexOf(':');
  const epoch = colon < 0 ? 0 : Number.parseInt(version.slice(0, colon), 10) || 0;
  const rest = version.slice(colon + 1);
  const dash = rest.lastIndexOf('-');
  return dash < 0
    ? { epoch, upstream: rest, revision: '' }
    : { epoch, upstream: rest.slice(0, dash), revision: rest.slice(dash + 1) };
}

const TILDE = 0x7e;

/** The weight of a character outside a number: `~` below the end of the text, letters below everything else. */
function weight(code: number): number {
  if (Number.isNaN(code) || isDigit(code)) {
    return 0;
  }
  if (code === TILDE) {
    return -1;
  }
  return isLetter(code) ? code : code + 256;
}

/** dpkg's `verrevcmp`: runs of non-digits by {@link weight}, runs of digits by value, in turn. */
function compareParts(a: string, b: string): number {
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    while ((i < a.length && !isDigit(a.charCodeAt(i))) || (j < b.length && !isDigit(b.charCodeAt(j)))) {
      const difference = weight(a.charCodeAt(i)) - weight(b.charCodeAt(j));
      if (difference !== 0) {
        return difference;
      }
      i++;
      j++;
    }
    while (a.charCodeAt(i) === 0x30) {
      i++;
    }
    while (b.charCodeAt(j) === 0x30) {
      j++;
    }
    // Equal lengths decide by the first digit that differs, so numbers of any size compare without being parsed.
    let first = 0;
    while (isDigit(a.charCodeAt(i)) && isDigit(b.charCodeAt(j))) {
      first ||= a.charCodeAt(i) - b.charCodeAt(j);
      i++;
      j++;
    }
    if (isDigit(a.charCodeAt(i))) {
      return 1;
    }
    if (isDigit(b.charCodeAt(j))) {
      return -1;
    }
    if (first !== 0) {
      return first;
    }
  }
  return 0;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function isLetter(code: number): boolean {
  return (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
}
